-- axiomd's own tables, beside BOINC's. Times are Unix seconds by the database's clock.

CREATE TABLE IF NOT EXISTS axiomd_state (
  name VARCHAR(64) NOT NULL PRIMARY KEY,
  value DOUBLE NOT NULL
) ENGINE=InnoDB COMMENT='baseline, cursors and counters';

CREATE TABLE IF NOT EXISTS axiomd_journal (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  at DOUBLE NOT NULL,
  kind VARCHAR(16) NOT NULL COMMENT 'credit, abort, repair, topup',
  cause VARCHAR(64) NOT NULL COMMENT 'the event that led to it',
  actor VARCHAR(64) NOT NULL,
  changes INT NOT NULL COMMENT 'how many results, tasks, workunits or jobs',
  credit DOUBLE NOT NULL DEFAULT 0,
  detail TEXT NOT NULL COMMENT 'JSON: counts by reason or case',
  KEY kind_at (kind, at)
) ENGINE=InnoDB COMMENT='every change of a kind in one transaction';

CREATE TABLE IF NOT EXISTS axiomd_change (
  journal_id BIGINT NOT NULL,
  subject VARCHAR(16) NOT NULL COMMENT 'BOINC table',
  row_id BIGINT NOT NULL,
  reason VARCHAR(32) NOT NULL,
  before_change TEXT NOT NULL COMMENT 'JSON: columns that were changed',
  after_change TEXT NOT NULL,
  PRIMARY KEY (journal_id, subject, row_id),
  KEY subject_row (subject, row_id)
) ENGINE=InnoDB COMMENT='rows that an abort or a repair changed';

CREATE TABLE IF NOT EXISTS axiomd_ledger (
  result_id BIGINT NOT NULL,
  generation INT NOT NULL DEFAULT 0,
  journal_id BIGINT NOT NULL,
  host_id INT NOT NULL,
  user_id INT NOT NULL,
  team_id INT NOT NULL,
  credit DOUBLE NOT NULL,
  PRIMARY KEY (result_id, generation),
  KEY journal (journal_id)
) ENGINE=InnoDB COMMENT='every grant';

CREATE TABLE IF NOT EXISTS axiomd_account (
  kind TINYINT NOT NULL COMMENT '1 host, 2 user, 3 team',
  id INT NOT NULL,
  opening DOUBLE NOT NULL COMMENT 'total_credit before the first grant by axiomd',
  granted DOUBLE NOT NULL DEFAULT 0 COMMENT 'sum of the grants',
  day INT NOT NULL DEFAULT 0 COMMENT 'UTC day of granted_today',
  granted_today DOUBLE NOT NULL DEFAULT 0,
  PRIMARY KEY (kind, id)
) ENGINE=InnoDB COMMENT='what hosts, users and teams got from axiomd';

CREATE TABLE IF NOT EXISTS axiomd_result (
  result_id BIGINT NOT NULL PRIMARY KEY,
  workunit_id BIGINT NOT NULL,
  credit_mark TINYINT NOT NULL COMMENT '0 open, 1 paid, 2 refused',
  harvest_mark TINYINT NOT NULL DEFAULT 0 COMMENT '0 not wanted, 1 open, 2 done, 3 refused',
  reason VARCHAR(24) NOT NULL DEFAULT '',
  look_at DOUBLE NOT NULL DEFAULT 0 COMMENT 'an open mark is not looked at before',
  KEY open_marks (credit_mark, look_at)
) ENGINE=InnoDB COMMENT='every result that axiomd has dealt with, or waits for';

CREATE TABLE IF NOT EXISTS axiomd_history (
  workunit_id BIGINT NOT NULL PRIMARY KEY
) ENGINE=InnoDB COMMENT='finished before the baseline, waiting for an assimilator: left to a backfill';

CREATE TABLE IF NOT EXISTS axiomd_ended (
  workunit_id BIGINT NOT NULL PRIMARY KEY
) ENGINE=InnoDB COMMENT='workunits that axiomd cancelled: what comes back good is paid';

CREATE TABLE IF NOT EXISTS axiomd_experiment (
  name VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  next_seed BIGINT NOT NULL DEFAULT 1,
  canonical BIGINT NOT NULL DEFAULT 0 COMMENT 'workunits with a canonical result that axiomd has dealt with',
  PRIMARY KEY (name, version)
) ENGINE=InnoDB COMMENT='seeds given out, and independent results';

CREATE TABLE IF NOT EXISTS axiomd_job (
  workunit_name VARCHAR(191) NOT NULL PRIMARY KEY,
  journal_id BIGINT NOT NULL,
  app VARCHAR(191) NOT NULL,
  experiment VARCHAR(64) NOT NULL,
  seed BIGINT NOT NULL,
  host_id INT NOT NULL,
  state TINYINT NOT NULL COMMENT '0 intended, 1 made, 2 given up',
  tries TINYINT NOT NULL DEFAULT 0,
  KEY state (state),
  KEY journal (journal_id)
) ENGINE=InnoDB COMMENT='jobs that top-up makes: the intent, then what became of it';

CREATE TABLE IF NOT EXISTS axiomd_host (
  host_id INT NOT NULL PRIMARY KEY,
  live TINYINT NOT NULL,
  since DOUBLE NOT NULL
) ENGINE=InnoDB COMMENT='hosts as axiomd last judged them';
