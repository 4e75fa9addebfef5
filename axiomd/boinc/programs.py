"""BOINC's own programs, started by absolute path, without a shell, with a time limit."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from axiomd.errors import ProjectError


@dataclass(frozen=True)
class Job:
    """A job for create_work. `host_id` 0: for any host; `wu_template`: below the project's folder, empty: the app's."""

    name: str
    host_id: int = 0
    inputs: tuple[str, ...] = ()
    command_line: str = ""
    wu_template: str = ""


def create_work_line(job: Job) -> str:
    """Line of `create_work --stdin` for a job."""
    words = ["--wu_name", job.name]
    if job.host_id:
        words += ["--target_host", str(job.host_id)]
    if job.command_line:
        words += ["--command_line", job.command_line]
    return shlex.join([*words, *job.inputs])


@dataclass(frozen=True)
class CreateWork:
    """The project's bin/create_work."""

    project_dir: Path
    program: str
    timeout_s: float
    wu_template: str = ""
    result_template: str = ""

    @property
    def path(self) -> Path:
        """The program, by absolute path."""
        return (self.project_dir / self.program).absolute()

    def check(self, app: str) -> None:
        """Raise ProjectError if the program or a template isn't there; a missing one makes broken jobs silently."""
        if not self.path.is_file():
            raise ProjectError(f"{self.path}: not there; set topup.create_work, or topup.enabled = false")
        for template in self.templates(app):
            if not (self.project_dir / template).is_file():
                raise ProjectError(
                    f"{self.project_dir / template}: not there; set topup.wu_template and topup.result_template"
                )

    def templates(self, app: str) -> tuple[str, str]:
        """Input and output template, below the project's folder."""
        return (self.wu_template or f"templates/{app}_in", self.result_template or f"templates/{app}_out")

    async def make(self, app: str, jobs: Sequence[Job]) -> str:
        """Make jobs, in one call for each input template: a targeted job's own line can't name one.

        Whether it succeeded is for the caller to look up by name: create_work commits job by job, and stops at the
        first that it can't make. Gives what the program complained about, empty if nothing.
        """
        self.check(app)
        by_template: dict[str, list[Job]] = {}
        for job in jobs:
            by_template.setdefault(self._there(job.wu_template), []).append(job)
        complaints = [await self._call(app, template, made) for template, made in by_template.items()]
        return "; ".join(complaint for complaint in complaints if complaint)

    def _there(self, template: str) -> str:
        """A template that was taken away is replaced by the ordinary one: a missing one makes no job."""
        return template if template and (self.project_dir / template).is_file() else ""

    async def _call(self, app: str, template: str, jobs: Sequence[Job]) -> str:
        wu_template, result_template = self.templates(app)
        arguments = [
            "--appname",
            app,
            "--wu_template",
            template or wu_template,
            "--result_template",
            result_template,
            "--stdin",
        ]
        lines = "".join(create_work_line(job) + "\n" for job in jobs)
        return await run_program(
            self.project_dir / self.program,
            arguments,
            cwd=self.project_dir,
            given=lines,
            timeout_s=self.timeout_s,
        )


async def run_program(program: Path, arguments: Sequence[str], *, cwd: Path, given: str, timeout_s: float) -> str:
    """Run a program of the project to its end; gives its complaint: empty, or the last line that it wrote to stderr.

    Raises ProjectError if it can't be started. A program that runs too long, or that is running when axiomd stops,
    is killed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            str(program),
            *arguments,
            cwd=cwd,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise ProjectError(f"{program} can't be started: {error.strerror}") from error
    try:
        _, stderr = await asyncio.wait_for(process.communicate(given.encode()), timeout_s)
    except TimeoutError:
        return f"{program.name} took longer than {timeout_s:g} s and was killed"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return ""
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f"{program.name} ended with exit status {process.returncode}: {lines[-1][:300] if lines else 'no message'}"
