"""What the harvest writes: measurements, independent results, failures, tallies, sizes, comparisons; and its marks.

All in one transaction of the caller's. The key of axiomd_measurement makes a second harvest of a result impossible.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from axiomd.policies.harvest import FailureCount, Tally
from axiomd.policies.measurement import LONGEST_CLASS, LONGEST_DETAIL, LONGEST_PLACE, Measurement, Outcome
from axiomd.sql import Connection, literal, load_statements, render, values
from axiomd.store.tables import HarvestMark, Mark

SQL = load_statements("axiomd.store", "harvest.sql")

STATEMENT_BYTES = 2_000_000
"""A statement with packed numbers grows no longer than this, unless a single row does: servers take 16 MB."""

MOST_PARTNERS = 8
"""Results of other hosts that a result is compared with at most."""

EXPORT_PAGE = 500
"""Measurements that one statement reads for an export."""

Key = tuple[str, int, int]
"""Experiment, version, seed."""


class LayoutRow(NamedTuple):
    """How packed numbers are laid out; science/layout.py reads the text."""

    id: int
    experiment: str
    version: int
    hash: str
    text: str


class MeasurementRow(NamedTuple):
    """A measurement as it is exported. Times are Unix seconds."""

    result_id: int
    version: int
    seed: int
    host_id: int
    user_id: int
    platform: int
    gpu: bool
    received_at: float
    elapsed_s: float
    outcome: int
    independent: bool
    layout_id: int
    numbers: bytes


class Compared(NamedTuple):
    """Two results of the same seed, compared."""

    first_id: int
    second_id: int
    key: Key
    agrees: bool
    worst_key: str
    difference: float


async def closed(connection: Connection, ids: Sequence[int]) -> tuple[set[int], set[int]]:
    """Those of these results that need no harvest any more; and those of them that are measured, without a mark."""
    marked: set[int] = set()
    measured: set[int] = set()
    for result_id, is_measured in await connection.fetch(SQL["closed"], {"ids": list(ids)}):
        (measured if is_measured else marked).add(int(result_id))
    return marked | measured, measured - marked


async def outcomes(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[bool, Outcome | None]]:
    """Of results with a row: whether they wait for the harvest, and what it found."""
    if not ids:
        return {}
    rows = await connection.fetch_packed(SQL["outcomes"], {"ids": list(ids)})
    return {id_: (mark == HarvestMark.OPEN, Outcome(found) if found else None) for id_, mark, found in rows}


async def mark(connection: Connection, results: Iterable[tuple[int, int]], harvest_mark: HarvestMark) -> None:
    """Close the mark of results, given as (result id, workunit id)."""
    rows = [(result_id, workunit_id, int(Mark.OPEN), int(harvest_mark)) for result_id, workunit_id in sorted(results)]
    if rows:
        await connection.execute(SQL["mark"].format(rows=values(rows)))


async def layouts(connection: Connection) -> list[LayoutRow]:
    """Every layout that numbers were ever packed by."""
    rows = await connection.fetch(SQL["layouts"])
    return [LayoutRow(int(id_), str(e), int(v), str(hash_), str(text)) for id_, e, v, hash_, text in rows]


async def add_layout(connection: Connection, experiment: str, version: int, hash_: str, text: str) -> None:
    """Note a layout, unless it is there."""
    what = {"experiment": experiment, "version": version, "hash": hash_, "layout": text}
    await connection.execute(SQL["insert_layout"], what)


async def measurements(
    connection: Connection, experiment: str, version: int, *, everything: bool
) -> AsyncIterator[list[MeasurementRow]]:
    """Give an experiment's measurements by seed, a page at a time: the independent ones, or all that have numbers."""
    statement = SQL["measurements" if everything else "independent_measurements"]
    after = (-1, 0)
    while True:
        where = {"experiment": experiment, "version": version, "limit": EXPORT_PAGE}
        rows = await connection.fetch(statement, where | {"seed": after[0], "result_id": after[1]})
        page = [MeasurementRow(*row)._replace(gpu=bool(row[6]), independent=bool(row[10])) for row in rows]
        if page:
            yield page
        if len(page) < EXPORT_PAGE:
            return
        after = page[-1].seed, page[-1].result_id


async def write_measurements(
    connection: Connection,
    measurements: Iterable[Measurement],
    layout_ids: Mapping[tuple[str, int], int],
    failure_ids: Mapping[int, int],
) -> None:
    """Write a row a result. Raises Conflict if one has a row.

    layout_ids: by experiment and version; failure_ids: by result.
    """
    rows = (
        f"({m.result_id},{m.workunit_id},{_of(m)},{m.gpu:d},{literal(m.received_at)},{literal(m.elapsed_s)},"
        f"{m.outcome:d},{failure_ids.get(m.result_id, 0)},{_layout(m, layout_ids)},{m.digest},"
        f"{_blob(m.numbers) if m.numbers else 'NULL'})"
        for m in measurements
    )
    for part in _parts(rows):
        await connection.execute(SQL["insert_measurements"].format(rows=part))


async def write_replicates(
    connection: Connection,
    measurements: Sequence[Measurement],
    layout_ids: Mapping[tuple[str, int], int],
    now: float,
) -> set[int]:
    """Write those of these results that are independent: the first of its seed, with numbers of its own. Their ids."""
    if not measurements:
        return set()
    rows = (
        f"({_of(m)},{m.gpu:d},{literal(now)},{m.digest},{m.result_id},{_layout(m, layout_ids)},{_blob(m.quantities)})"
        for m in measurements
    )
    for part in _parts(rows):
        await connection.execute(SQL["insert_replicates"].format(rows=part))
    ids = [m.result_id for m in measurements]
    return {row[0] for row in await connection.fetch_packed(SQL["independent"], {"ids": ids})}


async def seeds_there(connection: Connection, keys: Collection[Key]) -> set[Key]:
    """Those of these seeds that have an independent result."""
    if not keys:
        return set()
    rows = await connection.fetch(SQL["seeds_there"], {"seeds": sorted(keys)})
    return {(str(experiment), int(version), int(seed)) for experiment, version, seed in rows}


async def failures_known(connection: Connection, fingerprints: Collection[str]) -> dict[str, int]:
    """Ids of failures by fingerprint; those that weren't seen yet are left out."""
    if not fingerprints:
        return {}
    rows = await connection.fetch(SQL["failures_known"], {"fingerprints": sorted(fingerprints)})
    return {str(fingerprint): int(id_) for fingerprint, id_ in rows}


async def failures_counted(
    connection: Connection, experiments: Collection[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """How many fingerprints experiments have, by name and version."""
    rows = await connection.fetch(SQL["failures_counted"], {"experiments": sorted(experiments)})
    return {(str(name), int(version)): int(count) for name, version, count in rows}


async def add_failures(connection: Connection, failures: Mapping[str, FailureCount]) -> None:
    """Note failures that weren't seen yet, by fingerprint; they are counted by `count_failures`."""
    rows = [
        (
            *(fingerprint, one.experiment, one.version, one.failure.class_[:LONGEST_CLASS]),
            *(one.failure.place[:LONGEST_PLACE], one.failure.detail[:LONGEST_DETAIL], 0, one.first_at, one.last_at),
        )
        for fingerprint, one in sorted(failures.items())
    ]
    await connection.execute(SQL["insert_failures"].format(rows=values(rows)))


async def count_failures(connection: Connection, counts: Mapping[int, FailureCount]) -> None:
    """Add to the counts of failures, by id."""
    if counts:
        rows = " UNION ALL ".join(
            f"SELECT {id_} AS id, {one.results} AS results, {literal(one.first_at)} AS first_at, "
            f"{literal(one.last_at)} AS last_at"
            for id_, one in sorted(counts.items())
        )
        await connection.execute(SQL["count_failures"].format(rows=rows))


async def add_tallies(connection: Connection, tallies: Sequence[Tally]) -> None:
    """Add to the hourly counts."""
    if tallies:
        await connection.execute(SQL["add_tallies"].format(rows=values(tallies)))


async def add_sizes(connection: Connection, sizes: Sequence[tuple[str, int, int, int, int, int]]) -> None:
    """Add to the histograms of sizes."""
    if sizes:
        await connection.execute(SQL["add_sizes"].format(rows=values(sizes)))


async def others_of(
    connection: Connection, measurements: Sequence[Measurement], layout_ids: Mapping[tuple[str, int], int]
) -> list[tuple[int, int, bytes]]:
    """(result, complete result of the same seed and another host, its numbers), the first few of each result."""
    found: list[tuple[int, int, bytes]] = []
    for start in range(0, len(measurements), 100):
        asked = (
            render(
                SQL["others_of"],
                {
                    "result_id": m.result_id,
                    "experiment": m.experiment,
                    "version": m.version,
                    "seed": m.seed,
                    "host_id": m.host_id,
                    "layout_id": _layout(m, layout_ids),
                    "limit": MOST_PARTNERS,
                },
            )
            for m in measurements[start : start + 100]
        )
        rows = await connection.fetch(" UNION ALL ".join(asked).replace("%", "%%"))
        found += [(int(id_), int(other), bytes.fromhex(numbers)) for id_, other, numbers in rows]
    return found


async def write_comparisons(connection: Connection, compared: Sequence[Compared], now: float) -> None:
    """Write how pairs compare; a seed whose results disagree is from then on in dispute."""
    if not compared:
        return
    rows = [
        (*(c.first_id, c.second_id), *c.key, *(int(c.agrees), c.worst_key[:64], c.difference, now))
        for c in sorted(compared)
    ]
    await connection.execute(SQL["insert_comparisons"].format(rows=values(rows)))
    disputed = sorted({c.key for c in compared if not c.agrees})
    if disputed:
        rows_of = values((*key, 0, "open", now) for key in disputed)
        await connection.execute(SQL["insert_verifications"].format(rows=rows_of))


def _layout(m: Measurement, layout_ids: Mapping[tuple[str, int], int]) -> int:
    return layout_ids[m.experiment, m.version] if m.numbers else 0


# Rows by the thousand are spelled right here: `values` would take twice as long.


def _of(m: Measurement) -> str:
    """Spell whose and of what it is; names of experiments hold no percent signs."""
    return f"{literal(m.experiment)},{m.version},{m.seed},{m.host_id},{m.user_id},{m.platform:d}"


def _blob(packed: bytes) -> str:
    """Spell packed numbers: hexadecimal digits pass any character set."""
    return f"X'{packed.hex()}'"


def _parts(rows: Iterable[str]) -> Iterator[str]:
    """Put rows together to statements of a bounded length."""
    part: list[str] = []
    size = 0
    for row in rows:
        if part and size + len(row) > STATEMENT_BYTES:
            yield ",".join(part)
            part, size = [], 0
        part.append(row)
        size += len(row)
    if part:
        yield ",".join(part)
