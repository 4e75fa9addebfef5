"""The daemon's connections cut at the worst moments, by a proxy: python -m tests.faults.cuts --cuts 500 --seed 7.

In the middle of a statement, while the server works on it, at COMMIT, and after COMMIT before the answer.
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

from tests.faults.project import LEASE_S, Daemon, wait_until
from tests.faults.proxy import Cut, Proxy
from tests.faults.run import Run, command

STRUCK_S = 45.0
WITHIN_STATEMENTS = 40


def cut(cuts: int, seed: int) -> dict[str, Any]:
    """Cut so often; the summary, with each kind counted."""
    rng = random.Random(f"cuts {seed}")
    with Run(seed, tcp=True) as run, Proxy(run.project.server.port or 0) as proxy:
        daemon = Daemon(run.project.settings(database_port=proxy.port, name="proxied"), run.log)
        daemon.start()
        for _ in range(cuts):
            kind = rng.choice(list(Cut))
            proxy.arm(kind, rng.randint(1, WITHIN_STATEMENTS if kind in (Cut.HALF, Cut.UNDER_WAY) else 3))
            wait_until(lambda: not proxy.armed, STRUCK_S, f"a statement at which to cut ({kind})")
            run.check()
            _ = daemon.process  # it lives
        # At last nothing gets through for longer than the lease lasts, and nobody else wants it.
        proxy.freeze()
        time.sleep(LEASE_S)
        proxy.thaw()
        run.wait_for_change(STRUCK_S)
        daemon.stop()
        return run.finish({"cuts": dict(proxy.cuts)})


def main(words: list[str] | None = None) -> int:
    """The command; gives its exit status."""
    return command("connections cut", {"cuts": 30}, cut, words)


if __name__ == "__main__":
    sys.exit(main())
