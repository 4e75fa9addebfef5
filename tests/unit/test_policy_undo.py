"""What can be undone and what not, case by case; and what goes from an average with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.policies.rac import HALF_LIFE_S, contribution, decayed, updated_average
from axiomd.policies.undo import (
    DeployedJob,
    EndedTask,
    OldAssignment,
    PaidGrant,
    RepairedWorkunit,
    RestoredReport,
    Stays,
    Target,
    Unit,
    stays,
    sums_by,
    taken_average,
    transition_after,
)
from axiomd.settings import DAY_S

NOW = 1_772_460_000.0

GRANT = PaidGrant(7, 1, 0, 2.0, 3, 4, 5, 0, 2.0, 1)
BY_DEADLINE = EndedTask(
    journal_id=7,
    result_id=1,
    workunit_id=2,
    cancelled_for=False,
    deadline_before=NOW + 1000,
    deadline_after=NOW - 1,
    undone=False,
    server_state=4,
    report_deadline=int(NOW - 1),
    error_mask=0,
    assimilate_state=0,
    has_canonical=False,
    reason="abort:host_silent",
)
CANCELLED = replace(BY_DEADLINE, cancelled_for=True, error_mask=16, reason="abort:ceiling")
RETARGETED = RepairedWorkunit(
    journal_id=7,
    workunit_id=2,
    reason="repair:dead_target",
    remedy="retarget",
    host_id=9,
    flags_before=2,
    transition_before=2_147_483_647,
    assignments_before=(OldAssignment(1, 8, 1, 0, 0),),
    results_before=0,
    withdrawn=0,
    undone=False,
    there=True,
    flags=2,
    error_mask=0,
    need_validate=False,
    has_canonical=False,
    assimilate_state=0,
    results=0,
    assignments=(Target(11, 1, 9),),
)
FREED = replace(RETARGETED, remedy="free", host_id=0, flags=0, assignments=())
WOKEN = replace(RETARGETED, remedy="wake", host_id=0)
REPORT = RestoredReport(
    journal_id=7,
    result_id=1,
    workunit_id=2,
    reason="repair:lost_report",
    outcome_before=4,
    validate_before=0,
    outcome_after=1,
    validate_after=0,
    undone=False,
    server_state=5,
    outcome=1,
    validate_state=0,
    granted_credit=0.0,
    error_mask=0,
    need_validate=False,
    has_canonical=False,
    assimilate_state=0,
)
JOB = DeployedJob(7, "e-v1-b7-s1", 3, given_up=False, workunit_id=2, intended=False)
UNMADE = replace(JOB, workunit_id=0, intended=True)


def grant(**what: Any) -> PaidGrant:
    return GRANT._replace(**what)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        pytest.param(GRANT, None, id="a grant in force"),
        pytest.param(grant(last_generation=1, granted_credit=0.0), Stays.UNDONE, id="a grant taken back"),
        pytest.param(grant(last_generation=2), Stays.UNDONE, id="a grant taken back, and paid again"),
        pytest.param(grant(generation=2, last_generation=2), None, id="the grant that was paid again"),
        pytest.param(grant(granted_credit=3.0), Stays.GRANT_CHANGED, id="a grant that another program raised"),
        pytest.param(grant(granted_credit=0.0), Stays.GRANT_CHANGED, id="a grant that another program wrote over"),
        pytest.param(grant(granted_credit=None, app_id=0), None, id="a grant of a purged result"),
        pytest.param(BY_DEADLINE, None, id="a deadline"),
        pytest.param(replace(BY_DEADLINE, undone=True), Stays.UNDONE, id="a deadline given back"),
        pytest.param(replace(BY_DEADLINE, workunit_id=0), Stays.GONE, id="a purged task"),
        pytest.param(replace(BY_DEADLINE, server_state=5), Stays.ENDED, id="a task that is over"),
        pytest.param(
            replace(BY_DEADLINE, report_deadline=5), Stays.DEADLINE_CHANGED, id="a deadline that another changed"
        ),
        pytest.param(
            replace(BY_DEADLINE, deadline_before=NOW - 5), Stays.DEADLINE_PASSED, id="a deadline that is past by now"
        ),
        pytest.param(CANCELLED, None, id="a cancelled task"),
        pytest.param(replace(CANCELLED, server_state=5), Stays.ENDED, id="a cancelled task that came back"),
        pytest.param(replace(CANCELLED, error_mask=0), Stays.NOT_CANCELLED, id="no longer cancelled"),
        pytest.param(replace(CANCELLED, error_mask=18), Stays.NOT_CANCELLED, id="cancelled, with another error"),
        pytest.param(replace(CANCELLED, assimilate_state=1), Stays.TRANSITIONED, id="cancelled, and transitioned"),
        pytest.param(
            replace(CANCELLED, has_canonical=True), Stays.TRANSITIONED, id="cancelled, with a canonical result"
        ),
        pytest.param(RETARGETED, None, id="a retargeted job"),
        pytest.param(FREED, None, id="a freed job"),
        pytest.param(WOKEN, Stays.NOTHING_TO_REVERSE, id="a woken job"),
        pytest.param(replace(RETARGETED, undone=True), Stays.UNDONE, id="a job that went back"),
        pytest.param(replace(RETARGETED, there=False), Stays.GONE, id="a purged job"),
        pytest.param(replace(RETARGETED, results=1), Stays.INSTANCE_MADE, id="a retargeted job that was sent"),
        pytest.param(replace(FREED, results=1), Stays.INSTANCE_MADE, id="a freed job with an instance"),
        pytest.param(replace(RETARGETED, results=1, results_before=1), None, id="a spent job, retargeted"),
        pytest.param(replace(RETARGETED, flags=0), Stays.MOVED_ON, id="a retargeted job that was freed since"),
        pytest.param(replace(FREED, flags=2), Stays.MOVED_ON, id="a freed job that has flags again"),
        pytest.param(
            replace(RETARGETED, assignments=(Target(12, 1, 10),)), Stays.MOVED_ON, id="a job retargeted once more"
        ),
        pytest.param(replace(FREED, assignments=(Target(12, 1, 9),)), Stays.MOVED_ON, id="a freed job assigned since"),
        pytest.param(replace(FREED, error_mask=16), Stays.MOVED_ON, id="a freed job cancelled since"),
        pytest.param(replace(FREED, need_validate=True), Stays.MOVED_ON, id="a freed job to be validated"),
        pytest.param(replace(FREED, has_canonical=True), Stays.MOVED_ON, id="a freed job that is finished"),
        pytest.param(replace(FREED, assimilate_state=1), Stays.MOVED_ON, id="a freed job that is ready"),
        pytest.param(replace(RETARGETED, withdrawn=1), Stays.WITHDRAWN, id="a job whose unsent result was withdrawn"),
        pytest.param(replace(FREED, assignments_before=None), Stays.NOT_KEPT, id="more assignments than are kept"),
        pytest.param(replace(FREED, results_before=None), Stays.NOT_KEPT, id="an entry of an older axiomd"),
        pytest.param(REPORT, None, id="a report brought back"),
        pytest.param(replace(REPORT, undone=True), Stays.UNDONE, id="a report lost again"),
        pytest.param(replace(REPORT, workunit_id=0), Stays.GONE, id="a purged report"),
        pytest.param(replace(REPORT, granted_credit=2.0), Stays.PAID, id="a report that was paid"),
        pytest.param(replace(REPORT, validate_state=1), Stays.MOVED_ON, id="a report that was validated"),
        pytest.param(replace(REPORT, outcome=3), Stays.MOVED_ON, id="a report that became an error"),
        pytest.param(replace(REPORT, server_state=4), Stays.MOVED_ON, id="a report that is in progress again"),
        pytest.param(replace(REPORT, need_validate=True), Stays.MOVED_ON, id="a report to be validated"),
        pytest.param(replace(REPORT, error_mask=1), Stays.MOVED_ON, id="a report of a workunit with an error"),
        pytest.param(replace(REPORT, has_canonical=True), Stays.MOVED_ON, id="a report of a finished workunit"),
        pytest.param(replace(REPORT, assimilate_state=2), Stays.MOVED_ON, id="a report of an assimilated workunit"),
        pytest.param(JOB, None, id="a job that waits"),
        pytest.param(UNMADE, None, id="a job that isn't made"),
        pytest.param(replace(UNMADE, intended=False, given_up=True), Stays.UNDONE, id="a job given up"),
        pytest.param(replace(UNMADE, intended=False), Stays.GONE, id="a purged job of top-up"),
        pytest.param(replace(JOB, given_up=True), None, id="a job made though it was given up"),
        pytest.param(replace(JOB, given_up=True, error_mask=16), Stays.UNDONE, id="a job taken back"),
        pytest.param(replace(JOB, error_mask=16), Stays.CANCELLED, id="a job that another cancelled"),
        pytest.param(replace(JOB, sent=1), Stays.SENT, id="a job that was sent"),
        pytest.param(replace(JOB, error_mask=8), Stays.FINISHED, id="a job that ended by itself"),
        pytest.param(replace(JOB, assimilate_state=1), Stays.FINISHED, id="a job that is ready"),
        pytest.param(replace(JOB, has_canonical=True), Stays.FINISHED, id="a job with a canonical result"),
    ],
)
def test_what_can_be_undone(unit: Unit, expected: Stays | None) -> None:
    assert stays(unit, NOW) is expected


def test_a_broadcast_job_keeps_the_time_that_nobody_looks_at() -> None:
    assert transition_after(RETARGETED, NOW) == int(NOW)
    assert transition_after(replace(FREED, flags_before=1, transition_before=77), NOW) == 77


@pytest.mark.parametrize(
    ("posted_at", "share", "average", "expected"),
    [
        pytest.param(NOW, 1.0, 100.0, 8.0, id="at once"),
        pytest.param(NOW - HALF_LIFE_S, 1.0, 100.0, 4.0, id="after a half-life"),
        pytest.param(NOW - HALF_LIFE_S, 0.25, 100.0, 1.0, id="a part of it"),
        pytest.param(NOW, 1.0, 5.0, 5.0, id="no more than there is"),
        pytest.param(NOW, 1.0, -3.0, 0.0, id="nothing of a negative average"),
        pytest.param(NOW + DAY_S, 1.0, 100.0, 8.0, id="of an average that is older than the grant"),
    ],
)
def test_what_goes_from_an_average(posted_at: float, share: float, average: float, expected: float) -> None:
    assert taken_average(8.0, posted_at, share, average, NOW) == pytest.approx(expected)


@given(
    average=st.floats(0, 1e6),
    work=st.floats(1, 1e5),
    gaps=st.lists(st.tuples(st.floats(0, 60 * DAY_S), st.floats(0, 1e5)), max_size=6),
)
def test_without_a_grant_the_average_is_what_it_would_be(
    average: float, work: float, gaps: list[tuple[float, float]]
) -> None:
    """However often it was computed since."""
    at = NOW
    paid = updated_average(average, at - DAY_S, work, at, 0.0)
    never = updated_average(average, at - DAY_S, 0.0, at, 0.0)
    added = paid - never
    for gap, more in gaps:
        paid, never = (updated_average(value, at, more, at + gap, 0.0) for value in (paid, never))
        at += gap
    assert paid - taken_average(added, NOW, 1.0, paid, at) == pytest.approx(never, rel=1e-9, abs=1e-6)


def test_what_credit_adds_at_once() -> None:
    assert contribution(7.0) == pytest.approx(updated_average(0.0, NOW, 7.0, NOW, 0.0))
    assert decayed(8.0, -5.0) == 8.0


def test_nobodys_share_is_left_out() -> None:
    assert sums_by([(1, 2.0), (0, 5.0), (1, 3.0), (2, 1.0)]) == {1: 5.0, 2: 1.0}
