"""A stand-in for BOINC's transitioner: times results out, makes new ones, and sends workunits on their way.

Facts from BOINC's sched/transitioner.cpp and its part of db/boinc_db.cpp. It acts on what one query read, a moment
ago, and writes only what it changed, each row by a statement of its own: so it can overwrite a report that came in
between, as BOINC's does.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pymysql.connections import Connection

from axiomd.demo import rows
from axiomd.demo.backend_lib import create_result
from axiomd.demo.config import Config
from axiomd.demo.host_app_version import HostAppVersion
from axiomd.demo.rows import Row
from axiomd.demo.states import (
    INT_MAX,
    AssimilateState,
    ExitStatus,
    FileDeleteState,
    Outcome,
    ServerState,
    TransitionerFlags,
    ValidateState,
    WuError,
)

SELECT_LIMIT = 1000
SAFETY_NET_S = 10 * 86400
SHORTEST_BACKOFF_S, LONGEST_BACKOFF_S = 60, 86400

_DUE = """
SELECT wu.id, wu.name, wu.appid, wu.min_quorum, wu.need_validate, wu.canonical_resultid, wu.transition_time,
       wu.delay_bound, wu.error_mask, wu.max_error_results, wu.max_total_results, wu.file_delete_state,
       wu.assimilate_state, wu.target_nresults, wu.result_template_file, wu.priority, wu.hr_class, wu.batch,
       wu.app_version_id, wu.transitioner_flags, wu.size_class,
       res.id AS res_id, res.name AS res_name, res.report_deadline AS res_report_deadline,
       res.server_state AS res_server_state, res.outcome AS res_outcome, res.validate_state AS res_validate_state,
       res.file_delete_state AS res_file_delete_state, res.received_time AS res_received_time,
       res.hostid AS res_hostid, res.app_version_id AS res_app_version_id, res.exit_status AS res_exit_status
FROM workunit AS wu LEFT JOIN result AS res ON wu.id = res.workunitid
WHERE wu.transition_time < %s AND wu.transitioner_flags <> %s
ORDER BY wu.transition_time, wu.id, res.id
LIMIT %s
"""

LONGEST_PASS_S = 30


@contextmanager
def held_back(connection: Connection) -> Iterator[None]:
    """No pass of a transitioner runs meanwhile, in whatever process: a lock by name, which ends with its connection."""
    rows.execute(connection, "SELECT GET_LOCK(CONCAT(DATABASE(), '.transitioner'), %s)", LONGEST_PASS_S)
    try:
        yield
    finally:
        rows.execute(connection, "SELECT RELEASE_LOCK(CONCAT(DATABASE(), '.transitioner'))")


def one_pass(connection: Connection, now: int, config: Config | None = None) -> int:
    """Handle every workunit whose transition_time lies before `now`; gives their number."""
    config = config or Config()
    handled = 0
    while True:
        items = rows.select(connection, _DUE, now, TransitionerFlags.NONE, SELECT_LIMIT)
        workunits = [list(group) for _, group in itertools.groupby(items, key=lambda item: item["id"])]
        if len(items) == SELECT_LIMIT and len(workunits) > 1:
            workunits.pop()  # some of its results may lie beyond the limit
        for group in workunits:
            _handle_wu(connection, group, now, config)
        handled += len(workunits)
        if len(items) < SELECT_LIMIT:
            return handled


@dataclass
class _Counts:
    """A workunit's results by what has become of them."""

    total: int = 0
    unsent: int = 0
    in_progress: int = 0
    success: int = 0  # those judged INVALID don't count
    error: int = 0
    couldnt_send: int = 0
    no_reply: int = 0
    new_to_validate: bool = False


def _handle_wu(connection: Connection, items: list[Row], now: int, config: Config) -> None:
    wu = dict(items[0])
    results = [item for item in items if item["res_id"] is not None]
    counts = _count_and_time_out(connection, wu, results, now, config)

    if counts.new_to_validate and counts.success >= wu["min_quorum"]:
        wu["need_validate"] = 1
    if counts.couldnt_send:
        wu["error_mask"] |= WuError.COULDNT_SEND_RESULT
    if counts.error and not (counts.success or counts.in_progress or counts.no_reply):
        wu["hr_class"] = wu["app_version_id"] = 0  # give other platforms a try
    if counts.error > wu["max_error_results"]:
        wu["error_mask"] |= WuError.TOO_MANY_ERROR_RESULTS

    needed = max(0, wu["target_nresults"] - counts.unsent - counts.in_progress - counts.success)
    allowed = wu["max_total_results"] - counts.total
    if allowed < 0 or (allowed == 0 and needed):
        wu["error_mask"] |= WuError.TOO_MANY_TOTAL_RESULTS

    made = 0
    if wu["error_mask"]:
        _give_up(connection, wu, results)
    elif not wu["canonical_resultid"] and wu["transitioner_flags"] != TransitionerFlags.NO_NEW_RESULTS:
        made = min(needed, allowed)
        first = 1 + max((_suffix(result["res_name"]) for result in results), default=-1)
        for number in range(first, first + made):
            create_result(connection, wu, str(number), config, now)

    deletion_time = _delete_files(connection, wu, results, now, config)
    wu["transition_time"] = _next_transition(wu, results, deletion_time, now)
    _update_workunit(connection, items[0], wu, now)


def _count_and_time_out(connection: Connection, wu: Row, results: list[Row], now: int, config: Config) -> _Counts:
    counts = _Counts(total=len(results))
    canonical_files_deleted = any(
        result["res_id"] == wu["canonical_resultid"] and result["res_file_delete_state"] == FileDeleteState.DONE
        for result in results
    )
    for result in results:
        match result["res_server_state"]:
            case ServerState.INACTIVE | ServerState.UNSENT:
                counts.unsent += 1
            case ServerState.IN_PROGRESS if result["res_report_deadline"] < now:
                result["res_server_state"] = ServerState.OVER
                result["res_outcome"] = Outcome.NO_REPLY
                _update_result(connection, result)
                _charge_host(connection, wu, result, config)
                counts.no_reply += 1
            case ServerState.IN_PROGRESS:
                counts.in_progress += 1
            case ServerState.OVER:
                _count_outcome(connection, counts, result, canonical_files_deleted=canonical_files_deleted)
    return counts


def _count_outcome(connection: Connection, counts: _Counts, result: Row, *, canonical_files_deleted: bool) -> None:
    match result["res_outcome"]:
        case Outcome.COULDNT_SEND:
            counts.couldnt_send += 1
        case Outcome.SUCCESS:
            if result["res_validate_state"] == ValidateState.INIT:
                if canonical_files_deleted:
                    result["res_validate_state"] = ValidateState.TOO_LATE
                    _update_result(connection, result)
                else:
                    counts.new_to_validate = True
            if result["res_validate_state"] != ValidateState.INVALID:
                counts.success += 1
        case Outcome.CLIENT_ERROR if result["res_exit_status"] == ExitStatus.ABORTED_VIA_GUI:
            counts.no_reply += 1  # the volunteer's own abort is no error
        case Outcome.CLIENT_ERROR | Outcome.VALIDATE_ERROR:
            counts.error += 1
        case Outcome.CLIENT_DETACHED | Outcome.NO_REPLY:
            counts.no_reply += 1


def _charge_host(connection: Connection, wu: Row, result: Row, config: Config) -> None:
    """A time-out lowers the daily quota of the host's app version, and counts as a turnaround of delay_bound."""
    charged = HostAppVersion.read(connection, result["res_hostid"], result["res_app_version_id"], wu["appid"])
    if charged is not None:
        charged.add_turnaround(float(wu["delay_bound"]))
        charged.lower_quota(config.daily_result_quota)
        charged.write_timed_out(connection)


def _give_up(connection: Connection, wu: Row, results: list[Row]) -> None:
    """Here when the workunit has an error: what is unsent isn't sent any more, what isn't checked stays unchecked."""
    for result in results:
        if result["res_server_state"] in (ServerState.INACTIVE, ServerState.UNSENT):
            result["res_server_state"] = ServerState.OVER
            result["res_outcome"] = Outcome.DIDNT_NEED
            _update_result(connection, result)
        elif (
            result["res_server_state"] == ServerState.OVER
            and result["res_outcome"] == Outcome.SUCCESS
            and result["res_validate_state"] in (ValidateState.INIT, ValidateState.INCONCLUSIVE)
        ):
            result["res_validate_state"] = ValidateState.NO_CHECK
            _update_result(connection, result)
    if wu["assimilate_state"] == AssimilateState.INIT:
        wu["assimilate_state"] = AssimilateState.READY


def _delete_files(connection: Connection, wu: Row, results: list[Row], now: int, config: Config) -> float:
    """Mark files for deletion once the workunit is assimilated; gives when to look again, 0 for no need."""
    over = [result for result in results if result["res_server_state"] == ServerState.OVER]
    unchecked = [
        result
        for result in over
        if result["res_outcome"] == Outcome.SUCCESS and result["res_validate_state"] == ValidateState.INIT
    ]
    ready = len(over) == len(results) and not unchecked
    if ready and wu["canonical_resultid"] and wu["assimilate_state"] == AssimilateState.INIT:
        wu["assimilate_state"] = AssimilateState.READY  # an assimilator had put it off
    if wu["assimilate_state"] != AssimilateState.DONE:
        return 0.0

    last_returned = max((result["res_received_time"] for result in over), default=0)
    if now < last_returned + config.delete_delay:
        return float(last_returned + config.delete_delay)
    may_still_come = any(
        result["res_outcome"] == Outcome.NO_REPLY and now < result["res_report_deadline"] for result in over
    )
    all_done = ready and not may_still_come
    if all_done and wu["file_delete_state"] == FileDeleteState.INIT:
        wu["file_delete_state"] = FileDeleteState.READY
    for result in results:
        canonical = result["res_id"] == wu["canonical_resultid"]
        deletable = result["res_outcome"] == Outcome.CLIENT_ERROR or (
            result["res_outcome"] == Outcome.SUCCESS and result["res_validate_state"] != ValidateState.INIT
        )
        if canonical and not all_done:
            continue
        if deletable and result["res_file_delete_state"] == FileDeleteState.INIT:
            result["res_file_delete_state"] = FileDeleteState.READY
            _update_result(connection, result)
    return 0.0


def _next_transition(wu: Row, results: list[Row], deletion_time: float, now: int) -> int:
    if wu["canonical_resultid"] or wu["error_mask"]:
        next_time = INT_MAX
    else:
        next_time = now + max(SAFETY_NET_S, int(1.5 * wu["delay_bound"]))
    for result in results:
        if result["res_server_state"] == ServerState.IN_PROGRESS:
            next_time = min(next_time, result["res_report_deadline"])
    if deletion_time:
        next_time = min(next_time, int(deletion_time))
    if next_time < now:  # the transitioner is behind: twice the delay, within bounds
        next_time = now + min(max(2 * (now - next_time), SHORTEST_BACKOFF_S), LONGEST_BACKOFF_S)
    return next_time


def _suffix(name: str) -> int:
    """Number at the end of a result's name; 0 where there is none."""
    match = re.search(r"_(\d+)$", name)
    return int(match[1]) if match else 0


def _update_result(connection: Connection, result: Row) -> None:
    rows.update(
        connection,
        "result",
        result["res_id"],
        server_state=result["res_server_state"],
        outcome=result["res_outcome"],
        validate_state=result["res_validate_state"],
        file_delete_state=result["res_file_delete_state"],
    )


def _update_workunit(connection: Connection, before: Row, after: Row, now: int) -> None:
    columns = (
        "need_validate",
        "error_mask",
        "assimilate_state",
        "file_delete_state",
        "hr_class",
        "app_version_id",
    )
    changed = {name: after[name] for name in columns if after[name] != before[name]}
    words = [f"{name} = %s" for name in changed]
    values = list(changed.values())
    if after["transition_time"] != before["transition_time"]:
        # something else happened to the workunit meanwhile: look at it once more
        words.append("transition_time = IF(transition_time = %s, %s, %s)")
        values += [before["transition_time"], after["transition_time"], now]
    if words:
        rows.execute(connection, f"UPDATE workunit SET {', '.join(words)} WHERE id = %s", *values, after["id"])
