"""What axiomd needs of BOINC's tables, checked by name; older projects have fewer columns."""

from __future__ import annotations

from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.boinc", "schema.sql")

NEEDED: dict[str, str] = {
    "app": "id name",
    "app_version": "id appid plan_class",
    "assignment": "id create_time target_id target_type multi workunitid resultid",
    "host": "id userid rpc_time rpc_seqno total_credit expavg_credit expavg_time p_ncpus p_fpops m_nbytes p_ngpus "
    "p_gpu_fpops",
    "host_app_version": "host_id app_version_id max_jobs_per_day n_jobs_today",
    "result": "id workunitid server_state outcome client_state hostid report_deadline sent_time received_time appid "
    "validate_state granted_credit exit_status mod_time elapsed_time app_version_id",
    "team": "id total_credit expavg_credit expavg_time",
    "user": "id teamid total_credit expavg_credit expavg_time",
    "workunit": "id create_time appid name need_validate canonical_resultid transition_time delay_bound error_mask "
    "assimilate_state target_nresults max_total_results rsc_memory_bound mod_time transitioner_flags",
}
"""Columns of BOINC's tables that axiomd reads or writes, by table."""

BY_APP = {
    "credit_user": "userid appid njobs total expavg expavg_time credit_type",
    "credit_team": "teamid appid njobs total expavg expavg_time credit_type",
}
"""The same for projects with <credit_by_app>."""


async def missing_columns(connection: Connection, *, credit_by_app: bool) -> list[str]:
    """Tables (`host`) and columns (`host.p_ngpus`) that axiomd needs and the database lacks."""
    needed = NEEDED | (BY_APP if credit_by_app else {})
    rows = await connection.fetch(SQL["columns"], {"tables": list(needed)})
    there = {(str(table), str(column)) for table, column in rows}
    tables = {table for table, _ in there}
    missing = [table for table in needed if table not in tables]
    return missing + [
        f"{table}.{column}"
        for table, columns in needed.items()
        if table in tables
        for column in columns.split()
        if (table, column) not in there
    ]


async def has_mod_time_index(connection: Connection) -> bool:
    """Whether the index for intake.mode = "mod_time" is there."""
    return bool((await connection.fetch(SQL["mod_time_index"]))[0][0])


async def make_mod_time_index(connection: Connection) -> None:
    """Make that index online: BOINC's programs go on reading and writing meanwhile."""
    await connection.execute(SQL["make_mod_time_index"])


async def server_version(connection: Connection) -> str:
    """Version of the database server."""
    return str((await connection.fetch(SQL["version"]))[0][0])
