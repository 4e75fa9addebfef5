"""The lease of the one daemon that writes: taken, renewed, given back, and checked by every transaction.

The lease is a row. Whoever takes it raises its fencing number, and each transaction of a daemon ends by reading that
number under a shared lock: one that woke up late finds another number and writes nothing. Renewals are a counter, which
a standby watches with its own monotonic clock, so that no clock that jumps ends a lease or prolongs it. A holder that
stopped in the middle of a transaction still holds locks: each of its connections is known by a named lock, and the
successor ends them.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

import pymysql
import structlog

from axiomd.errors import AxiomdError, DatabaseUnavailable, Fenced
from axiomd.sql import load_statements
from axiomd.store.database import Database, Session, lock_prefix

log = structlog.get_logger(__name__)
SQL = load_statements("axiomd.store", "lease.sql")

RENEW_SHARE = 0.15
LOOK_SHARE = 0.1
PATIENCE_SHARE = 0.7
"""Of lease_s: between two renewals, between two looks of a standby, and how long it waits for a renewal. A successor
has taken over before lease_s is over, counted from the holder's last sign of life."""


@dataclass(frozen=True)
class Holder:
    """The lease as it stands."""

    fence: int
    holder: str
    token: str
    server: str
    renewals: int


class Lease:
    """One daemon's side of the lease."""

    def __init__(self, database: Database, lease_s: float) -> None:
        self._database = database
        self.lease_s = lease_s
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._seen: Holder | None = None
        self._seen_at = 0.0
        self._renewed_at = 0.0

    @property
    def renew_every_s(self) -> float:
        """Seconds between two renewals."""
        return self.lease_s * RENEW_SHARE

    @property
    def look_every_s(self) -> float:
        """Seconds between two looks of a standby."""
        return self.lease_s * LOOK_SHARE

    @property
    def fresh(self) -> bool:
        """Whether the last renewal is so young that nobody else can have taken the lease by waiting."""
        return time.monotonic() - self._renewed_at < self.lease_s * PATIENCE_SHARE

    async def take(self) -> Holder | None:
        """Take the lease if it is free or its holder is gone or hangs; else the holder. Call it again and again."""
        async with self._database.session() as session:
            seen = await _read(session)
            if seen.token == self._database.token:
                # Taken by this very process: the answer got lost, or it couldn't renew in time and nobody else came.
                self._hold(seen.fence)
                return None
            server, here = await _server(session)
            of_holder = await _connections(session, seen.token) if seen.token else []
        gone = not seen.token or (seen.server == server and not of_holder)
        if not gone and not self._waited_for(seen):
            return seen
        for connection_id in of_holder:
            await self._end(connection_id)
        taken = await self._database.transaction(lambda session: self._take(session, seen, server, here), fenced=False)
        if taken is None:
            return seen
        self._hold(taken)
        log.info("the lease is taken", fence=taken, after=seen.holder or "nobody")
        return None

    def _hold(self, fence: int) -> None:
        self._database.fence = fence
        self._renewed_at = time.monotonic()

    def _waited_for(self, seen: Holder) -> bool:
        """Whether the holder gave no sign of life for as long as this standby may have to wait."""
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
        return time.monotonic() - self._seen_at >= self.lease_s * PATIENCE_SHARE

    async def _take(self, session: Session, seen: Holder, server: str, connection_id: int) -> int | None:
        if await _read(session, lock=True) != seen:
            return None
        fence = seen.fence + 1
        await session.execute(
            SQL["take"],
            {
                "fence": fence,
                "holder": self.name,
                "token": self._database.token,
                "server": server,
                "connection_id": connection_id,
            },
        )
        return fence

    async def _end(self, connection_id: int) -> None:
        """End a connection of a holder that hangs, so that the server undoes what it left half done."""
        try:
            async with self._database.session() as session:
                await session.execute(SQL["kill"], {"id": connection_id})
        except DatabaseUnavailable:
            raise
        except (AxiomdError, pymysql.MySQLError) as error:
            log.warning("a connection of the former holder can't be ended", error=str(error))

    async def renew(self) -> None:
        """Give a sign of life. Raises Fenced if another has taken the lease."""
        began = time.monotonic()
        async with self._database.session() as session:
            if not await session.execute(SQL["renew"], {"fence": self._database.fence}):
                holder = await _read(session)
                raise Fenced(f"the lease was taken by {holder.holder or 'nobody'}: nothing more is written from here")
        self._renewed_at = began

    async def give_back(self) -> None:
        """Let a standby take over at once."""
        async with self._database.session() as session:
            await session.execute(SQL["give_back"], {"fence": self._database.fence})
        self._database.fence = None


async def daemon_there(session: Session) -> str:
    """Who holds the lease, `host:process`; empty if nobody does."""
    found = await _read(session)
    return found.holder if found.token else ""


async def _read(session: Session, *, lock: bool = False) -> Holder:
    rows = await session.fetch(SQL["lock"] if lock else SQL["read"])
    fence, holder, token, server, renewals = rows[0]
    return Holder(int(fence), str(holder), str(token), str(server), int(renewals))


async def _server(session: Session) -> tuple[str, int]:
    """Name of the server and the user, which say whose connections can be seen; and the id of this connection."""
    name, connection_id = (await session.fetch(SQL["server"]))[0]
    return str(name), int(connection_id)


async def _connections(session: Session, token: str) -> list[int]:
    rows = await session.fetch(SQL["connections"], {"prefix": lock_prefix(token)})
    return [int(row[0]) for row in rows]
