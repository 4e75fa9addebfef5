-- How large jobs turned out to be, and what died of its limits.

-- name: sizes
SELECT quantity, bucket, results FROM axiomd_size
WHERE experiment = %(experiment)s AND version = %(version)s AND gpu = %(gpu)s

-- name: factor
SELECT factor, at FROM axiomd_limit
WHERE experiment = %(experiment)s AND version = %(version)s AND gpu = %(gpu)s

-- name: put_factor
INSERT INTO axiomd_limit (experiment, version, gpu, factor, at)
VALUES (%(experiment)s, %(version)s, %(gpu)s, %(factor)s, %(at)s)
ON DUPLICATE KEY UPDATE factor = VALUES(factor), at = VALUES(at)

-- name: deaths
-- Only hours that began after the bounds were last made wider: what died before then died of the old ones.
SELECT t.experiment, t.version, t.gpu, SUM(t.results), SUM(t.limits) AS died
FROM axiomd_tally t
LEFT JOIN axiomd_limit l ON l.experiment = t.experiment AND l.version = t.version AND l.gpu = t.gpu
WHERE t.hour >= %(since_hour)s AND t.hour * 3600 >= COALESCE(l.at, 0)
GROUP BY t.experiment, t.version, t.gpu HAVING died >= %(fewest)s

-- name: causes
SELECT DISTINCT class FROM axiomd_failure
WHERE experiment = %(experiment)s AND version = %(version)s AND last_at >= %(since)s AND class IN %(classes)s
ORDER BY class
