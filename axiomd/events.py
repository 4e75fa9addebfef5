"""Every event, a frozen dataclass each: what was seen, with ids and times (Unix seconds), and no behaviour.

Events are level-triggered: one says "this is so now". A condition that still holds is seen again at the next poll, so a
lost event costs one poll and nothing else. `key` names what an event is about; the bus keeps one event a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import ClassVar


class StuckCase(StrEnum):
    """Why a workunit can't move, or a report was lost (docs/boinc.md tells each from the healthy case)."""

    ORPHANED = "orphaned"
    DEAD_TARGET = "dead_target"
    SPENT_TARGET = "spent_target"
    UNSENDABLE = "unsendable"
    ORPHANED_BROADCAST = "orphaned_broadcast"
    STALLED = "stalled"


class Platform(IntEnum):
    """What a host runs, as its client names it in host.os_name."""

    OTHER = 0
    WINDOWS = 1
    LINUX = 2
    MAC = 3


class StuckReason(StrEnum):
    """Why a task counts as stuck."""

    HOST_SILENT = "host_silent"
    CEILING = "ceiling"


@dataclass(frozen=True, slots=True)
class Event:
    """What all events share: the names under which they are counted and coalesced."""

    name: ClassVar[str]

    @property
    def key(self) -> object:
        """What the event is about."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class ResultEvent(Event):
    """Something about a result: one event a result."""

    result_id: int
    workunit_id: int

    @property
    def key(self) -> object:
        """The result's id."""
        return self.result_id


@dataclass(frozen=True, slots=True)
class WorkunitEvent(Event):
    """Something about a workunit: one event a workunit."""

    workunit_id: int

    @property
    def key(self) -> object:
        """The workunit's id."""
        return self.workunit_id


@dataclass(frozen=True, slots=True)
class HostEvent(Event):
    """Something about a host's contact: one event a host."""

    host_id: int
    last_contact_at: float

    @property
    def key(self) -> object:
        """The host's id."""
        return self.host_id


@dataclass(frozen=True, slots=True)
class FleetEvent(Event):
    """Something about the fleet: one event for all of it."""

    @property
    def key(self) -> object:
        """The same for each."""
        return None


@dataclass(frozen=True, slots=True)
class ResultCompleted(ResultEvent):
    """A result is over and axiomd has not dealt with it for good."""

    name: ClassVar[str] = "result_completed"


@dataclass(frozen=True, slots=True)
class WorkunitSettled(WorkunitEvent):
    """A workunit waits for its assimilator, and axiomd has dealt with each of its final results."""

    name: ClassVar[str] = "workunit_settled"


@dataclass(frozen=True, slots=True)
class ReportLost(ResultEvent):
    """The transitioner's race overwrote a report: NO_REPLY stands where a report had come in."""

    name: ClassVar[str] = "report_lost"


@dataclass(frozen=True, slots=True)
class TaskStuck(ResultEvent):
    """A task hangs: its host is silent, or it is out for longer than any task may be."""

    name: ClassVar[str] = "task_stuck"
    host_id: int
    reason: StuckReason


@dataclass(frozen=True, slots=True)
class WuFlagsStuck(WorkunitEvent):
    """A workunit can't move."""

    name: ClassVar[str] = "wu_flags_stuck"
    case: StuckCase


@dataclass(frozen=True, slots=True)
class JobUnwanted(WorkunitEvent):
    """A job of an experiment that has ended is still open."""

    name: ClassVar[str] = "job_unwanted"


@dataclass(frozen=True, slots=True)
class QuotaRegrown(FleetEvent):
    """Excluded hosts would get more than one job a core and day from BOINC."""

    name: ClassVar[str] = "quota_regrown"
    hosts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HostStale(HostEvent):
    """A host that counted as live is silent."""

    name: ClassVar[str] = "host_stale"


@dataclass(frozen=True, slots=True)
class HostReturned(HostEvent):
    """A host that counted as silent, or was never seen, made contact."""

    name: ClassVar[str] = "host_returned"


@dataclass(frozen=True, slots=True)
class FleetSilent(FleetEvent):
    """Most live hosts fell silent together: the server or its network is the patient."""

    name: ClassVar[str] = "fleet_silent"
    live_hosts: int
    silent_hosts: int


@dataclass(frozen=True, slots=True)
class CoresIdle(FleetEvent):
    """The fleet has idle cores."""

    name: ClassVar[str] = "cores_idle"
    cores: int
    idle: int
    hosts: tuple[tuple[int, int], ...]
    """(host id, idle cores), hosts with idle cores only."""


@dataclass(frozen=True, slots=True)
class CoresCounted(FleetEvent):
    """How many cores the live hosts have, and how many of them have no job."""

    name: ClassVar[str] = "cores_counted"
    hosts: int
    cores: int
    idle: int


@dataclass(frozen=True, slots=True)
class ExperimentEvent(Event):
    """Something about an experiment: one event an experiment and version."""

    experiment: str
    version: int

    @property
    def key(self) -> object:
        """Its name and version."""
        return self.experiment, self.version


@dataclass(frozen=True, slots=True)
class ClaimSettled(ExperimentEvent):
    """The independent results settle a claim, and that isn't written down yet."""

    name: ClassVar[str] = "claim_settled"
    claim: str
    claim_hash: str
    verdict: str
    seeds: int

    @property
    def key(self) -> object:
        """The claim."""
        return self.experiment, self.version, self.claim, self.claim_hash


@dataclass(frozen=True, slots=True)
class ExperimentComplete(ExperimentEvent):
    """An experiment's claims are all settled, or it has the independent seeds that were wanted."""

    name: ClassVar[str] = "experiment_complete"
    seeds: int
    settled: bool
    """True: by its claims; False: by its target."""


@dataclass(frozen=True, slots=True)
class ExperimentFailing(ExperimentEvent):
    """An experiment fails more often than it may, beyond chance, on CPUs or GPUs, on one platform or on all."""

    name: ClassVar[str] = "experiment_failing"
    gpu: bool
    platform: Platform | None
    """None: wherever it runs."""
    results: int
    failures: int

    @property
    def key(self) -> object:
        """The experiment and where it fails."""
        return self.experiment, self.version, self.gpu, self.platform


@dataclass(frozen=True, slots=True)
class BoundTooTight(ExperimentEvent):
    """Results of an experiment die of limits of time, memory or disk."""

    name: ClassVar[str] = "bound_too_tight"
    gpu: bool
    results: int
    died: int

    @property
    def key(self) -> object:
        """The experiment, CPU or GPU."""
        return self.experiment, self.version, self.gpu


@dataclass(frozen=True, slots=True)
class ResultsDisagree(ExperimentEvent):
    """Results of the same seed differ beyond the tolerance that their experiment declares."""

    name: ClassVar[str] = "results_disagree"
    seed: int

    @property
    def key(self) -> object:
        """The experiment and seed."""
        return self.experiment, self.version, self.seed


@dataclass(frozen=True, slots=True)
class HostFailing(Event):
    """A host fails more often than others do with the same experiments, beyond chance; or its probe failed."""

    name: ClassVar[str] = "host_failing"
    host_id: int
    results: int
    failures: int

    @property
    def key(self) -> object:
        """The host's id."""
        return self.host_id


@dataclass(frozen=True, slots=True)
class HostRecovered(Event):
    """The probe of a host whose breaker is half open came back good."""

    name: ClassVar[str] = "host_recovered"
    host_id: int

    @property
    def key(self) -> object:
        """The host's id."""
        return self.host_id


@dataclass(frozen=True, slots=True)
class AuditDue(FleetEvent):
    """It is time for an audit."""

    name: ClassVar[str] = "audit_due"
    since: float
    """Of the journal entries from then on; 0: of all."""


@dataclass(frozen=True, slots=True)
class ReportDue(FleetEvent):
    """The report's file is missing, or older than it is to be."""

    name: ClassVar[str] = "report_due"


@dataclass(frozen=True, slots=True)
class JournalAged(FleetEvent):
    """The journal has entries that are older than it is to keep."""

    name: ClassVar[str] = "journal_aged"
    before: float
    """What was written before is old."""


@dataclass(frozen=True, slots=True)
class DaemonDown(Event):
    """A BOINC daemon doesn't do its work: it doesn't hold its lock file (lag_s 0), or transitions are overdue."""

    name: ClassVar[str] = "daemon_down"
    daemon: str
    lag_s: float

    @property
    def key(self) -> object:
        """One event a daemon."""
        return self.daemon
