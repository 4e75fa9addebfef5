"""The words that the dashboards are written in: a number, a graph, bars, a board. Units, colours and sizes stand here.

A board is one screen: a row of numbers on top, which are green while all is well, and graphs below that say why not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Final, TypeAlias

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

Panel: TypeAlias = stat.Panel | timeseries.Panel | bargauge.Panel

TAG: Final = "axiomd"
SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH: Final = 24  # columns of Grafana's grid; a row of it is 38 pixels high
NUMBER_HEIGHT: Final = 4
GRAPHS_A_ROW: Final = 3

COUNT: Final = units.Short
SHARE: Final = units.PercentUnit
SECONDS: Final = units.Seconds
TEXT: Final = units.String

GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
PLAIN: Final = ((None, BLUE),)
"""Colours of a number that is neither good nor bad."""

Steps: TypeAlias = Sequence[tuple[float | None, str]]
"""Colours, each from a value on; the first one from below all values."""


@dataclass(frozen=True)
class Query:
    """An expression of PromQL, and the name of its series in the legend."""

    expr: str
    legend: str


def good_below(bad: float, *, warn: float | None = None) -> Steps:
    """Green, yellow from `warn`, red from `bad`, which is where the alert stands."""
    return [(None, GREEN), *([(warn, YELLOW)] if warn is not None else []), (bad, RED)]


def good_from(good: float, *, warn: float | None = None) -> Steps:
    """Red, yellow from `warn`, green from `good`."""
    return [(None, RED), *([(warn, YELLOW)] if warn is not None else []), (good, GREEN)]


def number(
    title: str,
    meaning: str,
    expr: str,
    *,
    unit: str = COUNT,
    steps: Steps = PLAIN,
    over_range: bool = False,
    decimals: int | None = None,
    words: dict[float, str] | None = None,
) -> stat.Panel:
    """Give one number, the latest, over a small graph of its course; without that if it is of the whole time range."""
    target = _target(Query(expr, title))
    panel = (
        stat.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .with_target(target.instant() if over_range else target.range())
        .unit(unit)
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(look.BigValueColorMode.VALUE)
        .graph_mode(look.BigValueGraphMode.NONE if over_range else look.BigValueGraphMode.AREA)
    )
    if decimals is not None:
        panel.decimals(decimals)
    if words:
        panel.mappings(
            [model.ValueMap({f"{value:g}": model.ValueMappingResult(text=word)}) for value, word in words.items()]
        )
    return panel


def names(title: str, meaning: str, query: Query) -> stat.Panel:
    """Give the names of the series that there are, not their values."""
    return (
        stat.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .with_target(_target(query).instant())
        .unit(TEXT)
        .thresholds(_thresholds(PLAIN))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(look.BigValueColorMode.VALUE)
        .graph_mode(look.BigValueGraphMode.NONE)
        .text_mode(look.BigValueTextMode.NAME)
    )


def graph(
    title: str,
    meaning: str,
    *queries: Query,
    unit: str = COUNT,
    stacked: bool = False,
    limit: float | None = None,
    top: float | None = None,
) -> timeseries.Panel:
    """Give lines over time, with a dashed one at `limit`, where the alert stands; `top` is the end of the axis."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(30 if stacked else 5)
        .show_points(look.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(show_legend=True)
            .display_mode(look.LegendDisplayMode.LIST)
            .placement(look.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull"])
        )
        .tooltip(common.VizTooltipOptions().mode(look.TooltipDisplayMode.MULTI).sort(look.SortOrder.DESCENDING))
    )
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(_target(query, letter).range())
    if stacked:
        panel.stacking(common.StackingConfig().mode(look.StackingMode.NORMAL).group("A"))
    if limit is not None:
        panel.thresholds(_thresholds(good_below(limit)))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(look.GraphTresholdsStyleMode.DASHED))
    if top is not None:
        panel.max(top)
    return panel


def bars(
    title: str, meaning: str, query: Query, *, unit: str = COUNT, steps: Steps = PLAIN, top: float | None = None
) -> bargauge.Panel:
    """Give a bar for each series, as long as its latest value."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .with_target(_target(query).instant())
        .unit(unit)
        .min(0)
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .orientation(look.VizOrientation.HORIZONTAL)
        .display_mode(look.BarGaugeDisplayMode.BASIC)
    )
    if top is not None:
        panel.max(top)
    return panel


def board(
    name: str, title: str, meaning: str, numbers: Sequence[stat.Panel], graphs: Sequence[Panel], *, graph_height: int
) -> dashboard.Dashboard:
    """Give a dashboard: the numbers side by side on top, the graphs below, three in a row."""
    result = (
        dashboard.Dashboard(title)
        .uid(f"axiomd-{name}")
        .description(meaning)
        .tags([TAG])
        .editable()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-24h", "now")
        .refresh("30s")
        .with_variable(_datasource())
        .with_variable(_job())
        .link(_other_boards())
        .annotation(_alerts())
    )
    top = [panel.span(WIDTH // len(numbers)).height(NUMBER_HEIGHT) for panel in numbers]
    below = [panel.span(WIDTH // GRAPHS_A_ROW).height(graph_height) for panel in graphs]
    for place, panel in enumerate([*top, *below], start=1):
        result.with_panel(panel.id(place))
    return result


def _target(query: Query, letter: str = "A") -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(letter).expr(query.expr).legend_format(query.legend)


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=color) for value, color in steps])
    )


def _datasource() -> dashboard.DatasourceVariable:
    return (
        dashboard.DatasourceVariable("datasource")
        .label("Prometheus")
        .description("The Prometheus to ask")
        .type("prometheus")
    )


def _job() -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable("job")
        .label("Project")
        .description("The job that scrapes axiomd: one a project, with all its daemons")
        .datasource(SOURCE)
        .query("label_values(axiomd_build_info, job)")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def _other_boards() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("axiomd")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(as_dropdown=False)
        .keep_time(keep_time=True)
        .include_vars(include_vars=True)
    )


class _AlertAnnotations(model.AnnotationQuery):
    """Annotations with a title and a text made of the alert's labels, which the SDK has no words for."""

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"titleFormat": "{{alertname}}", "textFormat": "{{severity}}", "step": "60s"}


class _Alerts(dashboard.AnnotationQuery):
    def __init__(self) -> None:
        self._internal = _AlertAnnotations()


def _alerts() -> dashboard.AnnotationQuery:
    return (
        _Alerts()
        .name("Alerts")
        .datasource(SOURCE)
        .enable(enable=True)
        .icon_color(RED)
        .expr('ALERTS{job=~"$job|",alertname=~"Axiomd.+",alertstate="firing"}')
    )
