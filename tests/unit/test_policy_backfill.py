"""What a person pays of the past: the present rules, less the baseline and the caps of the window and the day."""

from __future__ import annotations

from typing import Any

import pytest

from axiomd.policies.credit import CreditState, Delay, Ending, FinishedResult, Refusal, decide_credit
from axiomd.settings import CreditSettings

NOW = 1_772_460_000.0


def result(id_: int, **what: Any) -> FinishedResult:
    defaults: dict[str, Any] = {
        "result_id": id_,
        "workunit_id": id_,
        "app_id": 1,
        "host_id": 7,
        "user_id": 8,
        "team_id": 0,
        "ending": Ending.VALID,
        "exit_status": 0,
        "elapsed_s": 100.0,
        "sent_at": NOW - 5000,
        "received_at": NOW - 1000 + id_,
        "granted_credit": 0.0,
    }
    return FinishedResult(**defaults | what)


@pytest.mark.parametrize(
    ("run_cap", "granted", "settings", "paid", "waiting"),
    [
        pytest.param(100.0, 0.0, {}, 3, 0, id="below its cap"),
        pytest.param(5.0, 0.0, {}, 2, 1, id="up to its cap"),
        pytest.param(5.0, 4.0, {}, 0, 3, id="with what the run paid before"),
        pytest.param(100.0, 0.0, {"cap": 2.0}, 3, 0, id="whatever the cap of the window"),
        pytest.param(100.0, 0.0, {"host_day_cap": 2.0}, 3, 0, id="whatever the host's cap of the day"),
        pytest.param(0.0, 0.0, {}, 0, 3, id="nothing"),
    ],
)
def test_a_run_has_a_cap_of_its_own(
    run_cap: float, granted: float, settings: dict[str, Any], paid: int, waiting: int
) -> None:
    state = CreditState(frozenset({1}), NOW, granted, run_cap=run_cap)
    decisions = decide_credit([result(id_) for id_ in range(3)], state, CreditSettings(**settings), NOW)
    assert [len(decisions.grants), len(decisions.deferrals)] == [paid, waiting]
    assert {deferral.reason for deferral in decisions.deferrals} <= {Delay.CAP}
    assert len(decisions.closed) == paid


def test_only_a_person_pays_what_is_older_than_the_baseline() -> None:
    for run_cap, reasons in ((None, [Refusal.BEFORE_BASELINE]), (100.0, [])):
        state = CreditState(frozenset({1}), NOW, run_cap=run_cap)
        decisions = decide_credit([result(1)], state, CreditSettings(), NOW)
        assert [refusal.reason for refusal in decisions.refusals] == reasons


def test_a_small_cap_of_a_run_makes_no_result_cheaper() -> None:
    state = CreditState(frozenset({1}), NOW, run_cap=1.0)
    assert decide_credit([result(1)], state, CreditSettings(flat=2.0), NOW).grants == []
