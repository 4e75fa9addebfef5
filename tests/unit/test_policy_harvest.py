"""What becomes of a finished result at the harvest, and what its measurement adds to tallies and sizes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.events import Platform
from axiomd.policies.credit import Ending, counted_s
from axiomd.policies.harvest import (
    MOST_FINGERPRINTS,
    FailureCount,
    Fate,
    beyond,
    fate,
    sizes,
    tallies,
)
from axiomd.policies.measurement import Failure, Measurement, Outcome
from axiomd.policies.sizing import bucket


def measured(id_: int = 1, outcome: Outcome = Outcome.COMPLETE, **what: Any) -> Measurement:
    """A measurement of ten seconds of computing."""
    defaults: dict[str, Any] = {
        "result_id": id_,
        "workunit_id": id_,
        "experiment": "a",
        "version": 1,
        "seed": id_,
        "host_id": 1,
        "user_id": 1,
        "platform": Platform.LINUX,
        "gpu": False,
        "received_at": 7200.0,
        "elapsed_s": 10.0,
        "turnaround_s": 100.0,
        "fpops": 1e9,
    }
    return Measurement(outcome=outcome, **defaults | what)


@pytest.mark.parametrize(
    ("ending", "what", "expected"),
    [
        pytest.param(Ending.VALID, {}, Fate.READ, id="valid"),
        pytest.param(Ending.FAILED, {}, Fate.FAILED, id="an error"),
        pytest.param(Ending.INVALID, {}, Fate.FAILED, id="invalid"),
        pytest.param(Ending.NOT_FINAL, {}, Fate.WAIT, id="may still come in late"),
        pytest.param(Ending.NOT_FINAL, {"ours": False}, Fate.WAIT, id="not final, whoever's it is"),
        pytest.param(Ending.NOT_NEEDED, {}, Fate.SKIP, id="never computed"),
        pytest.param(Ending.ABORTED_BY_PROJECT, {}, Fate.SKIP, id="aborted by the project"),
        pytest.param(Ending.VALID, {"ours": False}, Fate.SKIP, id="not ours"),
        pytest.param(Ending.VALID, {"cancelled": True}, Fate.SKIP, id="cancelled by somebody"),
        pytest.param(Ending.VALID, {"cancelled": True, "ended_by_axiomd": True}, Fate.READ, id="ended, and good"),
        pytest.param(Ending.FAILED, {"cancelled": True, "ended_by_axiomd": True}, Fate.SKIP, id="ended, and failed"),
    ],
)
def test_fate(ending: Ending, what: dict[str, bool], expected: Fate) -> None:
    defaults = {"ours": True, "cancelled": False, "ended_by_axiomd": False}
    assert fate(ending, **defaults | what) is expected


@pytest.mark.parametrize(
    ("claimed", "expected"),
    [(50.0, 50.0), (500.0, 100.0), (-1.0, 0.0), (math.nan, 0.0), (math.inf, 0.0)],
)
def test_time_counts_as_far_as_the_server_saw_it(claimed: float, expected: float) -> None:
    assert counted_s(claimed, 1000.0, 1100.0) == expected


def test_tallies_are_by_hour_host_and_processor() -> None:
    found = tallies(
        [
            measured(1),
            measured(2, Outcome.UNDECLARED, elapsed_s=5.0),
            measured(3, Outcome.PARTIAL),
            measured(4, Outcome.FAILED, died_of_limit=True),
            measured(5, gpu=True),
            measured(6, received_at=7199.0),
        ]
    )
    assert [(t.hour, t.gpu, t.results, t.failures, t.limits, t.seconds) for t in found] == [
        (1, 0, 1, 0, 0, 10.0),
        (2, 0, 4, 2, 1, 15.0),
        (2, 1, 1, 0, 0, 10.0),
    ]


def test_sizes_are_of_good_results_and_a_claimed_speed_is_bounded() -> None:
    rows = sizes([measured(1, fpops=1e30, memory=2**20), measured(2, Outcome.FAILED), measured(3, fpops=0.0)], 1e10)
    assert rows == [
        ("a", 1, 0, 1, bucket(1e11), 1),
        ("a", 1, 0, 2, 160, 1),
        ("a", 1, 0, 3, bucket(100.0), 2),
    ]


@given(st.floats(1, 1e300))
def test_a_bucket_tells_a_size_within_a_tenth(size: float) -> None:
    assert 2 ** (bucket(size) / 8) <= size * (1 + 1e-9)
    assert size < 2 ** ((bucket(size) + 1) / 8) * (1 + 1e-9)


def test_failures_beyond_the_bound_are_the_latest() -> None:
    counts = {str(n): FailureCount("a", 1, Failure("KeyError", detail=str(n)), 1, float(n), float(n)) for n in range(5)}
    assert beyond(counts, counts, {("a", 1): MOST_FINGERPRINTS - 3}) == {"3", "4"}
    assert beyond(counts, counts, {("b", 1): MOST_FINGERPRINTS}) == set()
