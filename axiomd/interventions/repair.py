"""Repair stuck workunits and lost reports now, also where the settings leave that to a person."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from pydantic import Field

from axiomd.events import Event
from axiomd.handlers.handler import Handler
from axiomd.handlers.repair import RepairHandler, ReportsHandler
from axiomd.interventions.intervention import Done, Errand, Parameters
from axiomd.store import tables
from axiomd.watchers.lost_reports import LostReports
from axiomd.watchers.stuck_workunits import StuckWorkunits
from axiomd.watchers.watcher import Watcher


class Limit(Parameters):
    """How much is repaired."""

    limit: Annotated[int, Field(ge=1, le=100_000, description="workunits and reports looked at most")] = 1000


class RepairFlags(Errand[Limit]):
    """Looks for stuck workunits and lost reports, and mends them by the daemon's own handlers."""

    name = "repair_flags"
    summary = "Look for stuck workunits and lost reports now, and repair them, even if repair.enabled is false."
    at_most = "`limit` workunits and reports, within the cap of repairs"
    parameters = Limit

    async def plan(self, parameters: Limit) -> str:
        """Say how many would be repaired."""
        planned = 0
        async for handler, events in self._look(parameters.limit):
            planned += len(await handler.plan(events))
        return f"{planned} workunits and reports would be repaired"

    async def run(self, parameters: Limit, *, actor: str) -> Done:
        """Repair them; each batch is a journal entry of its own, by the caller."""
        async with self.ground.database.session() as session:
            newest = await tables.newest_entry(session)
        async for handler, events in self._look(parameters.limit):
            handler.actor = actor
            await handler.act(events)
        async with self.ground.database.session() as session:
            repaired = await tables.changes_by(session, "repair", actor, after=newest)
        return Done(f"{repaired} workunits and reports repaired", changes=repaired)

    async def _look(self, limit: int) -> AsyncIterator[tuple[Handler, Sequence[Event]]]:
        """Yield what is stuck, in batches as large as a transaction takes, with the handler of each."""
        database, project, settings = self.ground.database, self.ground.project, self.ground.settings
        reactions: list[tuple[Watcher, Handler]] = [
            (LostReports(database, project, settings), ReportsHandler(database, settings)),
            (StuckWorkunits(database, project, settings), RepairHandler(database, project, settings)),
        ]
        left = limit
        for watcher, handler in reactions:
            async for page in watcher.poll(await database.now()):
                seen = page[:left]
                left -= len(seen)
                for start in range(0, len(seen), handler.most):
                    yield handler, seen[start : start + handler.most]
