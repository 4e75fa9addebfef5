-- The journal as an outbox: entries get numbers after their commit, in which order they are published.

-- name: unnumbered
-- Ids above the floor only: what is new, and what was new a moment ago.
SELECT j.id FROM axiomd_journal j FORCE INDEX (PRIMARY) LEFT JOIN axiomd_outbox o ON o.journal_id = j.id
WHERE j.id > %(floor)s AND o.journal_id IS NULL ORDER BY j.id LIMIT %(limit)s

-- name: last_before
SELECT id FROM axiomd_journal FORCE INDEX (PRIMARY) WHERE at < %(before)s ORDER BY id DESC LIMIT 1

-- name: insert_numbers
INSERT INTO axiomd_outbox (number, journal_id) VALUES {rows}

-- name: page
SELECT STRAIGHT_JOIN o.number, j.id, j.at, j.kind, j.cause, j.actor, j.changes, j.credit, j.detail
FROM axiomd_outbox o FORCE INDEX (PRIMARY) JOIN axiomd_journal j ON j.id = o.journal_id
WHERE o.number > %(after)s AND o.number <= %(last)s ORDER BY o.number LIMIT %(limit)s

-- name: forget
DELETE o FROM axiomd_outbox o FORCE INDEX (journal) WHERE o.journal_id IN %(ids)s
