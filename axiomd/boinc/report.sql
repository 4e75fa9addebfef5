-- What a report says of users and hosts: by primary key.

-- name: users
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, name)) FROM user WHERE id IN %(ids)s

-- name: hosts
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, p_ncpus, p_ngpus)) FROM host WHERE id IN %(ids)s

-- name: silent_errors
-- What BOINC calls a success and whose output tells of an error; code 5 is failed.
SELECT m.experiment, m.version, m.gpu, COUNT(*)
FROM axiomd_measurement m FORCE INDEX (received) STRAIGHT_JOIN result r ON r.id = m.result_id
WHERE m.received_at >= %(since)s AND m.received_at < %(until)s AND m.outcome = 5
  AND r.outcome = 1 AND r.validate_state = 1
GROUP BY 1, 2, 3
