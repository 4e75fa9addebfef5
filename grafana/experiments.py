"""How many seeds has each experiment, and what fails? The dashboard of experiments and findings."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import SHARE, Query, bars, board, good_below, graph, number
from grafana.queries import in_range, of, or_zero, per_hour

RESULTS = "axiomd_experiment_results_total"
FAILED_SHARE = 0.3  # where the alert stands


def experiments() -> Dashboard:
    """What a scientist looks at."""
    return board(
        "experiments",
        "axiomd: experiments and findings",
        "How many seeds has each experiment, what fails, and what do the findings say of the claims?",
        numbers=[
            number(
                "Experiments that want seeds",
                "Experiments of the settings that have not all their seeds yet, and were neither retired nor aborted. "
                "None: give the fleet a new one.",
                or_zero(of("job:axiomd_experiments_open:count")),
            ),
            number(
                "Independent seeds",
                "Independent seeds, over all experiments. Two results of one seed count once. If it stands "
                "still while results come in, see what fails.",
                f"sum({of('job_experiment:axiomd_experiment_seeds:leader')})",
            ),
            number(
                "Jobs under way",
                "Jobs of the experiments that are unsent or in progress. None beside idle cores: look at the cap of "
                "top-up and at bin/create_work.",
                f"sum({of('job_experiment:axiomd_experiment_jobs:leader')})",
            ),
            number(
                "Made for idle cores",
                "Workunits that axiomd made in the time shown. None beside idle cores: is top-up paused, or has every "
                "experiment its seeds?",
                in_range("axiomd_workunits_deployed_total"),
                over_range=True,
                decimals=0,
            ),
            number(
                "Failed",
                "Share of the results in the time shown that failed. The graph below says of which experiment.",
                f"{in_range(RESULTS, outcome='failed')} / ({in_range(RESULTS)} > 0)",
                unit=SHARE,
                over_range=True,
                steps=good_below(FAILED_SHARE, warn=FAILED_SHARE / 3),
            ),
            number(
                "Claims without a verdict",
                "Claims of the catalogue that the evidence doesn't settle yet. `axiomd findings` says how far each is.",
                of("job_verdict:axiomd_findings:leader", verdict="open"),
            ),
        ],
        graphs=[
            bars(
                "Seeds, of those wanted",
                "Independent seeds over the target of each experiment. One that stands still has no jobs, or fails: "
                "see the graphs beside it.",
                Query(of("job_experiment:axiomd_experiment_seeds:ratio"), "{{experiment}}"),
                unit=SHARE,
                top=1,
            ),
            graph(
                "Seeds",
                "Independent seeds. The slope is what the fleet gives to each experiment; to "
                "change it, change the shares in the settings.",
                Query(of("job_experiment:axiomd_experiment_seeds:leader"), "{{experiment}}"),
            ),
            graph(
                "Jobs under way",
                "Jobs that are unsent or in progress. An experiment without any gets none: has it its seeds, was it "
                "ended, or is no host large enough for it?",
                Query(of("job_experiment:axiomd_experiment_jobs:leader"), "{{experiment}}"),
                stacked=True,
            ),
            graph(
                "Failed share, six hours",
                "Share of the results that failed, of 20 or more in six hours. Above the line an experiment wastes "
                "what volunteers lend: `axiomd failures` says what fails. Beyond chance, axiomd stops it by itself.",
                Query(of("job_experiment:axiomd_experiment_failures:ratio_increase6h"), "{{experiment}}"),
                unit=SHARE,
                limit=FAILED_SHARE,
                top=1,
            ),
            graph(
                "Valid results, an hour",
                "What comes in, by experiment. It falls with the fleet, or when an experiment's jobs grew longer.",
                Query(per_hour(RESULTS, "experiment", outcome="valid"), "{{experiment}}"),
            ),
            graph(
                "Output files, an hour",
                "Results whose output was read, by what was in it. Partial, empty and refused ones count as failures "
                "of their experiment; undeclared ones are of none that the catalogue has.",
                Query(per_hour("axiomd_results_harvested_total", "outcome"), "{{outcome}}"),
                stacked=True,
            ),
            bars(
                "Claims, by verdict",
                "Claims of the catalogue by verdict. docs/findings.md tells what each means, `axiomd findings` of "
                "which claim it is said.",
                Query(of("job_verdict:axiomd_findings:leader"), "{{verdict}}"),
            ),
        ],
        graph_height=8,
    )
