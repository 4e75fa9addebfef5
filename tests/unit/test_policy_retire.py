"""When an experiment is complete."""

from __future__ import annotations

import pytest

from axiomd.policies.retire import Completion, Progress, completion

CASES: dict[str, tuple[Progress, Completion | None]] = {
    "under way": (Progress(49, 50, 3, 2), None),
    "settled": (Progress(20, 50, 3, 3), Completion.SETTLED),
    "target reached": (Progress(50, 50, 3, 2), Completion.TARGET),
    "both": (Progress(50, 50, 3, 3), Completion.SETTLED),
    "without claims": (Progress(49, 50, 0, 0), None),
    "without claims, target reached": (Progress(51, 50, 0, 0), Completion.TARGET),
    "let go on though settled": (Progress(30, 50, 3, 3, retired_at_seeds=20), None),
    "let go on though settled, up to its target": (Progress(50, 50, 3, 3, retired_at_seeds=20), Completion.TARGET),
    "let go on beyond its target": (Progress(60, 50, 3, 2, retired_at_seeds=50), None),
    "let go on to a raised target": (Progress(60, 80, 3, 2, retired_at_seeds=50), None),
    "at a raised target": (Progress(80, 80, 3, 2, retired_at_seeds=50), Completion.TARGET),
}


@pytest.mark.parametrize("case", CASES)
def test_completion(case: str) -> None:
    progress, expected = CASES[case]
    assert completion(progress) is expected
