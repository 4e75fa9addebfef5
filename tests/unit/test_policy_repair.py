"""Which workunits can't move, told apart from the healthy ones; and what helps. Tables after docs/boinc.md."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.events import StuckCase
from axiomd.policies.repair import Assignment, Candidate, OpenWorkunit, Remedy, Repair, decide_repairs, stuck_case
from axiomd.settings import DAY_S, HOUR_S, RepairSettings

NOW = 1_772_460_000.0
INT_MAX = 2_147_483_647
SETTINGS = RepairSettings()
GB = 1e9

WAITING = Assignment(1, 7, broadcast=False, target_ok=True)
DEAD = Assignment(1, 7, broadcast=False, target_ok=False)
MERGED = Assignment(1, 7, broadcast=False, target_ok=False, successor_id=9)
USERS = Assignment(1, 0, broadcast=False, target_ok=True)
BROADCAST = Assignment(1, 0, broadcast=True, target_ok=True)


def workunit(**what: Any) -> OpenWorkunit:
    """A targeted job that waits for its host, untouched for a day."""
    defaults: dict[str, Any] = {
        "workunit_id": 1,
        "flags": 2,
        "touched_at": NOW - DAY_S,
        "transition_at": INT_MAX,
        "error_mask": 0,
        "need_validate": False,
        "has_canonical": False,
        "target_nresults": 1,
        "max_total_results": 5,
        "assignments": (WAITING,),
    }
    return OpenWorkunit(**defaults | what)


def plain(**what: Any) -> OpenWorkunit:
    """A job for any host, without a result, its next look ten days ahead."""
    return workunit(**{"flags": 0, "assignments": (), "transition_at": NOW + 10 * DAY_S} | what)


TRIED: dict[str, Any] = {"hosts_tried": frozenset({7}), "total": 1}


@pytest.mark.parametrize(
    "healthy",
    [
        pytest.param(workunit(), id="targeted, and its host hasn't fetched it yet"),
        pytest.param(workunit(assignments=(USERS,)), id="targeted at a user or team"),
        pytest.param(
            workunit(assignments=(DEAD, Assignment(2, 8, broadcast=False, target_ok=True))), id="one of two alive"
        ),
        pytest.param(workunit(in_progress=1, **TRIED), id="targeted, its instance in progress"),
        pytest.param(
            plain(viable_successes=1, unjudged=1, in_progress=1, target_nresults=2, min_quorum=2),
            id="one of a quorum of two is in, the other in progress",
        ),
        pytest.param(
            plain(viable_successes=1, unjudged=1, transition_at=NOW + 60), id="a success that is looked at in a minute"
        ),
        pytest.param(workunit(in_progress=1, assignments=(), **TRIED), id="in progress, its assignment gone"),
        pytest.param(workunit(in_progress=1, assignments=(DEAD,), **TRIED), id="in progress: a stuck task is abort's"),
        pytest.param(workunit(viable_successes=1, **TRIED), id="targeted, its success waits for the validator"),
        pytest.param(workunit(assignments=(), transition_at=NOW), id="orphaned, and a transition is due"),
        pytest.param(workunit(assignments=(), transition_at=NOW - DAY_S), id="blocked: the transitioner is behind"),
        pytest.param(workunit(max_total_results=1, **TRIED), id="spent its last instance: the transitioner ends it"),
        pytest.param(workunit(assignments=(), error_mask=16), id="orphaned, and cancelled"),
        pytest.param(workunit(assignments=(), need_validate=True), id="orphaned, and to be validated"),
        pytest.param(workunit(assignments=(), has_canonical=True), id="orphaned, and done"),
        pytest.param(workunit(assignments=(), touched_at=NOW - 599), id="orphaned, and younger than the minimum"),
        pytest.param(workunit(flags=1, assignments=(BROADCAST,)), id="a broadcast"),
        pytest.param(workunit(flags=1, assignments=(BROADCAST,), transition_at=0), id="a broadcast, whatever its time"),
        pytest.param(workunit(flags=1, assignments=(), touched_at=NOW - 599), id="a broadcast being made"),
        pytest.param(plain(unsent=1), id="no flags, a result waits in the feeder"),
        pytest.param(plain(in_progress=1), id="no flags, a result is in progress"),
        pytest.param(plain(viable_successes=1), id="no flags, a success waits"),
        pytest.param(plain(transition_at=NOW + HOUR_S), id="no flags, nothing under way, looked at within the hour"),
        pytest.param(plain(transition_at=NOW), id="no flags, nothing under way, a transition is due"),
        pytest.param(plain(error_mask=8), id="no flags, given up"),
        pytest.param(plain(touched_at=NOW - 599), id="no flags, younger than the minimum"),
    ],
)
def test_healthy_ones_are_left_alone(healthy: OpenWorkunit) -> None:
    assert stuck_case(healthy, SETTINGS, NOW) is None


@pytest.mark.parametrize(
    ("stuck", "case"),
    [
        pytest.param(workunit(assignments=()), StuckCase.ORPHANED, id="no assignment"),
        pytest.param(workunit(assignments=(), touched_at=NOW - 600), StuckCase.ORPHANED, id="just old enough"),
        pytest.param(workunit(assignments=(), **TRIED), StuckCase.ORPHANED, id="no assignment, an instance failed"),
        pytest.param(workunit(assignments=(DEAD,)), StuckCase.DEAD_TARGET, id="its host is silent or excluded"),
        pytest.param(workunit(assignments=(MERGED,)), StuckCase.DEAD_TARGET, id="its host was merged away"),
        pytest.param(workunit(**TRIED), StuckCase.SPENT_TARGET, id="its host's instance failed"),
        pytest.param(
            workunit(assignments=(DEAD,), **TRIED), StuckCase.SPENT_TARGET, id="failed on a host since silent"
        ),
        pytest.param(workunit(unsent=1, total=1), StuckCase.UNSENDABLE, id="an unsent result with flags=2"),
        pytest.param(workunit(unsent=1, total=1, assignments=()), StuckCase.UNSENDABLE, id="unsent, no assignment"),
        pytest.param(
            workunit(unsent=1, total=1, max_total_results=1), StuckCase.UNSENDABLE, id="unsent, and the last allowed"
        ),
        pytest.param(workunit(flags=1, assignments=()), StuckCase.ORPHANED_BROADCAST, id="flags=1 without assignment"),
        pytest.param(workunit(flags=1), StuckCase.ORPHANED_BROADCAST, id="flags=1 with a targeted assignment"),
        pytest.param(
            workunit(flags=1, assignments=(), transition_at=0), StuckCase.ORPHANED_BROADCAST, id="flags=1, overdue"
        ),
        pytest.param(plain(), StuckCase.STALLED, id="no flags, nothing under way, next look in ten days"),
        pytest.param(
            plain(transition_at=INT_MAX), StuckCase.STALLED, id="no flags, nothing under way, never looked at"
        ),
        pytest.param(plain(unsent=1, target_nresults=2), StuckCase.STALLED, id="no flags, one of two under way"),
        pytest.param(
            plain(viable_successes=1, unjudged=1, total=1), StuckCase.STALLED, id="a success that nobody will judge"
        ),
        pytest.param(
            workunit(viable_successes=1, unjudged=1, **TRIED), StuckCase.STALLED, id="the same of a targeted job"
        ),
        pytest.param(
            plain(viable_successes=2, unjudged=1, total=2, has_canonical=True),
            StuckCase.STALLED,
            id="a late success that nobody will judge",
        ),
    ],
)
def test_stuck_ones_are_told_apart(stuck: OpenWorkunit, case: StuckCase) -> None:
    assert stuck_case(stuck, SETTINGS, NOW) is case


def test_ages_are_settings() -> None:
    settings = RepairSettings(min_age_s=10, stalled_after_s=20)
    assert stuck_case(workunit(assignments=(), touched_at=NOW - 10), settings, NOW) is StuckCase.ORPHANED
    assert stuck_case(workunit(assignments=(), touched_at=NOW - 9), settings, NOW) is None
    assert stuck_case(plain(transition_at=NOW + 21), settings, NOW) is StuckCase.STALLED
    assert stuck_case(plain(transition_at=NOW + 20), settings, NOW) is None


# Remedies.


def host(id_: int, idle: int = 1, memory: float = 8 * GB) -> Candidate:
    return Candidate(id_, memory, idle)


def remedy(stuck: OpenWorkunit, *candidates: Candidate, method: str = "retarget") -> tuple[Remedy, int]:
    case = stuck_case(stuck, SETTINGS, NOW)
    assert case is not None
    settings = RepairSettings.model_validate({"method": method})
    (repair,) = decide_repairs([(stuck, case)], candidates, settings)
    assert (repair.workunit, repair.case) == (stuck, case)
    return repair.remedy, repair.host_id


RETARGETABLE = [
    pytest.param(workunit(assignments=(DEAD,)), id="dead target"),
    pytest.param(workunit(**TRIED), id="spent target"),
    pytest.param(workunit(unsent=1, total=1), id="unsendable"),
]


@pytest.mark.parametrize("stuck", RETARGETABLE)
def test_a_lost_target_is_replaced_by_the_idlest_host(stuck: OpenWorkunit) -> None:
    assert remedy(stuck, host(3, 2), host(4, 5), host(5, 5), host(6, 1)) == (Remedy.RETARGET, 4)


@pytest.mark.parametrize("stuck", RETARGETABLE)
def test_without_a_fit_host_the_job_is_freed(stuck: OpenWorkunit) -> None:
    assert remedy(stuck) == (Remedy.FREE, 0)


@pytest.mark.parametrize("stuck", RETARGETABLE)
def test_where_the_settings_say_free_the_job_is_freed(stuck: OpenWorkunit) -> None:
    assert remedy(stuck, host(4), method="free") == (Remedy.FREE, 0)


@pytest.mark.parametrize(
    ("stuck", "expected"),
    [
        pytest.param(workunit(assignments=()), Remedy.FREE, id="orphaned"),
        pytest.param(workunit(flags=1, assignments=()), Remedy.FREE, id="orphaned broadcast"),
        pytest.param(plain(), Remedy.WAKE, id="stalled"),
    ],
)
def test_the_others_have_one_remedy(stuck: OpenWorkunit, expected: Remedy) -> None:
    assert remedy(stuck, host(4, 100)) == (expected, 0)


def test_an_unsendable_job_that_may_have_no_further_result_is_freed() -> None:
    """Withdrawn, its unsent result would still count: one more for a new host is one more than max_total_results."""
    last = workunit(unsent=1, total=1, max_total_results=1)
    assert remedy(last, host(4)) == (Remedy.FREE, 0)


@pytest.mark.parametrize(
    ("what", "candidates", "host_id"),
    [
        pytest.param({"assignments": (MERGED,)}, [host(9), host(4, 50)], 9, id="the successor of a merged host first"),
        pytest.param({"assignments": (MERGED,)}, [host(4)], 4, id="another, where the successor has no idle core"),
        pytest.param(
            {"assignments": (MERGED,), "hosts_tried": frozenset({7, 9}), "total": 2},
            [host(9), host(4)],
            4,
            id="another, where the successor tried it",
        ),
        pytest.param({"memory": 8 * GB}, [host(4, 50, 4 * GB), host(5, 1, 8 * GB)], 5, id="enough memory"),
        pytest.param({"memory": 9 * GB}, [host(4, 50, 8 * GB)], 0, id="nobody has enough memory"),
        pytest.param(
            {"hosts_tried": frozenset({4, 7}), "total": 2}, [host(4, 50), host(5)], 5, id="not a host that tried it"
        ),
        pytest.param({"hosts_tried": frozenset({4, 7}), "total": 2}, [host(4, 50)], 0, id="all of them tried it"),
        pytest.param({}, [host(4, 0)], 0, id="no idle core"),
    ],
)
def test_the_choice_of_a_new_target(what: dict[str, Any], candidates: list[Candidate], host_id: int) -> None:
    stuck = workunit(**{"assignments": (DEAD,)} | what)
    assert remedy(stuck, *candidates) == (Remedy.RETARGET if host_id else Remedy.FREE, host_id)


def test_jobs_spread_over_the_idle_cores_and_the_rest_is_freed() -> None:
    stuck = [(workunit(workunit_id=id_, assignments=(DEAD,)), StuckCase.DEAD_TARGET) for id_ in range(5)]
    repairs = decide_repairs(stuck, [host(4, 2), host(5, 1)], SETTINGS)
    assert [(repair.remedy, repair.host_id) for repair in repairs] == [
        (Remedy.RETARGET, 4),
        (Remedy.RETARGET, 4),
        (Remedy.RETARGET, 5),
        (Remedy.FREE, 0),
        (Remedy.FREE, 0),
    ]


lost = st.builds(
    workunit,
    workunit_id=st.integers(1, 1000),
    assignments=st.just((DEAD,)),
    hosts_tried=st.frozensets(st.integers(1, 5), max_size=3),
    memory=st.floats(0, 10 * GB),
)
fleet = st.lists(
    st.builds(Candidate, st.integers(1, 5), st.floats(0, 10 * GB), st.integers(0, 4)),
    max_size=5,
    unique_by=lambda candidate: candidate.host_id,
)


@given(st.lists(lost, max_size=20, unique_by=lambda one: one.workunit_id), fleet)
def test_no_host_gets_more_than_it_has_idle_nor_what_it_cannot_take(
    stuck: list[OpenWorkunit], candidates: list[Candidate]
) -> None:
    repairs = decide_repairs([(one, StuckCase.DEAD_TARGET) for one in stuck], candidates, SETTINGS)
    assert [repair.workunit for repair in repairs] == stuck
    hosts = {candidate.host_id: candidate for candidate in candidates}
    given_to: dict[int, list[Repair]] = {}
    for repair in repairs:
        if repair.remedy is Remedy.RETARGET:
            given_to.setdefault(repair.host_id, []).append(repair)
            assert repair.host_id not in repair.workunit.hosts_tried
            assert hosts[repair.host_id].memory >= repair.workunit.memory
    for host_id, jobs in given_to.items():
        assert len(jobs) <= hosts[host_id].idle
