-- Conservation of credit: journal, ledger, postings, accounts, marks, and BOINC's own totals, a page at a time.
-- {which} is the page: a range of ids, or the ids themselves; {table} is host, user or team. No read takes a lock.

-- name: first_entry_since
SELECT MIN(id) FROM axiomd_journal FORCE INDEX (kind_at) WHERE kind IN %(kinds)s AND at >= %(since)s

-- name: entry_page
-- So many ledger rows at most, and so many entries: there are some without ledger rows.
SELECT MIN(id) FROM (
  (SELECT journal_id AS id FROM axiomd_ledger FORCE INDEX (journal) WHERE journal_id > %(after)s
  ORDER BY journal_id LIMIT 1 OFFSET %(size)s)
  UNION ALL
  (SELECT id FROM axiomd_journal FORCE INDEX (PRIMARY) WHERE id > %(after)s ORDER BY id LIMIT 1 OFFSET %(size)s)) page
HAVING MIN(id) IS NOT NULL

-- name: entries
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, kind, changes, credit)) FROM axiomd_journal FORCE INDEX (PRIMARY)
WHERE id > %(after)s AND id <= %(upto)s

-- name: ledger_of_entries
SELECT JSON_ARRAYAGG(JSON_ARRAY(journal_id, row_count, credit)) FROM (
  SELECT journal_id, COUNT(*) AS row_count, SUM(credit) AS credit FROM axiomd_ledger FORCE INDEX (journal)
  WHERE journal_id > %(after)s AND journal_id <= %(upto)s GROUP BY journal_id) page

-- name: postings_differ
SELECT journal_id, kind, id, SUM(posted), SUM(granted) FROM (
  SELECT journal_id, 1 AS kind, host_id AS id, 0 AS posted, credit AS granted FROM axiomd_ledger FORCE INDEX (journal)
  WHERE journal_id > %(after)s AND journal_id <= %(upto)s
  UNION ALL
  SELECT journal_id, 2, user_id, 0, credit FROM axiomd_ledger FORCE INDEX (journal)
  WHERE journal_id > %(after)s AND journal_id <= %(upto)s
  UNION ALL
  SELECT journal_id, 3, team_id, 0, credit FROM axiomd_ledger FORCE INDEX (journal)
  WHERE journal_id > %(after)s AND journal_id <= %(upto)s AND team_id <> 0
  UNION ALL
  SELECT journal_id, kind, id, credit, 0 FROM axiomd_posting FORCE INDEX (PRIMARY)
  WHERE journal_id > %(after)s AND journal_id <= %(upto)s) page
GROUP BY journal_id, kind, id HAVING SUM(posted) <> SUM(granted)

-- name: results_of_entries
SELECT JSON_ARRAYAGG(result_id) FROM (
  SELECT DISTINCT result_id FROM axiomd_ledger FORCE INDEX (journal)
  WHERE journal_id > %(after)s AND journal_id <= %(upto)s) page

-- name: accounts_of_entries
SELECT JSON_ARRAYAGG(JSON_ARRAY(kind, id)) FROM (
  SELECT DISTINCT kind, id FROM axiomd_posting FORCE INDEX (PRIMARY)
  WHERE journal_id > %(after)s AND journal_id <= %(upto)s) page

-- name: result_page
SELECT result_id FROM axiomd_ledger FORCE INDEX (PRIMARY) WHERE result_id > %(after)s
ORDER BY result_id LIMIT 1 OFFSET %(size)s

-- name: paid_results
-- Nearly all have one grant, as granted_credit and their mark say too; the others are told by id, to be looked at.
SELECT COALESCE(SUM(r.id IS NULL), 0), GROUP_CONCAT(DISTINCT
  IF(l.generation = 0 AND a.credit_mark = 1 AND COALESCE(r.granted_credit = l.credit, TRUE), NULL, l.result_id))
FROM axiomd_ledger l FORCE INDEX (PRIMARY)
LEFT JOIN axiomd_result a ON a.result_id = l.result_id
LEFT JOIN result r ON r.id = l.result_id
WHERE {which}

-- name: ledger_of_results
SELECT JSON_ARRAYAGG(JSON_ARRAY(l.result_id, l.generation, l.credit, a.credit_mark, r.granted_credit))
FROM axiomd_ledger l FORCE INDEX (PRIMARY)
LEFT JOIN axiomd_result a ON a.result_id = l.result_id
LEFT JOIN result r ON r.id = l.result_id
WHERE l.result_id IN %(ids)s

-- name: paid_without_ledger
SELECT a.result_id FROM axiomd_result a FORCE INDEX (PRIMARY)
WHERE a.result_id > %(after)s AND a.result_id <= %(upto)s AND a.credit_mark = 1 AND a.reason <> 'sealed'
  AND NOT EXISTS (SELECT 1 FROM axiomd_ledger l WHERE l.result_id = a.result_id)

-- name: account_page
SELECT id FROM axiomd_account FORCE INDEX (PRIMARY) WHERE kind = %(kind)s AND id > %(after)s
ORDER BY id LIMIT 1 OFFSET %(size)s

-- name: accounts
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, granted)) FROM axiomd_account FORCE INDEX (PRIMARY)
WHERE kind = %(kind)s AND granted <> 0 AND {which}

-- name: postings_of_accounts
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, credit)) FROM (
  SELECT id, SUM(credit) AS credit FROM axiomd_posting FORCE INDEX (account)
  WHERE kind = %(kind)s AND {which} GROUP BY kind, id) page

-- name: sealed_of_accounts
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, credit)) FROM axiomd_sealed FORCE INDEX (PRIMARY)
WHERE name = %(table)s AND {which}

-- name: sums
SELECT 'host', SUM(granted) FROM axiomd_account WHERE kind = 1
UNION ALL SELECT 'user', SUM(granted) FROM axiomd_account WHERE kind = 2
UNION ALL SELECT 'team', SUM(granted) FROM axiomd_account WHERE kind = 3

-- name: sealed
SELECT name, SUM(rows_sealed), SUM(credit) FROM axiomd_sealed GROUP BY name

-- name: merged_hosts
-- The web merges a host into another: it keeps its row with no owner, no credit, and the id of the other in rpc_seqno.
SELECT JSON_ARRAYAGG(JSON_ARRAY(h.id, h.rpc_seqno)) FROM host h JOIN axiomd_account a ON a.kind = 1 AND a.id = h.id
WHERE h.userid = 0 AND h.rpc_seqno <> 0 AND a.opening + a.granted <> 0

-- name: hosts_merged_into
SELECT id, IF(userid = 0, rpc_seqno, 0) FROM host WHERE id IN %(ids)s

-- name: totals_of_hosts
SELECT h.id, h.total_credit, COALESCE(a.opening + a.granted, 0)
FROM host h LEFT JOIN axiomd_account a ON a.kind = 1 AND a.id = h.id WHERE h.id IN %(ids)s

-- name: total_page
SELECT id FROM {table} FORCE INDEX (PRIMARY) WHERE id > %(after)s ORDER BY id LIMIT 1 OFFSET %(size)s

-- name: totals_differ
-- What another program granted before is no multiple of 1/1024, and sums that begin with it are rounded.
SELECT t.id, t.total_credit, COALESCE(a.opening + a.granted, 0)
FROM {table} t FORCE INDEX (PRIMARY) LEFT JOIN axiomd_account a ON a.kind = %(kind)s AND a.id = t.id
WHERE t.id > %(after)s AND t.id <= %(upto)s AND ABS(t.total_credit - COALESCE(a.opening + a.granted, 0))
  > IF(a.opening * 1024 <> FLOOR(a.opening * 1024), 1e-9 * GREATEST(ABS(t.total_credit), 1), 0)

-- name: deleted
SELECT COUNT(*) FROM axiomd_account a LEFT JOIN {table} t ON t.id = a.id WHERE a.kind = %(kind)s AND t.id IS NULL

-- name: write_openings
INSERT IGNORE INTO axiomd_account (kind, id, opening)
SELECT %(kind)s, id, total_credit FROM {table} WHERE total_credit <> 0

-- name: purged_results
SELECT JSON_ARRAYAGG(l.result_id) FROM axiomd_ledger l FORCE INDEX (journal) LEFT JOIN result r ON r.id = l.result_id
WHERE l.journal_id IN %(journal_ids)s AND r.id IS NULL
