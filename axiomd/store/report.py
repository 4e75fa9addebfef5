"""What axiomd's own tables hold of a period, summed up. Plain reads; `since` and `until` are Unix seconds.

The cost grows with what the period holds, not with the history: entries are found by kind and time, harvested results
by when they came in, tallies by their hour.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import NamedTuple

from axiomd.policies.measurement import Outcome
from axiomd.settings import HOUR_S
from axiomd.sql import Connection, Row, load_statements
from axiomd.store.findings import distrusted_hosts

SQL = load_statements("axiomd.store", "report.sql")

MOST_ENTRIES = 50_000
"""Entries of aborts and repairs whose details are read at most, the newest of each kind."""
MOST_PRUNED = 1000
"""Rows of axiomd_cores that are deleted at once."""
DEPLOYING = ("topup",)
"""Kinds of journal entries that make jobs."""


class Period(NamedTuple):
    """From since to before until."""

    since: float
    until: float


class CreditSums(NamedTuple):
    """Grants, less those that were undone."""

    results: int
    credit: float
    users: int
    hosts: int


class Share(NamedTuple):
    """What was granted of one amount, or to one user or host. hosts: of a user's."""

    key: float
    results: int
    credit: float
    hosts: int = 1


class Deployed(NamedTuple):
    """Jobs that were decided on, by experiment and UTC day. state: store.tables.JobState."""

    experiment: str
    day: int
    state: int
    jobs: int


class Ended(NamedTuple):
    """Results that came in. seconds: their elapsed times together."""

    experiment: str
    version: int
    gpu: bool
    outcome: Outcome
    results: int
    seconds: float


class Independent(NamedTuple):
    """Good results that came in, and how many brought evidence that was not there before."""

    experiment: str
    version: int
    results: int
    fresh: int
    seeds: int
    different: int
    """With numbers that differ."""
    hosts: int
    users: int
    platforms: tuple[int, ...]


class Tallied(NamedTuple):
    """How results ended in one step of time. at: when it begins."""

    at: float
    experiment: str
    version: int
    results: int
    failures: int


class Died(NamedTuple):
    """Results that died of a limit of time, memory or disk."""

    experiment: str
    version: int
    gpu: bool
    results: int
    died: int


class Cores(NamedTuple):
    """Live hosts and their cores, the mean of one step of time that begins at `at`."""

    at: float
    hosts: float
    cores: float
    idle: float


class Held(NamedTuple):
    """A host that gets no work now. until: 0 where a person must release it."""

    host_id: int
    state: str
    since: float
    until: float
    reason: str
    actor: str


class Stopped(NamedTuple):
    """Where an experiment gets no new jobs for its failures. platform: -1 for all."""

    experiment: str
    version: int
    gpu: bool
    platform: int
    since: float
    reason: str


class EndedExperiment(NamedTuple):
    """An experiment that was retired or aborted."""

    experiment: str
    version: int
    aborted: bool
    since: float
    actor: str


class Disputed(NamedTuple):
    """A seed whose results disagree."""

    experiment: str
    version: int
    seed: int
    verdict: str
    copies: int
    since: float
    detail: str


class Intervened(NamedTuple):
    """Interventions of a kind that came from somewhere."""

    intervention: str
    source: str
    calls: int
    changes: int


async def oldest_entry_at(connection: Connection) -> float | None:
    """When the oldest journal entry that is still there was written."""
    rows = await connection.fetch(SQL["oldest_entry"])
    return float(rows[0][0]) if rows else None


async def counts_by_case(connection: Connection, period: Period) -> dict[str, dict[str, int]]:
    """Count aborts and repairs by reason or case, as the details of their entries say."""
    counts: dict[str, Counter[str]] = {"abort": Counter(), "repair": Counter()}
    what = {"kinds": list(counts), "limit": MOST_ENTRIES} | period._asdict()
    for kind, detail in await connection.fetch_packed(SQL["details"], what):
        for case, count in json.loads(detail).items():
            if isinstance(count, int):
                counts[kind][str(case)] += count
    return {kind: dict(sorted(cases.items())) for kind, cases in counts.items()}


async def credit_by_day(connection: Connection, period: Period) -> list[tuple[float, float]]:
    """Credit of each UTC day that had any: (when the day began, credit)."""
    rows = await connection.fetch(SQL["credit_by_day"], period._asdict())
    return [(int(day) * 24 * HOUR_S, float(credit)) for day, credit in rows]


async def credit(connection: Connection, period: Period) -> CreditSums:
    """Sum up the grants."""
    results, credit_, users, hosts = (await connection.fetch(SQL["credit"], period._asdict()))[0]
    return CreditSums(int(results or 0), float(credit_ or 0), int(users), int(hosts))


async def credit_by_amount(connection: Connection, period: Period, limit: int) -> list[Share]:
    """Group the grants by what a result was paid: those amounts that were paid most often."""
    rows = await connection.fetch(SQL["credit_by_amount"], {"limit": limit} | period._asdict())
    return [Share(float(amount), int(results), float(credit_)) for amount, results, credit_ in rows]


async def credit_by_user(connection: Connection, period: Period, limit: int) -> list[Share]:
    """Group the grants by user: those who got most."""
    rows = await connection.fetch(SQL["credit_by_user"], {"limit": limit} | period._asdict())
    return [Share(int(id_), int(results), float(credit_), int(hosts)) for id_, results, credit_, hosts in rows]


async def credit_by_host(connection: Connection, period: Period, limit: int) -> list[Share]:
    """Group the grants by host: those that got most."""
    rows = await connection.fetch(SQL["credit_by_host"], {"limit": limit} | period._asdict())
    return [Share(int(id_), int(results), float(credit_)) for id_, results, credit_ in rows]


async def deployed(connection: Connection, period: Period) -> tuple[list[Deployed], int]:
    """Jobs by experiment and day, and how many hosts they were for."""
    what = {"kinds": list(DEPLOYING)} | period._asdict()
    rows = await connection.fetch(SQL["deployed"], what)
    hosts = await connection.fetch(SQL["hosts_with_jobs"], what)
    return [Deployed(str(name), int(day), int(state), int(n)) for name, day, state, n in rows], int(hosts[0][0])


async def outcomes(connection: Connection, period: Period) -> list[Ended]:
    """Count the results that came in by experiment, CPU or GPU, and outcome."""
    rows = await connection.fetch(SQL["outcomes"], period._asdict())
    return [Ended(str(e), int(v), bool(g), Outcome(int(o)), int(n), float(s)) for e, v, g, o, n, s in rows]


async def measured(connection: Connection, period: Period) -> tuple[int, int, int]:
    """Results that came in, and of how many hosts and users."""
    results, hosts, users = (await connection.fetch(SQL["measured"], period._asdict()))[0]
    return int(results), int(hosts), int(users)


async def refusals(connection: Connection, period: Period) -> dict[str, int]:
    """Results that came in and were not paid, by reason; the empty reason: not decided yet."""
    rows = await connection.fetch(SQL["refusals"], period._asdict())
    return {str(reason): int(count) for reason, count in rows}


async def independence(connection: Connection, period: Period) -> list[Independent]:
    """Say how many of the good results that came in are independent."""
    what = {
        "good": [int(outcome) for outcome in Outcome if outcome.is_good],
        # No host has the id 0: it stands for none, where a list must not be empty.
        "distrusted": sorted(await distrusted_hosts(connection)) or [0],
    }
    rows = await connection.fetch(SQL["independence"], what | period._asdict())
    return [_independent(row) for row in rows]


def _independent(row: Row) -> Independent:
    name, version, results, fresh, seeds, different, hosts, users, platforms = row
    codes = tuple(int(code) for code in str(platforms or "").split(",") if code)
    return Independent(
        str(name), int(version), int(results), int(fresh), int(seeds), int(different), int(hosts), int(users), codes
    )


async def tally(connection: Connection, period: Period, step_h: int) -> list[Tallied]:
    """Say how results ended, by experiment, in steps of so many hours. The period is widened to whole hours."""
    rows = await connection.fetch(SQL["tally"], {"step": step_h} | _hours(period))
    return [Tallied(int(at) * step_h * HOUR_S, str(e), int(v), int(n), int(f)) for at, e, v, n, f in rows]


async def limits(connection: Connection, period: Period) -> list[Died]:
    """Say of which experiments results died of limits. The period is widened to whole hours."""
    rows = await connection.fetch(SQL["limits"], _hours(period))
    return [Died(str(e), int(v), bool(gpu), int(n), int(died)) for e, v, gpu, n, died in rows]


def _hours(period: Period) -> dict[str, int]:
    return {"since": int(period.since // HOUR_S), "until": int(-(-period.until // HOUR_S))}


async def cores(connection: Connection, period: Period, step_s: float) -> list[Cores]:
    """How many cores there were, and how many idle, in steps of so many seconds."""
    rows = await connection.fetch(SQL["cores"], {"step": step_s} | period._asdict())
    return [Cores(int(at) * step_s, float(hosts), float(n), float(idle)) for at, hosts, n, idle in rows]


async def put_cores(connection: Connection, *, at: float, hosts: int, cores: int, idle: int) -> None:
    """Note how many cores there are, and how many of them idle."""
    await connection.execute(SQL["put_cores"], {"at": at, "hosts": hosts, "cores": cores, "idle": idle})


async def prune_cores(connection: Connection, before: float) -> int:
    """Delete old notes, some at a time; how many there were."""
    return await connection.execute(SQL["prune_cores"], {"before": before, "limit": MOST_PRUNED})


async def held_hosts(connection: Connection, limit: int) -> list[Held]:
    """Hosts that get no work now: excluded by somebody, or paused by their circuit breaker. The latest first."""
    held = [
        Held(int(id_), "excluded", float(since), 0.0, str(reason), str(actor))
        for id_, since, reason, actor in await connection.fetch(SQL["excluded"], {"limit": limit})
    ]
    states = {1: "paused", 2: "on trial"}
    held += [
        Held(int(id_), states[int(state)], float(since), float(until), str(reason), "axiomd")
        for id_, state, since, until, reason in await connection.fetch(SQL["breakers"], {"limit": limit})
    ]
    return sorted(held, key=lambda host: (-host.since, host.host_id))[:limit]


async def stops(connection: Connection, limit: int) -> list[Stopped]:
    """Where experiments are stopped now."""
    rows = await connection.fetch(SQL["stops"], {"limit": limit})
    return [Stopped(str(e), int(v), bool(g), int(p), float(since), str(why)) for e, v, g, p, since, why in rows]


async def endings(connection: Connection, period: Period, limit: int) -> list[EndedExperiment]:
    """Experiments that were retired or aborted in the period."""
    rows = await connection.fetch(SQL["endings"], {"limit": limit} | period._asdict())
    return [EndedExperiment(str(e), int(v), bool(a), float(since), str(who)) for e, v, a, since, who in rows]


async def disputed(connection: Connection, limit: int) -> list[Disputed]:
    """Seeds whose results disagree, the latest first."""
    rows = await connection.fetch(SQL["disputed"], {"limit": limit})
    return [
        Disputed(str(e), int(v), int(s), str(verdict), int(n), float(since), str(detail))
        for e, v, s, verdict, n, since, detail in rows
    ]


async def comparisons(connection: Connection, period: Period) -> tuple[int, int]:
    """Verification pairs that were compared: how many agreed, and how many did not."""
    rows = {bool(agrees): int(n) for agrees, n in await connection.fetch(SQL["comparisons"], period._asdict())}
    return rows.get(True, 0), rows.get(False, 0)


async def interventions(connection: Connection, period: Period) -> list[Intervened]:
    """Interventions that were done."""
    rows = await connection.fetch(SQL["interventions"], period._asdict())
    return [Intervened(str(name), str(source), int(n), int(changes)) for name, source, n, changes in rows]
