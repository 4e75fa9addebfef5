-- One row and what belongs to it, for `axiomd explain`. Plain reads.

-- name: kinds_of_id
SELECT 'result' FROM result WHERE id = %(id)s UNION ALL SELECT 'workunit' FROM workunit WHERE id = %(id)s
UNION ALL SELECT 'host' FROM host WHERE id = %(id)s

-- name: result_named
SELECT id FROM result WHERE name = %(name)s

-- name: workunit_named
SELECT id FROM workunit WHERE name = %(name)s

-- name: result
SELECT r.id, r.name, r.workunitid, r.appid, r.hostid, r.create_time, r.server_state, r.outcome, r.validate_state,
  r.exit_status, r.sent_time, r.received_time, r.report_deadline, r.elapsed_time, r.granted_credit
FROM result r WHERE r.id = %(id)s

-- name: workunit
SELECT w.id, w.name, w.appid, w.create_time, w.transitioner_flags, w.transition_time, w.error_mask, w.need_validate,
  w.canonical_resultid, w.assimilate_state, w.target_nresults, w.max_total_results
FROM workunit w WHERE w.id = %(id)s

-- name: host
SELECT h.id, h.userid, COALESCE(u.teamid, 0), h.rpc_time, h.rpc_seqno, h.p_ncpus, h.p_ngpus, h.m_nbytes, h.total_credit,
  h.expavg_credit, h.expavg_time
FROM host h LEFT JOIN user u ON u.id = h.userid WHERE h.id = %(id)s

-- name: app
SELECT name FROM app WHERE id = %(id)s

-- name: results_of
SELECT id FROM result FORCE INDEX (res_wuid) WHERE workunitid = %(id)s ORDER BY id LIMIT %(limit)s

-- name: tasks_of
SELECT id, sent_time FROM result WHERE hostid = %(id)s AND server_state = 4 ORDER BY sent_time, id LIMIT %(limit)s

-- name: waiting_for
SELECT COUNT(*) FROM assignment a STRAIGHT_JOIN workunit w ON w.id = a.workunitid
WHERE a.target_type = 1 AND a.target_id = %(id)s AND a.multi = 0 AND w.assimilate_state = 0 AND w.error_mask = 0
  AND NOT EXISTS (SELECT 1 FROM result r FORCE INDEX (res_wuid) WHERE r.workunitid = w.id)
