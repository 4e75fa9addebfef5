"""Which hosts fail by themselves, and how their breakers move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.events import Platform
from axiomd.policies.breaker import (
    BreakerRow,
    Done,
    Others,
    Probe,
    State,
    Verdict,
    Work,
    closed,
    failing_hosts,
    is_storm,
    judge,
    opened,
    reason_of,
)
from axiomd.settings import FailureSettings

SETTINGS = FailureSettings(pause_s=100.0, max_pause_s=1000.0, window_s=3600.0)
LINUX, WINDOWS = Platform.LINUX, Platform.WINDOWS
GOOD, BAD = Work("good", 1, False, LINUX), Work("bad", 1, False, LINUX)
BAD_ON_WINDOWS, GOOD_ON_WINDOWS = BAD._replace(platform=WINDOWS), GOOD._replace(platform=WINDOWS)
HOSTS = range(1, 11)
NOW = 10_000.0


def did(host: int, work: Work, results: int, failures: int) -> Done:
    """What a host did, all in one hour."""
    return Done(host, work, results, failures, Others(1, failures / results))


def failing(done: list[Done], stopped: set[tuple[str, int, bool]] | None = None) -> list[int]:
    """The failing ones, where `done` is all that the fleet did."""
    fleet: dict[Work, Others] = {}
    for one in done:
        before = fleet.get(one.work, Others(0, 0.0))
        fleet[one.work] = Others(before.rows + one.own.rows, before.shares + one.own.shares)
    return [host.host_id for host in failing_hosts(done, fleet, stopped or set(), SETTINGS)]


def all_of(work: Work, failures: int = 0, results: int = 10, hosts: range = HOSTS) -> list[Done]:
    return [did(host, work, results, failures) for host in hosts]


@pytest.mark.parametrize(
    ("done", "hosts"),
    [
        pytest.param(all_of(BAD, 10), [], id="a script fails on all hosts"),
        pytest.param(all_of(BAD, 10) + all_of(GOOD), [], id="a script fails on all hosts, another on none"),
        pytest.param(all_of(BAD, 7), [], id="a script fails most of the time"),
        pytest.param([*all_of(GOOD), did(99, GOOD, 10, 10)], [99], id="a host fails everything"),
        pytest.param([*all_of(GOOD), did(99, GOOD, 3, 3)], [], id="three failures are bad luck"),
        pytest.param([*all_of(GOOD, 1), did(99, GOOD, 20, 5)], [], id="a host fails a little more than others"),
        pytest.param(
            [*all_of(GOOD), *all_of(BAD), did(99, GOOD, 10, 0), did(99, BAD, 10, 10)],
            [99],
            id="a host fails at what works elsewhere",
        ),
        pytest.param(
            [*all_of(GOOD), *all_of(BAD, 10), did(99, GOOD, 10, 0), did(99, BAD, 30, 30)],
            [],
            id="a host is given much of a bad script",
        ),
        pytest.param(
            [*all_of(BAD), *(did(host, BAD_ON_WINDOWS, 10, 10) for host in range(20, 25))],
            [],
            id="a script fails on one platform: its hosts are not to blame",
        ),
        pytest.param(
            [*all_of(GOOD), did(99, GOOD_ON_WINDOWS, 20, 20)],
            [99],
            id="the only host of its platform: all others count",
        ),
        pytest.param([did(99, GOOD, 50, 50)], [], id="nobody else did the same"),
        pytest.param(
            [*all_of(GOOD), *(did(host, GOOD, 500, 500) for host in (97, 98, 99))],
            [97, 98, 99],
            id="three that fail by the hundred don't speak for the fleet",
        ),
        pytest.param([], [], id="nothing"),
    ],
)
def test_which_hosts_fail(done: list[Done], hosts: list[int]) -> None:
    assert failing(done) == hosts


def test_what_is_stopped_is_no_evidence() -> None:
    done = [*all_of(GOOD), did(99, GOOD, 30, 30)]
    assert failing(done, {("good", 1, True)}) == [99]
    assert failing(done, {("good", 1, False)}) == []


@given(st.lists(st.integers(0, 20), min_size=2, max_size=30))
def test_hosts_that_all_do_alike_never_fail(failures: list[int]) -> None:
    """Whoever fails has a larger share of failures than the mean."""
    done = [did(host, GOOD, 20, count) for host, count in enumerate(failures, 1)]
    mean = sum(failures) / len(failures)
    assert all(failures[host - 1] > mean for host in failing(done))


@pytest.mark.parametrize(
    ("failing_now", "live", "storm"),
    [(1, 1, False), (1, 3, False), (2, 3, True), (2, 8, False), (3, 8, True), (67, 270, False), (68, 270, True)],
)
def test_so_many_at_once_are_a_storm(failing_now: int, live: int, *, storm: bool) -> None:
    assert is_storm(failing_now, live) is storm


def test_each_pause_is_twice_as_long_up_to_the_longest() -> None:
    row: BreakerRow | None = None
    pauses = []
    for _ in range(6):
        row = opened(7, row, "memory", SETTINGS, NOW)
        pauses.append(row.until_at - NOW)
        row = row._replace(state=State.HALF_OPEN, probe="p")
    assert pauses == [100, 200, 400, 800, 1000, 1000]
    assert row is not None
    same = opened(7, row, "memory", SETTINGS, NOW, longer=False)
    assert (same.trips, same.probe) == (6, "")
    endless = opened(7, row._replace(trips=10**6), "memory", SETTINGS, NOW)
    assert endless.until_at == NOW + 1000


def test_a_host_starts_anew_after_a_clean_window_only() -> None:
    before = closed(opened(7, None, "memory", SETTINGS, NOW), NOW)
    assert (before.state, before.trips, before.until_at) == (State.CLOSED, 1, 0.0)
    assert opened(7, before, "disk", SETTINGS, NOW + 3600).trips == 2
    assert opened(7, before, "disk", SETTINGS, NOW + 3601).trips == 1


@pytest.mark.parametrize(
    ("probe", "verdict"),
    [
        pytest.param(Probe(there=True, deadline=NOW, good=True), Verdict.GOOD, id="good"),
        pytest.param(Probe(there=True, deadline=NOW, good=False), Verdict.BAD, id="failed"),
        pytest.param(Probe(there=True, deadline=NOW - 1), None, id="a little late"),
        pytest.param(Probe(there=True, deadline=NOW - 3601), Verdict.BAD, id="late"),
        pytest.param(Probe(there=True, cancelled=True, deadline=NOW), Verdict.NONE, id="cancelled"),
        pytest.param(Probe(there=True, cancelled=True, good=True), Verdict.GOOD, id="cancelled, and came back good"),
        pytest.param(Probe(there=True, cancelled=True, good=False), Verdict.NONE, id="cancelled, and ended by that"),
        pytest.param(Probe(there=False, intended=True), None, id="still to be made"),
        pytest.param(Probe(there=False), Verdict.NONE, id="never made"),
    ],
)
def test_what_a_probe_says(probe: Probe, verdict: Verdict | None) -> None:
    assert judge(probe, NOW) is verdict


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([("download", 2), ("memory", 7)], "memory (7 of 9), download (2)"),
        ([("crash", 3)], "crash (3 of 3)"),
        ([], ""),
    ],
)
def test_why_a_host_fails_in_words(counts: list[tuple[str, int]], words: str) -> None:
    assert reason_of(counts) == words
