"""How the numbers of a measurement are packed: float64, little-endian, key after key; NaN stands for what is missing.

The layout follows from the catalogue and is kept in axiomd_layout, so that what was packed can be unpacked for ever.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from axiomd.science.catalogue import CatalogueEntry


@dataclass(frozen=True)
class Layout:
    """The declared keys of an experiment's version with their shapes, and those that its claims need."""

    experiment: str
    version: int
    keys: tuple[tuple[str, tuple[int, ...]], ...]
    quantities: tuple[str, ...]

    @classmethod
    def of(cls, entry: CatalogueEntry) -> Layout:
        """Give the layout of an experiment of the catalogue."""
        needed = set()
        for claim in entry.claims:
            needed |= {claim.quantity, claim.control}
            if isinstance(claim.baseline, str):
                needed.add(claim.baseline)
        return cls(entry.name, entry.version, tuple(sorted(entry.shapes.items())), tuple(sorted(needed)))

    @classmethod
    def from_json(cls, experiment: str, version: int, text: str) -> Layout:
        """Read what `as_json` wrote."""
        said = json.loads(text)
        keys = tuple((str(key), tuple(int(n) for n in shape)) for key, shape in said["numbers"])
        return cls(experiment, version, keys, tuple(map(str, said["quantities"])))

    def as_json(self) -> str:
        """Write it down."""
        return json.dumps({"numbers": [[key, list(shape)] for key, shape in self.keys], "quantities": self.quantities})

    @cached_property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of what `as_json` writes."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()[:16]

    @cached_property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(size for _, _, size in self._sizes)

    @cached_property
    def _sizes(self) -> tuple[tuple[str, tuple[int, ...], int], ...]:
        return tuple((key, shape, math.prod(shape)) for key, shape in self.keys)

    def pack(self, measured: Mapping[str, Any]) -> bytes:
        """Pack what was measured: finite numbers of the declared shapes, lists possibly shorter in their first axis."""
        flat: list[float] = []
        end = 0
        for key, shape, size in self._sizes:
            end += size
            if key in measured:
                value = measured[key]
                if shape == ():
                    flat.append(value)
                else:
                    for _ in shape[1:]:
                        value = chain.from_iterable(value)
                    flat += value
            if missing := end - len(flat):
                flat += [math.nan] * missing
        return _bytes(array("d", flat))

    def unpack(self, content: bytes) -> dict[str, Any]:
        """Give what was packed; keys that were missing are missing, and lists as long as they were."""
        packed, begin, measured = _array(content), 0, {}
        for key, shape, size in self._sizes:
            part = packed[begin : begin + size]
            begin += size
            while part and math.isnan(part[-1]):
                part.pop()
            if part:
                measured[key] = part[0] if shape == () else _nested(list(part), shape[1:])
        return measured

    def pack_quantities(self, measured: Mapping[str, Any]) -> bytes:
        """Pack the single numbers that the claims need."""
        return _bytes(array("d", [measured.get(key, math.nan) for key in self.quantities]))

    def unpack_quantities(self, content: bytes) -> dict[str, float]:
        """Give the single numbers that the claims need, as far as they were measured."""
        pairs = zip(self.quantities, _array(content), strict=True)
        return {key: value for key, value in pairs if not math.isnan(value)}


def digest(numbers: bytes) -> int:
    """Give 64 bits of the SHA-256 of packed numbers: the same numbers, the same digest. Never 0."""
    return int.from_bytes(hashlib.sha256(numbers).digest()[:8], "big") or 1


def _nested(flat: list[float], shape: tuple[int, ...]) -> list[Any]:
    if not shape:
        return flat
    step = math.prod(shape)
    return [_nested(flat[begin : begin + step], shape[1:]) for begin in range(0, len(flat), step)]


def _bytes(packed: array[float]) -> bytes:
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _array(content: bytes) -> array[float]:
    packed = array("d", content)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed
