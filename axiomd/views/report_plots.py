"""The report's plots, as SVG to stand inside a page. The same data give the same bytes.

Colours tell apart for colour-blind eyes too (Okabe and Ito). Text and axes take the colour of the page around them, so
that they can be read on a light and on a dark one.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from axiomd.settings import DAY_S
from axiomd.views.report_parts import CoresPoint, DayCredit, FindingPart, Report, SharePoint

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
    "#8a8a8a",
)
LINES: Final = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (VERMILION, ":"), (PURPLE, "-"), (SKY, "--"), (GREY, "-."))
"""Colour and dashes: either alone tells curves apart."""
INK: Final = "#010203"
"""Stands for the colour of the text around a plot."""
WIDE: Final = (9.0, 2.6)
PANEL: Final = (3.0, 2.0)
PANELS_A_ROW: Final = 3
MOST_FINDINGS: Final = 24
LONGEST_LINE: Final = 38
"""Letters of a line in a small plot's title."""
STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "axiomd",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


class Plot(NamedTuple):
    """A plot and what it shows. svg: safe to stand in a page as it is."""

    title: str
    words: str
    svg: str


def plots(report: Report) -> dict[str, Plot]:
    """Draw what there is data for: credit, cores, failures, findings."""
    drawn = {}
    if report.credit.by_day:
        drawn["credit"] = Plot(
            "Credit by day", "UTC days; less what was undone", _wide(_credit, report.credit.by_day, report)
        )
    if len(report.cores) > 1:
        drawn["cores"] = Plot(
            "Cores, busy and idle", "usable cores of the live hosts, without excluded ones", _wide(_cores, report.cores)
        )
    if any(point.failures for point in report.failure_share):
        step = "day" if report.failure_step_s >= DAY_S else "hour"
        drawn["failures"] = Plot(
            f"Failures by {step}",
            "share of the results that failed, silent failures included; the "
            f"{len(LINES)} experiments with most failures",
            _wide(_failures, report.failure_share, report),
        )
    if followed := [finding for finding in report.findings if len(finding.course) > 1][:MOST_FINDINGS]:
        drawn["findings"] = Plot(
            "Effects as evidence came in",
            "median effect over the seeds, and the interval that holds although one looks after every seed; "
            "dotted: the smallest effect that counts",
            _findings(followed),
        )
    return drawn


def _wide(draw: Callable[[Axes, Any], None], data: Any, report: Report | None = None) -> str:
    """Draw something over time: over all of the report's period, or over the time that there are data of."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=WIDE, layout="constrained")
        ax = figure.subplots()
        draw(ax, data)
        if report is not None:
            begin = min(report.since, data[0].at)
            room = 0.02 * (report.until - begin)
            ax.set_xlim(_when(begin - room), _when(report.until + room))  # type: ignore[arg-type]
        _dates(ax)
        return _svg(figure)


def _credit(ax: Axes, days: Sequence[DayCredit]) -> None:
    middle = [_when(day.at + DAY_S / 2) for day in days]
    ax.bar(middle, [day.credit for day in days], width=0.8, color=BLUE)  # type: ignore[arg-type]
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set_ylabel("credit (cobblestones)")


def _cores(ax: Axes, points: Sequence[CoresPoint]) -> None:
    at = [_when(point.at) for point in points]
    busy = [point.cores - point.idle for point in points]
    ax.stackplot(
        at,  # type: ignore[arg-type]
        busy,
        [point.idle for point in points],
        labels=("busy", "idle"),
        colors=(BLUE, ORANGE),
        alpha=0.85,
    )
    ax.set_ylim(bottom=0)
    ax.set_ylabel("cores")
    _legend(ax)


def _failures(ax: Axes, points: Sequence[SharePoint]) -> None:
    of: dict[tuple[str, int], list[SharePoint]] = defaultdict(list)
    for point in points:
        of[point.experiment, point.version].append(point)
    worst = sorted(of, key=lambda key: (-sum(point.failures for point in of[key]), key))[: len(LINES)]
    for (color, dashes), key in zip(LINES, worst, strict=False):
        if any(point.failures for point in of[key]):
            at = [_when(point.at) for point in of[key]]
            share = [100 * point.failures / point.results for point in of[key]]
            name = f"{key[0]} v{key[1]}"
            ax.plot(at, share, dashes, color=color, marker="o", markersize=3, label=name)  # type: ignore[arg-type]
    ax.set_ylim(-3, 103)
    ax.set_ylabel("failed (% of results)")
    _legend(ax)


def _findings(findings: Sequence[FindingPart]) -> str:
    rows = -(-len(findings) // PANELS_A_ROW)
    with mpl.rc_context(STYLE | {"font.size": 7.5}):
        width, height = PANEL
        figure = Figure(figsize=(width * PANELS_A_ROW, height * rows), layout="constrained")
        axes = figure.subplots(rows, PANELS_A_ROW, squeeze=False).flat
        for ax, finding in zip(axes, findings, strict=False):
            _course(ax, finding)
        for ax in list(figure.axes)[len(findings) :]:
            ax.set_visible(False)
        return _svg(figure)


def _course(ax: Axes, finding: FindingPart) -> None:
    settled = finding.verdict != "open"
    color = GREEN if settled else BLUE
    seeds = [point.seeds for point in finding.course]
    closed = [(p.seeds, p.low, p.high) for p in finding.course if p.low is not None and p.high is not None]
    if closed:
        x, low, high = zip(*closed, strict=True)
        ax.fill_between(x, low, high, color=color, alpha=0.25, linewidth=0)
    ax.plot(seeds, [point.effect for point in finding.course], color=color, linewidth=1.4)
    ax.axhline(0, color=INK, linewidth=0.8)
    if finding.bound:
        ax.axhline(finding.bound, color=INK, linewidth=0.8, linestyle=":")
    title = textwrap.fill(finding.claim.replace("_", " "), LONGEST_LINE)
    ax.set_title(f"{finding.experiment} v{finding.version}\n{title}", fontsize=7.5)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_xlabel(f"seeds ({finding.verdict})")
    ax.set_ylabel("effect")


def _legend(ax: Axes) -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _dates(ax: Axes) -> None:
    locator = AutoDateLocator(tz=UTC, maxticks=9)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    ax.set_xlabel("time (UTC)")


def _when(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _svg(figure: Figure) -> str:
    """Give a figure as an element that can stand in a page: without a header, a size, and ids that nothing needs."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*pt" height="[^"]*pt"', r"\1", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*pt"', r"\1", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*pt"', r"\1", svg, flags=re.DOTALL)
    # Hundredths of a point are as fine as anybody sees; more would be half of the file.
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)
    return svg.replace(INK, "currentColor")
