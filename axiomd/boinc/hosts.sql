-- One host, its daily quota, and what became of its probe.

-- name: host
SELECT id FROM host WHERE id = %(id)s AND userid <> 0

-- name: quotas
SELECT host_id, app_version_id, max_jobs_per_day FROM host_app_version
WHERE host_id IN %(host_ids)s AND (
  app_version_id IN (SELECT id FROM app_version WHERE appid IN %(app_ids)s)
  OR app_version_id >= %(anonymous)s AND app_version_id DIV %(anonymous)s IN %(app_ids)s)
ORDER BY host_id, app_version_id

-- name: set_quota
UPDATE host_app_version SET max_jobs_per_day = %(jobs)s
WHERE host_id = %(host_id)s AND app_version_id = %(app_version_id)s

-- name: probes
-- Workunits by name, with what their hosts made of them and what was harvested of that.
SELECT w.name, w.error_mask & 16, w.create_time + w.delay_bound, r.hostid, r.report_deadline, m.outcome
FROM workunit w LEFT JOIN result r FORCE INDEX (res_wuid) ON r.workunitid = w.id
LEFT JOIN axiomd_measurement m ON m.result_id = r.id
WHERE w.name IN %(names)s
