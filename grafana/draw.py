"""Draws a dashboard from its JSON and a Prometheus, about as Grafana would show it: for the documentation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from grafana.run import Run, queries

Panel: TypeAlias = Mapping[str, Any]
"""A panel as it stands in a dashboard's JSON."""

COLUMN, ROW = 13 / 24, 0.3  # inches of Grafana's grid
GAP, HEAD, FOOT = 0.08, 0.4, 0.55  # inches: between panels; the dashboard's title; a graph's axis and legend
LEGEND_MOST: Final = 8  # series in a legend: the largest
LEGEND_CHARACTERS: Final = 76  # in a line of it
STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "axiomd",
    "font.size": 8,
    "axes.edgecolor": "0.8",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.93",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "0.35",
    "ytick.color": "0.35",
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.2,
}
COLORS: Final = {"green": "#2f9e44", "yellow": "#d69e00", "red": "#d03030", "blue": "#2b6cb0"}
PALETTE: Final = tuple(mpl.colormaps["tab20"](n) for n in [*range(0, 20, 2), *range(1, 20, 2)])
THOUSANDS: Final = ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K"))


@dataclass(frozen=True)
class Sheet:
    """The figure, what is measured, and until when."""

    figure: Figure
    run: Run
    until: float

    def axes(self, place: Mapping[str, int], left: float, bottom: float, top: float) -> Axes:
        """Give axes inside a panel, so many inches away from its edges."""
        width, height = self.figure.get_size_inches()
        x, y, w, h = _inches(place, height)
        rectangle = ((x + left) / width, (y + bottom) / height, (w - left - 0.25) / width, (h - bottom - top) / height)
        return self.figure.add_axes(rectangle)

    def card(self, panel: Panel) -> None:
        """Draw a panel's frame and its title."""
        width, height = self.figure.get_size_inches()
        x, y, w, h = _inches(panel["gridPos"], height)
        frame = Rectangle(
            (x / width, y / height), w / width, h / height, facecolor="white", edgecolor="0.85", zorder=-1
        )
        self.figure.add_artist(frame)
        self.figure.text((x + 0.1) / width, (y + h - 0.17) / height, panel["title"], fontweight="bold", va="center")

    def legend(self, panel: Panel, handles: Sequence[Artist], labels: Sequence[str]) -> None:
        """Name the first of a graph's series below it, in two lines at most."""
        width, height = self.figure.get_size_inches()
        x, y, _, _ = _inches(panel["gridPos"], height)
        columns = LEGEND_CHARACTERS // (max(map(len, labels[:LEGEND_MOST]), default=0) + 6)
        most = min(LEGEND_MOST, 2 * columns)
        self.figure.legend(
            handles[:most],
            labels[:most],
            loc="upper left",
            bbox_to_anchor=((x + 0.1) / width, (y + FOOT - 0.2) / height),
            borderaxespad=0,
            borderpad=0,
            ncols=columns,
            frameon=False,
            fontsize=6.5,
            handlelength=1.0,
            handletextpad=0.5,
            columnspacing=1.2,
            labelspacing=0.3,
        )


def draw(board: Mapping[str, Any], run: Run, until: float, path: Path) -> None:
    """Draw a dashboard with what a run measured until a time; raises OSError if the file can't be written."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    with mpl.rc_context(STYLE):
        sheet = Sheet(Figure(figsize=(24 * COLUMN, rows * ROW + HEAD), facecolor="#f4f5f6"), run, until)
        sheet.figure.text(0.008, 1 - HEAD / 2 / (rows * ROW + HEAD), board["title"], fontsize=13, va="center")
        for panel in board["panels"]:
            sheet.card(panel)
            DRAWN[panel["type"]](sheet, panel)
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _inches(place: Mapping[str, int], height: float) -> tuple[float, float, float, float]:
    """Give a panel's left, bottom, width and height."""
    return (
        place["x"] * COLUMN + GAP / 2,
        height - HEAD - (place["y"] + place["h"]) * ROW + GAP / 2,
        place["w"] * COLUMN - GAP,
        place["h"] * ROW - GAP,
    )


def _number(sheet: Sheet, panel: Panel) -> None:
    """A big number in the colour of its threshold, over its course."""
    ((expr, legend, instant),) = queries(panel)
    samples = sheet.run.latest(expr, sheet.until)
    words = [_shown(sample.value, _legend(legend, sample.labels), panel) for sample in samples]
    color = _color(samples[0].value, panel) if samples else "0.5"
    ax = sheet.axes(panel["gridPos"], left=0.1, bottom=0.06, top=0.25)
    ax.axis("off")
    ax.text(0, 0.68, ", ".join(words) or "no data", transform=ax.transAxes, fontsize=20, color=color, va="center")
    for series in () if instant else sheet.run.course(expr, sheet.until):
        ax.fill_between(series.times, series.values, color=color, alpha=0.25, linewidth=0)
        ax.set_xlim(sheet.run.since, sheet.until)
        ax.set_ylim(0, 3 * (_highest(series.values) or 1.0))


def _graph(sheet: Sheet, panel: Panel) -> None:
    """Lines or a stack over the minutes of the run."""
    series = [
        (_legend(legend, found.labels), [(at - sheet.run.since) / 60 for at in found.times], found.values)
        for expr, legend, _ in queries(panel)
        for found in sheet.run.course(expr, sheet.until)
    ]
    defaults = panel["fieldConfig"]["defaults"]
    ax = sheet.axes(panel["gridPos"], left=0.6, bottom=FOOT, top=0.33)
    if "stacking" in defaults["custom"]:
        _stack(ax, series)
    else:
        for (label, times, values), color in zip(series, PALETTE, strict=False):
            ax.plot(times, values, label=label, color=color)
    for step in defaults.get("thresholds", {}).get("steps", ())[1:]:
        ax.axhline(step["value"], color=COLORS[step["color"]], linestyle="--", linewidth=0.9)
    highest = max((_highest(values) for _, _, values in series), default=0.0)
    ax.set_ylim(0, defaults.get("max") or (ax.get_ylim()[1] if highest else 1.0))
    ax.set_xlim(0, (sheet.until - sheet.run.since) / 60)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, defaults["unit"])))
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} min"))
    handles, labels = ax.get_legend_handles_labels()
    largest = sorted(range(len(series)), key=lambda place: -_highest(series[place][2]))
    sheet.legend(panel, [handles[place] for place in largest], [labels[place] for place in largest])


def _stack(ax: Axes, series: Sequence[tuple[str, list[float], list[float]]]) -> None:
    """Areas on top of each other; a series that wasn't there yet counts as 0."""
    times = sorted({at for _, moments, _ in series for at in moments})
    known = [dict(zip(moments, values, strict=True)) for _, moments, values in series]
    heights = [[values.get(at, 0.0) for at in times] for values in known]
    ax.stackplot(times, heights, labels=[label for label, _, _ in series], colors=PALETTE, alpha=0.75)


def _bars(sheet: Sheet, panel: Panel) -> None:
    """A bar for each series, with its value at the end."""
    ((expr, legend, _),) = queries(panel)
    samples = sheet.run.latest(expr, sheet.until)
    rows = range(len(samples), 0, -1)
    values = [sample.value for sample in samples]
    top = panel["fieldConfig"]["defaults"].get("max") or max([*values, 1.0])
    ax = sheet.axes(panel["gridPos"], left=1.75, bottom=0.12, top=0.33)
    ax.barh(rows, [top] * len(rows), color="0.94", height=0.7)
    ax.barh(rows, [min(value, top) for value in values], color=[_color(value, panel) for value in values], height=0.7)
    for row, value in zip(rows, values, strict=True):
        ax.text(top * 1.02, row, _shown(value, "", panel), va="center", fontweight="bold")
    ax.set_yticks(rows, [_legend(legend, sample.labels) for sample in samples])
    ax.set_xticks([])
    ax.set_xlim(0, top * 1.2)
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)


DRAWN: Final = {"stat": _number, "timeseries": _graph, "bargauge": _bars}


def shown(value: float, unit: str) -> str:
    """Give a number as Grafana shows it: thousands as K, shares in percent, seconds in what is easy to read."""
    if unit == "percentunit":
        return f"{100 * value:.3g}%"
    if unit == "s" and value < 1:
        return f"{1000 * value:.3g} ms" if value else "0 s"
    sizes = {"s": ((86400.0, " d"), (3600.0, " h"), (60.0, " min"), (1.0, " s"))}.get(unit, THOUSANDS)
    for size, name in sizes:
        if value >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:.3g}"


def _shown(value: float, name: str, panel: Panel) -> str:
    """Give the value of a panel: by its word if it has one, or the series' name if that is asked for."""
    if panel["options"].get("textMode") == "name":
        return name
    defaults = panel["fieldConfig"]["defaults"]
    for mapping in defaults.get("mappings", ()):
        if found := mapping["options"].get(f"{value:g}"):
            return str(found["text"])
    return shown(round(value, defaults["decimals"]) if "decimals" in defaults else value, defaults["unit"])


def _color(value: float, panel: Panel) -> str:
    """Give the colour of the highest threshold that the value reaches."""
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return [COLORS[step["color"]] for step in steps if step["value"] is None or value >= step["value"]][-1]


def _highest(values: Sequence[float]) -> float:
    """Give the largest value; a share of nothing is no number, and counts as 0."""
    return max((value for value in values if math.isfinite(value)), default=0.0)


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    """Put the labels into a legend's pattern, as in `{{state}}`."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda label: labels.get(label[1], ""), pattern)
