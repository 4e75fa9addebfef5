"""The report's file, on the way out: a process writes it, and GET /report gives it."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import os
import stat
import threading
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from axiomd import logs, opening
from axiomd.errors import AxiomdError
from axiomd.gateways.problem import Problem
from axiomd.settings import Settings
from axiomd.views import report
from axiomd.views.report_parts import Report

log = structlog.get_logger(__name__)

LARGEST: Final = 32 << 20
"""Bytes of a report's file that are given out at most."""
LONGEST_S: Final = 900.0
"""Writing a report may take so long."""
NICE: Final = 10
"""The daemon and the database come first."""
HEADERS: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"}

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serve(file: Path | None) -> Serve:
    """Give the handler of GET /report."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        if file is None:
            raise Problem(404, "there is no report: set report.file, and the daemon writes one")
        try:
            page = await asyncio.to_thread(_read, file)
        except FileNotFoundError:
            raise Problem(404, "there is no report yet: the daemon writes one soon after its start") from None
        except OSError as error:
            log.error("report.file can't be read", file=str(file), error=error.strerror)
            raise Problem(503, "the report can't be read: axiomd's log says why") from None
        return web.Response(body=page, content_type="text/html", charset="utf-8", headers=HEADERS)

    return answer


def _read(file: Path) -> bytes:
    # Not waiting for a writer, should it be a pipe.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:  # noqa: PTH123 - of a descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a file")
        page = opened.read(LARGEST + 1)
    if len(page) > LARGEST:
        raise OSError(errno.EFBIG, f"larger than {LARGEST >> 20} MiB")
    return page


def writer(settings: Settings, file: Path) -> Callable[[], Awaitable[str]]:
    """Give what has the file written by a process of its own, and says what went wrong, or nothing."""

    async def write() -> str:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_write, args=(settings, file, theirs), name="axiomd report", daemon=True)
        await asyncio.to_thread(process.start)
        theirs.close()
        try:
            await _ended(process.sentinel, LONGEST_S)
            return str(ours.recv()) if ours.poll() else "the process that writes it ended without a word"
        except EOFError:
            return f"the process that writes it ended without a word (exit status {process.exitcode})"
        except TimeoutError:
            return f"it took longer than {LONGEST_S:.0f} s"
        finally:
            process.kill()
            await asyncio.to_thread(process.join)
            process.close()
            ours.close()

    return write


async def _ended(sentinel: int, timeout_s: float) -> None:
    """Wait until a process ends. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sentinel, ended.set)
    try:
        async with asyncio.timeout(timeout_s):
            await ended.wait()
    finally:
        loop.remove_reader(sentinel)


def _write(settings: Settings, file: Path, answer: Connection) -> None:
    """Be the process: gather the report, write it, say what went wrong."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    os.nice(NICE)
    logs.configure(settings.log)
    # Templates and plots are loaded here alone, and not by the daemon.
    from axiomd.views.report_page import as_html, write  # noqa: PLC0415

    trouble = ""
    try:
        write(file, as_html(asyncio.run(_gather(settings))))
    except OSError as error:
        trouble = error.strerror or str(error)
    except AxiomdError as error:
        trouble = str(error)
    answer.send(trouble)


async def _gather(settings: Settings) -> Report:
    async with opening.opened(settings) as (database, project):
        since = await database.now() - settings.report.period_s
        return await report.report(database, project, settings, since=since)


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
