-- What axiomd's own tables say of one row, for `axiomd explain`.

-- name: mark
SELECT credit_mark, reason, look_at, harvest_mark FROM axiomd_result WHERE result_id = %(id)s

-- name: harvest
-- Of which result it is a copy: of the independent one with its seed, or with its numbers.
SELECT m.experiment, m.version, m.seed, m.outcome, COALESCE(f.class, ''), COALESCE(f.place, ''), COALESCE(f.detail, ''),
  COALESCE((SELECT s.result_id FROM axiomd_replicate s FORCE INDEX (seed)
    WHERE s.experiment = m.experiment AND s.version = m.version AND s.seed = m.seed), 0),
  COALESCE((SELECT n.result_id FROM axiomd_replicate n FORCE INDEX (numbers)
    WHERE n.experiment = m.experiment AND n.version = m.version AND n.digest = m.digest), 0)
FROM axiomd_measurement m LEFT JOIN axiomd_failure f ON f.id = m.failure_id WHERE m.result_id = %(id)s

-- name: ledger
SELECT l.journal_id, e.at, e.kind, e.cause, e.actor, l.generation, l.credit, l.host_id, l.user_id, l.team_id
FROM axiomd_ledger l LEFT JOIN axiomd_journal e ON e.id = l.journal_id WHERE l.result_id = %(id)s ORDER BY l.generation

-- name: changes
SELECT c.journal_id, e.at, e.kind, e.cause, e.actor, c.reason, c.before_change, c.after_change
FROM axiomd_change c LEFT JOIN axiomd_journal e ON e.id = c.journal_id
WHERE c.subject = %(subject)s AND c.row_id = %(id)s ORDER BY c.journal_id

-- name: notes
SELECT (SELECT COUNT(*) FROM axiomd_history WHERE workunit_id = %(id)s),
  (SELECT COUNT(*) FROM axiomd_ended WHERE workunit_id = %(id)s)

-- name: job
SELECT j.journal_id, e.at, j.experiment, j.seed, j.host_id, j.state
FROM axiomd_job j LEFT JOIN axiomd_journal e ON e.id = j.journal_id WHERE j.workunit_name = %(name)s

-- name: host
SELECT live, since FROM axiomd_host WHERE host_id = %(id)s

-- name: exclusion
SELECT since, reason, actor FROM axiomd_excluded WHERE host_id = %(id)s

-- name: account
SELECT opening, granted, IF(day = %(day)s, granted_today, 0) FROM axiomd_account WHERE kind = 1 AND id = %(id)s

-- name: postings
SELECT p.journal_id, e.at, e.kind, e.actor, p.credit
FROM axiomd_posting p FORCE INDEX (account) LEFT JOIN axiomd_journal e ON e.id = p.journal_id
WHERE p.kind = 1 AND p.id = %(id)s ORDER BY p.journal_id DESC LIMIT %(limit)s
