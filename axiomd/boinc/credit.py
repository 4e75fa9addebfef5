"""Finished results in BOINC's tables: find them, read them, pay them to host, user and team."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from axiomd.boinc.states import ending
from axiomd.errors import Conflict
from axiomd.policies.credit import Account, CreditDecisions, FinishedResult, Grant, Posting, Share
from axiomd.policies.rac import DECAY, updated_average
from axiomd.sql import Connection, Row, load_statements, values

SQL = load_statements("axiomd.boinc", "credit.sql")

TABLES = {Account.HOST: "host", Account.USER: "user", Account.TEAM: "team"}
"""BOINC's tables of those whom a grant is added to, in the order in which they are locked."""


@dataclass(frozen=True, slots=True)
class ReadyWorkunits:
    """A page of the assimilator's queue."""

    last_id: int
    """Where the next page begins; 0 after the last one."""
    due: list[tuple[int, int]]
    """(workunit id, result id) of final results with an open mark, ready to be looked at."""
    settled: list[int]
    """Ids of workunits without a final result that has an open mark."""


def _open(*, harvest: bool) -> dict[str, int]:
    """Mark of an open harvest, as a parameter: one that no row has where outputs aren't read."""
    return {"harvest": 1 if harvest else -1}


def _first(*, harvest: bool) -> dict[str, int]:
    """Mark of the harvest that a new row begins with: open, or not wanted."""
    return {"first": int(harvest)}


async def ready_workunits(
    connection: Connection, app_id: int, *, after: int, limit: int, now: float, harvest: bool
) -> ReadyWorkunits:
    """Read a page of the workunits that wait for their assimilator (assimilate_state READY).

    `harvest`, here and below: outputs are read, so a mark of the harvest counts as well.
    """
    found = await connection.fetch_packed(SQL["ready_workunits"], {"app_id": app_id, "after": after, "limit": limit})
    ids = [row[0] for row in found]
    if not ids:
        return ReadyWorkunits(0, [], [])
    rows = await connection.fetch_packed(SQL["open_results_of"], {"workunit_ids": ids} | _open(harvest=harvest))
    waiting = {row[0] for row in rows}
    return ReadyWorkunits(
        last_id=ids[-1] if len(ids) == limit else 0,
        due=[(workunit_id, result_id) for workunit_id, result_id, look_at in rows if look_at <= now],
        settled=[id_ for id_ in ids if id_ not in waiting],
    )


async def settled_among(connection: Connection, workunit_ids: Sequence[int], *, harvest: bool) -> list[int]:
    """Those of these workunits that have no final result with an open mark."""
    rows = await connection.fetch_packed(
        SQL["open_results_of"], {"workunit_ids": workunit_ids} | _open(harvest=harvest)
    )
    waiting = {row[0] for row in rows}
    return [id_ for id_ in workunit_ids if id_ not in waiting]


async def open_results(connection: Connection, *, after: int, limit: int, now: float) -> list[tuple[int, int]]:
    """(result id, workunit id) of results that are to be paid and became final, by ascending id."""
    rows = await connection.fetch(SQL["open_results"], {"after": after, "limit": limit, "now": now})
    return [(int(result_id), int(workunit_id)) for result_id, workunit_id in rows]


async def open_harvests(connection: Connection, *, after: int, limit: int, now: float) -> list[tuple[int, int]]:
    """(result id, workunit id) of final results that `open_results` leaves out and that are to be harvested."""
    rows = await connection.fetch(SQL["open_harvests"], {"after": after, "limit": limit, "now": now})
    return [(int(result_id), int(workunit_id)) for result_id, workunit_id in rows]


async def forget_purged(connection: Connection, limit: int) -> int:
    """Drop the open marks of results that BOINC has purged: they can't come in any more; how many.

    What was paid or refused keeps its row: of that, only the mark of the harvest is closed.
    """
    # Read first, for a DELETE with a join would lock the rows of BOINC that it only looks at.
    forgotten = 0
    for read, write in (("purged", "forget"), ("purged_harvests", "forget_harvests")):
        if ids := sorted(int(row[0]) for row in await connection.fetch(SQL[read], {"limit": limit})):
            forgotten += await connection.execute(SQL[write], {"ids": ids})
    return forgotten


async def newest_mod_time(connection: Connection) -> float:
    """Latest mod_time of any result, Unix seconds; 0 if there is none. Needs the index to be quick."""
    return float((await connection.fetch(SQL["newest_mod_time"]))[0][0] or 0)


async def take_in_changed(
    connection: Connection, app_ids: Sequence[int], *, since: float, baseline: float, harvest: bool
) -> int:
    """Open a mark for each final result that changed since then; how many."""
    when = {"since": max(since, 1), "baseline": int(baseline)}
    return await connection.execute(SQL["take_in_changed"], {"app_ids": app_ids} | when | _first(harvest=harvest))


async def newest_result(connection: Connection) -> int:
    """Highest id of any result."""
    return int((await connection.fetch(SQL["newest_result"]))[0][0])


async def take_in_new(connection: Connection, app_ids: Sequence[int], *, after: int, harvest: bool) -> int:
    """Open a mark for each result with a higher id, finished or not; how many."""
    return await connection.execute(SQL["take_in_new"], {"app_ids": app_ids, "after": after} | _first(harvest=harvest))


async def take_in_unfinished(connection: Connection, app_ids: Sequence[int]) -> int:
    """Open both marks for every result that isn't over, or may still be reported late; how many. For the baseline."""
    which = {"app_ids": app_ids} | _first(harvest=True)
    unfinished = await connection.execute(SQL["take_in_unfinished"], which)
    return unfinished + await connection.execute(SQL["take_in_unreported"], which)


async def note_history(connection: Connection, app_ids: Sequence[int]) -> int:
    """Note the workunits that wait for an assimilator with nothing under way: history, left to a backfill."""
    return await connection.execute(SQL["note_history"], {"app_ids": app_ids})


async def count_history(connection: Connection, app_ids: Sequence[int]) -> tuple[int, int]:
    """Results with credit, and results that are over. Reads every old result once."""
    rows = await connection.fetch(SQL["count_history"], {"app_ids": app_ids})
    return int(rows[0][0]), int(rows[0][1])


async def finished_results(
    connection: Connection, ids: Sequence[int], gpu_app_versions: frozenset[int], *, refused: bool = False
) -> tuple[list[FinishedResult], dict[int, str]]:
    """Read those of these results that have an open mark, with the owner of their host as it is now.

    `refused`: also those that were refused.

    Also gives, for each that is its workunit's canonical result, the first two parts of the workunit's name
    (`experiment-vN` for work that axiomd made).
    """
    marks = (0, 2) if refused else (0,)
    # By id, for the rows come in no order, and where a cap is near the first come first.
    rows = sorted(await connection.fetch_packed(SQL["finished_results"], {"ids": ids, "marks": marks}))
    owners = await _owners(connection, {int(row[3]) for row in rows})
    async with connection.calm:
        return _read_results(rows, owners, gpu_app_versions)


def _read_results(
    rows: Sequence[Row],
    owners: Mapping[int, tuple[int, int, int, float, float]],
    gpu_app_versions: frozenset[int],
) -> tuple[list[FinishedResult], dict[int, str]]:
    nobody = (0, 0, 0, 0.0, 0.0)
    results, canonical = [], {}
    for row in rows:
        host_id, user_id, team_id, fpops, gpu_fpops = owners.get(row[3], nobody)
        results.append(
            FinishedResult(
                result_id=row[0],
                workunit_id=row[1],
                app_id=row[2],
                host_id=host_id,
                user_id=user_id,
                team_id=team_id,
                ending=ending(row[4], row[5], row[6], row[7]),
                exit_status=row[7],
                elapsed_s=row[8],
                sent_at=row[9],
                received_at=row[10],
                granted_credit=row[11],
                cancelled=bool(row[13]),
                ended_by_axiomd=bool(row[14]),
                uses_gpu=row[12] in gpu_app_versions,
                fpops=fpops,
                gpu_fpops=gpu_fpops,
                generation=row[16],
                experiment=row[17],
            )
        )
        if row[15]:
            canonical[row[0]] = row[15]
    return results, canonical


async def _owners(connection: Connection, host_ids: Iterable[int]) -> dict[int, tuple[int, int, int, float, float]]:
    """Host, user, team (0 where there is none) and speeds, by host id; a deleted host is left out."""
    ids = sorted(id_ for id_ in host_ids if id_)
    if not ids:
        return {}
    rows = await connection.fetch_packed(SQL["owners"], {"ids": ids})
    return {h: (h, u or 0, t or 0, float(fpops), float(gpu)) for h, u, t, fpops, gpu in rows}


async def gpu_app_versions(connection: Connection, app_ids: Sequence[int]) -> frozenset[int]:
    """Ids of the app versions that run on GPUs, as their plan class says."""
    rows = await connection.fetch(SQL["gpu_app_versions"], {"app_ids": app_ids})
    return frozenset(int(row[0]) for row in rows)


async def write_granted(connection: Connection, journal_id: int, results: int) -> None:
    """Write granted_credit of the results in a journal entry's ledger, and so lock them: the first of BOINC's rows.

    Raises Conflict if one of them changed meanwhile: nothing may be committed then.
    """
    await connection.holding()
    if await connection.execute(SQL["write_granted"], {"journal_id": journal_id}) != results:
        raise Conflict("a result of the batch changed while it was being paid")


async def lock_accounts(
    connection: Connection, grants: Sequence[Grant], shares: Sequence[Share], now: float
) -> list[Posting]:
    """Lock the hosts, users and teams of a batch, in this order and by ascending id, and work out what each gets.

    Raises Conflict if a host or user changed hands meanwhile, or is no more: nothing may be committed then.
    """
    user_of = {grant.result.host_id: grant.result.user_id for grant in grants}
    team_of = {grant.result.user_id: grant.result.team_id for grant in grants}
    locked = {
        account: await _lock(connection, f"lock_{table}s", [share.id for share in shares if share.account is account])
        for account, table in TABLES.items()
    }
    hosts, users = locked[Account.HOST], locked[Account.USER]
    if any(row[1] != user_of[id_] for id_, row in hosts.items()):
        raise Conflict("a host of the batch changed hands while it was being paid")
    joined = {row[1] for id_, row in users.items() if row[1] and row[1] != team_of[id_]}
    # A team that is no more counts as none.
    if any(team_of[id_] not in (0, row[1]) for id_, row in users.items()) or await _teams_there(connection, joined):
        raise Conflict("a user of the batch changed team while being paid")
    postings = []
    for share in shares:
        _, _, average, average_at = locked[share.account][share.id]
        with_it = updated_average(average, average_at, share.credit, now, share.started_at)
        without = updated_average(average, average_at, 0.0, now, share.started_at)
        postings.append(Posting(share.account, share.id, share.credit, with_it - without))
    return postings


async def _teams_there(connection: Connection, ids: Iterable[int]) -> bool:
    """Whether any of these teams exists."""
    wanted = sorted(ids)
    return bool(wanted and await connection.fetch(SQL["teams_there"], {"ids": wanted}))


async def _lock(connection: Connection, statement: str, ids: Iterable[int]) -> dict[int, Row]:
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    rows = {row[0]: row for row in await connection.fetch_packed(SQL[statement], {"ids": wanted})}
    if len(rows) != len(wanted):
        raise Conflict("a host, user or team of the batch was deleted while it was being paid")
    return rows


async def pay(connection: Connection, journal_id: int, now: float) -> None:
    """Add what a journal entry's postings say to the hosts, users and teams, which are locked.

    total_credit is added to; expavg_credit is written with expavg_time, as BOINC does: what it was decays up to now.
    """
    for account, table in TABLES.items():
        parameters = {"journal_id": journal_id, "kind": int(account), "now": now, "decay": DECAY}
        await connection.execute(SQL["pay"].format(table=table), parameters)


async def pay_by_app(connection: Connection, decisions: CreditDecisions, now: float) -> None:
    """Add to credit_user and credit_team, for projects with <credit_by_app>; nobody's team counts as team 0 there."""
    await _pay_by_app(connection, "credit_by_user", "pay_credit_user", "user_id", decisions.grants, now)
    await _pay_by_app(connection, "credit_by_team", "pay_credit_team", "team_id", decisions.grants, now)


async def _pay_by_app(
    connection: Connection, read: str, write: str, account: str, grants: Sequence[Grant], now: float
) -> None:
    by_key: dict[tuple[int, int], list[Grant]] = defaultdict(list)
    for grant in grants:
        by_key[getattr(grant.result, account), grant.result.app_id].append(grant)
    ids, app_ids = ({key[place] for key in by_key} for place in (0, 1))
    rows = await connection.fetch(SQL[read], {"ids": sorted(ids), "app_ids": sorted(app_ids)})
    # A row that isn't there yet gets expavg_time now, as BOINC's own first row does.
    known = {(id_, app_id): (float(average), float(at)) for id_, app_id, average, at in rows}
    written = []
    for (id_, app_id), group in sorted(by_key.items()):
        average, at = known.get((id_, app_id), (0.0, now))
        credit = sum(grant.credit for grant in group)
        new = updated_average(average, at, credit, now, now)
        written.append((id_, app_id, len(group), credit, new, now, 0))
    await connection.execute(SQL[write].format(rows=values(written)))


async def take_in_late(connection: Connection, workunit_ids: Sequence[int], *, harvest: bool) -> int:
    """Open a mark for the results of these workunits that may still come in; how many."""
    return await connection.execute(SQL["take_in_late"], {"workunit_ids": workunit_ids} | _first(harvest=harvest))


async def mark_assimilated(connection: Connection, workunit_ids: Sequence[int], now: float) -> int:
    """Mark workunits as assimilated (DONE) and wake the transitioner for them; how many were READY."""
    return await connection.execute(SQL["mark_assimilated"], {"ids": workunit_ids, "now": int(now)})
