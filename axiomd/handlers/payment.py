"""How credit that was decided is written: the one path for the daemon and for a person's backfill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from axiomd import metrics
from axiomd.boinc import credit
from axiomd.boinc.project import Project
from axiomd.policies.credit import CreditDecisions, FinishedResult, shares
from axiomd.sql import Connection
from axiomd.store import harvest, tables
from axiomd.store.database import Session
from axiomd.store.tables import Entry
from axiomd.store.undo import change_accounts
from experiments.kit.naming import parse_workunit_name


async def grant(session: Session, project: Project, decisions: CreditDecisions, entry: Entry, *, counts: bool) -> int:
    """Pay what was granted; the id of the journal entry.

    axiomd's own rows are written first: BOINC's are locked last and briefly, and only if they are as they were.

    Args:
        session: in a transaction that holds the lock of the payments (tables.CREDITED_COUNT).
        project: the project.
        decisions: what was decided.
        entry: what the journal is to say.
        counts: whether it counts for the hosts' caps of the day.

    """
    who = shares(decisions.grants)
    journal_id = await tables.write_journal(session, entry)
    await tables.write_ledger(session, journal_id, decisions)
    await tables.add_state(session, tables.CREDITED_COUNT, len(decisions.grants))
    if counts:
        await tables.add_to_accounts(session, who, entry.at)
    else:
        await change_accounts(session, who, entry.at, today=False)
    await credit.write_granted(session, journal_id, len(decisions.grants))
    postings = await credit.lock_accounts(session, decisions.grants, who, entry.at)
    await tables.write_postings(session, journal_id, postings)
    await credit.pay(session, journal_id, entry.at)
    if project.config.credit_by_app:
        await credit.pay_by_app(session, decisions, entry.at)
    return journal_id


async def with_outcomes(
    connection: Connection, results: Sequence[FinishedResult], *, waits: bool
) -> list[FinishedResult]:
    """Add what the harvest found to results whose payment heeds it; `waits`: what isn't harvested yet, will be."""
    found = await harvest.outcomes(connection, [result.result_id for result in results])
    return [
        result._replace(
            outcome=found.get(result.result_id, (False, None))[1],
            awaits_harvest=waits and found.get(result.result_id, (True, None))[0],
        )
        for result in results
    ]


async def count_canonical(
    connection: Connection, closed: Iterable[FinishedResult], canonical: Mapping[int, str]
) -> None:
    """Count independent results among those closed: each workunit has one canonical result, and a seed of its own.

    `canonical` has the beginning of the workunit's name for each canonical result.
    """
    counts: Counter[tuple[str, int]] = Counter()
    prefixes = Counter(canonical[result.result_id] for result in closed if result.result_id in canonical)
    for prefix, count in prefixes.items():
        name = parse_workunit_name(f"{prefix}-0-s0")
        if name and len(name.experiment) <= tables.LONGEST_NAME:
            counts[name.experiment, name.version] += count
        else:
            metrics.ROWS_SKIPPED.labels("workunit_name").inc(count)
    if counts:
        await tables.add_canonical(connection, counts)
