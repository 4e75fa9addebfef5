"""What an undo needs of axiomd's own tables: journal entries, postings, reversals in the ledger, marks, jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from axiomd.policies.credit import Account, CreditDecisions, Posting, Share
from axiomd.policies.undo import KINDS, PaidGrant
from axiomd.settings import DAY_S
from axiomd.sql import Connection, Row, load_statements, values
from axiomd.store.tables import JobState, Mark

SQL = load_statements("axiomd.store", "undo.sql")


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be undone: journal entries by id, or all that fit; what is left out doesn't narrow."""

    entries: tuple[int, ...] = ()
    batch: int = 0
    """The batch in the workunits' names: the id of the topup entry that made them."""
    since: float = 0.0
    """Entries from this time on (Unix seconds)."""
    host_id: int = 0
    experiment: str = ""

    @property
    def filters(self) -> dict[str, object]:
        """What narrows it within an entry, as parameters of the statements."""
        return {"batch": f"b{self.batch}" if self.batch else "", "host_id": self.host_id, "experiment": self.experiment}


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A row of the journal."""

    id: int
    at: float
    kind: str
    cause: str
    actor: str
    changes: int
    credit: float


async def entries(connection: Connection, selection: Selection) -> list[JournalEntry]:
    """Journal entries that a selection names or that may hold what it asks for, by id."""
    if selection.entries:
        rows = await connection.fetch(SQL["entries_named"], {"ids": sorted(set(selection.entries))})
    else:
        rows = await connection.fetch(
            SQL["entries_since"],
            # Nothing is paid, ended or repaired of a batch before it was decided on.
            {"kinds": KINDS, "since": selection.since, "first": selection.batch, "host_id": selection.host_id},
        )
    return [entry for row in rows if (entry := _entry(row)).at >= selection.since]


def _entry(row: Row) -> JournalEntry:
    id_, at, kind, cause, actor, changes, credit = row
    return JournalEntry(int(id_), float(at), str(kind), str(cause), str(actor), int(changes), float(credit))


async def lock_entry(connection: Connection, entry_id: int) -> bool:
    """Keep a journal entry from being pruned until the transaction ends; False if it has been."""
    return bool(await connection.fetch(SQL["lock_entry"], {"id": entry_id}))


async def postings_of(connection: Connection, journal_id: int) -> dict[tuple[Account, int], tuple[float, float]]:
    """What a journal entry added to total_credit and to expavg_credit, by account."""
    rows = await connection.fetch(SQL["postings_of"], {"journal_id": journal_id})
    return {(Account(kind), int(id_)): (float(credit), float(average)) for kind, id_, credit, average in rows}


async def write_reversals(connection: Connection, journal_id: int, grants: Sequence[PaidGrant]) -> None:
    """Write a row in the ledger that takes each grant back; its key makes a second one impossible."""
    rows = ((g.result_id, g.generation + 1, journal_id, g.host_id, g.user_id, g.team_id, -g.credit) for g in grants)
    await connection.execute(SQL["insert_reversals"].format(rows=values(rows)))


async def mark_undone(connection: Connection, result_ids: Iterable[int]) -> None:
    """Mark paid results as refused, so that the daemon doesn't pay them again by itself."""
    await connection.execute(SQL["mark_undone"], {"ids": sorted(result_ids)})


async def change_accounts(
    connection: Connection, postings: Sequence[Posting | Share], now: float, *, today: bool
) -> None:
    """Add to what hosts, users and teams got, or take from it; `today`: also of what they got today, for the cap."""
    day = int(now // DAY_S)
    rows = ((int(p.account), p.id, 0.0, p.credit, day, p.credit if today else 0.0) for p in postings)
    await connection.execute(SQL["change_accounts"].format(rows=values(rows)))


async def marks(connection: Connection, result_ids: Sequence[int]) -> dict[int, tuple[Mark, str]]:
    """Marks of results with their reasons; those that have none are left out."""
    rows = await connection.fetch(SQL["marks"], {"ids": sorted(result_ids)})
    return {int(id_): (Mark(mark), str(reason)) for id_, mark, reason in rows}


async def write_marks(connection: Connection, decisions: CreditDecisions) -> None:
    """Mark results as paid or refused, whatever they were marked as before."""
    rows: list[tuple[int, int, int, str]] = [
        (g.result.result_id, g.result.workunit_id, int(Mark.PAID), "") for g in decisions.grants
    ]
    rows += [(r.result.result_id, r.result.workunit_id, int(Mark.REFUSED), r.reason.value) for r in decisions.refusals]
    if rows:
        await connection.execute(SQL["write_marks"].format(rows=values(sorted(rows))))


async def undone_results(
    connection: Connection, entry_ids: Sequence[int], *, since: float, until: float, after: int, limit: int
) -> list[int]:
    """Results whose credit an undo took back and nobody paid since, by id: of some entries, or of a time."""
    which = SQL["of_entries" if entry_ids else "of_time"]
    parameters = {"entries": list(entry_ids), "since": since, "until": until, "after": after, "limit": limit}
    rows = await connection.fetch(SQL["undone_results"].format(which=which), parameters)
    return [int(row[0]) for row in rows]


async def forget_history(connection: Connection, workunit_ids: Sequence[int]) -> None:
    """No longer leave these workunits alone: the daemon sees them to their end."""
    if workunit_ids:
        await connection.execute(SQL["forget_history"], {"ids": sorted(workunit_ids)})


async def forget_ended(connection: Connection, workunit_ids: Iterable[int]) -> None:
    """Forget that axiomd cancelled these workunits."""
    await connection.execute(SQL["forget_ended"], {"ids": sorted(workunit_ids)})


@dataclass(frozen=True, slots=True)
class Job:
    """A job of top-up's."""

    journal_id: int
    name: str
    host_id: int
    state: JobState


async def jobs_of(connection: Connection, entry_ids: Sequence[int], selection: Selection) -> list[Job]:
    """Jobs of these topup entries that fit."""
    parameters = selection.filters | {"entries": entry_ids, "batch": selection.batch}
    return [_job(row) for row in await connection.fetch(SQL["jobs_of"], parameters)]


async def jobs_named(connection: Connection, names: Sequence[str]) -> list[Job]:
    """Jobs by name."""
    return [_job(row) for row in await connection.fetch(SQL["jobs_named"], {"names": list(names)})]


def _job(row: Row) -> Job:
    return Job(int(row[0]), str(row[1]), int(row[2]), JobState(row[3]))


async def give_up_jobs(connection: Connection, names: Sequence[str]) -> None:
    """Give jobs up, made or not."""
    await connection.execute(SQL["give_up_jobs"], {"names": sorted(names)})
