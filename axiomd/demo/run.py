"""One run of the demo, from the empty folder to the summary."""

from __future__ import annotations

import json
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pymysql

from axiomd.demo import children, fleet, operations, project, rows
from axiomd.demo.boinc import BoincDaemons, BoincError
from axiomd.demo.config import Config
from axiomd.demo.faults import Fault, Faults
from axiomd.demo.fleet import Role
from axiomd.demo.mariadb import MariaDBError, PrivateMariaDB
from axiomd.demo.operations import Axiomd, Metrics, OperationError
from axiomd.demo.states import ServerState
from axiomd.demo.volunteers import Volunteer, Volunteers
from axiomd.demo.workshop import Workshop

TICK_S = 0.25
LOOK_S = 1.0
SETTLE_S = 5.0  # of the duration: no new work is handed out, and what is finished gets paid
SETTLE_SHARE = 0.2  # ... but never more than this share of it
SAMPLE_AFTER_S = 15.0  # before that the fleet is still being filled
JOB_BUDGET_S = 20.0

# An interrupted demo is gone within five seconds: how long the last reports and the two servers may take then, and
# how long they may take otherwise.
REPORT_TIMEOUT_S, STOP_TIMEOUT_S = 30.0, 10.0
HURRIED_REPORT_TIMEOUT_S, HURRIED_STOP_TIMEOUT_S = 3.0, 0.6

REPORT = "report.json"
NO_ANSWER = "`axiomd audit` gave no answer in time"


class DemoError(Exception):
    """The demo could not run, or something of it died; the message says what and where to look."""


class Interrupted(DemoError):  # noqa: N818 - it says what happened, and nothing went wrong
    """Ctrl-C came before there was anything to sum up, or came twice."""


@dataclass(frozen=True)
class Options:
    """What the demo was asked for."""

    duration_s: float
    seed: int
    hosts: int
    scale: float
    keep: bool
    folder: Path | None
    http_port: int
    mqtt_port: int
    report: Path | None = None


@dataclass
class State:
    """What a view shows."""

    elapsed_s: float = 0.0
    hosts_live: int = 0
    cores_usable: int = 0
    cores_busy: int = 0
    results_unsent: int = 0
    results_in_progress: int = 0
    jobs_computed: int = 0
    jobs_replayed: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    events_per_s: float = 0.0


@dataclass
class Crew:
    """What moves beside axiomd and BOINC's daemons: the volunteers, where they compute, and what goes wrong."""

    volunteers: Volunteers
    workshop: Workshop
    faults: Faults


class Demo:
    """Builds everything, lets it run, and takes it down again."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        """`say` is given a line for a person now and then."""
        self.options = options
        self.say = say
        self.started_at = time.monotonic()
        self.stopping = threading.Event()
        self.hurried = False
        self.state = State()
        self.folder = self._make_folder()
        self.project_dir = self.folder / "project"
        self.settings = self.folder / "axiomd.toml"
        port = options.http_port or operations.free_port()
        self.axiomd = Axiomd(self.settings, self.folder / "axiomd.log", port)
        self.server = PrivateMariaDB(self.folder / "mariadb")
        self.boinc = BoincDaemons(self.project_dir)
        self._crew: Crew | None = None
        self._idle_samples: list[float] = []
        self._connections: list[pymysql.connections.Connection] = []

    @property
    def metrics_url(self) -> str:
        """Where axiomd's metrics are."""
        return f"http://127.0.0.1:{self.axiomd.port}/metrics"

    def run(self, watch: Callable[[State], None]) -> dict[str, Any]:
        """Run the demo and give its summary; `watch` sees the state four times a second. Raises DemoError."""
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, self._interrupt)
        keep = True  # for a look, unless it ends well
        try:
            self._build()
            self._watch_until(self._ends_at(), watch)
            summary = self._finish()
            keep = not summary["audit"]["ok"] and summary["audit"]["problems"] != [NO_ANSWER]
        except Interrupted:
            keep = False
            raise
        except (DemoError, MariaDBError, OperationError, BoincError, pymysql.MySQLError, OSError) as error:
            if self.hurried:  # then everything was killed, and something had to fail
                keep = False
                raise Interrupted("ended at once, without a summary") from error
            raise DemoError(str(error)) from error
        finally:
            self._take_down(keep=keep or self.options.keep)
        return summary

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        """The first Ctrl-C ends the demo in good order; a second one leaves no process, and no summary."""
        if self.stopping.is_set():
            self.hurried = True
            children.kill_all()
        self.stopping.set()

    # Building

    def _make_folder(self) -> Path:
        try:
            if self.options.folder is None:
                return Path(tempfile.mkdtemp(prefix="axiomd-demo-"))
            folder = self.options.folder.absolute()
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise DemoError(f"{folder} isn't empty: name another folder with --folder.")
        except OSError as error:
            raise DemoError(f"{error.filename}: {error.strerror}") from error
        return folder

    def _build(self) -> None:
        self.server.start()
        config = project.make_folder(
            self.project_dir, self.server, delay_bound=operations.DELAY_BOUND_S, memory=operations.JOB_MEMORY
        )
        project.make_database(self.server)
        for experiment in operations.EXPERIMENTS:
            content = {"experiment": experiment, "scale": self.options.scale, "budget_s": JOB_BUDGET_S}
            project.stage_file(config, operations.input_name(experiment), content)
        operations.write_settings(
            self.settings,
            folder=self.project_dir,
            socket_path=self.server.socket,
            port=self.axiomd.port,
            mqtt_port=self.options.mqtt_port,
        )
        self.axiomd.migrate(self.stopping)
        self._stop_if_asked()
        self._crew = self._engage_crew(config)
        self.boinc.start()
        self._crew.volunteers.start()
        self.axiomd.start(self.stopping)
        self._stop_if_asked()
        self.say(f"axiomd looks after them; metrics at {self.metrics_url}, its log at {self.axiomd.log}")
        kept = f"; it is kept in {self.folder / REPORT}" if self.options.keep else ""
        self.say(f"the report comes at the end{kept}")
        self._crew.faults.start()

    def _engage_crew(self, config: Config) -> Crew:
        seed = self.options.seed
        rng = random.Random(seed)
        specs = fleet.draw(self.options.hosts, rng)
        ids, gone = fleet.enrol(self._connect(), specs, int(time.time()))
        hosts = [
            Volunteer(host, spec, spec.usable_cores(operations.JOB_MEMORY, operations.MEMORY_SHARE))
            for host, spec in zip(ids, specs, strict=True)
        ]
        self.say(f"{len(hosts)} hosts with {sum(spec.ncpus for spec in specs)} cores, seed {seed}")
        inputs = [(name, operations.input_name(name)) for name in operations.EXPERIMENTS]
        faults = Faults(config, inputs, gone, seed)
        workshop = Workshop(self.folder / "slots", config, seed=seed)
        return Crew(Volunteers(self._connect, config, hosts, workshop, faults, rng), workshop, faults)

    def _stop_if_asked(self) -> None:
        if self.stopping.is_set():
            raise Interrupted("ended before it had begun")

    def _connect(self) -> pymysql.connections.Connection:
        connection = self.server.connect(project.DATABASE)
        self._connections.append(connection)
        return connection

    # Running

    def _ends_at(self) -> float:
        """When work stops being handed out; never without a duration."""
        if not self.options.duration_s:
            return float("inf")
        settle_s = min(SETTLE_S, SETTLE_SHARE * self.options.duration_s)
        return self.started_at + self.options.duration_s - settle_s

    def _watch_until(self, end: float, watch: Callable[[State], None]) -> None:
        connection = self._connect()
        next_look = 0.0
        while time.monotonic() < end and not self.stopping.wait(TICK_S):
            crew = self._checked_crew()
            if time.monotonic() >= next_look:
                self.boinc.check()
                self._look(connection)
                next_look = time.monotonic() + LOOK_S
            self._sample(crew)
            watch(self.state)

    def _checked_crew(self) -> Crew:
        """The crew; raises DemoError or OperationError if the volunteers, or axiomd, have died."""
        self.axiomd.check()
        if self._crew is None:
            raise DemoError("there is no crew")
        if (failure := self._crew.volunteers.failure) is not None:
            raise DemoError(f"the volunteers ended: {failure}; see {self.folder}")
        return self._crew

    def _look(self, connection: pymysql.connections.Connection) -> None:
        """Read BOINC's tables and axiomd's metrics."""
        counts = {
            row["server_state"]: row["n"]
            for row in rows.select(
                connection,
                "SELECT server_state, COUNT(*) AS n FROM result WHERE server_state IN (%s, %s) GROUP BY server_state",
                ServerState.UNSENT,
                ServerState.IN_PROGRESS,
            )
        }
        self.state.results_unsent = counts.get(ServerState.UNSENT, 0)
        self.state.results_in_progress = counts.get(ServerState.IN_PROGRESS, 0)
        metrics = self.axiomd.metrics()
        if metrics is not None:
            events = metrics.total("axiomd_events_total") - self.state.metrics.total("axiomd_events_total")
            self.state.events_per_s = events / LOOK_S
            self.state.metrics = metrics

    def _sample(self, crew: Crew) -> None:
        live = [host for host in crew.volunteers.hosts if not host.away]
        # A failing or cheating host's cores are of no use to anyone, and axiomd does well to leave them idle
        useful = [host for host in live if host.spec.role not in (Role.FAILING, Role.CHEATING)]
        self.state.elapsed_s = time.monotonic() - self.started_at
        self.state.hosts_live = len(live)
        self.state.cores_usable = sum(host.usable_cores for host in useful)
        self.state.cores_busy = sum(min(host.busy_cores, host.usable_cores) for host in useful)
        self.state.jobs_computed = crew.workshop.computed
        self.state.jobs_replayed = crew.workshop.replayed
        self.state.faults = {str(fault): count for fault, count in crew.faults.injected.copy().items()}
        if self.state.elapsed_s >= SAMPLE_AFTER_S and self.state.cores_usable:
            self._idle_samples.append(1 - self.state.cores_busy / self.state.cores_usable)

    # Ending

    def _finish(self) -> dict[str, Any]:
        """Let things settle, ask axiomd for its reports, and write the summary."""
        crew = self._checked_crew()
        crew.volunteers.no_more_work = True
        if not self.stopping.is_set():
            self.say("no more work is handed out; waiting for what is under way")
            self.stopping.wait(self.started_at + self.options.duration_s - time.monotonic())
        crew.faults.stop()
        crew.volunteers.stop()
        crew = self._checked_crew()
        timeout_s = HURRIED_REPORT_TIMEOUT_S if self.stopping.is_set() else REPORT_TIMEOUT_S
        status, audit = self.axiomd.report(timeout_s)
        if self.options.report is not None and not self.stopping.is_set():
            try:
                self.axiomd.write_report(self.options.report, timeout_s, self.stopping)
            except OperationError as error:  # the summary comes all the same
                self.say(str(error))
        status = status or self._last_seen()
        audit = audit or {"ok": False, "problems": [NO_ANSWER]}
        samples = self._idle_samples
        answer = {
            "results_completed": status.get("results_completed"),
            "results_credited": status.get("results_credited"),
            "credit_granted": status.get("credit_granted"),
            "tasks_aborted": status.get("tasks_aborted"),
            "flags_repaired": status.get("flags_repaired"),
            "workunits_deployed": status.get("workunits_deployed"),
            "idle_core_share": round(sum(samples) / len(samples), 4) if samples else None,
            "faults_injected": {str(fault): crew.faults.injected[fault] for fault in Fault},
            "jobs_computed": crew.workshop.computed,
            "jobs_replayed": crew.workshop.replayed,
            "audit": {"ok": bool(audit.get("ok")), "problems": list(audit.get("problems", []))},
            "seed": self.options.seed,
            "duration_s": round(time.monotonic() - self.started_at, 1),
        }
        (self.folder / REPORT).write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
        return answer

    def _last_seen(self) -> dict[str, Any]:
        """What axiomd's metrics said last, where there was no time for `axiomd status`."""
        metrics = self.state.metrics
        credited = int(metrics.total("axiomd_results_credited_total"))
        return {
            "results_completed": credited + int(metrics.total("axiomd_results_refused_total")),
            "results_credited": credited,
            "credit_granted": metrics.total("axiomd_credit_granted_total"),
            "tasks_aborted": int(metrics.total("axiomd_tasks_aborted_total")),
            "flags_repaired": metrics.by_label("axiomd_flags_repaired_total"),
            "workunits_deployed": int(metrics.total("axiomd_workunits_deployed_total")),
        }

    def _take_down(self, *, keep: bool) -> None:
        timeout_s = HURRIED_STOP_TIMEOUT_S if self.stopping.is_set() else STOP_TIMEOUT_S
        try:
            if self._crew is not None:
                self._crew.volunteers.stop()
            self.axiomd.stop(timeout_s)
            self.boinc.stop(timeout_s)
            for connection in self._connections:
                connection.close()
            self.server.stop(timeout_s)
        finally:
            children.kill_all()
            if keep:
                self.say(f"kept for a look: {self.folder}")
            else:
                shutil.rmtree(self.folder, ignore_errors=True)
