"""How many rows a transaction takes: as many as keep BOINC's rows locked no longer than BOINC may wait for them."""

from __future__ import annotations

HELD_TARGET_S = 0.06
"""Seven transactions in ten hold BOINC's rows for no longer; the slowest one in a hundred stays below 0.1 s then."""

FIRST = 200
SMALLEST = 50
SMALLER, LARGER = 0.8, 1.1
"""Where seven steps up of ln 1.1 and three down of ln 0.8 make up for each other is the balance named above."""
DOUBLE = 2.0
"""... until the first transaction that held them for longer."""


class Pace:
    """The size of a handler's batches, adapted to how long the last ones held their locks."""

    def __init__(self, most: int) -> None:
        """Take `most` rows at most, and begin with few."""
        self._most = most
        self._least = min(most, SMALLEST)
        self._larger = DOUBLE
        self.size = min(most, FIRST)

    def record(self, held_s: float, rows: int) -> None:
        """Learn from a transaction that changed so many rows and held BOINC's rows for so many seconds."""
        if held_s > HELD_TARGET_S:
            self._larger = LARGER
            self.size = max(self._least, min(self.size, int(rows * SMALLER)))
        elif rows >= self.size:
            # Of a step that is large, never more than what the time seems to allow.
            larger = min(self._larger, max(HELD_TARGET_S / held_s, LARGER)) if held_s else self._larger
            self.size = min(self._most, int(self.size * larger) + 1)
