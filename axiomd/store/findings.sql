-- Independent results and what follows from them: axiomd_replicate, axiomd_finding, and what was discounted.

-- name: distrusted_hosts
SELECT host_id FROM axiomd_excluded WHERE actor = 'verify'

-- name: independent_seeds
SELECT experiment, version, COUNT(*) FROM axiomd_replicate GROUP BY experiment, version

-- name: trusted_seeds
SELECT experiment, version, COUNT(*) FROM axiomd_replicate WHERE host_id NOT IN %(distrusted)s
GROUP BY experiment, version

-- name: layouts
SELECT id, layout FROM axiomd_layout WHERE experiment = %(experiment)s AND version = %(version)s

-- name: replicates
SELECT JSON_ARRAYAGG(JSON_ARRAY(r.id, r.layout_id, r.host_id, r.user_id, r.platform, r.at, HEX(r.quantities)))
FROM (
  SELECT id, layout_id, host_id, user_id, platform, at, quantities FROM axiomd_replicate FORCE INDEX (seed)
  WHERE experiment = %(experiment)s AND version = %(version)s AND seed > %(after)s
  ORDER BY seed LIMIT %(limit)s
) r

-- name: page_end
SELECT MAX(p.seed), COUNT(*) FROM (
  SELECT seed FROM axiomd_replicate FORCE INDEX (seed)
  WHERE experiment = %(experiment)s AND version = %(version)s AND seed > %(after)s ORDER BY seed LIMIT %(limit)s
) p

-- name: spread
SELECT experiment, version, COUNT(*), COUNT(DISTINCT host_id), COUNT(DISTINCT user_id),
  MAX(platform = 1), MAX(platform = 2), MAX(platform = 3), MAX(platform = 0)
FROM axiomd_replicate WHERE host_id NOT IN %(distrusted)s GROUP BY experiment, version

-- name: whole_spread
SELECT COUNT(*), COUNT(DISTINCT host_id), COUNT(DISTINCT user_id),
  MAX(platform = 1), MAX(platform = 2), MAX(platform = 3), MAX(platform = 0)
FROM axiomd_replicate WHERE host_id NOT IN %(distrusted)s

-- name: distrusted_results
SELECT experiment, version, COUNT(*) FROM axiomd_replicate WHERE host_id IN %(distrusted)s
GROUP BY experiment, version

-- name: repeated_results
SELECT m.experiment, m.version, s.id IS NOT NULL, COUNT(*)
FROM (
  SELECT m.result_id FROM axiomd_measurement m FORCE INDEX (failure)
  LEFT JOIN axiomd_replicate r ON r.result_id = m.result_id
  WHERE m.failure_id = 0 AND r.id IS NULL
) d
JOIN axiomd_measurement m ON m.result_id = d.result_id AND m.outcome = 1
LEFT JOIN axiomd_replicate s ON s.experiment = m.experiment AND s.version = m.version AND s.seed = m.seed
GROUP BY m.experiment, m.version, s.id IS NOT NULL

-- name: kept_findings
SELECT experiment, version, claim, claim_hash, verdict, at, seeds FROM axiomd_finding WHERE claim <> ''

-- name: retirements
SELECT experiment, version, seeds FROM axiomd_finding WHERE claim = ''

-- name: keep_finding
INSERT INTO axiomd_finding (experiment, version, claim, claim_hash, verdict, at, seeds)
VALUES (%(experiment)s, %(version)s, %(claim)s, %(claim_hash)s, %(verdict)s, %(at)s, %(seeds)s)
ON DUPLICATE KEY UPDATE experiment = experiment

-- name: findings_resting_on
SELECT f.experiment, f.version, f.claim, f.claim_hash FROM axiomd_finding f
WHERE f.claim <> '' AND EXISTS (
  SELECT 1 FROM axiomd_replicate r FORCE INDEX (seed)
  WHERE r.experiment = f.experiment AND r.version = f.version AND r.host_id IN %(host_ids)s AND r.at <= f.at)

-- name: withdraw_findings
DELETE FROM axiomd_finding WHERE (experiment, version, claim, claim_hash) IN %(keys)s

-- name: note_retirement
INSERT INTO axiomd_finding (experiment, version, claim, claim_hash, verdict, at, seeds)
VALUES (%(experiment)s, %(version)s, '', '', 'retired', %(at)s, %(seeds)s)
ON DUPLICATE KEY UPDATE at = VALUES(at), seeds = VALUES(seeds)
