"""A report as a document: Markdown for a terminal, HTML that stands alone in one file, JSON.

What strangers wrote, such as a user's name, is escaped in each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from axiomd.views.report_parts import Report

CONTENT_SECURITY_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a page of a report needs: no script, and nothing from elsewhere."""


def as_json(report: Report) -> str:
    """Give the report as JSON: the data as they are."""
    return report.model_dump_json(indent=2) + "\n"


def as_markdown(report: Report) -> str:
    """Give the report as Markdown, without plots."""
    environment = _environment(_markdown)
    return environment.get_template("report.md.jinja").render(report=report)


def as_html(report: Report) -> str:
    """Give the report as a page with plots, in one file that needs nothing else."""
    # Plots need a library that nothing else of a command or of the daemon should wait for.
    from axiomd.views.report_plots import plots  # noqa: PLC0415

    environment = _environment(None)
    drawn = {name: plot._replace(svg=Markup(plot.svg)) for name, plot in plots(report).items()}  # noqa: S704 - ours
    page = environment.get_template("report.html.jinja")
    return page.render(report=report, plots=drawn, policy=CONTENT_SECURITY_POLICY)


RENDER: Final[dict[str, Callable[[Report], str]]] = {"md": as_markdown, "html": as_html, "json": as_json}


def write(path: Path, text: str) -> None:
    """Write a file in one step: a reader sees the old one or the new one, and a full disk leaves the old one.

    Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _environment(plain: Callable[[str], str] | None) -> Environment:
    environment = Environment(
        loader=PackageLoader("axiomd", "views"),
        autoescape=plain is None,  # noqa: S701 - Markdown has an escape of its own
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "utc": _utc,
        "day": _day,
        "number": _number,
        "span": _span,
        "plain": plain or str,
        "code": _code,
    }
    return environment


def _markdown(text: object) -> str:
    """Make a stranger's text harmless in Markdown, in a table's cell too, and on a terminal."""
    words = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return re.sub(r"([\\`*\[\]<>|#~!])", r"\\\1", words)


def _code(words: str) -> Markup:
    """Escape a line of ours for a page, and set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(words))))  # noqa: S704 - escaped before


def _utc(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def _number(value: float | None, digits: int = 6) -> str:
    """Write a number with groups of three; of one with a fraction so many digits that count."""
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10**4 else f"{value:,.{digits}g}"


def _span(seconds: float | None) -> str:
    """Write a span of time."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
