"""Is the fleet busy, and does anything hang? The first of the dashboards."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import SECONDS, SHARE, Query, board, good_below, graph, number
from grafana.queries import in_hour, of

# Where the alerts stand.
IDLE_SHARE = 0.5
TRANSITIONER_LATE_S = 600

STUCK = f"sum({of('job_case:axiomd_workunits_stuck:leader')}) + sum({of('job_reason:axiomd_tasks_stuck:leader')})"


def fleet() -> Dashboard:
    """What an operator opens in the morning."""
    return board(
        "fleet",
        "axiomd: fleet",
        "Is the fleet busy, and does anything hang? Hosts, cores and results as BOINC's tables have them, and what "
        "axiomd did about what was stuck.",
        numbers=[
            number(
                "Alerts firing",
                "Alerts of axiomd that fire now. Each names its runbook page; the red marks in the graphs say since "
                "when.",
                'count(ALERTS{job=~"$job|",alertname=~"Axiomd.+",alertstate="firing"}) or vector(0)',
                steps=good_below(1),
            ),
            number(
                "Hosts live",
                "Hosts that were in contact lately (setting hosts.live_after_contact_s). If many are missing at once, "
                "look at the server and its network first, then at the volunteers.",
                of("job_state:axiomd_hosts:leader", state="live"),
            ),
            number(
                "Cores idle",
                "Share of the live hosts' usable cores without a job. If it grows: is top-up paused or at its cap, "
                "does bin/create_work run, do the hosts fetch what is unsent?",
                of("job:axiomd_cores_idle:ratio"),
                unit=SHARE,
                steps=good_below(IDLE_SHARE, warn=IDLE_SHARE / 2),
            ),
            number(
                "Stuck now",
                "Workunits and tasks that the last look found stuck. axiomd mends them by itself; if the number stays, "
                "see whether repair or abort is paused or at its cap.",
                STUCK,
                steps=good_below(50, warn=1),
            ),
            number(
                "BOINC daemons down",
                "Daemons of config.xml on this machine that don't hold their lock file. Start them with the project's "
                "bin/start, or `axiomd intervene restart_daemon`.",
                f"sum(1 - {of('job_daemon:axiomd_boinc_daemon_up:leader')})",
                steps=good_below(1),
            ),
            number(
                "Transitioner behind",
                "How long the oldest transition is overdue. Meanwhile nothing is validated or tried again: see the "
                "transitioner's log, then `axiomd intervene transitioner_pass`.",
                of("job:axiomd_transitioner_lag_seconds:leader"),
                unit=SECONDS,
                decimals=0,
                steps=good_below(TRANSITIONER_LATE_S, warn=TRANSITIONER_LATE_S / 5),
            ),
        ],
        graphs=[
            graph(
                "Cores",
                "Usable cores of live hosts, with and without a job. A lasting band of idle cores is work that nobody "
                "does: compare with the unsent results beside it.",
                Query(of("job:axiomd_cores_busy:leader"), "busy"),
                Query(of("job:axiomd_cores_idle:leader"), "idle"),
                stacked=True,
            ),
            graph(
                "Hosts",
                "Hosts by state. Stale ones went silent; failing ones get no jobs for a while: `axiomd hosts --state "
                "failing` says which and why, `axiomd intervene exclude_host` keeps work from one for good.",
                Query(of("job_state:axiomd_hosts:leader"), "{{state}}"),
            ),
            graph(
                "Results",
                "Results of axiomd's apps that are unsent or in progress. Many unsent ones beside idle cores: the "
                "hosts can't take them (memory, quota), or the feeder is down.",
                Query(of("job_state:axiomd_results:leader"), "{{state}}"),
            ),
            graph(
                "Workunits that wait",
                "Workunits for which BOINC's validator or the assimilator has work to do. A line that only grows names "
                "the daemon to look at.",
                Query(of("job_state:axiomd_workunits:leader"), "{{state}}"),
            ),
            graph(
                "Stuck",
                "What the last look found stuck, by case. It should fall within minutes; what stays is beyond a cap, "
                "or a case for a person: `axiomd explain workunit ID`.",
                Query(of("job_case:axiomd_workunits_stuck:leader"), "workunits: {{case}}"),
                Query(of("job_reason:axiomd_tasks_stuck:leader"), "tasks: {{reason}}"),
            ),
            graph(
                "Ended and mended in an hour",
                "Tasks that axiomd ended, and workunits and reports that it repaired, in the hour before. A night with "
                "many of one case has one cause: the journal says which rows.",
                Query(in_hour("axiomd_tasks_aborted_total", "reason"), "ended: {{reason}}"),
                Query(in_hour("axiomd_flags_repaired_total", "case"), "mended: {{case}}"),
            ),
        ],
        graph_height=8,
    )
