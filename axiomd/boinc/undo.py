"""Undoing: what journal entries changed beside what BOINC's rows say now, and how each kind of change is reversed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from axiomd.boinc.credit import TABLES
from axiomd.boinc.locks import wake
from axiomd.errors import Conflict
from axiomd.policies.credit import Account, Posting
from axiomd.policies.rac import contribution, decayed
from axiomd.policies.undo import (
    EndedTask,
    OldAssignment,
    PaidGrant,
    RepairedWorkunit,
    RestoredReport,
    Target,
    sums_by,
    taken_average,
    transition_after,
)
from axiomd.sql import Connection, Row, literal, load_statements, values

SQL = load_statements("axiomd.boinc", "undo.sql")

MOST_ASSIGNMENTS = 50
"""Assignments of a workunit that a journal entry keeps; with more of them a repair can't be undone."""

_ID_OF = {Account.HOST: "host_id", Account.USER: "user_id", Account.TEAM: "team_id"}
_LONGEST_CHAIN = 10

Filters = Mapping[str, object]
"""host_id, batch, experiment: what of an entry is asked for; 0 or '' is all."""
NO_FILTERS: Filters = {"host_id": 0, "batch": "", "experiment": ""}


def _keys(column: str, keys: Sequence[int] | None) -> str:
    return "TRUE" if keys is None else f"{column} IN {literal(sorted(keys))}"


# Credit.


async def grants(
    connection: Connection, entries: Sequence[int], filters: Filters = NO_FILTERS, keys: Sequence[int] | None = None
) -> list[PaidGrant]:
    """Read the grants of journal entries, or those of these results alone, with what became of them."""
    statement = SQL["grants"].format(keys=_keys("l.result_id", keys))
    rows = await connection.fetch_packed(statement, {**filters, "entries": entries})
    return sorted(PaidGrant(*row) for row in rows)


@dataclass(slots=True)
class TakenBack:
    """What taking grants back did to totals."""

    postings: list[Posting] = field(default_factory=list)
    deleted: Counter[str] = field(default_factory=Counter)
    """Hosts, users and teams that are no more, and so have no total to take from."""


async def take_back(
    connection: Connection,
    journal_id: int,
    undone: Sequence[PaidGrant],
    posted: Mapping[tuple[Account, int], tuple[float, float]],
    posted_at: float,
    now: float,
) -> TakenBack:
    """Write granted_credit of the results whose reversals hang on a journal entry, and take from whoever was paid.

    total_credit is lowered; so is expavg_credit, by what is left of what the grants added. A host that was merged into
    another left its credit there. Hosts, users and teams are locked last, in this order and by ascending id.

    Args:
        connection: in a transaction.
        journal_id: the entry of the undo, whose ledger rows are written.
        undone: the grants, of one entry.
        posted: what that entry added to total_credit and expavg_credit, by account.
        posted_at: when.
        now: Unix seconds.

    Raises Conflict if a result changed, or a host was merged meanwhile: nothing may be committed then.

    """
    successors = await _successors(connection, {grant.host_id for grant in undone})
    there = sum(1 for grant in undone if grant.granted_credit is not None)
    await connection.holding()
    if there and await connection.execute(SQL["take_granted"], {"journal_id": journal_id}) != there:
        raise Conflict("a result of the batch changed while its credit was being taken back")
    taken = TakenBack()
    for account, name in _ID_OF.items():
        credit = sums_by((getattr(grant, name), grant.credit) for grant in undone)
        holder = {id_: successors.get(id_, id_) if account is Account.HOST else id_ for id_ in credit}
        await _take_from(connection, account, credit, holder, posted, posted_at, now, taken)
    return taken


async def _successors(connection: Connection, host_ids: Iterable[int]) -> dict[int, int]:
    """For each host that was merged into another: where its credit is now, at the end of the chain."""
    into: dict[int, int] = {}
    unknown = {id_ for id_ in host_ids if id_}
    for _ in range(_LONGEST_CHAIN):
        if not unknown:
            break
        rows = await connection.fetch(SQL["successors"], {"ids": sorted(unknown)})
        into |= {int(id_): int(successor) for id_, successor in rows}
        unknown = {successor for successor in into.values() if successor not in into} - unknown
    last = {}
    for start in into:
        end, seen = start, {start}
        while end in into and into[end] not in seen:
            end = into[end]
            seen.add(end)
        last[start] = end
    return last


async def _take_from(
    connection: Connection,
    account: Account,
    credit: Mapping[int, float],
    holder: Mapping[int, int],
    posted: Mapping[tuple[Account, int], tuple[float, float]],
    posted_at: float,
    now: float,
    taken: TakenBack,
) -> None:
    if not credit:
        return
    table = TABLES[account]
    ids = sorted(set(holder.values()))
    locked = {row[0]: row[1:] for row in await connection.fetch_packed(SQL[f"lock_{table}s"], {"ids": ids})}
    if any(successor for _, _, successor in locked.values()):
        raise Conflict("a host of the batch was merged into another while its credit was being taken back")
    lowered: dict[int, list[float]] = {}
    for id_, amount in sorted(credit.items()):
        average = 0.0
        if row := locked.get(holder[id_]):
            before = lowered.setdefault(holder[id_], [0.0, 0.0])
            whole, added = posted.get((account, id_), (0.0, 0.0))
            share = amount / whole if whole else 0.0
            average = taken_average(added, posted_at, share, row[0] - before[1], row[1])
            before[0] += amount
            before[1] += average
            # As of now, as every posting: the row's expavg_time stays as it is.
            average = decayed(average, now - row[1])
        else:
            taken.deleted[table] += 1
        taken.postings.append(Posting(account, id_, -amount, -average))
    if lowered:
        rows = " UNION ALL ".join(
            f"SELECT {literal(id_)} AS id, {literal(amount)} AS credit, {literal(average)} AS average"
            for id_, (amount, average) in sorted(lowered.items())
        )
        await connection.execute(SQL[f"take_from_{table}s"].format(rows=rows))


async def take_back_by_app(connection: Connection, undone: Sequence[PaidGrant], posted_at: float) -> None:
    """Take from credit_user and credit_team, for projects with <credit_by_app>.

    What a grant added to an average by app isn't written down: it is taken as what credit adds in the limit of no time
    passed since the average before. A purged result no longer tells its app, and is left out.
    """
    for name, read, write in (
        ("user_id", "credit_by_user", "take_credit_user"),
        ("team_id", "credit_by_team", "take_credit_team"),
    ):
        by_key: dict[tuple[int, int], list[float]] = defaultdict(list)
        for grant in undone:
            if grant.app_id:
                by_key[getattr(grant, name), grant.app_id].append(grant.credit)
        if not by_key:
            continue
        ids, app_ids = (sorted({key[place] for key in by_key}) for place in (0, 1))
        rows = []
        for id_, app_id, average, at in await connection.fetch(SQL[read], {"ids": ids, "app_ids": app_ids}):
            if credit := by_key.get((id_, app_id)):
                less = taken_average(contribution(sum(credit)), posted_at, 1.0, average, at)
                rows.append(
                    f"SELECT {literal(id_)} AS id, {literal(app_id)} AS app_id, {len(credit)} AS jobs, "
                    f"{literal(sum(credit))} AS credit, {literal(less)} AS average"
                )
        if rows:
            await connection.execute(SQL[write].format(rows=" UNION ALL ".join(rows)))


# Aborts.


async def changed_results(
    connection: Connection, entries: Sequence[int], filters: Filters = NO_FILTERS, keys: Sequence[int] | None = None
) -> list[EndedTask | RestoredReport]:
    """Read the results that aborts and repairs of reports changed, with what became of them."""
    statement = SQL["changed_results"].format(keys=_keys("c.row_id", keys))
    return [_changed_result(row) for row in await connection.fetch(statement, {**filters, "entries": entries})]


def _changed_result(row: Row) -> EndedTask | RestoredReport:
    journal_id, result_id, reason, before, after, undone, workunit_id, *now = row
    state, outcome, validate_state, deadline, granted, error_mask, need_validate, canonical, assimilate = (
        value or 0 for value in now
    )
    was, became = _read(before), _read(after)
    if str(reason).startswith("abort:"):
        return EndedTask(
            journal_id,
            result_id,
            workunit_id,
            cancelled_for="error_mask" in became,
            deadline_before=was.get("report_deadline", 0),
            deadline_after=became.get("report_deadline", 0),
            undone=bool(undone),
            server_state=state,
            report_deadline=deadline,
            error_mask=error_mask,
            assimilate_state=assimilate,
            has_canonical=bool(canonical),
            reason=reason,
        )
    return RestoredReport(
        journal_id,
        result_id,
        workunit_id,
        reason,
        outcome_before=was.get("outcome", 0),
        validate_before=was.get("validate_state", 0),
        outcome_after=became.get("outcome", -1),
        validate_after=became.get("validate_state", -1),
        undone=bool(undone),
        server_state=state,
        outcome=outcome,
        validate_state=validate_state,
        granted_credit=granted,
        error_mask=error_mask,
        need_validate=bool(need_validate),
        has_canonical=bool(canonical),
        assimilate_state=assimilate,
    )


def _read(text: str) -> dict[str, Any]:
    return dict(json.loads(text))


async def workunits_of(connection: Connection, result_ids: Sequence[int]) -> list[int]:
    """Workunits of these results, ascending."""
    return [int(row[0]) for row in await connection.fetch(SQL["workunits_of"], {"ids": sorted(result_ids)})]


async def restore_deadlines(connection: Connection, tasks: Sequence[EndedTask], now: float) -> None:
    """Give tasks the deadline back that they had, and have the transitioner set its clock by it."""
    rows = " UNION ALL ".join(
        f"SELECT {task.result_id} AS id, {int(task.deadline_before)} AS deadline"
        for task in sorted(tasks, key=lambda task: task.result_id)
    )
    await wake(connection, {task.workunit_id for task in tasks}, now)
    await connection.execute(SQL["restore_deadlines"].format(rows=rows))


async def uncancel(connection: Connection, journal_id: int, workunit_ids: Sequence[int], now: float) -> list[int]:
    """Take the cancellation by a journal entry back; ids of the results that were withdrawn with it and wait again."""
    await connection.execute(SQL["uncancel"], {"ids": sorted(workunit_ids), "now": int(now)})
    parameters = {"journal_id": journal_id, "workunit_ids": sorted(workunit_ids)}
    ids = [int(row[0]) for row in await connection.fetch(SQL["withdrawn"], parameters)]
    if ids:
        await connection.execute(SQL["unsend"], {"ids": ids})
    return ids


async def lose_reports(connection: Connection, reports: Sequence[RestoredReport], now: float) -> None:
    """Write the outcomes again that stood before reports were brought back, and wake the transitioner."""
    rows = " UNION ALL ".join(
        f"SELECT {report.result_id} AS id, {report.outcome_before} AS outcome, "
        f"{report.validate_before} AS validate_state"
        for report in sorted(reports, key=lambda report: report.result_id)
    )
    await wake(connection, {report.workunit_id for report in reports}, now)
    await connection.execute(SQL["lose_reports"].format(rows=rows))


# Repairs.


async def assignments_by_id(connection: Connection, ids: Sequence[int]) -> dict[int, OldAssignment]:
    """Read assignments as a repair has to keep them, by id."""
    if not ids:
        return {}
    rows = await connection.fetch(SQL["assignments"], {"ids": sorted(ids)})
    return {int(row[0]): OldAssignment(*map(int, row[1:])) for row in rows}


async def changed_workunits(
    connection: Connection, entries: Sequence[int], filters: Filters = NO_FILTERS, keys: Sequence[int] | None = None
) -> list[RepairedWorkunit]:
    """Read the workunits that repairs changed, with what became of them."""
    statement = SQL["changed_workunits"].format(keys=_keys("c.row_id", keys))
    rows = await connection.fetch(statement, {**filters, "entries": entries})
    ids = sorted({int(row[1]) for row in rows})
    targets: dict[int, list[Target]] = defaultdict(list)
    if ids:
        for workunit_id, *target in await connection.fetch(SQL["assignments_of"], {"ids": ids}):
            targets[workunit_id].append(Target(*target))
    return [_changed_workunit(row, targets[row[1]]) for row in rows]


def _changed_workunit(row: Row, targets: Sequence[Target]) -> RepairedWorkunit:
    journal_id, workunit_id, reason, before, after, undone, there, *now, results = row
    flags, error_mask, need_validate, canonical, assimilate = (value or 0 for value in now)
    was, became = _read(before), _read(after)
    assignments = was.get("assignments")
    return RepairedWorkunit(
        journal_id,
        workunit_id,
        reason,
        remedy=became.get("remedy", ""),
        host_id=became.get("host", 0),
        flags_before=was.get("transitioner_flags", 0),
        transition_before=was.get("transition_time", 0),
        assignments_before=None if assignments is None else tuple(OldAssignment(*old) for old in assignments),
        results_before=was.get("results"),
        withdrawn=became.get("withdrawn", 0),
        undone=bool(undone),
        there=there is not None,
        flags=flags,
        error_mask=error_mask,
        need_validate=bool(need_validate),
        has_canonical=bool(canonical),
        assimilate_state=assimilate,
        results=results,
        assignments=tuple(targets),
    )


async def restore_flags(connection: Connection, workunits: Sequence[RepairedWorkunit], now: float) -> None:
    """Give workunits their flags and assignments back; those that the repair made are deleted."""
    ordered = sorted(workunits, key=lambda workunit: workunit.workunit_id)
    rows = " UNION ALL ".join(
        f"SELECT {w.workunit_id} AS id, {w.flags_before} AS flags, {transition_after(w, now)} AS transition_time"
        for w in ordered
    )
    await connection.execute(SQL["restore_flags"].format(rows=rows))
    old = [
        (a.create_time, a.target_id, a.target_type, a.multi, w.workunit_id, a.result_id)
        for w in ordered
        for a in w.assignments_before or ()
    ]
    if old:
        await connection.execute(SQL["insert_assignments"].format(rows=values(old)))
    await delete_assignments(connection, [target.assignment_id for w in ordered for target in w.assignments])


async def delete_assignments(connection: Connection, ids: Iterable[int]) -> None:
    """Delete assignments by id."""
    if wanted := sorted(ids):
        await connection.execute(SQL["delete_assignments"], {"ids": wanted})


# Jobs.


@dataclass(frozen=True, slots=True)
class NamedWorkunit:
    """A workunit that top-up may have made."""

    workunit_id: int
    error_mask: int
    assimilate_state: int
    has_canonical: bool
    sent: int
    """Results that a host has got."""


async def workunits_named(connection: Connection, names: Sequence[str]) -> dict[str, NamedWorkunit]:
    """Those of these names that workunits have."""
    if not names:
        return {}
    rows = await connection.fetch(SQL["workunits_named"], {"names": sorted(names)})
    return {
        str(name): NamedWorkunit(int(id_), int(mask), int(assimilate), bool(canonical), int(sent))
        for name, id_, mask, assimilate, canonical, sent in rows
    }


async def assignments_of(connection: Connection, workunit_ids: Sequence[int]) -> list[tuple[int, Target]]:
    """(workunit id, assignment), as they are now."""
    if not workunit_ids:
        return []
    rows = await connection.fetch(SQL["assignments_of"], {"ids": sorted(workunit_ids)})
    return [(int(workunit_id), Target(*target)) for workunit_id, *target in rows]


def kept(assignments: Iterable[OldAssignment]) -> list[list[int]] | None:
    """Spell assignments for the journal; None if there are too many to be kept."""
    rows = [list(assignment) for assignment in assignments]
    return rows if len(rows) <= MOST_ASSIGNMENTS else None
