"""The one way from what an experiment measured to JSON: plain numbers, all of them finite."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

Measured: TypeAlias = dict[str, Any]
"""Numbers and (nested) lists of numbers under the keys that the experiment's metadata declares."""


def plain(value: Any) -> Any:
    """Turn a number, a numpy number or array, or a list of them into Python's own numbers and lists.

    Truth values become 0 and 1; NaN and infinity stay. Raises TypeError for anything else: a result is numbers only.
    """
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"a result holds numbers and lists of numbers, not {type(value).__name__}")


def plain_values(measured: Mapping[str, Any]) -> Measured:
    """Turn every value into plain numbers and lists; raises TypeError as `plain` does."""
    return {key: plain(value) for key, value in measured.items()}


def finite_only(measured: Mapping[str, Any]) -> tuple[Measured, list[str]]:
    """Leave out every key whose value holds NaN or infinity; give what is left, as plain numbers, and which keys went.

    A list goes as a whole, because a gap would move its other entries to places where they mean something else.
    """
    values = plain_values(measured)
    omitted = sorted(key for key, value in values.items() if not _is_finite(value))
    return {key: value for key, value in values.items() if key not in omitted}, omitted


def _is_finite(value: Any) -> bool:
    return all(map(_is_finite, value)) if isinstance(value, list) else math.isfinite(value)


def encode(content: Mapping[str, Any]) -> str:
    """Give the text of a JSON file; raises ValueError if a number in it isn't finite."""
    return json.dumps(content, allow_nan=False, indent=1, sort_keys=True) + "\n"
