"""Every setting of axiomd: one typed TOML file, environment variables above it, BOINC's config.xml for the rest.

Durations are seconds (`_s`), sizes are bytes unless the name says otherwise, credit is BOINC credit (cobblestones).
An environment variable `AXIOMD_SECTION__KEY` wins over the file, for example `AXIOMD_CREDIT__CAP=20000`.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from axiomd.errors import SettingsError

HOUR_S = 3600.0
DAY_S = 86400.0


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


Seconds = Annotated[float, Field(gt=0), AfterValidator(_finite)]
Amount = Annotated[float, Field(ge=0), AfterValidator(_finite)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


def _experiment_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise ValueError(f"'{name}' is no experiment's name: small letters, digits and _ only, 64 at most")
    return name


ExperimentName = Annotated[str, AfterValidator(_experiment_name)]


class Section(BaseModel):
    """A table of the settings file: unknown keys are errors, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProjectSettings(Section):
    """The BOINC project that axiomd looks after."""

    dir: Path = Field(description="the project's folder, the one that holds config.xml")
    apps: tuple[str, ...] = Field(
        min_length=1,
        description="names of the apps that axiomd looks after; results of others are never touched",
    )


class DatabaseSettings(Section):
    """How to reach the project's database. What is left empty comes from the project's config.xml."""

    host: str = Field("", description="host name or address; empty: db_host of config.xml")
    port: int = Field(0, ge=0, le=65535, description="TCP port; 0: the one in db_host of config.xml, else 3306")
    unix_socket: str = Field("", description="path of the server's unix socket; wins over host and port")
    name: str = Field("", description="name of the database; empty: db_name of config.xml")
    user: str = Field("", description="user; empty: db_user of config.xml")
    password: SecretStr = Field(SecretStr(""), description="password; empty: password_file, then config.xml")
    password_file: Path | None = Field(None, description="file whose first line is the password")
    connect_timeout_s: Seconds = Field(5.0, description="a connection that takes longer counts as unreachable")
    pool_size: int = Field(6, ge=3, le=64, description="connections that axiomd keeps at most")


class IntakeSettings(Section):
    """How finished results are found."""

    mode: Literal["assimilator", "mod_time", "in_flight"] = Field(
        "assimilator",
        description="assimilator: axiomd is the assimilator of its apps, BOINC's own index is the queue; "
        "mod_time: beside another assimilator, by the index of `axiomd migrate --index`; "
        "in_flight: beside another assimilator without that index, at a cost that grows with work in flight",
    )
    interval_s: Seconds = Field(2.0, description="between two looks for finished results")
    late_interval_s: Seconds = Field(30.0, description="between two looks at results that may still come in late")
    page: int = Field(1000, ge=10, le=20000, description="results that one query fetches")
    overlap_s: Seconds = Field(120.0, description="how far a look reaches back; longer than any transaction")


class CreditSettings(Section):
    """What finished work is worth. A preset under a log's date fills in policy, tiers and failures."""

    enabled: bool = Field(True, description="grant credit")
    preset: str = Field("", description="name of a shipped rule, see `axiomd config presets`; empty: the keys below")
    policy: Literal["flat", "tiers", "flops"] = Field("flat", description="how a valid result is valued")
    flat: Amount = Field(2.0, description="credit for a valid result (policy flat)")
    tiers: tuple[tuple[Amount, Amount], ...] = Field(
        (), description="pairs [elapsed seconds from which it holds, credit], ascending (policy tiers)"
    )
    flops_scale: Amount = Field(
        200 / (DAY_S * 1e9),
        description="credit for one floating-point operation (policy flops); BOINC's own: 200 a day at 1e9 a second",
    )
    max_fpops: Amount = Field(1e11, description="a host's claimed speed of one core counts for no more (1/s)")
    max_gpu_fpops: Amount = Field(1e14, description="a host's claimed speed of one GPU counts for no more (1/s)")
    failures: dict[int, Amount] = Field(
        default_factory=dict, description="consolation for failed work: credit by exit_status"
    )
    failure_other: Amount = Field(0.0, description="consolation for an exit_status that `failures` doesn't name")
    failure_min_s: Seconds = Field(
        600.0, description="no consolation for less time than this between sent_time and received_time"
    )
    cap: Amount = Field(50_000.0, description="credit granted at most in a rolling window; past it results wait")
    cap_window_s: Seconds = Field(6 * HOUR_S, description="length of that window")
    host_day_cap: Amount = Field(20_000.0, description="credit for one host and UTC day at most; past it results wait")
    backfill_cap: Amount = Field(
        50_000.0, description="credit that one `axiomd backfill` pays at most, unless it is told otherwise by --cap"
    )
    batch: int = Field(2500, ge=1, le=10_000, description="results paid in one transaction at most")
    waits_for_harvest: bool = Field(
        False, description="a valid result is paid only once its output was read; false: the compute was given, so pay"
    )
    empty_share: Share = Field(
        1.0, description="share of its credit that a valid result without any number is paid, if waits_for_harvest"
    )
    partial_share: Share = Field(
        1.0, description="share of its credit that a result that ended half way is paid, if waits_for_harvest"
    )

    @field_validator("tiers")
    @classmethod
    def _ascending(cls, tiers: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        starts = [start for start, _ in tiers]
        if starts != sorted(set(starts)):
            raise ValueError("the first numbers of the tiers must ascend")
        return tiers

    @model_validator(mode="after")
    def _tiers_given(self) -> CreditSettings:
        if self.policy == "tiers" and not self.tiers and not self.preset:
            raise ValueError("policy 'tiers' needs tiers = [[0, 5], [30, 15], ...]")
        return self


class HostSettings(Section):
    """When a host counts as live, silent or dead, and which are left out."""

    live_after_contact_s: Seconds = Field(DAY_S, description="a host is live for so long after its last contact")
    dead_after_s: Seconds = Field(7 * DAY_S, description="a host silent for so long will not fetch its targeted jobs")
    exclude: tuple[int, ...] = Field((), description="ids of hosts that get no work from axiomd")
    exclusion_lowers_quota: bool = Field(
        True, description="an excluded host's daily quota at BOINC is brought down to one job a core, and kept there"
    )
    fleet_silent_share: Share = Field(
        0.5, description="if this share of the live hosts falls silent together, the server is the patient"
    )
    fleet_silent_after_s: Seconds = Field(
        2 * HOUR_S, description="silence of that many hosts for so long makes the fleet silent"
    )
    fleet_min_hosts: Count = Field(4, description="a fleet smaller than this is never called silent")
    interval_s: Seconds = Field(30.0, description="between two looks at the hosts")


class AbortSettings(Section):
    """When a task that hangs is ended."""

    enabled: bool = Field(True, description="abort stuck tasks")
    interval_s: Seconds = Field(60.0, description="between two looks for stuck tasks")
    stuck_after_s: Seconds = Field(12 * HOUR_S, description="a task sent longer ago than this can be stuck")
    silent_after_s: Seconds = Field(6 * HOUR_S, description="... if its host has been silent longer than this")
    ceiling_s: Seconds = Field(48 * HOUR_S, description="a task sent longer ago than this is cancelled anywhere")
    stuck_delay_bounds: Amount = Field(0.5, description="stuck_after_s is at least this share of delay_bound")
    silent_delay_bounds: Amount = Field(0.25, description="silent_after_s is at least this share of delay_bound")
    ceiling_delay_bounds: Amount = Field(2.0, description="ceiling_s is at least this many times delay_bound")
    batch: int = Field(200, ge=1, le=2000, description="tasks ended in one transaction at most")
    cap: Count = Field(2000, description="tasks ended at most in a rolling window")
    cap_window_s: Seconds = Field(6 * HOUR_S, description="length of that window")


class RepairSettings(Section):
    """When a workunit that can't move is helped, and how."""

    enabled: bool = Field(True, description="repair stuck workunits and lost reports")
    interval_s: Seconds = Field(60.0, description="between two looks for stuck workunits")
    min_age_s: Seconds = Field(600.0, description="a job younger than this, or touched since, is never stuck")
    stalled_after_s: Seconds = Field(
        HOUR_S,
        description="a job without flags whose next transition lies further ahead than this can be stalled",
    )
    method: Literal["retarget", "free"] = Field(
        "retarget", description="retarget: to another live host where one is fit; free: to any host that asks"
    )
    transitioner_behind_s: Seconds = Field(600.0, description="a transition overdue for so long is DaemonDown")
    batch: int = Field(200, ge=1, le=2000, description="workunits repaired in one transaction at most")
    cap: Count = Field(20_000, description="workunits repaired at most in a rolling window")
    cap_window_s: Seconds = Field(6 * HOUR_S, description="length of that window")


class TopupSettings(Section):
    """How idle cores get work."""

    enabled: bool = Field(True, description="make new work for idle cores")
    interval_s: Seconds = Field(60.0, description="between two looks for idle cores")
    targeted: bool = Field(True, description="true: each job for one host; false: for any host that asks")
    jobs_per_core: Amount = Field(1.0, description="a host with fewer jobs per usable core than this has idle cores")
    max_jobs_per_core: Amount = Field(2.0, description="no host gets more jobs per usable core than this")
    max_cores: Count = Field(64, description="usable cores of a host at most (BOINC's max_ncpus is 64 by default)")
    memory_share: Share = Field(0.75, description="share of a host's memory that its jobs may need together")
    jobs_per_gpu: Amount = Field(1.0, description="GPU jobs that a GPU gets at once")
    create_work: str = Field("bin/create_work", description="the project's program, below project.dir")
    wu_template: str = Field("", description="input template below project.dir; empty: templates/<app>_in")
    result_template: str = Field("", description="output template below project.dir; empty: templates/<app>_out")
    timeout_s: Seconds = Field(120.0, description="create_work may take so long")
    batch: int = Field(500, ge=1, le=5000, description="jobs made by one call of create_work at most")
    cap: Count = Field(5000, description="jobs made at most in a rolling window")
    cap_window_s: Seconds = Field(6 * HOUR_S, description="length of that window")


class ExperimentSettings(Section):
    """One experiment that top-up deploys. Memory, GPU and version come from the experiments' catalogue."""

    weight: Amount = Field(1.0, description="share of the jobs, relative to the other experiments' weights")
    target: Count = Field(100, description="independent results (seeds) wanted")
    app: str = Field("", description="app that runs it; empty: the first of project.apps")
    gpu: bool = Field(False, description="a GPU job: only for hosts with GPUs")
    version: int = Field(0, ge=0, description="version in the workunits' names; 0: the catalogue's")
    memory: int = Field(0, ge=0, description="bytes of memory that a job needs; 0: the catalogue's")
    pilot: bool = Field(False, description="a pilot: only to a few large hosts")
    pilot_hosts: Count = Field(5, description="how many hosts a pilot goes to")
    inputs: tuple[str, ...] = Field((), description="names of staged input files that each job gets")
    command_line: str = Field("", description="command line of each job")


class HarvestSettings(Section):
    """How output files become measurements."""

    enabled: bool = Field(True, description="read the output files of finished results; only if credit.enabled")
    max_bytes: int = Field(1_000_000, ge=1000, le=100_000_000, description="a larger output file is refused unread")
    max_depth: int = Field(8, ge=3, le=64, description="an output nested deeper than this is refused")
    batch: int = Field(500, ge=1, le=5000, description="results harvested in one transaction at most")
    retry_s: Seconds = Field(60.0, description="a file that could not be read for want of the disk is tried again")
    memory: int = Field(
        1 << 30, ge=1 << 28, description="bytes of memory that the process which reads strangers' files may take"
    )


class FailureSettings(Section):
    """When an experiment or a host fails too often, beyond chance, and what follows."""

    enabled: bool = Field(True, description="stop failing experiments where they fail, and spare failing hosts")
    interval_s: Seconds = Field(15.0, description="between two looks")
    window_s: Seconds = Field(6 * HOUR_S, description="only results of so long ago count, in whole hours")
    bar: Share = Field(0.3, description="an experiment may fail as often as this")
    chance: float = Field(
        1e-5, gt=0, lt=0.5, description="so many failures must be at most this likely at the bar, or at other hosts"
    )
    min_failures: Count = Field(5, description="fewer failures than this mean nothing")
    pause_s: Seconds = Field(HOUR_S, description="a failing host's first pause; each further one is twice as long")
    max_pause_s: Seconds = Field(7 * DAY_S, description="... up to this")


class VerificationSettings(Section):
    """How often a job is sent to a second volunteer, to compare."""

    enabled: bool = Field(True, description="compare results of the same seed, and send disputed ones again")
    share: Share = Field(0.005, description="share of the jobs that is made twice, the copy for another user's host")
    interval_s: Seconds = Field(60.0, description="between two looks for disagreement")
    max_copies: Count = Field(4, description="a disputed seed is sent again so many times at most")


class ReplicationSettings(Section):
    """When a claim counts as settled, and what follows."""

    error_rate: float = Field(
        0.05, gt=0, lt=0.5, description="chance that any claim of the catalogue is ever settled wrongly, at most"
    )
    interval_s: Seconds = Field(60.0, description="between two looks at the evidence")
    retire: bool = Field(
        True, description="an experiment whose claims are settled, or whose target is reached, gets no new jobs"
    )


class SizingSettings(Section):
    """How the next jobs' bounds follow from what the last ones took."""

    enabled: bool = Field(True, description="write the sizes seen into the input templates of the next jobs")
    interval_s: Seconds = Field(600.0, description="between two looks at results that died of a limit")
    min_results: Count = Field(30, description="fewer results than this say nothing of a size")
    time_margin: Annotated[float, Field(ge=1, le=1000)] = Field(
        10.0, description="rsc_fpops_bound is so many times what all but one in a thousand results took"
    )
    memory_margin: Annotated[float, Field(ge=1, le=10)] = Field(1.5, description="rsc_memory_bound, likewise")
    delay_margin: Annotated[float, Field(ge=1, le=100)] = Field(
        3.0, description="delay_bound, likewise of the time from sent to received"
    )
    min_delay_bound_s: Seconds = Field(DAY_S, description="delay_bound is at least this")


class ReportSettings(Section):
    """The report that the HTTP gateway serves at /report."""

    file: Path | None = Field(None, description="HTML file that the daemon writes and serves; empty: none")
    interval_s: Seconds = Field(DAY_S, description="between two writings of that file")
    period_s: Seconds = Field(7 * DAY_S, description="what it covers, up to its writing")
    sample_interval_s: Seconds = Field(600.0, description="between two notes of how many cores are busy")


class JournalSettings(Section):
    """How long axiomd keeps the record of what it did."""

    keep_s: Amount = Field(
        365 * DAY_S,
        description="entries older than this are summed up and deleted, and can't be undone any more; 0: kept for ever",
    )
    interval_s: Seconds = Field(HOUR_S, description="between two looks for old entries")


class AuditSettings(Section):
    """How strictly `axiomd audit` judges, and how often the daemon does it by itself."""

    interval_s: Amount = Field(DAY_S, description="between two audits by the daemon, of what is new; 0: none")
    full_interval_s: Seconds = Field(7 * DAY_S, description="between two audits by the daemon of all there is")

    strict: bool = Field(
        True,
        description="true: axiomd alone grants credit, and its ledger must explain every total_credit; "
        "false: another program grants too, and a difference is reported without being judged",
    )


class HttpSettings(Section):
    """Where metrics, health, the API and the webhook are served."""

    enabled: bool = Field(True, description="serve /metrics, /healthz, /readyz and /api")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(9464, ge=0, le=65535, description="port; 0: any free one, named in the log")
    token_file: Path | None = Field(
        None,
        description="file whose first line is the bearer token of whatever changes something; "
        "without one, and without a systemd credential axiomd_http_token, that is off",
    )
    max_body: int = Field(1_000_000, ge=1000, le=100_000_000, description="bytes of a request's body at most")
    requests_per_s: Amount = Field(50.0, description="requests a second at most, /metrics and health left out")
    timeout_s: Seconds = Field(30.0, description="a request may take so long to arrive and to be answered")


class MqttSettings(Section):
    """The MQTT broker that events go to and commands come from."""

    enabled: bool = Field(False, description="connect to a broker")
    host: str = Field("127.0.0.1", description="the broker's name or address")
    port: int = Field(1883, ge=1, le=65535, description="the broker's port; 8883 is usual with TLS")
    user: str = Field("", description="user at the broker; empty: none")
    password_file: Path | None = Field(
        None, description="file whose first line is the password; or the systemd credential axiomd_mqtt_password"
    )
    tls: bool = Field(False, description="encrypt, and check the broker's certificate")
    ca_file: Path | None = Field(None, description="certificates to trust; empty: those of the system")
    cert_file: Path | None = Field(None, description="a certificate of axiomd's own, for a broker that asks for one")
    key_file: Path | None = Field(None, description="the key of that certificate")
    project: str = Field("", description="name in the topics axiom/<project>/...; empty: the project folder's name")
    events: tuple[str, ...] = Field(
        ("host_stale", "host_returned", "fleet_silent", "cores_idle", "wu_flags_stuck", "daemon_down"),
        description="events that are published as they are seen; the journal is published in any case",
    )
    commands: bool = Field(False, description="take commands; the broker's ACL says who may send them")
    command_max_age_s: Seconds = Field(300.0, description="a command sent longer ago than this is refused")
    keepalive_s: Count = Field(30, description="seconds until a silent connection counts as lost")
    reconnect_max_s: Seconds = Field(60.0, description="between two tries to reach the broker at most")
    settle_s: Seconds = Field(
        60.0,
        description="what the broker acknowledged counts as delivered after so long, and is published again if the "
        "connection is lost before: longer than the broker keeps things in memory only (mosquitto: autosave_interval)",
    )
    state_interval_s: Seconds = Field(15.0, description="between two publications of the state")


class InterventionSettings(Section):
    """Who may step in, and how far."""

    http: tuple[str, ...] | None = Field(None, description="interventions by HTTP; empty: each that allows it")
    mqtt: tuple[str, ...] | None = Field(None, description="interventions by MQTT; empty: each that allows it")
    start: str = Field("bin/start", description="the project's program that starts its daemons, below project.dir")
    transitioner: str = Field("bin/transitioner", description="the project's transitioner, below project.dir")
    systemd: bool = Field(
        False,
        description="true: these are run through the units axiomd-boinc-start and axiomd-boinc-transition, "
        "so that BOINC's daemons don't live in axiomd's cgroup",
    )
    timeout_s: Seconds = Field(120.0, description="such a program may take so long")
    max_raise: Annotated[float, Field(ge=1, le=1000)] = Field(10.0, description="a cap is raised so many times at most")
    max_raise_s: Seconds = Field(DAY_S, description="... and for so long at most")


class AlertRule(Section):
    """An alert that leads to an intervention."""

    alert: str = Field(min_length=1, description="the alert's name (label alertname)")
    labels: dict[str, str] = Field(default_factory=dict, description="labels that the alert must have, with values")
    on: Literal["firing", "resolved"] = Field("firing", description="act when it fires, or when it is resolved")
    intervention: str = Field(min_length=1, description="what to do")
    parameters: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description='parameters; "{label}" stands for a label of the alert'
    )
    min_interval_s: Seconds = Field(900.0, description="not again with the same parameters before so long has passed")


class AlertSettings(Section):
    """What alerts of Alertmanager lead to."""

    rules: tuple[AlertRule, ...] = Field((), description="the first rule that fits an alert is taken")
    max_alerts: Count = Field(200, description="alerts of one webhook that are looked at; the others are counted")


class LogSettings(Section):
    """How axiomd logs."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal, else JSON")


class DaemonSettings(Section):
    """The daemon as a whole."""

    dry_run: bool = Field(False, description="decide and log, change nothing")
    lease_s: float = Field(
        10.0,
        ge=1,
        le=600,
        description="a second daemon on the project stands by, and takes over when the first gave no sign for so long",
    )
    stop_timeout_s: Seconds = Field(4.0, description="work in hand gets so long to end when the daemon stops")
    counters_file: Path | None = Field(
        None, description="JSON file with credited_count and total_results_count for the web site"
    )
    counters_interval_s: Seconds = Field(60.0, description="between two writings of that file")
    status_interval_s: Seconds = Field(15.0, description="between two readings of the fleet for the metrics")
    catalogue: Path | None = Field(None, description="catalogue of experiments; empty: the one that axiomd ships")


class Settings(BaseSettings):
    """All settings. `load` reads them; a test may build one directly."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="AXIOMD_",
        env_nested_delimiter="__",
    )

    project: ProjectSettings
    database: DatabaseSettings = DatabaseSettings()
    intake: IntakeSettings = IntakeSettings()
    credit: CreditSettings = CreditSettings()
    hosts: HostSettings = HostSettings()
    abort: AbortSettings = AbortSettings()
    repair: RepairSettings = RepairSettings()
    topup: TopupSettings = TopupSettings()
    experiments: dict[ExperimentName, ExperimentSettings] = Field(default_factory=dict)
    harvest: HarvestSettings = HarvestSettings()
    failures: FailureSettings = FailureSettings()
    verification: VerificationSettings = VerificationSettings()
    replication: ReplicationSettings = ReplicationSettings()
    sizing: SizingSettings = SizingSettings()
    report: ReportSettings = ReportSettings()
    journal: JournalSettings = JournalSettings()
    audit: AuditSettings = AuditSettings()
    http: HttpSettings = HttpSettings()
    mqtt: MqttSettings = MqttSettings()
    interventions: InterventionSettings = InterventionSettings()
    alerts: AlertSettings = AlertSettings()
    log: LogSettings = LogSettings()
    daemon: DaemonSettings = DaemonSettings()

    @property
    def harvests(self) -> bool:
        """Whether output files are read: finished results are looked for where credit is enabled."""
        return self.harvest.enabled and self.credit.enabled

    @model_validator(mode="after")
    def _harvest_waited_for(self) -> Settings:
        if self.credit.waits_for_harvest and not self.harvest.enabled:
            raise ValueError("credit.waits_for_harvest needs harvest.enabled: nothing would ever be paid")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment variables win over the file, whose tables come in as arguments."""
        return env_settings, init_settings


def load(path: Path) -> Settings:
    """Read the settings file.

    Raises SettingsError naming the file, the line and the setting that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{path}: {error.strerror}. Name the settings file with --config or AXIOMD_CONFIG."
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not a UTF-8 text file") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    try:
        return Settings(**tables)
    except ValidationError as error:
        raise SettingsError("\n".join(_complaints(path, text, error))) from None
    except UnreadableVariable as error:
        raise SettingsError(
            f"environment: {error}: a variable that names a whole "
            "section is JSON; name one setting instead, as AXIOMD_SECTION__KEY"
        ) from None


def _complaints(path: Path, text: str, error: ValidationError) -> list[str]:
    """One line for each wrong setting: file, line, setting, what is wrong."""
    complaints = []
    for problem in error.errors(include_url=False, include_input=False):
        keys = [str(key) for key in problem["loc"] if not isinstance(key, int) and key != "[key]"]
        line = _line_of(text, keys)
        where = f"{path}:{line}" if line else f"{path}"
        variable = "AXIOMD_" + "__".join(keys).upper()
        if variable in os.environ:
            where = f"environment variable {variable}"
        what = {
            "extra_forbidden": "unknown setting; `axiomd config show` lists all",
            "missing": "missing setting",
        }.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        complaints.append(f"{where}: {'.'.join(keys)}: {what}")
    return complaints


def _line_of(text: str, keys: list[str]) -> int:
    """Line (from 1) where a setting stands in a TOML text, or of the nearest table above it; 0 if neither is there."""
    best, best_depth = 0, 0
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if header := re.match(r"\[+\s*([^\]]+?)\s*\]+", stripped):
            table = [part.strip().strip("\"'") for part in header[1].split(".")]
            here = table
        elif entry := re.match(r"([A-Za-z0-9_.\"'-]+)\s*=", stripped):
            here = table + [part.strip("\"'") for part in entry[1].split(".")]
        else:
            continue
        depth = len(here)
        if here == keys[:depth] and depth > best_depth:
            best, best_depth = number, depth
    return best


def rows(settings: Settings) -> list[tuple[str, Any, str]]:
    """Every setting as (name, value, description), passwords hidden: what `axiomd config show` prints."""
    result: list[tuple[str, Any, str]] = []
    for section_name in type(settings).model_fields:
        section = getattr(settings, section_name)
        tables = (
            {f"experiments.{name}": table for name, table in section.items()}
            if isinstance(section, dict)
            else {section_name: section}
        )
        for prefix, table in tables.items():
            for key, field in type(table).model_fields.items():
                value = getattr(table, key)
                shown = str(value) if isinstance(value, SecretStr | Path) else value
                result.append((f"{prefix}.{key}", shown, field.description or ""))
    return result
