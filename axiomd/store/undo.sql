-- What an undo and a payment by hand need of axiomd's own tables.

-- name: entries_named
SELECT id, at, kind, cause, actor, changes, credit FROM axiomd_journal WHERE id IN %(ids)s ORDER BY id

-- name: entries_since
SELECT e.id, e.at, e.kind, e.cause, e.actor, e.changes, e.credit FROM axiomd_journal e
WHERE e.kind IN %(kinds)s AND e.at >= %(since)s AND e.id >= %(first)s
  AND (%(host_id)s = 0 OR e.kind NOT IN ('credit', 'backfill') OR EXISTS (
    SELECT 1 FROM axiomd_posting p WHERE p.journal_id = e.id AND p.kind = 1 AND p.id = %(host_id)s))
ORDER BY e.id

-- name: lock_entry
SELECT id FROM axiomd_journal WHERE id = %(id)s FOR UPDATE

-- name: postings_of
SELECT kind, id, credit, average FROM axiomd_posting WHERE journal_id = %(journal_id)s

-- name: insert_reversals
INSERT INTO axiomd_ledger (result_id, generation, journal_id, host_id, user_id, team_id, credit) VALUES {rows}

-- name: mark_undone
UPDATE axiomd_result SET credit_mark = 2, reason = 'undone' WHERE result_id IN %(ids)s AND credit_mark = 1

-- name: change_accounts
INSERT INTO axiomd_account (kind, id, opening, granted, day, granted_today) VALUES {rows}
ON DUPLICATE KEY UPDATE granted = granted + VALUES(granted),
  granted_today = GREATEST(0, granted_today + IF(day = VALUES(day), VALUES(granted_today), 0))

-- name: marks
SELECT result_id, credit_mark, reason FROM axiomd_result WHERE result_id IN %(ids)s

-- name: write_marks
INSERT INTO axiomd_result (result_id, workunit_id, credit_mark, reason) VALUES {rows}
ON DUPLICATE KEY UPDATE credit_mark = VALUES(credit_mark), reason = VALUES(reason)

-- name: undone_results
SELECT DISTINCT l.result_id FROM axiomd_journal e STRAIGHT_JOIN axiomd_ledger l ON l.journal_id = e.id
STRAIGHT_JOIN axiomd_result a ON a.result_id = l.result_id
WHERE {which} AND l.result_id > %(after)s AND a.credit_mark = 2 AND a.reason = 'undone'
ORDER BY l.result_id LIMIT %(limit)s

-- name: of_entries
e.id IN %(entries)s

-- name: of_time
e.kind = 'undo' AND e.at >= %(since)s AND e.at < %(until)s

-- name: forget_history
DELETE FROM axiomd_history WHERE workunit_id IN %(ids)s

-- name: forget_ended
DELETE FROM axiomd_ended WHERE workunit_id IN %(ids)s

-- name: jobs_of
SELECT journal_id, workunit_name, host_id, state FROM axiomd_job FORCE INDEX (journal)
WHERE journal_id IN %(entries)s AND (%(host_id)s = 0 OR host_id = %(host_id)s)
  AND (%(experiment)s = '' OR experiment = %(experiment)s) AND (%(batch)s = 0 OR journal_id = %(batch)s)

-- name: jobs_named
SELECT journal_id, workunit_name, host_id, state FROM axiomd_job WHERE workunit_name IN %(names)s

-- name: give_up_jobs
UPDATE axiomd_job SET state = 2 WHERE workunit_name IN %(names)s
