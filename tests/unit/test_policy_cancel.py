"""Which jobs of an experiment that has ended, or that fails, are cancelled: a table of cases."""

from __future__ import annotations

import pytest

from axiomd.events import Platform
from axiomd.policies.cancel import Job, is_cancelled, is_withdrawn

WAITING = Job(1, "e-v1-b1-s1", open=True)
UNSENT = Job(1, "e-v1-b1-s1", open=True, unsent=(7,))
RUNNING = Job(1, "e-v1-b1-s1", open=True, in_progress=(7,))
BOTH = Job(1, "e-v1-b1-s1", open=True, unsent=(7,), in_progress=(8,))
REPORTED = Job(1, "e-v1-b1-s1", open=True, reported=1)
FINISHED = Job(1, "e-v1-b1-s1", open=False, reported=1)


@pytest.mark.parametrize(
    ("job", "retired", "aborted"),
    [
        pytest.param(WAITING, True, True, id="waits for its host"),
        pytest.param(UNSENT, True, True, id="unsent"),
        pytest.param(RUNNING, False, True, id="with a volunteer"),
        pytest.param(BOTH, False, True, id="one instance with a volunteer, one unsent"),
        pytest.param(REPORTED, False, True, id="a success came in and isn't judged yet"),
        pytest.param(FINISHED, False, False, id="canonical, in error or assimilated"),
    ],
)
def test_what_is_cancelled(job: Job, retired: bool, aborted: bool) -> None:
    assert (is_cancelled(job, aborted=False), is_cancelled(job, aborted=True)) == (retired, aborted)


WINDOWS, LINUX = Platform.WINDOWS, Platform.LINUX


@pytest.mark.parametrize(
    ("job", "stopped_on", "targets", "withdrawn"),
    [
        pytest.param(WAITING, {None}, {LINUX}, True, id="stopped everywhere"),
        pytest.param(UNSENT, {None}, set(), True, id="stopped everywhere, for any host"),
        pytest.param(RUNNING, {None}, {LINUX}, False, id="with a volunteer"),
        pytest.param(REPORTED, {None}, set(), False, id="a success came in"),
        pytest.param(FINISHED, {None}, set(), False, id="over"),
        pytest.param(WAITING, {WINDOWS}, {WINDOWS}, True, id="waits for a host that it fails on"),
        pytest.param(WAITING, {WINDOWS}, {LINUX}, False, id="waits for a host that it works on"),
        pytest.param(WAITING, {WINDOWS}, {WINDOWS, LINUX}, False, id="waits for either"),
        pytest.param(UNSENT, {WINDOWS}, set(), False, id="any host may get it"),
        pytest.param(WAITING, set(), {LINUX}, False, id="not stopped"),
    ],
)
def test_what_is_withdrawn(
    job: Job, stopped_on: set[Platform | None], targets: set[Platform], *, withdrawn: bool
) -> None:
    assert is_withdrawn(job, stopped_on, targets) is withdrawn
