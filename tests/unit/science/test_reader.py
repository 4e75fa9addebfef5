"""The process that reads strangers' files: real ones, killed, starved and held up."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from axiomd.policies.measurement import Failure, Outcome
from axiomd.science import reader
from axiomd.science.catalogue import CatalogueEntry
from axiomd.science.layout import Layout
from axiomd.science.output import Expected, Output
from axiomd.science.reader import Order, Reader, Retry
from axiomd.settings import HarvestSettings

ENTRY = CatalogueEntry("x", 2, 1, 1.0, gpu=False, shapes={"n": (), "list": (3,)})
MEASURED = {"n": 1.5, "list": [1.0, 2.0, 3.0]}
ROOM = 96 << 20


@asynccontextmanager
async def started(**settings: Any) -> AsyncIterator[Reader]:
    given = HarvestSettings().model_copy(update=settings)  # less memory than an operator may give
    reads = Reader(given, {"x": ENTRY})
    try:
        yield reads
    finally:
        await reads.close()
    assert reads.pid is None


def order(folder: Path, name: str, content: bytes | None = None, *, seed: int = 5, version: int = 2) -> Order:
    if content is None:
        said = {"experiment": "x", "version": version, "seed": seed, "ended": "complete", "measured": MEASURED}
        content = json.dumps(said).encode()
    (folder / name).write_bytes(content)
    return Order(str(folder / name), Expected("x", version, seed))


def proc(pid: int | None, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8")


def words(answers: list[Output | Retry]) -> list[str]:
    return [
        f"retry {answer.reason}" if isinstance(answer, Retry) else f"{answer.outcome.name} {answer.reason}".strip()
        for answer in answers
    ]


async def test_files_are_read_in_their_order_whoever_kills_the_process(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    orders = [
        order(tmp_path, "a"),
        Order("", Expected("x", 2, 1)),
        Order(str(tmp_path / "never uploaded"), Expected("x", 2, 1)),
        Order(str(tmp_path / "link"), Expected("x", 2, 5)),
        order(tmp_path, "other seed", seed=6)._replace(expected=Expected("x", 2, 5)),
        order(tmp_path, "error", b'{"error": "KeyError: 1"}'),
        order(tmp_path, "older version", version=1),
        order(tmp_path, "large", b" " * 5000),
        order(tmp_path, "\udcff"),
        order(tmp_path, "b", seed=7),
    ]
    expected = [
        *("COMPLETE", "EMPTY missing", "EMPTY missing", "REFUSED not_a_file", "REFUSED wrong_seed"),
        *("FAILED", "UNDECLARED", "REFUSED too_large", "COMPLETE", "COMPLETE"),
    ]
    async with started(max_bytes=4000) as reads:
        assert reads.pid is None
        assert await reads.read([]) == []
        answers = await reads.read(orders)
        assert words(answers) == expected
        first = answers[0]
        assert isinstance(first, Output)
        assert Layout.of(ENTRY).unpack(first.numbers) == MEASURED
        assert answers[5] == Output(Outcome.FAILED, failure=Failure("KeyError", "", "1"))
        pid = reads.pid
        assert pid is not None
        assert {entry.partition("=")[0] for entry in proc(pid, "environ").split("\0")} <= {
            *("PYTHONPATH", "PATH", "LANG", "")
        }

        # And little is loaded, so that there is little to find.
        assert not re.search("pydantic|aiohttp|numpy|libssl", proc(pid, "maps"))

        os.kill(pid, signal.SIGKILL)
        assert await reads.read(orders) == answers
        assert reads.pid not in {None, pid}

        # Cancelled in the middle: what it still had to say is not taken for the answer to the next question.
        task = asyncio.create_task(reads.read(orders))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        both = await asyncio.gather(reads.read(orders[:1]), reads.read(orders[1:3]))
        assert [words(part) for part in both] == [expected[:1], expected[1:3]]


async def test_a_file_that_kills_the_process_is_refused_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "PROGRAM", "tests.unit.science.odd_reading")
    orders = [order(tmp_path, name) for name in ("a", "deadly", "b")]
    async with started() as reads:
        assert words(await reads.read(orders)) == ["COMPLETE", "REFUSED killed_reader", "COMPLETE"]
        monkeypatch.setattr(reader, "ANSWER_S", 0.2)
        monkeypatch.setattr(reader, "ALONE_S", 0.2)
        orders = [order(tmp_path, name) for name in ("a", "slow", "b")]
        assert words(await reads.read(orders)) == ["COMPLETE", "retry no_answer", "retry no_answer"]


async def test_a_process_that_cannot_start_delays_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = [order(tmp_path, name) for name in ("a", "b")]
    async with started() as reads:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nowhere/python")
            assert words(await reads.read(orders)) == ["retry no_reader"] * 2
        assert words(await reads.read(orders)) == ["COMPLETE"] * 2


async def test_memory_is_bounded(tmp_path: Path) -> None:
    # One letter beyond the others makes four bytes of each: 40 MB to decode it, as much to parse it.
    bomb = '{"a": "\U0001f4a3'.encode() + b"x" * 10_000_000 + b'"}'
    orders = [order(tmp_path, "bomb", bomb), order(tmp_path, "a")]
    async with started(max_bytes=20_000_000, memory=ROOM) as reads:
        assert words(await reads.read(orders)) == ["REFUSED out_of_memory", "COMPLETE"]
        peak = re.search(r"VmPeak:\s+(\d+) kB", proc(reads.pid, "status"))
        assert peak
        assert int(peak[1]) * 1024 <= ROOM


def test_the_process_ends_with_its_parent() -> None:
    ear, mouth = os.pipe()
    parent = os.fork()
    if not parent:
        try:
            asyncio.run(_read_and_wait(mouth))
        finally:
            os._exit(1)
    child = int(os.read(ear, 20))
    os.kill(child, signal.SIGSTOP)  # it can't see that its input ended
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    os.close(ear)
    os.close(mouth)
    deadline = time.monotonic() + 5
    while _is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    outlived = _is_running(child)
    if outlived:
        os.kill(child, signal.SIGKILL)
    assert not outlived


async def _read_and_wait(mouth: int) -> None:
    reads = Reader(HarvestSettings(), {})
    await reads.read([Order("", Expected("x", 1, 1))])
    os.write(mouth, str(reads.pid).encode())
    await asyncio.sleep(60)


def _is_running(pid: int) -> bool:
    try:
        return proc(pid, "stat").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
