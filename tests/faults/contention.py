"""Deadlocks and lock waits provoked, so that axiomd has to try again: python -m tests.faults.contention --rounds 30.

The adversaries here are not BOINC's: one holds rows for longer than axiomd waits (error 1205), one locks teams, users
and hosts in the opposite order and weighs more than axiomd's transactions (error 1213). Their own errors don't count.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import ER

from axiomd.demo import rows
from tests.faults.project import Daemon, Project
from tests.faults.proxy import Proxy
from tests.faults.run import Run, command

LONGER_THAN_AXIOMD_WAITS_S = 3.3
ENOUGH_S = 30.0  # so much longer, if axiomd has met too few deadlocks or lock waits by then
WEIGHT = 3000  # rows that the crosswise one changes first: InnoDB ends the lighter transaction


def contend(rounds: int, seed: int) -> dict[str, Any]:
    """Let each adversary do so many rounds; the summary, with the errors that axiomd met."""
    with Run(seed, tcp=True) as run, Proxy(run.project.server.port or 0) as proxy:
        daemon = Daemon(run.project.settings(database_port=proxy.port, name="proxied"), run.log)
        daemon.start()
        with run.project.connect() as connection:
            rows.execute(connection, "CREATE TABLE weight (id INT NOT NULL PRIMARY KEY, n INT NOT NULL)")
            rows.execute(connection, f"INSERT INTO weight SELECT seq, 0 FROM seq_1_to_{WEIGHT}")
        until = time.monotonic() + rounds * LONGER_THAN_AXIOMD_WAITS_S + ENOUGH_S

        def enough() -> bool:
            return proxy.errors[ER.LOCK_DEADLOCK] >= rounds or time.monotonic() > until

        def waited() -> bool:
            return proxy.errors[ER.LOCK_WAIT_TIMEOUT] > 0 or time.monotonic() > until

        adversaries = [
            threading.Thread(target=_hold, args=(run.project, rounds, waited, seed)),
            threading.Thread(target=_cross, args=(run.project, enough, seed)),
        ]
        for adversary in adversaries:
            adversary.start()
        for adversary in adversaries:
            adversary.join()
        run.check()
        daemon.stop()
        met = {"lock_waits": proxy.errors[ER.LOCK_WAIT_TIMEOUT], "deadlocks": proxy.errors[ER.LOCK_DEADLOCK]}
        found = [f"axiomd met no {kind}: this run proves nothing" for kind, count in met.items() if not count]
        return run.finish({"rounds": rounds, **met}, found)


def _hold(project: Project, rounds: int, waited: Callable[[], bool], seed: int) -> None:
    """Hold hosts, results or workunits for longer than axiomd waits: so many times, and until it has met one."""
    rng = random.Random(f"hold {seed}")
    with project.connect() as connection:
        for number in itertools.count():
            if number >= rounds and waited():
                return
            table = ("host", "result", "workunit")[number % 3]
            ids = rng.sample(project.hosts, 4) if table == "host" else _ready(connection, 30)
            with contextlib.suppress(pymysql.err.OperationalError):
                rows.execute(connection, "START TRANSACTION")
                for id_ in sorted(ids):
                    rows.select(connection, f"SELECT id FROM {table} WHERE id = %s FOR UPDATE", id_)
                time.sleep(LONGER_THAN_AXIOMD_WAITS_S)
            rows.execute(connection, "ROLLBACK")
            time.sleep(rng.uniform(0.1, 0.5))


def _ready(connection: Connection, count: int) -> list[int]:
    """Fed workunits that wait to be paid; each has its result under the same id."""
    found = rows.select(
        connection, "SELECT id FROM workunit WHERE assimilate_state = 1 AND name LIKE 'fed-%%' LIMIT %s", count
    )
    return [row["id"] for row in found]


def _cross(project: Project, enough: Callable[[], bool], seed: int) -> None:
    """Lock teams, then users, then hosts, again and again."""
    rng = random.Random(f"cross {seed}")
    with project.connect() as connection:
        while not enough():
            with contextlib.suppress(pymysql.err.OperationalError):
                rows.execute(connection, "START TRANSACTION")
                rows.execute(connection, "UPDATE weight SET n = n + 1")
                for table, ids in (("team", project.teams), ("user", project.users), ("host", project.hosts)):
                    for id_ in rng.sample(ids, len(ids)):
                        rows.select(connection, f"SELECT id FROM {table} WHERE id = %s FOR UPDATE", id_)
                        time.sleep(0.001)
            rows.execute(connection, "ROLLBACK")
            time.sleep(rng.uniform(0.0, 0.1))


def main(words: list[str] | None = None) -> int:
    """The command; gives its exit status."""
    return command("deadlocks and lock waits", {"rounds": 3}, contend, words)


if __name__ == "__main__":
    sys.exit(main())
