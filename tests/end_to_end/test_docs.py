"""The documentation is run: every command in README.md and docs/ does what it says, on a real project."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.command import axiomd
from tests.end_to_end.stage import stage, write_settings
from tests.world import World

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# These run this very test, or for many minutes: that make knows them is checked, they aren't run.
NOT_RUN = ("make test", "make bench", "make faults", "make replicate", "make dashboards")


def commands(page: Path) -> list[str]:
    """Commands of a page: the lines of its `sh` blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


CASES = [pytest.param(page, id=page.name) for page in PAGES if commands(page)]


def environment(world: World) -> dict[str, str]:
    """Give an environment in which the commands find axiomd and its settings."""
    binaries = Path(sys.executable).parent
    # Experiments that a page writes go into a copy.
    shutil.copytree(ROOT / "experiments", world.folder / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    return os.environ | {
        "AXIOMD_CONFIG": str(world.folder / "axiomd.toml"),
        "AXIOMD_EXPERIMENTS_FOLDER": str(world.folder / "experiments"),
        "PATH": f"{binaries}:{os.environ['PATH']}",
    }


async def until_interrupted(command: str, env: dict[str, str], started: str) -> None:
    """Start a command that runs on, wait for a word of its output, press Ctrl-C, and see it end well."""
    process = await asyncio.create_subprocess_exec(
        *shlex.split(command),
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout
    said = b""
    try:
        while started.encode() not in said:
            line = await asyncio.wait_for(process.stdout.readline(), 60)
            assert line, f"{command} ended early: {said.decode()}"
            said += line
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = await asyncio.wait_for(process.communicate(), 15)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    # make itself ends with an error when it is interrupted, whatever the program did.
    assert process.returncode == 0 or command.startswith("make"), (said + rest).decode()
    assert b"Traceback" not in said + rest


async def run(command: list[str], env: dict[str, str], allowed: tuple[int, ...] = (0,), folder: Path = ROOT) -> None:
    """Run a command to its end and see that it ended well."""
    if command[0] == "axiomd":
        done = await asyncio.to_thread(axiomd, *command[1:], env=env, folder=folder)
        assert done.returncode in allowed, f"{command}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode in allowed, f"{command}: {said.decode()}"
    assert b"Traceback" not in said, said.decode()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", CASES)
async def test_every_command_works(page: Path, world: World) -> None:
    world.valid_result(world.host())
    env = environment(world)
    write_settings(world)
    # A page may begin in the middle of the story: axiomd's tables are there from the second page on.
    if page.name != "README.md":
        await run(["axiomd", "migrate"], env)
    # Files that a page speaks of by relative names.
    for name in ("deploy", "grafana"):
        (world.folder / name).symlink_to(ROOT / name)
    async with stage("\n".join(commands(page)), world, env) as present:
        for command in commands(page):
            await perform(present(command), world, env)


async def perform(command: str, world: World, env: dict[str, str]) -> None:
    """Run a command of a page as it stands there, or shorter where it would take long."""
    if command.startswith(NOT_RUN):
        await run(["make", "--dry-run", *shlex.split(command)[1:]], env)
    elif command == "axiomd run":
        await until_interrupted(command, env, "axiomd runs")
    elif command == "make demo":
        await until_interrupted(command, env, "metrics at")
    else:
        shorter = command.replace("--duration 60", "--duration 10")
        if "experiments.worker" in command:
            # The same experiment at toy size, with its result in a folder of the test's.
            shorter = shorter.replace(".venv/bin/python", sys.executable) + " --scale 0.05"
        if command.startswith(("axiomd experiments replicate", "axiomd experiments figures")):
            shorter += " --seeds 1 --scale 0.005"
            # All of them, as the page has it, would take half a minute even so.
            shorter += " lottery_ticket neuron_specialization" if shlex.split(command)[3].startswith("-") else ""
        # Before `migrate` the doctor finds something wrong, and says so with exit status 1.
        allowed = (0, 1) if command == "axiomd doctor" else (0,)
        folder = ROOT if command.startswith(("make", ".venv")) and "experiments" not in command else world.folder
        await run(shlex.split(shorter), env, allowed, folder)


def test_the_examples_of_writing_an_experiment_hold() -> None:
    text = (ROOT / "docs" / "writing-an-experiment.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(examples) == text.count("```python")
    page: dict[str, object] = {}
    for example in examples:
        exec(example, page)  # noqa: S102 - our own page, read from top to bottom


def test_every_page_that_is_named_is_there() -> None:
    named = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    }
    assert named
    assert not [path for path in named if not path.exists()]


def test_every_benchmark_that_is_named_is_there() -> None:
    named = re.findall(r"-m (benchmarks\.\w+)", (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(
        f"benchmarks.{path.stem}"
        for path in (ROOT / "benchmarks").glob("*.py")
        if path.stem not in ("__init__", "__main__", "ground")
    )
