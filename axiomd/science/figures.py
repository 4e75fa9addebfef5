"""A figure for each experiment: its plots, and its claims, over the seeds that were run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from axiomd.science.catalogue import CatalogueEntry
from axiomd.science.verdicts import mean_interval
from experiments.kit.claims import Claim, effect
from experiments.kit.metadata import Plot

PANEL_INCHES: Final = (4.2, 3.4)
INCHES_A_CLAIM: Final = 0.3
MOST_TICKS: Final = 10
STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "axiomd",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
"""With a fixed salt the same numbers give the same file."""


def draw(entry: CatalogueEntry, results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw an experiment's results, one a seed, as SVG; raises OSError if the file can't be written."""
    with mpl.rc_context(STYLE):
        width, height = PANEL_INCHES
        height = max(height, INCHES_A_CLAIM * len(entry.claims))
        panels = len(entry.plots) + 1
        figure = Figure(figsize=(width * panels, height), layout="constrained")
        axes = figure.subplots(1, panels, squeeze=False)[0]
        for ax, plot in zip(axes, entry.plots, strict=False):
            _draw_plot(ax, plot, results)
        _draw_claims(axes[-1], entry.claims, results)
        figure.suptitle(f"{entry.name}, version {entry.version}, {len(results)} seeds")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_plot(ax: Axes, plot: Plot, results: Sequence[Mapping[str, Any]]) -> None:
    """The mean over the seeds as a line, each seed as a thin one."""
    for number, key in enumerate(plot.keys):
        curves = [measured[key] for measured in results if len(measured.get(key, ())) == len(plot.x)]
        color = f"C{number}"
        for curve in curves:
            ax.plot(plot.x, curve, color=color, alpha=0.25, linewidth=0.7)
        mean = [fmean(values) for values in zip(*curves, strict=True)]
        if mean:
            ax.plot(plot.x, mean, color=color, marker="o", markersize=3, label=key.replace("_", " "))
    ax.set(title=plot.title, xlabel=plot.x_label, ylabel=plot.y_label)
    if plot.log_x:
        ax.set_xscale("log")
        if len(plot.x) <= MOST_TICKS:
            ax.set_xticks(plot.x, [f"{x:g}" for x in plot.x])
            ax.set_xticks([], minor=True)
    if plot.log_y:
        ax.set_yscale("log")
    ax.legend(frameon=False, fontsize=7)


def _draw_claims(ax: Axes, claims: Sequence[Claim], results: Sequence[Mapping[str, Any]]) -> None:
    """Each claim's effect against its control, in the claim's direction: right of 0 is for it, left against it."""
    for row, claim in enumerate(reversed(claims)):
        unit = claim.threshold or 1.0
        sign = 1.0 if claim.direction == "greater" else -1.0
        effects = [effect(claim, measured) for measured in results]
        margins = [sign * value / unit for value in effects if value is not None]
        ax.plot(margins, [row] * len(margins), "o", color="0.6", markersize=3)
        interval = mean_interval(margins)
        if interval is not None:
            ax.plot(interval, (row, row), color="C3", linewidth=2)
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.axvline(1, color="0.3", linewidth=0.8, linestyle=":")
    ax.set_xscale("symlog", linthresh=1)
    ax.set_yticks(range(len(claims)), [claim.name.replace("_", " ") for claim in reversed(claims)])
    ax.set(title="Claims against their controls", xlabel="effect over its threshold")
    ax.set_ylim(-0.5, len(claims) - 0.5)
