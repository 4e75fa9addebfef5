"""How many rows a transaction takes: as many as keep BOINC's rows locked no longer than BOINC may wait for them."""

from __future__ import annotations

HELD_TARGET_S = 0.04
"""BOINC's rows are held for about so long; the slowest one in a hundred stays below a tenth of a second then."""

SMALLEST = 10
FIRST = 200
GROWTH = 1.25


class Pace:
    """The size of a handler's batches, adapted to how long the last ones held their locks."""

    def __init__(self, most: int) -> None:
        """Take `most` rows at most, and begin with few."""
        self._most = most
        self.size = min(most, FIRST)

    def record(self, held_s: float, rows: int) -> None:
        """Learn from a transaction that changed so many rows and held BOINC's rows for so many seconds."""
        if held_s > HELD_TARGET_S:
            # In proportion, but never below half: a single slow commit tells little.
            smaller = int(rows * max(HELD_TARGET_S / held_s, 0.5))
            self.size = min(self.size, max(smaller, min(SMALLEST, self._most)))
        elif rows >= self.size:
            self.size = min(self._most, int(self.size * GROWTH) + 1)
