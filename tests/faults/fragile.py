"""A database whose user is struck between any two of its statements: by a kill, a cut, or whatever a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pymysql

from axiomd.sql import Parameters, Row
from axiomd.store.database import Database, Login, Session


class Killed(BaseException):
    """The process ends here. Nothing catches it but the test."""


class Fuse:
    """Strikes once, after so many of axiomd's statements in transactions; and tells of each commit."""

    def __init__(self) -> None:
        self.dead = False
        self.committed: Callable[[], None] = lambda: None
        self._left = 0
        self._in_transaction = False
        self._strike: Callable[[Any], None] | None = None

    def arm(self, statements: int, strike: Callable[[Any], None]) -> None:
        """Strike after so many statements."""
        self._left, self._strike, self._in_transaction = statements, strike, False

    def disarm(self) -> None:
        """Do not strike any more."""
        self._strike = None

    def alive(self) -> None:
        """Raise Killed where the process is dead already."""
        if self.dead:
            raise Killed

    def burn(self, connection: Any, statement: str) -> None:
        """A statement was executed."""
        if statement == "COMMIT":
            self.committed()
        if statement == "START TRANSACTION":
            self._in_transaction = True
        self._left -= self._in_transaction
        if self._strike and self._left == 0:
            self._strike(connection)
        if statement in ("COMMIT", "ROLLBACK"):
            self._in_transaction = False

    def kill(self, connection: Any) -> None:
        """End the process: its connections go, and no further statement is sent."""
        self.dead = True
        connection.close()
        raise Killed

    def cut(self, connection: Any) -> None:
        """Cut a connection before axiomd sees the answer."""
        connection.close()
        raise pymysql.err.OperationalError(2013, "cut by the test")


class FragileSession(Session):
    """A session whose statements burn a fuse."""

    def __init__(self, connection: Any, calm: asyncio.Lock, fuse: Fuse) -> None:
        super().__init__(connection, calm)
        self._fuse = fuse

    async def fetch(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        self._fuse.alive()
        rows = await super().fetch(statement, parameters)
        self._fuse.burn(self._connection, statement)
        return rows

    async def execute(self, statement: str, parameters: Parameters | None = None) -> int:
        self._fuse.alive()
        count = await super().execute(statement, parameters)
        self._fuse.burn(self._connection, statement)
        return count

    async def insert(self, statement: str, parameters: Parameters | None = None) -> int:
        self._fuse.alive()
        id_ = await super().insert(statement, parameters)
        self._fuse.burn(self._connection, statement)
        return id_


class FragileDatabase(Database):
    """A database that can be struck between any two statements, and whose clock the test sets."""

    def __init__(self, login: Login, clock: Callable[[], float]) -> None:
        super().__init__(login)
        self.fuse = Fuse()
        self.connections = "0"
        """The ids of all that were made, for a query."""
        self._clock = clock

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        self.fuse.alive()
        async with super().session() as session:
            await session.execute(f"SET timestamp = {self._clock()}")
            self.connections += f",{session._connection.thread_id()}"
            yield FragileSession(session._connection, self.calm, self.fuse)
