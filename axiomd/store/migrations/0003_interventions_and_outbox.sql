-- What was asked for from outside and done once, who is excluded, which experiments ended, and the order of publication.

CREATE TABLE IF NOT EXISTS axiomd_intervention (
  id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY COMMENT 'given by the caller',
  intervention VARCHAR(32) NOT NULL,
  parameters TEXT NOT NULL COMMENT 'JSON',
  source VARCHAR(8) NOT NULL COMMENT 'cli, http, mqtt, alert',
  caller VARCHAR(64) NOT NULL,
  state TINYINT NOT NULL COMMENT '0 begun, 1 done, 2 failed',
  begun_at DOUBLE NOT NULL,
  ended_at DOUBLE NOT NULL DEFAULT 0,
  answer TEXT NOT NULL,
  changes BIGINT NOT NULL DEFAULT 0,
  journal_id BIGINT NOT NULL DEFAULT 0,
  KEY caller_begun (caller, begun_at),
  KEY begun (begun_at)
) ENGINE=InnoDB COMMENT='calls of interventions: each id is done once';

CREATE TABLE IF NOT EXISTS axiomd_excluded (
  host_id INT NOT NULL PRIMARY KEY,
  since DOUBLE NOT NULL,
  reason VARCHAR(191) NOT NULL,
  actor VARCHAR(64) NOT NULL
) ENGINE=InnoDB COMMENT='hosts that get no work from axiomd, beside those that the settings exclude';

CREATE TABLE IF NOT EXISTS axiomd_ending (
  name VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  aborted TINYINT NOT NULL COMMENT '0 retired: what is with volunteers may end; 1 aborted: all of it is cancelled',
  since DOUBLE NOT NULL,
  actor VARCHAR(64) NOT NULL,
  PRIMARY KEY (name, version)
) ENGINE=InnoDB COMMENT='experiments that get no new jobs';

CREATE TABLE IF NOT EXISTS axiomd_outbox (
  number BIGINT NOT NULL PRIMARY KEY COMMENT 'order of publication, without gaps, given after the commit',
  journal_id BIGINT NOT NULL,
  UNIQUE KEY journal (journal_id)
) ENGINE=InnoDB COMMENT='journal entries in the order in which they are published';
