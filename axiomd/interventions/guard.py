"""Pause and resume a kind of change, and raise its cap for a time."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from axiomd.interventions.intervention import Done, Parameters, Refusal, Source, Transactional
from axiomd.settings import HOUR_S
from axiomd.store import guard
from axiomd.store.database import Session, read_clock
from axiomd.store.guard import Kind


class KindOrAll(Parameters):
    """A kind of change, or all of them."""

    kind: Kind | Literal["all"] = Field(description="credit, abort, repair, topup, or all of them")

    @property
    def kinds(self) -> list[Kind]:
        """The kinds that are meant."""
        return list(Kind) if self.kind == "all" else [self.kind]


class Pause(Transactional[KindOrAll]):
    """Stops changes of a kind."""

    name = "pause"
    summary = "Stop changes of a kind until `resume`; the daemon goes on looking, and does the rest."
    at_most = "no row of BOINC's"
    changes_boinc = False
    parameters = KindOrAll

    async def plan(self, parameters: KindOrAll) -> str:
        """Say what would wait."""
        return f"{', '.join(parameters.kinds)} would wait for `resume`"

    async def change(self, session: Session, parameters: KindOrAll, *, actor: str, now: float) -> Done:  # noqa: ARG002
        """Stop them."""
        for kind in parameters.kinds:
            await guard.pause(session, kind)
        return Done(f"{', '.join(parameters.kinds)}: paused. `axiomd resume {parameters.kind}` lets it go on.")


class Resume(Transactional[KindOrAll]):
    """Lets changes of a kind go on."""

    name = "resume"
    summary = "Let changes of a kind go on that are paused or have used up their cap; the cap's window begins anew."
    at_most = "no row of BOINC's at once; from then on what the cap allows"
    changes_boinc = False
    parameters = KindOrAll

    async def plan(self, parameters: KindOrAll) -> str:
        """Say what would go on."""
        return f"{', '.join(parameters.kinds)} would go on, each cap counting from now"

    async def change(self, session: Session, parameters: KindOrAll, *, actor: str, now: float) -> Done:  # noqa: ARG002
        """Let them go on."""
        for kind in parameters.kinds:
            await guard.resume(session, kind, now)
        return Done(f"{', '.join(parameters.kinds)}: goes on; the cap counts from now.")


class Raise(Parameters):
    """How much a cap is raised, and for how long."""

    kind: Kind = Field(description="credit, abort, repair or topup")
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        description="the cap is multiplied by this; 1 takes a raise back"
    )
    hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(description="for so long")


class RaiseCap(Transactional[Raise]):
    """Raises a cap for a time."""

    name = "raise_cap"
    summary = "Multiply the cap of a kind of change for a time."
    at_most = "no row of BOINC's at once; interventions.max_raise and max_raise_s bound how much and how long"
    # Not by an alert: a cap is there for when nobody looks.
    sources = frozenset({Source.CLI, Source.HTTP, Source.MQTT})
    changes_boinc = False
    parameters = Raise

    async def plan(self, parameters: Raise) -> str:
        """Say what the cap would be."""
        self._check(parameters)
        async with self.ground.database.session() as session:
            use = await guard.use(
                session, guard.rails(self.ground.settings)[parameters.kind], await read_clock(session)
            )
        cap = guard.rails(self.ground.settings)[parameters.kind].cap
        return (
            f"the cap of {parameters.kind} would be {cap * parameters.factor:g} for {parameters.hours:g} hours; "
            f"it is {use.rail.cap:g} now, of which {use.used:g} is used"
        )

    async def change(self, session: Session, parameters: Raise, *, actor: str, now: float) -> Done:  # noqa: ARG002
        """Raise it."""
        self._check(parameters)
        await guard.raise_cap(session, parameters.kind, factor=parameters.factor, until=now + parameters.hours * HOUR_S)
        cap = guard.rails(self.ground.settings)[parameters.kind].cap * parameters.factor
        return Done(f"the cap of {parameters.kind} is {cap:g} for {parameters.hours:g} hours")

    def _check(self, parameters: Raise) -> None:
        bounds = self.ground.settings.interventions
        if parameters.factor > bounds.max_raise:
            raise Refusal(f"a cap is raised {bounds.max_raise:g} times at most (interventions.max_raise)")
        if parameters.hours * HOUR_S > bounds.max_raise_s:
            hours = bounds.max_raise_s / HOUR_S
            raise Refusal(f"a cap is raised for {hours:g} hours at most (interventions.max_raise_s)")
