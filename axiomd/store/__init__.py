"""axiomd's own tables, the connection pool, the one way to a transaction, and the journal of every change."""
