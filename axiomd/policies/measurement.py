"""What came out of a result: its measurement, or its failure. Plain data, shared by all rooms above."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from axiomd.events import Platform

LONGEST_CLASS: Final = 40
LONGEST_PLACE: Final = 80
LONGEST_DETAIL: Final = 120
"""Letters of a failure's parts that the tables hold."""


class Outcome(IntEnum):
    """What became of a result; axiomd_measurement.outcome."""

    COMPLETE = 1
    """All that the experiment declares was measured."""
    PARTIAL = 2
    """The run ended half way: some of it was measured. Counts as a failure of the experiment."""
    EMPTY = 3
    """The output file is empty, not there, or without any number. Counts as a failure."""
    REFUSED = 4
    """The output isn't what was asked for, or no result at all: nothing of it is kept. Counts as a failure."""
    FAILED = 5
    """BOINC calls it an error, or its output says that it ended in one before anything was measured."""
    UNDECLARED = 6
    """The catalogue doesn't have this experiment and version: its numbers aren't looked at."""

    @property
    def is_good(self) -> bool:
        """Whether it counts in the experiment's favour."""
        return self in (Outcome.COMPLETE, Outcome.UNDECLARED)


class Failure(NamedTuple):
    """What is known of a failure: bounded, escaped, and the same for failures of the same cause."""

    class_: str
    """An error's class from a closed list: of Python's and numpy's exceptions, of the worker's words, of BOINC's
    exit statuses, of the harvest's refusals; OtherError for all others."""
    place: str = ""
    """file.py:line function, where the file is one that axiomd ships; else empty."""
    detail: str = ""
    """The first words of the message, made harmless."""


class Measurement(NamedTuple):
    """A harvested result. Times are Unix seconds.

    numbers, quantities: packed as science/layout.py has it, empty where there are none.
    """

    result_id: int
    workunit_id: int
    experiment: str
    version: int
    seed: int
    host_id: int
    user_id: int
    platform: Platform
    gpu: bool
    received_at: float
    elapsed_s: float
    """Seconds that the client claims, but no more than the server saw pass."""
    turnaround_s: float
    """Seconds from sent to received."""
    fpops: float
    """Speed of one core that the host claims (1/s)."""
    outcome: Outcome
    reason: str = ""
    """Why it was refused; a word of the harvest's closed list."""
    failure: Failure | None = None
    died_of_limit: bool = False
    """Of a limit of time, memory or disk."""
    memory: float = 0.0
    """Bytes that the run held at most, as it says; 0: not known."""
    digest: int = 0
    """Of the numbers, 64 bits; 0: none."""
    numbers: bytes = b""
    quantities: bytes = b""
