"""Reads output files in a process of its own: whatever a stranger's file does to it, the daemon goes on.

The process is started at the first read, and anew when it died. A file that kills it is found by reading alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

import axiomd
from axiomd.science.catalogue import CatalogueEntry
from axiomd.science.layout import Layout
from axiomd.science.output import Output, refused
from axiomd.science.reading import LENGTH_BYTES, Order, Retry, message, spelled, unpacked
from axiomd.settings import HarvestSettings

__all__ = ["Order", "Reader", "Retry"]

PROGRAM: Final = "axiomd.science.reading"
START_S: Final = 30.0
"""How long the process may take to start."""
ANSWER_S: Final = 120.0
"""How long it may take for all files of a call; longer takes a disk that hangs."""
ALONE_S: Final = 20.0
"""How long for one file."""
END_S: Final = 2.0
"""How long it may take to end."""
ATTEMPTS: Final = 2
"""A file that is read alone so many times, and kills the process each time, is at fault."""

log = structlog.get_logger(__name__)


class _Died(Exception):  # noqa: N818 - what became of the process
    """The process ended before it answered."""


class _NotStarted(Exception):  # noqa: N818
    """There is no process, and none can be started."""


class Reader:
    """Reads output files; `close` it."""

    def __init__(self, settings: HarvestSettings, catalogue: Mapping[str, CatalogueEntry]) -> None:
        self._first = {
            "limits": [settings.max_bytes, settings.max_depth],
            "memory": settings.memory,
            "parent": os.getpid(),
            "layouts": [[entry.name, entry.version, Layout.of(entry).as_json()] for entry in catalogue.values()],
        }
        self._process: Process | None = None
        self._is_killed = False
        self._lock = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Of the process that reads; None while there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def read(self, orders: Sequence[Order]) -> list[Output | Retry]:
        """Give for each order, in their order, what came of it. No file makes it raise."""
        if not orders:
            return []
        # What needs no process is done outside the lock: it reads the files of the next call meanwhile.
        asked = _spelled(orders)
        async with self._lock:
            try:
                try:
                    answers = await self._answers(asked, ANSWER_S)
                except (_Died, TimeoutError):
                    log.warning("the reading process gave no answer; its files are read one by one", files=len(orders))
                    return await self._one_by_one(orders)
            except _NotStarted as error:
                log.error("the reading process can't be started; the files are read later", error=str(error))
                return [Retry("no_reader")] * len(orders)
        return [unpacked(answer) for answer in answers]

    async def close(self) -> None:
        """End the process."""
        async with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._process.wait(), END_S)
            await self._kill()

    async def _one_by_one(self, orders: Sequence[Order]) -> list[Output | Retry]:
        answers: list[Output | Retry] = []
        for order in orders:
            try:
                answers.append(await self._alone(order))
            except TimeoutError:
                log.error("a file can't be read in time; it is read later, when the disk answers", file=order.path)
                # The others would wait as long, each.
                return answers + [Retry("no_answer")] * (len(orders) - len(answers))
        return answers

    async def _alone(self, order: Order) -> Output | Retry:
        for _ in range(ATTEMPTS):
            with contextlib.suppress(_Died):
                return unpacked((await self._answers(_spelled([order]), ALONE_S))[0])
        log.warning("a file ends the process that reads it; it is refused", file=order.path)
        return refused("killed_reader")

    async def _answers(self, asked: bytes, timeout_s: float) -> list[Any]:
        """Give the answers to a message, packed. Raises _NotStarted, _Died or TimeoutError.

        What didn't answer is killed, also where this is cancelled.
        """
        process = await self._started()
        is_answered = False
        try:
            async with asyncio.timeout(timeout_s):
                answers = await _ask(process, asked)
            is_answered = True
        finally:
            if not is_answered:
                await self._kill()
        return answers

    async def _started(self) -> Process:
        """Give the process, started if there is none. Raises _NotStarted."""
        if self._process is not None and self._process.returncode is None:
            if self._is_killed:
                raise _NotStarted("the last one was killed and doesn't end, as where a disk hangs")
            return self._process
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", PROGRAM),
                stdin=PIPE,
                stdout=PIPE,
                start_new_session=True,  # a Ctrl-C at the terminal is the daemon's business
                # Nothing of this environment: a password may be in it.
                env={"PYTHONPATH": str(Path(axiomd.__file__).parents[1]), "PATH": os.defpath, "LANG": "C.UTF-8"},
            )
        except OSError as error:
            raise _NotStarted(str(error)) from error
        self._is_killed = is_started = False
        try:
            async with asyncio.timeout(START_S):
                await _ask(self._process, message(self._first))
            is_started = True
        except (_Died, TimeoutError) as error:
            raise _NotStarted(str(error) or f"it takes longer than {START_S:g} s") from error
        finally:
            if not is_started:
                await self._kill()
        return self._process

    async def _kill(self) -> None:
        """End the process; a system that hangs in the middle of a read may put that off."""
        self._is_killed = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), END_S)


def _spelled(orders: Sequence[Order]) -> bytes:
    return message([spelled(order) for order in orders])


async def _ask(process: Process, content: bytes) -> list[Any]:
    """Send a message and give the answer; raises _Died."""
    if process.stdin is None or process.stdout is None:
        raise _Died("it has no pipes")
    try:
        process.stdin.write(content)
        await process.stdin.drain()
        length = int.from_bytes(await process.stdout.readexactly(LENGTH_BYTES), "big")
        answer: list[Any] = orjson.loads(await process.stdout.readexactly(length))
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        raise _Died("it ended in the middle") from error
    return answer
