"""Is everything paid, and once? The dashboard of credit and volunteers."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import SECONDS, SHARE, Query, board, good_below, good_from, graph, number
from grafana.queries import in_hour, in_range, of, or_zero, per_hour

# Where the alerts stand.
BACKLOG_OLD_S = 900
CAP_REACHED = 1

BUSY = f"sum(avg_over_time({of('job:axiomd_cores_busy:leader')}[$__rate_interval]))"
EARNED = f"{per_hour('axiomd_credit_granted_total')} / ({BUSY} > 0)"


def credit() -> Dashboard:
    """What the volunteers get for their work."""
    return board(
        "credit",
        "axiomd: credit and volunteers",
        "Is everything paid, and once? What was granted, what waits, what is refused and why, and what an hour of a "
        "core earns.",
        numbers=[
            number(
                "Credit granted",
                "Credit (cobblestones) that axiomd granted in the time shown. None at all: is credit paused, or at its "
                "cap?",
                in_range("axiomd_credit_granted_total"),
                over_range=True,
            ),
            number(
                "Results paid",
                "Results that credit was granted for in the time shown. None at all: see what waits, below.",
                in_range("axiomd_results_credited_total"),
                over_range=True,
                decimals=0,
            ),
            number(
                "Oldest unpaid result",
                "Age of the oldest finished result that waits for axiomd. Volunteers notice within the hour: is credit "
                "paused, at its cap, or the validator down?",
                of("job:axiomd_backlog_oldest_seconds:leader"),
                unit=SECONDS,
                decimals=0,
                steps=good_below(BACKLOG_OLD_S, warn=BACKLOG_OLD_S / 3),
            ),
            number(
                "Cap of credit used",
                "Share of the cap that its rolling window has used. At 100% credit waits until there is room. If the "
                "work is honest: `axiomd intervene raise_cap`, for a time.",
                of("job_kind:axiomd_cap_used_ratio:leader", kind="credit"),
                unit=SHARE,
                steps=good_below(CAP_REACHED, warn=0.8 * CAP_REACHED),
            ),
            number(
                "Refused",
                "Results that are never paid, in the time shown. The graph below says why.",
                in_range("axiomd_results_refused_total"),
                over_range=True,
                decimals=0,
            ),
            number(
                "Last audit",
                "Whether the last audit found each credit granted once, and the sums right. If it failed: `axiomd "
                "audit` names the rows, `axiomd undo` takes entries back.",
                of("job:axiomd_audit_ok:leader"),
                steps=good_from(1),
                words={0: "failed", 1: "good"},
            ),
        ],
        graphs=[
            graph(
                "Credit granted, an hour",
                "How fast credit is granted. A step without a change in the fleet is a change of the rule, or somebody "
                "who found a way to farm it: compare with what a core earns.",
                Query(per_hour("axiomd_credit_granted_total"), "credit"),
            ),
            graph(
                "Results, an hour",
                "Results paid and refused. Paid ones follow the fleet; refused ones should be few beside them.",
                Query(per_hour("axiomd_results_credited_total"), "paid"),
                Query(or_zero(per_hour("axiomd_results_refused_total")), "refused"),
            ),
            graph(
                "Waiting for credit",
                "Finished results that wait for axiomd. It goes up and down with the reports; a slope that doesn't end "
                "is credit that is paused, at its cap, or too slow.",
                Query(of("job:axiomd_backlog_results:leader"), "results"),
            ),
            graph(
                "Refused in an hour, by reason",
                "Results that are never paid, in the hour before. docs/credit.md tells each reason; many of one reason "
                "after a release of an app are the app's fault, not the volunteers'.",
                Query(in_hour("axiomd_results_refused_total", "reason"), "{{reason}}"),
            ),
            graph(
                "Put off in an hour, by reason",
                "Payments that were put off in the hour before, counted each time. They are paid later; a cap that "
                "puts off every day is set too low.",
                Query(in_hour("axiomd_results_deferred_total", "reason"), "{{reason}}"),
            ),
            graph(
                "Credit for an hour of a core",
                "Credit granted for each busy core and hour: what a volunteer's machine earns. It should stay level "
                "while the experiments change; if not, mend the rule of payment.",
                Query(EARNED, "credit"),
            ),
        ],
        graph_height=8,
    )
