-- The lease of the one daemon that writes, what each journal entry added to whom, and the sums of what was pruned.

CREATE TABLE IF NOT EXISTS axiomd_lease (
  id TINYINT NOT NULL PRIMARY KEY COMMENT 'always 1',
  fence BIGINT NOT NULL COMMENT 'grows with each holder; every transaction of a daemon checks it',
  holder VARCHAR(191) NOT NULL COMMENT 'host and process, for people',
  token VARCHAR(32) NOT NULL COMMENT 'names the locks by which the connections of the holder are known; empty: given back',
  connection_id BIGINT NOT NULL COMMENT 'of the connection that took the lease',
  server VARCHAR(191) NOT NULL COMMENT 'the database server that the holder is connected to, and as whom',
  renewals BIGINT NOT NULL COMMENT 'grows while the holder lives',
  since DOUBLE NOT NULL
) ENGINE=InnoDB COMMENT='who may change anything';

INSERT IGNORE INTO axiomd_lease (id, fence, holder, token, connection_id, server, renewals, since)
VALUES (1, 0, '', '', 0, '', 0, 0);

CREATE TABLE IF NOT EXISTS axiomd_posting (
  journal_id BIGINT NOT NULL,
  kind TINYINT NOT NULL COMMENT '1 host, 2 user, 3 team',
  id INT NOT NULL,
  credit DOUBLE NOT NULL COMMENT 'added to total_credit',
  average DOUBLE NOT NULL COMMENT 'added to expavg_credit, as of the time of the entry',
  PRIMARY KEY (journal_id, kind, id),
  KEY account (kind, id, credit)
) ENGINE=InnoDB COMMENT='what a journal entry added to hosts, users and teams';

CREATE TABLE IF NOT EXISTS axiomd_sealed (
  name VARCHAR(64) NOT NULL COMMENT 'what was summed up: host, user, team, ledger, journal:KIND, change:REASON',
  id BIGINT NOT NULL COMMENT 'of the host, user or team; else 0',
  rows_sealed BIGINT NOT NULL,
  changes BIGINT NOT NULL DEFAULT 0,
  credit DOUBLE NOT NULL DEFAULT 0,
  PRIMARY KEY (name, id)
) ENGINE=InnoDB COMMENT='sums of the journal entries that were pruned';

-- What was granted before there were postings: its credit; what it added to the averages is not known.
INSERT IGNORE INTO axiomd_posting (journal_id, kind, id, credit, average)
SELECT journal_id, 1, host_id, SUM(credit), 0 FROM axiomd_ledger GROUP BY journal_id, host_id;

INSERT IGNORE INTO axiomd_posting (journal_id, kind, id, credit, average)
SELECT journal_id, 2, user_id, SUM(credit), 0 FROM axiomd_ledger GROUP BY journal_id, user_id;

INSERT IGNORE INTO axiomd_posting (journal_id, kind, id, credit, average)
SELECT journal_id, 3, team_id, SUM(credit), 0 FROM axiomd_ledger WHERE team_id <> 0 GROUP BY journal_id, team_id;
