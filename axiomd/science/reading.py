"""The process that reads strangers' files: `python -m axiomd.science.reading`, started by reader.py and by nobody else.

It holds no secret and no connection, takes no more memory than it was told, and ends with the one who started it. Both
talk in JSON, each message with its length before it. The first says what to read by; each further one is a list of
orders, and is answered by a list of what came of them.
"""

from __future__ import annotations

import base64
import ctypes
import gc
import os
import resource
import signal
import sys
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

from axiomd.boinc.files import FileMissing, OutputError, Unreadable, read_file
from axiomd.policies.measurement import Failure, Outcome
from axiomd.science.layout import Layout
from axiomd.science.output import Expected, Limits, Output, empty, read_output, refused

LENGTH_BYTES: Final = 4
"""Of a message, big-endian, before it."""
_GARBAGE: Final = 50_000
"""Lists and objects between two collections of garbage: what is read here has no cycles, so there is little of it."""
_PR_SET_PDEATHSIG: Final = 1


class Order(NamedTuple):
    """A file to read. path: "" if the result's row names none."""

    path: str
    expected: Expected


class Retry(NamedTuple):
    """The file can't be read now, for no fault of its own: another time it may. reason: the system's word, as EIO."""

    reason: str


def message(content: object) -> bytes:
    """Give the bytes of a message."""
    text = orjson.dumps(content, default=list)  # a named tuple is a list here
    return len(text).to_bytes(LENGTH_BYTES, "big") + text


def spelled(order: Order) -> list[Any]:
    """Give an order as JSON can carry it: a path may be any bytes, and JSON is text."""
    return [os.fsencode(order.path).decode("latin-1"), order.expected]


def _order(said: list[Any]) -> Order:
    path, expected = said
    return Order(os.fsdecode(path.encode("latin-1")), Expected(*expected))


def packed(answer: Output | Retry) -> list[Any]:
    """Give an answer as JSON can carry it."""
    if isinstance(answer, Retry):
        return list(answer)
    *rest, numbers, quantities, dropped = answer
    return [*rest, *(base64.b64encode(blob).decode("ascii") for blob in (numbers, quantities)), dropped]


def unpacked(answer: list[Any]) -> Output | Retry:
    """Read what `packed` made."""
    if len(answer) == len(Retry._fields):
        return Retry(*answer)
    output = Output(*answer)
    return output._replace(
        outcome=Outcome(output.outcome),
        failure=Failure(*output.failure) if output.failure else None,
        numbers=base64.b64decode(output.numbers),
        quantities=base64.b64decode(output.quantities),
        dropped=tuple((reason, count) for reason, count in output.dropped),
    )


def fulfil(order: Order, layout: Layout | None, limits: Limits) -> Output | Retry:
    """Read a file and what it says."""
    if not order.path:
        return empty("missing")
    try:
        content = read_file(order.path, limits.max_bytes)
    except FileMissing:
        return empty("missing")
    except Unreadable as error:
        return Retry(error.reason)
    except OutputError as error:
        return refused(error.reason)
    except MemoryError:
        return refused("out_of_memory")
    return read_output(content, order.expected, layout, limits)


def main() -> int:
    """Answer until the input ends; gives the exit status."""
    given, answers = sys.stdin.buffer, sys.stdout.buffer
    said = _receive(given)
    if said is None or not _bound(said["memory"], said["parent"]):
        return 1
    limits = Limits(*said["limits"])
    layouts = {
        (experiment, version): Layout.from_json(experiment, version, text)
        for experiment, version, text in said["layouts"]
    }
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    answers.write(message([]))
    answers.flush()
    while (said := _receive(given)) is not None:
        orders = map(_order, said)
        content = message([packed(fulfil(order, layouts.get(order.expected[:2]), limits)) for order in orders])
        answers.write(content)
        answers.flush()
    return 0


def _bound(memory: int, parent: int) -> bool:
    """Bound the memory of this process, and let it end with its parent; False if that has gone already."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What is beside: without it the end of the input ends this process, but not in the middle of a file.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def _receive(given: BinaryIO) -> Any:
    """Give the next message; None at the end of the input."""
    length = given.read(LENGTH_BYTES)
    content = given.read(int.from_bytes(length, "big"))
    return orjson.loads(content) if len(length) == LENGTH_BYTES and content else None


if __name__ == "__main__":
    sys.exit(main())
