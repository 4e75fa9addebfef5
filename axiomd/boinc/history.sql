-- Results that finished before the baseline and weren't paid: read by primary key, a range at a time, without locks.
-- "Final" is what boinc.states.ending calls anything but NOT_FINAL.

-- name: last_result
SELECT COALESCE(MAX(id), 0) FROM result

-- name: unpaid
SELECT r.id FROM result r FORCE INDEX (PRIMARY) LEFT JOIN axiomd_result a ON a.result_id = r.id
WHERE r.id > %(after)s AND r.id <= %(upto)s AND r.appid IN %(app_ids)s AND r.granted_credit = 0
  AND r.received_time >= %(since)s AND r.received_time < %(until)s
  AND r.server_state = 5 AND r.outcome <> 4 AND NOT (r.outcome = 1 AND r.validate_state IN (0, 3, 4))
  AND (a.result_id IS NULL OR a.credit_mark = 2 AND a.reason = 'before_baseline')
ORDER BY r.id

-- name: dealt_with
-- Workunits that wait for an assimilator since before the baseline, none of whose results could be paid any more.
SELECT h.workunit_id FROM axiomd_history h WHERE h.workunit_id IN %(workunit_ids)s AND NOT EXISTS (
  SELECT 1 FROM result r FORCE INDEX (res_wuid) LEFT JOIN axiomd_result a ON a.result_id = r.id
  WHERE r.workunitid = h.workunit_id AND r.granted_credit = 0
    AND r.server_state = 5 AND r.outcome <> 4 AND NOT (r.outcome = 1 AND r.validate_state IN (0, 3, 4))
    AND (a.result_id IS NULL OR a.credit_mark = 0 OR a.reason = 'before_baseline'))
