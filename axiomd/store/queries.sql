-- Every statement on axiomd's own tables.

-- name: all_state
SELECT name, value FROM axiomd_state

-- name: lock_state
SELECT value FROM axiomd_state WHERE name = %(name)s FOR UPDATE

-- name: set_state
REPLACE INTO axiomd_state (name, value) VALUES (%(name)s, %(value)s)

-- name: add_state
UPDATE axiomd_state SET value = value + %(value)s WHERE name = %(name)s

-- name: insert_journal
INSERT INTO axiomd_journal (at, kind, cause, actor, changes, credit, detail)
VALUES (%(at)s, %(kind)s, %(cause)s, %(actor)s, %(changes)s, %(credit)s, %(detail)s)

-- name: newest_entry
SELECT COALESCE(MAX(id), 0) FROM axiomd_journal

-- name: changes_by
SELECT COALESCE(SUM(changes), 0) FROM axiomd_journal WHERE id > %(after)s AND kind = %(kind)s AND actor = %(actor)s

-- name: journal_totals
SELECT kind, COUNT(*), SUM(changes), SUM(credit) FROM axiomd_journal GROUP BY kind

-- name: insert_changes
INSERT INTO axiomd_change (journal_id, subject, row_id, reason, before_change, after_change) VALUES {rows}

-- name: change_counts
SELECT subject, reason, COUNT(*) FROM axiomd_change GROUP BY subject, reason

-- name: insert_ledger
INSERT INTO axiomd_ledger (result_id, generation, journal_id, host_id, user_id, team_id, credit) VALUES {rows}

-- name: insert_postings
INSERT INTO axiomd_posting (journal_id, kind, id, credit, average) VALUES {rows}

-- name: granted_today
SELECT JSON_ARRAYAGG(JSON_ARRAY(id, granted_today)) FROM axiomd_account FORCE INDEX (PRIMARY)
WHERE kind = 1 AND day = %(day)s AND id IN %(ids)s

-- name: add_to_accounts
INSERT INTO axiomd_account (kind, id, opening, granted, day, granted_today) VALUES {rows}
ON DUPLICATE KEY UPDATE granted = granted + VALUES(granted),
  granted_today = IF(day = VALUES(day), granted_today, 0) + VALUES(granted_today), day = VALUES(day)

-- name: close_results
INSERT INTO axiomd_result (result_id, workunit_id, credit_mark, harvest_mark, reason) VALUES {rows}
ON DUPLICATE KEY UPDATE reason = IF(credit_mark = 0, VALUES(reason), reason),
  credit_mark = IF(credit_mark = 0, VALUES(credit_mark), credit_mark)

-- name: defer_results
INSERT INTO axiomd_result (result_id, workunit_id, credit_mark, harvest_mark, reason, look_at) VALUES {rows}
ON DUPLICATE KEY UPDATE look_at = VALUES(look_at), reason = IF(credit_mark = 0, VALUES(reason), reason)

-- name: refusal_counts
SELECT reason, COUNT(*) FROM axiomd_result WHERE credit_mark = 2 GROUP BY reason

-- name: insert_ended
INSERT IGNORE INTO axiomd_ended (workunit_id) VALUES {rows}

-- name: ensure_experiment
INSERT IGNORE INTO axiomd_experiment (name, version) VALUES (%(name)s, %(version)s)

-- name: lock_experiment
SELECT next_seed FROM axiomd_experiment WHERE name = %(name)s AND version = %(version)s FOR UPDATE

-- name: advance_seed
UPDATE axiomd_experiment SET next_seed = next_seed + %(count)s WHERE name = %(name)s AND version = %(version)s

-- name: add_canonical
INSERT INTO axiomd_experiment (name, version, canonical) VALUES {rows}
ON DUPLICATE KEY UPDATE canonical = canonical + VALUES(canonical)

-- name: experiments
SELECT name, version, next_seed, canonical FROM axiomd_experiment

-- name: insert_jobs
INSERT INTO axiomd_job (workunit_name, journal_id, app, experiment, seed, host_id, state) VALUES {rows}

-- name: intended_jobs
SELECT workunit_name, journal_id, app, experiment, seed, host_id, tries FROM axiomd_job WHERE state = 0
ORDER BY journal_id, workunit_name LIMIT %(limit)s

-- name: set_job_state
UPDATE axiomd_job SET state = %(state)s WHERE workunit_name IN %(names)s AND state = 0

-- name: count_try
UPDATE axiomd_job SET tries = tries + 1 WHERE workunit_name IN %(names)s AND state = 0

-- name: job_counts
SELECT state, COUNT(*) FROM axiomd_job GROUP BY state

-- name: put_hosts
INSERT INTO axiomd_host (host_id, live, since) VALUES {rows}
ON DUPLICATE KEY UPDATE live = VALUES(live), since = VALUES(since)

-- name: host_counts
SELECT live, COUNT(*) FROM axiomd_host GROUP BY live

-- name: excluded_hosts
SELECT host_id FROM axiomd_excluded

-- name: put_exclusion
INSERT INTO axiomd_excluded (host_id, since, reason, actor) VALUES (%(host_id)s, %(now)s, %(reason)s, %(actor)s)
ON DUPLICATE KEY UPDATE host_id = host_id

-- name: delete_exclusion
DELETE FROM axiomd_excluded WHERE host_id = %(host_id)s

-- name: endings
SELECT name, version, aborted FROM axiomd_ending

-- name: put_ending
INSERT INTO axiomd_ending (name, version, aborted, since, actor)
VALUES (%(name)s, %(version)s, %(aborted)s, %(now)s, %(actor)s)
ON DUPLICATE KEY UPDATE aborted = GREATEST(aborted, VALUES(aborted))

-- name: delete_ending
DELETE FROM axiomd_ending WHERE name = %(name)s AND version = %(version)s
