-- Tasks, that is results in progress: those that hang, how they are ended, and reports that were lost.

-- name: tasks_out
SELECT r.id, r.workunitid, r.hostid, r.sent_time, r.report_deadline, w.delay_bound, COALESCE(h.rpc_time, 0),
  w.transition_time, w.error_mask & 16, w.canonical_resultid,
  EXISTS (SELECT 1 FROM axiomd_change u WHERE u.subject = 'result' AND u.row_id = r.id AND u.reason LIKE 'undo:abort:%%')
FROM result r FORCE INDEX (res_app_state)
JOIN workunit w ON w.id = r.workunitid LEFT JOIN host h ON h.id = r.hostid
WHERE r.appid = %(app_id)s AND r.server_state = 4 AND r.id > %(after)s
  AND (r.sent_time < %(ceiling)s OR (r.sent_time < %(stuck)s AND COALESCE(h.rpc_time, 0) < %(silent)s))
ORDER BY r.id LIMIT %(limit)s

-- name: tasks
SELECT r.id, r.workunitid, r.hostid, r.sent_time, r.report_deadline, w.delay_bound, COALESCE(h.rpc_time, 0),
  w.transition_time, w.error_mask & 16, w.canonical_resultid,
  EXISTS (SELECT 1 FROM axiomd_change u WHERE u.subject = 'result' AND u.row_id = r.id AND u.reason LIKE 'undo:abort:%%')
FROM result r FORCE INDEX (PRIMARY)
JOIN workunit w ON w.id = r.workunitid LEFT JOIN host h ON h.id = r.hostid
WHERE r.id IN %(ids)s AND r.server_state = 4

-- name: pass_deadline
UPDATE result FORCE INDEX (PRIMARY) SET report_deadline = %(deadline)s WHERE id IN %(ids)s AND server_state = 4

-- name: unsent_of
SELECT id FROM result FORCE INDEX (res_wuid) WHERE workunitid IN %(workunit_ids)s AND server_state <= 2

-- name: withdraw
UPDATE result FORCE INDEX (PRIMARY) SET server_state = 5, outcome = 5 WHERE id IN %(ids)s AND server_state <= 2

-- name: cancel
UPDATE workunit FORCE INDEX (PRIMARY) SET error_mask = error_mask | 16, transition_time = %(now)s WHERE id IN %(ids)s

-- name: lost_reports
-- What a person wants to count as lost stays so.
SELECT r.id, r.workunitid FROM workunit w FORCE INDEX (wu_assim) STRAIGHT_JOIN result r ON r.workunitid = w.id
WHERE w.appid IN %(app_ids)s AND w.assimilate_state = 0
  AND r.server_state = 5 AND r.outcome = 4 AND r.received_time > 0 AND r.received_time < %(before)s
  AND NOT EXISTS (
    SELECT 1 FROM axiomd_change u WHERE u.subject = 'result' AND u.row_id = r.id AND u.reason = 'undo:repair:lost_report')
UNION
SELECT r.id, r.workunitid FROM axiomd_result a STRAIGHT_JOIN result r ON r.id = a.result_id
WHERE a.credit_mark = 0 AND r.server_state = 5 AND r.outcome = 4 AND r.received_time > 0 AND r.received_time < %(before)s
  AND NOT EXISTS (
    SELECT 1 FROM axiomd_change u WHERE u.subject = 'result' AND u.row_id = r.id AND u.reason = 'undo:repair:lost_report')
LIMIT %(limit)s

-- name: reports
SELECT id, workunitid, client_state, exit_status, validate_state FROM result FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s AND server_state = 5 AND outcome = 4 AND received_time > 0

-- name: restore_successes
UPDATE result FORCE INDEX (PRIMARY) SET outcome = 1, validate_state = 0 WHERE id IN %(ids)s AND outcome = 4

-- name: restore_errors
UPDATE result FORCE INDEX (PRIMARY) SET outcome = 3, validate_state = 2 WHERE id IN %(ids)s AND outcome = 4
