-- The journal, as it is read page by page; and the calls of a caller.

-- name: window_before
SELECT MIN(id), COUNT(*) FROM (
  SELECT id FROM axiomd_journal WHERE id < %(cursor)s ORDER BY id DESC LIMIT %(looked_at)s) looked

-- name: window_after
SELECT MAX(id), COUNT(*) FROM (
  SELECT id FROM axiomd_journal WHERE id > %(cursor)s AND id < %(before)s ORDER BY id LIMIT %(looked_at)s) looked

-- name: entries_before
SELECT id, at, kind, cause, actor, changes, credit, detail FROM axiomd_journal FORCE INDEX (PRIMARY)
WHERE id < %(cursor)s AND id >= %(bound)s AND (%(kind)s = '' OR kind = %(kind)s) ORDER BY id DESC LIMIT %(limit)s

-- name: entries_after
SELECT id, at, kind, cause, actor, changes, credit, detail FROM axiomd_journal FORCE INDEX (PRIMARY)
WHERE id > %(cursor)s AND id <= %(bound)s AND (%(kind)s = '' OR kind = %(kind)s) ORDER BY id LIMIT %(limit)s

-- name: entry
SELECT id, at, kind, cause, actor, changes, credit, detail FROM axiomd_journal WHERE id = %(id)s

-- name: changes
SELECT subject, row_id, reason, before_change, after_change FROM axiomd_change
WHERE journal_id = %(id)s ORDER BY subject, row_id LIMIT %(limit)s

-- name: grants
SELECT result_id, host_id, credit FROM axiomd_ledger FORCE INDEX (journal)
WHERE journal_id = %(id)s ORDER BY result_id, generation LIMIT %(limit)s

-- name: jobs
SELECT workunit_name, host_id, state FROM axiomd_job FORCE INDEX (journal)
WHERE journal_id = %(id)s ORDER BY workunit_name LIMIT %(limit)s

-- name: calls_since
SELECT id, intervention, parameters FROM axiomd_intervention FORCE INDEX (caller_begun)
WHERE caller = %(caller)s AND begun_at > %(since)s ORDER BY begun_at DESC LIMIT %(limit)s
