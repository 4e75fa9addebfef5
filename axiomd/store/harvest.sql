-- What the harvest writes: measurements, independent results, failures, tallies, sizes, comparisons; and its marks.

-- name: closed
SELECT result_id, harvest_mark = 1 FROM axiomd_result WHERE result_id IN %(ids)s AND harvest_mark <> 1
UNION ALL SELECT result_id, 1 FROM axiomd_measurement WHERE result_id IN %(ids)s

-- name: outcomes
SELECT JSON_ARRAYAGG(JSON_ARRAY(a.result_id, a.harvest_mark, m.outcome)) FROM axiomd_result a
LEFT JOIN axiomd_measurement m ON m.result_id = a.result_id WHERE a.result_id IN %(ids)s

-- name: mark
INSERT INTO axiomd_result (result_id, workunit_id, credit_mark, harvest_mark) VALUES {rows}
ON DUPLICATE KEY UPDATE harvest_mark = VALUES(harvest_mark)

-- name: layouts
SELECT id, experiment, version, hash, layout FROM axiomd_layout ORDER BY id

-- name: insert_layout
INSERT IGNORE INTO axiomd_layout (hash, experiment, version, layout)
VALUES (%(hash)s, %(experiment)s, %(version)s, %(layout)s)

-- name: insert_measurements
INSERT INTO axiomd_measurement (result_id, workunit_id, experiment, version, seed, host_id, user_id, platform, gpu,
  received_at, elapsed_s, outcome, failure_id, layout_id, digest, numbers) VALUES {rows}

-- name: insert_replicates
INSERT IGNORE INTO axiomd_replicate (experiment, version, seed, host_id, user_id, platform, gpu, at, digest, result_id,
  layout_id, quantities) VALUES {rows}

-- name: independent
SELECT JSON_ARRAYAGG(JSON_ARRAY(result_id)) FROM axiomd_replicate FORCE INDEX (result) WHERE result_id IN %(ids)s

-- name: seeds_there
SELECT experiment, version, seed FROM axiomd_replicate FORCE INDEX (seed)
WHERE (experiment, version, seed) IN %(seeds)s

-- name: failures_known
SELECT fingerprint, id FROM axiomd_failure FORCE INDEX (fingerprint) WHERE fingerprint IN %(fingerprints)s

-- name: failures_counted
SELECT experiment, version, COUNT(*) FROM axiomd_failure WHERE (experiment, version) IN %(experiments)s
GROUP BY experiment, version

-- name: insert_failures
INSERT IGNORE INTO axiomd_failure (fingerprint, experiment, version, class, place, detail, results, first_at, last_at)
VALUES {rows}

-- name: count_failures
UPDATE ({rows}) v STRAIGHT_JOIN axiomd_failure f ON f.id = v.id
SET f.results = f.results + v.results, f.first_at = LEAST(f.first_at, v.first_at),
  f.last_at = GREATEST(f.last_at, v.last_at)

-- name: add_tallies
INSERT INTO axiomd_tally (hour, experiment, version, host_id, gpu, platform, results, failures, limits, seconds)
VALUES {rows}
ON DUPLICATE KEY UPDATE results = results + VALUES(results), failures = failures + VALUES(failures),
  limits = limits + VALUES(limits), seconds = seconds + VALUES(seconds), platform = VALUES(platform)

-- name: add_sizes
INSERT INTO axiomd_size (experiment, version, gpu, quantity, bucket, results) VALUES {rows}
ON DUPLICATE KEY UPDATE results = results + VALUES(results)

-- name: others_of
(SELECT %(result_id)s, result_id, HEX(numbers) FROM axiomd_measurement FORCE INDEX (seed)
WHERE experiment = %(experiment)s AND version = %(version)s AND seed = %(seed)s AND host_id <> %(host_id)s
  AND outcome = 1 AND layout_id = %(layout_id)s AND result_id <> %(result_id)s ORDER BY result_id LIMIT %(limit)s)

-- name: insert_comparisons
INSERT IGNORE INTO axiomd_comparison (first_id, second_id, experiment, version, seed, agrees, worst_key, difference, at)
VALUES {rows}

-- name: insert_verifications
-- A dispute that was settled is looked at again: a later result disagrees too.
INSERT INTO axiomd_verification (experiment, version, seed, state, verdict, since) VALUES {rows}
ON DUPLICATE KEY UPDATE verdict = IF(state = 2, VALUES(verdict), verdict), state = IF(state = 2, 0, state)

-- name: independent_measurements
SELECT m.result_id, m.version, m.seed, m.host_id, m.user_id, m.platform, m.gpu, m.received_at, m.elapsed_s, m.outcome, 1,
  m.layout_id, m.numbers
FROM axiomd_replicate r FORCE INDEX (seed) STRAIGHT_JOIN axiomd_measurement m ON m.result_id = r.result_id
WHERE r.experiment = %(experiment)s AND r.version = %(version)s AND r.seed > %(seed)s AND m.layout_id > 0
  AND r.host_id NOT IN (SELECT host_id FROM axiomd_excluded WHERE actor = 'verify')
ORDER BY r.seed LIMIT %(limit)s

-- name: measurements
SELECT m.result_id, m.version, m.seed, m.host_id, m.user_id, m.platform, m.gpu, m.received_at, m.elapsed_s, m.outcome,
  EXISTS (SELECT 1 FROM axiomd_replicate r FORCE INDEX (result) WHERE r.result_id = m.result_id)
    AND m.host_id NOT IN (SELECT host_id FROM axiomd_excluded WHERE actor = 'verify'),
  m.layout_id, m.numbers
FROM axiomd_measurement m FORCE INDEX (seed)
WHERE m.experiment = %(experiment)s AND m.version = %(version)s AND m.seed >= %(seed)s
  AND (m.seed > %(seed)s OR m.result_id > %(result_id)s) AND m.layout_id > 0
ORDER BY m.seed, m.result_id LIMIT %(limit)s
