"""Is it time for an audit? -> AuditDue. And what the last one found, as metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from axiomd import metrics
from axiomd.events import AuditDue, Event
from axiomd.policies.audit import LastAudit, next_audit
from axiomd.settings import Settings
from axiomd.store import tables
from axiomd.store.database import Database

FIRST_AFTER_S = 300.0
"""A daemon that has just started has other things to do."""


class Audits:
    """The watcher of the audit's schedule."""

    name = "audit"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._audit = settings.audit
        self._first_poll_at: float | None = None
        self.interval_s = min(60.0, settings.audit.interval_s)

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Read when the last audit was, and what it found; that outlives a restart."""
        if self._first_poll_at is None:
            self._first_poll_at = now
        async with self._database.session() as session:
            state = await tables.get_state(session)
        last = LastAudit(
            state.get(tables.AUDITED_AT, 0.0),
            state.get(tables.FULLY_AUDITED_AT, 0.0),
            int(state.get(tables.AUDIT_PROBLEMS, 0)),
        )
        metrics.AUDIT_OK.set(not last.problems)
        metrics.AUDIT_PROBLEMS.set(last.problems)
        metrics.AUDIT_AT.set(last.at)
        metrics.AUDIT_SECONDS.set(state.get(tables.AUDIT_TOOK, 0.0))
        since = next_audit(last, self._audit, now)
        if since is not None and now - self._first_poll_at >= FIRST_AFTER_S:
            yield [AuditDue(since)]
