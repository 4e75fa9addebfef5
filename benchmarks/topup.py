"""Top-up: the time to decide what 20,000 hosts get of 40 experiments.

`reference_s` loops over hosts and experiments once and only adds: what merely touching each pair in Python costs.
"""

from __future__ import annotations

import random
import time

from axiomd.policies.topup import Experiment, Host, decide_topup
from axiomd.settings import TopupSettings
from benchmarks.ground import parser, report


def fleet(hosts: int, seed: int) -> list[Host]:
    """Make hosts unlike each other, about half of their cores idle."""
    draw = random.Random(seed)
    made = []
    for number in range(1, hosts + 1):
        cores = draw.choice((2, 4, 8, 12, 16, 24, 32, 64, 128))
        memory = cores * draw.choice((1, 2, 4)) * 2.0**30
        gpus = draw.choice((0, 0, 0, 1, 2))
        made.append(Host(number, cores, gpus, memory, jobs=draw.randrange(cores), quota_left=500.0 * cores))
    return made


def main() -> None:
    """Run from the command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--hosts", type=int, default=20_000)
    arguments.add_argument("--experiments", type=int, default=40)
    arguments.add_argument("--seed", type=int, default=1)
    chosen = arguments.parse_args()
    hosts = fleet(chosen.hosts, chosen.seed)
    draw = random.Random(chosen.seed)
    experiments = [
        Experiment(
            f"experiment_{number}",
            draw.uniform(0.5, 3),
            wanted=100_000,
            memory=draw.choice((0.1, 0.5, 2)) * 2.0**30,
            gpu=number % 8 == 0,
        )
        for number in range(chosen.experiments)
    ]
    started = time.perf_counter()
    orders = decide_topup(hosts, experiments, TopupSettings(), limit=10**9, max_in_progress_per_core=10)
    decide_s = time.perf_counter() - started
    started = time.perf_counter()
    sums = dict.fromkeys((experiment.name for experiment in experiments), 0.0)
    for _ in hosts:
        for experiment in experiments:
            sums[experiment.name] += experiment.weight
    reference_s = time.perf_counter() - started
    jobs = sum(order.jobs for order in orders)
    figures = {"decide_s": decide_s, "reference_s": reference_s, "ratio": decide_s / reference_s, "jobs": jobs}
    report(
        figures,
        "top-up: {jobs:,.0f} jobs decided in {decide_s:.3f} s; a bare loop over the same pairs {reference_s:.3f} s "
        "(ratio {ratio:.1f})",
        as_json=chosen.json,
    )


if __name__ == "__main__":
    main()
