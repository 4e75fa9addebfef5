"""Every fault for long, one after another: `make faults`, or python -m tests.faults --seed 7.

Exit status 0 only if all was exact each time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

LONG = {
    "kill": ("--kills", "300"),
    "database": ("--kills", "30"),
    "cuts": ("--cuts", "500"),
    "contention": ("--rounds", "30"),
    "pair": ("--rounds", "60"),
    "harm": ("--statements", "200000"),
    "broker": ("--kills", "60"),
    "fuzz": ("--inputs", "200000"),
}


def main() -> int:
    """Run them all; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the moments of an earlier run")
    seed = parser.parse_args().seed
    failed = [
        fault
        for fault, words in LONG.items()
        if subprocess.run(
            [sys.executable, "-m", f"tests.faults.{fault}", *words, "--seed", str(seed)], check=False
        ).returncode
    ]
    sys.stdout.write(f"failed: {', '.join(failed)}\n" if failed else "all exact\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
