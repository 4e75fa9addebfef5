"""`axiomd export`: an experiment's measurements as a table, for a scientist's own tools."""

from __future__ import annotations

import asyncio
import csv
import importlib
import itertools
import math
import sys
from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from axiomd import logs, opening
from axiomd.cli.options import CONFIG_DEFAULT, Config
from axiomd.errors import AxiomdError
from axiomd.events import Platform
from axiomd.policies.measurement import Outcome
from axiomd.science.catalogue import read_catalogue
from axiomd.science.layout import Layout
from axiomd.settings import Settings, load
from axiomd.store import harvest
from axiomd.store.harvest import MeasurementRow

COLUMNS = (
    *("result", "version", "seed", "host", "user", "platform", "gpu", "received_at", "elapsed_s", "outcome"),
    "independent",
)
"""What stands before the measured keys. received_at: Unix seconds."""
PARQUET_ROWS = 2000
"""Rows of a row group: what of a Parquet file lies in memory."""

Rows = list[list[Any]]


class Format(StrEnum):
    """How a table is written."""

    CSV = "csv"
    PARQUET = "parquet"


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(export)


def export(
    experiment: Annotated[str, typer.Argument(help="Name of the experiment.")],
    version: Annotated[int, typer.Option("--version", min=0, help="Its version; 0: the newest measured.")] = 0,
    form: Annotated[Format, typer.Option("--format", help="csv or parquet.")] = Format.CSV,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else standard output.")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also copies of a seed, and runs that ended half way, told apart by columns.")
    ] = False,
    config: Config = CONFIG_DEFAULT,
) -> None:
    """Write an experiment's measurements: a row a result, independent and complete ones only, a column a number."""
    settings = load(config)
    logs.configure(settings.log)
    if form is Format.PARQUET and output is None:
        raise AxiomdError("a Parquet file isn't for a terminal: say where it goes with --output FILE")
    count = asyncio.run(export_to(settings, experiment, version, form, output, all_=all_))
    print(f"{count} results of {experiment}", file=sys.stderr)


async def export_to(
    settings: Settings, experiment: str, version: int, form: Format, output: Path | None, *, all_: bool
) -> int:
    """Write the measurements of an experiment; how many. Raises AxiomdError if there are none."""
    async with opening.opened(settings) as (database, _), database.session() as session:
        kept = [row for row in await harvest.layouts(session) if row.experiment == experiment]
        entry = read_catalogue(settings.daemon.catalogue).get(experiment)
        newest = version or max((row.version for row in kept), default=entry.version if entry else 0)
        layouts = {
            row.id: Layout.from_json(row.experiment, row.version, row.text) for row in kept if row.version == newest
        }
        if not layouts and entry and entry.version == newest:
            layouts[0] = Layout.of(entry)  # nothing was measured yet: an empty table
        if not layouts:
            known = ", ".join(sorted({row.experiment for row in await harvest.layouts(session)})) or "none yet"
            raise AxiomdError(f"nothing was measured of '{experiment}', version {newest}. Measured: {known}.")
        keys = _columns(layouts.values())
        pages = harvest.measurements(session, experiment, newest, everything=all_)
        count = 0
        with _writer(form, output, [*COLUMNS, *keys]) as write:
            async for rows in _tables(pages, layouts, keys):
                write(rows)
                count += len(rows)
    return count


def _columns(layouts: Any) -> dict[str, int]:
    """Name a column for each number of any of the layouts, with its place: key, key[i], key[i][j]."""
    names: dict[str, int] = {}
    for layout in layouts:
        for name in _names(layout):
            names.setdefault(name, len(names))
    return names


def _names(layout: Layout) -> Iterator[str]:
    """Names of a layout's numbers, in the order in which they are packed."""
    for key, shape in layout.keys:
        for place in itertools.product(*(range(size) for size in shape)):
            yield key + "".join(f"[{index}]" for index in place)


async def _tables(
    pages: AsyncIterator[list[MeasurementRow]], layouts: dict[int, Layout], keys: dict[str, int]
) -> AsyncIterator[Rows]:
    """Spread each page's packed numbers over the columns; None where nothing was measured."""
    places = {id_: [keys[name] for name in _names(layout)] for id_, layout in layouts.items()}
    async for page in pages:
        rows: Rows = []
        for m in page:
            numbers: list[float | None] = [None] * len(keys)
            for place, number in zip(places[m.layout_id], array("d", m.numbers), strict=True):
                numbers[place] = None if math.isnan(number) else number
            platform, outcome = Platform(m.platform).name.lower(), Outcome(m.outcome).name.lower()
            rows.append([*m[:5], platform, m.gpu, m.received_at, m.elapsed_s, outcome, m.independent, *numbers])
        yield rows


@contextmanager
def _writer(form: Format, output: Path | None, columns: Sequence[str]) -> Iterator[Callable[[Rows], None]]:
    """Give what writes rows. A file is there once it is whole, never half."""
    if output is None:
        yield _csv_writer(sys.stdout, columns)
        return
    temporary = output.with_name(f".{output.name}.part")
    try:
        if form is Format.PARQUET:
            with _parquet_writer(temporary, columns) as write:
                yield write
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                yield _csv_writer(file, columns)
        temporary.replace(output)
    except OSError as error:
        raise AxiomdError(f"{output} can't be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _csv_writer(file: Any, columns: Sequence[str]) -> Callable[[Rows], None]:
    writer = csv.writer(file)
    writer.writerow(columns)
    return writer.writerows


@contextmanager
def _parquet_writer(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Rows], None]]:
    try:
        # Not at the top: it is an extra, and large.
        pyarrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    except ImportError as error:
        raise AxiomdError(
            "Parquet needs pyarrow, which isn't installed: pip install 'axiomd[parquet]'; or take --format csv"
        ) from error
    kinds = {
        **dict.fromkeys(("result", "version", "seed", "host", "user"), pyarrow.int64()),
        **dict.fromkeys(("platform", "outcome"), pyarrow.string()),
        **dict.fromkeys(("gpu", "independent"), pyarrow.bool_()),
    }
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in columns])
    with parquet.ParquetWriter(path, schema) as writer:

        def write(rows: Rows) -> None:
            for start in range(0, len(rows), PARQUET_ROWS):
                turned = zip(*rows[start : start + PARQUET_ROWS], strict=True)
                arrays = [pyarrow.array(column, field.type) for column, field in zip(turned, schema, strict=True)]
                writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))

        yield write
