"""The experiments: seconds of one core for a full run, the share of them inside BLAS, and the logs' seconds.

A run's bundle is started as a volunteer's machine would start it, with one BLAS thread: once bare for its seconds, once
sampled by py-spy, which sees in whose code, down to the library, the process is. `logged_s` are the logs' times on
volunteers' machines, of other code and other sweeps: a reference in size, not a controlled one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from axiomd.science import bundle
from axiomd.science.bundle import Bundle
from axiomd.science.catalogue import read_catalogue

LOGGED_S: Final = {
    "activation_fn_landscape": 312.5,
    "edge_of_chaos": 48.9,
    "feature_competition_dynamics": 113,
    "grokking_dynamics": 1387,
    "grokking_dynamics_v4": 540,
    "loss_landscape_curvature": 86.9,
    "lottery_ticket": 618,
    "memorization_dynamics": 23,
    "micro_scaling_laws": 1112,
    "neural_thermodynamics": 15,
    "representation_alignment": 12,
    "spectral_dynamics": 63,
}
"""As the session logs have them, the longer one where there are two; 540 is the limit that v4 set itself."""

SAMPLES_A_SECOND: Final = 50


def measure(packed: Bundle, seed: int, scale: float) -> dict[str, Any]:
    """Run one experiment twice, bare and sampled."""
    done = bundle.run(packed, "--seed", str(seed), "--scale", repr(scale))
    if done.result is None or done.result["ended"] != "complete":
        sys.exit(f"{packed.entry.name} did not end well: {done.stderr.strip() or done.result}")
    return {
        "experiment": packed.entry.name,
        "seconds": round(done.seconds, 1),
        "blas_share": round(blas_share(packed, seed, scale), 2),
        "peak_memory_mb": done.result["peak_memory_bytes"] >> 20,
        "budget_s": packed.entry.budget_s,
        "logged_s": LOGGED_S.get(packed.entry.name),
    }


def blas_share(packed: Bundle, seed: int, scale: float) -> float:
    """Give the share of a run's samples whose innermost frame lies in numpy's BLAS library."""
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples"
        sampler = (
            *(str(Path(sys.executable).with_name("py-spy")), "record", "--native", "--format", "raw"),
            *("--rate", str(SAMPLES_A_SECOND), "--output", str(samples), "--"),
        )
        done = bundle.run(packed, "--seed", str(seed), "--scale", repr(scale), under=sampler)
        if not samples.is_file():
            sys.exit(f"{packed.entry.name} could not be sampled: {done.stderr.strip()}")
        lines = [line.rsplit(" ", 1) for line in samples.read_text(encoding="utf-8").splitlines()]
    total = sum(int(count) for _, count in lines)
    inside = sum(int(count) for stack, count in lines if "openblas" in stack.rsplit(";", 1)[-1])
    return inside / total


def main() -> None:
    """Measure the experiments that are named, or all but the slow variants."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help="experiments; without a name all but slow variants")
    options.add_argument("--seed", type=int, default=101)
    options.add_argument("--scale", type=float, default=1.0, help="share of the full length of training")
    options.add_argument("--json", action="store_true", help="print a JSON list")
    chosen = options.parse_args()
    entries = read_catalogue(None).values()
    names = chosen.names or [entry.name for entry in entries if entry.variant_of is None]
    rows = []
    for name in names:
        row = measure(bundle.pack(name, bundle.sources_folder()), chosen.seed, chosen.scale)
        rows.append(row)
        if not chosen.json:
            logged = f"{row['logged_s']:g} s in the logs" if row["logged_s"] else "no time in the logs"
            print(
                f"{name}: {row['seconds']} s of one core, {row['blas_share']:.0%} of them in BLAS, "
                f"{row['peak_memory_mb']} MB; {logged}"
            )
    if chosen.json:
        print(json.dumps(rows, indent=2))
    else:
        print(f"together {sum(row['seconds'] for row in rows):.0f} s of one core")


if __name__ == "__main__":
    main()
