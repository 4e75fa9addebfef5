"""The hosts, page by page by id: how each stands, and what it has to do. No names, nothing of a volunteer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from axiomd.boinc import views
from axiomd.boinc.project import Project
from axiomd.policies.hosts import failing_quota
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import tables
from axiomd.store.database import Database
from axiomd.views.view import View

State = Literal["live", "stale", "failing", "excluded"]

LOOKED_AT = 5000
"""Live hosts that a page of failing ones looks at."""


class Host(View):
    """A host."""

    id: int = Field(description="BOINC's id")
    live: bool = Field(description="whether axiomd last judged it live: in contact")
    failing: bool = Field(description="whether it is live and had only failures lately")
    excluded: bool = Field(description="whether it gets no work from axiomd, by the settings or an intervention")
    ncpus: int = Field(description="cores, as its client claims")
    ngpus: int = Field(description="GPUs, as its client claims")
    memory: float = Field(description="bytes of memory, as its client claims")
    last_contact_at: float = Field(description="its last contact (Unix seconds)")
    jobs_in_progress: int = Field(description="results of axiomd's apps that it has, among its last 1000")
    credit: float = Field(description="credit that axiomd granted it (cobblestones)")


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
        excluded = await tables.excluded_hosts(session, settings.hosts)
        following: int | None
        match state:
            case "failing":
                looked_at = await views.judged_ids(session, after, LOOKED_AT, live=True)
                found = sorted(await _failing(session, project, settings, [i for i in looked_at if i not in excluded]))
                following = looked_at[-1] if len(looked_at) == LOOKED_AT else None
            case "excluded":
                found, following = sorted(id_ for id_ in excluded if id_ > after), None
            case "live" | "stale":
                found = await views.judged_ids(session, after, limit + 1, live=state == "live")
                following = None
            case None:
                found, following = await views.host_ids(session, after, limit + 1), None
        if len(found) > limit:
            found = found[:limit]
            following = found[-1]
        return HostPage(hosts=await _read(session, project, settings, found, excluded), next=following)


async def host(database: Database, project: Project, settings: Settings, host_id: int) -> Host | None:
    """Give one host; None if there is none, or it was merged into another."""
    async with database.session() as session:
        found = await _read(session, project, settings, [host_id], await tables.excluded_hosts(session, settings.hosts))
    return found[0] if found else None


async def _read(
    connection: Connection,
    project: Project,
    settings: Settings,
    ids: Sequence[int],
    excluded: frozenset[int],
) -> list[Host]:
    rows = await views.hosts(connection, ids)
    judged = [row.id for row in rows if row.live and row.id not in excluded]
    failing = await _failing(connection, project, settings, judged)
    jobs = await views.jobs_in_progress(connection, [row.id for row in rows], project.app_ids)
    return [
        Host(
            **row._asdict(),
            failing=row.id in failing,
            excluded=row.id in excluded,
            jobs_in_progress=jobs.get(row.id, 0),
        )
        for row in rows
    ]


async def _failing(connection: Connection, project: Project, settings: Settings, ids: Sequence[int]) -> frozenset[int]:
    most_jobs = failing_quota(project.config.daily_result_quota, settings.hosts)
    return await views.failing(connection, ids, project.app_ids, most_jobs)
