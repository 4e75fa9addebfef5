-- Finished results: how they are found, read, and paid.
-- "Final" is what boinc.states.ending calls anything but NOT_FINAL.
-- The parameter `harvest` is the mark of an open harvest, and -1, which no row has, where outputs are not read; `first` is the mark that a new row begins with.

-- name: ready_workunits
SELECT JSON_ARRAYAGG(JSON_ARRAY(id)) FROM (
  SELECT w.id FROM workunit w FORCE INDEX (wu_assim)
  LEFT JOIN axiomd_history h ON h.workunit_id = w.id
  WHERE w.appid = %(app_id)s AND w.assimilate_state = 1 AND w.id > %(after)s AND h.workunit_id IS NULL
  ORDER BY w.id LIMIT %(limit)s) page

-- name: open_results_of
SELECT JSON_ARRAYAGG(JSON_ARRAY(r.workunitid, r.id, IF(a.harvest_mark = %(harvest)s, 0, COALESCE(a.look_at, 0))))
FROM result r FORCE INDEX (res_wuid)
LEFT JOIN axiomd_result a ON a.result_id = r.id
WHERE r.workunitid IN %(workunit_ids)s AND (a.result_id IS NULL OR a.credit_mark = 0 OR a.harvest_mark = %(harvest)s)
  AND r.server_state = 5 AND r.outcome <> 4 AND NOT (r.outcome = 1 AND r.validate_state IN (0, 3, 4))

-- name: open_results
SELECT a.result_id, a.workunit_id FROM axiomd_result a STRAIGHT_JOIN result r ON r.id = a.result_id
WHERE a.credit_mark = 0 AND a.look_at <= %(now)s AND a.result_id > %(after)s
  AND r.server_state = 5 AND r.outcome <> 4 AND NOT (r.outcome = 1 AND r.validate_state IN (0, 3, 4))
ORDER BY a.result_id LIMIT %(limit)s

-- name: open_harvests
-- What the statement above leaves out: paid or refused, or put off, and not harvested yet.
SELECT a.result_id, a.workunit_id FROM axiomd_result a FORCE INDEX (open_harvests)
STRAIGHT_JOIN result r ON r.id = a.result_id
WHERE a.harvest_mark = 1 AND (a.credit_mark > 0 OR a.credit_mark = 0 AND a.look_at > %(now)s)
  AND a.result_id > %(after)s AND r.server_state = 5 AND r.outcome <> 4 AND NOT (r.outcome = 1 AND r.validate_state IN (0, 3, 4))
ORDER BY a.result_id LIMIT %(limit)s

-- name: purged
SELECT a.result_id FROM axiomd_result a FORCE INDEX (open_marks) LEFT JOIN result r ON r.id = a.result_id
WHERE a.credit_mark = 0 AND r.id IS NULL LIMIT %(limit)s

-- name: forget
DELETE FROM axiomd_result WHERE result_id IN %(ids)s AND credit_mark = 0

-- name: purged_harvests
SELECT a.result_id FROM axiomd_result a FORCE INDEX (open_harvests) LEFT JOIN result r ON r.id = a.result_id
WHERE a.harvest_mark = 1 AND a.credit_mark > 0 AND r.id IS NULL LIMIT %(limit)s

-- name: forget_harvests
UPDATE axiomd_result SET harvest_mark = 3 WHERE result_id IN %(ids)s AND harvest_mark = 1

-- name: newest_mod_time
SELECT UNIX_TIMESTAMP(MAX(mod_time)) FROM result

-- name: take_in_changed
INSERT IGNORE INTO axiomd_result (result_id, workunit_id, credit_mark, harvest_mark)
-- What changed is read off the index alone; only what has no mark yet is looked up in the table.
SELECT r.id, r.workunitid, 0, %(first)s FROM result changed FORCE INDEX (axiomd_mod_time)
LEFT JOIN axiomd_result a ON a.result_id = changed.id STRAIGHT_JOIN result r ON r.id = changed.id
WHERE changed.mod_time >= FROM_UNIXTIME(%(since)s) AND r.appid IN %(app_ids)s AND a.result_id IS NULL
  AND r.received_time >= %(baseline)s
  AND r.server_state = 5 AND r.outcome <> 4 AND NOT (r.outcome = 1 AND r.validate_state IN (0, 3, 4))

-- name: newest_result
SELECT COALESCE(MAX(id), 0) FROM result

-- name: take_in_new
INSERT IGNORE INTO axiomd_result (result_id, workunit_id, credit_mark, harvest_mark)
SELECT r.id, r.workunitid, 0, %(first)s FROM result r FORCE INDEX (PRIMARY)
LEFT JOIN axiomd_result a ON a.result_id = r.id
WHERE r.id > %(after)s AND r.appid IN %(app_ids)s AND a.result_id IS NULL

-- name: take_in_unfinished
INSERT IGNORE INTO axiomd_result (result_id, workunit_id, credit_mark, harvest_mark)
SELECT r.id, r.workunitid, 0, %(first)s FROM result r FORCE INDEX (res_app_state)
WHERE r.appid IN %(app_ids)s AND r.server_state IN (1, 2, 4)

-- name: take_in_unreported
INSERT IGNORE INTO axiomd_result (result_id, workunit_id, credit_mark, harvest_mark)
SELECT r.id, r.workunitid, 0, %(first)s
FROM workunit w FORCE INDEX (wu_assim) STRAIGHT_JOIN result r ON r.workunitid = w.id
WHERE w.appid IN %(app_ids)s AND w.assimilate_state = 0 AND r.server_state = 5 AND r.outcome = 4

-- name: take_in_late
INSERT IGNORE INTO axiomd_result (result_id, workunit_id, credit_mark, harvest_mark)
SELECT r.id, r.workunitid, 0, %(first)s FROM result r FORCE INDEX (res_wuid)
WHERE r.workunitid IN %(workunit_ids)s
  AND NOT (r.server_state = 5 AND r.outcome <> 4 AND NOT (r.outcome = 1 AND r.validate_state IN (0, 3, 4)))

-- name: note_history
INSERT IGNORE INTO axiomd_history (workunit_id)
SELECT w.id FROM workunit w FORCE INDEX (wu_assim)
WHERE w.appid IN %(app_ids)s AND w.assimilate_state = 1
  AND NOT EXISTS (SELECT 1 FROM result r WHERE r.workunitid = w.id AND r.server_state <> 5)

-- name: count_history
SELECT COALESCE(SUM(granted_credit > 0), 0), COUNT(*) FROM result FORCE INDEX (res_app_state)
WHERE appid IN %(app_ids)s AND server_state = 5

-- name: finished_results
SELECT JSON_ARRAYAGG(JSON_ARRAY(
  r.id, r.workunitid, r.appid, r.hostid, r.server_state, r.outcome, r.validate_state, r.exit_status, r.elapsed_time,
  r.sent_time, r.received_time, r.granted_credit, r.app_version_id, w.error_mask & 16, e.workunit_id IS NOT NULL,
  IF(w.canonical_resultid = r.id, SUBSTRING_INDEX(w.name, '-', 2), ''),
  COALESCE((SELECT MAX(l.generation) FROM axiomd_ledger l WHERE l.result_id = r.id), -1) + 1,
  COALESCE(SUBSTRING_INDEX(w.name, '-v', 1), '')))
FROM result r FORCE INDEX (PRIMARY)
LEFT JOIN workunit w ON w.id = r.workunitid
LEFT JOIN axiomd_ended e ON e.workunit_id = r.workunitid
LEFT JOIN axiomd_result a ON a.result_id = r.id
WHERE r.id IN %(ids)s AND COALESCE(a.credit_mark, 0) IN %(marks)s

-- name: owners
SELECT JSON_ARRAYAGG(JSON_ARRAY(h.id, u.id, t.id, h.p_fpops, h.p_gpu_fpops)) FROM host h FORCE INDEX (PRIMARY)
LEFT JOIN user u ON u.id = h.userid LEFT JOIN team t ON t.id = u.teamid
WHERE h.id IN %(ids)s

-- name: gpu_app_versions
SELECT id FROM app_version WHERE appid IN %(app_ids)s
  AND (plan_class LIKE '%%cuda%%' OR plan_class LIKE '%%nvidia%%' OR plan_class LIKE '%%opencl%%' OR plan_class LIKE '%%ati%%'
    OR plan_class LIKE '%%amd%%' OR plan_class LIKE '%%intel_gpu%%' OR plan_class LIKE '%%apple_gpu%%' OR plan_class LIKE '%%gpu%%')

-- name: write_granted
-- Only what is still as it was when it was decided: final, unpaid, and of the same host.
UPDATE axiomd_ledger l FORCE INDEX (journal) STRAIGHT_JOIN result r ON r.id = l.result_id
SET r.granted_credit = l.credit
WHERE l.journal_id = %(journal_id)s AND r.granted_credit = 0 AND r.hostid = l.host_id AND r.server_state = 5
  AND (r.outcome = 1 AND r.validate_state = 1 OR r.outcome = 3)

-- name: lock_hosts
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, userid, expavg_credit, expavg_time)) FROM host FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s FOR UPDATE

-- name: lock_users
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, teamid, expavg_credit, expavg_time)) FROM user FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s FOR UPDATE

-- name: teams_there
SELECT id FROM team FORCE INDEX (PRIMARY) WHERE id IN %(ids)s LIMIT 1

-- name: lock_teams
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, 0, expavg_credit, expavg_time)) FROM team FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s FOR UPDATE

-- name: pay
-- The average decays as policies/rac.py has it; what the grants add to it was worked out there.
UPDATE axiomd_posting p FORCE INDEX (PRIMARY) STRAIGHT_JOIN {table} t ON t.id = p.id
SET t.total_credit = t.total_credit + p.credit,
  t.expavg_credit = p.average
    + t.expavg_credit * IF(t.expavg_time > 0, EXP(-GREATEST(%(now)s - t.expavg_time, 0) * %(decay)s), 1),
  t.expavg_time = %(now)s
WHERE p.journal_id = %(journal_id)s AND p.kind = %(kind)s

-- name: credit_by_user
SELECT userid, appid, expavg, expavg_time FROM credit_user
WHERE userid IN %(ids)s AND appid IN %(app_ids)s AND credit_type = 0 ORDER BY userid, appid FOR UPDATE

-- name: pay_credit_user
INSERT INTO credit_user (userid, appid, njobs, total, expavg, expavg_time, credit_type) VALUES {rows}
ON DUPLICATE KEY UPDATE njobs = njobs + VALUES(njobs), total = total + VALUES(total), expavg = VALUES(expavg),
  expavg_time = VALUES(expavg_time)

-- name: credit_by_team
SELECT teamid, appid, expavg, expavg_time FROM credit_team
WHERE teamid IN %(ids)s AND appid IN %(app_ids)s AND credit_type = 0 ORDER BY teamid, appid FOR UPDATE

-- name: pay_credit_team
INSERT INTO credit_team (teamid, appid, njobs, total, expavg, expavg_time, credit_type) VALUES {rows}
ON DUPLICATE KEY UPDATE njobs = njobs + VALUES(njobs), total = total + VALUES(total), expavg = VALUES(expavg),
  expavg_time = VALUES(expavg_time)

-- name: mark_assimilated
UPDATE workunit FORCE INDEX (PRIMARY) SET assimilate_state = 2, transition_time = %(now)s
WHERE id IN %(ids)s AND assimilate_state = 1
