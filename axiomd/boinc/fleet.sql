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
SELECT id, p_ncpus, p_ngpus, m_nbytes, rpc_time, userid, os_name FROM host
WHERE rpc_time >= %(live_since)s AND userid <> 0 ORDER BY id

-- name: quotas
SELECT v.host_id, SUM(v.max_jobs_per_day), SUM(v.n_jobs_today)
FROM host_app_version v STRAIGHT_JOIN host h ON h.id = v.host_id AND h.rpc_time >= %(live_since)s
WHERE v.app_version_id IN (SELECT id FROM app_version WHERE appid IN %(app_ids)s) GROUP BY v.host_id

-- name: jobs_in_progress
-- The last column counts verification copies: their batch has a v in it, -b812v1-s17. As bytes, for that is fastest.
SELECT r.hostid, SUBSTRING_INDEX(w.name, '-v', 1), COUNT(*), SUM(CAST(w.name AS BINARY) LIKE '%%-b%%v%%-s%%')
FROM result r FORCE INDEX (res_app_state) STRAIGHT_JOIN workunit w ON w.id = r.workunitid
WHERE r.appid IN %(app_ids)s AND r.server_state = 4 GROUP BY 1, 2

-- name: jobs_waiting
SELECT a.target_id, SUBSTRING_INDEX(w.name, '-v', 1), COUNT(*), SUM(CAST(w.name AS BINARY) LIKE '%%-b%%v%%-s%%')
FROM assignment a STRAIGHT_JOIN workunit w ON w.id = a.workunitid
LEFT JOIN result r ON r.workunitid = w.id
WHERE a.target_type = 1 AND a.multi = 0 AND w.appid IN %(app_ids)s AND w.assimilate_state = 0 AND w.error_mask = 0
  AND r.id IS NULL
GROUP BY 1, 2

-- name: jobs_unsent
SELECT SUBSTRING_INDEX(w.name, '-v', 1), COUNT(*), SUM(CAST(w.name AS BINARY) LIKE '%%-b%%v%%-s%%')
FROM result r FORCE INDEX (res_app_state) STRAIGHT_JOIN workunit w ON w.id = r.workunitid
WHERE r.appid IN %(app_ids)s AND r.server_state = 2 GROUP BY 1

-- name: jobs_untouched
SELECT SUBSTRING_INDEX(w.name, '-v', 1), COUNT(*), SUM(CAST(w.name AS BINARY) LIKE '%%-b%%v%%-s%%')
FROM workunit w FORCE INDEX (wu_assim) LEFT JOIN result r ON r.workunitid = w.id
WHERE w.appid IN %(app_ids)s AND w.assimilate_state = 0 AND w.error_mask = 0 AND w.transitioner_flags = 0
  AND r.id IS NULL
GROUP BY 1

-- name: workunits_named
SELECT name FROM workunit WHERE name IN %(names)s

-- name: workunits_out
-- Neither ended in error nor with a canonical result that the harvest has dealt with.
SELECT w.name FROM workunit w LEFT JOIN axiomd_result a ON a.result_id = w.canonical_resultid
WHERE w.name IN %(names)s AND w.error_mask = 0 AND (w.canonical_resultid = 0 OR COALESCE(a.harvest_mark, 1) = 1)

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
