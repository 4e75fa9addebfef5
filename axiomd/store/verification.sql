-- Seeds whose results disagree: the dispute, its results, and how they compare. All are found from the few that are open.

-- name: open_disputes
SELECT experiment, version, seed, state, copies, detail FROM axiomd_verification FORCE INDEX (state) WHERE state < 2
ORDER BY since, experiment, version, seed LIMIT %(limit)s

-- name: lock_disputes
SELECT experiment, version, seed FROM axiomd_verification FORCE INDEX (state) WHERE state < 2 FOR UPDATE

-- name: results
SELECT m.experiment, m.version, m.seed, m.result_id, m.host_id, m.user_id, m.platform, m.gpu, m.outcome
FROM axiomd_verification v FORCE INDEX (state)
STRAIGHT_JOIN axiomd_measurement m FORCE INDEX (seed)
  ON m.experiment = v.experiment AND m.version = v.version AND m.seed = v.seed
WHERE v.state < 2 ORDER BY m.result_id

-- name: comparisons
SELECT c.experiment, c.version, c.seed, c.first_id, c.second_id, c.agrees
FROM axiomd_verification v FORCE INDEX (state)
STRAIGHT_JOIN axiomd_comparison c FORCE INDEX (seed)
  ON c.experiment = v.experiment AND c.version = v.version AND c.seed = v.seed
WHERE v.state < 2

-- name: excluded_since
SELECT COALESCE(SUM(changes), 0) FROM axiomd_journal FORCE INDEX (kind_at) WHERE kind = 'verify' AND at > %(since)s

-- name: wants_copy
SELECT EXISTS (SELECT 1 FROM axiomd_verification FORCE INDEX (state) WHERE state = 0)

-- name: put_disputes
INSERT INTO axiomd_verification (experiment, version, seed, state, verdict, copies, since, detail) VALUES {rows}
ON DUPLICATE KEY UPDATE state = VALUES(state), verdict = VALUES(verdict), copies = VALUES(copies),
  since = VALUES(since), detail = VALUES(detail)
