"""A stand-in for BOINC's bin/start, bin/stop and bin/status: the daemons that config.xml lists.

    start [--enable | --cron]   start those that don't run; with --cron only if the project is ENABLED
    stop                        the project is DISABLED, and its daemons end (SIGHUP)
    status                      the mode, and which daemons run

Facts from BOINC's sched/start: a daemon runs while its lock file is locked, by fcntl, and its pid file lies beside it.
A lock goes on through exec and ends with the process, however that ends. Left out is what concerns periodic tasks, the
scheduler and other hosts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import socket
import struct
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FORK_DELAY_S = 0.1  # BOINC's: keeps what the daemons say at their start in sequence
POLL_S = 0.02
_FLOCK = "hhqqi0q"  # struct flock: l_type, l_whence, l_start, l_len, l_pid, and what the compiler fills up with
STOP_TIMEOUT_S = 60.0


class StartError(Exception):
    """The project's folder can't be used, or another start is at work; the message says which."""


def local_host() -> str:
    """This machine's name, up to the first dot."""
    return socket.gethostname().split(".")[0]


def find_project(*more: Path) -> Path:
    """The project's folder as BOINC's programs find it: the variable, this folder, the one above, or one of `more`.

    Raises StartError.
    """
    given = os.environ.get("BOINC_PROJECT_DIR")
    for folder in [Path(given)] if given else [Path(os.curdir), Path(os.pardir), *more]:
        if (folder / "config.xml").exists():
            return folder.resolve()
    raise StartError("no config.xml here: go to the project's folder, or name it in BOINC_PROJECT_DIR")


@dataclass(frozen=True)
class Daemon:
    """An entry of config.xml's <daemons>, with its files."""

    cmd: str
    disabled: bool
    log: Path
    pid_file: Path
    lock_file: Path

    @property
    def pid(self) -> int:
        """What its pid file says; 0 without one."""
        try:
            return int(self.pid_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0

    @property
    def holder(self) -> int:
        """The process that holds its lock file, whatever the pid file says; 0 if none does."""
        try:
            with self.lock_file.open("rb") as file:
                asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
        except FileNotFoundError:
            return 0
        return 0 if kind == fcntl.F_UNLCK else int(pid)


class Project:
    """A project's folder, as far as its daemons on this machine are concerned."""

    def __init__(self, folder: Path) -> None:
        """Read config.xml, and make the folders that the daemons need. Raises StartError."""
        self.folder = folder
        self.host = local_host()
        self.tmp_dir, self.log_dir, self.pid_dir = (folder / f"{name}_{self.host}" for name in ("tmp", "log", "pid"))
        try:
            root = ET.parse(folder / "config.xml").getroot()  # noqa: S314 - the project's own file
            for made in (self.tmp_dir, self.log_dir, self.pid_dir):
                made.mkdir(exist_ok=True)
        except (OSError, ET.ParseError) as error:
            raise StartError(f"{folder}: {error}") from error
        main_host = root.findtext("config/host") or self.host
        entries = root.findall("daemons/daemon")
        self.daemons = [self._daemon(one) for one in entries if (one.findtext("host") or main_host) == self.host]

    def _daemon(self, entry: ET.Element) -> Daemon:
        cmd = (entry.findtext("cmd") or "").strip()
        name = Path(shlex.split(cmd)[0]).name
        output = entry.findtext("output")
        lock = entry.findtext("lock_file") or (f"{output}.lock" if output else f"{name}.lock")
        return Daemon(
            cmd,
            disabled=(entry.findtext("disabled") or "0") != "0",
            log=self.log_dir / (output or f"{name}.log"),
            pid_file=self.pid_dir / (entry.findtext("pid_file") or f"{name}.pid"),
            lock_file=self.pid_dir / lock,
        )

    # The mode

    @property
    def run_state(self) -> Path:
        """The file that keeps the mode."""
        return self.folder / f"run_state_{self.host}.xml"

    @property
    def stop_daemons(self) -> Path:
        """The file whose presence ends the daemons."""
        return self.folder / "stop_daemons"

    @property
    def enabled(self) -> bool:
        """Whether the daemons are meant to run."""
        try:
            return ET.parse(self.run_state).getroot().findtext("enabled", "0").strip() == "1"  # noqa: S314 - our own
        except (OSError, ET.ParseError):
            return False

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        text = f'<?xml version="1.0" ?>\n<boinc>\n  <tasks/>\n  <enabled>{int(enabled)}</enabled>\n</boinc>\n'
        self.run_state.write_text(text, encoding="utf-8")

    # The daemons

    def start(self) -> None:
        """Start the daemons that don't run."""
        self.stop_daemons.unlink(missing_ok=True)
        for daemon in self.daemons:
            if not daemon.disabled:
                self._run(daemon)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask the daemons to end, and wait; those that still run after the time are killed."""
        self.stop_daemons.write_text("<stop/>\n", encoding="utf-8")
        self._signal(signal.SIGHUP)
        deadline = time.monotonic() + timeout_s
        while any(daemon.holder for daemon in self.daemons):
            if time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
            time.sleep(POLL_S)
        for daemon in self.daemons:
            daemon.pid_file.unlink(missing_ok=True)

    def _signal(self, number: int) -> None:
        for daemon in self.daemons:
            if holder := daemon.holder:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(holder, number)

    def _run(self, daemon: Daemon) -> None:
        """Start a daemon in a session of its own, as a child of nobody's."""
        sys.stdout.flush()
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            time.sleep(FORK_DELAY_S)
            return
        try:
            os.chdir("/")
            os.umask(0o002)
            os.setsid()
            if os.fork() == 0:
                self._become(daemon)
        except OSError as error:
            print(f"Couldn't start '{daemon.cmd}': {error}", file=sys.stderr, flush=True)
        os._exit(0)

    def _become(self, daemon: Daemon) -> None:
        """Take the lock and run the daemon in this process; comes back if another one has the lock."""
        lock = os.open(daemon.lock_file, os.O_RDWR | os.O_CREAT, 0o664)
        os.set_inheritable(lock, True)  # noqa: FBT003 - the lock goes with the daemon
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        log = os.open(daemon.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o664)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in enumerate((null, log, log)):
            os.dup2(source, target)
        daemon.pid_file.write_text(f"{os.getpid()}\n", encoding="utf-8")
        print(f"[{time.strftime('%Y/%m/%d %H:%M:%S')}] Executing command: {daemon.cmd}", flush=True)
        os.chdir(self.tmp_dir)
        words = shlex.split(daemon.cmd)
        os.environ["PATH"] = f"{self.folder / 'bin'}:{os.environ.get('PATH', os.defpath)}"
        os.execvp(words[0], words)  # noqa: S606 - that is the point


def main(program: Path, words: list[str]) -> int:
    """Do what a project's program `start`, `stop` or `status` does, by its name, and give its exit status."""
    commands: dict[str, Callable[[Project], None]] = {"start": _enable, "stop": _disable, "status": _status}
    options = {"--enable": _enable, "--cron": _cron, "--disable": _disable, "--status": _status}
    command = commands[program.name]
    for word in words:
        if word in ("-q", "--quiet", "-v", "--verbose"):
            continue
        if word not in options:
            print(f"{program.name}: bad argument '{word}'", file=sys.stderr)
            return 1
        command = options[word]
    try:
        project = Project(find_project(program.parent.parent))
        with _alone(project):
            command(project)
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _alone(project: Project) -> Iterator[None]:
    """No other start or stop is at work meanwhile. Raises StartError."""
    path = project.pid_dir / f"start.lock.{project.host}"
    with path.open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError("start is currently running!") from error
        yield
        path.unlink(missing_ok=True)


def _enable(project: Project) -> None:
    project.enabled = True
    project.start()


def _cron(project: Project) -> None:
    if project.enabled:
        project.start()


def _disable(project: Project) -> None:
    project.enabled = False
    project.stop()


def _status(project: Project) -> None:
    print(f"BOINC is {'ENABLED' if project.enabled else 'DISABLED'}")
    print("\nDAEMON  pid  status      lockfile disabled  commandline")
    for number, daemon in enumerate(project.daemons, 1):
        status, lock = (" running   ", " locked ") if daemon.holder else ("NOT RUNNING", "UNLOCKED")
        disabled = " yes    " if daemon.disabled else " no     "
        print(f"  {number:2d}  {daemon.pid:5d} {status} {lock} {disabled}  {daemon.cmd}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
