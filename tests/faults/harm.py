"""No harm to BOINC: its single statements on the rows that every handler of axiomd works on, at full load.

    python -m tests.faults.harm --statements 200000 --seed 7

Each statement commits by itself and is never tried again, as in BOINC: none of them may meet error 1213 or 1205.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import ER

from axiomd.demo import rows
from axiomd.demo.project import DATABASE
from tests.faults.boinc import HARM, QUIET, Load
from tests.faults.project import FIRST_ID
from tests.faults.run import Run, command

WRITERS = 4
START_S = 30.0
LOAD = Load(finished=1000, below=2000, trouble=12, hands_s=1.0)
NEAR = 3000  # statements on results and workunits go to one of so many that were laid out last
# The batches of a real project, for they decide how many rows are locked at a time.
BATCHES = {"AXIOMD_CREDIT__BATCH": "2500"}


HANDLERS = {"credit", "abort", "repair", "topup"}

# Statements as BOINC's programs run them. They change nothing by which axiomd decides, for what was paid is judged too;
# but they move what stands in the indexes that axiomd's own changes move.
KINDS = {
    "scheduler: host": "UPDATE host SET rpc_time = %(now)s, rpc_seqno = rpc_seqno + 1 WHERE id = %(host)s",
    "scheduler: quota": "UPDATE host SET timezone = timezone + 1, on_frac = %(random)s WHERE id = %(host)s",
    "scheduler: report": "UPDATE result SET cpu_time = %(random)s, stderr_out = 'x', client_state = 5"
    " WHERE id = %(row)s",
    "scheduler: workunits": "UPDATE workunit SET rsc_bandwidth_bound = rsc_bandwidth_bound + 1"
    " WHERE id IN (%(row)s, %(row)s - 3, %(row)s - 9)",
    "scheduler: priority": "UPDATE result SET priority = 1 - priority WHERE id = %(row)s",
    "scheduler: assignment": "DELETE FROM assignment WHERE id = %(assignment)s",
    "create_work: assignment": "INSERT INTO assignment"
    " (create_time, target_id, target_type, multi, workunitid, resultid) VALUES (%(now)s, 0, 1, 1, 0, 0)",
    "transitioner: workunit": "UPDATE workunit SET transition_time = IF(transition_time = 2147483647, 2147483646,"
    " IF(transition_time = 2147483646, 2147483647, transition_time)) WHERE id = %(row)s",
    "transitioner: result": "UPDATE result SET file_delete_state = 1 - file_delete_state WHERE id = %(row)s",
    "validator: host": "UPDATE host SET avg_turnaround = %(random)s WHERE id = %(host)s",
    "validator: result": "UPDATE result SET opaque = %(random)s, runtime_outlier = 0 WHERE id = %(row)s",
    "validator: workunit": "UPDATE workunit SET canonical_credit = %(random)s WHERE id = %(row)s",
    "validator: user": "UPDATE user SET total_credit = total_credit + 0, seti_nresults = 1 + seti_nresults"
    " WHERE id = %(user)s",
    "validator: team": "UPDATE team SET total_credit = total_credit + 0, nusers = nusers + 1 WHERE id = %(team)s",
}


@dataclass
class Harm:
    """What one process of writers met."""

    errors: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    by_kind: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Target:
    """Whom a process writes to."""

    socket: str
    hosts: list[int]
    users: list[int]
    teams: list[int]


def write(target: Target, statements: int, seed: int) -> Harm:
    """Run so many statements, one by one."""
    rng = random.Random(f"harm {seed}")
    harm = Harm()
    connection = pymysql.connect(unix_socket=target.socket, user="root", database=DATABASE, autocommit=True)
    newest = assignment = 0
    with connection, connection.cursor() as cursor:
        for number in range(statements):
            if number % 500 == 0:
                newest = _newest(connection)
            kind = rng.choice(list(KINDS))
            values = {
                "host": rng.choice(target.hosts),
                "user": rng.choice(target.users),
                "team": rng.choice(target.teams),
                "row": rng.randint(max(1, newest - NEAR), max(1, newest)),
                "now": int(time.time()),
                "random": rng.random(),
                "assignment": assignment,
            }
            started = time.perf_counter()
            try:
                cursor.execute(KINDS[kind], values)
                assignment = cursor.lastrowid or assignment
            except pymysql.err.OperationalError as error:
                if error.args[0] not in HARM:
                    raise
                harm.errors.append(f"{kind}: {error}")
            harm.seconds.append(time.perf_counter() - started)
            harm.by_kind[kind] += 1
    return harm


def _newest(connection: Connection) -> int:
    found = rows.select(connection, "SELECT MAX(id) AS id FROM result WHERE id < %s", FIRST_ID)
    return int(found[0]["id"] or 1)


def harm(statements: int, seed: int) -> dict[str, Any]:
    """Let the writers run while every handler is busy; the summary."""
    with Run(seed, load=LOAD) as run:
        project = run.project
        daemon = run.daemon(**BATCHES)
        daemon.start()
        run.wait_for_change(START_S)
        target = Target(str(project.server.socket), project.hosts[QUIET:], project.users, project.teams)
        with ProcessPoolExecutor(WRITERS, multiprocessing.get_context("spawn")) as pool:
            parts = [pool.submit(write, target, statements // WRITERS, seed + number) for number in range(WRITERS)]
            while not all(part.done() for part in parts):
                time.sleep(0.2)
                run.check()
                _ = daemon.process  # it lives
            harms = [part.result() for part in parts]
        changes = run.changes()
        daemon.stop()
        found = [error for part in harms for error in part.errors]
        found += [f"no {kind} while the writers ran: this proves nothing" for kind in HANDLERS - changes.keys()]
        return run.finish({**_figures(harms), "during": changes}, found)


def _figures(harms: list[Harm]) -> dict[str, Any]:
    """Statements, errors, and how long the statements took."""
    seconds = sorted(second for part in harms for second in part.seconds)
    errors = Counter(error.split("(")[1].split(",")[0] for part in harms for error in part.errors)
    return {
        "statements": len(seconds),
        "deadlocks": errors[str(ER.LOCK_DEADLOCK)],
        "lock_waits": errors[str(ER.LOCK_WAIT_TIMEOUT)],
        "p50_ms": round(1000 * seconds[len(seconds) // 2], 2),
        "p99_ms": round(1000 * seconds[int(len(seconds) * 0.99)], 2),
        "longest_ms": round(1000 * seconds[-1], 1),
        "by_kind": dict(sum((part.by_kind for part in harms), Counter())),
    }


def main(words: list[str] | None = None) -> int:
    """The command; gives its exit status."""
    return command("no harm to BOINC", {"statements": 20_000}, harm, words)


if __name__ == "__main__":
    sys.exit(main())
