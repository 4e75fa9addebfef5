-- Journal entries that are old: found, summed up into axiomd_sealed, and deleted.

-- name: oldest_entries
-- Beginning after what was sealed: what was deleted may still be in the server's way.
SELECT id, at, changes FROM axiomd_journal FORCE INDEX (PRIMARY) WHERE id > %(after)s ORDER BY id LIMIT %(limit)s

-- name: first_intended
SELECT MIN(journal_id) FROM axiomd_job WHERE state = 0

-- name: count_older
SELECT COUNT(*) FROM axiomd_journal WHERE at < %(before)s

-- name: lock_entries
SELECT id FROM axiomd_journal FORCE INDEX (PRIMARY) WHERE id IN %(ids)s FOR UPDATE

-- name: seal_journal
INSERT INTO axiomd_sealed (name, id, rows_sealed, changes, credit)
SELECT CONCAT('journal:', j.kind), 0, COUNT(*), SUM(j.changes), SUM(j.credit) FROM axiomd_journal j
WHERE j.id IN %(ids)s GROUP BY j.kind
ON DUPLICATE KEY UPDATE rows_sealed = axiomd_sealed.rows_sealed + VALUES(rows_sealed),
  changes = axiomd_sealed.changes + VALUES(changes), credit = axiomd_sealed.credit + VALUES(credit)

-- name: seal_ledger
INSERT INTO axiomd_sealed (name, id, rows_sealed, credit)
SELECT 'ledger', 0, COUNT(*), COALESCE(SUM(l.credit), 0) FROM axiomd_ledger l FORCE INDEX (journal)
WHERE l.journal_id IN %(ids)s
ON DUPLICATE KEY UPDATE rows_sealed = axiomd_sealed.rows_sealed + VALUES(rows_sealed),
  credit = axiomd_sealed.credit + VALUES(credit)

-- name: seal_postings
INSERT INTO axiomd_sealed (name, id, rows_sealed, credit)
SELECT ELT(p.kind, 'host', 'user', 'team'), p.id, COUNT(*), SUM(p.credit) FROM axiomd_posting p FORCE INDEX (PRIMARY)
WHERE p.journal_id IN %(ids)s GROUP BY p.kind, p.id
ON DUPLICATE KEY UPDATE rows_sealed = axiomd_sealed.rows_sealed + VALUES(rows_sealed),
  credit = axiomd_sealed.credit + VALUES(credit)

-- name: seal_changes
INSERT INTO axiomd_sealed (name, id, rows_sealed)
SELECT CONCAT('change:', c.subject, ':', c.reason), 0, COUNT(*) FROM axiomd_change c FORCE INDEX (PRIMARY)
WHERE c.journal_id IN %(ids)s GROUP BY c.subject, c.reason
ON DUPLICATE KEY UPDATE rows_sealed = axiomd_sealed.rows_sealed + VALUES(rows_sealed)

-- name: seal_jobs
INSERT INTO axiomd_sealed (name, id, rows_sealed)
SELECT CONCAT('job:', o.state), 0, COUNT(*) FROM axiomd_job o FORCE INDEX (journal)
WHERE o.journal_id IN %(ids)s GROUP BY o.state
ON DUPLICATE KEY UPDATE rows_sealed = axiomd_sealed.rows_sealed + VALUES(rows_sealed)

-- name: last_of_their_result
-- Results of these entries that no later entry has a ledger row of.
SELECT JSON_ARRAYAGG(result_id) FROM (
  SELECT DISTINCT l.result_id FROM axiomd_ledger l FORCE INDEX (journal) WHERE l.journal_id IN %(ids)s
    AND NOT EXISTS (SELECT 1 FROM axiomd_ledger later FORCE INDEX (PRIMARY)
      WHERE later.result_id = l.result_id AND later.journal_id NOT IN %(ids)s)) page

-- name: mark_sealed
UPDATE axiomd_result FORCE INDEX (PRIMARY) SET reason = 'sealed' WHERE result_id IN %(result_ids)s AND credit_mark = 1

-- name: delete_marks
DELETE a FROM axiomd_result a FORCE INDEX (PRIMARY) WHERE a.result_id IN %(result_ids)s AND a.credit_mark = 1

-- name: delete_changes
DELETE c FROM axiomd_change c FORCE INDEX (PRIMARY) WHERE c.journal_id IN %(ids)s

-- name: delete_jobs
DELETE o FROM axiomd_job o FORCE INDEX (journal) WHERE o.journal_id IN %(ids)s

-- name: delete_postings
DELETE p FROM axiomd_posting p FORCE INDEX (PRIMARY) WHERE p.journal_id IN %(ids)s

-- name: delete_ledger
DELETE l FROM axiomd_ledger l FORCE INDEX (journal) WHERE l.journal_id IN %(ids)s

-- name: delete_journal
DELETE j FROM axiomd_journal j FORCE INDEX (PRIMARY) WHERE j.id IN %(ids)s

-- name: sealed_totals
SELECT name, rows_sealed, changes, credit FROM axiomd_sealed WHERE id = 0
