-- What axiomd expects of BOINC's tables, and the one index that it makes when asked.

-- name: columns
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name IN %(tables)s

-- name: mod_time_index
SELECT COUNT(*) FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name = 'result' AND index_name = 'axiomd_mod_time'

-- name: make_mod_time_index
ALTER TABLE result ADD INDEX axiomd_mod_time (mod_time), ALGORITHM=INPLACE, LOCK=NONE

-- name: version
SELECT VERSION()
