"""What an output file says: numbers of the declared keys and shapes, or one of a few words that say why not.

A pure function of the file's bytes, whatever these are: it raises nothing, and how long it takes and how much memory it
needs grow with their number only.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from axiomd.policies.measurement import Failure, Outcome
from axiomd.science import fingerprint
from axiomd.science.layout import Layout, digest
from experiments.kit.claims import is_number

MOST_MARKS: Final = 400_000
"""Commas and brackets that an output may hold, all together: no experiment declares as many numbers."""
MOST_MEMORY: Final = 1 << 50
"""Bytes that a run can say it took."""

ENDED: Final = frozenset({"complete", "budget", "error", "refused"})
"""How a run says that it ended (experiments/worker.py)."""
REASONS: Final = frozenset(
    {
        *("missing", "no_bytes", "no_numbers"),  # why it is empty; the others say why it was refused
        *("bad_name", "not_a_file", "too_large", "not_utf8", "not_json", "not_an_object", "too_deep", "too_many"),
        *("huge_number", "duplicate_key", "out_of_memory", "killed_reader"),
        *("wrong_experiment", "wrong_version", "wrong_seed", "many_seeds"),
    }
)
"""Every reason that an output which is empty or refused can have."""
DROPPED: Final = frozenset({"undeclared_key", "not_a_number", "not_finite", "wrong_shape"})
"""Every reason for which a value is dropped."""

_NUMBERS: Final = frozenset({int, float})
_BOUND: Final = 1e300
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ALL_BUT_MARKS: Final = bytes(set(range(256)) - set(b"[]{},:"))
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class Expected(NamedTuple):
    """What the name of a result's workunit says that the result is of."""

    experiment: str
    version: int
    seed: int


class Limits(NamedTuple):
    """What an output may be at most. max_depth: lists and objects within each other."""

    max_bytes: int
    max_depth: int


class Output(NamedTuple):
    """What came of an output file."""

    outcome: Outcome
    reason: str = ""
    """Why it is empty or was refused; a word of REASONS."""
    failure: Failure | None = None
    """What went wrong; None for a complete output and for one that isn't looked at."""
    memory: float = 0.0
    """Bytes that the run held at most, as it says; 0: not known."""
    digest: int = 0
    """Of the numbers, 64 bits; 0: none."""
    numbers: bytes = b""
    """Packed as its layout says; empty: none."""
    quantities: bytes = b""
    """Those that the claims need."""
    dropped: tuple[tuple[str, int], ...] = ()
    """How many values were dropped, by reason (DROPPED)."""


class _Refused(Exception):  # noqa: N818 - what became of the output
    """The output isn't read any further; the argument is the reason."""


def empty(reason: str, dropped: Iterable[tuple[str, int]] = ()) -> Output:
    """Give what comes of an output without a number."""
    failure = Failure("EmptyOutput", detail=reason.replace("_", " "))
    return Output(Outcome.EMPTY, reason, failure, dropped=tuple(dropped))


def refused(reason: str) -> Output:
    """Give what comes of an output of which nothing is kept."""
    return Output(Outcome.REFUSED, reason, Failure("RefusedOutput", detail=reason.replace("_", " ")))


def read_output(content: bytes, expected: Expected, layout: Layout | None, limits: Limits) -> Output:
    """Read an output file. layout: of the expected experiment and version; None if the catalogue hasn't them.

    An output that says of which experiment, version and seed it is must say the expected ones; only one without numbers
    may say nothing. The scale isn't looked at: the bundle's order sets it.
    """
    if len(content) > limits.max_bytes:
        return refused("too_large")
    if not content:
        return empty("no_bytes")
    try:
        result = _parsed(content, limits.max_depth)
        if layout is None:
            return _undeclared(result)
        return _read(result, expected, layout)
    except _Refused as refusal:
        reason = str(refusal)
    except MemoryError:
        reason = "out_of_memory"
    return refused(reason) if layout is not None else Output(Outcome.UNDECLARED)


def _parsed(content: bytes, max_depth: int) -> dict[str, Any]:
    marks = content.translate(None, _ALL_BUT_MARKS)
    if len(marks) - marks.count(b":") > MOST_MARKS:
        raise _Refused("too_many")
    # Brackets within strings count too, at first: only where they make a difference is the text cleared of strings.
    if _is_deeper(marks, max_depth) and _is_deeper(_STRING.sub(b"", content), max_depth):
        raise _Refused("too_deep")
    try:
        result = _decoded(content)
        # Looking for duplicate keys costs as much as all the rest: only where there are more colons than keys.
        if isinstance(result, dict) and marks.count(b":") != _keys(result):
            result = _STRICT.decode(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise _Refused("not_utf8") from None
    except json.JSONDecodeError:
        raise _Refused("not_json") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise _Refused("huge_number") from None
    except RecursionError:
        raise _Refused("too_deep") from None
    if not isinstance(result, dict):
        raise _Refused("not_an_object")
    return result


def _decoded(content: bytes) -> Any:
    """Decode JSON, also with NaN and Infinity. Raises ValueError, of several kinds, and RecursionError."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        # It refuses more than Python's own, and doesn't tell why.
        return json.loads(content.decode("utf-8"))


def _is_deeper(content: bytes, max_depth: int) -> bool:
    """Whether brackets stand within each other deeper than this."""
    brackets = content.translate(_BRACKETS, _ALL_BUT_BRACKETS)
    for _ in range(max_depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")  # takes the innermost level away
    return b"[]" in brackets or brackets.count(b"[") > max_depth  # the latter: none of them closes


def _keys(result: Mapping[str, Any]) -> int:
    """How many keys an object has, and those objects that are its values."""
    return len(result) + sum(len(value) for value in result.values() if isinstance(value, dict))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Refused("duplicate_key")
    return result


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_object)


def _undeclared(result: Mapping[str, Any]) -> Output:
    if _has_error(result):
        return Output(Outcome.FAILED, failure=fingerprint.of_output(result["error"], result.get("traceback")))
    return Output(Outcome.UNDECLARED, memory=_memory(result))


def _read(result: Mapping[str, Any], expected: Expected, layout: Layout) -> Output:
    measured = _measured(result, expected)
    failure = fingerprint.of_output(result["error"], result.get("traceback")) if _has_error(result) else None
    is_complete = result.get("ended") == "complete" and not result.get("omitted")
    kept, dropped = _kept(measured, dict(layout.keys), is_complete=is_complete)
    _check(result, expected, has_numbers=bool(kept or dropped))
    memory, counts = _memory(result), tuple(sorted(dropped.items()))
    if not kept:
        if failure is None:
            return empty("no_numbers", counts)._replace(memory=memory)
        return Output(Outcome.FAILED, failure=failure, memory=memory, dropped=counts)
    numbers = layout.pack(kept)
    output = Output(
        Outcome.COMPLETE,
        memory=memory,
        digest=digest(numbers),
        numbers=numbers,
        quantities=layout.pack_quantities(kept),
        dropped=counts,
    )
    if is_complete and failure is None and len(kept) == len(layout.keys) and not dropped:
        return output
    ended = result.get("ended")
    word = ended if isinstance(ended, str) and ended in ENDED else ""
    return output._replace(outcome=Outcome.PARTIAL, failure=failure or Failure("Partial", detail=word))


def _measured(result: Mapping[str, Any], expected: Expected) -> object:
    """Give what the run from the expected seed measured."""
    if "runs" not in result:
        return result.get("measured", {})
    runs = result["runs"]
    if "measured" in result or not isinstance(runs, list) or len(runs) != 1 or not isinstance(runs[0], dict):
        raise _Refused("many_seeds")
    if not _is(runs[0].get("seed"), expected.seed):
        raise _Refused("wrong_seed")
    return runs[0].get("measured", {})


def _check(result: Mapping[str, Any], expected: Expected, *, has_numbers: bool) -> None:
    for key, wanted in expected._asdict().items():
        if (has_numbers or key in result) and not _is(result.get(key), wanted):
            raise _Refused(f"wrong_{key}")


def _is(value: object, wanted: object) -> bool:
    return type(value) is type(wanted) and value == wanted  # True is no 1


def _has_error(result: Mapping[str, Any]) -> bool:
    return bool(result.get("error"))


def _memory(result: Mapping[str, Any]) -> float:
    said = result.get("peak_memory_bytes")
    return min(max(0.0, float(said)), float(MOST_MEMORY)) if is_number(said) else 0.0


def _kept(
    measured: object, shapes: Mapping[str, tuple[int, ...]], *, is_complete: bool
) -> tuple[dict[str, Any], Counter[str]]:
    """Give the values that are as declared, and count the others by what is wrong with them."""
    if not isinstance(measured, dict):
        return {}, Counter(wrong_shape=1)
    leaves: list[Any] = []
    are_shaped = all(
        key in shapes and _gather(value, shapes[key], leaves, is_complete=is_complete)
        for key, value in measured.items()
    )
    dropped: Counter[str] = Counter()
    if not (are_shaped and _are_numbers(leaves)):
        words = {
            key: _fault(value, shapes[key], is_complete=is_complete) if key in shapes else "undeclared_key"
            for key, value in measured.items()
        }
        measured = {key: value for key, value in measured.items() if not words[key]}
        dropped.update(filter(None, words.values()))
    if not is_complete:  # it may have empty lists: nothing was measured before the run ended
        measured = {key: value for key, value in measured.items() if value != []}
    return measured, dropped


def _fault(value: object, shape: tuple[int, ...], *, is_complete: bool) -> str:
    """Say in a word what keeps a value from being what is declared; empty if nothing."""
    leaves: list[Any] = []
    if not _gather(value, shape, leaves, is_complete=is_complete):
        return "wrong_shape"
    return "" if _are_numbers(leaves) else next(filter(None, map(_fault_of_number, leaves)))


def _gather(value: object, shape: tuple[int, ...], leaves: list[Any], *, is_complete: bool) -> bool:
    """Gather the numbers of a value of this shape; False if it has another one.

    The value of a run that isn't complete may be shorter in its first axis.
    """
    if not shape:
        leaves.append(value)
        return True
    if not isinstance(value, list) or len(value) > shape[0] or (is_complete and len(value) < shape[0]):
        return False
    if len(shape) == 1:
        leaves += value
        return True
    return all(_gather(part, shape[1:], leaves, is_complete=True) for part in value)


def _are_numbers(values: list[Any]) -> bool:
    """`is_number` of each, many times as fast."""
    if not values:
        return True
    are_bounded = _NUMBERS.issuperset(map(type, values)) and min(values) > -_BOUND and max(values) < _BOUND
    return are_bounded and not math.isnan(sum(values))


def _fault_of_number(value: object) -> str:
    if is_number(value):
        return ""
    if isinstance(value, list | dict):
        return "wrong_shape"
    # NaN, infinity, or an integer that is too large for a float; else no number at all.
    return "not_finite" if isinstance(value, int | float) and not isinstance(value, bool) else "not_a_number"
