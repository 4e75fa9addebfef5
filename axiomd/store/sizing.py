"""axiomd_size and axiomd_limit: how large jobs turned out to be, and how much wider than usual their bounds are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from axiomd.policies.sizing import Quantity
from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.store", "sizing.sql")


class Deployed(NamedTuple):
    """An experiment's version, on CPUs or GPUs: they differ in size."""

    experiment: str
    version: int
    gpu: bool


class Widened(NamedTuple):
    """How much wider than usual an experiment's bounds are, and since when (Unix seconds)."""

    factor: float = 1.0
    at: float = 0.0


class Deaths(NamedTuple):
    """Results of an experiment, and those of them that died of a limit."""

    of: Deployed
    results: int
    died: int


async def sizes(connection: Connection, of: Deployed) -> dict[Quantity, dict[int, int]]:
    """Histograms of an experiment's results, by quantity."""
    found: dict[Quantity, dict[int, int]] = defaultdict(dict)
    for quantity, bucket, results in await connection.fetch(SQL["sizes"], _row(of)):
        found[Quantity(quantity)][int(bucket)] = int(results)
    return dict(found)


async def widened(connection: Connection, of: Deployed) -> Widened:
    """How much wider than usual an experiment's bounds are."""
    rows = await connection.fetch(SQL["factor"], _row(of))
    return Widened(float(rows[0][0]), float(rows[0][1])) if rows else Widened()


async def put_widened(connection: Connection, of: Deployed, to: Widened) -> None:
    """Make an experiment's bounds wider by a factor."""
    await connection.execute(SQL["put_factor"], _row(of) | to._asdict())


async def deaths(connection: Connection, *, since: float, fewest: int) -> list[Deaths]:
    """Experiments with so many deaths by limits since then, in whole hours, under the bounds that they have now."""
    rows = await connection.fetch(SQL["deaths"], {"since_hour": int(since // 3600), "fewest": fewest})
    return [Deaths(Deployed(str(e), int(v), bool(g)), int(results), int(died)) for e, v, g, results, died in rows]


async def causes(connection: Connection, of: Deployed, classes: Sequence[str], *, since: float) -> list[str]:
    """Those of these classes of failures that an experiment had since then."""
    if not classes:
        return []
    rows = await connection.fetch(SQL["causes"], _row(of) | {"classes": list(classes), "since": since})
    return [str(row[0]) for row in rows]


def _row(of: Deployed) -> dict[str, object]:
    return {"experiment": of.experiment, "version": of.version, "gpu": int(of.gpu)}
