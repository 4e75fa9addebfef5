"""The experiments that the settings name: how far each is, and from how many sources its evidence came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from axiomd.science.catalogue import CatalogueEntry
from axiomd.settings import Settings
from axiomd.store import findings, tables
from axiomd.store.database import Database
from axiomd.store.findings import Spread
from axiomd.views.view import View


class Experiment(View):
    """An experiment that top-up deploys."""

    name: str
    version: int = Field(description="version in the workunits' names")
    question: str = Field(description="what it asks; empty if the catalogue doesn't have it")
    weight: float = Field(description="share of the jobs, relative to the others' weights")
    target: int = Field(description="independent results (seeds) wanted")
    seeds: int = Field(description="independent results so far")
    hosts: int = Field(description="hosts that they came from")
    users: int = Field(description="volunteers that they came from")
    platforms: tuple[str, ...] = Field(description="operating systems that they came from")
    discounted: dict[str, int] = Field(
        description="complete results that are no evidence, by reason: same seed, same numbers, distrusted host"
    )
    jobs_under_way: int = Field(description="jobs that are with hosts or wait for one; may be some seconds old")
    ended: Literal["retired", "aborted"] | None = Field(description="whether it gets no new jobs any more")


class Experiments(View):
    """The experiments of the settings, in their order."""

    experiments: list[Experiment]


async def experiments(
    database: Database, settings: Settings, catalogue: Mapping[str, CatalogueEntry], jobs: Mapping[str, int]
) -> Experiments:
    """Give them all. `jobs` are those under way by experiment. Its cost grows with the results that were harvested."""
    async with database.session() as session:
        canonical = {} if settings.harvests else await tables.independent_results(session)
        spread = await findings.spread(session)
        discounted = await findings.discounted(session)
        endings = await tables.endings(session)
    found = []
    for name, wanted in settings.experiments.items():
        known = catalogue.get(name)
        version = wanted.version or (known.version if known else 0)
        run = name, version
        ending, sources = endings.get(run), spread.get(run, Spread())
        found.append(
            Experiment(
                name=name,
                version=version,
                question=known.question if known else "",
                weight=wanted.weight,
                target=wanted.target,
                seeds=sources.seeds if settings.harvests else canonical.get(run, 0),
                hosts=sources.hosts,
                users=sources.users,
                platforms=tuple(platform.name.lower() for platform in sources.platforms),
                discounted=discounted.get(run, {}),
                jobs_under_way=jobs.get(name, 0),
                ended=None if ending is None else "aborted" if ending.aborted else "retired",
            )
        )
    return Experiments(experiments=found)
