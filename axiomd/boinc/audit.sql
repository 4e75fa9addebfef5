-- Conservation: the ledger against the journal, the results, the accounts, and BOINC's totals.

-- name: ledger_totals
SELECT COUNT(*), COALESCE(SUM(credit), 0) FROM axiomd_ledger

-- name: journal_differs
SELECT j.id, j.credit, COALESCE(l.credit, 0) FROM axiomd_journal j
LEFT JOIN (SELECT journal_id, SUM(credit) AS credit FROM axiomd_ledger GROUP BY journal_id) l ON l.journal_id = j.id
WHERE j.kind = 'credit' AND j.credit <> COALESCE(l.credit, 0) LIMIT %(limit)s

-- name: ledger_without_journal
SELECT l.result_id, l.journal_id FROM axiomd_ledger l LEFT JOIN axiomd_journal j ON j.id = l.journal_id
WHERE j.id IS NULL LIMIT %(limit)s

-- name: results_differ
SELECT l.result_id, l.credit, r.granted_credit
FROM (SELECT result_id, SUM(credit) AS credit FROM axiomd_ledger GROUP BY result_id) l
JOIN result r ON r.id = l.result_id WHERE r.granted_credit <> l.credit LIMIT %(limit)s

-- name: purged_results
SELECT COUNT(*) FROM axiomd_ledger l LEFT JOIN result r ON r.id = l.result_id WHERE r.id IS NULL

-- name: marks_differ
SELECT l.result_id, a.credit_mark FROM axiomd_ledger l LEFT JOIN axiomd_result a ON a.result_id = l.result_id
WHERE a.credit_mark IS NULL OR a.credit_mark <> 1 LIMIT %(limit)s

-- name: paid_without_ledger
SELECT a.result_id FROM axiomd_result a FORCE INDEX (open_marks) LEFT JOIN axiomd_ledger l ON l.result_id = a.result_id
WHERE a.credit_mark = 1 AND l.result_id IS NULL LIMIT %(limit)s

-- name: hosts_differ
SELECT l.id, l.credit, COALESCE(a.granted, 0)
FROM (SELECT host_id AS id, SUM(credit) AS credit FROM axiomd_ledger GROUP BY host_id) l
LEFT JOIN axiomd_account a ON a.kind = 1 AND a.id = l.id WHERE l.credit <> COALESCE(a.granted, 0) LIMIT %(limit)s

-- name: users_differ
SELECT l.id, l.credit, COALESCE(a.granted, 0)
FROM (SELECT user_id AS id, SUM(credit) AS credit FROM axiomd_ledger GROUP BY user_id) l
LEFT JOIN axiomd_account a ON a.kind = 2 AND a.id = l.id WHERE l.credit <> COALESCE(a.granted, 0) LIMIT %(limit)s

-- name: teams_differ
SELECT l.id, l.credit, COALESCE(a.granted, 0)
FROM (SELECT team_id AS id, SUM(credit) AS credit FROM axiomd_ledger WHERE team_id <> 0 GROUP BY team_id) l
LEFT JOIN axiomd_account a ON a.kind = 3 AND a.id = l.id WHERE l.credit <> COALESCE(a.granted, 0) LIMIT %(limit)s

-- name: host_totals_differ
SELECT h.id, h.total_credit, a.opening + a.granted FROM axiomd_account a JOIN host h ON h.id = a.id
WHERE a.kind = 1 AND ABS(h.total_credit - a.opening - a.granted) > 1e-9 * GREATEST(ABS(h.total_credit), 1)
LIMIT %(limit)s

-- name: user_totals_differ
SELECT u.id, u.total_credit, a.opening + a.granted FROM axiomd_account a JOIN user u ON u.id = a.id
WHERE a.kind = 2 AND ABS(u.total_credit - a.opening - a.granted) > 1e-9 * GREATEST(ABS(u.total_credit), 1)
LIMIT %(limit)s

-- name: team_totals_differ
SELECT t.id, t.total_credit, a.opening + a.granted FROM axiomd_account a JOIN team t ON t.id = a.id
WHERE a.kind = 3 AND ABS(t.total_credit - a.opening - a.granted) > 1e-9 * GREATEST(ABS(t.total_credit), 1)
LIMIT %(limit)s
