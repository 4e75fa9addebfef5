"""axiomd's own tables as functions: state, journal, ledger and accounts, marks on results, experiments, jobs, hosts.

Each takes the connection to work on; a change belongs into a transaction of `store.database`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from axiomd.policies.credit import CreditDecisions, Posting, Share
from axiomd.settings import DAY_S, HostSettings
from axiomd.sql import Connection, load_statements, values
from axiomd.store.seal import sealed_totals

SQL = load_statements("axiomd.store", "queries.sql")

BASELINE_AT = "baseline_at"
CREDITED_COUNT, CREDITED_BEFORE = "credited_count", "credited_count_before"
COMPLETED_COUNT, COMPLETED_BEFORE = "completed_count", "completed_count_before"
"""Results that axiomd paid, and dealt with for good; and how many there were at the baseline."""
OPENINGS_AT = "openings_at"
"""When the openings of all accounts were noted."""
SEALED_THROUGH = "sealed_through"
"""Id of the last journal entry that was sealed."""
AUDITED_AT, FULLY_AUDITED_AT = "audited_at", "fully_audited_at"
AUDIT_PROBLEMS, AUDIT_TOOK = "audit_problems", "audit_seconds"
"""When the daemon's last audits were, of what is new and of all, what the last one found, and how long it took."""
FLEET_SILENT_AT = "fleet_silent_at"
"""When the whole fleet was last seen silent: no host's silence counts from before."""
MOD_TIME_CURSOR = "intake_mod_time"
ID_CURSOR, ID_CURSOR_NEXT, ID_CURSOR_AT = "intake_result_id", "intake_result_id_next", "intake_result_id_at"
"""How far intake has looked, in the modes that have a cursor."""


LONGEST_NAME = 64
"""Letters of an experiment's name that the tables hold."""


class Mark(IntEnum):
    """axiomd_result.credit_mark."""

    OPEN = 0
    PAID = 1
    REFUSED = 2


class HarvestMark(IntEnum):
    """axiomd_result.harvest_mark."""

    NOT_WANTED = 0
    OPEN = 1
    DONE = 2
    REFUSED = 3


class JobState(IntEnum):
    """axiomd_job.state."""

    INTENDED = 0
    MADE = 1
    GIVEN_UP = 2


@dataclass(frozen=True)
class Entry:
    """A journal entry to be written: every change of a kind in one transaction."""

    at: float
    kind: str
    cause: str
    changes: int
    credit: float = 0.0
    detail: Mapping[str, object] | None = None
    actor: str = "axiomd"


@dataclass(frozen=True)
class Change:
    """A row of a BOINC table that was changed: what its columns said before and after."""

    subject: str
    row_id: int
    reason: str
    before: Mapping[str, object]
    after: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class IntendedJob:
    """A job that top-up decided to make."""

    name: str
    journal_id: int
    app: str
    experiment: str
    seed: int
    host_id: int
    tries: int = 0


async def get_state(connection: Connection) -> dict[str, float]:
    """Every named number: baseline, cursors, counters."""
    return {str(name): float(value) for name, value in await connection.fetch(SQL["all_state"])}


async def lock_state(connection: Connection, name: str) -> None:
    """Lock a named number until the transaction ends: whoever wants it too waits."""
    await connection.fetch(SQL["lock_state"], {"name": name})


async def set_state(connection: Connection, name: str, value: float) -> None:
    """Set a named number."""
    await connection.execute(SQL["set_state"], {"name": name, "value": value})


async def add_state(connection: Connection, name: str, value: float) -> None:
    """Add to a named number that exists."""
    await connection.execute(SQL["add_state"], {"name": name, "value": value})


async def write_journal(connection: Connection, entry: Entry, changes: Sequence[Change] = ()) -> int:
    """Write a journal entry with the rows that it changed; its id."""
    journal_id = await connection.insert(
        SQL["insert_journal"],
        {
            "at": entry.at,
            "kind": entry.kind,
            "cause": entry.cause,
            "actor": entry.actor,
            "changes": entry.changes,
            "credit": entry.credit,
            "detail": json.dumps(dict(entry.detail or {}), sort_keys=True),
        },
    )
    if changes:
        rows = (
            (journal_id, c.subject, c.row_id, c.reason, json.dumps(dict(c.before)), json.dumps(dict(c.after)))
            for c in changes
        )
        await connection.execute(SQL["insert_changes"].format(rows=values(rows)))
    return journal_id


async def newest_entry(connection: Connection) -> int:
    """Id of the newest journal entry; 0 if there is none."""
    return int((await connection.fetch(SQL["newest_entry"]))[0][0])


async def changes_by(connection: Connection, kind: str, actor: str, *, after: int) -> int:
    """How much of a kind somebody changed in the journal entries after this one."""
    what = {"kind": kind, "actor": actor, "after": after}
    return int((await connection.fetch(SQL["changes_by"], what))[0][0])


async def granted_today(connection: Connection, host_ids: Iterable[int], now: float) -> dict[int, float]:
    """Credit granted on this UTC day to each of these hosts that got any."""
    ids = sorted({host_id for host_id in host_ids if host_id})
    if not ids:
        return {}
    rows = await connection.fetch_packed(SQL["granted_today"], {"day": int(now // DAY_S), "ids": ids})
    return {host_id: float(credit) for host_id, credit in rows}


async def write_ledger(connection: Connection, journal_id: int, decisions: CreditDecisions) -> None:
    """Write a grant for each result; the key on result and generation makes a second one impossible."""
    rows = (
        (r.result_id, r.generation, journal_id, r.host_id, r.user_id, r.team_id, credit)
        for r, credit in decisions.grants
    )
    await connection.execute(SQL["insert_ledger"].format(rows=values(rows)))


async def write_postings(connection: Connection, journal_id: int, postings: Sequence[Posting]) -> None:
    """Write what a journal entry added to hosts, users and teams."""
    rows = ((journal_id, int(p.account), p.id, p.credit, p.average) for p in postings)
    await connection.execute(SQL["insert_postings"].format(rows=values(rows)))


async def add_to_accounts(connection: Connection, shares: Sequence[Share], now: float) -> None:
    """Add to what hosts, users or teams got. One without an account had no credit at the baseline: it opens with 0."""
    day = int(now // DAY_S)
    rows = ((int(s.account), s.id, 0.0, s.credit, day, s.credit) for s in shares)
    await connection.execute(SQL["add_to_accounts"].format(rows=values(rows)))


async def close_results(connection: Connection, decisions: CreditDecisions, first: HarvestMark) -> None:
    """Close the marks of results that were paid or refused; those without a row begin with this mark of the harvest."""
    harvest = int(first)
    rows: list[tuple[int, int, int, int, str]] = [
        (g.result.result_id, g.result.workunit_id, int(Mark.PAID), harvest, "") for g in decisions.grants
    ]
    rows += [
        (r.result.result_id, r.result.workunit_id, int(Mark.REFUSED), harvest, r.reason.value)
        for r in decisions.refusals
    ]
    if rows:
        rows.sort()
        await connection.execute(SQL["close_results"].format(rows=values(rows)))


async def defer_results(connection: Connection, decisions: CreditDecisions, first: HarvestMark) -> None:
    """Note when results that have to wait are looked at again; `first` as in `close_results`."""
    rows = sorted(
        (d.result.result_id, d.result.workunit_id, int(Mark.OPEN), int(first), d.reason.value, d.until)
        for d in decisions.deferrals
    )
    if rows:
        await connection.execute(SQL["defer_results"].format(rows=values(rows)))


async def note_ended(connection: Connection, workunit_ids: Iterable[int]) -> None:
    """Note workunits that axiomd cancelled, for what comes back good is paid."""
    await connection.execute(SQL["insert_ended"].format(rows=values((id_,) for id_ in sorted(workunit_ids))))


async def take_seeds(connection: Connection, experiment: str, version: int, count: int) -> range:
    """Take the next seeds of an experiment's version: each is given out once."""
    what = {"name": experiment, "version": version, "count": count}
    await connection.execute(SQL["ensure_experiment"], what)
    first = int((await connection.fetch(SQL["lock_experiment"], what))[0][0])
    await connection.execute(SQL["advance_seed"], what)
    return range(first, first + count)


async def add_canonical(connection: Connection, counts: Mapping[tuple[str, int], int]) -> None:
    """Count workunits with a canonical result, by experiment and version."""
    rows = ((name, version, count) for (name, version), count in sorted(counts.items()))
    await connection.execute(SQL["add_canonical"].format(rows=values(rows)))


async def independent_results(connection: Connection) -> dict[tuple[str, int], int]:
    """Workunits with a canonical result that axiomd dealt with, by experiment and version; their seeds differ."""
    rows = await connection.fetch(SQL["experiments"])
    return {(str(name), int(version)): int(canonical) for name, version, _, canonical in rows}


async def write_intent(connection: Connection, jobs: Sequence[IntendedJob]) -> None:
    """Write down jobs before they are made."""
    rows = ((j.name, j.journal_id, j.app, j.experiment, j.seed, j.host_id, int(JobState.INTENDED)) for j in jobs)
    await connection.execute(SQL["insert_jobs"].format(rows=values(rows)))


async def intended_jobs(connection: Connection, limit: int) -> list[IntendedJob]:
    """Jobs that were decided and aren't known to be made."""
    rows = await connection.fetch(SQL["intended_jobs"], {"limit": limit})
    return [IntendedJob(str(n), int(j), str(a), str(e), int(s), int(h), int(t)) for n, j, a, e, s, h, t in rows]


async def set_job_state(connection: Connection, names: Sequence[str], state: JobState) -> int:
    """Say what became of intended jobs; how many there were."""
    if not names:
        return 0
    return await connection.execute(SQL["set_job_state"], {"names": list(names), "state": int(state)})


async def count_try(connection: Connection, names: Sequence[str]) -> None:
    """Count one try to make these jobs."""
    await connection.execute(SQL["count_try"], {"names": list(names)})


async def put_hosts(connection: Connection, host_ids: Iterable[int], *, live: bool, now: float) -> None:
    """Note how hosts were judged."""
    rows = ((host_id, int(live), now) for host_id in sorted(host_ids))
    await connection.execute(SQL["put_hosts"].format(rows=values(rows)))


async def excluded_hosts(connection: Connection, hosts: HostSettings) -> frozenset[int]:
    """Ids of the hosts that get no work: those that an intervention excluded, and those of the settings."""
    return frozenset(int(row[0]) for row in await connection.fetch(SQL["excluded_hosts"])).union(hosts.exclude)


async def put_exclusion(connection: Connection, host_id: int, *, reason: str, actor: str, now: float) -> bool:
    """Exclude a host; False if it was excluded before."""
    what = {"host_id": host_id, "reason": reason, "actor": actor, "now": now}
    return bool(await connection.execute(SQL["put_exclusion"], what))


async def delete_exclusion(connection: Connection, host_id: int) -> bool:
    """Take a host's exclusion back; False if it had none."""
    return bool(await connection.execute(SQL["delete_exclusion"], {"host_id": host_id}))


@dataclass(frozen=True, slots=True)
class Ending:
    """An experiment that gets no new jobs."""

    name: str
    version: int
    aborted: bool
    """True: what volunteers have is cancelled too."""


async def endings(connection: Connection) -> dict[tuple[str, int], Ending]:
    """Experiments that were retired or aborted, by name and version."""
    rows = await connection.fetch(SQL["endings"])
    return {(str(n), int(v)): Ending(str(n), int(v), bool(aborted)) for n, v, aborted in rows}


async def put_ending(connection: Connection, ending: Ending, *, actor: str, now: float) -> bool:
    """Note that an experiment ends; False if that was so before. Retiring what was aborted leaves it aborted."""
    what = {"name": ending.name, "version": ending.version, "aborted": int(ending.aborted)}
    return bool(await connection.execute(SQL["put_ending"], what | {"actor": actor, "now": now}))


async def delete_ending(connection: Connection, name: str, version: int) -> bool:
    """Let an experiment go on; False if it had not ended."""
    return bool(await connection.execute(SQL["delete_ending"], {"name": name, "version": version}))


async def host_counts(connection: Connection) -> tuple[int, int]:
    """Hosts that axiomd calls live, and stale."""
    counts = {bool(live): int(count) for live, count in await connection.fetch(SQL["host_counts"])}
    return counts.get(True, 0), counts.get(False, 0)


@dataclass(frozen=True)
class Totals:
    """What axiomd has done since its tables were made."""

    results_completed: int
    results_credited: int
    credit_granted: float
    tasks_aborted: int
    flags_repaired: dict[str, int]
    workunits_deployed: int
    refusals: dict[str, int]
    hosts_live: int
    hosts_stale: int


async def totals(connection: Connection) -> Totals:
    """Sums over the journal and what hangs on it, with what was sealed."""
    state = await get_state(connection)
    sealed = await sealed_totals(connection)
    journal = {name.removeprefix("journal:"): (past.changes, past.credit) for name, past in sealed.items()}
    for kind, _, changes, credit in await connection.fetch(SQL["journal_totals"]):
        past_changes, past_credit = journal.get(str(kind), (0, 0.0))
        journal[str(kind)] = (past_changes + int(changes or 0), past_credit + float(credit or 0))
    changed = Counter({name: past.rows for name, past in sealed.items()})
    for subject, reason, count in await connection.fetch(SQL["change_counts"]):
        changed[f"change:{subject}:{reason}"] += int(count)
    repaired: Counter[str] = Counter()
    for name, count in changed.items():
        if match := re.fullmatch(r"change:(?:workunit|result):repair:(.*)", name):
            repaired[match[1]] += count
    jobs = {int(job_state): int(count) for job_state, count in await connection.fetch(SQL["job_counts"])}
    live, stale = await host_counts(connection)
    return Totals(
        results_completed=int(state.get(COMPLETED_COUNT, 0)),
        results_credited=int(state.get(CREDITED_COUNT, 0)),
        credit_granted=sum(journal.get(kind, (0, 0.0))[1] for kind in ("credit", "backfill", "undo")),
        tasks_aborted=journal.get("abort", (0, 0.0))[0],
        flags_repaired=dict(repaired),
        workunits_deployed=jobs.get(JobState.MADE, 0) + changed[f"job:{int(JobState.MADE)}"],
        refusals={str(r): int(n) for r, n in await connection.fetch(SQL["refusal_counts"])},
        hosts_live=live,
        hosts_stale=stale,
    )
