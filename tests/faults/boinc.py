"""BOINC at work on the same rows all the while: scheduler, transitioner, validator, the web site, and an operator.

They are the demo's stand-ins: each statement commits by itself, and none is tried again. A deadlock or a lock time-out
(errors 1213 and 1205) that one of them meets is BOINC's data lost, and so a failure of the run.
"""

from __future__ import annotations

import enum
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pymysql
from pymysql.connections import Connection
from pymysql.constants import ER

from axiomd.demo import rows, scheduler, schema, transitioner, validator
from axiomd.demo.project import APP
from axiomd.demo.scheduler import Report
from axiomd.demo.states import (
    INT_MAX,
    AssimilateState,
    ClientState,
    ExitStatus,
    Outcome,
    ServerState,
    TransitionerFlags,
    ValidateState,
    WuError,
)
from tests.faults.project import DELAY_BOUND_S, Project

HARM = (ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT)
FEW_BEHIND, MANY_BEHIND = 1000, 3000  # transitions due: then no more finished work, and no more trouble, is laid out
QUIET = 2  # hosts that hold work and are never heard of


class Fate(enum.Enum):
    """What becomes of a job on a volunteer's host."""

    SUCCESS = enum.auto()
    FAILURE = enum.auto()
    LATE = enum.auto()  # comes in past its deadline
    LOST = enum.auto()  # the transitioner overwrites the report
    NEVER = enum.auto()  # the host forgets it


HOW_OFTEN = {Fate.SUCCESS: 76, Fate.FAILURE: 8, Fate.LATE: 6, Fate.LOST: 6, Fate.NEVER: 4}


@dataclass
class Job:
    """A job on a host."""

    name: str
    fate: Fate
    due_at: float
    elapsed_s: float

    def report(self) -> Report:
        """What the client says of it."""
        if self.fate is Fate.FAILURE:
            return Report(self.name, ClientState.COMPUTE_ERROR, exit_status=1, elapsed_time=self.elapsed_s)
        return Report(self.name, elapsed_time=self.elapsed_s)


class Writer(threading.Thread):
    """A thread that does one thing again and again, and connects anew when MariaDB was away."""

    def __init__(
        self, name: str, connect: Callable[[], Connection], step: Callable[[Connection], object], pause_s: float
    ) -> None:
        super().__init__(name=name)
        self.harmed: list[str] = []
        self.failure: Exception | None = None
        self.steps = 0
        self._connect = connect
        self._step = step
        self._pause_s = pause_s
        self._stopping = threading.Event()

    def run(self) -> None:
        """Go on until `stop`."""
        connection: Connection | None = None
        try:
            while not self._stopping.wait(self._pause_s):
                try:
                    connection = connection or self._connect()
                    self._step(connection)
                    self.steps += 1
                except (pymysql.err.OperationalError, pymysql.err.InterfaceError) as error:
                    if error.args[0] in HARM:
                        self.harmed.append(f"{self.name}: {error}")
                    elif connection is not None:
                        connection.close() if connection.open else None
                        connection = None
        except Exception as error:  # noqa: BLE001 - handed to the main thread, which says what happened
            self.failure = error
        finally:
            if connection is not None and connection.open:
                connection.close()

    def stop(self) -> None:
        """End after the step in hand."""
        self._stopping.set()
        if self.ident is not None:
            self.join()


@dataclass(frozen=True)
class Load:
    """How much is laid out by the feed at a time."""

    finished: int = 200
    below: int = 400
    """Finished workunits come while fewer than this wait to be paid."""
    trouble: int = 3
    """Of each kind: tasks that hang, lost reports, and jobs without their assignment."""
    hands_s: float = 0.05
    """Seconds between two changes of hands."""


class Boinc:
    """All of them, with what they did."""

    def __init__(self, project: Project, seed: int, load: Load) -> None:
        self.done: Counter[str] = Counter()
        self.draining = False
        """No new work is given out, and what the hosts hold is reported."""
        self._project = project
        self._load = load
        self._quiet = project.hosts[:QUIET]
        self._held: dict[int, list[Job]] = {host: [] for host in project.hosts}
        self._silent_until: dict[int, float] = {}
        self._contacts = itertools.cycle(project.hosts[QUIET:])
        self._volunteers_rng, self._people_rng = (random.Random(f"{who} {seed}") for who in ("volunteers", "people"))
        self._fed = 0
        # A cancellation that comes in the middle of the validator's pass may be lost, as in BOINC: then nobody could
        # say whether the work was to be paid.
        self._no_cancelling = threading.Lock()
        self.writers = [
            Writer("scheduler", project.connect, self._contact, 0.03),
            Writer("transitioner", project.connect, self._transition, 0.15),
            Writer("validator", project.connect, self._validate, 0.15),
            Writer("web site", project.connect, self._change_hands, load.hands_s),
            Writer("operator", project.connect, self._cancel, 0.5),
            Writer("feed", project.connect, self._feed, 0.3),
        ]

    @property
    def harmed(self) -> list[str]:
        """Statements of BOINC that a lock of axiomd broke."""
        return [harm for writer in self.writers for harm in writer.harmed]

    @property
    def holds(self) -> int:
        """Jobs that hosts will still report."""
        return sum(job.fate is not Fate.NEVER for jobs in self._held.values() for job in jobs)

    def start(self) -> None:
        """Begin."""
        for writer in self.writers:
            writer.start()

    def stop(self) -> None:
        """End all."""
        for writer in self.writers:
            writer.stop()

    def _contact(self, connection: Connection) -> None:
        """One host asks the scheduler: reports what is done, and wants work."""
        host, now = next(self._contacts), time.time()
        held = self._held[host]
        if not self.draining and now < self._silent_until.get(host, 0.0):
            return
        due = [job for job in held if job.due_at <= now or (self.draining and job.fate is not Fate.NEVER)]
        reply = scheduler.request(
            connection,
            host,
            int(now),
            self._project.config,
            instances=0 if self.draining else 4,
            reports=[job.report() for job in due],
            other_results=[job.name for job in held if job not in due],
        )
        for job in due:
            held.remove(job)
            self.done[job.fate.name.lower()] += 1
            if job.fate is Fate.LOST:
                self._lose(connection, job.name)
        aborts = [Report(name, ClientState.ABORTED, ExitStatus.ABORTED_BY_PROJECT) for name in reply.result_aborts]
        if aborts:
            held[:] = [job for job in held if job.name not in reply.result_aborts]
            scheduler.request(connection, host, int(now), self._project.config, reports=aborts)
            self.done["aborted"] += len(aborts)
        held += [self._job(sent.name, now) for sent in reply.results]
        if self._volunteers_rng.random() < 0.005:
            self._silent_until[host] = now + 5.0

    def _job(self, name: str, now: float) -> Job:
        rng = self._volunteers_rng
        fate = rng.choices(list(HOW_OFTEN), list(HOW_OFTEN.values()))[0]
        takes_s = {Fate.LATE: DELAY_BOUND_S + 2.0, Fate.NEVER: float("inf")}.get(fate, rng.uniform(0.1, 3.0))
        return Job(name, fate, now + takes_s, rng.uniform(0.0, 5.0))

    @staticmethod
    def _lose(connection: Connection, name: str) -> None:
        """Write what BOINC's transitioner writes when it times out a result that is reported at that moment."""
        rows.execute(
            connection,
            "UPDATE result SET outcome = %s WHERE name = %s AND outcome = %s AND validate_state = %s",
            Outcome.NO_REPLY,
            name,
            Outcome.SUCCESS,
            ValidateState.INIT,
        )

    def _transition(self, connection: Connection) -> None:
        self.done["transitions"] += transitioner.one_pass(connection, int(time.time()), self._project.config)

    def _validate(self, connection: Connection) -> None:
        with self._no_cancelling:
            self.done["validations"] += validator.one_pass(connection, int(time.time()))

    def _change_hands(self, connection: Connection) -> None:
        """A host gets another user, a user another team or none."""
        rng = self._people_rng
        rows.update(connection, "host", rng.choice(self._project.hosts), userid=rng.choice(self._project.users))
        rows.update(connection, "user", rng.choice(self._project.users), teamid=rng.choice([*self._project.teams, 0]))
        self.done["changed_hands"] += 2

    def _cancel(self, connection: Connection) -> None:
        """The operator cancels a workunit that has no canonical result."""
        if self.draining:
            return
        with self._no_cancelling:
            found = rows.select_one(
                connection,
                "SELECT workunitid AS id FROM result WHERE server_state = %s ORDER BY id DESC LIMIT 1",
                ServerState.IN_PROGRESS,
            )
            if found is not None:
                self.done["cancelled"] += rows.execute(
                    connection,
                    "UPDATE workunit SET error_mask = error_mask | %s, transition_time = %s"
                    " WHERE id = %s AND canonical_resultid = 0 AND assimilate_state = 0",
                    WuError.CANCELLED,
                    int(time.time()),
                    found["id"],
                )

    def _feed(self, connection: Connection) -> None:
        """Lay out finished workunits, so that there is always something to pay, and trouble for the other handlers."""
        if self.draining:
            return
        behind = _count(connection, "transition_time < %s", int(time.time()) - 1)
        ready = _count(connection, "assimilate_state = %s", AssimilateState.READY)
        if ready < self._load.below and behind < FEW_BEHIND:
            lay_out(connection, self._numbers(self._load.finished), finished(self._project.hosts))
            self.done["finished"] += self._load.finished
        if behind > MANY_BEHIND:
            return
        for trouble in (hanging(self._quiet), lost(self._project.hosts), orphaned()):
            lay_out(connection, self._numbers(self._load.trouble), trouble)
            self.done["trouble"] += self._load.trouble

    def _numbers(self, count: int) -> range:
        """The next ids; should it fail, these stay unused."""
        self._fed += count
        return range(self._fed - count + 1, self._fed + 1)


def _count(connection: Connection, condition: str, value: int) -> int:
    return int(rows.select(connection, f"SELECT COUNT(*) AS n FROM workunit WHERE {condition}", value)[0]["n"])


@dataclass(frozen=True)
class Layout:
    """Columns of workunits and of their results, as SQL expressions of `seq`, the id of both."""

    workunit: dict[str, object]
    result: dict[str, object] | None


def finished(hosts: Sequence[int]) -> Layout:
    """Workunits with one valid result each, as the validator leaves them."""
    workunit = {"canonical_resultid": "seq", "transition_time": INT_MAX, "assimilate_state": int(AssimilateState.READY)}
    return Layout(
        workunit, {**_reported(hosts), "outcome": int(Outcome.SUCCESS), "validate_state": int(ValidateState.VALID)}
    )


def lost(hosts: Sequence[int]) -> Layout:
    """Successes that the transitioner overwrote."""
    return Layout({"transition_time": INT_MAX}, {**_reported(hosts), "outcome": int(Outcome.NO_REPLY)})


def hanging(hosts: Sequence[int]) -> Layout:
    """Tasks that were sent to these hosts and never come back."""
    now = int(time.time())
    result = {"server_state": int(ServerState.IN_PROGRESS), "hostid": _one_of(hosts)}
    times = {"sent_time": now - 10, "report_deadline": now + 1000}
    return Layout({"transition_time": now + 1000}, {**result, **times})


def orphaned() -> Layout:
    """Targeted jobs without their assignment."""
    flags = int(TransitionerFlags.NO_NEW_RESULTS)
    return Layout({"transition_time": INT_MAX, "transitioner_flags": flags}, None)


def _reported(hosts: Sequence[int]) -> dict[str, object]:
    """A success that came in just now.

    What the server saw pass and what the client claims differ: now one is the longer, now the other.
    """
    now = int(time.time())
    return {
        "server_state": int(ServerState.OVER),
        "client_state": int(ClientState.FILES_UPLOADED),
        "hostid": _one_of(hosts),
        "sent_time": f"{now} - MOD(seq * 131, 500)",
        "elapsed_time": "MOD(seq * 17, 450)",
        "received_time": now,
        "report_deadline": now + 1000,
    }


def _one_of(ids: Sequence[int]) -> str:
    return f"ELT(1 + MOD(seq * 7919, {len(ids)}), {', '.join(map(str, ids))})"


def lay_out(connection: Connection, numbers: range, layout: Layout) -> None:
    """Make workunits with these ids, each with its result, inside the server.

    All in one transaction, so that no workunit is ever seen without its result. The ids that the server gives by itself
    begin far behind.
    """
    now = int(time.time())
    rows.execute(connection, "START TRANSACTION")
    if layout.result is not None:
        result = {"create_time": now, "workunitid": "seq", "name": "CONCAT('fed-v1-b0-s', seq, '_0')", **layout.result}
        _fill(connection, "result", numbers, {"app_version_id": 1, **result})
    limits = {"min_quorum": 1, "target_nresults": 1, "max_error_results": 3, "max_total_results": 6}
    name = {"name": "CONCAT('fed-v1-b0-s', seq)", "result_template_file": f"'templates/{APP}_out'"}
    times = {"create_time": now - 10, "delay_bound": DELAY_BOUND_S, "mod_time": f"FROM_UNIXTIME({now - 10})"}
    _fill(connection, "workunit", numbers, {**limits, **name, **times, **layout.workunit})
    rows.execute(connection, "COMMIT")


def _fill(connection: Connection, table: str, numbers: range, expressions: Mapping[str, object]) -> None:
    """Make rows inside the server: SQL expressions of `seq` by column, zero or empty the others."""
    columns: dict[str, object] = {}
    for column in schema.tables()[table]["columns"]:
        name, text = column["name"], any(kind in column["type"] for kind in ("char", "text", "blob"))
        if not column["null"] and "default" not in column and "extra" not in column:
            columns[name] = "''" if text else "0"
    columns |= {"id": "seq", "appid": 1, "size_class": -1, **expressions}
    places = ", ".join(map(str, columns.values()))
    rows.execute(
        connection,
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {places} FROM seq_{numbers[0]}_to_{numbers[-1]}",
    )
