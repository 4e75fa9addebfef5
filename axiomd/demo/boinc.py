"""BOINC's daemons in the demo: started by the project's own bin/start, as its operator would, and ended for certain."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from axiomd.demo import children
from axiomd.demo.daemons import CRITICAL
from axiomd.demo.start import Project

START_TIMEOUT_S = 10.0


class BoincError(Exception):
    """bin/start failed, or a daemon ended of an error; the message says which, and names its log."""


class BoincDaemons:
    """The daemons that the demo project's config.xml lists.

    One that is killed stays away until somebody runs bin/start: to notice that is axiomd's business.
    """

    def __init__(self, project_dir: Path) -> None:
        self._dir = project_dir
        self._start: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to start them; `check` tells how that went."""
        self._start = children.start(
            [str(self._dir / "bin" / "start")],
            cwd=self._dir,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def check(self) -> None:
        """See that they were started, and that none has ended of an error. Raises BoincError."""
        if self._start is not None and (status := self._start.poll()):
            raise BoincError(f"{self._dir / 'bin' / 'start'} failed with exit status {status}")
        for daemon in Project(self._dir).daemons:
            try:
                lines = daemon.log.read_text(encoding="utf-8").splitlines()
            except FileNotFoundError:
                continue  # it is being started
            for line in lines:
                if CRITICAL in line:
                    raise BoincError(f"a daemon of the stand-in for BOINC ended: {line}; see {daemon.log}")

    def stop(self, timeout_s: float) -> None:
        """End them, by force those that take longer."""
        if self._start is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._start.wait(START_TIMEOUT_S)
        children.kill(self._start)
        self._start = None
        Project(self._dir).stop(timeout_s)
