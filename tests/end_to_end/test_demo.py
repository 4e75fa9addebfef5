"""The demo as a person runs it: a summary at the end, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.servers import free_port

KEYS = {
    "results_completed",
    "results_credited",
    "credit_granted",
    "tasks_aborted",
    "flags_repaired",
    "workunits_deployed",
    "idle_core_share",
    "faults_injected",
    "jobs_computed",
    "jobs_replayed",
    "audit",
    "seed",
    "duration_s",
}
FAULTS = {
    "silent_host",
    "late_host",
    "failing_host",
    "cheating_host",
    "orphaned_flags",
    "dead_target",
    "stalled_workunit",
    "crashed_job",
    "empty_output",
    "absurd_elapsed",
    "lost_report",
}
BOINC_DAEMONS = ("transitioner", "validator")
GONE_WITHIN_S = 5.0
RUNNING_WITHIN_S = 60.0

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of a demo whose temporary files lie below the test's folder, where nothing may be left."""
    # a short path: unix sockets lie below it
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield {**os.environ, "TMPDIR": folder}
        assert list(Path(folder).iterdir()) == []


def _start(environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "axiomd.demo", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def _left(processes: list[psutil.Process]) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=1)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def _wait_until_computing(demo: subprocess.Popen[str], folder: str) -> list[psutil.Process]:
    """The demo's processes, once BOINC's daemons are among them, and volunteers that compute."""
    deadline = time.monotonic() + RUNNING_WITHIN_S
    while time.monotonic() < deadline and demo.poll() is None:
        processes = psutil.Process(demo.pid).children(recursive=True) + _daemons(folder)
        commands = [_command(process) for process in processes]
        computes = any("experiments.worker" in command for command in commands)
        if computes and sum("axiomd.demo.daemons" in command for command in commands) == len(BOINC_DAEMONS):
            return processes
        time.sleep(0.1)
    demo.kill()
    _, complaints = demo.communicate()
    pytest.fail(f"no volunteer computes: {complaints}")


def _daemons(folder: str) -> list[psutil.Process]:
    """BOINC's daemons of a demo below a folder; they are nobody's children."""
    return [
        process
        for process in psutil.process_iter()
        if "axiomd.demo.daemons" in (command := _command(process)) and any(word.startswith(folder) for word in command)
    ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def test_a_run_ends_with_a_good_audit_and_its_summary_on_standard_output(environment: dict[str, str]) -> None:
    demo = _start(environment, "--duration", "25", "--json", "--seed", "7")
    output, complaints = demo.communicate(timeout=120)

    assert demo.returncode == 0, complaints
    summary: dict[str, Any] = json.loads(output)  # one object, nothing else
    assert set(summary) == KEYS
    assert summary["audit"] == {"ok": True, "problems": []}
    assert summary["seed"] == 7
    assert summary["results_credited"] > 0
    assert summary["credit_granted"] > 0
    assert summary["workunits_deployed"] > 0
    assert summary["jobs_computed"] > 0
    assert 0 <= summary["idle_core_share"] <= 1
    assert {fault for fault, count in summary["faults_injected"].items() if count} == FAULTS


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_ends_it_within_five_seconds_and_leaves_no_process(environment: dict[str, str], presses: int) -> None:
    demo = _start(environment, "--json", "--seed", "7")
    processes = _wait_until_computing(demo, environment["TMPDIR"])

    pressed_at = time.monotonic()
    for _ in range(presses):
        demo.send_signal(signal.SIGINT)
        time.sleep(0.05)
    output, complaints = demo.communicate(timeout=30)

    assert time.monotonic() - pressed_at < GONE_WITHIN_S
    assert _left(processes) == []
    assert "Traceback" not in complaints
    if output:
        assert set(json.loads(output)) == KEYS


def test_a_daemon_that_is_killed_can_be_started_again_and_nothing_outlives_a_demo_that_is_killed(
    environment: dict[str, str],
) -> None:
    port = free_port()
    demo = _start(environment, "--json", "--seed", "7", "--http-port", f"{port}")
    processes = _wait_until_computing(demo, environment["TMPDIR"])
    (folder,) = Path(environment["TMPDIR"]).glob("axiomd-demo-*")
    program = str(folder / "project/bin/transitioner")
    (transitioner,) = (process for process in processes if program in _command(process))

    os.kill(transitioner.pid, signal.SIGKILL)
    assert _left([transitioner]) == []
    status = subprocess.run([folder / "project/bin/status"], capture_output=True, text=True, check=True).stdout
    assert (status.count(" running "), status.count("NOT RUNNING")) == (1, 1)
    subprocess.run([folder / "project/bin/start", "--cron"], check=True)
    assert len(_daemons(environment["TMPDIR"])) == len(BOINC_DAEMONS)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert b"axiomd_hosts{" in answer.read()

    processes += _daemons(environment["TMPDIR"])
    demo.kill()
    demo.communicate(timeout=30)
    deadline = time.monotonic() + GONE_WITHIN_S
    while _left(processes) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _left(processes) == []
    shutil.rmtree(folder)  # what nobody was there to remove


def test_when_axiomd_cannot_start_one_line_names_its_log(environment: dict[str, str], tmp_path: Path) -> None:
    # a setting that axiomd refuses, from the environment, as an operator might have left it there
    demo = _start({**environment, "AXIOMD_LOG__LEVEL": "loud"}, "--json", "--folder", str(tmp_path / "kept"))
    output, complaints = demo.communicate(timeout=60)

    assert demo.returncode == 2
    assert output == ""
    assert f"see {tmp_path / 'kept' / 'axiomd.log'}" in complaints.splitlines()[-1]
    assert "Traceback" not in complaints


def test_a_folder_in_use_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    demo = _start(environment, "--folder", str(tmp_path))
    _, complaints = demo.communicate(timeout=60)

    assert demo.returncode == 2
    assert complaints == f"axiomd demo: {tmp_path} isn't empty: name another folder with --folder.\n"
