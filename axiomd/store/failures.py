"""What failed, how often and where; which experiments are stopped; the hosts' circuit breakers. axiomd's own tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from axiomd.events import Platform
from axiomd.policies.breaker import BreakerRow, Done, Others, State, Work
from axiomd.policies.failures import Cell, Of, as_deployed
from axiomd.policies.measurement import Failure
from axiomd.settings import HOUR_S, FailureSettings, HostSettings, Settings
from axiomd.sql import Connection, load_statements, values
from axiomd.store import tables

SQL = load_statements("axiomd.store", "failures.sql")

EVERYWHERE = -1
"""axiomd_stop.platform of a stop on all platforms. A row with -2 is no stop: it says when a person lifted them last."""
LONGEST_REASON = 191


class Breaker(NamedTuple):
    """A host's breaker that isn't closed."""

    host_id: int
    open: bool
    """False: half open, one probe may be sent."""
    until_at: float
    probe: str
    """Name of the workunit that is its probe; empty: none was made yet."""


class Stop(NamedTuple):
    """Where an experiment gets no jobs: its CPU or its GPU jobs, on a platform or (None) on all."""

    experiment: str
    version: int
    gpu: bool
    platform: Platform | None


class StopRow(NamedTuple):
    """A stop, since when (Unix seconds) and why."""

    stop: Stop
    since: float
    reason: str


class FailureRow(NamedTuple):
    """Failures with one fingerprint. Times are Unix seconds."""

    fingerprint: str
    experiment: str
    version: int
    class_: str
    place: str
    detail: str
    results: int
    hosts: int
    first_at: float
    last_at: float


def window(settings: FailureSettings, now: float) -> float:
    """Where the window begins: at a full hour."""
    return (now - settings.window_s) // HOUR_S * HOUR_S


async def tallies(connection: Connection, settings: Settings, now: float) -> dict[Of, list[Cell]]:
    """How the results of the window ended, by experiment and platform, of experiments with some failures.

    Excluded and failing hosts are left out.
    """
    since = window(settings.failures, now)
    first = int(since // HOUR_S)
    few = settings.failures.min_failures
    failing = await connection.fetch(SQL["failing_now"], {"since_hour": first, "few": few})
    if not failing:
        return {}
    lifts = {(str(n), int(v)): float(at) for n, v, at in await connection.fetch(SQL["lifts"], {"since": since})}
    excluded = sorted({0, *await tables.excluded_hosts(connection, settings.hosts)})
    hours = list(range(first, int(now // HOUR_S) + 2))
    found: dict[Of, list[Cell]] = defaultdict(list)
    for experiment, version in ((str(name), int(number)) for name, number in failing):
        lifted = lifts.get((experiment, version))
        statement = SQL["cells"].format(rows=SQL["by_host" if lifted is None else "by_host_since_lift"])
        what = {"experiment": experiment, "version": version, "hours": hours, "lifted": lifted or 0.0}
        for gpu, platform, *numbers in await connection.fetch(
            statement, what | {"excluded": excluded, "few": float(few)}
        ):
            cell = Cell(Platform(platform), *(int(number) for number in numbers))
            found[experiment, version, bool(gpu)].append(cell)
    return as_deployed(found, {name: experiment.gpu for name, experiment in settings.experiments.items()})


async def work_of_hosts(
    connection: Connection, settings: FailureSettings, hosts: HostSettings, now: float
) -> tuple[list[Done], dict[Work, Others]]:
    """What hosts with some failures did in the window, and what all did; excluded and failing hosts are left out."""
    what = {
        "since_hour": int(window(settings, now) // HOUR_S),
        "excluded": sorted({0, *await tables.excluded_hosts(connection, hosts)}),
        "few": settings.min_failures,
    }
    suspects = [int(row[0]) for row in await connection.fetch(SQL["suspects"], what)]
    if not suspects:
        return [], {}
    done = [
        Done(int(host_id), _work(*work), int(results), int(failures_), Others(int(hours), float(shares)))
        for host_id, *work, results, failures_, hours, shares in await connection.fetch_packed(
            SQL["work_of"], what | {"ids": suspects}
        )
    ]
    rows = await connection.fetch(SQL["fleet"], what)
    return done, {_work(*work): Others(int(hours), float(shares)) for *work, hours, shares in rows}


def _work(experiment: object, version: int, gpu: int, platform: int) -> Work:
    return Work(str(experiment), int(version), bool(gpu), Platform(int(platform)))


async def failed_hosts(connection: Connection, stop: Stop, since: float) -> list[int]:
    """Hosts on which an experiment failed where it is stopped, by ascending id."""
    rows = await connection.fetch(SQL["failed_hosts"], _where(stop) | {"since_hour": int(since // HOUR_S)})
    return sorted(int(row[0]) for row in rows)


async def most_frequent(connection: Connection, stop: Stop, since: float) -> tuple[Failure, int] | None:
    """The most frequent failure of an experiment where it is stopped, among its latest 1000, and how often it was."""
    rows = await connection.fetch(SQL["frequent"], _where(stop) | {"since": since})
    return (Failure(*map(str, rows[0][:3])), int(rows[0][3])) if rows else None


async def failures_of_host(connection: Connection, host_id: int, since: float) -> list[tuple[Failure, int]]:
    """How a host's results failed since then, and how often."""
    rows = await connection.fetch(SQL["of_host"], {"host_id": host_id, "since": since})
    return [(Failure(str(class_), str(place), str(detail)), int(count)) for class_, place, detail, count in rows]


async def stops(connection: Connection) -> frozenset[Stop]:
    """Where failing experiments get no jobs."""
    return frozenset(_stop(*row) for row in await connection.fetch(SQL["stops"]))


async def stop_rows(connection: Connection) -> list[StopRow]:
    """The same with since when and why, by experiment."""
    rows = await connection.fetch(SQL["stop_rows"])
    return [StopRow(_stop(*row[:4]), float(row[4]), str(row[5])) for row in rows]


async def put_stop(connection: Connection, stop: Stop, *, reason: str, now: float) -> None:
    """Stop an experiment somewhere; one that is stopped there stays as it is."""
    what = _where(stop) | {"now": now, "reason": reason[:LONGEST_REASON]}
    await connection.execute(SQL["put_stop"], what)


async def lift_stops(connection: Connection, experiment: str, version: int, *, by: str, now: float) -> int:
    """Take an experiment's stops back; how many there were. Its results from before count no more."""
    what = {"experiment": experiment, "version": version}
    count = await connection.execute(SQL["delete_stops"], what)
    await connection.execute(SQL["put_lift"], what | {"now": now, "reason": f"lifted by {by}"[:LONGEST_REASON]})
    return count


def _stop(experiment: object, version: int, gpu: int, platform: int) -> Stop:
    where = None if platform == EVERYWHERE else Platform(platform)
    return Stop(str(experiment), int(version), bool(gpu), where)


def _where(stop: Stop) -> dict[str, object]:
    platform = EVERYWHERE if stop.platform is None else int(stop.platform)
    return {"experiment": stop.experiment, "version": stop.version, "gpu": int(stop.gpu), "platform": platform}


async def breakers(connection: Connection) -> dict[int, Breaker]:
    """The breakers that aren't closed, by host."""
    rows = await connection.fetch(SQL["breakers"])
    return {int(host): Breaker(int(host), bool(open_), float(until), str(probe)) for host, open_, until, probe in rows}


async def set_probe(connection: Connection, host_id: int, workunit_name: str) -> None:
    """Note the workunit that is the probe of a host whose breaker is half open."""
    await connection.execute(SQL["set_probe"], {"host_id": host_id, "probe": workunit_name})


async def intended(connection: Connection, names: Iterable[str]) -> frozenset[str]:
    """Those of these workunits that top-up has decided on and not made yet."""
    wanted = sorted(names)
    rows = await connection.fetch(SQL["intended"], {"names": wanted}) if wanted else []
    return frozenset(str(row[0]) for row in rows)


async def held_hosts(connection: Connection, hosts: HostSettings) -> frozenset[int]:
    """Hosts that no job should wait for: excluded ones, and those whose breaker is open."""
    return await tables.excluded_hosts(connection, hosts) | {
        host_id for host_id, breaker in (await breakers(connection)).items() if breaker.open
    }


async def exclusions(connection: Connection) -> dict[int, tuple[float, str]]:
    """Since when hosts are excluded that an intervention or axiomd itself excluded, and why and by whom."""
    rows = await connection.fetch(SQL["exclusions"])
    return {
        int(host_id): (float(since), f"{reason} (by {actor})" if reason else f"by {actor}")
        for host_id, since, reason, actor in rows
    }


async def breaker_rows(connection: Connection, *, closed: bool = False) -> list[BreakerRow]:
    """The breakers that aren't closed; with `closed`, those as well that once were open."""
    return _rows(await connection.fetch(SQL["breaker_rows"], {"least": 0 if closed else 1}))


async def lock_breakers(connection: Connection, host_ids: Iterable[int]) -> dict[int, BreakerRow]:
    """Lock the breakers of these hosts until the transaction ends, and read them."""
    ids = sorted(set(host_ids))
    rows = _rows(await connection.fetch(SQL["lock_breakers"], {"ids": ids})) if ids else []
    return {row.host_id: row for row in rows}


def _rows(rows: Iterable[Sequence[object]]) -> list[BreakerRow]:
    return [BreakerRow(int(h), State(s), float(at), float(u), int(t), str(r), str(p)) for h, s, at, u, t, r, p in rows]  # type: ignore[call-overload,arg-type]


async def put_breakers(connection: Connection, rows: Sequence[BreakerRow]) -> None:
    """Write breakers, by host."""
    spelled = ((*row[:1], int(row.state), *row[2:5], row.reason[:LONGEST_REASON], row.probe) for row in sorted(rows))
    await connection.execute(SQL["put_breakers"].format(rows=values(spelled)))


async def failures(
    connection: Connection, *, experiment: str, since: float, until: float, limit: int
) -> tuple[list[FailureRow], int, int]:
    """The most frequent failures, how many fingerprints there are, and how many results failed.

    Without a period (`since` 0, `until` far ahead) the counts are those of all times, pruned results among them.
    """
    what = {"experiment": experiment, "limit": limit}
    if since <= 0 and until == float("inf"):
        fingerprints, results = (await connection.fetch(SQL["failure_count"], what))[0]
        return (
            [_failure(*row) for row in await connection.fetch(SQL["failures"], what)],
            int(fingerprints),
            int(results),
        )
    period = what | {"since": since, "until": min(until, 1e12)}
    rows = [_failure(*row) for row in await connection.fetch(SQL["failures_between"], period)]
    return rows[:limit], len(rows), sum(row.results for row in rows)


def _failure(
    fingerprint: object,
    experiment: object,
    version: int,
    class_: object,
    place: object,
    detail: object,
    results: int,
    hosts: int,
    first_at: float,
    last_at: float,
) -> FailureRow:
    words = (str(class_), str(place), str(detail))
    return FailureRow(
        str(fingerprint),
        str(experiment),
        int(version),
        *words,
        int(results),
        int(hosts),
        float(first_at),
        float(last_at),
    )
