"""What axiomd has done, what waits, and how full the caps are: for `axiomd status`, the API and MQTT."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

from pydantic import Field

from axiomd.boinc import fleet
from axiomd.boinc.project import Project
from axiomd.boinc.states import ServerState
from axiomd.settings import Settings
from axiomd.store import findings, guard, tables
from axiomd.store.database import Database, read_clock
from axiomd.store.lease import daemon_there
from axiomd.views.view import View


class Status(View):
    """The whole at a glance. Counts are since axiomd's tables were made."""

    results_completed: int = Field(description="results that axiomd dealt with for good")
    results_credited: int = Field(description="results that it paid")
    credit_granted: float = Field(description="credit that it granted (cobblestones), less what was undone")
    tasks_aborted: int = Field(description="tasks that it ended")
    flags_repaired: dict[str, int] = Field(description="workunits and reports that it repaired, by case")
    workunits_deployed: int = Field(description="jobs that it made")
    refusals: dict[str, int] = Field(description="results that are never paid, by reason")
    hosts_live: int = Field(description="hosts in contact")
    hosts_stale: int = Field(description="hosts that were in contact and fell silent")
    results_unsent: int = Field(description="results of axiomd's apps that no host has yet")
    results_in_progress: int = Field(description="results of axiomd's apps that a host has")
    results_waiting: int = Field(description="finished results that wait for axiomd")
    oldest_waiting_s: float = Field(description="age of the oldest of them in seconds; 0 if none waits")
    independent_seeds: int = Field(description="independent results: one of each seed, no two with the same numbers")
    evidence_hosts: int = Field(description="hosts that they came from")
    evidence_users: int = Field(description="volunteers that they came from")
    evidence_platforms: tuple[str, ...] = Field(description="operating systems that they came from")
    results_discounted: dict[str, int] = Field(
        description="complete results that are no evidence, by reason: same seed, same numbers, distrusted host"
    )
    caps: dict[str, str] = Field(description="by kind of change: how much of its cap the rolling window has used")
    stopped: dict[str, str] = Field(description="kinds of change that are stopped, and why")
    daemon: str = Field(description="the daemon that holds the lease, host:process; empty if none does")
    dry_run: bool = Field(description="whether axiomd only says what it would do")


async def status(database: Database, project: Project, settings: Settings) -> Status:
    """Read the status. Its cost grows with axiomd's own tables: who asks often keeps it for a while."""
    async with database.session() as session:
        now = await read_clock(session)
        totals = await tables.totals(session)
        states = await fleet.results_by_state(session, project.app_ids)
        waiting, oldest = await fleet.backlog(
            session, project.app_ids, assimilates=settings.intake.mode == "assimilator"
        )
        spread = await findings.whole_spread(session)
        discounted: Counter[str] = Counter()
        for counts in (await findings.discounted(session)).values():
            discounted.update(counts)
        holder = await daemon_there(session)
        uses = [await guard.use(session, rail, now) for rail in guard.rails(settings).values()]
    return Status(
        **asdict(totals),
        results_unsent=states.get(ServerState.UNSENT, 0),
        results_in_progress=states.get(ServerState.IN_PROGRESS, 0),
        results_waiting=waiting,
        oldest_waiting_s=round(max(now - oldest, 0.0), 1) if oldest else 0.0,
        independent_seeds=spread.seeds,
        evidence_hosts=spread.hosts,
        evidence_users=spread.users,
        evidence_platforms=tuple(platform.name.lower() for platform in spread.platforms),
        results_discounted=dict(discounted),
        caps={use.rail.kind.value: f"{use.used:g} of {use.rail.cap:g}" for use in uses},
        stopped={use.rail.kind.value: use.stopped for use in uses if use.stopped},
        daemon=holder,
        dry_run=settings.daemon.dry_run,
    )
