"""The stand-in against what BOINC's own daemons did: every scenario of `boinc_traces.json`, every row and column.

A scenario has the rows before and after one BOINC program acted once. Times there are seconds from `now`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymysql.connections import Connection
from pymysql.cursors import DictCursor

from axiomd.demo import scheduler, schema, transitioner, validator
from axiomd.demo.config import Config
from axiomd.demo.mariadb import PrivateMariaDB
from axiomd.demo.states import ClientState, ExitStatus

NOW = 1_700_000_000
APP, USER, TEAM = 1, 1, 0
TRACES = json.loads((Path(__file__).parents[1] / "data" / "boinc_traces.json").read_text(encoding="utf-8"))
SCENARIOS = {scenario["name"]: scenario for scenario in TRACES["scenarios"]}

# The settings under which the traces were taken, as their notes say.
CONFIG = Config(
    daily_result_quota=500,
    delete_delay=0.0,
    one_result_per_host_per_wu=1,
    send_result_abort=1,
    enable_assignment=1,
)


@pytest.fixture(scope="module")
def demo_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A project with one app, one version of it, and one user."""
    with PrivateMariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE traces")
        with server.connect("traces") as connection:
            schema.create_tables(connection)
            schema.insert(connection, "app", id=APP, name="axiom")
            schema.insert(connection, "app_version", id=1, appid=APP, version_num=100, platformid=1)
            schema.insert(connection, "user", id=USER, email_addr="a", name="a", authenticator="a", teamid=TEAM)
            yield connection


@pytest.fixture
def demo_connection(demo_database: Connection) -> Connection:
    """The project without hosts and work."""
    with demo_database.cursor() as cursor:
        for table in ("host", "host_app_version", "workunit", "result", "assignment"):
            cursor.execute(f"DELETE FROM {table}")
        cursor.execute("ALTER TABLE result AUTO_INCREMENT = 11")  # the traces number results from 11
    return demo_database


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_stand_in_does_what_boinc_did(name: str, demo_connection: Connection) -> None:
    scenario = SCENARIOS[name]
    _load(demo_connection, scenario["before"])

    _act(demo_connection, scenario)

    for table, expected in scenario["after"].items():
        assert _comparable(_read(demo_connection, table, expected)) == _comparable(_at(expected)), table


def test_the_traces_are_complete() -> None:
    assert len(SCENARIOS) == len(TRACES["scenarios"]) == 53
    assert {scenario["actor"] for scenario in SCENARIOS.values()} == {
        "transitioner",
        "validator",
        "scheduler",
    }


def _act(connection: Connection, scenario: dict[str, Any]) -> None:
    match scenario["actor"]:
        case "transitioner":
            transitioner.one_pass(connection, NOW, CONFIG)
        case "validator":
            validator.one_pass(connection, NOW)
        case "scheduler":
            _contact(connection, scenario)


def _contact(connection: Connection, scenario: dict[str, Any]) -> None:
    """What the client of a scheduler's scenario did: its notes tell it in words."""
    reported = scenario["before"]["result"][0]["name"] if scenario["before"]["result"] else ""
    match scenario["name"]:
        case "s1_targeted" | "s2_untargeted":
            reply = scheduler.request(connection, 1, NOW, CONFIG, instances=1)
            assert len(reply.results) == 1
        case "s3_success" | "s6_late":
            reply = scheduler.request(connection, 1, NOW, CONFIG, reports=[scheduler.Report(reported)])
            assert reply.result_acks == [reported]
        case "s4_failure":
            failure = scheduler.Report(reported, client_state=ClientState.COMPUTE_ERROR, exit_status=1)
            scheduler.request(connection, 1, NOW, CONFIG, reports=[failure])
        case "s5_second_instance":
            reply = scheduler.request(connection, 1, NOW, CONFIG, instances=1)
            assert reply.results == []
        case "s7_aborted_by_project":
            reply = scheduler.request(connection, 1, NOW, CONFIG, other_results=[reported])
            assert reply.result_aborts == [reported]
            aborted = scheduler.Report(
                reported, client_state=ClientState.ABORTED, exit_status=ExitStatus.ABORTED_BY_PROJECT
            )
            scheduler.request(connection, 1, NOW, CONFIG, reports=[aborted])
        case unknown:
            pytest.fail(f"no client for {unknown}")


def _load(connection: Connection, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Insert a scenario's rows, and what they refer to."""
    extra: dict[str, dict[str, Any]] = {
        "workunit": {"appid": APP, "size_class": -1},
        "result": {"appid": APP},
    }
    for table, rows in tables.items():
        for row in _at(rows):
            schema.insert(connection, table, **(extra.get(table, {}) | row))
    for host_id in {row["host_id"] for row in tables.get("host_app_version", [])}:
        # it was in contact just before (no new day begins), and has room for any job
        schema.insert(
            connection,
            "host",
            id=host_id,
            userid=USER,
            rpc_time=NOW,
            p_ncpus=1,
            p_fpops=1e9,
            m_nbytes=1e9,
            d_free=1e9,
        )


def _at(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A scenario's rows with its times as Unix seconds, the scenario taking place at NOW."""
    return [{column: _time(value) for column, value in row.items()} for row in rows]


def _time(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return NOW + value["rel"] if "rel" in value else value["abs"]


def _read(connection: Connection, table: str, expected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows of a table, with the columns that the scenario holds, in the scenario's order."""
    columns = list(expected[0]) if expected else ["*"]
    order = "host_id, app_version_id" if table == "host_app_version" else "id"
    with connection.cursor(DictCursor) as cursor:
        cursor.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}")
        return list(cursor.fetchall())


def _comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the two things that the traces' notes call arbitrary.

    A name made by the scheduler has its process id and the time in it (PID_SENT in the traces), and
    assignment.create_time means nothing there. Everything else is compared as it stands, without a tolerance.
    """
    comparable = []
    for row in rows:
        kept = {column: value for column, value in row.items() if column != "create_time"}
        if "name" in kept:
            kept["name"] = re.sub(r"_\d+_\d+_(\d+)$", r"_PID_SENT_\1", kept["name"])
        comparable.append(kept)
    return comparable
