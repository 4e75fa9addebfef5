-- What a period held, summed up by the server. Entries are found by kind and time, harvested results by when they came in.

-- name: oldest_entry
SELECT at FROM axiomd_journal ORDER BY id LIMIT 1

-- name: details
SELECT JSON_ARRAYAGG(JSON_ARRAY(kind, detail)) FROM (
  SELECT kind, detail FROM axiomd_journal FORCE INDEX (kind_at)
  WHERE kind IN %(kinds)s AND at >= %(since)s AND at < %(until)s ORDER BY kind, at DESC LIMIT %(limit)s) page

-- name: credit_by_day
SELECT FLOOR(at / 86400), SUM(credit) FROM axiomd_journal FORCE INDEX (kind_at)
WHERE kind IN ('credit', 'backfill', 'undo') AND at >= %(since)s AND at < %(until)s GROUP BY 1 ORDER BY 1

-- name: credit
-- A grant that was undone has a second row with its credit taken back: the two cancel out.
SELECT SUM(SIGN(l.credit)), SUM(l.credit), COUNT(DISTINCT l.user_id), COUNT(DISTINCT l.host_id)
FROM axiomd_journal j FORCE INDEX (kind_at) STRAIGHT_JOIN axiomd_ledger l FORCE INDEX (journal) ON l.journal_id = j.id
WHERE j.kind IN ('credit', 'backfill', 'undo') AND j.at >= %(since)s AND j.at < %(until)s

-- name: credit_by_amount
SELECT g.amount, g.results, g.credit FROM (
  SELECT ABS(l.credit) AS amount, SUM(SIGN(l.credit)) AS results, SUM(l.credit) AS credit
  FROM axiomd_journal j FORCE INDEX (kind_at) STRAIGHT_JOIN axiomd_ledger l FORCE INDEX (journal) ON l.journal_id = j.id
  WHERE j.kind IN ('credit', 'backfill', 'undo') AND j.at >= %(since)s AND j.at < %(until)s GROUP BY 1) g
WHERE g.results <> 0 ORDER BY ABS(g.results) DESC, g.amount DESC LIMIT %(limit)s

-- name: credit_by_user
SELECT l.user_id, SUM(SIGN(l.credit)), SUM(l.credit) AS credit, COUNT(DISTINCT l.host_id)
FROM axiomd_journal j FORCE INDEX (kind_at) STRAIGHT_JOIN axiomd_ledger l FORCE INDEX (journal) ON l.journal_id = j.id
WHERE j.kind IN ('credit', 'backfill', 'undo') AND j.at >= %(since)s AND j.at < %(until)s
GROUP BY l.user_id ORDER BY credit DESC, l.user_id LIMIT %(limit)s

-- name: credit_by_host
SELECT l.host_id, SUM(SIGN(l.credit)), SUM(l.credit) AS credit
FROM axiomd_journal j FORCE INDEX (kind_at) STRAIGHT_JOIN axiomd_ledger l FORCE INDEX (journal) ON l.journal_id = j.id
WHERE j.kind IN ('credit', 'backfill', 'undo') AND j.at >= %(since)s AND j.at < %(until)s
GROUP BY l.host_id ORDER BY credit DESC, l.host_id LIMIT %(limit)s

-- name: deployed
SELECT o.experiment, FLOOR(j.at / 86400), o.state, COUNT(*)
FROM axiomd_journal j FORCE INDEX (kind_at) STRAIGHT_JOIN axiomd_job o FORCE INDEX (journal) ON o.journal_id = j.id
WHERE j.kind IN %(kinds)s AND j.at >= %(since)s AND j.at < %(until)s GROUP BY 1, 2, 3 ORDER BY 1, 2, 3

-- name: hosts_with_jobs
SELECT COUNT(DISTINCT o.host_id)
FROM axiomd_journal j FORCE INDEX (kind_at) STRAIGHT_JOIN axiomd_job o FORCE INDEX (journal) ON o.journal_id = j.id
WHERE j.kind IN %(kinds)s AND j.at >= %(since)s AND j.at < %(until)s AND o.state = 1 AND o.host_id <> 0

-- name: outcomes
SELECT experiment, version, gpu, outcome, COUNT(*), SUM(elapsed_s) FROM axiomd_measurement FORCE INDEX (received)
WHERE received_at >= %(since)s AND received_at < %(until)s GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4

-- name: measured
SELECT COUNT(*), COUNT(DISTINCT host_id), COUNT(DISTINCT user_id) FROM axiomd_measurement FORCE INDEX (received)
WHERE received_at >= %(since)s AND received_at < %(until)s

-- name: refusals
-- Results that came in in the period and whose credit was refused, or is still open.
SELECT IF(a.credit_mark = 2, a.reason, ''), COUNT(*)
FROM axiomd_measurement m FORCE INDEX (received) STRAIGHT_JOIN axiomd_result a ON a.result_id = m.result_id
WHERE m.received_at >= %(since)s AND m.received_at < %(until)s AND a.credit_mark <> 1 GROUP BY 1 ORDER BY 2 DESC, 1

-- name: independence
-- Of good results that came in in the period; what has no row among the replicates, or is of a host that
-- verification excluded, brought no new evidence.
SELECT m.experiment, m.version, COUNT(*), SUM(r.result_id IS NOT NULL AND m.host_id NOT IN %(distrusted)s), COUNT(DISTINCT m.seed),
  COUNT(DISTINCT NULLIF(m.digest, 0)), COUNT(DISTINCT m.host_id), COUNT(DISTINCT m.user_id),
  GROUP_CONCAT(DISTINCT m.platform ORDER BY m.platform)
FROM axiomd_measurement m FORCE INDEX (received) LEFT JOIN axiomd_replicate r FORCE INDEX (result) ON r.result_id = m.result_id
WHERE m.received_at >= %(since)s AND m.received_at < %(until)s AND m.outcome IN %(good)s
GROUP BY 1, 2 ORDER BY 1, 2

-- name: tally
SELECT hour DIV %(step)s, experiment, version, SUM(results), SUM(failures) FROM axiomd_tally FORCE INDEX (PRIMARY)
WHERE hour >= %(since)s AND hour < %(until)s GROUP BY 1, 2, 3 ORDER BY 1, 2, 3

-- name: limits
SELECT experiment, version, gpu, SUM(results), SUM(limits) AS died FROM axiomd_tally FORCE INDEX (PRIMARY)
WHERE hour >= %(since)s AND hour < %(until)s GROUP BY 1, 2, 3 HAVING died > 0 ORDER BY died DESC

-- name: cores
SELECT FLOOR(at / %(step)s), AVG(hosts), AVG(cores), AVG(idle) FROM axiomd_cores
WHERE at >= %(since)s AND at < %(until)s GROUP BY 1 ORDER BY 1

-- name: put_cores
INSERT INTO axiomd_cores (at, hosts, cores, idle) VALUES (%(at)s, %(hosts)s, %(cores)s, %(idle)s)
ON DUPLICATE KEY UPDATE hosts = VALUES(hosts), cores = VALUES(cores), idle = VALUES(idle)

-- name: prune_cores
DELETE FROM axiomd_cores WHERE at < %(before)s ORDER BY at LIMIT %(limit)s

-- name: excluded
SELECT host_id, since, reason, actor FROM axiomd_excluded ORDER BY since DESC, host_id LIMIT %(limit)s

-- name: breakers
SELECT host_id, state, since, until_at, reason FROM axiomd_breaker WHERE state IN (1, 2)
ORDER BY since DESC, host_id LIMIT %(limit)s

-- name: stops
SELECT experiment, version, gpu, platform, since, reason FROM axiomd_stop ORDER BY since DESC, experiment LIMIT %(limit)s

-- name: endings
SELECT name, version, aborted, since, actor FROM axiomd_ending WHERE since >= %(since)s AND since < %(until)s
ORDER BY since DESC, name LIMIT %(limit)s

-- name: disputed
SELECT experiment, version, seed, verdict, copies, since, detail FROM axiomd_verification
ORDER BY since DESC, experiment, seed LIMIT %(limit)s

-- name: comparisons
SELECT agrees, COUNT(*) FROM axiomd_comparison FORCE INDEX (disagreeing)
WHERE agrees IN (0, 1) AND at >= %(since)s AND at < %(until)s GROUP BY agrees

-- name: interventions
SELECT intervention, source, COUNT(*), SUM(changes) FROM axiomd_intervention FORCE INDEX (begun)
WHERE begun_at >= %(since)s AND begun_at < %(until)s AND state = 1 GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
