"""Does axiomd look, and does it act? The dashboard of axiomd itself."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import GREEN, RED, SECONDS, SHARE, YELLOW, Query, board, good_below, good_from, graph, names, number
from grafana.queries import in_hour, in_range, of, or_zero, per_second

# Where the alerts stand.
CAP_REACHED = 1
LOCKS_LONG_S = 0.5
ALLOWED_POLLS, ALLOWED_S = 5, 60

UNSEEN = (
    f"max({of('job_watcher:axiomd_poll_age_seconds:leader')} / on (watcher) group_left () "
    f"max by (watcher) ({ALLOWED_POLLS} * {of('axiomd_poll_interval_seconds')} + {ALLOWED_S}))"
)
"""Time since a good poll as a share of what the alert allows."""


def daemon() -> Dashboard:
    """What to look at when another dashboard stands still, or BOINC's own programs wait."""
    return board(
        "daemon",
        "axiomd: axiomd itself",
        "Does axiomd look, does it act, how long does it hold BOINC's rows, and what comes in from outside?",
        numbers=[
            number(
                "Leaders",
                "Daemons that hold the lease: one. None: nobody works, see the log of the one that stands by. Two: "
                "stop one at once, and run `axiomd audit`.",
                of("job:axiomd_lease_held:sum"),
                steps=[(None, RED), (1, GREEN), (2, RED)],
            ),
            number(
                "Database",
                "Whether the last look at the database succeeded. If not, `axiomd doctor` says what is in the way.",
                f"min({of('axiomd_database_up')})",
                steps=good_from(1),
                words={0: "unreachable", 1: "reached"},
            ),
            number(
                "Longest without a look",
                "For the watcher that waits longest: the time since its last good poll, as a share of what the alert "
                "allows: five intervals and a minute. At 100% something fails, and the log names it.",
                UNSEEN,
                unit=SHARE,
                steps=good_below(1, warn=0.5),
            ),
            number(
                "Failures",
                "Polls and batches that failed in the time shown. Each is tried again by itself; the log has the "
                "reason.",
                f"{in_range('axiomd_handler_failures_total')} + {in_range('axiomd_poll_failures_total')}",
                over_range=True,
                decimals=0,
                steps=[(None, GREEN), (1, YELLOW)],
            ),
            number(
                "Kinds stopped",
                "Kinds of change that stand still, by their cap or by a person: credit, abort, repair, topup. `axiomd "
                "status` says why, `axiomd resume` ends a pause.",
                f"sum({of('job_kind:axiomd_stopped:leader')})",
                steps=good_below(1),
            ),
            names(
                "Version",
                "What runs. Two versions: one daemon was not started again after an update.",
                Query(f"sum by (version) ({of('axiomd_build_info')})", "{{version}}"),
            ),
        ],
        graphs=[
            graph(
                "Events, a second",
                "What the watchers saw, by event. One that comes again and again is not answered: see the failures and "
                "the caps.",
                Query(per_second("axiomd_events_total", "event"), "{{event}}"),
            ),
            graph(
                "What waits",
                "Events in the queue of each handler, and journal entries for the broker. A queue fills in a flood of "
                "reports, and must empty again; if not, see how long its batches take, or whether the broker is there.",
                Query(f"max by (handler) ({of('axiomd_queue_depth')})", "{{handler}}"),
                Query(f"max({of('axiomd_outbox_waiting')})", "for the broker"),
            ),
            graph(
                "Caps used",
                "Share of each cap that its rolling window has used. At the line that kind of change stops, and the "
                "others go on: `axiomd intervene raise_cap`, if it is right.",
                Query(of("job_kind:axiomd_cap_used_ratio:leader"), "{{kind}}"),
                unit=SHARE,
                limit=CAP_REACHED,
            ),
            graph(
                "Polls, p99",
                "What 99 of 100 polls of a watcher stay below. One that grows from week to week reads what it should "
                "not: see the database's slow query log.",
                Query(of("job_watcher:axiomd_poll_seconds:p99_1h"), "{{watcher}}"),
                unit=SECONDS,
            ),
            graph(
                "Batches, p99",
                "What 99 of 100 batches of a handler stay below. Slow ones wait for locks or for the disk: see who "
                "else writes to the database.",
                Query(of("job_handler:axiomd_handler_seconds:p99_1h"), "{{handler}}"),
                unit=SECONDS,
            ),
            graph(
                "BOINC's rows held, p99",
                "How long a transaction holds rows of BOINC, for which its programs wait. The batches get smaller by "
                "themselves; above the line, set credit.batch lower.",
                Query(of("job:axiomd_locks_held_seconds:p99_1h"), "held"),
                unit=SECONDS,
                limit=LOCKS_LONG_S,
            ),
            graph(
                "Transactions, a second",
                "Transactions committed, and tried again after a lock stood in the way. A few retries are the price of "
                "working beside BOINC; many mean a program that holds rows for long.",
                Query(per_second("axiomd_transactions_total"), "committed"),
                Query(per_second("axiomd_transaction_retries_total"), "tried again"),
            ),
            graph(
                "Interventions in an hour",
                "Calls from the command line, HTTP, MQTT and alerts, in the hour before. Refused ones that nobody "
                "knows of: somebody tries the doors.",
                Query(in_hour("axiomd_interventions_total", "source", "outcome"), "{{source}} {{outcome}}"),
            ),
            graph(
                "Requests and messages, a second",
                "Requests answered by HTTP and messages published by MQTT; refused ones were not looked at. No "
                "messages while things happen: is the broker there?",
                Query(per_second("axiomd_http_requests_total", "code"), "HTTP {{code}}"),
                Query(or_zero(per_second("axiomd_http_refused_total")), "HTTP refused"),
                Query(or_zero(per_second("axiomd_mqtt_published_total")), "MQTT published"),
            ),
        ],
        graph_height=6,
    )
