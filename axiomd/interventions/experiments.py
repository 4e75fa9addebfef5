"""Retire an experiment, abort it, or let it go on. The daemon then cancels its jobs (handlers/cancel.py)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from axiomd.boinc import views
from axiomd.interventions.intervention import Done, Parameters, Refusal, Transactional
from axiomd.science.catalogue import deployed, read_catalogue
from axiomd.settings import ExperimentName
from axiomd.store import failures, tables
from axiomd.store.database import Session
from axiomd.store.tables import Ending


class Which(Parameters):
    """Which experiment."""

    experiment: ExperimentName = Field(description="name of an experiment of the settings")


class _OfExperiment(Transactional[Which]):
    """What these have in common: the experiment is one of the settings, in the version that they deploy."""

    parameters = Which

    def version(self, parameters: Which) -> int:
        """Look up the version; raises Refusal for an experiment that isn't deployed."""
        settings = self.ground.settings
        if parameters.experiment not in settings.experiments:
            known = ", ".join(settings.experiments) or "none"
            raise Refusal(f"'{parameters.experiment}' isn't an experiment of the settings; they have: {known}")
        catalogue = read_catalogue(settings.daemon.catalogue)
        return deployed(parameters.experiment, settings.experiments[parameters.experiment], catalogue).version

    async def jobs(self, parameters: Which) -> int:
        """Count its jobs under way."""
        async with self.ground.database.session() as session:
            jobs = await views.jobs_of_experiments(session, self.ground.project.app_ids)
        return jobs.get(parameters.experiment, 0)


class _End(_OfExperiment):
    """Ends an experiment, one way or the other."""

    at_most = "one experiment, one version: its jobs, within the cap of aborts"
    aborted: ClassVar[bool]
    ended: ClassVar[str]
    """Which of its jobs the daemon cancels."""

    async def plan(self, parameters: Which) -> str:
        """Say what would end."""
        version, jobs = self.version(parameters), await self.jobs(parameters)
        name = f"{parameters.experiment} version {version}"
        return f"{name} would get no new jobs; of {jobs} under way {self.ended} would be cancelled"

    async def change(self, session: Session, parameters: Which, *, actor: str, now: float) -> Done:
        """Note that it ends."""
        ending = Ending(parameters.experiment, self.version(parameters), aborted=self.aborted)
        await tables.put_ending(session, ending, actor=actor, now=now)
        return Done(f"{ending.name} version {ending.version} gets no new jobs; the daemon cancels {self.ended}")


class RetireExperiment(_End):
    """Ends an experiment gently."""

    name = "retire_experiment"
    summary = "Make no more jobs of an experiment and cancel those that no volunteer has begun; the others may end."
    aborted = False
    ended = "those that no volunteer has begun"


class AbortExperiment(_End):
    """Ends an experiment at once."""

    name = "abort_experiment"
    summary = "Make no more jobs of an experiment and cancel all that are under way; what comes in good is paid."
    aborted = True
    ended = "all"


class ContinueExperiment(_OfExperiment):
    """Takes an ending back, and the stops of an experiment that failed."""

    name = "continue_experiment"
    summary = "Let an experiment that was retired, aborted or stopped get new jobs; what was cancelled stays so."
    at_most = "one experiment, one version: no row of BOINC's"

    async def plan(self, parameters: Which) -> str:
        """Say what would go on."""
        version = self.version(parameters)
        async with self.ground.database.session() as session:
            await self._check(session, parameters.experiment, version)
        return f"{parameters.experiment} version {version} would get new jobs again"

    async def change(self, session: Session, parameters: Which, *, actor: str, now: float) -> Done:
        """Forget that it ended or failed: its results from before don't count against it any more."""
        version = self.version(parameters)
        stopped = await self._check(session, parameters.experiment, version)
        await tables.delete_ending(session, parameters.experiment, version)
        if stopped:
            await failures.lift_stops(session, parameters.experiment, version, by=actor, now=now)
        return Done(f"{parameters.experiment} version {version} gets new jobs again")

    async def _check(self, session: Session, experiment: str, version: int) -> bool:
        """Whether it is stopped somewhere; raises Refusal where it neither is nor has ended."""
        stopped = any(stop[:2] == (experiment, version) for stop in await failures.stops(session))
        if not stopped and (experiment, version) not in await tables.endings(session):
            raise Refusal(f"{experiment} version {version} hasn't ended, and isn't stopped")
        return stopped
