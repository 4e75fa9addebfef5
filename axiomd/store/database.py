"""The one way to the database: a pool of connections, polls that hold no lock, transactions that are tried again.

Polls run with autocommit; a change runs in `transaction`, READ COMMITTED, and its connection goes back to the pool only
after the transaction ended. Where a lease is held (store/lease.py), a transaction checks its fencing number before the
commit. The database's clock is the clock: `now` is read there and passed on as a parameter.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiomysql
import pymysql
import structlog
from pymysql.constants import ER
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from axiomd import metrics
from axiomd.errors import AxiomdError, Conflict, DatabaseUnavailable, Fenced, ProjectError
from axiomd.sql import Connection, Parameters, Row, render
from axiomd.store.pace import Pace

log = structlog.get_logger(__name__)
Result = TypeVar("Result")

# Our wait for a row lock is short: giving way and trying again is cheaper than making BOINC's programs wait behind us.
LOCK_WAIT_S = 3
TRANSACTION_TRIES = 6

# A daemon that is stopped in the middle of a transaction must not keep BOINC waiting: MariaDB ends it after so long.
IDLE_TRANSACTION_S = 5

_FENCE = "SELECT fence FROM axiomd_lease WHERE id = 1 LOCK IN SHARE MODE"

_LOST_CONNECTION = {2002, 2003, 2006, 2013, 2014, 2055, ER.SERVER_SHUTDOWN, ER.CON_COUNT_ERROR, 1317, 1927, 4031}
_REFUSED = {ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.BAD_DB_ERROR, 1698, 1130}
_CONTENTION = {ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT, 1020}
_MISSING = {ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR}
_NOT_ALLOWED = {ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR, ER.SPECIFIC_ACCESS_DENIED_ERROR}


class Contention(AxiomdError):  # noqa: N818 - the database's word for it
    """A deadlock or a lock time-out made the database undo a transaction of ours; nothing was written."""


class LoginRefused(DatabaseUnavailable):
    """The database answers and refuses: user, password or database name are wrong. Trying again won't help."""


@dataclass(frozen=True)
class Login:
    """Where the database is and who asks. The password is never shown."""

    host: str
    port: int
    unix_socket: str
    name: str
    user: str
    password: str
    connect_timeout_s: float = 5.0
    pool_size: int = 6

    def __repr__(self) -> str:
        """Show the place, never the password."""
        return f"Login({self.user}@{self.place}/{self.name})"

    @property
    def place(self) -> str:
        """The socket or host and port, for messages."""
        return self.unix_socket or f"{self.host}:{self.port}"


class Session:
    """One connection in use; an `axiomd.sql.Connection`."""

    def __init__(self, connection: Any, calm: asyncio.Lock) -> None:
        self._connection = connection
        self.calm = calm
        self._held_since: float | None = None

    async def holding(self) -> None:
        """Say that rows of BOINC are locked from here to the end of the transaction; wait until it is calm."""
        if self._held_since is None:
            await self.calm.acquire()
            self._held_since = time.perf_counter()

    def held(self) -> None:
        """Say that the transaction has ended."""
        if self._held_since is not None:
            self._held_since = None
            self.calm.release()

    @property
    def held_s(self) -> float:
        """Seconds since rows of BOINC were locked; 0 if none were."""
        return time.perf_counter() - self._held_since if self._held_since is not None else 0.0

    async def fetch(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        """Rows of a query."""
        async with self._connection.cursor() as cursor:
            await cursor.execute(render(statement, parameters or {}))
            return list(await cursor.fetchall())

    async def fetch_packed(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        """Rows of a query of the form SELECT JSON_ARRAYAGG(JSON_ARRAY(...)).

        The driver spends some 20 microseconds of Python on each row, the json module hardly one: what comes by the
        thousand comes as one document. Doubles survive the way exactly.
        """
        packed = (await self.fetch(statement, parameters))[0][0]
        return json.loads(packed) if packed else []

    async def execute(self, statement: str, parameters: Parameters | None = None) -> int:
        """Run a statement; the number of rows that it changed or inserted."""
        async with self._connection.cursor() as cursor:
            return int(await cursor.execute(render(statement, parameters or {})))

    async def insert(self, statement: str, parameters: Parameters | None = None) -> int:
        """Run an INSERT of one row; the id that the database gave it."""
        async with self._connection.cursor() as cursor:
            await cursor.execute(render(statement, parameters or {}))
            return int(cursor.lastrowid)


class Database:
    """The project's database. `open` it, `close` it; `fetch` and `session` for reading, `transaction` for changing."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self.token = secrets.token_hex(8)
        """Names the locks by which the connections of this process are known."""
        self.calm = asyncio.Lock()
        """Whoever locks rows of BOINC has it until the commit, and whoever is about to compute for long takes it: the
        locks would be held for as long as the event loop is busy."""
        self.fence: int | None = None
        """Fencing number of the lease that is held; None where no lease is asked for: the commands of a person."""
        self._pool: Any = None
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Make the first connection. Raises DatabaseUnavailable, and LoginRefused where waiting won't help."""
        await self._ensure_pool()

    async def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            self._pool.terminate()
            await self._pool.wait_closed()
            self._pool = None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Give a connection with autocommit, for plain reads that lock nothing."""
        pool = await self._ensure_pool()
        with self._translated():
            connection = await pool.acquire()
        try:
            with self._translated():
                yield Session(connection, self.calm)
        except DatabaseUnavailable:
            connection.close()
            raise
        except asyncio.CancelledError:
            # A statement may be half answered: this connection can't be used again.
            connection.close()
            raise
        finally:
            await pool.release(connection)

    async def transaction(
        self,
        work: Callable[[Session], Awaitable[Result]],
        *,
        pace: Pace | None = None,
        rows: int = 0,
        fenced: bool = True,
    ) -> Result:
        """Run `work` in one transaction, and again from the start when a lock or a changed row stood in its way.

        `work` must do all its reading inside, for what it read before may no longer hold. Raises what `work` raises,
        after a rollback; Contention or Conflict only after several tries; Fenced if the lease is another's by now.

        Args:
            work: what to do.
            pace: learns how long BOINC's rows were held.
            rows: how many rows `work` was given, for the pace.
            fenced: whether the lease that is held must still be held at the commit.

        """
        attempts = AsyncRetrying(
            retry=retry_if_exception_type((Contention, Conflict)),
            stop=stop_after_attempt(TRANSACTION_TRIES),
            wait=wait_random_exponential(multiplier=0.02, max=1.0),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                if attempt.retry_state.attempt_number > 1:
                    metrics.TRANSACTION_RETRIES.inc()
                return await self._once(work, pace, rows, self.fence if fenced else None)
        raise AssertionError("tenacity raises or returns")

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Session]:
        """Give a connection that sees one moment of the database, without any lock."""
        async with self.session() as session:
            await session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await session.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            try:
                yield session
            except asyncio.CancelledError:
                raise  # in the middle of an answer: the connection is closed
            except BaseException:
                await session.execute("ROLLBACK")
                raise
            await session.execute("ROLLBACK")

    async def _once(
        self, work: Callable[[Session], Awaitable[Result]], pace: Pace | None, rows: int, fence: int | None
    ) -> Result:
        async with self.session() as session:
            await session.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            await session.execute("START TRANSACTION")
            try:
                result = await work(session)
                if fence is not None:
                    await _check(session, fence)
                await session.execute("COMMIT")
                if held_s := session.held_s:
                    metrics.LOCKS_HELD.observe(held_s)
                if pace is not None:
                    pace.record(held_s, rows)
            except asyncio.CancelledError:
                raise  # the connection is closed with its transaction, which the server rolls back
            except Exception:
                await session.execute("ROLLBACK")
                raise
            finally:
                session.held()
            metrics.TRANSACTIONS.inc()
            return result

    async def fetch(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        """Rows of a single plain query."""
        async with self.session() as session:
            return await session.fetch(statement, parameters)

    async def now(self) -> float:
        """Unix time by the database's clock, in seconds."""
        return await read_clock(self)

    async def _ensure_pool(self) -> Any:
        async with self._opening:
            if self._pool is None:
                where: dict[str, Any] = (
                    {"unix_socket": self.login.unix_socket}
                    if self.login.unix_socket
                    else {"host": self.login.host, "port": self.login.port}
                )
                with self._translated():
                    self._pool = await aiomysql.create_pool(
                        minsize=1,
                        maxsize=self.login.pool_size,
                        user=self.login.user,
                        password=self.login.password,
                        db=self.login.name,
                        charset="utf8mb4",
                        connect_timeout=self.login.connect_timeout_s,
                        autocommit=True,
                        # No messages are kept for INSERT IGNORE and the like: the driver would fetch and show them.
                        # The rest is for the one who takes the lease after us: a lock that names the connection, and,
                        # where the server has it, an end to transactions that stand still.
                        init_command=f"SET SESSION time_zone='+00:00', innodb_lock_wait_timeout={LOCK_WAIT_S}, "
                        "sql_notes=0, max_error_count=0, group_concat_max_len=268435456, "
                        f"@axiomd = GET_LOCK(CONCAT('{lock_prefix(self.token)}', CONNECTION_ID()), 0) "
                        f"/*M!100300 , idle_transaction_timeout={IDLE_TRANSACTION_S}, "
                        f"idle_write_transaction_timeout={IDLE_TRANSACTION_S} */",
                        **where,
                    )
            return self._pool

    def _translated(self) -> Translated:
        return Translated(self.login)


class Translated:
    """A context in which the driver's errors become axiomd's, by what to do next."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        """Raise the error of axiomd that says what the driver's error means; let all others pass."""
        if isinstance(error, pymysql.err.MySQLError):
            code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            message = str(error.args[1]) if len(error.args) > 1 else str(error)
            if code in _CONTENTION:
                raise Contention(message) from error
            if code == ER.DUP_ENTRY:
                raise Conflict(f"another was quicker: {message}") from error
            if code in _REFUSED:
                raise LoginRefused(
                    f"the database at {self._login.place} refuses user '{self._login.user}': {message}. "
                    "Check [database] in the settings, or db_user, db_passwd and db_name in config.xml."
                ) from error
            if code in _NOT_ALLOWED:
                raise ProjectError(f"user '{self._login.user}' lacks a privilege: {message}") from error
            if code in _MISSING:
                raise ProjectError(
                    f"{message} in database '{self._login.name}'. `axiomd doctor` says what is missing."
                ) from error
            if code in _LOST_CONNECTION or isinstance(error, pymysql.err.InterfaceError):
                raise DatabaseUnavailable(f"the database at {self._login.place} can't be reached: {message}") from error
            raise ProjectError(f"the database refuses a statement: {message} (error {code})") from error
        if isinstance(error, OSError | asyncio.IncompleteReadError | TimeoutError):
            raise DatabaseUnavailable(f"the database at {self._login.place} can't be reached: {error}") from error


def lock_prefix(token: str) -> str:
    """Give what the named lock of a connection begins with; the connection's id follows."""
    return f"axiomd:{token}:"


async def _check(session: Session, fence: int) -> None:
    """Raise Fenced unless the lease still has this fencing number, and keep it so until the commit."""
    rows = await session.fetch(_FENCE)
    if not rows or int(rows[0][0]) != fence:
        raise Fenced("another daemon has taken the lease: nothing was written")


async def read_clock(source: Database | Connection) -> float:
    """Unix time by the database's clock, in seconds."""
    rows = await source.fetch("SELECT UNIX_TIMESTAMP(NOW(6))")
    return float(rows[0][0])
