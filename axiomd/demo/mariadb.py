"""A MariaDB server of one's own, in a folder of its own; an installed one is left alone.

Tests and the demo use it:

    with PrivateMariaDB(folder) as server:
        connection = server.connect()
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pymysql

from axiomd.demo import children

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
LONGEST_SOCKET_PATH = 100  # the kernel allows 107 bytes

# A small server that starts quickly, keeps what it committed, and reads no settings file of the machine.
OPTIONS = (
    "--skip-log-bin",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=32M",
    "--innodb-log-buffer-size=8M",
    "--innodb-flush-log-at-trx-commit=1",
    "--aria-pagecache-buffer-size=8M",
    "--key-buffer-size=1M",
    "--max-connections=200",
    "--performance-schema=OFF",
)

# While the system tables are made nothing is worth a wait for the disk: a half-made folder is thrown away.
INSTALL_OPTIONS = (
    "--auth-root-authentication-method=normal",
    "--skip-test-db",
    "--skip-name-resolve",
    "--innodb-flush-method=nosync",
    "--innodb-log-file-size=32M",
    "--innodb-buffer-pool-size=32M",
)


class MariaDBError(Exception):
    """The server can't be made or started; the message says why, in one line."""


def _program(name: str) -> str:
    """Path of one of MariaDB's programs; Debian keeps the server in /usr/sbin, which isn't on everyone's PATH."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise MariaDBError(f"{name} is not installed: on Debian or Ubuntu, `apt install mariadb-server`.")
    return path


class PrivateMariaDB:
    """A server whose data lie in `folder`, reached by the unix socket `socket` as root without a password.

    With a `port` it listens on 127.0.0.1 as well. `kill` and `start` again is what a crash and a restart are.
    """

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder
        self.port = port
        self.log = folder / "mariadb.log"
        self.user = "root"
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_folder: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def socket(self) -> Path:
        """The unix socket; beside the data where the path is short enough, else in a folder of its own."""
        beside = self.folder / "mariadb.sock"
        if len(os.fsencode(beside)) <= LONGEST_SOCKET_PATH:
            return beside
        if self._socket_folder is None:
            self._socket_folder = Path(tempfile.mkdtemp(prefix="axiomd-"))
        return self._socket_folder / "mariadb.sock"

    @property
    def pid(self) -> int:
        """Process id of the running server; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start the server, with a new data folder where there is none, and wait until it answers.

        Raises MariaDBError.
        """
        if self._process is not None:
            return
        data = self.folder / "data"
        if not data.exists():
            self._install(data)
        command = [
            _program("mariadbd"),
            "--no-defaults",
            *self._as_user(),
            f"--datadir={data}",
            f"--socket={self.socket}",
            f"--pid-file={self.folder / 'mariadb.pid'}",
            # A starting server clears its folder of temporary files, which must not be one that others use.
            f"--tmpdir={self._temporary_folder()}",
            *OPTIONS,
            *(("--skip-networking",) if self.port is None else ("--bind-address=127.0.0.1", f"--port={self.port}")),
        ]
        with self.log.open("ab") as log:
            self._process = children.start(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait_until_it_answers()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop the server in good order, or by force where that takes too long; what it stored stays."""
        if self._process is not None:
            children.stop(self._process, timeout_s)
            self._process = None
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder)
            self._socket_folder = None

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL); `start` brings it back."""
        if self._process is not None:
            children.kill(self._process)
            self._process = None

    def pause(self) -> None:
        """Let the server hang (SIGSTOP) until `resume`."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a server that hangs go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def connect(self, database: str | None = None) -> pymysql.connections.Connection:
        """Open a connection as BOINC's programs do: every statement commits by itself."""
        return pymysql.connect(
            unix_socket=str(self.socket),
            user=self.user,
            database=database,
            charset="utf8mb4",
            autocommit=True,
        )

    def _as_user(self) -> tuple[str, ...]:
        """The server refuses to run as root unless it is told to."""
        return ("--user=root",) if os.geteuid() == 0 else ()

    def _temporary_folder(self) -> Path:
        folder = self.folder / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _install(self, data: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [_program("mariadb-install-db"), "--no-defaults", *self._as_user(), f"--datadir={data}"]
        command.append(f"--tmpdir={self._temporary_folder()}")
        done = subprocess.run([*command, *INSTALL_OPTIONS], capture_output=True, text=True, check=False)
        if done.returncode:
            self.log.write_text(done.stdout + done.stderr, encoding="utf-8")
            shutil.rmtree(data, ignore_errors=True)
            raise MariaDBError(f"mariadb-install-db could not make {data}: see {self.log}")

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._process is not None:
            if (status := self._process.poll()) is not None:
                self.kill()
                raise MariaDBError(f"MariaDB ended with exit status {status} at its start: see {self.log}")
            try:
                self.connect().close()
            except pymysql.err.OperationalError:
                if time.monotonic() > deadline:
                    self.kill()
                    raise MariaDBError(f"MariaDB gave no answer in {START_TIMEOUT_S:.0f} s: see {self.log}") from None
                time.sleep(0.02)
            else:
                return
