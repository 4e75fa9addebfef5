-- The lease: one row.

-- name: read
SELECT fence, holder, token, server, renewals FROM axiomd_lease WHERE id = 1

-- name: lock
SELECT fence, holder, token, server, renewals FROM axiomd_lease WHERE id = 1 FOR UPDATE

-- name: take
UPDATE axiomd_lease SET fence = %(fence)s, holder = %(holder)s, token = %(token)s, server = %(server)s,
  connection_id = %(connection_id)s, renewals = 0, since = UNIX_TIMESTAMP(NOW(6)) WHERE id = 1

-- name: renew
UPDATE axiomd_lease SET renewals = renewals + 1 WHERE id = 1 AND fence = %(fence)s

-- name: give_back
UPDATE axiomd_lease SET token = '' WHERE id = 1 AND fence = %(fence)s

-- name: server
-- With the user, for a user sees and ends no connections but its own.
SELECT CONCAT(@@hostname, ':', @@port, ':', @@server_id, ' as ', SUBSTRING_INDEX(CURRENT_USER(), '@', 1)), CONNECTION_ID()

-- name: connections
SELECT id FROM information_schema.processlist WHERE IS_USED_LOCK(CONCAT(%(prefix)s, id)) = id

-- name: kill
KILL %(id)s
