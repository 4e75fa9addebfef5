"""A short run of the fuzzing of output files; `python -m tests.faults.fuzz` runs it for longer."""

from __future__ import annotations

from axiomd.science.output import DROPPED, REASONS
from tests.faults.fuzz import fuzz

# These aren't the content's doing: reader.py and the disk give them.
ELSEWHERE = {"missing", "bad_name", "not_a_file", "out_of_memory", "killed_reader"}


def test_no_file_does_harm_and_each_is_counted() -> None:
    answer = fuzz(1500, seed=7)
    assert answer["audit"] == {"ok": True, "problems": []}
    assert answer["counted"] == 1500
    reasons = {reason for outcome in answer["outcomes"] for reason in outcome.split()[1:]}
    assert reasons == REASONS - ELSEWHERE
    assert set(answer["dropped"]) == DROPPED
    assert {"complete", "partial", "failed", "undeclared"} <= set(answer["outcomes"])
    assert len(answer["classes"]) > 6
