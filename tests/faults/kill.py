"""The daemon killed with SIGKILL at random moments, again and again.

    python -m tests.faults.kill --kills 25 --seed 7

Some kills come while it starts, some end create_work with it, some leave create_work running.
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

from tests.faults.project import transactions_under_way
from tests.faults.run import Run, command

EARLY = 0.15  # share of the kills that come while the daemon starts
EARLY_S, LATE_S = 0.8, 0.5
WITH_CHILDREN = 0.5
START_S = 30.0


def kill(kills: int, seed: int) -> dict[str, Any]:
    """Kill the daemon so often; the summary."""
    rng = random.Random(f"kill {seed}")
    early = in_transaction = in_create_work = 0
    with Run(seed) as run, run.project.connect() as connection:
        daemon = run.daemon()
        for _ in range(kills):
            run.check()
            before = run.journal_entries()
            daemon.start()
            if rng.random() < EARLY:
                early += 1
                time.sleep(rng.uniform(0.0, EARLY_S))
            else:
                run.wait_for_change(START_S, before)
                time.sleep(rng.uniform(0.0, LATE_S))
            in_transaction += transactions_under_way(connection) > 0
            in_create_work += daemon.makes_work
            daemon.kill(with_children=rng.random() < WITH_CHILDREN)
        figures = {"kills": kills, "early": early, "in_transaction": in_transaction, "in_create_work": in_create_work}
        return run.finish(figures)


def main(words: list[str] | None = None) -> int:
    """The command; gives its exit status."""
    return command("the daemon killed with SIGKILL", {"kills": 25}, kill, words)


if __name__ == "__main__":
    sys.exit(main())
