"""What stands in an output file, changed: for another seed, or to cheat."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

LIE = 1.5
"""Factor by which a cheat's numbers are off: beyond the tolerance of each experiment of the demo."""


def with_seed(output: bytes, seed: int) -> bytes:
    """Say that the numbers of an output came from this seed."""
    return _changed(output, lambda result: result | {"seed": seed})


def cheated(output: bytes) -> bytes:
    """Make an output's numbers larger."""
    return _changed(output, lambda result: result | {"measured": _scaled(result.get("measured", {}))})


def _changed(output: bytes, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    """Change a result; what isn't one stays as it is."""
    try:
        result = json.loads(output)
    except ValueError:
        return output
    return json.dumps(change(result)).encode() if isinstance(result, dict) else output


def _scaled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _scaled(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_scaled(entry) for entry in value]
    return value * LIE
