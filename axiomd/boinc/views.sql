-- Hosts and jobs as the API shows them: by primary key, or by what is in flight, never by history.

-- name: host_ids
SELECT id FROM host FORCE INDEX (PRIMARY) WHERE id > %(after)s AND userid <> 0 ORDER BY id LIMIT %(limit)s

-- name: judged_ids
SELECT host_id FROM axiomd_host FORCE INDEX (PRIMARY) WHERE host_id > %(after)s AND live = %(live)s
ORDER BY host_id LIMIT %(limit)s

-- name: hosts
SELECT h.id, h.p_ncpus, h.p_ngpus, h.m_nbytes, h.rpc_time, COALESCE(a.live, 0), COALESCE(c.granted, 0)
FROM host h LEFT JOIN axiomd_host a ON a.host_id = h.id LEFT JOIN axiomd_account c ON c.kind = 1 AND c.id = h.id
WHERE h.id IN %(ids)s AND h.userid <> 0 ORDER BY h.id

-- name: jobs_in_progress
-- One host's, among its latest results: what it has is new, and the rest of its history is not looked at.
SELECT %(id)s, COUNT(*) FROM (
  SELECT appid, server_state FROM result FORCE INDEX (res_hostid_id)
  WHERE hostid = %(id)s ORDER BY id DESC LIMIT %(latest)s) r
WHERE r.server_state = 4 AND r.appid IN %(app_ids)s

-- name: jobs_of_experiments
-- In progress or unsent; waiting for their target host; not looked at by the transitioner yet.
SELECT j.experiment, SUM(j.jobs) FROM (
  SELECT SUBSTRING_INDEX(w.name, '-v', 1) AS experiment, COUNT(*) AS jobs
  FROM result r FORCE INDEX (res_app_state) STRAIGHT_JOIN workunit w ON w.id = r.workunitid
  WHERE r.appid IN %(app_ids)s AND r.server_state IN (2, 4) GROUP BY 1
  UNION ALL
  SELECT SUBSTRING_INDEX(w.name, '-v', 1), COUNT(*)
  FROM assignment a STRAIGHT_JOIN workunit w ON w.id = a.workunitid
  LEFT JOIN result r FORCE INDEX (res_wuid) ON r.workunitid = w.id
  WHERE a.target_type = 1 AND a.multi = 0 AND w.appid IN %(app_ids)s AND w.assimilate_state = 0 AND w.error_mask = 0
    AND r.id IS NULL GROUP BY 1
  UNION ALL
  SELECT SUBSTRING_INDEX(w.name, '-v', 1), COUNT(*)
  FROM workunit w FORCE INDEX (wu_assim) LEFT JOIN result r FORCE INDEX (res_wuid) ON r.workunitid = w.id
  WHERE w.appid IN %(app_ids)s AND w.assimilate_state = 0 AND w.error_mask = 0 AND w.transitioner_flags = 0
    AND r.id IS NULL GROUP BY 1
) j GROUP BY j.experiment
