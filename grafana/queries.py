"""PromQL, in the few forms that the dashboards ask it. What it works out beforehand has a recording rule.

A project is one job of Prometheus, which may have two daemons: one holds the lease, the other stands by with gauges of
nothing. So a gauge is asked for by its recorded name, `...:leader`. What was counted is summed over both.
"""

from __future__ import annotations

from typing import Final

HOUR_S: Final = 3600


def of(name: str, **labels: str) -> str:
    """Give a metric or recorded series of the project, with these values of its labels."""
    matchers = "".join(f',{label}="{value}"' for label, value in labels.items())
    return f'{name}{{job="$job"{matchers}}}'


def in_range(counter: str, **labels: str) -> str:
    """Give by how much a counter grew in the time range that the dashboard shows; 0 if it isn't there."""
    return f"(sum(increase({of(counter, **labels)}[$__range])) or vector(0))"


def in_hour(counter: str, *by: str) -> str:
    """Give by how much a counter grew in the hour before, for each value of the labels `by`: for what is rare.

    A project where it never happened has one line, called "none", at 0.
    """
    grew = f"sum by ({', '.join(by)}) (increase({of(counter)}[1h]))"
    return f'{grew} or on () label_replace(vector(0), "{by[0]}", "none", "", "")'


def per_second(counter: str, *by: str, **labels: str) -> str:
    """Give how fast a counter grows, a second, for each value of the labels `by`."""
    summed = f"sum by ({', '.join(by)}) " if by else "sum"
    return f"{summed}(rate({of(counter, **labels)}[$__rate_interval]))"


def per_hour(counter: str, *by: str, **labels: str) -> str:
    """Give how fast a counter grows, an hour."""
    return f"{HOUR_S} * {per_second(counter, *by, **labels)}"


def or_zero(expr: str) -> str:
    """Give 0 where an expression has no value, for what a healthy project may never have counted."""
    return f"{expr} or on () vector(0)"
