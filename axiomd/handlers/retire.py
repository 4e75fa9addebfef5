"""ClaimSettled -> kept for good. ExperimentComplete -> it ends; CancelHandler then cancels its unsent jobs."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from axiomd.events import ClaimSettled, ExperimentComplete
from axiomd.handlers.handler import Handler, Planned
from axiomd.policies.retire import Completion
from axiomd.settings import Settings
from axiomd.store import findings, tables
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.findings import KeptFinding
from axiomd.store.tables import Ending, Entry

log = structlog.get_logger(__name__)


class RetireHandler(Handler):
    """Keeps what is settled, and retires experiments that have their answer. It changes no row of BOINC's."""

    name = "retire"
    events = (ClaimSettled, ExperimentComplete)

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run, most=100)
        self._database = database

    async def plan(self, events: Sequence[ClaimSettled | ExperimentComplete]) -> list[Planned]:
        """Say what would be kept, and which experiments would end."""
        return [
            Planned("finding", f"claim {event.claim} of {_run(event)}", f"{event.verdict}, after {event.seeds} seeds")
            if isinstance(event, ClaimSettled)
            else Planned("retire", f"experiment {_run(event)}", f"{_why(event)}, after {event.seeds} seeds")
            for event in events
        ]

    async def act(self, events: Sequence[ClaimSettled | ExperimentComplete]) -> None:
        """Keep and retire what wasn't before."""

        async def apply(session: Session) -> list[ClaimSettled | ExperimentComplete]:
            now = await read_clock(session)
            kept = [e for e in events if isinstance(e, ClaimSettled) and await _keep(session, e, now)]
            ended = [e for e in events if isinstance(e, ExperimentComplete) and await _retire(session, e, now)]
            return [*kept, *ended]

        for event in await self._database.transaction(apply):
            if isinstance(event, ClaimSettled):
                log.info("claim settled", experiment=_run(event), claim=event.claim, verdict=event.verdict)
            else:
                log.info("experiment retired", experiment=_run(event), why=_why(event), seeds=event.seeds)


async def _keep(session: Session, event: ClaimSettled, now: float) -> bool:
    """Keep a claim's verdict; False if it has one."""
    kept = KeptFinding(event.experiment, event.version, event.claim, event.claim_hash, event.verdict, now, event.seeds)
    if not await findings.keep_finding(session, kept):
        return False
    detail = {"experiment": event.experiment, "version": event.version, "claim": event.claim,
              "verdict": event.verdict, "seeds": event.seeds}  # fmt: skip
    await tables.write_journal(session, Entry(now, "finding", event.name, 1, detail=detail))
    return True


async def _retire(session: Session, event: ExperimentComplete, now: float) -> bool:
    """End an experiment; False if it has ended."""
    run = event.experiment, event.version
    if run in await tables.endings(session):
        return False
    if not await tables.put_ending(session, Ending(*run, aborted=False), actor="axiomd", now=now):
        return False
    await findings.note_retirement(session, run, seeds=event.seeds, now=now)
    detail = {"experiment": event.experiment, "version": event.version, "seeds": event.seeds, "why": _why(event)}
    await tables.write_journal(session, Entry(now, "retire", event.name, 1, detail=detail))
    return True


def _run(event: ClaimSettled | ExperimentComplete) -> str:
    return f"{event.experiment} version {event.version}"


def _why(event: ExperimentComplete) -> str:
    return (Completion.SETTLED if event.settled else Completion.TARGET).value
