"""Packed numbers come out as they went in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.science.catalogue import read_catalogue
from axiomd.science.layout import Layout, digest

LAYOUT = Layout("some", 1, (("grid", (3, 2)), ("row", (4,)), ("single", ())), ("single",))

CASES: dict[str, dict[str, Any]] = {
    "all": {"grid": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "row": [1.0, 2.0, 3.0, 4.0], "single": 0.1},
    "nothing": {},
    "a list that ends early": {"row": [1.0, 2.0]},
    "rows that end early": {"grid": [[1.0, 2.0]], "single": -0.0},
}


@pytest.mark.parametrize("measured", CASES.values(), ids=CASES)
def test_what_was_packed_comes_out(measured: dict[str, Any]) -> None:
    packed = LAYOUT.pack(measured)
    assert len(packed) == 8 * LAYOUT.size == 88
    assert LAYOUT.unpack(packed) == measured
    assert LAYOUT.unpack_quantities(LAYOUT.pack_quantities(measured)) == (
        {"single": measured["single"]} if "single" in measured else {}
    )


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_any_number_survives(row: list[float]) -> None:
    assert LAYOUT.unpack(LAYOUT.pack({"row": row})) == {"row": row}


def test_the_shipped_catalogue_can_be_packed() -> None:
    for entry in read_catalogue(None).values():
        layout = Layout.of(entry)
        assert Layout.from_json(entry.name, entry.version, layout.as_json()) == layout
        assert set(layout.quantities) <= set(entry.shapes)
        assert len(layout.hash) == 16


def test_the_same_numbers_have_the_same_digest() -> None:
    assert digest(LAYOUT.pack({"single": 1.0})) == digest(LAYOUT.pack({"single": 1.0}))
    assert digest(LAYOUT.pack({"single": 1.0})) != digest(LAYOUT.pack({"single": 2.0}))
