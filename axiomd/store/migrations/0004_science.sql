-- What came out of results, which of them are independent, what failed and where, and what follows from it.

ALTER TABLE axiomd_result ADD INDEX /*M!100000 IF NOT EXISTS */ open_harvests (harvest_mark, credit_mark, look_at);

-- What is under way, or waits to be paid, is harvested when it comes in; what was dealt with before is not.
UPDATE axiomd_result SET harvest_mark = 1 WHERE credit_mark = 0 AND harvest_mark = 0;

CREATE TABLE IF NOT EXISTS axiomd_layout (
  id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  hash CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'of keys and quantities',
  experiment VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  layout TEXT NOT NULL COMMENT 'JSON: numbers, a list of [key, shape]; quantities, a list of keys',
  UNIQUE KEY hash (experiment, version, hash)
) ENGINE=InnoDB COMMENT='how the packed numbers of measurements are laid out';

CREATE TABLE IF NOT EXISTS axiomd_measurement (
  result_id BIGINT NOT NULL PRIMARY KEY,
  workunit_id BIGINT NOT NULL,
  experiment VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  seed BIGINT NOT NULL,
  host_id INT NOT NULL,
  user_id INT NOT NULL,
  platform TINYINT NOT NULL COMMENT '0 other, 1 windows, 2 linux, 3 mac',
  gpu TINYINT NOT NULL,
  received_at DOUBLE NOT NULL,
  elapsed_s DOUBLE NOT NULL COMMENT 'claimed, but no more than the server saw pass',
  outcome TINYINT NOT NULL COMMENT '1 complete, 2 partial, 3 empty, 4 refused, 5 failed, 6 undeclared',
  failure_id INT NOT NULL DEFAULT 0 COMMENT 'axiomd_failure; 0: none',
  layout_id INT NOT NULL DEFAULT 0 COMMENT 'axiomd_layout; 0: no numbers',
  digest BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'of the numbers; 0: none',
  numbers MEDIUMBLOB NULL COMMENT 'float64, little-endian; NaN: not measured',
  KEY seed (experiment, version, seed),
  KEY received (received_at),
  KEY failure (failure_id, host_id)
) ENGINE=InnoDB COMMENT='every result that was harvested, a packed row each';

CREATE TABLE IF NOT EXISTS axiomd_replicate (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'order in which the evidence came in',
  experiment VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  seed BIGINT NOT NULL,
  digest BIGINT UNSIGNED NOT NULL,
  result_id BIGINT NOT NULL,
  host_id INT NOT NULL,
  user_id INT NOT NULL,
  platform TINYINT NOT NULL,
  gpu TINYINT NOT NULL,
  at DOUBLE NOT NULL COMMENT 'when it was harvested',
  layout_id INT NOT NULL,
  quantities BLOB NOT NULL COMMENT 'what the claims need, float64, little-endian',
  UNIQUE KEY seed (experiment, version, seed),
  UNIQUE KEY numbers (experiment, version, digest),
  KEY result (result_id)
) ENGINE=InnoDB COMMENT='independent results: one of each seed, no two with the same numbers';

CREATE TABLE IF NOT EXISTS axiomd_failure (
  id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  fingerprint CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  experiment VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  class VARCHAR(40) NOT NULL COMMENT 'of a closed list',
  place VARCHAR(80) NOT NULL COMMENT 'file and function, of what axiomd ships; empty: not known',
  detail VARCHAR(120) NOT NULL COMMENT 'bounded and escaped',
  results BIGINT NOT NULL,
  first_at DOUBLE NOT NULL,
  last_at DOUBLE NOT NULL,
  UNIQUE KEY fingerprint (fingerprint),
  KEY experiment (experiment, version)
) ENGINE=InnoDB COMMENT='failures, grouped by fingerprint';

CREATE TABLE IF NOT EXISTS axiomd_tally (
  hour INT NOT NULL COMMENT 'received_time, in hours since 1970',
  experiment VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  host_id INT NOT NULL,
  gpu TINYINT NOT NULL,
  platform TINYINT NOT NULL,
  results INT NOT NULL COMMENT 'good ones and failures',
  failures INT NOT NULL,
  limits INT NOT NULL COMMENT 'those of the failures that died of a limit of time, memory or disk',
  seconds DOUBLE NOT NULL COMMENT 'elapsed, of the good ones',
  PRIMARY KEY (hour, experiment, version, host_id, gpu)
) ENGINE=InnoDB COMMENT='how results ended, by hour, experiment and host';

CREATE TABLE IF NOT EXISTS axiomd_size (
  experiment VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  gpu TINYINT NOT NULL,
  quantity TINYINT NOT NULL COMMENT '1 floating-point operations, 2 bytes of memory, 3 seconds from sent to received',
  bucket SMALLINT NOT NULL COMMENT 'floor(8 log2(value))',
  results BIGINT NOT NULL,
  PRIMARY KEY (experiment, version, gpu, quantity, bucket)
) ENGINE=InnoDB COMMENT='how large the jobs turned out to be: histograms';

CREATE TABLE IF NOT EXISTS axiomd_limit (
  experiment VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  gpu TINYINT NOT NULL,
  factor DOUBLE NOT NULL COMMENT 'the bounds are so many times wider than the sizes seen would have them',
  at DOUBLE NOT NULL,
  PRIMARY KEY (experiment, version, gpu)
) ENGINE=InnoDB COMMENT='experiments whose bounds were too tight';

CREATE TABLE IF NOT EXISTS axiomd_comparison (
  first_id BIGINT NOT NULL COMMENT 'result',
  second_id BIGINT NOT NULL COMMENT 'result with the same seed, of another host',
  experiment VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  seed BIGINT NOT NULL,
  agrees TINYINT NOT NULL,
  worst_key VARCHAR(64) NOT NULL,
  difference DOUBLE NOT NULL COMMENT 'the largest, relative, in units of the tolerance',
  at DOUBLE NOT NULL,
  PRIMARY KEY (first_id, second_id),
  KEY seed (experiment, version, seed),
  KEY disagreeing (agrees, at)
) ENGINE=InnoDB COMMENT='verification pairs, compared';

CREATE TABLE IF NOT EXISTS axiomd_verification (
  experiment VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  seed BIGINT NOT NULL,
  state TINYINT NOT NULL COMMENT '0 one more copy wanted, 1 copy under way, 2 settled',
  verdict VARCHAR(16) NOT NULL COMMENT 'open, host, platform, unclear',
  copies INT NOT NULL DEFAULT 0 COMMENT 'sent again so many times',
  since DOUBLE NOT NULL,
  detail VARCHAR(191) NOT NULL DEFAULT '',
  PRIMARY KEY (experiment, version, seed),
  KEY state (state)
) ENGINE=InnoDB COMMENT='seeds whose results disagree';

CREATE TABLE IF NOT EXISTS axiomd_breaker (
  host_id INT NOT NULL PRIMARY KEY,
  state TINYINT NOT NULL COMMENT '1 open, 2 half open, 0 closed: what came in up to since doesn''t count',
  since DOUBLE NOT NULL,
  until_at DOUBLE NOT NULL COMMENT 'open until then',
  trips INT NOT NULL COMMENT 'how often it opened without a good probe in between',
  reason VARCHAR(191) NOT NULL,
  probe VARCHAR(191) NOT NULL DEFAULT '' COMMENT 'name of the workunit that is the probe'
) ENGINE=InnoDB COMMENT='circuit breakers of hosts that fail more than others';

CREATE TABLE IF NOT EXISTS axiomd_stop (
  experiment VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  gpu TINYINT NOT NULL COMMENT '0 CPU jobs, 1 GPU jobs',
  platform TINYINT NOT NULL COMMENT 'as in axiomd_measurement; -1: all; -2: no stop, a person lifted them then',
  since DOUBLE NOT NULL,
  reason VARCHAR(191) NOT NULL,
  PRIMARY KEY (experiment, version, gpu, platform)
) ENGINE=InnoDB COMMENT='where a failing experiment gets no new jobs';

CREATE TABLE IF NOT EXISTS axiomd_finding (
  experiment VARCHAR(64) NOT NULL,
  version INT NOT NULL,
  claim VARCHAR(64) NOT NULL,
  claim_hash CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  verdict VARCHAR(32) NOT NULL,
  at DOUBLE NOT NULL,
  seeds INT NOT NULL,
  PRIMARY KEY (experiment, version, claim, claim_hash)
) ENGINE=InnoDB COMMENT='claims that are settled, once and for all';

CREATE TABLE IF NOT EXISTS axiomd_cores (
  at DOUBLE NOT NULL PRIMARY KEY,
  hosts INT NOT NULL,
  cores INT NOT NULL,
  idle INT NOT NULL
) ENGINE=InnoDB COMMENT='live hosts and their cores, now and then';
