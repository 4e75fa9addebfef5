"""Every metric of axiomd about its own work: one place, base units, few labels, never a host or user id."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# The fleet and the work, as seen in BOINC's tables at the last look.
HOSTS = Gauge("axiomd_hosts", "Hosts by state: live, stale or excluded.", ["state"])
CORES = Gauge("axiomd_cores", "Usable cores of live hosts.")
CORES_IDLE = Gauge("axiomd_cores_idle", "Usable cores of live hosts without a job.")
RESULTS = Gauge("axiomd_results", "Results of axiomd's apps by server state, history left out.", ["state"])
BACKLOG = Gauge("axiomd_backlog_results", "Finished results that wait for axiomd.")
BACKLOG_AGE = Gauge("axiomd_backlog_oldest_seconds", "Age of the oldest finished result that waits for axiomd.")
FLEET_SILENT = Gauge("axiomd_fleet_silent", "1 while most live hosts are silent together, which holds aborts.")
TRANSITIONER_LAG = Gauge("axiomd_transitioner_lag_seconds", "How long the oldest transition is overdue.")

# What axiomd did.
RESULTS_CREDITED = Counter("axiomd_results_credited_total", "Results that credit was granted for.")
CREDIT_GRANTED = Counter("axiomd_credit_granted_total", "Credit granted (cobblestones).")
RESULTS_REFUSED = Counter("axiomd_results_refused_total", "Results that are never paid, by reason.", ["reason"])
RESULTS_WAITING = Counter("axiomd_results_deferred_total", "Times that a payment was put off, by reason.", ["reason"])
TASKS_ABORTED = Counter("axiomd_tasks_aborted_total", "Tasks ended, by reason.", ["reason"])
FLAGS_REPAIRED = Counter("axiomd_flags_repaired_total", "Workunits and reports repaired, by case.", ["case"])
WORKUNITS_DEPLOYED = Counter("axiomd_workunits_deployed_total", "Workunits made for idle cores.")
ROWS_SKIPPED = Counter("axiomd_rows_skipped_total", "Rows that axiomd can't make sense of, by reason.", ["reason"])
CAP_USED = Gauge("axiomd_cap_used_ratio", "Share of a cap of changes that its rolling window has used.", ["kind"])
STOPPED = Gauge("axiomd_stopped", "1 while a kind of change is stopped, by its cap or by a person.", ["kind"])

# The last audit; kept in the database, so that it outlives a restart.
AUDIT_OK = Gauge("axiomd_audit_ok", "0 if the last audit found something wrong, else 1.")
AUDIT_OK.set(1)
AUDIT_PROBLEMS = Gauge("axiomd_audit_problems", "Problems that the last audit found.")
AUDIT_AT = Gauge("axiomd_audit_timestamp_seconds", "When the last audit was; 0 if there was none.")
AUDIT_SECONDS = Gauge("axiomd_audit_seconds", "How long the last audit took.")
ENTRIES_SEALED = Counter("axiomd_journal_entries_sealed_total", "Old journal entries that were summed up and deleted.")

# axiomd itself.
EVENTS = Counter("axiomd_events_total", "Events published, by event.", ["event"])
EVENTS_COALESCED = Counter("axiomd_events_coalesced_total", "Events that said what was queued already.", ["event"])
QUEUE_DEPTH = Gauge("axiomd_queue_depth", "Events that wait for a handler.", ["handler"])
POLL_SECONDS = Histogram(
    "axiomd_poll_seconds",
    "Duration of a watcher's poll.",
    ["watcher"],
    buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60),
)
POLL_FAILURES = Counter("axiomd_poll_failures_total", "Polls that failed.", ["watcher"])
POLL_AT = Gauge("axiomd_poll_success_timestamp_seconds", "When a watcher's poll last succeeded.", ["watcher"])
HANDLER_SECONDS = Histogram(
    "axiomd_handler_seconds",
    "Duration of a handler's batch.",
    ["handler"],
    buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60),
)
HANDLER_FAILURES = Counter("axiomd_handler_failures_total", "Batches that a handler failed on.", ["handler"])
TRANSACTIONS = Counter("axiomd_transactions_total", "Transactions committed.")
TRANSACTION_RETRIES = Counter(
    "axiomd_transaction_retries_total", "Transactions tried again after a lock stood in the way."
)
LOCKS_HELD = Histogram(
    "axiomd_locks_held_seconds",
    "How long a transaction held rows of BOINC.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2),
)
LEASE_HELD = Gauge("axiomd_lease_held", "1 while this daemon holds the lease, 0 while it stands by.")
DATABASE_UP = Gauge("axiomd_database_up", "1 if the last look at the database succeeded.")
BUILD_INFO = Gauge("axiomd_build_info", "Always 1; the version is a label.", ["version"])
