"""HostFailing -> the host's breaker opens: no jobs for a while, each time longer. HostRecovered -> it closes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from axiomd.boinc import hosts
from axiomd.events import HostFailing, HostRecovered
from axiomd.handlers.handler import Handler, Planned
from axiomd.policies.breaker import BreakerRow, State, Verdict, closed, failing_hosts, judge, opened, reason_of
from axiomd.science.fingerprint import host_reason
from axiomd.settings import Settings
from axiomd.sql import Connection
from axiomd.store import failures, tables
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.tables import Entry

log = structlog.get_logger(__name__)

NO_REPORT = "its probe did not come back"
NO_PROBE = "its probe was cancelled"

Moves = list[tuple[HostFailing | HostRecovered, BreakerRow]]
"""Events that still hold, with what becomes of the breaker."""


class BreakerHandler(Handler):
    """Opens and closes the hosts' breakers."""

    name = "breaker"
    events = (HostFailing, HostRecovered)

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run, most=100)
        self._database = database
        self._settings = settings

    async def plan(self, events: Sequence[HostFailing | HostRecovered]) -> list[Planned]:
        """Say whose breaker would open or close."""
        async with self._database.session() as session:
            now = await read_clock(session)
            before = {row.host_id: row for row in await failures.breaker_rows(session, closed=True)}
            moves = await self._decide(session, events, before, now)
        return [Planned("breaker", f"host {row.host_id}", _words(row)) for _, row in moves]

    async def act(self, events: Sequence[HostFailing | HostRecovered]) -> None:
        """Move the breakers of a batch."""

        async def move(session: Session) -> Moves:
            now = await read_clock(session)
            before = await failures.lock_breakers(session, (event.host_id for event in events))
            moves = await self._decide(session, events, before, now)
            for event, row in moves:
                detail = {"host": row.host_id, "state": row.state.name.lower(), "trips": row.trips}
                if row.state is State.OPEN:
                    detail |= {"until_at": row.until_at, "reason": row.reason}
                await tables.write_journal(session, Entry(now, "breaker", event.name, 1, detail=detail))
            if moves:
                await failures.put_breakers(session, [row for _, row in moves])
            return moves

        for _, row in await self._database.transaction(move):
            log.info("breaker moved", host=row.host_id, now=_words(row))

    async def _decide(
        self,
        connection: Connection,
        events: Sequence[HostFailing | HostRecovered],
        before: dict[int, BreakerRow],
        now: float,
    ) -> Moves:
        settings = self._settings.failures
        by_host = {event.host_id: event for event in events}
        known = {host_id: before.get(host_id) for host_id in sorted(by_host)}
        failing: frozenset[int] = frozenset()
        if any(row is None or row.state is State.CLOSED for row in known.values()):
            done, others = await failures.work_of_hosts(connection, settings, self._settings.hosts, now)
            stopped = {stop[:3] for stop in await failures.stops(connection)}
            failing = frozenset(host.host_id for host in failing_hosts(done, others, stopped, settings))
        verdicts = await self._verdicts(connection, [row for row in known.values() if row], now)
        moves: Moves = []
        for host_id, row in known.items():
            verdict = verdicts.get(host_id)
            moved = None
            if row is None or row.state is State.CLOSED:
                if host_id in failing:
                    reason = await self._reason(connection, host_id, now)
                    moved = opened(host_id, row, reason, settings, now)
            elif verdict is Verdict.GOOD:
                moved = closed(row, now)
            elif verdict is Verdict.BAD:
                moved = opened(host_id, row, await self._reason(connection, host_id, now) or NO_REPORT, settings, now)
            elif verdict is Verdict.NONE:
                moved = opened(host_id, row, row.reason or NO_PROBE, settings, now, longer=False)
            elif not self._settings.topup.targeted and not row.probe and row.until_at <= now:
                moved = closed(row, now)
            if moved:
                moves.append((by_host[host_id], moved))
        return moves

    async def _verdicts(
        self, connection: Connection, rows: Sequence[BreakerRow], now: float
    ) -> dict[int, Verdict | None]:
        names = {row.host_id: row.probe for row in rows if row.state is State.HALF_OPEN and row.probe}
        found = await hosts.probes(connection, names)
        intended = await failures.intended(connection, names.values())
        return {host: judge(probe._replace(intended=names[host] in intended), now) for host, probe in found.items()}

    async def _reason(self, connection: Connection, host_id: int, now: float) -> str:
        counts: Counter[str] = Counter()
        for failure, count in await failures.failures_of_host(
            connection, host_id, failures.window(self._settings.failures, now)
        ):
            counts[host_reason(failure)] += count
        return reason_of(list(counts.items()))


def _words(row: BreakerRow) -> str:
    if row.state is State.CLOSED:
        return "closed: it gets jobs again"
    until = f"{datetime.fromtimestamp(row.until_at, UTC):%Y-%m-%d %H:%M} UTC"
    return f"open until {until}: {row.reason or 'it fails'}"
