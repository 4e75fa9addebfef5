"""What is kept of findings: the independent results that are evidence, what was discounted, and claims once settled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection
from typing import NamedTuple

from axiomd.events import Platform
from axiomd.sql import Connection, Row, load_statements

SQL = load_statements("axiomd.store", "findings.sql")

PAGE = 5000
"""Replicates that are read at a time."""

Run = tuple[str, int]
"""An experiment's name and version."""


class Spread(NamedTuple):
    """From how many sources evidence came."""

    seeds: int = 0
    hosts: int = 0
    users: int = 0
    platforms: tuple[Platform, ...] = ()


class KeptFinding(NamedTuple):
    """A claim that is settled for good. at: when (Unix seconds); seeds: after how many."""

    experiment: str
    version: int
    claim: str
    claim_hash: str
    verdict: str
    at: float
    seeds: int


async def distrusted_hosts(connection: Connection) -> frozenset[int]:
    """Hosts that verification excluded: what they sent is no evidence."""
    return frozenset(int(row[0]) for row in await connection.fetch(SQL["distrusted_hosts"]))


async def independent_seeds(connection: Connection) -> dict[Run, int]:
    """Independent results of each experiment and version, those of distrusted hosts left out."""
    distrusted = await distrusted_hosts(connection)
    if distrusted:
        rows = await connection.fetch(SQL["trusted_seeds"], {"distrusted": sorted(distrusted)})
    else:
        rows = await connection.fetch(SQL["independent_seeds"])
    return {(str(name), int(version)): int(count) for name, version, count in rows}


async def layouts(connection: Connection, run: Run) -> dict[int, str]:
    """How the numbers of an experiment's version were packed, by id, as science/layout.py writes it."""
    rows = await connection.fetch(SQL["layouts"], _of(run))
    return {int(id_): str(text) for id_, text in rows}


async def replicates(connection: Connection, run: Run) -> AsyncIterator[list[Row]]:
    """Give the replicates of an experiment's version, page by page.

    Rows are (id, layout, host, user, platform, at, the quantities as hexadecimal digits), in no order.
    """
    after = -1
    while True:
        page = _of(run) | {"after": after, "limit": PAGE}
        last, count = (await connection.fetch(SQL["page_end"], page))[0]
        if not count:
            return
        yield await connection.fetch_packed(SQL["replicates"], page)
        if int(count) < PAGE:
            return
        after = int(last)


async def spread(connection: Connection) -> dict[Run, Spread]:
    """Give the sources of each experiment's evidence."""
    rows = await connection.fetch(SQL["spread"], {"distrusted": await _distrusted(connection)})
    return {(str(row[0]), int(row[1])): _spread(row[2:]) for row in rows}


async def whole_spread(connection: Connection) -> Spread:
    """Give the sources of all evidence together."""
    return _spread((await connection.fetch(SQL["whole_spread"], {"distrusted": await _distrusted(connection)}))[0])


async def discounted(connection: Connection) -> dict[Run, dict[str, int]]:
    """Count the complete results that are no evidence, by reason: same seed, same numbers, distrusted host."""
    found: dict[Run, Counter[str]] = defaultdict(Counter)
    for name, version, same_seed, count in await connection.fetch(SQL["repeated_results"]):
        found[str(name), int(version)]["same seed" if same_seed else "same numbers"] += int(count)
    what = {"distrusted": await _distrusted(connection)}
    for name, version, count in await connection.fetch(SQL["distrusted_results"], what):
        found[str(name), int(version)]["distrusted host"] += int(count)
    return {run: dict(counts) for run, counts in found.items()}


async def kept_findings(connection: Connection) -> list[KeptFinding]:
    """Every claim that is settled."""
    rows = await connection.fetch(SQL["kept_findings"])
    return [KeptFinding(str(e), int(v), str(c), str(h), str(w), float(at), int(n)) for e, v, c, h, w, at, n in rows]


async def keep_finding(connection: Connection, finding: KeptFinding) -> bool:
    """Keep a claim as settled; False if it was before, with whatever verdict."""
    return bool(await connection.execute(SQL["keep_finding"], finding._asdict()))


async def withdraw(connection: Connection, host_ids: Collection[int]) -> list[tuple[Run, str]]:
    """Forget settled claims that results of these hosts helped to settle; they are judged anew. Which they were."""
    if not host_ids:
        return []
    keys = await connection.fetch(SQL["findings_resting_on"], {"host_ids": sorted(host_ids)})
    if keys:
        await connection.execute(SQL["withdraw_findings"], {"keys": sorted(keys)})
    return [((str(experiment), int(version)), str(claim)) for experiment, version, claim, _ in sorted(keys)]


async def retirements(connection: Connection) -> dict[Run, int]:
    """Give the experiments that axiomd itself retired, also such as a person let go on, and the seeds that they had."""
    return {(str(e), int(v)): int(seeds) for e, v, seeds in await connection.fetch(SQL["retirements"])}


async def note_retirement(connection: Connection, run: Run, *, seeds: int, now: float) -> None:
    """Remember that axiomd retired an experiment: it isn't to do so again for the same reason."""
    await connection.execute(SQL["note_retirement"], _of(run) | {"seeds": seeds, "at": now})


async def _distrusted(connection: Connection) -> Collection[int]:
    # No host has the id 0: it stands for none, where a list must not be empty.
    return sorted(await distrusted_hosts(connection)) or [0]


def _of(run: Run) -> dict[str, object]:
    name, version = run
    return {"experiment": name, "version": version}


def _spread(row: Row) -> Spread:
    seeds, hosts, users, *there = row
    platforms = (Platform.WINDOWS, Platform.LINUX, Platform.MAC, Platform.OTHER)
    return Spread(
        int(seeds), int(hosts), int(users), tuple(one for one, seen in zip(platforms, there, strict=True) if seen)
    )
