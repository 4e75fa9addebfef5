"""Every metric of axiomd: base units, few labels, never a host or user id. docs/metrics.md is made from it."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# The fleet and the work, as seen in BOINC's tables at the last look.
HOSTS = Gauge(
    "axiomd_hosts", "Hosts by state: live, stale, failing (their breaker is not closed), excluded.", ["state"]
)
CORES = Gauge("axiomd_cores", "Usable cores of live hosts, without excluded ones.")
CORES_BUSY = Gauge("axiomd_cores_busy", "Those of axiomd_cores that have a job.")
CORES_IDLE = Gauge("axiomd_cores_idle", "Those of axiomd_cores that have no job.")
RESULTS = Gauge("axiomd_results", "Results of axiomd's apps that are unsent or in progress.", ["state"])
WORKUNITS = Gauge("axiomd_workunits", "Workunits that wait for the validator or for their assimilator.", ["state"])
WORKUNITS_STUCK = Gauge("axiomd_workunits_stuck", "Workunits that the last look found stuck, by case.", ["case"])
TASKS_STUCK = Gauge("axiomd_tasks_stuck", "Tasks that the last look found stuck, by reason.", ["reason"])
BACKLOG = Gauge("axiomd_backlog_results", "Finished results that wait for axiomd.")
BACKLOG_AGE = Gauge("axiomd_backlog_oldest_seconds", "Age of the oldest finished result that waits for axiomd.")
FLEET_SILENT = Gauge("axiomd_fleet_silent", "1 while most live hosts are silent together, which holds aborts.")
TRANSITIONER_LAG = Gauge("axiomd_transitioner_lag_seconds", "How long the oldest transition is overdue.")
BOINC_DAEMON_UP = Gauge(
    "axiomd_boinc_daemon_up", "1 while a BOINC daemon of this machine holds its lock file, else 0.", ["daemon"]
)

# The experiments that the settings name.
OTHER = "other"
"""Label of experiments that they don't name."""
EXPERIMENT_RESULTS = Counter(
    "axiomd_experiment_results_total", "Results dealt with: valid or failed.", ["experiment", "outcome"]
)
EXPERIMENT_JOBS = Gauge(
    "axiomd_experiment_jobs", "Jobs under way; other: of no experiment of the settings.", ["experiment"]
)
EXPERIMENT_SEEDS = Gauge("axiomd_experiment_seeds", "Independent seeds.", ["experiment"])
EXPERIMENT_TARGET = Gauge("axiomd_experiment_target_seeds", "Independent seeds wanted.", ["experiment"])
EXPERIMENT_ENDED = Gauge("axiomd_experiment_ended", "1 once an experiment was retired or aborted.", ["experiment"])
EXPERIMENT_STOPPED = Gauge(
    "axiomd_experiment_stopped",
    "1 while an experiment fails too often and gets no jobs, on CPUs or GPUs, somewhere.",
    ["experiment", "processor"],
)
FINDINGS = Gauge("axiomd_findings", "Claims of the catalogue by verdict; open: none yet.", ["verdict"])

# Output files, read.
RESULTS_HARVESTED = Counter(
    "axiomd_results_harvested_total",
    "Results harvested: complete, partial, empty, refused, failed, undeclared.",
    ["outcome"],
)
HARVEST_REFUSED = Counter("axiomd_harvest_refused_total", "Output files refused, by reason.", ["reason"])
HARVEST_DROPPED = Counter("axiomd_harvest_dropped_total", "Values of output files dropped, by reason.", ["reason"])
RESULTS_DISCOUNTED = Counter(
    "axiomd_results_discounted_total", "Complete results that are no new evidence, by reason.", ["reason"]
)
PAIRS_COMPARED = Counter("axiomd_pairs_compared_total", "Verification pairs compared: agree or disagree.", ["outcome"])

# What axiomd did.
RESULTS_CREDITED = Counter("axiomd_results_credited_total", "Results that credit was granted for.")
CREDIT_GRANTED = Counter("axiomd_credit_granted_total", "Credit granted (cobblestones).")
RESULTS_REFUSED = Counter("axiomd_results_refused_total", "Results that are never paid, by reason.", ["reason"])
RESULTS_WAITING = Counter("axiomd_results_deferred_total", "Times that a payment was put off, by reason.", ["reason"])
TASKS_ABORTED = Counter("axiomd_tasks_aborted_total", "Tasks ended, by reason.", ["reason"])
FLAGS_REPAIRED = Counter("axiomd_flags_repaired_total", "Workunits and reports repaired, by case.", ["case"])
WORKUNITS_DEPLOYED = Counter("axiomd_workunits_deployed_total", "Workunits made for idle cores.")
ROWS_SKIPPED = Counter("axiomd_rows_skipped_total", "Rows that axiomd can't make sense of, by reason.", ["reason"])
CAP = Gauge("axiomd_cap", "Most changes (credit: cobblestones) in a kind's rolling window, raised or not.", ["kind"])
CAP_USED = Gauge("axiomd_cap_used_ratio", "Share of a cap of changes that its rolling window has used.", ["kind"])
STOPPED = Gauge("axiomd_stopped", "1 while a kind of change is stopped, by its cap or by a person.", ["kind"])
PAUSED = Gauge("axiomd_paused", "1 while a kind of change is paused by an intervention.", ["kind"])

# What comes in from outside, and what goes out.
INTERVENTIONS = Counter(
    "axiomd_interventions_total",
    "Calls of interventions, by source (cli, http, mqtt, alert) and outcome.",
    ["intervention", "source", "outcome"],
)
ALERTS_RECEIVED = Counter("axiomd_alerts_received_total", "Alerts in webhooks: firing or resolved.", ["status"])
ALERTS_IGNORED = Counter("axiomd_alerts_ignored_total", "Alerts that led to no call, by reason.", ["reason"])
HTTP_REQUESTS = Counter("axiomd_http_requests_total", "Requests answered, by route and status code.", ["route", "code"])
HTTP_REFUSED = Counter("axiomd_http_refused_total", "Requests refused before they were looked at.", ["reason"])
MQTT_CONNECTED = Gauge("axiomd_mqtt_connected", "1 while connected to the broker.")
MQTT_PUBLISHED = Counter("axiomd_mqtt_published_total", "Messages that went to the broker, by stream.", ["stream"])
MQTT_DROPPED = Counter("axiomd_mqtt_dropped_total", "Events that were not published: no broker, or too slow a one.")
MQTT_COMMANDS = Counter("axiomd_mqtt_commands_total", "Commands received, by outcome.", ["outcome"])
OUTBOX_WAITING = Gauge("axiomd_outbox_waiting", "Journal entries that the broker has not acknowledged yet.")

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
POLL_INTERVAL = Gauge("axiomd_poll_interval_seconds", "Seconds between two polls of a watcher.", ["watcher"])
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
