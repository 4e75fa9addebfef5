"""How a result ended, as far as payment goes: BOINC's states as a table."""

from __future__ import annotations

import itertools

import pytest

from axiomd.boinc.states import ExitStatus, Outcome, ServerState, ValidateState, ending
from axiomd.policies.credit import Ending

OVER = ServerState.OVER


@pytest.mark.parametrize(
    ("outcome", "validate_state", "exit_status", "expected"),
    [
        pytest.param(Outcome.SUCCESS, ValidateState.VALID, 0, Ending.VALID, id="valid"),
        pytest.param(Outcome.SUCCESS, ValidateState.INVALID, 0, Ending.INVALID, id="judged invalid"),
        pytest.param(Outcome.SUCCESS, ValidateState.TOO_LATE, 0, Ending.INVALID, id="came when the files were gone"),
        pytest.param(Outcome.SUCCESS, ValidateState.INIT, 0, Ending.NOT_FINAL, id="waits for the validator"),
        pytest.param(Outcome.SUCCESS, ValidateState.INCONCLUSIVE, 0, Ending.NOT_FINAL, id="waits for a second result"),
        pytest.param(Outcome.SUCCESS, ValidateState.NO_CHECK, 0, Ending.NOT_FINAL, id="of a cancelled workunit"),
        pytest.param(Outcome.CLIENT_ERROR, ValidateState.INVALID, 1, Ending.FAILED, id="the script raised"),
        pytest.param(Outcome.CLIENT_ERROR, ValidateState.INIT, 203, Ending.FAILED, id="the volunteer's own abort"),
        pytest.param(Outcome.CLIENT_ERROR, ValidateState.INVALID, -186, Ending.FAILED, id="download error"),
        pytest.param(
            Outcome.CLIENT_ERROR, ValidateState.INVALID, 202, Ending.ABORTED_BY_PROJECT, id="aborted by the project"
        ),
        pytest.param(Outcome.NO_REPLY, ValidateState.INIT, 0, Ending.NOT_FINAL, id="timed out: may still come"),
        pytest.param(Outcome.NO_REPLY, ValidateState.INIT, 202, Ending.NOT_FINAL, id="timed out, whatever its status"),
        pytest.param(Outcome.VALIDATE_ERROR, ValidateState.INVALID, 0, Ending.INVALID, id="the validator failed on it"),
        pytest.param(Outcome.DIDNT_NEED, ValidateState.INIT, 0, Ending.NOT_NEEDED, id="never sent: not needed"),
        pytest.param(Outcome.COULDNT_SEND, ValidateState.INIT, 0, Ending.NOT_NEEDED, id="never sent: couldn't"),
        pytest.param(Outcome.CLIENT_DETACHED, ValidateState.INIT, 0, Ending.NOT_NEEDED, id="the client left"),
    ],
)
def test_endings_of_results_that_are_over(
    outcome: Outcome, validate_state: ValidateState, exit_status: int, expected: Ending
) -> None:
    assert ending(OVER, outcome, validate_state, exit_status) is expected


@pytest.mark.parametrize("state", [ServerState.INACTIVE, ServerState.UNSENT, ServerState.IN_PROGRESS])
def test_what_is_not_over_is_not_final_whatever_its_other_columns_say(state: ServerState) -> None:
    for outcome, validate_state in itertools.product(Outcome, ValidateState):
        assert ending(state, outcome, validate_state, 0) is Ending.NOT_FINAL


def test_only_a_success_judged_valid_is_valid() -> None:
    valid = [
        (outcome, validate_state)
        for outcome, validate_state in itertools.product(Outcome, ValidateState)
        if ending(OVER, outcome, validate_state, 0) is Ending.VALID
    ]
    assert valid == [(Outcome.SUCCESS, ValidateState.VALID)]


def test_exit_statuses_are_boincs() -> None:
    """Those that the logs and the settings speak of (lib/error_numbers.h): 197 is the time limit, 203 the volunteer."""
    assert ExitStatus(197) is ExitStatus.TIME_LIMIT_EXCEEDED
    assert ExitStatus(202) is ExitStatus.ABORTED_BY_PROJECT
    assert ExitStatus(203) is ExitStatus.ABORTED_VIA_GUI
