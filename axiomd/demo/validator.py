"""A stand-in for BOINC's validator, run with --no_credit: successes become VALID, one of them canonical.

Like BOINC's sample_trivial_validator it calls all results equal. Facts from BOINC's sched/validator.cpp and
sched/validate_util2.cpp. It writes a workunit's columns as it read them a moment ago, changed or not, and so may
overwrite what another program wrote in between, as BOINC's does.
"""

from __future__ import annotations

import itertools

from pymysql.connections import Connection

from axiomd.demo import rows
from axiomd.demo.host_app_version import HostAppVersion
from axiomd.demo.rows import Row
from axiomd.demo.states import INT_MAX, AssimilateState, Outcome, ServerState, ValidateState

_NEED_VALIDATE = """
SELECT wu.id, wu.canonical_resultid, wu.canonical_credit, wu.min_quorum, wu.assimilate_state, wu.transition_time,
       wu.target_nresults, wu.max_success_results, wu.error_mask, app.target_nresults AS app_target_nresults,
       res.id AS res_id, res.validate_state AS res_validate_state, res.server_state AS res_server_state,
       res.outcome AS res_outcome, res.granted_credit AS res_granted_credit, res.opaque AS res_opaque,
       res.runtime_outlier AS res_runtime_outlier, res.hostid AS res_hostid, res.sent_time AS res_sent_time,
       res.received_time AS res_received_time, res.appid AS res_appid, res.app_version_id AS res_app_version_id
FROM app
JOIN workunit AS wu ON wu.appid = app.id AND wu.need_validate > 0
JOIN result AS res ON wu.id = res.workunitid
ORDER BY wu.id, res.id
"""


def one_pass(connection: Connection, now: int) -> int:
    """Handle every workunit that needs validation, of all apps; gives their number."""
    handled = 0
    items = rows.select(connection, _NEED_VALIDATE)
    for _, group in itertools.groupby(items, key=lambda item: item["id"]):
        _handle_wu(connection, list(group), now)
        handled += 1
    return handled


def _handle_wu(connection: Connection, results: list[Row], now: int) -> None:
    wu = dict(results[0])
    successes = [
        result
        for result in results
        if result["res_server_state"] == ServerState.OVER and result["res_outcome"] == Outcome.SUCCESS
    ]
    if wu["canonical_resultid"]:
        for result in successes:
            if result["res_validate_state"] in (ValidateState.INIT, ValidateState.INCONCLUSIVE):
                _call_valid(connection, wu, result)
                wu["transition_time"] = now  # it may be the last one: files may go now
    else:
        viable = [result for result in successes if result["res_validate_state"] != ValidateState.INVALID]
        if viable and len(viable) >= wu["min_quorum"]:
            for result in viable:
                _call_valid(connection, wu, result)
            wu["canonical_resultid"] = viable[0]["res_id"]
            wu["assimilate_state"] = AssimilateState.READY
            wu["transition_time"] = INT_MAX  # the assimilator is next, not the transitioner
            for result in results:
                if result["res_server_state"] == ServerState.UNSENT:
                    result["res_server_state"] = ServerState.OVER
                    result["res_outcome"] = Outcome.DIDNT_NEED
                    _update_result(connection, result)
    _update_workunit(connection, wu)


def _call_valid(connection: Connection, wu: Row, result: Row) -> None:
    result["res_validate_state"] = ValidateState.VALID
    host = rows.select_one(connection, "SELECT avg_turnaround FROM host WHERE id = %s", result["res_hostid"])
    if host is None:
        return
    record = HostAppVersion.read(connection, result["res_hostid"], result["res_app_version_id"], result["res_appid"])
    if record is not None:
        record.max_jobs_per_day += 1
        unreplicated = wu["target_nresults"] == 1 and wu["app_target_nresults"] > 1
        if not unreplicated:
            record.consecutive_valid += 1
        record.write_validator(connection)
    turnaround = float(result["res_received_time"] - result["res_sent_time"])
    before = host["avg_turnaround"]
    average = 0.7 * before + 0.3 * turnaround if before else turnaround
    rows.update(connection, "host", result["res_hostid"], avg_turnaround=average)
    _update_result(connection, result)


def _update_result(connection: Connection, result: Row) -> None:
    rows.update(
        connection,
        "result",
        result["res_id"],
        validate_state=result["res_validate_state"],
        granted_credit=result["res_granted_credit"],
        server_state=result["res_server_state"],
        outcome=result["res_outcome"],
        opaque=result["res_opaque"],
        runtime_outlier=result["res_runtime_outlier"],
    )


def _update_workunit(connection: Connection, wu: Row) -> None:
    rows.update(
        connection,
        "workunit",
        wu["id"],
        need_validate=0,
        error_mask=wu["error_mask"],
        assimilate_state=wu["assimilate_state"],
        transition_time=wu["transition_time"],
        target_nresults=wu["target_nresults"],
        canonical_resultid=wu["canonical_resultid"],
        canonical_credit=wu["canonical_credit"],
    )
