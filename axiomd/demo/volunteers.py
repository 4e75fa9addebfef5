"""The volunteers' clients: each asks for work, runs it, uploads and reports."""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from pymysql.connections import Connection

from axiomd.demo import content, scheduler, transitioner
from axiomd.demo.backend_lib import dir_hier_path
from axiomd.demo.config import Config
from axiomd.demo.faults import Fault, Faults
from axiomd.demo.fleet import HostSpec, Role
from axiomd.demo.states import ClientState, ExitStatus
from axiomd.demo.workshop import Output, Run, Task, Workshop

TICK_S = 0.05
SCHEDULERS = 4
SHORTEST_CONTACT_S, LONGEST_CONTACT_S = 1.0, 2.0
QUEUE_PER_CORE = 3  # jobs that a client holds for each of its cores, running ones included
FAILS_AFTER_S = 1.0  # a failing host's jobs
LATE_S = 14.0  # for how long the late host is away
YEAR_S = 365 * 86400.0

TRACEBACK = """\
<core_client_version>8.0.2</core_client_version>
<![CDATA[
<message>process exited with code 1 (0x1, -255)</message>
<stderr_txt>
Traceback (most recent call last):
  File "worker.py", line 88, in <module>
    main()
  File "worker.py", line 61, in main
    summary = experiment.run(seed, budget)
KeyError: 'top_sv_growth'
</stderr_txt>
]]>
"""

OUTPUT_XML = """\
<file_info>
    <name>{name}</name>
    <nbytes>{nbytes}</nbytes>
    <max_nbytes>1000000</max_nbytes>
    <md5_cksum>{md5}</md5_cksum>
    <status>1</status>
</file_info>
"""


@dataclass
class Job:
    """A result that a client holds: waiting, running, or done and to be reported."""

    sent: scheduler.SentResult
    task: Task
    output_name: str
    run: Run | None = None
    failing_since: float | None = None
    report: scheduler.Report | None = None
    fault: Fault | None = None

    @property
    def running(self) -> bool:
        """Whether it takes a core."""
        return self.report is None and (self.run is not None or self.failing_since is not None)


@dataclass
class Volunteer:
    """A host and its client. Times are monotonic seconds."""

    id: int
    spec: HostSpec
    usable_cores: int
    next_contact: float = 0.0
    away_until: float = 0.0
    jobs: list[Job] = field(default_factory=list)
    contact: Future[scheduler.Reply] | None = None  # with the scheduler, under way
    reported: list[Job] = field(default_factory=list)  # in that contact
    fault: Fault | None = None

    @property
    def busy_cores(self) -> int:
        """Cores with a job."""
        return sum(job.running for job in self.jobs)

    @property
    def away(self) -> bool:
        """Whether it is out of contact."""
        return time.monotonic() < self.away_until


class Volunteers(threading.Thread):
    """All clients. `no_more_work` lets them finish what they have; `stop` ends them with it.

    Requests are answered by a few schedulers side by side, each with a database connection of its own.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        config: Config,
        hosts: list[Volunteer],
        workshop: Workshop,
        faults: Faults,
        rng: random.Random,
    ) -> None:
        super().__init__(name="volunteers")
        self.hosts = hosts
        self.workshop = workshop
        self.faults = faults
        self.failure: Exception | None = None
        self.no_more_work = False
        self._connection = connect()
        self._config = config
        self._rng = rng
        self._stopping = threading.Event()
        self._scheduler = threading.local()
        self._schedulers = ThreadPoolExecutor(
            SCHEDULERS, "scheduler", initializer=lambda: setattr(self._scheduler, "connection", connect())
        )

    def run(self) -> None:
        """Let every client do what is due, again and again."""
        try:
            while not self._stopping.wait(TICK_S):
                for host in self.hosts:
                    self._step(host)
                self.faults.step(self._connection)
        except Exception as error:  # noqa: BLE001 - handed to the main thread, which says what happened
            self.failure = error
        finally:
            self.workshop.close()
            self._schedulers.shutdown(cancel_futures=True)

    def stop(self) -> None:
        """End all clients and their jobs."""
        self._stopping.set()
        if self.ident is not None:  # it was started
            self.join()

    # A client

    def _step(self, host: Volunteer) -> None:
        for job in host.jobs:
            if job.running:
                self._finish(host, job)
        if not self.no_more_work:
            self._start_jobs(host)
        if host.contact is not None:
            if host.contact.done():
                self._end_contact(host, host.contact.result())
        elif not self._role_begins(host) and not host.away and time.monotonic() >= host.next_contact:
            self._begin_contact(host)

    def _role_begins(self, host: Volunteer) -> bool:
        """Whether the host goes silent now: when its time has come, and it holds running work."""
        going = {Role.SILENT: (Fault.SILENT_HOST, math.inf), Role.LATE: (Fault.LATE_HOST, LATE_S)}
        if host.fault is not None or host.spec.role not in going or not host.busy_cores:
            return False
        fault, away_s = going[host.spec.role]
        if not self.faults.due(fault):
            return False
        host.fault = fault
        host.away_until = time.monotonic() + away_s
        self.faults.count(fault)
        return True

    def _start_jobs(self, host: Volunteer) -> None:
        free = host.spec.ncpus - host.busy_cores
        for job in host.jobs:
            if free <= 0:
                return
            if job.report is not None or job.running:
                continue
            if host.spec.role is Role.FAILING:
                job.failing_since = time.monotonic()
            else:
                job.run = self.workshop.start(job.task)
            free -= job.running

    def _finish(self, host: Volunteer, job: Job) -> None:
        if job.failing_since is not None:
            elapsed_s = time.monotonic() - job.failing_since
            if elapsed_s >= FAILS_AFTER_S:
                job.report = _failure(job, elapsed_s)
                if host.fault is None:
                    host.fault = Fault.FAILING_HOST
                    self.faults.count(host.fault)
        elif job.run is not None and (output := self.workshop.finish(job.run)) is not None:
            if output.exit_status == 0 and host.spec.role is Role.STEADY:
                job.fault = self.faults.take_for_job()
            elif output.content and host.spec.role is Role.CHEATING:
                output = replace(output, content=content.cheated(output.content))
                if host.fault is None:
                    host.fault = Fault.CHEATING_HOST
                    self.faults.count(host.fault)
            job.report = self._deliver(job, output)

    def _deliver(self, job: Job, output: Output) -> scheduler.Report:
        """Upload what came out, and write the report; here is where a job's fault shows."""
        if job.fault is Fault.CRASHED_JOB:
            return _failure(job, output.elapsed_s)
        if output.exit_status or not output.content:
            return _failure(job, output.elapsed_s, output.exit_status, output.stderr)
        uploaded = b"" if job.fault is Fault.EMPTY_OUTPUT else output.content
        path = dir_hier_path(job.output_name, Path(self._config.upload_dir), self._config.uldl_dir_fanout)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(uploaded)
        digest = hashlib.md5(uploaded, usedforsecurity=False).hexdigest()
        return scheduler.Report(
            job.sent.name,
            elapsed_time=YEAR_S if job.fault is Fault.ABSURD_ELAPSED else output.elapsed_s,
            cpu_time=output.elapsed_s,
            stderr_out="<core_client_version>8.0.2</core_client_version>",
            xml_doc_out=OUTPUT_XML.format(name=job.output_name, nbytes=len(uploaded), md5=digest),
        )

    def _begin_contact(self, host: Volunteer) -> None:
        host.next_contact = time.monotonic() + self._rng.uniform(SHORTEST_CONTACT_S, LONGEST_CONTACT_S)
        host.reported = [job for job in host.jobs if job.report is not None]
        held = [job.sent.name for job in host.jobs if job.report is None]
        wanted = 0 if self.no_more_work else max(0, QUEUE_PER_CORE * host.spec.ncpus - len(held))
        host.contact = self._schedulers.submit(self._request, host.id, wanted, host.reported, held)

    def _request(self, host_id: int, wanted: int, reported: list[Job], held: list[str]) -> scheduler.Reply:
        """Ask the scheduler, in one of its threads."""
        connection: Connection = self._scheduler.connection
        lost = [job.sent.id for job in reported if job.fault is Fault.LOST_REPORT]
        # A report can only be lost before the transitioner looks at it: it waits meanwhile
        with transitioner.held_back(connection) if lost else contextlib.nullcontext():
            reply = scheduler.request(
                connection,
                host_id,
                int(time.time()),
                self._config,
                instances=wanted,
                reports=[job.report for job in reported if job.report is not None],
                other_results=held,
            )
            for result_id in lost:
                self.faults.lose_report(connection, result_id)
        return reply

    def _end_contact(self, host: Volunteer, reply: scheduler.Reply) -> None:
        acknowledged = {job.sent.name for job in host.reported} & set(reply.result_acks)
        held = [job for job in host.jobs if job.sent.name not in acknowledged and not self._aborted(job, reply)]
        host.jobs = held + [_accept(sent) for sent in reply.results]
        host.contact = None
        host.reported = []

    def _aborted(self, job: Job, reply: scheduler.Reply) -> bool:
        """Whether a job is dropped as one that never started; one that is ended outright is reported as such."""
        if job.report is None and job.sent.name in reply.result_aborts:
            if job.run is not None:
                self.workshop.drop(job.run)
            job.report = scheduler.Report(
                job.sent.name, client_state=ClientState.ABORTED, exit_status=ExitStatus.ABORTED_BY_PROJECT
            )
        never_started = job.report is None and not job.running
        return never_started and job.sent.name in reply.result_abort_if_not_starteds


def _accept(sent: scheduler.SentResult) -> Job:
    """Read what a client needs to know out of a job's XML."""
    input_name = re.search(r"<file_name>\s*(.*?)\s*</file_name>", sent.wu_xml_doc)
    output_name = re.search(r"<name>\s*(.*?)\s*</name>", sent.xml_doc_in)
    task = Task(sent.wu_name, sent.name, input_name[1] if input_name else "")
    return Job(sent, task, output_name[1] if output_name else sent.name)


def _failure(job: Job, elapsed_s: float, exit_status: int = 1, stderr: str = TRACEBACK) -> scheduler.Report:
    return scheduler.Report(
        job.sent.name,
        client_state=ClientState.COMPUTE_ERROR,
        exit_status=exit_status,
        elapsed_time=elapsed_s,
        cpu_time=elapsed_s,
        stderr_out=stderr,
    )
