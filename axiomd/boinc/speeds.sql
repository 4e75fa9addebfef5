-- How fast hosts say that they are.

-- name: live_speeds
SELECT COUNT(*) FROM host WHERE rpc_time >= %(live_since)s AND userid <> 0 AND p_fpops > 0

-- name: speed_at
SELECT p_fpops FROM host WHERE rpc_time >= %(live_since)s AND userid <> 0 AND p_fpops > 0
ORDER BY p_fpops LIMIT 1 OFFSET %(rank)s
