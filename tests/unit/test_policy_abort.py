"""When a task that hangs is ended, as a table: one row a rule."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.events import StuckReason
from axiomd.policies.abort import Task, stuck_reason, thresholds
from axiomd.settings import HOUR_S, AbortSettings

NOW = 1_772_460_000.0
INT_MAX = 2_147_483_647
SETTINGS = AbortSettings()


def task(sent_h: float, silent_h: float = 0.0, **what: Any) -> Task:
    """A task sent so many hours ago, to a host silent for so many hours, with a day for it unless a test says more."""
    deadline = NOW - sent_h * HOUR_S + what.get("delay_bound", 24 * HOUR_S)
    defaults: dict[str, Any] = {
        "result_id": 1,
        "workunit_id": 1,
        "host_id": 1,
        "sent_at": NOW - sent_h * HOUR_S,
        "report_deadline": deadline,
        "delay_bound": 24 * HOUR_S,
        "last_contact_at": NOW - silent_h * HOUR_S,
        "transition_at": deadline,
    }
    return Task(**defaults | what)


# The validator wrote the transition_time that it had read: nobody looks at the deadline any more.
LOST: dict[str, Any] = {"transition_at": INT_MAX}
SILENT, CEILING = StuckReason.HOST_SILENT, StuckReason.CEILING


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        pytest.param(task(1, 0), None, id="just sent"),
        pytest.param(task(13, 5), None, id="out for long, its host in contact"),
        pytest.param(task(13, 6), None, id="its host silent for exactly the threshold"),
        pytest.param(task(13, 7), SILENT, id="out for long, its host silent"),
        pytest.param(task(12, 7), None, id="out for exactly the threshold"),
        pytest.param(task(11, 1000), None, id="sent a while ago to a host that is silent for ever"),
        pytest.param(task(13, last_contact_at=0.0), SILENT, id="its host was deleted"),
        pytest.param(task(48, 0, **LOST), None, id="at the ceiling"),
        pytest.param(task(48.01, 0, **LOST), CEILING, id="past the ceiling, its host in contact"),
        pytest.param(task(49, 20, **LOST), CEILING, id="past the ceiling, its host silent"),
        pytest.param(
            task(49, 20), None, id="past the ceiling and its deadline: the transitioner's, as soon as it runs"
        ),
        pytest.param(task(49, 0, report_deadline=NOW + 1), CEILING, id="past the ceiling, its deadline was put off"),
        pytest.param(task(49, 20, cancelled=True, **LOST), None, id="cancelled before"),
        pytest.param(task(49, 20, has_canonical=True), None, id="its workunit has its canonical result"),
        pytest.param(
            task(13, 7, report_deadline=NOW - 1, transition_at=NOW), None, id="deadline passed, transition due"
        ),
        pytest.param(
            task(13, 7, report_deadline=NOW - 1, transition_at=INT_MAX),
            SILENT,
            id="deadline passed, the 'now' was lost",
        ),
        pytest.param(task(13, 7, report_deadline=NOW, transition_at=NOW), SILENT, id="a deadline of now isn't past"),
    ],
)
def test_stuck_or_not(one: Task, reason: StuckReason | None) -> None:
    assert stuck_reason(one, SETTINGS, NOW) is reason


@pytest.mark.parametrize(
    ("delay_bound_h", "hours"),
    [
        pytest.param(0, (12, 6, 48), id="no delay bound: the settings'"),
        pytest.param(24, (12, 6, 48), id="a day: the settings'"),
        pytest.param(25, (12.5, 6.25, 50), id="a little more: all three grow"),
        pytest.param(240, (120, 60, 480), id="ten days: ten times"),
    ],
)
def test_thresholds_grow_with_the_delay_bound(delay_bound_h: float, hours: tuple[float, float, float]) -> None:
    limits = thresholds(delay_bound_h * HOUR_S, SETTINGS)
    assert (limits.stuck_s, limits.silent_s, limits.ceiling_s) == tuple(hour * HOUR_S for hour in hours)


def test_a_job_given_ten_days_is_not_stuck_after_two() -> None:
    assert stuck_reason(task(50, 50, delay_bound=240 * HOUR_S), SETTINGS, NOW) is None
    assert stuck_reason(task(121, 61, delay_bound=240 * HOUR_S), SETTINGS, NOW) is SILENT
    assert stuck_reason(task(481, 0, delay_bound=240 * HOUR_S, **LOST), SETTINGS, NOW) is CEILING


hours = st.floats(0, 2000)


@given(hours, hours, st.floats(0, 500), st.floats(0, 100))
def test_what_is_stuck_stays_stuck_as_time_goes_by(sent: float, silent: float, bound: float, later: float) -> None:
    now, then = (
        stuck_reason(task(sent + more, silent + more, delay_bound=bound * HOUR_S, transition_at=INT_MAX), SETTINGS, NOW)
        for more in (0.0, later)
    )
    assert now is None or then is not None


@given(hours, hours, st.floats(0, 500))
def test_a_task_younger_than_half_its_delay_bound_is_never_stuck(sent: float, silent: float, bound: float) -> None:
    if sent <= max(bound / 2, 12):
        assert stuck_reason(task(sent, silent, delay_bound=bound * HOUR_S), SETTINGS, NOW) is None
