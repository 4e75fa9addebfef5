"""The processes that the demo starts: each can be ended for certain, and none outlives the demo.

Each runs in a session of its own, so that a Ctrl-C at the terminal reaches the demo alone, which then ends them in
good order. Should the demo itself be killed, the kernel ends them (`setpriv --pdeathsig`, where util-linux has it).
That works by the thread that started the process: a thread that starts one must live longer than it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

_living: set[subprocess.Popen[bytes]] = set()
_lock = threading.RLock()  # a signal handler may come while its own thread holds it


@functools.cache
def _with_the_parent() -> tuple[str, ...]:
    """Command words that make a process end when its parent ends."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process as `subprocess.Popen` does; `stop` or `kill` it before the demo ends."""
    process = subprocess.Popen([*_with_the_parent(), *command], start_new_session=True, **options)
    with _lock:
        _living.add(process)
    return process


def stop(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    """Ask a process to end (SIGTERM), kill it when the time is over, and give its exit status."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
    return kill(process)


def kill(process: subprocess.Popen[bytes]) -> int:
    """End a process, and what it started in its session, at once; gives its exit status."""
    _kill_session(process)
    status = process.wait()
    with _lock:
        _living.discard(process)
    return status


def kill_all() -> None:
    """End every process that is still there. It waits for none, so that a signal handler may call it."""
    with _lock:
        for process in _living:
            _kill_session(process)


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of them have ended by themselves
        os.killpg(process.pid, signal.SIGKILL)
