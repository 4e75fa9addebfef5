"""A BOINC project for the faults: a MariaDB of its own, BOINC's tables with hosts in them, and axiomd's settings."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pymysql
from pymysql.connections import Connection

from axiomd.demo import children, project, rows, schema
from axiomd.demo.mariadb import PrivateMariaDB
from axiomd.demo.operations import free_port

HOSTS, USERS, TEAMS = 24, 8, 3
DELAY_BOUND_S = 6
EXPERIMENT = "micro_scaling_laws"
VERSION = 901
"""None that the catalogue has: volunteers report without output files, which are not missed then."""
INPUT = "wu_faults.json"
USER = "axiomd"
"""The daemon's user in MariaDB: so its transactions can be told from BOINC's."""
LEASE_S = 2.5
FIRST_ID = 10_000_000
"""Ids of workunits and results that the server gives begin here; below is room for what a run lays out itself."""

TIERS = ((0, 1.0), (1, 1.5), (2, 2.25), (3, 4.125), (60, 7.0), (300, 12.75))
FAILURES = {1: 0.5}
FAILURE_MIN_S = 1

SETTINGS = f"""\
[project]
dir = "{{folder}}"
apps = ["{project.APP}"]

[database]
{{where}}
user = "{{user}}"
connect_timeout_s = 2.0

[intake]
interval_s = 0.1
late_interval_s = 0.5
overlap_s = 5.0

[credit]
policy = "tiers"
tiers = {[list(tier) for tier in TIERS]}
failures = {{{{ {", ".join(f"{status} = {credit}" for status, credit in FAILURES.items())} }}}}
failure_min_s = {FAILURE_MIN_S}
cap = 1e9
host_day_cap = 1e9
batch = 10

[hosts]
live_after_contact_s = 60.0
dead_after_s = 3600.0
interval_s = 1.0

[abort]
interval_s = 0.5
stuck_after_s = 4.0
silent_after_s = 4.0
ceiling_s = 12.0
stuck_delay_bounds = 0.2
silent_delay_bounds = 0.2
cap = 100000

[repair]
interval_s = 0.5
min_age_s = 1.0
stalled_after_s = 30.0
cap = 100000

[topup]
interval_s = 0.5
jobs_per_core = 2.0
max_jobs_per_core = 3.0
cap = 100000
timeout_s = 20.0

[experiments.{EXPERIMENT}]
version = {VERSION}
target = 1000000
memory = 100000000
inputs = ["{INPUT}"]

[http]
port = {{port}}

[log]
format = "json"

[daemon]
stop_timeout_s = 2.0
status_interval_s = 2.0
lease_s = {LEASE_S}
"""

# Who owned a host or user at the very moment at which credit was added to it: a witness that axiomd knows nothing of.
WITNESS = """
CREATE TABLE witness (
  serial BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  kind TINYINT NOT NULL COMMENT '1 host, 2 user, 3 team',
  id INT NOT NULL,
  owner INT NOT NULL COMMENT 'user of the host, team of the user',
  credit DOUBLE NOT NULL
) ENGINE=InnoDB;
CREATE TRIGGER host_paid AFTER UPDATE ON host FOR EACH ROW IF NEW.total_credit <> OLD.total_credit THEN
  INSERT INTO witness VALUES (NULL, 1, NEW.id, NEW.userid, NEW.total_credit - OLD.total_credit); END IF;
CREATE TRIGGER user_paid AFTER UPDATE ON user FOR EACH ROW IF NEW.total_credit <> OLD.total_credit THEN
  INSERT INTO witness VALUES (NULL, 2, NEW.id, NEW.teamid, NEW.total_credit - OLD.total_credit); END IF;
CREATE TRIGGER team_paid AFTER UPDATE ON team FOR EACH ROW IF NEW.total_credit <> OLD.total_credit THEN
  INSERT INTO witness VALUES (NULL, 3, NEW.id, 0, NEW.total_credit - OLD.total_credit); END IF
"""


class FaultError(Exception):
    """A run can't go on: something died that must not, or never came."""


class Project:
    """The project's folder, database, hosts and settings."""

    def __init__(self, folder: Path, seed: int, *, tcp: bool = False) -> None:
        """With `tcp` the server listens on a port as well."""
        self.folder = folder
        self.rng = random.Random(f"project {seed}")
        self.server = PrivateMariaDB(folder / "mariadb", port=free_port() if tcp else None)
        self.server.start()
        self.config = project.make_folder(folder / "project", self.server, delay_bound=DELAY_BOUND_S)
        project.make_database(self.server)
        project.stage_file(self.config, INPUT, {"experiment": EXPERIMENT})
        with self.connect() as connection:
            for user in (USER, f"{USER}_a", f"{USER}_b"):
                rows.execute(connection, f"CREATE USER {user}")
                rows.execute(connection, f"GRANT ALL ON *.* TO {user}")
            for table in ("workunit", "result"):
                rows.execute(connection, f"ALTER TABLE {table} AUTO_INCREMENT = {FIRST_ID}")
            self.teams = [self._team(connection, number) for number in range(TEAMS)]
            self.users = [self._user(connection, number) for number in range(USERS)]
            self.hosts = [self._host(connection) for _ in range(HOSTS)]
            self.openings = self.totals(connection)
            self.axiomd("migrate")
            time.sleep(1.0)  # received_time is whole seconds: what comes in is to come in after the baseline
            for statement in WITNESS.split(";\nCREATE"):
                words = statement if statement.startswith("\nCREATE") else f"CREATE{statement}"
                rows.execute(connection, words)

    def connect(self) -> Connection:
        """Connect as BOINC's programs do: every statement commits by itself."""
        return self.server.connect(project.DATABASE)

    def settings(self, *, database_port: int = 0, http_port: int = 0, name: str = "axiomd", user: str = USER) -> Path:
        """Write a settings file: by the unix socket, or by a TCP port of the database."""
        where = (
            f'host = "127.0.0.1"\nport = {database_port}' if database_port else f'unix_socket = "{self.server.socket}"'
        )
        path = self.folder / f"{name}.toml"
        text = SETTINGS.format(folder=self.config.project_dir, where=where, user=user, port=http_port)
        path.write_text(text, encoding="utf-8")
        return path

    def axiomd(self, *words: str) -> str:
        """Run a command of axiomd to its end; what it printed. Raises FaultError where it could not run."""
        command = [sys.executable, "-m", "axiomd", *words, "--config", str(self.settings(name="commands"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode > 1:
            raise FaultError(f"axiomd {' '.join(words)} ended with exit status {done.returncode}: {done.stderr}")
        return done.stdout

    def audit(self) -> dict[str, Any]:
        """What `axiomd audit` says."""
        answer: dict[str, Any] = json.loads(self.axiomd("audit", "--json"))
        return answer

    def totals(self, connection: Connection) -> dict[tuple[str, int], float]:
        """total_credit of each host, user and team."""
        return {
            (table, int(row["id"])): float(row["total_credit"])
            for table in ("host", "user", "team")
            for row in rows.select(connection, f"SELECT id, total_credit FROM {table}")
        }

    def _team(self, connection: Connection, number: int) -> int:
        return schema.insert(connection, "team", name=f"Team {number}", name_lc=f"team {number}", total_credit=1000.25)

    def _user(self, connection: Connection, number: int) -> int:
        unique = f"volunteer{number}"
        who = {"email_addr": unique, "name": unique, "authenticator": unique}
        return schema.insert(connection, "user", teamid=self.rng.choice([*self.teams, 0]), total_credit=100.5, **who)

    def _host(self, connection: Connection) -> int:
        return schema.insert(
            connection,
            "host",
            userid=self.rng.choice(self.users),
            rpc_time=int(time.time()),
            total_credit=10.125,
            p_ncpus=4,
            p_fpops=4e9,
            m_nbytes=16e9,
            d_free=1e12,
        )


class Daemon:
    """`axiomd run` as a process, that can be killed, stopped for a while, and started again."""

    def __init__(self, settings: Path, log: Path, **environment: str) -> None:
        """`environment` overrides settings."""
        self.log = log
        self._settings = settings
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait for nothing."""
        command = [sys.executable, "-m", "axiomd", "run", "--config", str(self._settings)]
        with self.log.open("ab") as log:
            self._process = children.start(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process. Raises FaultError where it isn't running."""
        if self._process is None:
            raise FaultError("the daemon was not started")
        if (status := self._process.poll()) is not None:
            raise FaultError(f"the daemon ended by itself with exit status {status}: see {self.log}")
        return self._process

    @property
    def pid(self) -> int:
        """Its process id; 0 where it isn't running."""
        return self._process.pid if self._process is not None else 0

    @property
    def makes_work(self) -> bool:
        """Whether it runs create_work at this moment."""
        return bool(psutil.Process(self.process.pid).children())

    def kill(self, *, with_children: bool = True) -> None:
        """End it by SIGKILL; `with_children` what it started too, as when the whole machine dies."""
        process = self.process
        if with_children:
            children.kill(process)
        else:
            process.kill()
            process.wait()
        self._process = None

    def pause(self) -> None:
        """Let it hang (SIGSTOP) until `resume`."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it in good order."""
        status = children.stop(self.process, 10.0)
        self._process = None
        if status:
            raise FaultError(f"the daemon ended with exit status {status} when it was told to stop: see {self.log}")

    def complaints(self) -> Counter[str]:
        """What the log says of level error, and tracebacks, counted."""
        found: Counter[str] = Counter()
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Traceback"):
                found[line] += 1
            elif line.startswith("{"):
                entry = json.loads(line)
                if entry.get("level") in ("error", "critical"):
                    found[f"{entry['event']}: {entry.get('error', '')}"] += 1
        return found


def wait_until(holds: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Wait until it holds; the seconds that it took. Raises FaultError when the time is over."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > timeout_s:
            raise FaultError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.01)
    return time.monotonic() - started


def transactions_under_way(connection: Connection) -> int:
    """Transactions of the daemon that have locked or changed something and aren't committed."""
    try:
        found = rows.select_one(
            connection,
            "SELECT COUNT(*) AS n FROM information_schema.innodb_trx t JOIN information_schema.processlist p"
            " ON p.id = t.trx_mysql_thread_id"
            f" WHERE p.user LIKE '{USER}%%' AND t.trx_rows_locked + t.trx_rows_modified > 0",
        )
    except pymysql.MySQLError:
        return 0
    return int(found["n"]) if found else 0
