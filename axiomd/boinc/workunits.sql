-- Workunits that may be stuck: open ones, with their results and assignments.

-- name: suspects
-- Leaves out what is plainly healthy, so that a long queue of targeted jobs costs the daemon nothing; the policy decides.
SELECT w.id FROM workunit w FORCE INDEX (wu_assim)
WHERE w.appid = %(app_id)s AND w.assimilate_state = 0 AND w.id > %(after)s
  AND w.error_mask = 0 AND w.need_validate = 0 AND w.canonical_resultid = 0
  AND w.create_time < %(touched_before)s AND w.mod_time < FROM_UNIXTIME(%(touched_before)s)
  AND (
    w.transitioner_flags = 0 AND w.transition_time > %(stalled_after)s AND w.target_nresults > (
      SELECT COUNT(*) FROM result r FORCE INDEX (res_wuid) WHERE r.workunitid = w.id
        AND (r.server_state <= 4 OR r.outcome = 1 AND r.validate_state <> 2))
    OR w.transitioner_flags <> 1 AND w.transition_time > %(stalled_after)s
      AND EXISTS (SELECT 1 FROM result r FORCE INDEX (res_wuid) WHERE r.workunitid = w.id
        AND r.server_state = 5 AND r.outcome = 1 AND r.validate_state = 0)
    OR w.transitioner_flags = 1 AND w.id NOT IN (SELECT a.workunitid FROM assignment a WHERE a.multi = 1)
    OR w.transitioner_flags = 2
      AND NOT EXISTS (SELECT 1 FROM result r FORCE INDEX (res_wuid) WHERE r.workunitid = w.id AND r.server_state = 4)
      AND (
        EXISTS (SELECT 1 FROM result r FORCE INDEX (res_wuid) WHERE r.workunitid = w.id)
        OR w.id NOT IN (
          SELECT a.workunitid FROM assignment a LEFT JOIN host h ON a.target_type = 1 AND h.id = a.target_id
          WHERE a.target_type <> 1
            OR h.userid <> 0 AND h.rpc_time >= %(contact_since)s AND h.id NOT IN %(excluded)s)))
ORDER BY w.id LIMIT %(limit)s

-- name: unjudged
-- Finished ones with a late success that axiomd waits for, and nobody is going to judge.
SELECT DISTINCT w.id FROM axiomd_result a FORCE INDEX (open_marks) STRAIGHT_JOIN result r ON r.id = a.result_id
STRAIGHT_JOIN workunit w ON w.id = r.workunitid
WHERE a.credit_mark = 0 AND r.server_state = 5 AND r.outcome = 1 AND r.validate_state = 0 AND w.appid = %(app_id)s
  AND w.error_mask = 0 AND w.need_validate = 0 AND w.canonical_resultid <> 0 AND w.transitioner_flags <> 1
  AND w.transition_time > %(stalled_after)s AND w.mod_time < FROM_UNIXTIME(%(touched_before)s)
LIMIT %(limit)s

-- name: workunits
SELECT w.id, w.transitioner_flags, GREATEST(w.create_time, COALESCE(UNIX_TIMESTAMP(w.mod_time), 0)), w.transition_time,
  w.error_mask, w.need_validate, w.canonical_resultid, w.target_nresults, w.max_total_results, w.rsc_memory_bound,
  (SELECT GROUP_CONCAT(u.reason) FROM axiomd_change u
    WHERE u.subject = 'workunit' AND u.row_id = w.id AND u.reason LIKE 'undo:repair:%%'),
  w.min_quorum
FROM workunit w FORCE INDEX (PRIMARY) WHERE w.id IN %(ids)s

-- name: results_of
SELECT workunitid, id, server_state, outcome, validate_state, hostid
FROM result FORCE INDEX (res_wuid) WHERE workunitid IN %(ids)s

-- name: assignments_of
SELECT a.workunitid, a.id, a.target_type, a.target_id, a.multi, h.id, h.userid, h.rpc_time, h.rpc_seqno
FROM assignment a LEFT JOIN host h ON a.target_type = 1 AND h.id = a.target_id
WHERE a.workunitid IN %(ids)s

-- name: free
UPDATE workunit FORCE INDEX (PRIMARY) SET transitioner_flags = 0, transition_time = %(now)s WHERE id IN %(ids)s

-- name: touch
UPDATE workunit FORCE INDEX (PRIMARY) SET mod_time = FROM_UNIXTIME(%(now)s) WHERE id IN %(ids)s

-- name: delete_assignments
DELETE FROM assignment WHERE id IN %(ids)s

-- name: insert_assignments
INSERT INTO assignment (create_time, target_id, target_type, multi, workunitid, resultid) VALUES {rows}

-- name: overdue_transition
SELECT transition_time FROM workunit FORCE INDEX (wu_timeout)
WHERE transitioner_flags <> 1 ORDER BY transition_time LIMIT 1

-- name: jobs_of
-- Open jobs of these experiments and versions; their names begin with EXPERIMENT-vVERSION-.
SELECT w.id, w.name FROM workunit w FORCE INDEX (wu_assim)
WHERE w.appid IN %(app_ids)s AND w.assimilate_state = 0 AND w.id > %(after)s AND w.error_mask = 0
  AND w.canonical_resultid = 0 AND SUBSTRING_INDEX(w.name, '-', 2) IN %(prefixes)s
ORDER BY w.id LIMIT %(limit)s

-- name: open_jobs
SELECT w.id, w.name, w.error_mask, w.canonical_resultid <> 0, w.assimilate_state
FROM workunit w FORCE INDEX (PRIMARY) WHERE w.id IN %(ids)s

-- name: jobs_waiting_for
-- Open jobs of these experiments that wait for their target host, with what that host runs.
SELECT a.id, w.id, w.name, h.os_name
FROM assignment a FORCE INDEX (PRIMARY) STRAIGHT_JOIN workunit w ON w.id = a.workunitid
STRAIGHT_JOIN host h ON h.id = a.target_id LEFT JOIN result r FORCE INDEX (res_wuid) ON r.workunitid = w.id
WHERE a.id > %(after)s AND a.target_type = 1 AND a.multi = 0 AND w.appid IN %(app_ids)s AND w.assimilate_state = 0
  AND w.error_mask = 0 AND w.canonical_resultid = 0 AND SUBSTRING_INDEX(w.name, '-', 2) IN %(prefixes)s AND r.id IS NULL
ORDER BY a.id LIMIT %(limit)s

-- name: targets
SELECT a.workunitid, h.os_name FROM assignment a JOIN host h ON h.id = a.target_id
WHERE a.workunitid IN %(ids)s AND a.target_type = 1
