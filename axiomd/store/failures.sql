-- Failures: how often, of what, on which hosts; where experiments are stopped; the hosts' circuit breakers.

-- name: failing_now
-- Experiments with some failures in the window; only these are looked at host by host.
SELECT experiment, version FROM axiomd_tally FORCE INDEX (PRIMARY)
WHERE hour >= %(since_hour)s AND failures > 0
GROUP BY experiment, version HAVING SUM(failures) >= %(few)s ORDER BY experiment, version

-- name: lifts
SELECT experiment, version, since FROM axiomd_stop WHERE platform = -2 AND since >= %(since)s

-- name: by_host
-- How an experiment's results ended on each host. What came in up to the hour in which a host's breaker closed doesn't
-- count. Grouped by numbers alone, and hour by hour along the key: a name in the groups would make this a table on disk.
SELECT t.gpu, t.host_id, MAX(t.platform) AS platform, SUM(t.results) AS results, SUM(t.failures) AS failures,
  MIN(t.hour) AS first_hour
FROM axiomd_tally t FORCE INDEX (PRIMARY) LEFT JOIN axiomd_breaker b ON b.host_id = t.host_id
WHERE t.hour IN %(hours)s AND t.experiment = %(experiment)s AND t.version = %(version)s AND t.results > 0
  AND t.host_id NOT IN %(excluded)s AND (b.host_id IS NULL OR b.state = 0 AND t.hour > FLOOR(b.since / 3600))
GROUP BY t.gpu, t.host_id

-- name: by_host_since_lift
-- The same of an experiment whose stop was lifted within the window, to the second.
SELECT m.gpu, m.host_id, MAX(m.platform) AS platform, COUNT(*) AS results, SUM(m.outcome NOT IN (1, 6)) AS failures,
  MIN(FLOOR(m.received_at / 3600)) AS first_hour
FROM axiomd_measurement m FORCE INDEX (received) LEFT JOIN axiomd_breaker b ON b.host_id = m.host_id
WHERE m.received_at > %(lifted)s AND m.experiment = %(experiment)s AND m.version = %(version)s
  AND m.host_id NOT IN %(excluded)s AND (b.host_id IS NULL OR b.state = 0)
GROUP BY m.gpu, m.host_id

-- name: cells
-- No host counts for more results than is usual for the others (their geometric mean), or than a few.
SELECT w.gpu, w.platform, COUNT(*), CEILING(SUM(w.counted) - 1e-6),
  FLOOR(SUM(w.failures * w.counted / w.results) + 1e-6), SUM(w.results), SUM(w.failures), MIN(w.first_hour)
FROM (
  SELECT h.*, LEAST(h.results, GREATEST(%(few)s, COALESCE(EXP(
    (SUM(LN(h.results)) OVER (PARTITION BY h.gpu) - LN(h.results))
    / NULLIF(COUNT(*) OVER (PARTITION BY h.gpu) - 1, 0)), 0))) AS counted
  FROM ({rows}) h
) w
GROUP BY w.gpu, w.platform

-- name: suspects
SELECT t.host_id FROM axiomd_tally t FORCE INDEX (PRIMARY) LEFT JOIN axiomd_breaker b ON b.host_id = t.host_id
WHERE t.hour >= %(since_hour)s AND t.failures > 0 AND t.host_id NOT IN %(excluded)s
  AND (b.host_id IS NULL OR b.state = 0 AND t.hour > FLOOR(b.since / 3600))
GROUP BY t.host_id HAVING SUM(t.failures) >= %(few)s

-- name: work_of
-- What these hosts did, with how many rows (one an hour) it is, and the sum of their shares of failures.
SELECT JSON_ARRAYAGG(JSON_ARRAY(d.host_id, d.experiment, d.version, d.gpu, d.platform, d.results, d.failures, d.hours,
  d.shares)) FROM (
  SELECT t.host_id, t.experiment, t.version, t.gpu, t.platform, SUM(t.results) AS results, SUM(t.failures) AS failures,
    COUNT(*) AS hours, SUM(t.failures / t.results) AS shares
  FROM axiomd_tally t FORCE INDEX (PRIMARY) LEFT JOIN axiomd_breaker b ON b.host_id = t.host_id
  WHERE t.hour >= %(since_hour)s AND t.results > 0 AND t.host_id IN %(ids)s
    AND (b.host_id IS NULL OR t.hour > FLOOR(b.since / 3600))
  GROUP BY t.host_id, t.experiment, t.version, t.gpu, t.platform) d

-- name: fleet
-- The same of all hosts together, hour by hour.
SELECT t.experiment, t.version, t.gpu, t.platform, COUNT(*), SUM(t.failures / t.results)
FROM axiomd_tally t FORCE INDEX (PRIMARY) LEFT JOIN axiomd_breaker b ON b.host_id = t.host_id
WHERE t.hour >= %(since_hour)s AND t.results > 0 AND t.host_id NOT IN %(excluded)s
  AND (b.host_id IS NULL OR b.state = 0 AND t.hour > FLOOR(b.since / 3600))
GROUP BY t.experiment, t.version, t.gpu, t.platform

-- name: failed_hosts
SELECT DISTINCT host_id FROM axiomd_tally FORCE INDEX (PRIMARY)
WHERE hour >= %(since_hour)s AND experiment = %(experiment)s AND version = %(version)s AND failures > 0
  AND (%(platform)s = -1 OR platform = %(platform)s)

-- name: frequent
-- The most frequent failure among the latest of an experiment.
SELECT f.class, f.place, f.detail, COUNT(*) FROM (
  SELECT m.failure_id FROM axiomd_measurement m FORCE INDEX (received)
  WHERE m.received_at >= %(since)s AND m.experiment = %(experiment)s AND m.version = %(version)s
    AND (%(platform)s = -1 OR m.platform = %(platform)s) AND m.failure_id <> 0
  ORDER BY m.received_at DESC LIMIT 1000) latest
STRAIGHT_JOIN axiomd_failure f ON f.id = latest.failure_id
GROUP BY f.id, f.class, f.place, f.detail ORDER BY COUNT(*) DESC, f.id LIMIT 1

-- name: of_host
SELECT f.class, f.place, f.detail, COUNT(*)
FROM axiomd_failure f STRAIGHT_JOIN axiomd_measurement m FORCE INDEX (failure) ON m.failure_id = f.id
WHERE f.last_at >= %(since)s AND m.host_id = %(host_id)s AND m.received_at >= %(since)s
GROUP BY f.id, f.class, f.place, f.detail

-- name: stops
SELECT experiment, version, gpu, platform FROM axiomd_stop WHERE platform >= -1

-- name: stop_rows
SELECT experiment, version, gpu, platform, since, reason FROM axiomd_stop WHERE platform >= -1
ORDER BY experiment, version, gpu, platform

-- name: put_stop
INSERT INTO axiomd_stop (experiment, version, gpu, platform, since, reason)
VALUES (%(experiment)s, %(version)s, %(gpu)s, %(platform)s, %(now)s, %(reason)s)
ON DUPLICATE KEY UPDATE experiment = VALUES(experiment)

-- name: delete_stops
DELETE FROM axiomd_stop WHERE experiment = %(experiment)s AND version = %(version)s AND platform >= -1

-- name: put_lift
REPLACE INTO axiomd_stop (experiment, version, gpu, platform, since, reason)
VALUES (%(experiment)s, %(version)s, 0, -2, %(now)s, %(reason)s)

-- name: breakers
SELECT host_id, state = 1 AND until_at > UNIX_TIMESTAMP(NOW(6)), until_at, probe FROM axiomd_breaker WHERE state > 0

-- name: set_probe
UPDATE axiomd_breaker SET state = 2, probe = %(probe)s WHERE host_id = %(host_id)s AND state > 0

-- name: intended
SELECT workunit_name FROM axiomd_job WHERE workunit_name IN %(names)s AND state = 0

-- name: breaker_rows
SELECT host_id, state, since, until_at, trips, reason, probe FROM axiomd_breaker WHERE state >= %(least)s
ORDER BY host_id

-- name: lock_breakers
SELECT host_id, state, since, until_at, trips, reason, probe FROM axiomd_breaker WHERE host_id IN %(ids)s
ORDER BY host_id FOR UPDATE

-- name: put_breakers
REPLACE INTO axiomd_breaker (host_id, state, since, until_at, trips, reason, probe) VALUES {rows}

-- name: exclusions
SELECT host_id, since, reason, actor FROM axiomd_excluded

-- name: failures
-- By how often they were seen. The hosts of each are counted along an index.
SELECT f.fingerprint, f.experiment, f.version, f.class, f.place, f.detail, f.results,
  (SELECT COUNT(DISTINCT m.host_id) FROM axiomd_measurement m FORCE INDEX (failure) WHERE m.failure_id = f.id),
  f.first_at, f.last_at
FROM (SELECT * FROM axiomd_failure WHERE %(experiment)s IN ('', experiment)
  ORDER BY results DESC, last_at DESC, id LIMIT %(limit)s) f
ORDER BY f.results DESC, f.last_at DESC, f.id

-- name: failure_count
SELECT COUNT(*), COALESCE(SUM(results), 0) FROM axiomd_failure WHERE %(experiment)s IN ('', experiment)

-- name: failures_between
SELECT f.fingerprint, f.experiment, f.version, f.class, f.place, f.detail, m.results, m.hosts, m.first_at, m.last_at
FROM (SELECT failure_id, COUNT(*) AS results, COUNT(DISTINCT host_id) AS hosts, MIN(received_at) AS first_at,
    MAX(received_at) AS last_at
  FROM axiomd_measurement FORCE INDEX (received)
  WHERE received_at >= %(since)s AND received_at < %(until)s AND failure_id <> 0 GROUP BY failure_id) m
STRAIGHT_JOIN axiomd_failure f ON f.id = m.failure_id
WHERE %(experiment)s IN ('', f.experiment)
ORDER BY m.results DESC, m.last_at DESC, f.id
