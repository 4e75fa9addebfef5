"""Grokking: on how many fresh seeds the networks of grokking_dynamics show it, with one BLAS thread.

A seed shows it if a network has 99 % of its training pairs right, takes at least three times as many steps until it has
95 % of the unseen pairs right, and has over 95 % of them right after the last step. Unseen are pairs whose mirror image
isn't trained on either.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is loaded; a volunteer's task has one core

from benchmarks.ground import parser, report
from experiments.grokking_dynamics import GENERALISED, TRAININGS, measure

NETWORKS = ("quadratic", "relu")
DELAY = 3


def groks(seed: int, name: str, *, quiet: bool) -> bool:
    """Train one network of grokking_dynamics, say when it came to what, and whether it grokked."""
    measured = measure(seed, name, TRAININGS[name], 1.0)
    memorised, generalised, stays, final = (
        measured[f"{name}_{figure}"] for figure in ("memorised", "generalised", "stays", "final")
    )
    shown = memorised < TRAININGS[name].steps and generalised >= DELAY * memorised and final > GENERALISED
    if not quiet:
        print(
            f"seed {seed}, {name}: memorised at step {memorised:.0f}, generalised at {generalised:.0f}; "
            f"{final:.3f} of the unseen pairs right at last, {stays:.0%} of the later checks over 95 %"
            + ("" if shown else "; not shown")
        )
    return bool(shown)


def main() -> None:
    """Run from the command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, default=20)
    arguments.add_argument("--first-seed", type=int, default=21)
    chosen = arguments.parse_args()
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    shown = [[groks(seed, name, quiet=chosen.json) for name in NETWORKS] for seed in seeds]
    figures: dict[str, float] = {
        "seeds": len(shown),
        **{name: sum(column) for name, column in zip(NETWORKS, zip(*shown, strict=True), strict=True)},
        "both": sum(map(all, shown)),
    }
    report(
        figures,
        "grokking: {seeds} seeds; x squared shows it on {quadratic}, ReLU on {relu}, both on {both}",
        as_json=chosen.json,
    )


if __name__ == "__main__":
    main()
