"""BOINC's daemons on this machine: which config.xml lists, which run, and whether they are meant to.

Read as the project's own `bin/start` reads it (sched/start): a daemon runs while a process holds the lock on its lock
file; a pid file alone lies. Nothing is locked, made or removed here.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import xml.etree.ElementTree as ET  # the operator's own file, not a stranger's
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from axiomd.boinc.config import DaemonEntry, ProjectConfig

_FLOCK = "hhqqi0q"  # struct flock: l_type, l_whence, l_start, l_len, l_pid, and what the compiler fills up with


@dataclass(frozen=True)
class Daemon:
    """A daemon that config.xml has for this machine, as it is now."""

    name: str
    """Its command's name; the second one of a name ends in _2, and so on."""
    cmd: str
    """Its command line in config.xml."""
    runs: bool
    """Whether a process holds its lock file."""
    pid: int = 0
    """That process; 0 if none does, or one of another container."""
    trouble: str = ""
    """Why it can't be told whether it runs; empty if it can."""


def local_host() -> str:
    """Give this machine's name as BOINC's programs take it: up to the first dot."""
    return socket.gethostname().split(".")[0]


def local_daemons(config: ProjectConfig, host: str) -> list[Daemon]:
    """Look at the daemons of config.xml that belong on the host of this name, which is this machine.

    Those of other hosts are left out, and disabled ones. Where config.xml names no host at all, all belong here.
    """
    pid_dir = config.project_dir / f"pid_{host}"
    seen: Counter[str] = Counter()
    found = []
    for entry in config.daemons:
        command = _basename(entry.cmd)
        if not command or entry.disabled or (entry.host or config.host or host) != host:
            continue
        seen[command] += 1
        name = command if seen[command] == 1 else f"{command}_{seen[command]}"
        try:
            holder = _lock_holder(pid_dir / _lock_name(entry))
        except OSError as error:
            found.append(Daemon(name, entry.cmd, runs=False, trouble=f"{error.filename}: {error.strerror}"))
            continue
        found.append(Daemon(name, entry.cmd, runs=holder is not None, pid=max(holder or 0, 0)))
    return found


def is_enabled(project_dir: Path, host: str) -> bool:
    """Whether the daemons are meant to run: `bin/start` was the last word, not `bin/stop`.

    A run_state that is missing or that nobody can read means no, as it does to BOINC.
    """
    if (project_dir / "stop_daemons").exists():
        return False
    try:
        root = ET.parse(project_dir / f"run_state_{host}.xml").getroot()  # noqa: S314 - BOINC's own file
        return bool(int(root.findtext("enabled") or 0))
    except (OSError, ET.ParseError, LookupError, ValueError):  # the last two: no encoding, no number
        return False


def _basename(cmd: str) -> str:
    """Name of the program that a command line starts; empty for an empty line."""
    words = cmd.split()
    if words[:1] == ["run_in_ops"]:
        words = words[1:]
    return words[0].rpartition("/")[2] if words else ""


def _lock_name(entry: DaemonEntry) -> str:
    if entry.lock_file:
        return entry.lock_file
    if entry.output and not entry.output.startswith("/dev/"):
        return entry.output + ".lock"
    return _basename(entry.cmd) + ".lock"


def _lock_holder(path: Path) -> int | None:
    """Id of the process that holds the lock on a file; None if none does. Raises OSError if that can't be told."""
    try:
        # Without blocking, should it be a pipe.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return None  # `bin/status` removes the files of daemons that don't run
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(file)
    return None if kind == fcntl.F_UNLCK else pid
