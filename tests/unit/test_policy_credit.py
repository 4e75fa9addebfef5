"""What a finished result is worth, and whether it is paid now, later or never."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.policies.credit import (
    CAP_RETRY_S,
    CREDIT_STEP,
    CreditDecisions,
    CreditState,
    Delay,
    Ending,
    FinishedResult,
    Refusal,
    decide_credit,
    next_day,
    refusal,
    value,
)
from axiomd.policies.measurement import Outcome
from axiomd.policies.presets import PRESETS, apply_preset
from axiomd.settings import DAY_S, HOUR_S, CreditSettings

NOW = 1_772_460_000.0
APP, OTHER_APP = 1, 2
YEAR_S = 365 * DAY_S


def result(id_: int = 1, **what: Any) -> FinishedResult:
    """A valid result of an hour, sent two hours ago."""
    defaults: dict[str, Any] = {
        "result_id": id_,
        "workunit_id": id_,
        "app_id": APP,
        "host_id": 1,
        "user_id": 1,
        "team_id": 0,
        "ending": Ending.VALID,
        "exit_status": 0,
        "elapsed_s": HOUR_S,
        "sent_at": NOW - 2 * HOUR_S,
        "received_at": NOW - 10,
        "granted_credit": 0.0,
        "fpops": 1e9,
    }
    return FinishedResult(**defaults | what)


def state(**what: Any) -> CreditState:
    defaults: dict[str, Any] = {"app_ids": frozenset({APP}), "baseline_at": 1.0}
    return CreditState(**defaults | what)


def timed(elapsed_s: float, id_: int = 1, **what: Any) -> FinishedResult:
    """A result that took so long, and of which the server saw as much pass."""
    return result(id_, elapsed_s=elapsed_s, sent_at=NOW - 10 - max(elapsed_s, 0.0), received_at=NOW - 10, **what)


# What a result is worth.

TIERS = CreditSettings(policy="tiers", tiers=((5, 15), (30, 25), (120, 40)))


@pytest.mark.parametrize(
    ("elapsed_s", "credit"),
    [
        pytest.param(4.999, Refusal.WORTH_NOTHING, id="below the first tier"),
        pytest.param(5, 15.0, id="a tier begins at its bound"),
        pytest.param(29.999, 15.0, id="just below the next tier"),
        pytest.param(30, 25.0, id="the next tier begins at its bound"),
        pytest.param(120, 40.0, id="the last tier begins at its bound"),
        pytest.param(YEAR_S, 40.0, id="the last tier has no end"),
    ],
)
def test_tiers(elapsed_s: float, credit: float | Refusal) -> None:
    assert value(timed(elapsed_s), TIERS) == credit


FLOPS = CreditSettings(policy="flops", flops_scale=1e-9, max_fpops=1e10, max_gpu_fpops=1e12, cap=1e9, host_day_cap=1e9)


@pytest.mark.parametrize(
    ("what", "credit"),
    [
        pytest.param({}, 3600.0, id="seconds times operations a second"),
        pytest.param({"fpops": 1e30}, 36_000.0, id="a claimed speed counts up to max_fpops"),
        pytest.param({"fpops": math.inf}, 36_000.0, id="an endless speed too"),
        pytest.param({"fpops": 0.0}, Refusal.WORTH_NOTHING, id="no speed"),
        pytest.param({"fpops": -1e9}, Refusal.WORTH_NOTHING, id="a negative speed"),
        pytest.param({"fpops": math.nan}, Refusal.WORTH_NOTHING, id="a speed that is no number"),
        pytest.param({"uses_gpu": True, "gpu_fpops": 5e11}, 1_800_000.0, id="a GPU job counts the GPU's speed"),
        pytest.param({"uses_gpu": True, "gpu_fpops": 1e15}, 3_600_000.0, id="a GPU counts up to max_gpu_fpops"),
        pytest.param({"uses_gpu": True, "gpu_fpops": 0.0}, Refusal.WORTH_NOTHING, id="a GPU job without a GPU"),
        pytest.param({"uses_gpu": False, "gpu_fpops": 1e12}, 3600.0, id="a CPU job doesn't count the GPU"),
    ],
)
def test_flops(what: dict[str, Any], credit: float | Refusal) -> None:
    assert value(result(**what), FLOPS) == credit


@pytest.mark.parametrize(
    ("settings", "credit"),
    [
        pytest.param({"flops_scale": 1e300, "max_fpops": 1e300}, 2.0**40, id="a product beyond every number"),
        pytest.param({"flops_scale": 1e300, "cap": 50.0}, 50.0, id="a cap below it"),
        pytest.param({"flops_scale": 1e300, "max_fpops": 0.0}, Refusal.WORTH_NOTHING, id="nothing times very much"),
    ],
)
def test_what_would_overflow_is_bounded(settings: dict[str, float], credit: float | Refusal) -> None:
    wide = {"policy": "flops", "cap": 1e300, "host_day_cap": 1e300}
    assert value(result(fpops=1e300), CreditSettings(**(wide | settings))) == credit


def test_boincs_own_scale_is_200_credit_for_a_day_at_one_gigaflops() -> None:
    day = result(elapsed_s=DAY_S, sent_at=NOW - 2 * DAY_S)
    assert value(day, CreditSettings(policy="flops")) == 200


@pytest.mark.parametrize(
    ("what", "seconds"),
    [
        pytest.param({"elapsed_s": 100.0}, 100, id="what the client claims"),
        pytest.param({"elapsed_s": YEAR_S}, 7190, id="a year counts no more than received - sent"),
        pytest.param({"elapsed_s": math.inf}, 0, id="endless"),
        pytest.param({"elapsed_s": math.nan}, 0, id="not a number"),
        pytest.param({"elapsed_s": -100.0}, 0, id="negative"),
        pytest.param({"received_at": NOW - 3 * HOUR_S}, 0, id="received before it was sent"),
        pytest.param({"received_at": NOW - 2 * HOUR_S}, 0, id="received as it was sent"),
    ],
)
def test_time_counts_only_as_far_as_the_server_saw_it_pass(what: dict[str, Any], seconds: float) -> None:
    one_a_second = CreditSettings(policy="flops", flops_scale=1e-9)
    expected = float(seconds) if seconds else Refusal.WORTH_NOTHING
    assert value(result(**what), one_a_second) == expected


FAILURES = CreditSettings(failures={203: 10, 197: 4}, failure_other=1, failure_min_s=600)


@pytest.mark.parametrize(
    ("exit_status", "seen_s", "credit"),
    [
        pytest.param(203, 600, 10.0, id="by exit status"),
        pytest.param(197, 4000, 4.0, id="another exit status"),
        pytest.param(1, 600, 1.0, id="an exit status that isn't named"),
        pytest.param(203, 599, Refusal.TOO_SHORT, id="below the minimum of time seen by the server"),
        pytest.param(203, -100, Refusal.TOO_SHORT, id="received before it was sent"),
    ],
)
def test_consolation(exit_status: int, seen_s: float, credit: float | Refusal) -> None:
    failed = result(
        ending=Ending.FAILED, exit_status=exit_status, sent_at=NOW - seen_s, received_at=NOW, elapsed_s=YEAR_S
    )
    assert value(failed, FAILURES) == credit


def test_without_a_rule_for_it_failed_work_is_worth_nothing() -> None:
    assert value(result(ending=Ending.FAILED, exit_status=203), CreditSettings()) is Refusal.FAILED
    assert value(result(ending=Ending.FAILED, exit_status=1), CreditSettings(failures={203: 10})) is Refusal.FAILED


def test_a_flat_rate_does_not_ask_for_time() -> None:
    assert value(result(elapsed_s=math.nan), CreditSettings(flat=2)) == 2
    assert value(result(), CreditSettings(flat=0)) is Refusal.WORTH_NOTHING


# Who is never paid.


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        pytest.param({"app_id": OTHER_APP}, Refusal.OTHER_APP, id="another app"),
        pytest.param({"granted_credit": 0.5}, Refusal.ALREADY_GRANTED, id="paid by another program"),
        pytest.param({"received_at": 999.0}, Refusal.BEFORE_BASELINE, id="finished before the baseline"),
        pytest.param({"received_at": 1000.0}, None, id="finished at the baseline"),
        pytest.param({"ending": Ending.NOT_NEEDED}, Refusal.NOT_NEEDED, id="not needed"),
        pytest.param({"ending": Ending.INVALID}, Refusal.INVALID, id="invalid"),
        pytest.param({"ending": Ending.ABORTED_BY_PROJECT}, Refusal.CANCELLED, id="aborted by the project"),
        pytest.param({"cancelled": True}, Refusal.CANCELLED, id="valid, of a workunit that another cancelled"),
        pytest.param({"cancelled": True, "ended_by_axiomd": True}, None, id="ended by axiomd, and came back valid"),
        pytest.param(
            {"cancelled": True, "ended_by_axiomd": True, "ending": Ending.FAILED},
            Refusal.CANCELLED,
            id="ended by axiomd, and failed",
        ),
        pytest.param(
            {"ended_by_axiomd": True, "ending": Ending.ABORTED_BY_PROJECT},
            Refusal.CANCELLED,
            id="ended by axiomd, and the client stopped it",
        ),
        pytest.param({"host_id": 0, "user_id": 0}, Refusal.NO_HOST, id="the host was deleted"),
        pytest.param({"user_id": 0}, Refusal.NO_USER, id="the host has no user"),
        pytest.param({"team_id": 0}, None, id="no team is no obstacle"),
        pytest.param({"ending": Ending.FAILED}, None, id="failed work is for value() to judge"),
        pytest.param({}, None, id="valid"),
    ],
)
def test_refusals(what: dict[str, Any], reason: Refusal | None) -> None:
    assert refusal(result(**what), state(baseline_at=1000.0)) is reason


def test_what_is_not_final_waits_and_is_never_judged() -> None:
    unjudged = result(ending=Ending.NOT_FINAL, cancelled=True, user_id=0)
    decisions = decide_credit([unjudged], state(), CreditSettings(), NOW)
    assert [(d.result, d.reason, d.until) for d in decisions.deferrals] == [(unjudged, Delay.NOT_FINAL, NOW)]
    assert not decisions.grants
    assert not decisions.refusals


# Caps.


def paid(decisions: CreditDecisions) -> list[int]:
    return [grant.result.result_id for grant in decisions.grants]


def put_off(decisions: CreditDecisions) -> list[tuple[int, Delay]]:
    return [(deferral.result.result_id, deferral.reason) for deferral in decisions.deferrals]


def test_past_the_window_cap_results_wait_half_a_minute() -> None:
    settings = CreditSettings(flat=2, cap=10)
    results = [result(id_, received_at=NOW - 100 + id_) for id_ in (1, 2, 3)]
    decisions = decide_credit(results, state(granted_in_window=6.0), settings, NOW)
    assert paid(decisions) == [1, 2]
    assert put_off(decisions) == [(3, Delay.CAP)]
    assert decisions.deferrals[0].until == NOW + CAP_RETRY_S


def test_a_cap_is_reached_exactly_and_not_passed_by_a_thousandth() -> None:
    settings = CreditSettings(flat=2, cap=10)
    assert paid(decide_credit([result()], state(granted_in_window=8.0), settings, NOW)) == [1]
    assert put_off(decide_credit([result()], state(granted_in_window=8.0 + CREDIT_STEP), settings, NOW)) == [
        (1, Delay.CAP)
    ]


def test_a_later_result_that_is_small_enough_passes_one_that_waits_for_the_cap() -> None:
    settings = CreditSettings(policy="tiers", tiers=((0, 1), (1000, 9)), cap=10)
    large = result(1, received_at=NOW - 100)
    small = result(2, received_at=NOW - 50, elapsed_s=10.0)
    decisions = decide_credit([large, small], state(granted_in_window=2.0), settings, NOW)
    assert paid(decisions) == [2]
    assert put_off(decisions) == [(1, Delay.CAP)]


def test_who_finished_first_is_served_first() -> None:
    settings = CreditSettings(flat=2, cap=2)
    results = [result(1, received_at=NOW - 1), result(2, received_at=NOW - 5), result(3, received_at=NOW - 5)]
    assert paid(decide_credit(results, state(), settings, NOW)) == [2]


def test_past_a_hosts_cap_of_the_day_its_results_wait_for_the_next_utc_day() -> None:
    settings = CreditSettings(flat=2, host_day_cap=4)
    results = [result(id_, host_id=host, received_at=NOW - 100 + id_) for id_, host in ((1, 7), (2, 7), (3, 8))]
    decisions = decide_credit(results, state(granted_today={7: 2.0}), settings, NOW)
    assert paid(decisions) == [1, 3]
    assert put_off(decisions) == [(2, Delay.HOST_DAY_CAP)]
    assert decisions.deferrals[0].until == next_day(NOW)


@pytest.mark.parametrize(
    ("now", "day"), [(0.0, DAY_S), (DAY_S - 0.001, DAY_S), (DAY_S, 2 * DAY_S), (DAY_S + 1, 2 * DAY_S)]
)
def test_the_next_utc_day(now: float, day: float) -> None:
    assert next_day(now) == day


@pytest.mark.parametrize(
    ("caps", "credit"),
    [
        pytest.param({"cap": 100, "host_day_cap": 60}, 60.0, id="the day's cap"),
        pytest.param({"cap": 50, "host_day_cap": 60}, 50.0, id="the window's cap"),
        pytest.param({"cap": 50.0007, "host_day_cap": 60}, 50.0, id="a cap between two steps"),
    ],
)
@pytest.mark.parametrize("policy", [{"policy": "flat", "flat": 1000}, {"policy": "flops", "flops_scale": 1.0}])
def test_a_result_worth_more_than_a_cap_does_not_wait_for_ever(
    policy: dict[str, Any], caps: dict[str, float], credit: float
) -> None:
    """An empty window can't hold it, so no amount of waiting helps: it is worth the cap at most."""
    decisions = decide_credit([result()], state(), CreditSettings(**policy, **caps), NOW)
    assert [grant.credit for grant in decisions.grants] == [credit]


def test_a_cap_of_zero_makes_results_wait_and_refuses_none() -> None:
    assert put_off(decide_credit([result()], state(), CreditSettings(flat=2, cap=0), NOW)) == [(1, Delay.CAP)]
    assert put_off(decide_credit([result()], state(), CreditSettings(flat=2, host_day_cap=0), NOW)) == [
        (1, Delay.HOST_DAY_CAP)
    ]


# Invariants, whatever comes in.

any_float = st.floats(allow_nan=True, allow_infinity=True)
some_time = st.one_of(st.just(0.0), st.floats(NOW - 10 * DAY_S, NOW))
finished = st.builds(
    result,
    st.integers(1, 10**6),
    app_id=st.sampled_from([APP, APP, APP, OTHER_APP]),
    host_id=st.integers(0, 3),
    user_id=st.integers(0, 2),
    ending=st.sampled_from(list(Ending)),
    exit_status=st.sampled_from([0, 1, 197, 203]),
    elapsed_s=any_float,
    sent_at=some_time,
    received_at=some_time,
    granted_credit=st.sampled_from([0.0, 0.0, 0.0, 3.5]),
    cancelled=st.booleans(),
    ended_by_axiomd=st.booleans(),
    uses_gpu=st.booleans(),
    fpops=any_float,
    gpu_fpops=any_float,
)
batches = st.lists(finished, max_size=30, unique_by=lambda one: one.result_id)
amount = st.floats(0, 5000)
rules = st.builds(
    CreditSettings,
    policy=st.sampled_from(["flat", "tiers", "flops"]),
    flat=amount,
    tiers=st.just(((0, 1.3), (30, 25), (1000, 80.7))),
    failures=st.just({203: 10.1}),
    failure_other=amount,
    cap=amount,
    host_day_cap=amount,
)
granted_before = st.integers(0, 2000).map(lambda number: number * CREDIT_STEP)


@given(batches, rules, granted_before, st.dictionaries(st.integers(1, 3), granted_before))
def test_no_cap_is_passed_and_nothing_is_lost_or_named_twice(
    batch: list[FinishedResult], settings: CreditSettings, in_window: float, today: dict[int, float]
) -> None:
    decisions = decide_credit(batch, state(granted_in_window=in_window, granted_today=today), settings, NOW)
    assert decisions.credit <= max(settings.cap - in_window, 0.0)
    by_host: dict[int, float] = defaultdict(float)
    for grant in decisions.grants:
        assert grant.credit > 0
        assert (grant.credit / CREDIT_STEP).is_integer()
        by_host[grant.result.host_id] += grant.credit
    for host_id, credit in by_host.items():
        assert credit <= max(settings.host_day_cap - today.get(host_id, 0.0), 0.0)
    named = [grant.result.result_id for grant in decisions.grants]
    named += [refused.result.result_id for refused in decisions.refusals]
    named += [deferral.result.result_id for deferral in decisions.deferrals]
    assert sorted(named) == sorted(one.result_id for one in batch)


@given(batches, rules, st.randoms(use_true_random=False))
def test_the_order_of_the_batch_does_not_matter(
    batch: list[FinishedResult], settings: CreditSettings, rng: Any
) -> None:
    shuffled = list(batch)
    rng.shuffle(shuffled)
    ours, theirs = (decide_credit(some, state(), settings, NOW) for some in (batch, shuffled))
    # By id, for NaN differs from itself.
    for part in ("grants", "refusals", "deferrals"):
        mine, other = ([one.result.result_id for one in getattr(decisions, part)] for decisions in (ours, theirs))
        assert mine == other
    assert [grant.credit for grant in ours.grants] == [grant.credit for grant in theirs.grants]


@given(finished, rules)
def test_a_claim_beyond_what_the_server_saw_is_worth_no_more(one: FinishedResult, settings: CreditSettings) -> None:
    seen = max(one.received_at - one.sent_at, 0.0)
    honest, liar = one._replace(elapsed_s=seen), one._replace(elapsed_s=seen + 10 * YEAR_S)
    assert value(liar, settings) == value(honest, settings)


# The session logs, from their own counts by the presets that bear their dates.


def log_sum(preset: str, results: list[FinishedResult]) -> float:
    settings = apply_preset(CreditSettings(preset=preset))
    decisions = decide_credit(results, state(), settings, NOW)
    assert len(decisions.grants) == len(results)
    return decisions.credit


def in_tiers(*counts: tuple[int, float, float]) -> list[FinishedResult]:
    """Results in tiers given as (count, from seconds, to seconds): half of them at each end."""
    times = [start if n % 2 else end - 0.001 for count, start, end in counts for n in range(count)]
    return [timed(elapsed_s, id_) for id_, elapsed_s in enumerate(times, 1)]


def test_log_of_2026_03_01_pays_its_five_successes_and_five_failures_130_credit() -> None:
    """Five successes at 20 + 15 + 15 + 10 + 20, five that ran into their limit (exit status 203) at 10 each.

    The log names the failures' times; of the successes it names amounts, so each stands in the middle of its tier.
    """
    successes = [timed(elapsed_s, id_) for id_, elapsed_s in enumerate((1000.0, 300.0, 300.0, 50.0, 1000.0), 1)]
    failures = [
        timed(elapsed_s, id_, ending=Ending.FAILED, exit_status=203)
        for id_, elapsed_s in enumerate((1097.1, 1170.0, 1170.0, 1169.0, 1138.3), 6)
    ]
    assert log_sum("2026-03-01", successes) == 80
    assert log_sum("2026-03-01", failures) == 50
    assert log_sum("2026-03-01", successes + failures) == 130


@pytest.mark.parametrize(("elapsed_s", "credit"), [(86.9, 10), (312.5, 15), (1387.0, 20)])
def test_log_of_2026_03_01_names_some_times_beside_their_amounts(elapsed_s: float, credit: float) -> None:
    assert log_sum("2026-03-01", [timed(elapsed_s)]) == credit


@pytest.mark.parametrize(
    ("elapsed_s", "credit"),
    [(0.0, 2), (19.9, 2), (20, 3), (99.9, 3), (100, 5), (499.9, 5), (500, 8), (999.9, 8), (1000, 15), (2999, 15)],
)
def test_log_of_2026_03_02_0545_by_its_tiers(elapsed_s: float, credit: float) -> None:
    """The log's total, 2,076 credit for 621 results, can't be rebuilt: it doesn't print the counts by tier."""
    assert log_sum("2026-03-02-0545", [timed(elapsed_s)]) == credit


def test_log_of_2026_03_02_1010_pays_354_results_708_credit() -> None:
    assert log_sum("2026-03-02-1010", [timed(100.0, id_) for id_ in range(1, 355)]) == 708


def test_log_of_2026_03_02_1300_pays_5720_credit() -> None:
    results = in_tiers((6, 1200, 6000), (21, 600, 1200), (14, 300, 600), (29, 120, 300), (33, 30, 120), (41, 5, 30))
    assert len(results) == 144
    assert log_sum("2026-03-02-1300", results) == 5720


def test_log_of_2026_03_02_1700_pays_10045_credit() -> None:
    """The log's table sums up to 10,045; the headline above the same 935 rows says ~9,775, which they don't give."""
    results = in_tiers((520, 0, 30), (347, 30, 300), (58, 300, 1000), (10, 1000, 3000))
    assert len(results) == 935
    assert log_sum("2026-03-02-1700", results) == 10_045


def test_the_settings_file_wins_over_a_preset() -> None:
    settings = apply_preset(CreditSettings(preset="2026-03-02-1300", cap=123))
    assert (settings.cap, settings.policy) == (123, "tiers")
    assert apply_preset(CreditSettings(preset="2026-03-02-1300")).cap == 10_000


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_valid_setting(preset: str) -> None:
    assert CreditSettings(**PRESETS[preset]).policy in ("flat", "tiers")


# What the output held.


@pytest.mark.parametrize(
    ("outcome", "shares", "expected"),
    [
        pytest.param(Outcome.COMPLETE, (0.0, 0.0), 40.0, id="complete: paid in full"),
        pytest.param(Outcome.UNDECLARED, (0.0, 0.0), 40.0, id="never looked into: paid in full"),
        pytest.param(None, (0.0, 0.0), 40.0, id="nothing to harvest: paid in full"),
        pytest.param(Outcome.EMPTY, (1.0, 1.0), 40.0, id="empty, by the default shares: the compute was given"),
        pytest.param(Outcome.EMPTY, (0.25, 1.0), 10.0, id="empty: a share"),
        pytest.param(Outcome.REFUSED, (0.25, 1.0), 10.0, id="refused counts as empty"),
        pytest.param(Outcome.FAILED, (0.25, 1.0), 10.0, id="an error for an output counts as empty"),
        pytest.param(Outcome.EMPTY, (0.0, 1.0), Refusal.EMPTY_OUTPUT, id="empty: nothing"),
        pytest.param(Outcome.PARTIAL, (0.0, 0.5), 20.0, id="half way: a share"),
        pytest.param(Outcome.PARTIAL, (1.0, 0.0), Refusal.PARTIAL_OUTPUT, id="half way: nothing"),
    ],
)
def test_share_for_what_the_output_held(
    outcome: Outcome | None, shares: tuple[float, float], expected: float | Refusal
) -> None:
    empty, partial = shares
    settings = CreditSettings(policy="flat", flat=40, waits_for_harvest=True, empty_share=empty, partial_share=partial)
    assert value(result(outcome=outcome), settings) == expected
    # Without the setting an outcome changes nothing.
    assert value(result(outcome=outcome), CreditSettings(policy="flat", flat=40, empty_share=0)) == 40.0


def test_payment_waits_for_the_harvest_of_valid_results_only() -> None:
    settings = CreditSettings(policy="flat", flat=40, waits_for_harvest=True, failure_other=2.0, failure_min_s=1)
    waiting, failed = result(1, awaits_harvest=True), result(2, awaits_harvest=True, ending=Ending.FAILED)
    decisions = decide_credit([waiting, failed], state(), settings, NOW)
    assert [(d.result.result_id, d.reason, d.until) for d in decisions.deferrals] == [(1, Delay.HARVEST, NOW)]
    assert [grant.result.result_id for grant in decisions.grants] == [2]
