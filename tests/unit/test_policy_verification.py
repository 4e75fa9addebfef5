"""Whether results of the same seed agree, and who is wrong where they don't."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.events import Platform
from axiomd.policies.verification import (
    LARGEST_DIFFERENCE,
    Copy,
    Dispute,
    State,
    Verdict,
    compare,
    is_sample,
    judge,
    most_exclusions,
    next_state,
)

NAN, INF = math.nan, math.inf
LINUX, WINDOWS, MAC = Platform.LINUX, Platform.WINDOWS, Platform.MAC


@pytest.mark.parametrize(
    ("first", "second", "agrees", "worst", "difference"),
    [
        pytest.param([1.0, 2.0], [1.0, 2.0], True, 0, 0.0, id="equal"),
        pytest.param([1.0, 100.0], [1.0, 100.5], True, 1, 0.5, id="relative to the larger"),
        pytest.param([1.0, 100.0], [1.0, 103.0], False, 1, 3.0, id="beyond the tolerance"),
        pytest.param([0.001, 0.0], [0.002, 0.001], True, 0, 0.1, id="small numbers count as absolute"),
        pytest.param([NAN, 1.0], [NAN, 1.0], True, 0, 0.0, id="missing on both sides"),
        pytest.param([1.0, NAN], [1.0, 2.0], False, 1, LARGEST_DIFFERENCE, id="missing on one side"),
        pytest.param([1.0, 2.0], [1.0, NAN], False, 1, LARGEST_DIFFERENCE, id="missing on the other side"),
        pytest.param([1e308], [-1e308], False, 0, LARGEST_DIFFERENCE, id="a difference no number holds"),
        pytest.param([INF], [INF], True, 0, 0.0, id="the same infinity"),
        pytest.param([INF], [1.0], False, 0, LARGEST_DIFFERENCE, id="infinity against a number"),
        pytest.param([], [], True, 0, 0.0, id="nothing measured"),
    ],
)
def test_compare(first: list[float], second: list[float], agrees: bool, worst: int, difference: float) -> None:
    found = compare(first, second, 0.01)
    assert (found.agrees, found.worst) == (agrees, worst)
    assert found.difference == pytest.approx(difference, rel=0.03)


def test_results_that_are_laid_out_differently_are_not_compared() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        compare([1.0], [1.0, 2.0], 0.01)


def test_without_tolerance_only_equal_results_agree() -> None:
    assert compare([1.0], [1.0], 0.0).agrees
    assert not compare([1.0], [1.0 + 1e-15], 0.0).agrees


numbers = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=6)
tolerances = st.floats(1e-12, 0.5)


@given(numbers, numbers, tolerances)
def test_a_comparison_is_symmetric_finite_and_says_what_its_difference_says(
    first: list[float], second: list[float], tolerance: float
) -> None:
    size = min(len(first), len(second))
    one, other = compare(first[:size], second[:size], tolerance), compare(second[:size], first[:size], tolerance)
    assert one == other
    assert math.isfinite(one.difference)
    assert one.difference >= 0
    assert one.agrees == (one.difference <= 1) or one.difference == pytest.approx(1)
    assert 0 <= one.worst < size


@given(numbers, tolerances)
def test_a_result_agrees_with_itself(first: list[float], tolerance: float) -> None:
    assert compare(first, list(first), tolerance).agrees


@given(numbers, numbers, tolerances, st.floats(1, 10))
def test_a_wider_tolerance_never_turns_agreement_into_disagreement(
    first: list[float], second: list[float], tolerance: float, wider: float
) -> None:
    size = min(len(first), len(second))
    if compare(first[:size], second[:size], tolerance).agrees:
        assert compare(first[:size], second[:size], tolerance * wider).agrees


def dispute(*results: tuple[str, int, Platform], gpu: bool = False) -> Dispute:
    """Results as (what was computed, user, platform), a host each; what is spelled the same agrees."""
    copies = [Copy(100 + n, n, user, platform, gpu) for n, (_, user, platform) in enumerate(results, 1)]
    compared = [
        (100 + a, 100 + b, results[a - 1][0] == results[b - 1][0])
        for a in range(1, len(results) + 1)
        for b in range(a + 1, len(results) + 1)
    ]
    users = frozenset(copy.user_id for copy in copies)
    return Dispute("e", 1, 7, State.WANTS_COPY, 0, "", tuple(copies), users, tuple(compared))


@pytest.mark.parametrize(
    ("results", "last", "verdict", "wrong"),
    [
        pytest.param([("x", 1, LINUX), ("y", 2, LINUX)], False, "open", {}, id="one against one"),
        pytest.param([("x", 1, LINUX), ("y", 2, LINUX)], True, "unclear", {}, id="one against one, and no more"),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, LINUX), ("x", 3, LINUX)], False, "host", {2: (1, 3)}, id="a cheat among three"
        ),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, LINUX), ("x", 1, LINUX)], False, "open", {}, id="two hosts of the same user"
        ),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, LINUX), ("y", 2, LINUX), ("x", 3, LINUX)],
            False,
            "host",
            {2: (1, 4), 3: (1, 4)},
            id="a cheat with two hosts",
        ),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, LINUX), ("x", 3, LINUX), ("y", 4, LINUX)],
            False,
            "open",
            {},
            id="two cheats agree",
        ),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, LINUX), ("x", 3, LINUX), ("y", 4, LINUX), ("x", 5, LINUX)],
            True,
            "unclear",
            {},
            id="two cheats agree to the end",
        ),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, LINUX), ("z", 3, LINUX)], False, "open", {}, id="three against each other"
        ),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, LINUX), ("z", 3, LINUX), ("x", 4, LINUX)],
            False,
            "host",
            {2: (1, 4), 3: (1, 4)},
            id="two cheats, each alone",
        ),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, WINDOWS), ("x", 3, LINUX)], False, "open", {}, id="a platform or a cheat"
        ),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, WINDOWS), ("x", 3, LINUX)],
            True,
            "platform",
            {},
            id="a platform or a cheat, for good",
        ),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, WINDOWS), ("x", 3, LINUX), ("y", 4, WINDOWS)],
            False,
            "platform",
            {},
            id="two platforms",
        ),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, WINDOWS), ("x", 3, LINUX), ("x", 4, WINDOWS)],
            False,
            "host",
            {2: (1, 3, 4)},
            id="a cheat, for its own platform agrees with the other",
        ),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, WINDOWS), ("x", 3, MAC)], True, "unclear", {}, id="two platforms against a third"
        ),
        pytest.param(
            [("x", 1, LINUX), ("y", 2, WINDOWS), ("x", 3, LINUX), ("y", 4, WINDOWS), ("z", 5, WINDOWS)],
            False,
            "platform",
            {5: (2, 4)},
            id="two platforms and a cheat",
        ),
    ],
)
def test_judge(
    results: list[tuple[str, int, Platform]], last: bool, verdict: str, wrong: dict[int, tuple[int, ...]]
) -> None:
    found = judge(dispute(*results), last=last)
    assert found.verdict == verdict
    assert {one.copy.host_id: one.partners for one in found.wrong} == wrong


def test_one_more_copy_goes_to_the_kind_of_machine_that_tells_most() -> None:
    found = judge(dispute(("x", 1, LINUX), ("y", 2, WINDOWS), ("x", 3, LINUX)), last=False)
    assert found.kinds == ((WINDOWS, False),)


def test_platforms_differ_for_sure_only_if_each_has_two_users() -> None:
    two = [("x", 1, LINUX), ("y", 2, WINDOWS), ("x", 3, LINUX)]
    assert not judge(dispute(*two), last=True).sure
    both = judge(dispute(*two, ("y", 4, WINDOWS)), last=True)
    assert (both.sure, both.kinds) == (True, ((WINDOWS, False), (LINUX, False)))


def test_a_gpu_is_a_kind_of_machine_of_its_own() -> None:
    plain = dispute(("x", 1, LINUX), ("y", 2, LINUX), ("x", 3, LINUX))
    (first, second, third) = plain.results
    on_gpu = judge(
        Dispute("e", 1, 7, State.WANTS_COPY, 0, "", (first, second._replace(gpu=True), third), compared=plain.compared),
        last=True,
    )
    assert (on_gpu.verdict, on_gpu.wrong) == (Verdict.PLATFORM, ())


def test_what_a_distrusted_host_says_counts_no_more() -> None:
    between_two = dispute(("x", 1, LINUX), ("y", 2, LINUX))
    assert judge(between_two, last=False, distrusted={2}).verdict is Verdict.HOST
    three = dispute(("x", 1, LINUX), ("y", 2, LINUX), ("x", 3, LINUX))
    assert judge(three, last=False, distrusted={3}).verdict is Verdict.OPEN


def test_pairs_that_were_not_compared_are_no_evidence() -> None:
    three = dispute(("x", 1, LINUX), ("y", 2, LINUX), ("x", 3, LINUX))
    unseen = Dispute("e", 1, 7, State.WANTS_COPY, 0, "", three.results, compared=three.compared[:2])
    assert judge(unseen, last=False).verdict is Verdict.OPEN


def test_results_that_agree_by_way_of_others_show_that_the_tolerance_is_tight_and_nobody_wrong() -> None:
    three = dispute(("x", 1, LINUX), ("y", 2, LINUX), ("z", 3, LINUX))
    chain = ((101, 102, True), (102, 103, True), (101, 103, False))
    found = judge(Dispute("e", 1, 7, State.WANTS_COPY, 0, "", three.results, compared=chain), last=False)
    assert (found.verdict, found.wrong) == (Verdict.UNCLEAR, ())


results_of_a_seed = st.lists(
    st.tuples(st.sampled_from("xyz"), st.integers(1, 4), st.sampled_from([LINUX, WINDOWS])), min_size=2, max_size=6
)


@given(results_of_a_seed, st.booleans())
def test_whoever_is_wrong_stands_alone_against_two_users_who_agree_and_one_of_its_own_platform(
    results: list[tuple[str, int, Platform]], last: bool
) -> None:
    found = judge(dispute(*results), last=last)
    assert found.verdict is not Verdict.OPEN or not last
    for one in found.wrong:
        said, user, platform = results[one.copy.host_id - 1]
        assert all(other[1] == user for other in results if other[0] == said)
        partners = [results[host_id - 1] for host_id in one.partners]
        assert len({partner[0] for partner in partners}) == 1
        assert len({partner[1] for partner in partners} - {user}) >= 2
        assert any(partner[2] == platform for partner in partners if partner[1] != user)


def test_states() -> None:
    open_, settled = judge(dispute(("x", 1, LINUX), ("y", 2, LINUX)), last=False), judge(dispute(), last=False)
    assert next_state(open_, copy_out=True) is State.COPY_OUT
    assert next_state(open_, copy_out=False) is State.WANTS_COPY
    assert next_state(settled, copy_out=True) is State.SETTLED


@pytest.mark.parametrize(("live", "most"), [(0, 1), (9, 1), (25, 2), (1000, 100)])
def test_how_many_hosts_a_day_excludes(live: int, most: int) -> None:
    assert most_exclusions(live) == most


def sample(share: float, salt: float = 1.0, experiment: str = "lottery_ticket") -> set[int]:
    return {seed for seed in range(10_000) if is_sample(experiment, 2, seed, share, salt)}


def test_the_sample_is_the_share_that_the_settings_want_and_the_same_whenever_it_is_drawn() -> None:
    assert 400 < len(sample(0.05)) < 600
    assert sample(0.05) == sample(0.05) > sample(0.01)
    assert (len(sample(0.0)), len(sample(1.0))) == (0, 10_000)


def test_the_sample_is_another_with_another_salt_or_for_another_experiment() -> None:
    assert len(sample(0.05) & sample(0.05, salt=2.0)) < 60
    assert len(sample(0.05) & sample(0.05, experiment="grokking_dynamics")) < 60
