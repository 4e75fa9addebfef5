"""MariaDB killed with SIGKILL and started again, while the daemon stays up.

python -m tests.faults.database --kills 30 --seed 7
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

from tests.faults.project import transactions_under_way
from tests.faults.run import Run, command

UP_S, DOWN_S = 1.5, 0.8
BACK_S = 45.0


def kill(kills: int, seed: int) -> dict[str, Any]:
    """Kill the database so often; the summary, with the longest time until the daemon paid again."""
    rng = random.Random(f"database {seed}")
    in_transaction, back_s = 0, 0.0
    with Run(seed) as run:
        server = run.project.server
        daemon = run.daemon()
        daemon.start()
        for _ in range(kills):
            run.wait_for_change(BACK_S)
            time.sleep(rng.uniform(0.0, UP_S))
            with run.project.connect() as connection:
                in_transaction += transactions_under_way(connection) > 0
            server.kill()
            time.sleep(rng.uniform(0.0, DOWN_S))
            server.start()
            back_s = max(back_s, run.wait_for_change(BACK_S))
            run.check()
            _ = daemon.process  # still the same one
        daemon.stop()
        return run.finish({"kills": kills, "in_transaction": in_transaction, "back_s": round(back_s, 1)})


def main(words: list[str] | None = None) -> int:
    """The command; gives its exit status."""
    return command("MariaDB killed with SIGKILL", {"kills": 3}, kill, words)


if __name__ == "__main__":
    sys.exit(main())
