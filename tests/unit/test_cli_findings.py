"""How `axiomd findings` tells a finding on a terminal."""

from __future__ import annotations

from axiomd.cli.findings import WIDTH, lines
from axiomd.science.findings import ClaimFinding
from axiomd.views.findings import ranked

FOUND = ClaimFinding(
    "edge_of_chaos", 2, "deeper_is_better", "c" * 16, "Deeper is better.", "reproduced", 1_790_000_000.0, 18, "strong",
    20, 0, 6, 4, ("windows", "linux"), 18, 1, 1, 0.95, 0.25, (0.125, None), 3.5, 3.25, -0.5, 12_345.0, 0.05, 7200.0,
    logged="a large effect in every run, " * 4,
)  # fmt: skip
OPEN = ClaimFinding("edge_of_chaos", 2, "wider_is_better", "d" * 16, "Wider is better.", "open")


def test_a_finding_in_short_lines() -> None:
    told = lines(FOUND)
    assert told[:5] == [
        "REPRODUCED: edge_of_chaos: deeper is better (settled 2026-09-21, 18 seeds)",
        "  18 of 20 seeds for, 1 against; 6 hosts on windows, linux, replication strong; evidence 12,345 for",
        "    it, of 7,200 wanted",
        "  median effect +0.25 (+0.125 to open), same sign in 95%; control 3.25, its own effect -0.5",
        "  logged: a large effect in every run, a large effect in every run, a large effect in every run, a",
    ]
    assert max(map(len, told)) <= WIDTH


def test_a_claim_without_results_and_the_order_of_claims() -> None:
    assert lines(OPEN) == ["OPEN: edge_of_chaos: wider is better", "  no result yet"]
    assert ranked([OPEN, FOUND]) == [FOUND, OPEN]
