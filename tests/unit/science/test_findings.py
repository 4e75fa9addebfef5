"""What becomes of a claim: which numbers lead to which verdict, what is said beside it, and how rows are unpacked."""

from __future__ import annotations

import math
from array import array
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.science import findings
from axiomd.science.catalogue import CatalogueEntry, read_catalogue
from axiomd.science.evidence import median_interval
from axiomd.science.findings import Counts, Evidence, Verdict, judge
from axiomd.science.layout import Layout
from axiomd.store.findings import KeptFinding
from experiments.kit.claims import Claim, evaluate

CATALOGUE = read_catalogue(None)
BAR = 40.0
"""Of a single claim at 5 %: 8 of 8 results reach it, 9 of 10 don't, and 17 of 20 do."""


def claim(
    direction: Literal["greater", "less"] = "greater", threshold: float = 0.5, baseline: float | str | None = None
) -> Claim:
    return Claim("a_beats_b", "A is more than b.", "a", "b", direction, threshold, baseline, logged=".7")


def entry(*claims: Claim) -> CatalogueEntry:
    return CatalogueEntry("x", 1, 1000, 1.0, False, shapes={"a": (), "b": (), "c": ()}, claims=claims or (claim(),))


def rows(of: CatalogueEntry, measured: list[dict[str, float]], *, first: int = 1) -> list[tuple[Any, ...]]:
    """Rows as store.findings.replicates gives them: a host and a user each, one after the other."""
    pack = Layout.of(of).pack_quantities
    return [
        (first + place, 1, 10 + place % 4, 20 + place % 3, place % 2 + 1, 1000.0 + place, pack(one).hex().upper())
        for place, one in enumerate(measured)
    ]


def evidence(of: CatalogueEntry, measured: list[dict[str, float]]) -> Evidence:
    layout = Layout.of(of)
    return Evidence.of(layout.quantities, {1: layout}, rows(of, measured))


def effects(*values: float, base: float = 0.0) -> list[dict[str, float]]:
    return [{"a": 3 + value, "b": 3.0, "c": base} for value in values]


VERDICTS: dict[str, tuple[Counts, Verdict]] = {
    "nothing yet": (Counts(0, 0, 0, None), "open"),
    "all for it, too few": (Counts(7, 7, 7, None), "open"),
    "all for it": (Counts(8, 8, 8, None), "reproduced"),
    "most for it, too few of them": (Counts(10, 9, 9, None), "open"),
    "most for it": (Counts(20, 17, 17, None), "reproduced"),
    "all on its side, too small": (Counts(8, 0, 8, None), "direction only"),
    "all on its side, mixed sizes": (Counts(8, 4, 8, None), "open"),
    "most on its side, most too small": (Counts(20, 3, 17, None), "direction only"),
    "all against it": (Counts(8, 0, 0, None), "not reproduced"),
    "all against it, and beyond the baseline": (Counts(8, 0, 0, 8), "explained by the control"),
    "all against it, and not beyond the baseline": (Counts(8, 0, 0, 0), "not reproduced"),
    "all against it, of the baseline nothing is known": (Counts(8, 0, 0, 4), "open"),
    "half and half": (Counts(300, 150, 150, 150), "open"),
    "for it, whatever the baseline": (Counts(8, 8, 8, 0), "reproduced"),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_verdicts(case: str) -> None:
    counts, verdict = VERDICTS[case]
    assert judge(counts, BAR) == verdict


@given(
    margins=st.lists(st.integers(-3, 3).map(lambda half: half / 2), max_size=40),
    direction=st.sampled_from(["greater", "less"]),
)
def test_the_verdict_follows_from_the_ends_of_the_interval_and_the_counts_from_the_claim(
    margins: list[float], direction: Literal["greater", "less"]
) -> None:
    of = claim(direction, threshold=0.5)
    sign = 1 if direction == "greater" else -1
    measured = effects(*(sign * margin for margin in margins))
    counts = findings.count(of, evidence(entry(of), measured))
    said = [evaluate(of, one) for one in measured]
    assert counts[:2] == (len(margins), said.count("supports"))
    assert counts.results - counts.above_zero == said.count("contradicts")
    low, high = median_interval(sorted(margins), 2 / BAR)
    expected = "reproduced" if low > 0.5 else "direction only" if low > 0 and high <= 0.5 else "open"
    assert judge(counts, BAR) == ("not reproduced" if high <= 0 else expected)


def test_what_is_said_of_a_claim() -> None:
    of = entry(claim(baseline=2.0))
    measured = [*effects(1, 2, 3, 4, 5, 6, 7, 8, -1), {"a": 5.0}, {"b": 1.0}]
    (found,) = findings.describe(of, evidence(of, measured), BAR, [])
    assert (found.verdict, found.settled_at, found.level) == ("open", None, "strong")
    assert (found.seeds, found.incomplete, found.hosts, found.users) == (9, 2, 4, 3)
    assert found.platforms == ("windows", "linux")
    assert (found.supported, found.contradicted, found.silent) == (8, 1, 0)
    assert (found.effect, found.quantity, found.control, found.control_effect) == (4, 7, 3, 1)
    assert found.consistency == 8 / 9
    assert found.interval == (-1, 8)
    assert found.e_value == pytest.approx(11.25, abs=0.1)
    assert found.e_value_against < 1
    assert found.more_seeds == 3  # 11 of 12
    (with_more,) = findings.describe(of, evidence(of, effects(*range(1, 13))), BAR, [])
    assert (with_more.verdict, with_more.level, with_more.more_seeds) == ("reproduced", "strong", None)
    assert with_more.interval == (2, 11)


def test_one_volunteer_alone_settles_nothing() -> None:
    of = entry()
    found = evidence(of, effects(*[1.0] * 30))
    assert findings.verdicts(of, found, BAR) == {"a_beats_b": ("reproduced", 30)}
    found.users = [20] * 30
    assert findings.verdicts(of, found, BAR) == {"a_beats_b": ("open", 30)}
    (said,) = findings.describe(of, found, BAR, [])
    assert (said.verdict, said.users, said.more_seeds) == ("open", 1, None)


def test_nothing_is_said_where_nothing_is_known() -> None:
    (found,) = findings.describe(entry(), evidence(entry(), []), BAR, [])
    assert (found.verdict, found.seeds, found.effect, found.interval, found.e_value) == ("open", 0, None, None, 1)


def test_what_is_settled_stays_so_for_the_same_claim() -> None:
    of = entry()
    kept = KeptFinding("x", 1, "a_beats_b", of.claims[0].hash, "direction only", 77.0, 30)
    for one, verdict in ((kept, "direction only"), (kept._replace(claim_hash="of another"), "reproduced")):
        (found,) = findings.describe(of, evidence(of, effects(*[1.0] * 8)), BAR, [one])
        assert (found.verdict, found.settled_at) == (verdict, 77.0 if one is kept else None)


def test_rows_of_several_layouts_in_the_order_in_which_they_came() -> None:
    of = entry()
    older = Layout("x", 1, (("a", ()),), ("a",))
    old = [(id_, 2, 1, 1, 1, float(id_), array("d", [float(id_)]).tobytes().hex()) for id_ in (2, 9)]
    new = rows(of, effects(5.0, 6.0), first=4)
    unknown, torn = (5, 3, 1, 1, 1, 5.0, "00" * 16), (6, 1, 1, 1, 1, 6.0, "00" * 15)
    found = Evidence.of(Layout.of(of).quantities, {1: Layout.of(of), 2: older}, [*new, *old, unknown, torn])
    assert found.at == [2, 1000, 1001, 9]
    assert list(found.columns["a"]) == [2, 8, 9, 9]
    assert [math.isnan(number) for number in found.columns["b"]] == [True, False, False, True]


def test_numbers_too_large_to_be_measurements_are_none() -> None:
    of = entry()
    found = evidence(of, [{"a": 1e308, "b": -1e308}, {"a": math.inf, "b": 0.0}, *effects(1.0)])
    assert findings.count(of.claims[0], found).results == 1


def test_a_course_ends_with_what_is_now_and_is_thinned() -> None:
    of = entry()
    values = [float(7 * place % 101) for place in range(500)]
    found = evidence(of, effects(*values))
    points = findings.course(of.claims[0], found)
    (now,) = findings.describe(of, found, BAR, [])
    assert len(points) == findings.MOST_POINTS
    assert (points[0].at, points[0].seeds) == (1008.0, 9)
    assert (points[-1].at, points[-1].seeds, points[-1].effect) == (1499.0, 500, now.effect)
    assert (points[-1].low, points[-1].high) == now.interval
    first, second = findings.course(of.claims[0], evidence(of, effects(1, 2)))
    assert (first.seeds, first.effect, second.seeds, second.low, second.high) == (1, 1, 2, None, None)


def test_the_correction_counts_each_claim_and_each_baseline() -> None:
    claims = [claim for one in CATALOGUE.values() for claim in one.claims]
    sequences = len(claims) + sum(claim.baseline is not None for claim in claims)
    assert findings.bar(CATALOGUE, 0.05) == pytest.approx(2 * sequences / 0.05)
    assert findings.bar({}, 0.05) == 40


@pytest.mark.parametrize(
    ("hosts", "seeds", "level"),
    [(0, 0, "awaiting"), (1, 50, "awaiting"), (2, 2, "moderate"), (50, 4, "strong"), (9, 12, "strong"),
     (10, 10, "definitive")],
)  # fmt: skip
def test_levels(hosts: int, seeds: int, level: str) -> None:
    assert findings.level(hosts, seeds) == level
