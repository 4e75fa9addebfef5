"""The hosts, page by page by id: how each stands, and what it has to do. No names, nothing of a volunteer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from axiomd.boinc import views
from axiomd.boinc.project import Project
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import failures
from axiomd.store.database import Database
from axiomd.views.view import View

State = Literal["live", "stale", "failing", "excluded"]

BY_SETTINGS = "hosts.exclude, by the settings"


class Host(View):
    """A host."""

    id: int = Field(description="BOINC's id")
    live: bool = Field(description="whether axiomd last judged it live: in contact")
    failing: bool = Field(description="whether its breaker isn't closed: it fails more than others with the same work")
    excluded: bool = Field(description="whether it gets no work from axiomd, by the settings or an intervention")
    ncpus: int = Field(description="cores, as its client claims")
    ngpus: int = Field(description="GPUs, as its client claims")
    memory: float = Field(description="bytes of memory, as its client claims")
    last_contact_at: float = Field(description="its last contact (Unix seconds)")
    jobs_in_progress: int = Field(description="results of axiomd's apps that it has, among its last 1000")
    credit: float = Field(description="credit that axiomd granted it (cobblestones)")
    held_since: float | None = Field(description="since when it is excluded or failing (Unix seconds); null: not known")
    held_until: float | None = Field(description="when a failing host gets a job again, its probe; null: open end")
    held_reason: str = Field(description="why it is excluded or failing; empty: it isn't, or nobody said")


class HostPage(View):
    """Hosts by ascending id."""

    hosts: list[Host] = Field(
        description="fewer than `limit`, even none, where a filter found no more at the first look"
    )
    next: int | None = Field(description="`after` of the next page; null: there is none")


async def page(
    database: Database,
    project: Project,
    settings: Settings,
    *,
    after: int,
    limit: int,
    state: State | None,
) -> HostPage:
    """Give the hosts above an id."""
    async with database.session() as session:
        held = await _held(session, settings)
        following: int | None
        match state:
            case "failing" | "excluded":
                found = sorted(id_ for id_, why in held.items() if id_ > after and state in why.states)
                following = None
            case "live" | "stale":
                found = await views.judged_ids(session, after, limit + 1, live=state == "live")
                following = None
            case None:
                found, following = await views.host_ids(session, after, limit + 1), None
        if len(found) > limit:
            found = found[:limit]
            following = found[-1]
        return HostPage(hosts=await _read(session, project, found, held), next=following)


async def host(database: Database, project: Project, settings: Settings, host_id: int) -> Host | None:
    """Give one host; None if there is none, or it was merged into another."""
    async with database.session() as session:
        found = await _read(session, project, [host_id], await _held(session, settings))
    return found[0] if found else None


class _Held(NamedTuple):
    """Why a host gets no jobs."""

    states: frozenset[str]
    since: float | None
    until: float | None
    reason: str


async def _held(connection: Connection, settings: Settings) -> dict[int, _Held]:
    """Hosts that are excluded or failing. One that is both is told of as excluded, which lasts longer."""
    failing = await failures.breaker_rows(connection)
    held = {row.host_id: _Held(frozenset({"failing"}), row.since, row.until_at, row.reason) for row in failing}
    by_settings = dict.fromkeys(settings.hosts.exclude, (None, BY_SETTINGS))
    for host_id, (since, reason) in (by_settings | await failures.exclusions(connection)).items():
        states = held[host_id].states if host_id in held else frozenset()
        held[host_id] = _Held(states | {"excluded"}, since, None, reason)
    return held


async def _read(connection: Connection, project: Project, ids: Sequence[int], held: Mapping[int, _Held]) -> list[Host]:
    rows = await views.hosts(connection, ids)
    jobs = await views.jobs_in_progress(connection, [row.id for row in rows], project.app_ids)
    free = _Held(frozenset(), None, None, "")
    return [
        Host(
            **row._asdict(),
            failing="failing" in (why := held.get(row.id, free)).states,
            excluded="excluded" in why.states,
            jobs_in_progress=jobs.get(row.id, 0),
            held_since=why.since,
            held_until=why.until,
            held_reason=why.reason,
        )
        for row in rows
    ]
