-- How much of a kind was done in a window, and since when.

-- name: changes
SELECT COALESCE(SUM(changes), 0), MIN(at) FROM axiomd_journal FORCE INDEX (kind_at)
WHERE kind = %(kind)s AND at > %(since)s

-- name: credit
SELECT COALESCE(SUM(credit), 0), MIN(at) FROM axiomd_journal FORCE INDEX (kind_at)
WHERE kind = %(kind)s AND at > %(since)s

-- name: jobs
-- Jobs that were given up don't count.
SELECT COUNT(*), MIN(e.at) FROM axiomd_journal e FORCE INDEX (kind_at) STRAIGHT_JOIN axiomd_job j ON j.journal_id = e.id
WHERE e.kind = %(kind)s AND e.at > %(since)s AND j.state <> 2

-- name: look_at_once
UPDATE axiomd_result SET look_at = 0 WHERE credit_mark = 0 AND reason = 'cap'
