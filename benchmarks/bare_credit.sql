-- The changes that paying a batch makes, by hand: one statement a table, with the credit known beforehand.

-- name: journal
INSERT INTO axiomd_journal (at, kind, cause, actor, changes, credit, detail)
VALUES (UNIX_TIMESTAMP(), 'credit', 'bench', 'bench', %(count)s, 2 * %(count)s, '{}')

-- name: ledger
INSERT INTO axiomd_ledger (result_id, journal_id, host_id, user_id, team_id, credit)
SELECT r.id, %(journal)s, h.id, u.id, u.teamid, 2
FROM result r JOIN host h ON h.id = r.hostid
JOIN user u ON u.id = h.userid
WHERE r.id BETWEEN %(first)s AND %(last)s

-- name: results
UPDATE axiomd_ledger l JOIN result r ON r.id = l.result_id
SET r.granted_credit = l.credit WHERE l.journal_id = %(journal)s

-- name: marks
INSERT INTO axiomd_result (result_id, workunit_id, credit_mark)
SELECT id, workunitid, 1 FROM result WHERE id BETWEEN %(first)s AND %(last)s

-- name: hosts
UPDATE (
  SELECT host_id AS id, SUM(credit) AS credit FROM axiomd_ledger WHERE journal_id = %(journal)s GROUP BY 1) v
JOIN host h ON h.id = v.id
SET h.total_credit = h.total_credit + v.credit, h.expavg_credit = v.credit, h.expavg_time = UNIX_TIMESTAMP()

-- name: users
UPDATE (
  SELECT user_id AS id, SUM(credit) AS credit FROM axiomd_ledger WHERE journal_id = %(journal)s GROUP BY 1) v
JOIN user u ON u.id = v.id
SET u.total_credit = u.total_credit + v.credit, u.expavg_credit = v.credit, u.expavg_time = UNIX_TIMESTAMP()

-- name: teams
UPDATE (
  SELECT team_id AS id, SUM(credit) AS credit FROM axiomd_ledger WHERE journal_id = %(journal)s GROUP BY 1) v
JOIN team t ON t.id = v.id
SET t.total_credit = t.total_credit + v.credit, t.expavg_credit = v.credit, t.expavg_time = UNIX_TIMESTAMP()

-- name: host_accounts
INSERT INTO axiomd_account (kind, id, opening, granted, day, granted_today)
SELECT 1, host_id, 0, SUM(credit), 1, SUM(credit) FROM axiomd_ledger WHERE journal_id = %(journal)s GROUP BY host_id
ON DUPLICATE KEY UPDATE granted = granted + VALUES(granted),
  granted_today = granted_today + VALUES(granted_today)

-- name: user_accounts
INSERT INTO axiomd_account (kind, id, opening, granted, day, granted_today)
SELECT 2, user_id, 0, SUM(credit), 1, SUM(credit) FROM axiomd_ledger WHERE journal_id = %(journal)s GROUP BY user_id
ON DUPLICATE KEY UPDATE granted = granted + VALUES(granted),
  granted_today = granted_today + VALUES(granted_today)

-- name: team_accounts
INSERT INTO axiomd_account (kind, id, opening, granted, day, granted_today)
SELECT 3, team_id, 0, SUM(credit), 1, SUM(credit) FROM axiomd_ledger WHERE journal_id = %(journal)s GROUP BY team_id
ON DUPLICATE KEY UPDATE granted = granted + VALUES(granted),
  granted_today = granted_today + VALUES(granted_today)

-- name: counters
UPDATE axiomd_state
SET value = value + %(count)s WHERE name IN ('credited_count', 'completed_count')
