"""The stand-in's scheduler where the traces say nothing: its limits, and who is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pymysql.connections import Connection

from axiomd.demo import rows, scheduler, schema, transitioner
from axiomd.demo.config import Config
from axiomd.demo.mariadb import PrivateMariaDB
from axiomd.demo.states import (
    INT_MAX,
    ClientState,
    Outcome,
    ServerState,
    Target,
    TransitionerFlags,
    ValidateState,
    WuError,
)

NOW = 1_700_000_000
HOST, OTHER_HOST, STRANGERS_HOST = 1, 2, 3
CPUS = 4


@dataclass
class Tables:
    """A project's tables, with three hosts, and short words for what the tests put in."""

    connection: Connection

    def workunit(self, name: str, *, target: int | None = None, **columns: Any) -> int:
        """A workunit; with a target as create_work leaves a job for that host, else with an UNSENT result."""
        row = {
            "appid": 1,
            "size_class": -1,
            "delay_bound": 1000,
            "target_nresults": 1,
            "min_quorum": 1,
            "max_total_results": 3,
            "max_error_results": 3,
            "max_success_results": 1,
            "transition_time": INT_MAX if target else NOW + 1000,
            "transitioner_flags": TransitionerFlags.NO_NEW_RESULTS if target else TransitionerFlags.NORMAL,
        }
        workunit = schema.insert(self.connection, "workunit", name=name, **(row | columns))
        if target:
            self.assign(workunit, target)
        else:
            self.result(workunit, f"{name}_0", server_state=ServerState.UNSENT)
        return workunit

    def assign(self, workunit: int, host: int) -> None:
        schema.insert(
            self.connection, "assignment", target_type=Target.HOST, target_id=host, multi=0, workunitid=workunit
        )

    def result(self, workunit: int, name: str, **columns: Any) -> int:
        return schema.insert(self.connection, "result", workunitid=workunit, appid=1, name=name, **columns)

    def record(self, **columns: Any) -> None:
        """The host's record with the app version."""
        schema.insert(self.connection, "host_app_version", host_id=HOST, app_version_id=1, **columns)

    def ask(self, instances: float = 10, *, host: int = HOST, now: int = NOW, **options: Any) -> list[str]:
        """Names of the workunits that a request brings."""
        config = options.pop("config", Config())
        reply = scheduler.request(self.connection, host, now, config, instances=instances, **options)
        return [result.wu_name for result in reply.results]

    def report(self, report: scheduler.Report, *, host: int = HOST, now: int = NOW) -> None:
        scheduler.request(self.connection, host, now, Config(), reports=[report])

    def row(self, table: str, **where: Any) -> rows.Row:
        condition = " AND ".join(f"{name} = %s" for name in where)
        (row,) = rows.select(self.connection, f"SELECT * FROM {table} WHERE {condition}", *where.values())
        return row


@pytest.fixture(scope="module")
def demo_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A project with an app and two users."""
    with PrivateMariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE scheduler")
        with server.connect("scheduler") as connection:
            schema.create_tables(connection)
            schema.insert(connection, "app", id=1, name="axiom")
            schema.insert(connection, "app_version", id=1, appid=1, version_num=100, platformid=1)
            for user in (1, 2):
                schema.insert(connection, "user", id=user, email_addr=user, name=user, authenticator=user, teamid=7)
            yield connection


@pytest.fixture
def tables(demo_database: Connection) -> Tables:
    """The project with three hosts and no work."""
    with demo_database.cursor() as cursor:
        for table in ("host", "host_app_version", "workunit", "result", "assignment"):
            cursor.execute(f"DELETE FROM {table}")
    size = {"p_ncpus": CPUS, "p_fpops": 1e9, "m_nbytes": 8e9, "d_free": 1e10}
    for host, user in ((HOST, 1), (OTHER_HOST, 1), (STRANGERS_HOST, 2)):
        schema.insert(demo_database, "host", id=host, userid=user, rpc_time=NOW, **size)
    return Tables(demo_database)


# What a host is given


def test_no_more_is_sent_than_the_client_wants(tables: Tables) -> None:
    for name in "abc":
        tables.workunit(name)
    assert len(tables.ask(2)) == 2
    assert len(tables.ask(2)) == 1


def test_the_daily_quota_counts_for_each_cpu(tables: Tables) -> None:
    for number in range(12):
        tables.workunit(f"w{number}")
    tables.record(max_jobs_per_day=2, n_jobs_today=0)

    assert len(tables.ask(12)) == 2 * CPUS
    assert tables.ask(12) == []
    assert tables.row("host_app_version", host_id=HOST)["n_jobs_today"] == 2 * CPUS


def test_a_quota_of_one_job_a_day_is_one_for_the_whole_host(tables: Tables) -> None:
    for name in "abc":
        tables.workunit(name, target=HOST)
    tables.record(max_jobs_per_day=1, n_jobs_today=0)
    assert tables.ask() == ["a"]


def test_a_new_day_clears_the_jobs_of_the_day(tables: Tables) -> None:
    tables.workunit("a")
    tables.record(max_jobs_per_day=1, n_jobs_today=1)
    assert tables.ask() == []
    assert tables.ask(now=NOW + 86400) == ["a"]


def test_the_first_job_makes_the_hosts_record_and_the_quota_comes_with_the_next_request(tables: Tables) -> None:
    tables.workunit("a")
    tables.ask()
    record = tables.row("host_app_version", host_id=HOST)
    assert (record["n_jobs_today"], record["max_jobs_per_day"]) == (1, 0)

    tables.ask()
    assert tables.row("host_app_version", host_id=HOST)["max_jobs_per_day"] == 500


def test_jobs_in_progress_are_limited_for_each_cpu(tables: Tables) -> None:
    for number in range(12):
        tables.workunit(f"w{number}", target=HOST)
    config = Config(max_wus_in_progress=2)

    assert len(tables.ask(12, config=config, other_results=["x", "y", "z"])) == 2 * CPUS - 3


def test_jobs_in_one_contact_are_limited_for_each_cpu(tables: Tables) -> None:
    for number in range(12):
        tables.workunit(f"w{number}")
    assert len(tables.ask(12, config=Config(max_wus_to_send=1))) == CPUS


def test_any_targeted_job_sent_ends_the_contacts_work(tables: Tables) -> None:
    tables.workunit("free")
    tables.workunit("mine", target=HOST)
    assert tables.ask() == ["mine"]
    assert tables.ask() == ["free"]


def test_an_untargeted_job_must_fit_and_a_targeted_one_need_not(tables: Tables) -> None:
    sizes: dict[str, dict[str, Any]] = {"memory": {"rsc_memory_bound": 9e9}, "disk": {"rsc_disk_bound": 2e10}}
    for name, size in sizes.items():
        tables.workunit(name, **size)
        tables.workunit(f"targeted-{name}", target=HOST, **size)
    tables.workunit("deadline", rsc_fpops_est=1e15)
    assert tables.ask() == ["targeted-memory", "targeted-disk"]
    assert tables.ask() == []


def test_a_host_gets_no_second_instance_of_a_workunit(tables: Tables) -> None:
    free = tables.workunit("free")
    tables.result(free, "free_1", hostid=HOST, server_state=ServerState.OVER, outcome=Outcome.NO_REPLY)
    mine = tables.workunit("mine", target=HOST)
    tables.result(mine, "mine_1", hostid=HOST, server_state=ServerState.OVER, outcome=Outcome.CLIENT_ERROR)

    assert tables.ask() == []
    tables.assign(mine, OTHER_HOST)
    assert tables.ask(host=OTHER_HOST) == ["mine"]


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"transition_time": NOW - 1}, id="a transition is pending"),
        pytest.param({"error_mask": WuError.CANCELLED}, id="cancelled"),
        pytest.param({"need_validate": 1}, id="waits for the validator"),
        pytest.param({"canonical_resultid": 9}, id="has a canonical result"),
    ],
)
def test_a_targeted_job_is_refused(tables: Tables, columns: dict[str, int]) -> None:
    tables.workunit("mine", target=HOST, **columns)
    assert tables.ask() == []


def test_a_transition_due_this_second_is_not_pending(tables: Tables) -> None:
    tables.workunit("mine", target=HOST, transition_time=NOW)
    assert tables.ask() == ["mine"]


@pytest.mark.parametrize(
    ("state", "sent"),
    [
        ({"server_state": ServerState.UNSENT}, []),
        ({"server_state": ServerState.IN_PROGRESS}, []),
        ({"server_state": ServerState.OVER, "outcome": Outcome.SUCCESS}, []),
        (
            {
                "server_state": ServerState.OVER,
                "outcome": Outcome.SUCCESS,
                "validate_state": ValidateState.INVALID,
            },
            ["mine"],
        ),
        ({"server_state": ServerState.OVER, "outcome": Outcome.NO_REPLY}, ["mine"]),
    ],
)
def test_another_hosts_instance_can_make_one_needless(tables: Tables, state: dict[str, int], sent: list[str]) -> None:
    workunit = tables.workunit("mine", target=HOST)
    tables.result(workunit, "mine_1", hostid=OTHER_HOST, **state)
    assert tables.ask() == sent


def test_the_feeder_offers_no_job_with_flags(tables: Tables) -> None:
    tables.workunit("bound", transitioner_flags=TransitionerFlags.NO_NEW_RESULTS)
    assert tables.ask() == []


def test_an_assignment_whose_workunit_is_gone_is_deleted(tables: Tables) -> None:
    tables.assign(99, HOST)
    assert tables.ask() == []
    assert rows.select(tables.connection, "SELECT id FROM assignment") == []


def test_without_enable_assignment_nobody_gets_a_targeted_job(tables: Tables) -> None:
    tables.workunit("mine", target=HOST)
    assert tables.ask(config=Config(enable_assignment=0)) == []


def test_a_host_that_is_shut_out_gets_nothing_and_its_reports_are_refused(tables: Tables) -> None:
    workunit = tables.workunit("mine", target=HOST)
    tables.ask()
    name = tables.row("result", workunitid=workunit)["name"]
    rows.update(tables.connection, "host", HOST, max_results_day=scheduler.SHUT_OUT)

    tables.workunit("more", target=HOST)
    assert tables.ask() == []
    tables.report(scheduler.Report(name))
    assert tables.row("result", workunitid=workunit)["server_state"] == ServerState.IN_PROGRESS


# What a host reports


def _sent(tables: Tables, *, host: int = HOST, **columns: Any) -> str:
    """A result in progress on a host; its name."""
    workunit = tables.workunit("w")
    rows.execute(tables.connection, "DELETE FROM result WHERE workunitid = %s", workunit)
    state = {"server_state": ServerState.IN_PROGRESS, "hostid": host, "sent_time": NOW - 100, "app_version_id": 1}
    tables.result(workunit, "w_0", **(state | columns))
    return "w_0"


@pytest.mark.parametrize(
    ("claimed", "kept"), [(365 * 86400.0, 100.0), (60.0, 60.0), (-5.0, 0.0)], ids=["a year", "honest", "negative"]
)
def test_a_claimed_time_is_cut_to_what_the_server_saw(tables: Tables, claimed: float, kept: float) -> None:
    name = _sent(tables)
    tables.report(scheduler.Report(name, elapsed_time=claimed))
    result = tables.row("result", name=name)
    assert (result["elapsed_time"], result["outcome"], result["teamid"]) == (kept, Outcome.SUCCESS, 7)


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"server_state": ServerState.OVER, "outcome": Outcome.SUCCESS}, id="reported before"),
        pytest.param({"server_state": ServerState.OVER, "outcome": Outcome.NO_REPLY, "received_time": NOW}, id="lost"),
        pytest.param({"server_state": ServerState.UNSENT}, id="never sent"),
        pytest.param({"hostid": STRANGERS_HOST}, id="another user's host"),
    ],
)
def test_a_report_is_acknowledged_and_ignored(tables: Tables, columns: dict[str, int]) -> None:
    name = _sent(tables, **columns)
    before = tables.row("result", name=name)
    reply = scheduler.request(tables.connection, HOST, NOW, reports=[scheduler.Report(name)])
    assert reply.result_acks == [name]
    assert tables.row("result", name=name) == before


def test_another_host_of_the_same_user_may_report(tables: Tables) -> None:
    name = _sent(tables, hostid=OTHER_HOST)
    tables.report(scheduler.Report(name))
    assert tables.row("result", name=name)["hostid"] == HOST


def test_failures_lower_the_quota_and_a_success_doubles_it(tables: Tables) -> None:
    tables.record(max_jobs_per_day=3, consecutive_valid=5)
    name = _sent(tables)
    tables.report(scheduler.Report(name, client_state=ClientState.COMPUTE_ERROR, exit_status=1))
    record = tables.row("host_app_version", host_id=HOST)
    assert (record["max_jobs_per_day"], record["consecutive_valid"]) == (2, 0)

    tables.result(
        tables.row("workunit", name="w")["id"],
        "w_1",
        server_state=ServerState.IN_PROGRESS,
        hostid=HOST,
        sent_time=NOW,
        app_version_id=1,
    )
    tables.report(scheduler.Report("w_1"))
    assert tables.row("host_app_version", host_id=HOST)["max_jobs_per_day"] == 4


def test_the_client_is_told_what_nobody_wants_any_more(tables: Tables) -> None:
    for name, mask, outcome in (("cancelled", WuError.CANCELLED, Outcome.INIT), ("late", 0, Outcome.NO_REPLY)):
        workunit = tables.workunit(name, error_mask=mask)
        state = ServerState.OVER if outcome else ServerState.IN_PROGRESS
        rows.execute(
            tables.connection,
            "UPDATE result SET hostid = %s, server_state = %s, outcome = %s WHERE workunitid = %s",
            HOST,
            state,
            outcome,
            workunit,
        )
    held = ["cancelled_0", "late_0", "unheard_of"]

    reply = scheduler.request(tables.connection, HOST, NOW, other_results=held)
    assert reply.result_aborts == ["cancelled_0", "unheard_of"]
    assert reply.result_abort_if_not_starteds == ["late_0"]

    silent = scheduler.request(tables.connection, HOST, NOW, Config(send_result_abort=0), other_results=held)
    assert silent.result_aborts == silent.result_abort_if_not_starteds == []


def test_the_transitioner_handles_more_rows_than_one_query_fetches(tables: Tables) -> None:
    for number in range(7):
        tables.workunit(f"w{number}", transition_time=NOW - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transitioner, "SELECT_LIMIT", 3)
        assert transitioner.one_pass(tables.connection, NOW) == 7
    assert transitioner.one_pass(tables.connection, NOW) == 0
