"""The demo's bin/start, bin/stop and bin/status, and the daemons that they see to: as BOINC's, each is a process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pymysql.connections import Connection

from axiomd.demo import project, transitioner
from axiomd.demo.config import Config
from axiomd.demo.mariadb import PrivateMariaDB
from axiomd.demo.schema import insert
from axiomd.demo.start import Daemon, Project, local_host

NAMES = ["transitioner", "validator"]
PATIENCE_S = 30.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Site:
    """A project as the demo makes it, and its programs as a person calls them, from anywhere."""

    def __init__(self, folder: Path, server: PrivateMariaDB) -> None:
        self.folder = folder
        self.server = server
        self.config: Config = project.make_folder(folder, server)
        self.project = Project(folder)

    def call(self, program: str, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(self.folder / "bin" / program), *words]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    def start(self, *words: str) -> dict[str, int]:
        """Start the daemons, as a person does; their process ids."""
        done = self.call("start", *words)
        assert (done.returncode, done.stderr) == (0, "")
        return self.pids()

    def pids(self) -> dict[str, int]:
        """Process ids of the daemons that run."""
        return {self.name(daemon): daemon.holder for daemon in self.project.daemons if daemon.holder}

    @staticmethod
    def name(daemon: Daemon) -> str:
        return daemon.cmd.split()[0]

    def log(self, name: str) -> str:
        return (self.folder / f"log_{local_host()}" / f"{name}.log").read_text()

    def connect(self) -> Connection:
        return self.server.connect(project.DATABASE)


@pytest.fixture
def site(mariadb: PrivateMariaDB, tmp_path: Path) -> Iterator[Site]:
    project.make_database(mariadb)
    made = Site(tmp_path, mariadb)
    yield made
    made.project.stop(timeout_s=10)
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {project.DATABASE}")


def test_the_daemons_start_are_kept_apart_and_end(site: Site) -> None:
    status = site.call("status").stdout
    assert "BOINC is DISABLED" in status
    assert status.count("NOT RUNNING UNLOCKED") == 2
    assert site.start("--cron") == {}  # for cron starts nothing in a project that is off

    pids = site.start()
    assert sorted(pids) == NAMES
    assert os.getsid(pids["transitioner"]) != os.getsid(0)
    status = site.call("status").stdout
    assert "BOINC is ENABLED" in status
    assert status.count(" running     locked ") == 2
    for name in NAMES:  # the files have BOINC's names
        assert int((site.folder / f"pid_{local_host()}" / f"{name}.pid").read_text()) == pids[name]
        assert (site.folder / f"pid_{local_host()}" / f"{name}.lock").exists()
    assert site.start() == pids

    os.kill(pids["transitioner"], signal.SIGKILL)
    wait_until(lambda: list(site.pids()) == ["validator"], "the lock ends with the process")
    again = site.start("--cron")
    assert (sorted(again), again["validator"]) == (NAMES, pids["validator"])
    assert again["transitioner"] != pids["transitioner"]

    assert site.call("stop").returncode == 0
    assert site.pids() == {}
    assert "<enabled>0</enabled>" in (site.folder / f"run_state_{local_host()}.xml").read_text()
    assert (site.folder / "stop_daemons").exists()
    assert site.start("--cron") == {}


def test_the_daemons_take_a_workunit_along(site: Site) -> None:
    with site.connect() as connection:
        id_ = insert(
            connection,
            "workunit",
            name="one",
            appid=1,
            target_nresults=1,
            max_total_results=1,
            transition_time=1,
            result_template_file=f"templates/{project.APP}_out",
        )
        # a pass that is held back waits, in another process as well
        with transitioner.held_back(connection):
            command = [str(site.folder / "bin" / "transitioner"), "--one_pass"]
            one_pass = subprocess.Popen(command, cwd=site.folder, stderr=subprocess.DEVNULL)
            wait_until(lambda: "User lock" in _states(connection), "it waits for the lock")
            assert one_pass.poll() is None
            assert _count(connection, "result") == 0
        assert one_pass.wait(PATIENCE_S) == 0
        assert _count(connection, "result WHERE name = 'one_0'") == 1

        site.start()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE result SET server_state = 5, outcome = 1, hostid = 1")
            cursor.execute("UPDATE workunit SET transition_time = 1")
        validated = f"workunit JOIN result ON result.id = canonical_resultid WHERE workunit.id = {id_}"
        wait_until(lambda: _count(connection, validated), "the transitioner hands it to the validator")


def test_daemons_end_when_the_database_goes_away(site: Site) -> None:
    site.start()
    with site.server.connect() as connection, connection.cursor() as cursor:
        wait_until(lambda: len(_of_database(connection)) == 2, "both are connected")
        for id_ in _of_database(connection):
            cursor.execute(f"KILL {id_}")
    wait_until(lambda: site.pids() == {}, "both end")
    for name in NAMES:
        assert f"[CRITICAL] {name} ends: " in site.log(name).splitlines()[-1]
        assert "Traceback" not in site.log(name)


@pytest.mark.parametrize(
    ("program", "words", "complaint"),
    [
        ("transitioner", ["--onepass"], "unknown command line argument: --onepass"),
        ("transitioner", ["--sleep_interval", "long"], "--sleep_interval requires a number"),
        ("validator", ["--app"], "--app requires an argument"),
        ("start", ["--now"], "start: bad argument '--now'"),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(tmp_path: Path, program: str, words: list[str], complaint: str) -> None:
    site = Site(tmp_path, PrivateMariaDB(tmp_path / "nowhere"))
    done = site.call(program, *words)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


def test_programs_that_find_no_project_or_no_database_say_so(tmp_path: Path) -> None:
    site = Site(tmp_path / "project", PrivateMariaDB(tmp_path / "nowhere"))
    done = site.call("transitioner", "--one_pass", cwd=Path("/"))
    assert (done.returncode, "no config.xml here" in done.stderr, done.stderr.count("\n")) == (1, True, 1)
    done = site.call("transitioner", "--one_pass", cwd=site.folder)
    assert (done.returncode, "Can't connect" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def _count(connection: Connection, what: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {what}")
        (row,) = cursor.fetchall()
        return int(row[0])


def _states(connection: Connection) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT state FROM information_schema.processlist WHERE state IS NOT NULL")
        return [str(state) for (state,) in cursor.fetchall()]


def _of_database(connection: Connection) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (project.DATABASE,))
        return [int(id_) for (id_,) in cursor.fetchall()]
