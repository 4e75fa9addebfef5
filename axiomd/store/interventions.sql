-- Calls of interventions: each id is done once.

-- name: begin
INSERT IGNORE INTO axiomd_intervention (id, intervention, parameters, source, caller, state, begun_at, answer)
VALUES (%(id)s, %(intervention)s, %(parameters)s, %(source)s, %(caller)s, 0, %(now)s, '')

-- name: read
SELECT intervention, parameters, source, caller, state, begun_at, answer, changes, journal_id
FROM axiomd_intervention WHERE id = %(id)s

-- name: end
UPDATE axiomd_intervention
SET state = %(state)s, ended_at = %(now)s, answer = %(answer)s, changes = %(changes)s, journal_id = %(journal_id)s
WHERE id = %(id)s

-- name: forget
DELETE FROM axiomd_intervention WHERE begun_at < %(before)s ORDER BY begun_at LIMIT 1000
