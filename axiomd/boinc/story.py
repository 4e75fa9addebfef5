"""One row and what belongs to it, for `axiomd explain`; and BOINC's states in words."""

from __future__ import annotations

from typing import NamedTuple

from axiomd.boinc.states import AssimilateState, ExitStatus, Outcome, ServerState, ValidateState, WuError
from axiomd.policies.repair import NO_NEW_RESULTS, NO_TRANSITION
from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.boinc", "story.sql")

MOST = 50
"""Rows of a kind that a story tells."""


class ResultRow(NamedTuple):
    """A result, as BOINC has it."""

    id: int
    name: str
    workunit_id: int
    app_id: int
    host_id: int
    created_at: int
    server_state: int
    outcome: int
    validate_state: int
    exit_status: int
    sent_at: int
    received_at: int
    report_deadline: int
    elapsed_s: float
    granted_credit: float


class WorkunitRow(NamedTuple):
    """A workunit, as BOINC has it."""

    id: int
    name: str
    app_id: int
    created_at: int
    transitioner_flags: int
    transition_time: int
    error_mask: int
    need_validate: int
    canonical_resultid: int
    assimilate_state: int
    target_nresults: int
    max_total_results: int


class HostRow(NamedTuple):
    """A host, as BOINC has it."""

    id: int
    user_id: int
    team_id: int
    contact_at: int
    rpc_seqno: int
    ncpus: int
    ngpus: int
    memory: float
    total_credit: float
    expavg_credit: float
    expavg_time: float


async def kinds_of(connection: Connection, id_: int) -> list[str]:
    """Which of result, workunit and host have this id."""
    return [str(row[0]) for row in await connection.fetch(SQL["kinds_of_id"], {"id": id_})]


async def id_of(connection: Connection, kind: str, name: str) -> int:
    """Id of a result or workunit by its name; 0 if there is none."""
    rows = await connection.fetch(SQL[f"{kind}_named"], {"name": name})
    return int(rows[0][0]) if rows else 0


async def result(connection: Connection, id_: int) -> ResultRow | None:
    """Read a result."""
    rows = await connection.fetch(SQL["result"], {"id": id_})
    return ResultRow(*rows[0]) if rows else None


async def workunit(connection: Connection, id_: int) -> WorkunitRow | None:
    """Read a workunit."""
    rows = await connection.fetch(SQL["workunit"], {"id": id_})
    return WorkunitRow(*rows[0]) if rows else None


async def host(connection: Connection, id_: int) -> HostRow | None:
    """Read a host."""
    rows = await connection.fetch(SQL["host"], {"id": id_})
    return HostRow(*rows[0]) if rows else None


async def app_name(connection: Connection, app_id: int) -> str:
    """Name of an app."""
    rows = await connection.fetch(SQL["app"], {"id": app_id})
    return str(rows[0][0]) if rows else f"number {app_id}, which is no more"


async def results_of(connection: Connection, workunit_id: int) -> list[int]:
    """Results of a workunit, the first MOST."""
    return [int(row[0]) for row in await connection.fetch(SQL["results_of"], {"id": workunit_id, "limit": MOST})]


async def tasks_of(connection: Connection, host_id: int) -> list[tuple[int, int]]:
    """(result id, sent time) of a host's tasks in progress, the first MOST."""
    rows = await connection.fetch(SQL["tasks_of"], {"id": host_id, "limit": MOST})
    return [(int(id_), int(sent)) for id_, sent in rows]


async def waiting_for(connection: Connection, host_id: int) -> int:
    """Jobs that wait for this host to fetch them."""
    return int((await connection.fetch(SQL["waiting_for"], {"id": host_id}))[0][0])


OUTCOMES: dict[int, str] = {
    Outcome.INIT: "over, without an outcome",
    Outcome.COULDNT_SEND: "could not be sent",
    Outcome.CLIENT_ERROR: "failed on the volunteer's machine",
    Outcome.NO_REPLY: "not reported by its deadline",
    Outcome.DIDNT_NEED: "not needed any more, and never sent",
    Outcome.VALIDATE_ERROR: "reported, but the validator could not read it",
    Outcome.CLIENT_DETACHED: "lost: the volunteer's machine left the project",
}
VALIDATIONS: dict[int, str] = {
    ValidateState.INIT: "reported as a success, and not validated yet",
    ValidateState.VALID: "reported as a success, and valid",
    ValidateState.INVALID: "reported as a success, but invalid",
    ValidateState.NO_CHECK: "reported as a success, and not checked, for its workunit has an error",
    ValidateState.INCONCLUSIVE: "reported as a success, and waiting for another instance to compare with",
    ValidateState.TOO_LATE: "reported as a success, but too late to be checked",
}
WU_ERRORS = {
    WuError.COULDNT_SEND_RESULT: "a result could not be sent",
    WuError.TOO_MANY_ERROR_RESULTS: "too many errors",
    WuError.TOO_MANY_SUCCESS_RESULTS: "too many successes without agreement",
    WuError.TOO_MANY_TOTAL_RESULTS: "too many instances",
    WuError.CANCELLED: "cancelled",
    WuError.NO_CANONICAL_RESULT: "no canonical result",
}
ASSIMILATION: dict[int, str] = {
    AssimilateState.INIT: "not finished",
    AssimilateState.READY: "finished, and waiting for its assimilator",
    AssimilateState.DONE: "finished and assimilated",
}


def result_in_words(row: ResultRow) -> str:
    """Say how a result stands."""
    match row.server_state:
        case ServerState.INACTIVE | ServerState.UNSENT:
            return "not sent yet"
        case ServerState.IN_PROGRESS:
            return f"in progress on host {row.host_id}"
    if row.outcome == Outcome.SUCCESS:
        return VALIDATIONS.get(row.validate_state, f"validate_state {row.validate_state}")
    words = OUTCOMES.get(row.outcome, f"outcome {row.outcome}")
    return f"{words}: exit status {row.exit_status}{_status(row.exit_status)}" if row.exit_status else words


def _status(exit_status: int) -> str:
    named = {status.value: status.name.lower().replace("_", " ") for status in ExitStatus}
    return f" ({named[exit_status]})" if exit_status in named else ""


def workunit_in_words(row: WorkunitRow) -> list[str]:
    """Say how a workunit stands."""
    lines = [ASSIMILATION.get(row.assimilate_state, f"state {row.assimilate_state}")]
    if row.error_mask:
        lines.append("ended by: " + ", ".join(words for bit, words in WU_ERRORS.items() if row.error_mask & bit))
    if row.canonical_resultid:
        lines.append(f"its canonical result is {row.canonical_resultid}")
    if row.need_validate:
        lines.append("waits for the validator")
    flags = {NO_TRANSITION: "made for a broadcast", NO_NEW_RESULTS: "made for certain hosts only"}
    if row.transitioner_flags in flags:
        lines.append(f"{flags[row.transitioner_flags]} (transitioner_flags {row.transitioner_flags})")
    return lines
