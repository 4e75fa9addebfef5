"""What goes wrong in the demo, on purpose and by a schedule that a seed repeats."""

from __future__ import annotations

import enum
import random
import time
from collections import Counter
from collections.abc import Sequence

from pymysql.connections import Connection

from axiomd.demo import create_work, rows
from axiomd.demo.config import Config
from axiomd.demo.project import APP
from axiomd.demo.states import Outcome, Target, TransitionerFlags, ValidateState
from experiments.kit.naming import WorkunitName, parse_workunit_name

TEN_DAYS_S = 10 * 86400


class Fault(enum.StrEnum):
    """The kinds of faults."""

    SILENT_HOST = enum.auto()  # holds work and never comes back
    LATE_HOST = enum.auto()  # holds work, comes back late and reports
    FAILING_HOST = enum.auto()  # fails every job
    CHEATING_HOST = enum.auto()  # changes the numbers of its outputs
    ORPHANED_FLAGS = enum.auto()  # a targeted job without its assignment
    DEAD_TARGET = enum.auto()  # a targeted job for a host that is gone
    STALLED_WORKUNIT = enum.auto()  # a job that needs a result, and whose transition lies far ahead
    CRASHED_JOB = enum.auto()  # a client error with a traceback
    EMPTY_OUTPUT = enum.auto()  # a success whose output file has no bytes
    ABSURD_ELAPSED = enum.auto()  # a success that claims to have taken a year
    LOST_REPORT = enum.auto()  # a success that the transitioner overwrote


_OF_HOSTS = (Fault.SILENT_HOST, Fault.LATE_HOST)
_OF_ROWS = (Fault.ORPHANED_FLAGS, Fault.DEAD_TARGET, Fault.STALLED_WORKUNIT)
_OF_JOBS = (Fault.CRASHED_JOB, Fault.EMPTY_OUTPUT, Fault.ABSURD_ELAPSED, Fault.LOST_REPORT)

# Seconds after the start within which each kind comes for the first time, and until it comes again.
FIRST_S = (1.0, 5.0)
AGAIN_S = (8.0, 16.0)


class Faults:
    """The schedule, and what was injected so far.

    It belongs to the volunteers' thread; `lose_report` alone is called elsewhere, by whom holds the transitioner back.
    """

    def __init__(self, config: Config, inputs: Sequence[tuple[str, str]], gone_host: int, seed: int) -> None:
        """`inputs` are the experiments and the names of their input files; `gone_host` is one that left long ago."""
        self.injected: Counter[Fault] = Counter()
        self._config = config
        self._inputs = inputs
        self._gone_host = gone_host
        self._rng = random.Random(f"faults {seed}")
        self._due_at: dict[Fault, float] = {}
        self._for_jobs: list[Fault] = []

    def start(self) -> None:
        """Begin the schedule now."""
        now = time.monotonic()
        self._due_at = {fault: now + self._rng.uniform(*FIRST_S) for fault in (*_OF_HOSTS, *_OF_ROWS, *_OF_JOBS)}

    def stop(self) -> None:
        """Nothing goes wrong any more on purpose."""
        self._due_at = {}
        self._for_jobs = []

    def due(self, fault: Fault) -> bool:
        """Whether it is time for a fault."""
        return time.monotonic() >= self._due_at.get(fault, float("inf"))

    def count(self, fault: Fault) -> None:
        """Note that a fault was injected; a host's comes only once."""
        self.injected[fault] += 1
        self._due_at.pop(fault, None)

    def step(self, connection: Connection) -> None:
        """Do what is due."""
        for fault in (*_OF_ROWS, *_OF_JOBS):
            if not self.due(fault):
                continue
            self._due_at[fault] = time.monotonic() + self._rng.uniform(*AGAIN_S)
            if fault in _OF_JOBS:
                self._for_jobs.append(fault)
            else:
                self._spoil_rows(connection, fault)
                self.injected[fault] += 1

    def take_for_job(self) -> Fault | None:
        """The fault of a job that has just ended well, if one is waiting for a job."""
        if not self._for_jobs:
            return None
        fault = self._for_jobs.pop(0)
        if fault is not Fault.LOST_REPORT:
            self.injected[fault] += 1
        return fault

    def lose_report(self, connection: Connection, result_id: int) -> None:
        """Write what BOINC's transitioner writes when it times out a result that is reported at that moment."""
        self.injected[Fault.LOST_REPORT] += rows.execute(
            connection,
            "UPDATE result SET outcome = %s WHERE id = %s AND outcome = %s AND validate_state = %s",
            Outcome.NO_REPLY,
            result_id,
            Outcome.SUCCESS,
            ValidateState.INIT,
        )

    def _spoil_rows(self, connection: Connection, fault: Fault) -> None:
        match fault:
            case Fault.ORPHANED_FLAGS:
                if not self._delete_assignment(connection):
                    workunit = self._create_work(connection, "--target_host", str(self._gone_host))
                    self._delete_assignments_of(connection, workunit)
            case Fault.DEAD_TARGET:
                self._create_work(connection, "--target_host", str(self._gone_host))
            case Fault.STALLED_WORKUNIT:
                # made as a targeted job, so that the transitioner leaves it alone until it is spoilt
                workunit = self._create_work(connection, "--target_host", str(self._gone_host))
                self._delete_assignments_of(connection, workunit)
                rows.update(
                    connection,
                    "workunit",
                    workunit,
                    transitioner_flags=TransitionerFlags.NORMAL,
                    transition_time=int(time.time()) + TEN_DAYS_S,
                )

    def _delete_assignment(self, connection: Connection) -> bool:
        """Take its assignment from a healthy targeted job that waits for its host."""
        waiting = rows.select_one(
            connection,
            "SELECT assignment.id FROM assignment JOIN workunit ON workunit.id = workunitid"
            " LEFT JOIN result ON result.workunitid = workunit.id"
            " WHERE target_type = %s AND target_id <> %s AND transitioner_flags = %s AND result.id IS NULL"
            " ORDER BY assignment.id DESC LIMIT 1",
            Target.HOST,
            self._gone_host,
            TransitionerFlags.NO_NEW_RESULTS,
        )
        return waiting is not None and bool(
            rows.execute(connection, "DELETE FROM assignment WHERE id = %s", waiting["id"])
        )

    @staticmethod
    def _delete_assignments_of(connection: Connection, workunit: int) -> None:
        """Delete by primary key, as BOINC does: without an index on workunitid each row looked at would be locked."""
        found = rows.select(connection, "SELECT id FROM assignment WHERE workunitid = %s", workunit)
        for assignment in found:
            rows.execute(connection, "DELETE FROM assignment WHERE id = %s", assignment["id"])

    def _create_work(self, connection: Connection, *words: str) -> int:
        """Make a workunit as an operator would, and give its id."""
        experiment, input_name = self._rng.choice(self._inputs)
        version = self._version(connection, experiment)
        name = str(WorkunitName(experiment, version, "demo", self._rng.getrandbits(31)))
        line = create_work.parse(["--appname", APP, "--wu_name", name, *words, input_name])
        create_work.Maker(connection, self._config, line, int(time.time())).make([])
        workunit = rows.select_one(connection, "SELECT id FROM workunit WHERE name = %s", name)
        return int(workunit["id"]) if workunit else 0

    @staticmethod
    def _version(connection: Connection, experiment: str) -> int:
        """The version of an experiment that axiomd deploys."""
        deployed = rows.select_one(
            connection, "SELECT name FROM workunit WHERE name LIKE %s ORDER BY id DESC LIMIT 1", f"{experiment}-v%"
        )
        name = parse_workunit_name(deployed["name"]) if deployed else None
        return name.version if name else 1
