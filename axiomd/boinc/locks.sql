-- Rows are locked by primary key, ascending, workunits before results: never by a range or a secondary index.

-- name: lock_workunits
SELECT COUNT(id) FROM workunit FORCE INDEX (PRIMARY) WHERE id IN %(ids)s FOR UPDATE

-- name: lock_results
SELECT COUNT(id) FROM result FORCE INDEX (PRIMARY) WHERE id IN %(ids)s FOR UPDATE

-- name: wake
UPDATE workunit FORCE INDEX (PRIMARY) SET transition_time = %(now)s WHERE id IN %(ids)s
