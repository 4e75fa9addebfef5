-- What journal entries changed, beside what BOINC's rows say now; and how it is reversed.
-- The parameters host_id, batch and experiment narrow what is read; 0 or '' doesn't.

-- name: grants
SELECT JSON_ARRAYAGG(JSON_ARRAY(l.journal_id, l.result_id, l.generation, l.credit, l.host_id, l.user_id, l.team_id,
  (SELECT MAX(g.generation) FROM axiomd_ledger g WHERE g.result_id = l.result_id), r.granted_credit,
  COALESCE(r.appid, 0)))
FROM axiomd_ledger l FORCE INDEX (journal)
LEFT JOIN result r ON r.id = l.result_id LEFT JOIN workunit w ON w.id = r.workunitid
WHERE l.journal_id IN %(entries)s AND {keys} AND (%(host_id)s = 0 OR l.host_id = %(host_id)s)
  AND (%(batch)s = '' OR SUBSTRING_INDEX(SUBSTRING_INDEX(w.name, '-', 3), '-', -1) = %(batch)s)
  AND (%(experiment)s = '' OR SUBSTRING_INDEX(w.name, '-v', 1) = %(experiment)s)

-- name: take_granted
UPDATE axiomd_ledger l FORCE INDEX (journal) STRAIGHT_JOIN result r ON r.id = l.result_id
SET r.granted_credit = 0 WHERE l.journal_id = %(journal_id)s AND r.granted_credit = -l.credit

-- name: successors
SELECT id, rpc_seqno FROM host FORCE INDEX (PRIMARY) WHERE id IN %(ids)s AND userid = 0 AND rpc_seqno <> 0

-- name: lock_hosts
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, expavg_credit, expavg_time, IF(userid = 0, rpc_seqno, 0)))
FROM host FORCE INDEX (PRIMARY) WHERE id IN %(ids)s FOR UPDATE

-- name: lock_users
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, expavg_credit, expavg_time, 0)) FROM user FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s FOR UPDATE

-- name: lock_teams
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, expavg_credit, expavg_time, 0)) FROM team FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s FOR UPDATE

-- name: take_from_hosts
UPDATE ({rows}) v STRAIGHT_JOIN host t ON t.id = v.id
SET t.total_credit = t.total_credit - v.credit, t.expavg_credit = t.expavg_credit - v.average

-- name: take_from_users
UPDATE ({rows}) v STRAIGHT_JOIN user t ON t.id = v.id
SET t.total_credit = t.total_credit - v.credit, t.expavg_credit = t.expavg_credit - v.average

-- name: take_from_teams
UPDATE ({rows}) v STRAIGHT_JOIN team t ON t.id = v.id
SET t.total_credit = t.total_credit - v.credit, t.expavg_credit = t.expavg_credit - v.average

-- name: credit_by_user
SELECT userid, appid, expavg, expavg_time FROM credit_user
WHERE userid IN %(ids)s AND appid IN %(app_ids)s AND credit_type = 0 ORDER BY userid, appid FOR UPDATE

-- name: take_credit_user
UPDATE ({rows}) v STRAIGHT_JOIN credit_user c ON c.userid = v.id AND c.appid = v.app_id AND c.credit_type = 0
SET c.njobs = c.njobs - v.jobs, c.total = c.total - v.credit, c.expavg = c.expavg - v.average

-- name: credit_by_team
SELECT teamid, appid, expavg, expavg_time FROM credit_team
WHERE teamid IN %(ids)s AND appid IN %(app_ids)s AND credit_type = 0 ORDER BY teamid, appid FOR UPDATE

-- name: take_credit_team
UPDATE ({rows}) v STRAIGHT_JOIN credit_team c ON c.teamid = v.id AND c.appid = v.app_id AND c.credit_type = 0
SET c.njobs = c.njobs - v.jobs, c.total = c.total - v.credit, c.expavg = c.expavg - v.average

-- name: changed_results
-- Results that aborts and repairs changed; those that only went along with a cancelled workunit go along back.
SELECT c.journal_id, c.row_id, c.reason, c.before_change, c.after_change,
  EXISTS (SELECT 1 FROM axiomd_change u WHERE u.subject = 'result' AND u.row_id = c.row_id
    AND u.journal_id > c.journal_id AND u.reason = CONCAT('undo:', c.reason)),
  COALESCE(w.id, 0), r.server_state, r.outcome, r.validate_state, r.report_deadline, r.granted_credit,
  w.error_mask, w.need_validate, w.canonical_resultid, w.assimilate_state
FROM axiomd_change c LEFT JOIN result r ON r.id = c.row_id LEFT JOIN workunit w ON w.id = r.workunitid
WHERE c.journal_id IN %(entries)s AND c.subject = 'result' AND c.reason <> 'abort:unsent' AND {keys}
  AND (%(host_id)s = 0 OR r.hostid = %(host_id)s)
  AND (%(batch)s = '' OR SUBSTRING_INDEX(SUBSTRING_INDEX(w.name, '-', 3), '-', -1) = %(batch)s)
  AND (%(experiment)s = '' OR SUBSTRING_INDEX(w.name, '-v', 1) = %(experiment)s)
ORDER BY c.journal_id, c.row_id

-- name: changed_workunits
SELECT c.journal_id, c.row_id, c.reason, c.before_change, c.after_change,
  EXISTS (SELECT 1 FROM axiomd_change u WHERE u.subject = 'workunit' AND u.row_id = c.row_id
    AND u.journal_id > c.journal_id AND u.reason = CONCAT('undo:', c.reason)),
  w.id, w.transitioner_flags, w.error_mask, w.need_validate, w.canonical_resultid, w.assimilate_state,
  (SELECT COUNT(*) FROM result r FORCE INDEX (res_wuid) WHERE r.workunitid = c.row_id)
FROM axiomd_change c LEFT JOIN workunit w ON w.id = c.row_id
WHERE c.journal_id IN %(entries)s AND c.subject = 'workunit' AND {keys}
  AND (%(host_id)s = 0 OR JSON_EXTRACT(c.after_change, '$.host') = %(host_id)s
    OR JSON_CONTAINS(c.before_change, CAST(%(host_id)s AS CHAR), '$.targets'))
  AND (%(batch)s = '' OR SUBSTRING_INDEX(SUBSTRING_INDEX(w.name, '-', 3), '-', -1) = %(batch)s)
  AND (%(experiment)s = '' OR SUBSTRING_INDEX(w.name, '-v', 1) = %(experiment)s)
ORDER BY c.journal_id, c.row_id

-- name: workunits_of
SELECT DISTINCT workunitid FROM result FORCE INDEX (PRIMARY) WHERE id IN %(ids)s ORDER BY workunitid

-- name: restore_deadlines
UPDATE ({rows}) v STRAIGHT_JOIN result r ON r.id = v.id SET r.report_deadline = v.deadline

-- name: withdrawn
SELECT r.id FROM axiomd_change c STRAIGHT_JOIN result r ON r.id = c.row_id
WHERE c.journal_id = %(journal_id)s AND c.subject = 'result' AND c.reason = 'abort:unsent'
  AND r.workunitid IN %(workunit_ids)s AND r.server_state = 5 AND r.outcome = 5 ORDER BY r.id

-- name: unsend
UPDATE result FORCE INDEX (PRIMARY) SET server_state = 2, outcome = 0
WHERE id IN %(ids)s AND server_state = 5 AND outcome = 5

-- name: uncancel
UPDATE workunit FORCE INDEX (PRIMARY) SET error_mask = error_mask & ~16, transition_time = %(now)s WHERE id IN %(ids)s

-- name: lose_reports
UPDATE ({rows}) v STRAIGHT_JOIN result r ON r.id = v.id SET r.outcome = v.outcome, r.validate_state = v.validate_state

-- name: restore_flags
UPDATE ({rows}) v STRAIGHT_JOIN workunit w ON w.id = v.id
SET w.transitioner_flags = v.flags, w.transition_time = v.transition_time

-- name: assignments_of
SELECT workunitid, id, target_type, target_id FROM assignment WHERE workunitid IN %(ids)s ORDER BY id

-- name: assignments
SELECT id, create_time, target_id, target_type, multi, resultid FROM assignment WHERE id IN %(ids)s ORDER BY id

-- name: insert_assignments
INSERT INTO assignment (create_time, target_id, target_type, multi, workunitid, resultid) VALUES {rows}

-- name: delete_assignments
DELETE FROM assignment WHERE id IN %(ids)s

-- name: workunits_named
SELECT w.name, w.id, w.error_mask, w.assimilate_state, w.canonical_resultid,
  (SELECT COUNT(*) FROM result r FORCE INDEX (res_wuid) WHERE r.workunitid = w.id
    AND (r.server_state = 4 OR r.sent_time > 0 OR r.server_state = 5 AND r.outcome <> 5))
FROM workunit w WHERE w.name IN %(names)s
