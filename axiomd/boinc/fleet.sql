-- Hosts and the work that they have.

-- name: apps
SELECT id, name FROM app WHERE name IN %(names)s

-- name: changed_contacts
SELECT h.id, h.rpc_time, a.live FROM host h LEFT JOIN axiomd_host a ON a.host_id = h.id
WHERE (a.live = 1 AND h.rpc_time < %(live_since)s)
   OR (COALESCE(a.live, 0) = 0 AND h.rpc_time >= %(live_since)s AND h.userid <> 0)

-- name: silence
SELECT COUNT(*), COALESCE(SUM(h.rpc_time < %(silent_since)s), 0)
FROM axiomd_host a STRAIGHT_JOIN host h ON h.id = a.host_id WHERE a.live = 1

-- name: latest_contact
SELECT COUNT(*), COALESCE(MAX(rpc_time), 0) FROM host WHERE userid <> 0

-- name: live_hosts
SELECT id, p_ncpus, p_ngpus, m_nbytes, rpc_time FROM host WHERE rpc_time >= %(live_since)s AND userid <> 0 ORDER BY id

-- name: quotas
SELECT v.host_id, SUM(v.max_jobs_per_day), SUM(v.n_jobs_today)
FROM host_app_version v STRAIGHT_JOIN host h ON h.id = v.host_id AND h.rpc_time >= %(live_since)s
WHERE v.app_version_id IN (SELECT id FROM app_version WHERE appid IN %(app_ids)s) GROUP BY v.host_id

-- name: app_versions
SELECT id FROM app_version WHERE appid IN %(app_ids)s

-- name: failing_hosts
-- Each failure lowers max_jobs_per_day by one and sets consecutive_valid to 0. One pass along the index finds the few
-- suspects, and only they are looked up.
SELECT COUNT(*) FROM (
  SELECT DISTINCT v.host_id FROM host_app_version v
  WHERE v.app_version_id IN %(app_versions)s AND v.consecutive_valid = 0 AND v.max_jobs_per_day <= %(most_jobs)s
) suspect
STRAIGHT_JOIN host h ON h.id = suspect.host_id
WHERE h.rpc_time >= %(live_since)s AND h.userid <> 0 AND h.id NOT IN %(excluded)s
  AND (SELECT SUM(o.consecutive_valid) FROM host_app_version o FORCE INDEX (hap)
    WHERE o.host_id = h.id AND o.app_version_id IN %(app_versions)s) = 0

-- name: jobs_in_progress
SELECT r.hostid, SUBSTRING_INDEX(w.name, '-v', 1), COUNT(*)
FROM result r FORCE INDEX (res_app_state) STRAIGHT_JOIN workunit w ON w.id = r.workunitid
WHERE r.appid IN %(app_ids)s AND r.server_state = 4 GROUP BY 1, 2

-- name: jobs_waiting
SELECT a.target_id, SUBSTRING_INDEX(w.name, '-v', 1), COUNT(*)
FROM assignment a STRAIGHT_JOIN workunit w ON w.id = a.workunitid
LEFT JOIN result r ON r.workunitid = w.id
WHERE a.target_type = 1 AND a.multi = 0 AND w.appid IN %(app_ids)s AND w.assimilate_state = 0 AND w.error_mask = 0
  AND r.id IS NULL
GROUP BY 1, 2

-- name: jobs_unsent
SELECT SUBSTRING_INDEX(w.name, '-v', 1), COUNT(*)
FROM result r FORCE INDEX (res_app_state) STRAIGHT_JOIN workunit w ON w.id = r.workunitid
WHERE r.appid IN %(app_ids)s AND r.server_state = 2 GROUP BY 1

-- name: jobs_untouched
SELECT SUBSTRING_INDEX(w.name, '-v', 1), COUNT(*)
FROM workunit w FORCE INDEX (wu_assim) LEFT JOIN result r ON r.workunitid = w.id
WHERE w.appid IN %(app_ids)s AND w.assimilate_state = 0 AND w.error_mask = 0 AND w.transitioner_flags = 0
  AND r.id IS NULL
GROUP BY 1

-- name: workunits_named
SELECT name FROM workunit WHERE name IN %(names)s

-- name: results_by_state
SELECT server_state, COUNT(*) FROM result FORCE INDEX (res_app_state)
WHERE appid IN %(app_ids)s AND server_state IN (2, 4) GROUP BY server_state

-- name: workunits_to_validate
SELECT COUNT(*) FROM workunit FORCE INDEX (wu_val) WHERE appid IN %(app_ids)s AND need_validate > 0

-- name: workunits_to_assimilate
SELECT COUNT(*) FROM workunit FORCE INDEX (wu_assim) WHERE appid IN %(app_ids)s AND assimilate_state = 1

-- name: backlog
SELECT COUNT(*), MIN(r.received_time) FROM workunit w FORCE INDEX (wu_assim)
STRAIGHT_JOIN result r ON r.workunitid = w.id
LEFT JOIN axiomd_history h ON h.workunit_id = w.id LEFT JOIN axiomd_result a ON a.result_id = r.id
WHERE w.appid IN %(app_ids)s AND w.assimilate_state = 1 AND h.workunit_id IS NULL
  AND (a.result_id IS NULL OR a.credit_mark = 0)
  AND r.server_state = 5 AND r.outcome <> 4 AND NOT (r.outcome = 1 AND r.validate_state IN (0, 3, 4))

-- name: backlog_of_marks
SELECT COUNT(*), MIN(r.received_time) FROM axiomd_result a STRAIGHT_JOIN result r ON r.id = a.result_id
WHERE a.credit_mark = 0 AND r.server_state = 5 AND r.outcome <> 4
  AND NOT (r.outcome = 1 AND r.validate_state IN (0, 3, 4))
