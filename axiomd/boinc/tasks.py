"""Results in progress: find those that may hang, end them, and bring back reports that were lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from axiomd.boinc.locks import wake
from axiomd.boinc.states import CLIENT_FILES_UPLOADED
from axiomd.policies.abort import Task
from axiomd.sql import Connection, Row, load_statements

SQL = load_statements("axiomd.boinc", "tasks.sql")


@dataclass(frozen=True, slots=True)
class SentBefore:
    """Which tasks are worth a look: sent before one of these times, in the last case by a host silent since."""

    ceiling: float
    stuck: float
    silent: float


async def tasks_out(connection: Connection, app_id: int, before: SentBefore, *, after: int, limit: int) -> list[Task]:
    """Tasks that may be stuck, by ascending result id."""
    rows = await connection.fetch(
        SQL["tasks_out"],
        {
            "app_id": app_id,
            "after": after,
            "limit": limit,
            "ceiling": before.ceiling,
            "stuck": before.stuck,
            "silent": before.silent,
        },
    )
    return [_task(row) for row in rows]


async def tasks(connection: Connection, result_ids: Sequence[int]) -> list[Task]:
    """Those of these results that are in progress."""
    return [_task(row) for row in await connection.fetch(SQL["tasks"], {"ids": sorted(result_ids)})]


def _task(row: Row) -> Task:
    return Task(
        result_id=row[0],
        workunit_id=row[1],
        host_id=row[2],
        sent_at=row[3],
        report_deadline=row[4],
        delay_bound=row[5],
        last_contact_at=row[6],
        transition_at=row[7],
        cancelled=bool(row[8]),
        has_canonical=bool(row[9]),
        spared=bool(row[10]),
    )


async def end_by_deadline(connection: Connection, stuck: Sequence[Task], now: float) -> None:
    """Set the deadlines into the past and wake the transitioner, which ends the tasks as any time-out."""
    await connection.execute(
        SQL["pass_deadline"], {"ids": sorted(task.result_id for task in stuck), "deadline": int(now) - 1}
    )
    await wake(connection, {task.workunit_id for task in stuck}, now)


async def unsent_of(connection: Connection, workunit_ids: Iterable[int]) -> list[int]:
    """Results of these workunits that weren't sent yet."""
    rows = await connection.fetch(SQL["unsent_of"], {"workunit_ids": sorted(workunit_ids)})
    return sorted(int(row[0]) for row in rows)


async def withdraw(connection: Connection, result_ids: Sequence[int]) -> None:
    """End results that weren't sent: OVER, DIDNT_NEED."""
    if result_ids:
        await connection.execute(SQL["withdraw"], {"ids": sorted(result_ids)})


async def cancel(connection: Connection, workunit_ids: Iterable[int], now: float) -> None:
    """Cancel workunits, as BOINC's cancel_jobs does; their unsent results are withdrawn by `withdraw`."""
    await connection.execute(SQL["cancel"], {"ids": sorted(workunit_ids), "now": int(now)})


async def lost_reports(
    connection: Connection, app_ids: Sequence[int], *, before: float, limit: int
) -> list[tuple[int, int]]:
    """(result id, workunit id) of reports that came in before a time and were overwritten by the transitioner."""
    rows = await connection.fetch(SQL["lost_reports"], {"app_ids": app_ids, "before": before, "limit": limit})
    return [(int(result_id), int(workunit_id)) for result_id, workunit_id in rows]


@dataclass(frozen=True, slots=True)
class LostReport:
    """A report that was overwritten, and whether it had been a success."""

    result_id: int
    workunit_id: int
    success: bool
    validate_state: int


async def reports(connection: Connection, result_ids: Sequence[int]) -> list[LostReport]:
    """Those of these results that carry the signature of a lost report: NO_REPLY with a received_time."""
    rows = await connection.fetch(SQL["reports"], {"ids": sorted(result_ids)})
    return [
        LostReport(result_id, workunit_id, client_state == CLIENT_FILES_UPLOADED and exit_status == 0, validate_state)
        for result_id, workunit_id, client_state, exit_status, validate_state in rows
    ]


async def restore(connection: Connection, lost: Sequence[LostReport], now: float) -> None:
    """Write the lost outcomes again and wake the transitioner."""
    if successes := sorted(report.result_id for report in lost if report.success):
        await connection.execute(SQL["restore_successes"], {"ids": successes})
    if errors := sorted(report.result_id for report in lost if not report.success):
        await connection.execute(SQL["restore_errors"], {"ids": errors})
    await wake(connection, {report.workunit_id for report in lost}, now)
