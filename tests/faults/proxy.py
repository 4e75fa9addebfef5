"""A TCP proxy in front of MariaDB that knows enough of its protocol to cut a connection at the worst moments.

A packet is a length (3 bytes, little-endian), a number (1 byte) and the payload. A command of the client has number 0;
COM_QUERY begins with 0x03, its text follows. An error of the server begins with 0xff, its number (2 bytes) follows.
"""

from __future__ import annotations

import asyncio
import enum
import threading
from collections import Counter
from collections.abc import Coroutine
from types import TracebackType
from typing import Self

COM_QUERY, ERROR = 0x03, 0xFF


class Cut(enum.StrEnum):
    """Where a connection is cut."""

    HALF = enum.auto()  # half of a statement has reached the server
    UNDER_WAY = enum.auto()  # the server has the statement, and hasn't answered
    BEFORE_COMMIT = enum.auto()  # COMMIT never reaches the server
    AFTER_COMMIT = enum.auto()  # the server has committed and answered; nobody hears it


class _Severed(Exception):  # noqa: N818 - it is the purpose
    """This connection ends here."""


class Proxy:
    """Listens on a port of its own, in a thread of its own, and passes everything on."""

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self.cuts: Counter[Cut] = Counter()
        self.errors: Counter[int] = Counter()
        """Errors that the server answered, by number."""
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._armed: tuple[Cut, int] | None = None
        self._down = False
        self.flowing = asyncio.Event()

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut everything."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def arm(self, cut: Cut, statements: int = 1) -> None:
        """Cut the connection on which the so-many-th fitting statement from now comes."""
        self._armed = (cut, statements)

    @property
    def armed(self) -> bool:
        """Whether a cut is still to come."""
        return self._armed is not None

    def take_down(self) -> None:
        """Cut all connections and let none through until `bring_up`."""
        self._down = True
        self._call(self._sever_all())

    def bring_up(self) -> None:
        """Let connections through again."""
        self._down = False

    def _call(self, coroutine: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def freeze(self) -> None:
        """Let every packet wait until `thaw`; nobody is told."""
        self._loop.call_soon_threadsafe(self.flowing.clear)

    def thaw(self) -> None:
        """Let packets through again."""
        self._loop.call_soon_threadsafe(self.flowing.set)

    async def _listen(self) -> None:
        self.flowing.set()
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._sever_all()

    async def _sever_all(self) -> None:
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._down:
            to_client.transport.abort()
            return
        self._connections.add(task)
        to_server = None
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
            pipe = _Pipe(self, client, to_client, server, to_server)
            async with asyncio.TaskGroup() as group:
                group.create_task(pipe.forward())
                group.create_task(pipe.back())
        except* (_Severed, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            for writer in (to_client, to_server):
                if writer is not None:
                    writer.transport.abort()

    def strikes(self, statement: bytes) -> Cut | None:
        """Whether this statement is the one at which to cut, and how."""
        if self._armed is None:
            return None
        cut, left = self._armed
        is_commit = statement.upper().startswith(b"COMMIT")
        if is_commit != (cut in (Cut.BEFORE_COMMIT, Cut.AFTER_COMMIT)):
            return None
        self._armed = (cut, left - 1) if left > 1 else None
        if left > 1:
            return None
        self.cuts[cut] += 1
        return cut


class _Pipe:
    """One connection, both ways."""

    def __init__(
        self,
        proxy: Proxy,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client, self._to_client = client, to_client
        self._server, self._to_server = server, to_server
        self._swallow = False

    async def forward(self) -> None:
        """Pass on what the client says, and cut where it is due."""
        while True:
            packet = await _read(self._client)
            await self._proxy.flowing.wait()
            is_statement = packet[3] == 0 and packet[4:5] == bytes([COM_QUERY])
            match self._proxy.strikes(packet[5:15]) if is_statement else None:
                case Cut.BEFORE_COMMIT:
                    raise _Severed
                case Cut.HALF:
                    self._to_server.write(packet[: len(packet) // 2])
                    await self._to_server.drain()
                    raise _Severed
                case Cut.UNDER_WAY:
                    self._to_server.write(packet)
                    await self._to_server.drain()
                    raise _Severed
                case Cut.AFTER_COMMIT:
                    self._swallow = True
            self._to_server.write(packet)
            await self._to_server.drain()

    async def back(self) -> None:
        """Pass on what the server answers; its errors are counted."""
        while True:
            packet = await _read(self._server)
            await self._proxy.flowing.wait()
            if self._swallow:
                raise _Severed
            if packet[4:5] == bytes([ERROR]) and packet[7:8] == b"#":
                self._proxy.errors[int.from_bytes(packet[5:7], "little")] += 1
            self._to_client.write(packet)
            await self._to_client.drain()


async def _read(stream: asyncio.StreamReader) -> bytes:
    """Read one packet with its header."""
    header = await stream.readexactly(4)
    return header + await stream.readexactly(int.from_bytes(header[:3], "little"))
