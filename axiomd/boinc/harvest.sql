-- Finished results as the harvest reads them. Plain reads, by primary key.

-- name: results
-- xml_doc_out holds what a client said, and any bytes: bounded and in base64 it can't break the document.
SELECT JSON_ARRAYAGG(JSON_ARRAY(
  r.id, r.workunitid, r.appid, r.hostid, r.server_state, r.outcome, r.validate_state, r.exit_status, r.elapsed_time,
  r.sent_time, r.received_time, r.app_version_id, r.file_delete_state, r.name, COALESCE(w.name, ''), w.error_mask & 16,
  e.workunit_id IS NOT NULL,
  IF(r.outcome = 1 AND r.validate_state = 1, COALESCE(TO_BASE64(LEFT(r.xml_doc_out, 4096)), ''), '')))
FROM result r FORCE INDEX (PRIMARY)
LEFT JOIN workunit w ON w.id = r.workunitid
LEFT JOIN axiomd_ended e ON e.workunit_id = r.workunitid
LEFT JOIN axiomd_result a ON a.result_id = r.id
WHERE r.id IN %(ids)s AND COALESCE(a.harvest_mark, 1) = 1

-- name: hosts
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, userid, p_fpops, LEFT(COALESCE(os_name, ''), 64))) FROM host FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s

-- name: errors
-- The client's own words stand first, a traceback last.
SELECT id, CAST(IF(LENGTH(stderr_out) > 10240, CONCAT(LEFT(stderr_out, 2048), CHAR(10), RIGHT(stderr_out, 8192)),
  COALESCE(stderr_out, '')) AS BINARY)
FROM result FORCE INDEX (PRIMARY) WHERE id IN %(ids)s
