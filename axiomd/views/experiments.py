"""The experiments that the settings name: how far each is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from axiomd.science.catalogue import CatalogueEntry
from axiomd.settings import Settings
from axiomd.store import tables
from axiomd.store.database import Database
from axiomd.views.view import View


class Experiment(View):
    """An experiment that top-up deploys."""

    name: str
    version: int = Field(description="version in the workunits' names")
    question: str = Field(description="what it asks; empty if the catalogue doesn't have it")
    weight: float = Field(description="share of the jobs, relative to the others' weights")
    target: int = Field(description="independent results (seeds) wanted")
    seeds: int = Field(description="independent results so far")
    jobs_under_way: int = Field(description="jobs that are with hosts or wait for one; may be some seconds old")
    ended: Literal["retired", "aborted"] | None = Field(description="whether it gets no new jobs any more")


class Experiments(View):
    """The experiments of the settings, in their order."""

    experiments: list[Experiment]


async def experiments(
    database: Database, settings: Settings, catalogue: Mapping[str, CatalogueEntry], jobs: Mapping[str, int]
) -> Experiments:
    """Give them all. `jobs` are those under way by experiment."""
    async with database.session() as session:
        seeds = await tables.independent_results(session)
        endings = await tables.endings(session)
    found = []
    for name, wanted in settings.experiments.items():
        known = catalogue.get(name)
        version = wanted.version or (known.version if known else 0)
        ending = endings.get((name, version))
        found.append(
            Experiment(
                name=name,
                version=version,
                question=known.question if known else "",
                weight=wanted.weight,
                target=wanted.target,
                seeds=seeds.get((name, version), 0),
                jobs_under_way=jobs.get(name, 0),
                ended=None if ending is None else "aborted" if ending.aborted else "retired",
            )
        )
    return Experiments(experiments=found)
