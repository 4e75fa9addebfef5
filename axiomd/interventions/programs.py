"""Run a transitioner pass, restart a BOINC daemon: by the project's own programs, without a shell, with a time limit.

Under systemd they run through oneshot units of their own (deploy/systemd), so that what they start doesn't live in
axiomd's cgroup and namespaces.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from axiomd.boinc.config import read_config
from axiomd.boinc.daemons import Daemon, is_enabled, local_daemons, local_host
from axiomd.boinc.programs import run_program
from axiomd.errors import AxiomdError
from axiomd.interventions.intervention import Done, Errand, Ground, Nothing, Parameters, Refusal

LOOK_EVERY_S = 0.1
STARTED_WITHIN_S = 15.0
"""`bin/start` returns before what it started holds its lock."""


class TransitionerPass(Errand[Nothing]):
    """Has the transitioner look once at all that is due."""

    name = "transitioner_pass"
    summary = "Run one pass of the project's transitioner, beside the one that runs or in its place."
    at_most = "what BOINC's transitioner changes in one pass"
    parameters = Nothing

    async def plan(self, parameters: Nothing) -> str:  # noqa: ARG002 - it has none
        """Say what would be run."""
        return f"{_program(self.ground, 'transitioner')} --one_pass would be run"

    async def run(self, parameters: Nothing, *, actor: str) -> Done:  # noqa: ARG002 - its work is BOINC's
        """Run it to its end."""
        started = time.monotonic()
        await _run(self.ground, "transitioner", ["--one_pass"], "axiomd-boinc-transition.service")
        return Done(f"the transitioner made one pass in {time.monotonic() - started:.1f} s")


class DaemonName(Parameters):
    """Which daemon."""

    daemon: Annotated[
        str, Field(min_length=1, max_length=64, description="name of its program in config.xml, such as transitioner")
    ]


class RestartDaemon(Errand[DaemonName]):
    """Starts a daemon of BOINC's that doesn't run, or ends and starts one that hangs."""

    name = "restart_daemon"
    summary = "End a BOINC daemon if it runs, as bin/stop does, and start what doesn't run, as BOINC's cron job does."
    at_most = "one daemon is ended; daemons that config.xml lists and that don't run are started"
    parameters = DaemonName

    async def plan(self, parameters: DaemonName) -> str:
        """Say what would be ended and started."""
        _program(self.ground, "start")
        daemon = self._find(parameters.daemon)
        if daemon.runs:
            return f"{daemon.name} (process {daemon.pid}) would be ended and started again"
        return f"{daemon.name}, which doesn't run, would be started"

    async def run(self, parameters: DaemonName, *, actor: str) -> Done:  # noqa: ARG002 - nothing of it is in a table
        """End it, start it, and see it run."""
        daemon = self._find(parameters.daemon)
        if daemon.runs:
            await self._end(daemon)
        await _run(self.ground, "start", ["--cron"], "axiomd-boinc-start.service")
        if not await self._waits_until(daemon.name, runs=True, seconds=STARTED_WITHIN_S):
            raise AxiomdError(f"{daemon.name} doesn't run yet: look at its log in the project's log_{local_host()}")
        return Done(f"{daemon.name} runs as process {self._find(daemon.name).pid}", changes=1)

    async def _end(self, daemon: Daemon) -> None:
        try:
            os.kill(daemon.pid, signal.SIGHUP)
        except OSError as error:
            raise AxiomdError(f"{daemon.name} (process {daemon.pid}) can't be ended: {error.strerror}") from error
        seconds = self.ground.settings.interventions.timeout_s / 2
        if not await self._waits_until(daemon.name, runs=False, seconds=seconds):
            raise AxiomdError(f"{daemon.name} (process {daemon.pid}) didn't end in {seconds:g} s; end it by hand")

    async def _waits_until(self, name: str, *, runs: bool, seconds: float) -> bool:
        give_up_at = time.monotonic() + seconds
        while self._find(name).runs is not runs:
            if time.monotonic() > give_up_at:
                return False
            await asyncio.sleep(LOOK_EVERY_S)
        return True

    def _find(self, name: str) -> Daemon:
        project_dir = self.ground.settings.project.dir
        daemons = {daemon.name: daemon for daemon in local_daemons(read_config(project_dir), local_host())}
        if name not in daemons:
            known = ", ".join(daemons) or "none"
            raise Refusal(f"'{name}' is no daemon that config.xml has for this machine; it has: {known}")
        if not is_enabled(project_dir, local_host()):
            raise Refusal("the project was stopped on purpose (bin/stop); whoever did that starts it by bin/start")
        daemon = daemons[name]
        if daemon.trouble:
            raise Refusal(f"whether {name} runs can't be told: {daemon.trouble}")
        if daemon.runs and not daemon.pid:
            raise Refusal(f"{name} runs where axiomd can't see its process")
        return daemon


def _program(ground: Ground, what: str) -> Path:
    """Give the path of a program of the project's; raises Refusal if it isn't there."""
    path: Path = (ground.settings.project.dir / getattr(ground.settings.interventions, what)).absolute()
    if not path.is_file():
        raise Refusal(f"{path} isn't there; set interventions.{what}")
    return path


async def _run(ground: Ground, what: str, arguments: list[str], unit: str) -> None:
    """Run a program of the project's, or the unit that does; raises AxiomdError with its complaint."""
    program = _program(ground, what)
    if ground.settings.interventions.systemd:
        systemctl = shutil.which("systemctl")
        if systemctl is None:
            raise AxiomdError("interventions.systemd is true, and there is no systemctl on this machine")
        program, arguments = Path(systemctl), ["start", unit]
    timeout_s = ground.settings.interventions.timeout_s
    # BOINC's daemons look for their project one folder up (project_path in sched_config.cpp).
    cwd = ground.settings.project.dir / "bin"
    if complaint := await run_program(program, arguments, cwd=cwd, given="", timeout_s=timeout_s):
        raise AxiomdError(complaint)
