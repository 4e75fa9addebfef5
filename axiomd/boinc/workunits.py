"""Open workunits: find those that may be stuck, free them or give them another target."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from axiomd.boinc.platforms import platform_of
from axiomd.boinc.states import Outcome, ServerState, TargetType, ValidateState
from axiomd.events import Platform
from axiomd.policies.cancel import Job
from axiomd.policies.repair import Assignment, OpenWorkunit
from axiomd.settings import HostSettings
from axiomd.sql import Connection, Row, load_statements, values

SQL = load_statements("axiomd.boinc", "workunits.sql")


@dataclass(frozen=True, slots=True)
class TargetRules:
    """Which hosts can still fetch a targeted job: in contact since, and not excluded."""

    contact_since: float
    excluded: frozenset[int]

    @classmethod
    def of(cls, hosts: HostSettings, now: float, excluded: frozenset[int]) -> TargetRules:
        """Read the rules off the settings; `excluded` are the hosts that get no work."""
        return cls(now - hosts.dead_after_s, excluded)


async def suspects(
    connection: Connection,
    app_id: int,
    rules: TargetRules,
    *,
    touched_before: float,
    stalled_after: float,
    after: int,
    limit: int,
) -> list[int]:
    """Ids of open workunits that may be stuck, ascending; what is plainly healthy is left out."""
    rows = await connection.fetch(
        SQL["suspects"],
        {
            "app_id": app_id,
            "touched_before": touched_before,
            "stalled_after": stalled_after,
            "contact_since": rules.contact_since,
            "excluded": sorted({0, *rules.excluded}),
            "after": after,
            "limit": limit,
        },
    )
    return [int(row[0]) for row in rows]


async def unjudged(
    connection: Connection, app_id: int, *, touched_before: float, stalled_after: float, limit: int
) -> list[int]:
    """Ids of finished workunits with a late success that axiomd waits for, and that nobody is going to judge."""
    parameters = {
        "app_id": app_id,
        "touched_before": touched_before,
        "stalled_after": stalled_after,
        "limit": limit,
    }
    return [int(row[0]) for row in await connection.fetch(SQL["unjudged"], parameters)]


async def jobs_of(
    connection: Connection, app_ids: Sequence[int], prefixes: Sequence[str], *, after: int, limit: int
) -> list[tuple[int, str]]:
    """Id and name of open workunits whose names begin with one of `EXPERIMENT-vVERSION`, ascending."""
    parameters = {"app_ids": app_ids, "prefixes": list(prefixes), "after": after, "limit": limit}
    return [(int(id_), str(name)) for id_, name in await connection.fetch(SQL["jobs_of"], parameters)]


class WaitingJob(NamedTuple):
    """A job that waits for its target host."""

    assignment_id: int
    workunit_id: int
    name: str
    platform: Platform
    """What that host runs."""


async def jobs_waiting_for(
    connection: Connection, app_ids: Sequence[int], prefixes: Sequence[str], *, after: int, limit: int
) -> list[WaitingJob]:
    """Open jobs of these `EXPERIMENT-vVERSION` that wait for their target host, by ascending assignment."""
    parameters = {"app_ids": app_ids, "prefixes": list(prefixes), "after": after, "limit": limit}
    rows = await connection.fetch(SQL["jobs_waiting_for"], parameters)
    return [WaitingJob(int(a), int(w), str(name), platform_of(str(os))) for a, w, name, os in rows]


async def target_platforms(connection: Connection, ids: Sequence[int]) -> dict[int, frozenset[Platform]]:
    """What the hosts run that these workunits are assigned to; those without such a host are left out."""
    found: dict[int, frozenset[Platform]] = defaultdict(frozenset)
    for workunit_id, os_name in await connection.fetch(SQL["targets"], {"ids": sorted(ids)}) if ids else ():
        found[int(workunit_id)] |= {platform_of(str(os_name))}
    return dict(found)


async def jobs(connection: Connection, ids: Sequence[int]) -> list[Job]:
    """Read workunits with what became of their results, by ascending id."""
    if not ids:
        return []
    parameters = {"ids": sorted(ids)}
    results = await _results_of(connection, ids)
    return [
        Job(
            workunit_id=int(id_),
            name=str(name),
            open=not (error_mask or canonical or assimilate_state),
            unsent=tuple(sorted(row[1] for row in results[id_] if row[2] <= ServerState.UNSENT)),
            in_progress=tuple(sorted(row[1] for row in results[id_] if row[2] == ServerState.IN_PROGRESS)),
            reported=sum(row[2] == ServerState.OVER and row[3] == Outcome.SUCCESS for row in results[id_]),
        )
        for id_, name, error_mask, canonical, assimilate_state in sorted(
            await connection.fetch(SQL["open_jobs"], parameters)
        )
    ]


async def open_workunits(connection: Connection, ids: Sequence[int], rules: TargetRules) -> list[OpenWorkunit]:
    """Read workunits with what their results and assignments say."""
    if not ids:
        return []
    parameters = {"ids": sorted(ids)}
    results = await _results_of(connection, ids)
    assignments: dict[int, list[Assignment]] = defaultdict(list)
    for row in await connection.fetch(SQL["assignments_of"], parameters):
        assignments[row[0]].append(_assignment(row, rules))
    return [
        _open_workunit(row, results[row[0]], assignments[row[0]])
        for row in await connection.fetch(SQL["workunits"], parameters)
    ]


async def _results_of(connection: Connection, ids: Sequence[int]) -> Mapping[int, list[Row]]:
    """Read the results of workunits, by workunit."""
    results: dict[int, list[Row]] = defaultdict(list)
    for row in await connection.fetch(SQL["results_of"], {"ids": sorted(ids)}):
        results[row[0]].append(row)
    return results


def _assignment(row: Row, rules: TargetRules) -> Assignment:
    _, id_, target_type, target_id, multi, host_id, user_id, rpc_time, rpc_seqno = row
    if target_type != TargetType.HOST:
        return Assignment(id_, 0, broadcast=bool(multi), target_ok=True)
    alive = bool(host_id and user_id) and rpc_time >= rules.contact_since and host_id not in rules.excluded
    # A host that was merged away has no user, and its successor's id in rpc_seqno.
    successor = int(rpc_seqno) if host_id and not user_id else 0
    return Assignment(id_, target_id, broadcast=bool(multi), target_ok=alive, successor_id=successor)


def _open_workunit(row: Row, results: Sequence[Row], assignments: Sequence[Assignment]) -> OpenWorkunit:
    def count(state: ServerState) -> int:
        return sum(1 for result in results if result[2] == state)

    judged_as = [
        validate_state
        for _, _, state, outcome, validate_state, _ in results
        if state == ServerState.OVER and outcome == Outcome.SUCCESS
    ]
    return OpenWorkunit(
        workunit_id=row[0],
        flags=row[1],
        touched_at=float(row[2]),
        transition_at=row[3],
        error_mask=row[4],
        need_validate=bool(row[5]),
        has_canonical=bool(row[6]),
        target_nresults=row[7],
        max_total_results=row[8],
        unsent=count(ServerState.UNSENT) + count(ServerState.INACTIVE),
        in_progress=count(ServerState.IN_PROGRESS),
        viable_successes=sum(1 for validate_state in judged_as if validate_state != ValidateState.INVALID),
        unjudged=judged_as.count(ValidateState.INIT),
        min_quorum=row[11],
        total=len(results),
        hosts_tried=frozenset(result[5] for result in results if result[5]),
        assignments=tuple(assignments),
        memory=float(row[9]),
        spared=frozenset(str(row[10] or "").replace("undo:repair:", "").split(",")) - {""},
    )


async def free(connection: Connection, workunits: Sequence[OpenWorkunit], now: float) -> None:
    """Give jobs to any host: their assignments go, the transitioner makes a result for each."""
    await _delete_assignments(connection, workunits)
    await connection.execute(SQL["free"], {"ids": sorted(w.workunit_id for w in workunits), "now": int(now)})


async def retarget(connection: Connection, targets: Sequence[tuple[OpenWorkunit, int]], now: float) -> None:
    """Give jobs to another host each: a new assignment, the old ones deleted. The scheduler makes the result."""
    rows = [(int(now), host_id, int(TargetType.HOST), 0, w.workunit_id, 0) for w, host_id in targets]
    await connection.execute(SQL["insert_assignments"].format(rows=values(rows)))
    await _delete_assignments(connection, [workunit for workunit, _ in targets])
    # Touched now: a job in a new host's queue is fresh again.
    await connection.execute(SQL["touch"], {"ids": sorted(w.workunit_id for w, _ in targets), "now": now})


async def _delete_assignments(connection: Connection, workunits: Sequence[OpenWorkunit]) -> None:
    ids = sorted(a.assignment_id for workunit in workunits for a in workunit.assignments)
    if ids:
        await connection.execute(SQL["delete_assignments"], {"ids": ids})


async def overdue_transition(connection: Connection) -> float | None:
    """Earliest transition_time of a workunit that the transitioner looks at, Unix seconds; None without workunits."""
    rows = await connection.fetch(SQL["overdue_transition"])
    return float(rows[0][0]) if rows else None
