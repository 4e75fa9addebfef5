"""HostStale, HostReturned -> axiomd's own note of who is live. FleetSilent, DaemonDown -> a word in the log."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import structlog

from axiomd.events import DaemonDown, FleetSilent, HostReturned, HostStale
from axiomd.handlers.handler import Handler, Planned
from axiomd.store import tables
from axiomd.store.database import Database, Session, read_clock

log = structlog.get_logger(__name__)


TELL_AGAIN_S = 3600.0


class HostsHandler(Handler):
    """Notes which hosts are live, and when the whole fleet was silent."""

    name = "hosts"
    events = (HostStale, HostReturned, FleetSilent)

    def __init__(self, database: Database) -> None:
        # The note is axiomd's own: a dry run needs it as much.
        super().__init__(dry_run=False, most=5000)
        self._database = database

    async def plan(self, events: Sequence[HostStale | HostReturned | FleetSilent]) -> list[Planned]:
        """Say which hosts would be noted."""
        return [
            Planned("note", "the fleet" if isinstance(event, FleetSilent) else f"host {event.host_id}", event.name)
            for event in events
        ]

    async def act(self, events: Sequence[HostStale | HostReturned | FleetSilent]) -> None:
        """Note the hosts' new states, and a silence of the fleet."""

        async def note(session: Session) -> None:
            now = await read_clock(session)
            if any(isinstance(event, FleetSilent) for event in events):
                await tables.set_state(session, tables.FLEET_SILENT_AT, now)
            for event_type, live in ((HostStale, False), (HostReturned, True)):
                ids = [event.host_id for event in events if isinstance(event, event_type)]
                if ids:
                    await tables.put_hosts(session, ids, live=live, now=now)

        await self._database.transaction(note, pace=self.pace, rows=len(events))


class NoticeHandler(Handler):
    """Tells the operator what axiomd can see and not mend; the same trouble once an hour."""

    name = "notice"
    events = (FleetSilent, DaemonDown)

    def __init__(self) -> None:
        super().__init__(dry_run=False)
        self._told_at: dict[object, float] = {}

    async def plan(self, events: Sequence[FleetSilent | DaemonDown]) -> list[Planned]:
        """Say what there is to tell."""
        return [Planned("tell", event.name, _words(event)) for event in events]

    async def act(self, events: Sequence[FleetSilent | DaemonDown]) -> None:
        """Tell it."""
        for event in events:
            now = time.monotonic()
            if now - self._told_at.get((event.name, event.key), -math.inf) >= TELL_AGAIN_S:
                self._told_at[event.name, event.key] = now
                log.warning(_words(event), event_type=event.name)


def _words(event: FleetSilent | DaemonDown) -> str:
    if isinstance(event, FleetSilent):
        return (
            f"{event.silent_hosts} of {event.live_hosts} live hosts are silent: aborts wait. "
            "Look at the server's network and BOINC's scheduler."
        )
    if not event.lag_s:
        return f"the {event.daemon} is down: nobody holds its lock file. `bin/start` of the project starts it."
    return (
        f"the {event.daemon} is behind: a transition is overdue for {event.lag_s:.0f} s. "
        "See `bin/status` of the project, and start it if it is down."
    )
