"""A stand-in for BOINC's scheduler: takes a host's reports, and gives it work.

Facts from BOINC's sched/handle_request.cpp, sched_result.cpp, sched_send.cpp, sched_assign.cpp and, for what the
feeder offers, db/boinc_db.cpp. As in BOINC each request is a process of its own, every statement commits by itself,
and nothing is ever tried twice. Left out: platforms, preferences, GPU versions, locality, and resending lost work.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from pymysql.connections import Connection

from axiomd.demo import rows, schema
from axiomd.demo.backend_lib import create_result
from axiomd.demo.config import Config
from axiomd.demo.host_app_version import HostAppVersion, generalized_app_version_id
from axiomd.demo.rows import Row
from axiomd.demo.states import (
    AssimilateState,
    ClientState,
    ExitStatus,
    Outcome,
    ServerState,
    Target,
    TransitionerFlags,
    ValidateState,
    WuError,
)

DAY_S = 86400
FEEDER_SLOTS = 100  # how many unsent results the feeder offers at a time
SHUT_OUT = -1  # host.max_results_day of a host whose requests are refused

_process_ids = itertools.count(os.getpid())


@dataclass(frozen=True)
class Report:
    """What a client says of a result that it is done with, under BOINC's names (times in seconds)."""

    name: str
    client_state: int = ClientState.FILES_UPLOADED
    exit_status: int = 0
    elapsed_time: float = 0.0
    cpu_time: float = 0.0
    app_version_num: int = 1
    stderr_out: str = ""
    xml_doc_out: str = ""


@dataclass(frozen=True)
class SentResult:
    """A result that a client is given, with its workunit's and its own XML."""

    id: int
    name: str
    wu_name: str
    wu_xml_doc: str
    xml_doc_in: str
    sent_time: int
    report_deadline: int
    targeted: bool


@dataclass
class Reply:
    """What the scheduler answers."""

    results: list[SentResult] = field(default_factory=list)
    result_acks: list[str] = field(default_factory=list)
    result_aborts: list[str] = field(default_factory=list)
    result_abort_if_not_starteds: list[str] = field(default_factory=list)
    message: str = ""


def request(
    connection: Connection,
    host_id: int,
    now: int,
    config: Config | None = None,
    *,
    instances: float = 0,
    reports: Sequence[Report] = (),
    other_results: Sequence[str] = (),
) -> Reply:
    """Answer a client's request.

    `instances` is how many jobs the client wants at most; `other_results` names those that it has and doesn't report.
    """
    host = rows.select_one(
        connection,
        "SELECT host.id, host.userid, user.teamid, rpc_time, rpc_seqno, p_ncpus, p_ngpus, p_fpops, m_nbytes, d_free,"
        " max_results_day FROM host JOIN user ON user.id = host.userid WHERE host.id = %s",
        host_id,
    )
    if host is None:
        return Reply(message="Unknown host or user")
    if host["max_results_day"] == SHUT_OUT:
        return Reply(message="Not accepting requests from this host")
    return _Request(connection, host, now, config or Config(), instances, other_results).handle(reports)


class _Request:
    """One request in the making."""

    def __init__(
        self,
        connection: Connection,
        host: Row,
        now: int,
        config: Config,
        instances: float,
        other_results: Sequence[str],
    ) -> None:
        self.connection = connection
        self.host = host
        self.now = now
        self.config = config
        self.instances = instances
        self.other_results = other_results
        self.reply = Reply()
        self.pid = next(_process_ids)
        self.ncpus = max(1, min(host["p_ncpus"], config.max_ncpus))
        self.records = HostAppVersion.read_all(connection, host["id"])
        self.app_versions: dict[int, Row | None] = {}
        self.first_jobs: dict[int, int] = {}

    def handle(self, reports: Sequence[Report]) -> Reply:
        """The order is BOINC's: quota, reports, aborts, work, and the host's rows last."""
        self._update_quota()
        self._handle_results(reports)
        if self.config.send_result_abort and self.other_results:
            self._send_result_abort()
        if self.instances > 0:
            self._send_work()
        rows.update(self.connection, "host", self.host["id"], rpc_time=self.now, rpc_seqno=self.host["rpc_seqno"] + 1)
        for record in self.records.values():
            record.write_scheduler(self.connection)
        return self.reply

    def _update_quota(self) -> None:
        """A new day, which begins at another hour for each host, clears the number of jobs of the day."""
        offset = random.Random(self.host["id"]).random() * DAY_S
        new_day = (self.host["rpc_time"] + offset) // DAY_S != (self.now + offset) // DAY_S
        for record in self.records.values():
            record.max_jobs_per_day = record.max_jobs_per_day or self.config.daily_result_quota
            if new_day:
                record.n_jobs_today = 0

    # Reports

    def _handle_results(self, reports: Sequence[Report]) -> None:
        if not reports:
            return
        names = [report.name for report in reports]
        found = rows.select(
            self.connection,
            "SELECT id, name, workunitid, appid, server_state, hostid, sent_time, received_time, validate_state,"
            f" outcome, app_version_id FROM result WHERE name IN ({', '.join(['%s'] * len(names))})",
            *names,
        )
        by_name = {row["name"]: row for row in found}
        # read first, write after: what another program writes in between is overwritten, as in BOINC
        accepted = [(by_name[report.name], report) for report in reports if self._acceptable(by_name.get(report.name))]
        for result, report in accepted:
            self._write_report(result, report)
        self.reply.result_acks = names
        workunits = sorted({result["workunitid"] for result, _ in accepted})
        if workunits:
            rows.execute(
                self.connection,
                f"UPDATE workunit SET transition_time = %s WHERE id IN ({', '.join(['%s'] * len(workunits))})",
                self.now,
                *workunits,
            )

    def _acceptable(self, result: Row | None) -> bool:
        if result is None or result["server_state"] == ServerState.UNSENT or result["received_time"]:
            return False
        late = (Outcome.NO_REPLY, Outcome.CLIENT_DETACHED)
        if result["server_state"] == ServerState.OVER and result["outcome"] not in late:
            return False
        if result["hostid"] == self.host["id"]:
            return True
        other = rows.select_one(self.connection, "SELECT userid FROM host WHERE id = %s", result["hostid"])
        return other is not None and bool(other["userid"] == self.host["userid"])

    def _write_report(self, result: Row, report: Report) -> None:
        turnaround = self.now - result["sent_time"]
        elapsed_time = max(report.elapsed_time, report.cpu_time, 0.0)
        if turnaround >= 0:
            elapsed_time = min(elapsed_time, float(turnaround))
        success = report.client_state == ClientState.FILES_UPLOADED and report.exit_status == 0
        record = self.records.get(generalized_app_version_id(result["app_version_id"], result["appid"]))
        if record is not None:
            if success:
                record.double_quota(self.config.daily_result_quota)
            elif report.exit_status != ExitStatus.ABORTED_BY_PROJECT:
                record.lower_quota(self.config.daily_result_quota)
        rows.update(
            self.connection,
            "result",
            result["id"],
            hostid=self.host["id"],
            received_time=self.now,
            client_state=report.client_state,
            cpu_time=min(report.cpu_time, elapsed_time * self.host["p_ncpus"]),
            exit_status=report.exit_status,
            app_version_num=report.app_version_num,
            server_state=ServerState.OVER,
            outcome=Outcome.SUCCESS if success else Outcome.CLIENT_ERROR,
            stderr_out=report.stderr_out,
            xml_doc_out=report.xml_doc_out,
            validate_state=result["validate_state"] if success else ValidateState.INVALID,
            teamid=self.host["teamid"],
            elapsed_time=elapsed_time,
        )

    def _send_result_abort(self) -> None:
        """Tell the client which of its results nobody wants any more."""
        names = self.other_results
        found = rows.select(
            self.connection,
            "SELECT result.name, server_state, outcome, error_mask, assimilate_state FROM result"
            " JOIN workunit ON workunit.id = result.workunitid"
            f" WHERE result.hostid = %s AND result.name IN ({', '.join(['%s'] * len(names))})",
            self.host["id"],
            *names,
        )
        by_name = {row["name"]: row for row in found}
        for name in names:
            result = by_name.get(name)
            if result is None or result["error_mask"] & WuError.CANCELLED:
                self.reply.result_aborts.append(name)
            elif result["assimilate_state"] == AssimilateState.DONE or (
                result["server_state"] == ServerState.OVER and result["outcome"] == Outcome.NO_REPLY
            ):
                self.reply.result_abort_if_not_starteds.append(name)

    # Work

    def _work_needed(self) -> bool:
        sent = len(self.reply.results)
        in_progress = len(self.other_results) + sent
        if self.config.max_wus_in_progress and in_progress >= self.config.max_wus_in_progress * self.ncpus:
            self.reply.message = "This computer has reached a limit on tasks in progress"
            return False
        processors = self.ncpus + self.config.gpu_multiplier * self.host["p_ngpus"]
        if self.config.max_wus_to_send and sent >= self.config.max_wus_to_send * processors:
            return False
        return sent < self.instances

    def _send_work(self) -> None:
        """Any targeted job sent ends this contact's work."""
        sent_targeted = False
        if self.config.enable_assignment:
            for target_type, target_id in (
                (Target.USER, self.host["userid"]),
                (Target.HOST, self.host["id"]),
                (Target.TEAM, self.host["teamid"]),
            ):
                sent_targeted |= self._send_targeted(target_type, target_id)
        if not sent_targeted:
            self._send_untargeted()
        self._insert_new_records()

    def _send_targeted(self, target_type: Target, target_id: int) -> bool:
        sent = False
        # BOINC reads the workunits one by one: assignments of finished jobs stay, and make its requests slow
        assigned = rows.select(
            self.connection,
            "SELECT assignment.id AS assignment_id, workunit.id, error_mask, need_validate, canonical_resultid,"
            " transition_time, target_nresults FROM assignment LEFT JOIN workunit ON workunit.id = workunitid"
            " WHERE target_type = %s AND target_id = %s AND multi = 0 ORDER BY assignment.id",
            target_type,
            target_id,
        )
        for workunit in assigned:
            if not self._work_needed():
                break
            if workunit["id"] is None:
                rows.execute(self.connection, "DELETE FROM assignment WHERE id = %s", workunit["assignment_id"])
            elif self._needs_instance(workunit):
                sent |= self._send_instance(workunit["id"])
        return sent

    def _send_instance(self, workunit_id: int) -> bool:
        """Make a targeted job's result and send it."""
        workunit = rows.select_one(self.connection, "SELECT * FROM workunit WHERE id = %s", workunit_id)
        app_version = self._app_version(workunit["appid"]) if workunit else None
        if workunit is None or app_version is None:
            return False
        suffix = f"{self.pid}_{self.now}_{len(self.reply.results)}"
        result_id = create_result(self.connection, workunit, suffix, self.config, self.now)
        return self._send(result_id, workunit, app_version, targeted=True)

    def _needs_instance(self, workunit: Row) -> bool:
        """Whether a targeted job wants an instance on this host now, and may have one."""
        if workunit["error_mask"] or workunit["need_validate"] or workunit["canonical_resultid"]:
            return False
        if workunit["transition_time"] < self.now:
            return False  # a transition is pending
        results = rows.select(
            self.connection,
            "SELECT hostid, server_state, outcome, validate_state FROM result WHERE workunitid = %s",
            workunit["id"],
        )
        if any(result["hostid"] == self.host["id"] for result in results):
            return False  # one host, one instance, whatever became of it
        viable = [
            result
            for result in results
            if result["server_state"] != ServerState.OVER
            or (result["outcome"] == Outcome.SUCCESS and result["validate_state"] != ValidateState.INVALID)
        ]
        return len(viable) < int(workunit["target_nresults"])

    def _send_untargeted(self) -> None:
        """Send what the feeder offers: UNSENT results of workunits without flags."""
        if not self._work_needed():
            return
        offered = rows.select(
            self.connection,
            "SELECT r1.id AS result_id, workunit.* FROM result r1 FORCE INDEX (ind_res_st), workunit, app"
            " WHERE r1.server_state = %s AND r1.workunitid = workunit.id AND workunit.appid = app.id"
            " AND app.deprecated = 0 AND workunit.transitioner_flags = %s ORDER BY r1.priority DESC LIMIT %s",
            ServerState.UNSENT,
            TransitionerFlags.NORMAL,
            FEEDER_SLOTS,
        )
        for workunit in offered:
            if not self._work_needed():
                break
            app_version = self._app_version(workunit["appid"])
            if app_version is not None and self._fits(workunit):
                self._send(workunit["result_id"], workunit, app_version, targeted=False)

    def _fits(self, workunit: Row) -> bool:
        """The checks that a targeted job skips: memory, disk, deadline, and one instance for a host."""
        if workunit["rsc_memory_bound"] > self.host["m_nbytes"] or workunit["rsc_disk_bound"] > self.host["d_free"]:
            return False
        if workunit["rsc_fpops_est"] > workunit["delay_bound"] * self.host["p_fpops"]:
            return False
        if not self.config.one_result_per_host_per_wu:
            return True
        had = rows.select_one(
            self.connection,
            "SELECT id FROM result WHERE workunitid = %s AND hostid = %s LIMIT 1",
            workunit["id"],
            self.host["id"],
        )
        return had is None

    def _app_version(self, appid: int) -> Row | None:
        """The newest version of an app, unless the host's daily quota of it is used up."""
        if appid not in self.app_versions:
            self.app_versions[appid] = rows.select_one(
                self.connection,
                "SELECT id, version_num FROM app_version WHERE appid = %s AND deprecated = 0"
                " ORDER BY version_num DESC LIMIT 1",
                appid,
            )
        version = self.app_versions[appid]
        record = self.records.get(version["id"]) if version else None
        if record is not None:
            quota = record.max_jobs_per_day
            if quota > 1:  # at 1 the host probably can't run the app at all: then not one for each processor
                quota *= max(1, self.host["p_ncpus"])
            if record.n_jobs_today >= quota:
                self.reply.message = f"Daily job limit ({quota}) has been reached"
                return None
        return version

    def _send(self, result_id: int, workunit: Row, app_version: Row, *, targeted: bool) -> bool:
        """Mark a result as sent; the workunit comes first, since the result may be gone by now."""
        deadline = self.now + workunit["delay_bound"]
        rows.execute(
            self.connection,
            "UPDATE workunit SET transition_time = IF(transition_time < %s, transition_time, %s) WHERE id = %s",
            deadline,
            deadline,
            workunit["id"],
        )
        marked = rows.execute(
            self.connection,
            "UPDATE result SET server_state = %s, hostid = %s, userid = %s, sent_time = %s, report_deadline = %s,"
            " flops_estimate = %s, app_version_id = %s WHERE id = %s AND server_state = %s",
            ServerState.IN_PROGRESS,
            self.host["id"],
            self.host["userid"],
            self.now,
            deadline,
            self.host["p_fpops"],
            app_version["id"],
            result_id,
            ServerState.UNSENT,
        )
        if not marked:
            return False  # another scheduler was quicker
        result = rows.select_one(self.connection, "SELECT name, xml_doc_in FROM result WHERE id = %s", result_id)
        if result is None:
            return False
        self.reply.results.append(
            SentResult(
                id=result_id,
                name=result["name"],
                wu_name=workunit["name"],
                wu_xml_doc=_text(workunit["xml_doc"]),
                xml_doc_in=_text(result["xml_doc_in"]),
                sent_time=self.now,
                report_deadline=deadline,
                targeted=targeted,
            )
        )
        record = self.records.get(app_version["id"])
        if record is not None:
            record.n_jobs_today += 1
        else:
            self.first_jobs[app_version["id"]] = self.first_jobs.get(app_version["id"], 0) + 1
        return True

    def _insert_new_records(self) -> None:
        """A host's first jobs of an app version make its record; the quota comes at the next request."""
        for app_version_id, n_jobs in self.first_jobs.items():
            schema.insert(
                self.connection,
                "host_app_version",
                host_id=self.host["id"],
                app_version_id=app_version_id,
                n_jobs_today=n_jobs,
            )


def _text(blob: bytes | str | None) -> str:
    return blob.decode() if isinstance(blob, bytes) else blob or ""
