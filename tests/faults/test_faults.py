"""The short run of each fault, by the very command that `make faults` runs for longer."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)


def run(fault: str, *words: str) -> dict[str, Any]:
    """Run a fault's command; what it printed. It must end with exit status 0."""
    command = [sys.executable, "-m", f"tests.faults.{fault}", *words, "--seed", "7", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["audit"] == {"ok": True, "problems": []}
    assert answer["seed"] == 7
    assert answer["results"] >= answer["credited"] > 0
    return answer


def test_daemon_killed() -> None:
    answer = run("kill", "--kills", "5")
    assert answer["kills"] == 5
    assert answer["in_transaction"] >= 2
    assert answer["in_create_work"] >= 1


def test_database_killed() -> None:
    assert run("database", "--kills", "2")["kills"] == 2


def test_connections_cut() -> None:
    cuts = run("cuts", "--cuts", "16")["cuts"]
    assert sum(cuts.values()) == 16
    assert set(cuts) == {"half", "under_way", "before_commit", "after_commit"}


def test_deadlocks_and_lock_waits() -> None:
    answer = run("contention", "--rounds", "1")
    assert answer["lock_waits"] > 0
    assert answer["deadlocks"] > 0


def test_two_daemons() -> None:
    answer = run("pair", "--rounds", "6")
    assert set(answer["taken_after_s"]) == {"killed", "stopped", "paused", "cut_off", "frozen"}
    assert max(answer["taken_after_s"].values()) < answer["lease_s"]


def test_no_harm_to_boinc() -> None:
    answer = run("harm", "--statements", "1500")
    assert answer["statements"] == 1500
    assert answer["deadlocks"] == answer["lock_waits"] == 0
