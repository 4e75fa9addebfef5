"""What is read of an output file: all that is as declared, and a counted word for all that isn't."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axiomd.policies.measurement import Failure, Outcome
from axiomd.science import output
from axiomd.science.catalogue import CatalogueEntry
from axiomd.science.layout import Layout, digest
from axiomd.science.output import Expected, Limits, Output, read_output
from axiomd.science.results import problems
from experiments import worker
from experiments.kit.claims import Claim, is_number

CLAIM = Claim("c", "n is above one", "n", "one", "greater", 0.1)
ENTRY = CatalogueEntry(
    "x", 2, 1, 1.0, gpu=False, shapes={"n": (), "one": (), "list": (3,), "table": (2, 2)}, claims=(CLAIM,)
)
LAYOUT = Layout.of(ENTRY)
EXPECTED = Expected("x", 2, 5)
LIMITS = Limits(1_000_000, 8)
MEASURED: dict[str, Any] = {"n": 1.5, "one": 1, "list": [1, 2.5, -3e-9], "table": [[1, 2], [3, 4]]}


def result(**changes: Any) -> dict[str, Any]:
    return {
        "experiment": "x",
        "version": 2,
        "seed": 5,
        "scale": 0.02,
        "completed": 1.0,
        "ended": "complete",
        "omitted": [],
        "peak_memory_bytes": 50_000_000,
        "measured": MEASURED,
    } | changes


def without(*keys: str, **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in result(**changes).items() if key not in keys}


def half(**measured: Any) -> dict[str, Any]:
    return result(completed=0.5, ended="budget", measured=measured)


def measured(**changes: Any) -> dict[str, Any]:
    return result(measured=MEASURED | changes)


def read(content: bytes | dict[str, Any], layout: Layout | None = LAYOUT) -> Output:
    return read_output(
        content if isinstance(content, bytes) else json.dumps(content).encode(), EXPECTED, layout, LIMITS
    )


def test_a_complete_output() -> None:
    read_ = read(result())
    assert (read_.outcome, read_.reason, read_.failure, read_.dropped) == (Outcome.COMPLETE, "", None, ())
    assert LAYOUT.unpack(read_.numbers) == MEASURED
    assert LAYOUT.unpack_quantities(read_.quantities) == {"n": 1.5, "one": 1.0}
    assert read_.digest == digest(read_.numbers)
    assert read_.memory == 50_000_000
    assert read(json.dumps(result(), indent=1, sort_keys=True).encode()) == read_
    alone = without("measured", runs=[{"seed": 5, "measured": MEASURED}], gpu=1, seeds=1)
    assert read(alone) == read_


PARTS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, int], Failure]] = {
    # what came: kept, dropped, failure
    "out of time": (half(n=1, list=[1, 2]), {"n": 1, "list": [1, 2]}, {}, Failure("Partial", "", "budget")),
    "out of time, empty lists": (half(n=1, list=[]), {"n": 1}, {}, Failure("Partial", "", "budget")),
    "an error half way": (half(n=1) | {"error": "KeyError", "ended": "error"}, {"n": 1}, {}, Failure("KeyError")),
    "an error, yet all is there": (result(error="KeyError"), MEASURED, {}, Failure("KeyError")),
    "ended by a word of its own": (half(n=1) | {"ended": "<b>"}, {"n": 1}, {}, Failure("Partial")),
    "a key is missing": (result(measured={"n": 1}), {"n": 1}, {}, Failure("Partial", "", "complete")),
    "an unknown key": (measured(other=1), MEASURED, {"undeclared_key": 1}, Failure("Partial", "", "complete")),
    "unknown keys": (half(n=1, a=1, b="x", c=[[]]), {"n": 1}, {"undeclared_key": 3}, Failure("Partial", "", "budget")),
}
WRONG: dict[str, tuple[str, Any, str]] = {
    "text": ("n", "1.5", "not_a_number"),
    "a truth value": ("n", True, "not_a_number"),
    "null": ("n", None, "not_a_number"),
    "a truth value in a list": ("list", [1, True, 2], "not_a_number"),
    "text in a table": ("table", [[1, 2], [3, "4"]], "not_a_number"),
    "NaN": ("n", math.nan, "not_finite"),
    "NaN in a list": ("list", [math.nan, 1, 2], "not_finite"),
    "infinity in a table": ("table", [[1, 2], [-math.inf, 2]], "not_finite"),
    "an integer too large for a float": ("n", 10**400, "not_finite"),
    "such an integer in a list": ("list", [10**400, 1, math.nan], "not_finite"),
    "a float at the edge": ("n", 1e300, "not_finite"),
    "a list for a number": ("n", [1], "wrong_shape"),
    "an object for a number": ("n", {}, "wrong_shape"),
    "a number for a list": ("list", 1, "wrong_shape"),
    "an object for a list": ("list", {"0": 1}, "wrong_shape"),
    "a list too long": ("list", [1, 2, 3, 4], "wrong_shape"),
    "a list too short": ("list", [1, 2], "wrong_shape"),
    "a row too short": ("table", [[1, 2], [3]], "wrong_shape"),
    "a flat table": ("table", [1, 2], "wrong_shape"),
    "a table too deep": ("table", [[1, 2], [3, [4]]], "wrong_shape"),
}
PARTS |= {
    name: (
        measured(**{key: value}),
        {other: kept for other, kept in MEASURED.items() if other != key},
        {word: 1},
        Failure("Partial", "", "complete"),
    )
    for name, (key, value, word) in WRONG.items()
}


@pytest.mark.parametrize(("given_", "kept", "dropped", "failure"), PARTS.values(), ids=PARTS)
def test_what_is_left_is_kept(
    given_: dict[str, Any], kept: dict[str, Any], dropped: dict[str, int], failure: Failure
) -> None:
    read_ = read(given_)
    assert (read_.outcome, read_.reason, read_.failure) == (Outcome.PARTIAL, "", failure)
    assert LAYOUT.unpack(read_.numbers) == kept
    assert dict(read_.dropped) == dropped


DEEP = 100_000

BAD: dict[str, tuple[bytes | dict[str, Any], Outcome, str]] = {
    "no byte": (b"", Outcome.EMPTY, "no_bytes"),
    "nothing measured": (result(measured={}), Outcome.EMPTY, "no_numbers"),
    "empty lists": (half(list=[]), Outcome.EMPTY, "no_numbers"),
    "an empty object": (b"{}", Outcome.EMPTY, "no_numbers"),
    "strings only": (result(measured={"n": "1", "list": ["a"] * 3}), Outcome.EMPTY, "no_numbers"),
    "measured is no object": (result(measured=[1, 2]), Outcome.EMPTY, "no_numbers"),
    "not UTF-8": (b'{"a": "\xff\xfe"}', Outcome.REFUSED, "not_utf8"),
    "UTF-16": (json.dumps(result()).encode("utf-16"), Outcome.REFUSED, "not_utf8"),
    "half a file": (json.dumps(result()).encode()[:200], Outcome.REFUSED, "not_json"),
    "zeros": (b"\0" * 500, Outcome.REFUSED, "not_json"),
    "more after it": (json.dumps(result()).encode() + b"{}", Outcome.REFUSED, "not_json"),
    "a web page": (b"<html><body>502 Bad Gateway</body></html>", Outcome.REFUSED, "not_json"),
    "a list": (b"[1, 2]", Outcome.REFUSED, "not_an_object"),
    "a number": (b"17", Outcome.REFUSED, "not_an_object"),
    "lists 100,000 deep": (b"[" * DEEP + b"]" * DEEP, Outcome.REFUSED, "too_deep"),
    "objects 20,000 deep": (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, Outcome.REFUSED, "too_deep"),
    "deep, and it never ends": (b"[" * DEEP, Outcome.REFUSED, "too_deep"),
    "deep where nobody looks": (result(other=[[[[[[[[[]]]]]]]]]), Outcome.REFUSED, "too_deep"),
    "a bomb": (b'{"a":[' + b"[]," * 300_000 + b"[]]}", Outcome.REFUSED, "too_many"),
    "larger than it may be": (b" " * 1_000_001, Outcome.REFUSED, "too_large"),
    "a million digits": (b'{"n": ' + b"9" * 900_000 + b"}", Outcome.REFUSED, "huge_number"),
    "a key twice": (b'{"seed": 5, "seed": 5}', Outcome.REFUSED, "duplicate_key"),
    "a measured key twice": (b'{"measured": {"n": 1, "n" : 2}}', Outcome.REFUSED, "duplicate_key"),
    "a key twice, and colons in a text": (b'{"a": 1, "a": "::::", "b": ":"}', Outcome.REFUSED, "duplicate_key"),
    "another experiment": (result(experiment="y"), Outcome.REFUSED, "wrong_experiment"),
    "another version": (result(version=1), Outcome.REFUSED, "wrong_version"),
    "another seed": (result(seed=42), Outcome.REFUSED, "wrong_seed"),
    "another seed, nothing measured": (half() | {"seed": 42}, Outcome.REFUSED, "wrong_seed"),
    "the seed as text": (result(seed="5"), Outcome.REFUSED, "wrong_seed"),
    "the seed as a float": (result(seed=5.0), Outcome.REFUSED, "wrong_seed"),
    "numbers of no experiment": (without("experiment"), Outcome.REFUSED, "wrong_experiment"),
    "numbers of no seed": (without("seed"), Outcome.REFUSED, "wrong_seed"),
    "several seeds": (without("measured", runs=[{"seed": 5}, {"seed": 6}]), Outcome.REFUSED, "many_seeds"),
    "no seed at all": (without("measured", runs=[]), Outcome.REFUSED, "many_seeds"),
    "runs and measured": (result(runs=[{"seed": 5}]), Outcome.REFUSED, "many_seeds"),
    "a run from another seed": (without("measured", runs=[{"seed": 6}]), Outcome.REFUSED, "wrong_seed"),
}


@pytest.mark.parametrize(("content", "outcome", "reason"), BAD.values(), ids=BAD)
def test_bad_input(content: bytes | dict[str, Any], outcome: Outcome, reason: str) -> None:
    read_ = read(content)
    assert (read_.outcome, read_.reason) == (outcome, reason)
    class_ = "EmptyOutput" if outcome == Outcome.EMPTY else "RefusedOutput"
    assert read_.failure == Failure(class_, "", reason.replace("_", " "))
    assert (read_.numbers, read_.quantities, read_.digest) == (b"", b"", 0)
    assert reason in output.REASONS


FAILED: dict[str, tuple[dict[str, Any], Failure]] = {
    "as the worker refuses an order": (
        {"completed": 0.0, "partial": 1, "ended": "refused", "error": "NoGpu", "measured": {}},
        Failure("NoGpu"),
    ),
    "as the worker fails": (half() | {"error": "KeyError", "ended": "error"}, Failure("KeyError")),
    "as AXIOM's old scripts wrote it": (
        {"error": "'top_sv_growth'", "traceback": "Traceback (most recent call last):\nKeyError: 'top_sv_growth'\n"},
        Failure("KeyError", "", "'top_sv_growth'"),
    ),
}


@pytest.mark.parametrize("layout", [LAYOUT, None], ids=["declared", "undeclared"])
@pytest.mark.parametrize(("given_", "failure"), FAILED.values(), ids=FAILED)
def test_an_error_before_anything_was_measured(given_: dict[str, Any], failure: Failure, layout: Layout | None) -> None:
    read_ = read(given_, layout)
    assert (read_.outcome, read_.failure, read_.numbers) == (Outcome.FAILED, failure, b"")


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (result(seed=42), Outcome.UNDECLARED),
        (b"not JSON", Outcome.UNDECLARED),
        (b"", Outcome.EMPTY),
        (b" " * 1_000_001, Outcome.REFUSED),
    ],
)
def test_an_undeclared_experiment_is_only_measured_by_its_size(
    content: bytes | dict[str, Any], outcome: Outcome
) -> None:
    read_ = read(content, None)
    assert (read_.outcome, read_.numbers) == (outcome, b"")


@pytest.mark.parametrize("error", [None, "", False, 0])
def test_no_error_is_none(error: object) -> None:
    assert read(result(error=error)).outcome == Outcome.COMPLETE


@pytest.mark.parametrize(("said", "memory"), [(-5, 0.0), ("1", 0.0), (1e299, output.MOST_MEMORY), (math.nan, 0.0)])
def test_memory_is_a_bounded_claim(said: object, memory: float) -> None:
    assert read(result(peak_memory_bytes=said)).memory == memory


def test_brackets_and_colons_in_texts_count_for_nothing() -> None:
    assert read(result(note='[[[[[[[[[[[[{{{{{{{{ ::: \\" [[[[[')).outcome == Outcome.COMPLETE


def test_what_the_worker_writes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert worker.main(["--experiment", "nothing_of_the_kind"]) == 2
    refused = (tmp_path / "result.json").read_bytes()
    assert read(refused).failure == Failure("UnknownExperiment")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abn"), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=40)
@given(
    st.dictionaries(st.sampled_from(["n", "one", "list", "table", "z"]), JSON | st.lists(JSON, min_size=3, max_size=3))
)
def test_only_what_the_gate_lets_pass_is_complete(values: dict[str, Any]) -> None:
    given_ = result(measured=values)
    read_ = read(given_)
    assert (read_.outcome == Outcome.COMPLETE) == (problems(given_, ENTRY) == [])
    kept = LAYOUT.unpack(read_.numbers) if read_.numbers else {}
    assert all(value == values[key] for key, value in kept.items())
    assert len(kept) + sum(count for _, count in read_.dropped) == len(values)


@given(st.lists(st.integers() | st.floats() | st.booleans() | st.none() | st.just(10**400), max_size=4))
def test_numbers_are_told_as_everywhere_else(values: list[Any]) -> None:
    assert output._are_numbers(values) == all(map(is_number, values))


@given(st.binary(max_size=200))
def test_no_bytes_raise(content: bytes) -> None:
    assert read(content).outcome in {Outcome.EMPTY, Outcome.REFUSED}
