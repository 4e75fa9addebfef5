"""Output files and stderr as no volunteer's machine should write them: nothing raises, and each is counted by reason.

    python -m tests.faults.fuzz --inputs 100000 --seed 7

Real results are flipped, cut, spliced and rebuilt; trees of JSON are made up; what is known to be nasty is thrown in.
"""

from __future__ import annotations

import json
import math
import random
import re
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from axiomd.policies.measurement import LONGEST_CLASS, LONGEST_DETAIL, LONGEST_PLACE, Failure, Outcome
from axiomd.science.catalogue import read_catalogue
from axiomd.science.fingerprint import CLASSES, fingerprint, host_reason, of_report
from axiomd.science.layout import Layout, digest
from axiomd.science.output import DROPPED, REASONS, Expected, Limits, Output, read_output
from tests.faults.run import command

LIMITS = Limits(1_000_000, 8)
MOST_MORE = 200_000_000
"""Bytes that reading may add to the most that the process held."""
TOKENS = [
    *(b"1e999", b"-1e999", b"NaN", b"-Infinity", b"true", b"null", b'"', b"\\", b"\\ud800", b"\\u0000", b"\xff", b"\0"),
    *(b"[[[[[[[[", b"]]]]", b'{"a":', b"}", b",", b":", b"9" * 400, b"9" * 5000, b"1e-400", b"-0.0", b"\xef\xbb\xbf"),
    *(b'"measured":', b'"runs":', b'"error": "KeyError",', b'"seed": 5,', b"<script>", b"\r\n", b" " * 999),
]
NASTY = [
    *(
        b"",
        b" ",
        b"{}",
        b"[]",
        b"null",
        b'""',
        b"0",
        b"{",
        b'{"measured":',
        b"\xef\xbb\xbf{}",
        b"\0" * 1000,
        b"\xff\xfe{}",
    ),
    *(b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b"{" * 100_000),
    *(b'{"a":[' + b"[]," * 200_000 + b"[]]}", b"[" + b"1," * 490_000 + b"1]", b'{"a":' + b"9" * 990_000 + b"}"),
    *(
        b'{"a":"' + b"\\u0416" * 160_000 + b'"}',
        b'{"a": 1, "a": 2}',
        b'{"measured": {"a": 1, "a" : 2}}',
        b'"' * 900_000,
    ),
    *(b'{"a":"' + b"\\" * 900_000, b'"\\' * 400_000, b"-" * 900_000, b" " * 1_000_001, b"1e" + b"9" * 900_000),
]
SHARE_NASTY = 0.01
STDERR = [
    "process exited with code 1 (0x1, -255)",
    "Traceback (most recent call last):\n",
    '  File "C:\\Users\\Ann Lee\\spectral_dynamics.py", line 380, in summarize\n    growth = last["top_sv_growth"]\n',
    '  File "/home/ann/worker.py", line 131, in perform\n',
    "KeyError: 'top_sv_growth'\n",
    "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 1.5 GiB\n",
    "<error_code>-224 (permanent HTTP error)</error_code>",
    *("process got signal 11", "SSL", "<script>alert(1)</script>", "\x1b[31m", "\u202e", "\0", "'", '"', "/", "\n"),
]
HARMLESS = re.compile(r"[A-Za-z0-9_.,:'() -]*")


class Fuzz:
    """Makes inputs from a seed and holds what comes of each against what must hold."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.layouts = [Layout.of(entry) for entry in read_catalogue(None).values()]
        self.whole = {layout.experiment: self._result(layout) for layout in self.layouts}
        self.nasty = list(NASTY)  # each once, to begin with
        self.found: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.fingerprints: set[str] = set()
        self.problems: list[str] = []

    def output(self) -> None:
        """One output file."""
        layout = self.random.choice(self.layouts)
        expected = Expected(layout.experiment, layout.version, 5)
        content = self._content(layout)
        declared = layout if self.random.random() < 0.95 else None
        try:
            read = read_output(content, expected, declared, LIMITS)
        except Exception as error:  # noqa: BLE001 - that there is none is what is tried
            self.problems.append(f"{type(error).__name__}: {error} of {content[:60]!r}")
            return
        self.found[f"{read.outcome.name.lower()} {read.reason}".strip()] += 1
        self.dropped.update(dict(read.dropped))
        wrong = wrong_with(read, declared)
        if wrong:
            self.problems.append(f"{wrong}: of {content[:60]!r}")

    def report(self) -> None:
        """One stderr, of a result that BOINC calls an error."""
        status = self.random.choice([0, 1, 195, 193, 197, -186, 139, self.random.randrange(-(2**31), 2**31)])
        text = "".join(self.random.choices(STDERR, k=self.random.randrange(12)))
        for _ in range(self.random.randrange(4)):
            at = self.random.randrange(len(text) + 1)
            text = text[:at] + chr(self.random.randrange(1, 0x3000)) * self.random.choice([1, 1, 50]) + text[at + 1 :]
        try:
            failure = of_report(status, text)
            self.fingerprints.add(fingerprint("x", 1, failure))
            host_reason(failure)
        except Exception as error:  # noqa: BLE001 - that there is none is what is tried
            self.problems.append(f"{type(error).__name__}: {error} of {text[:60]!r}")
            return
        self.classes[failure.class_] += 1
        if wrong_with_failure(failure):
            self.problems.append(f"{failure} of {text[:60]!r}")

    def _content(self, layout: Layout) -> bytes:
        if self.nasty:
            return self.nasty.pop()
        if self.random.random() < SHARE_NASTY:
            return self.random.choice(NASTY)
        if self.random.random() < 0.05:
            return json.dumps(self._tree(6)).encode("utf-8", "surrogatepass")
        content = self.whole[layout.experiment]
        rebuilt = self.random.choice([0, 0, 1, 1, 2, 5])
        if rebuilt:
            result = self._varied(json.loads(content))
            for _ in range(rebuilt - 1):
                self._rebuild(result)
            content = json.dumps(result).encode()
        for _ in range(self.random.choice([0, 0, 0, 0, 1, 3])):
            content = self.random.choice(MUTATIONS)(content, self.random)
        return content

    def _result(self, layout: Layout) -> bytes:
        """What the worker writes at the end of a whole run."""
        result = {
            "experiment": layout.experiment,
            "version": layout.version,
            "seed": 5,
            "scale": 1.0,
            "completed": 1.0,
            "ended": "complete",
            "omitted": [],
            "peak_memory_bytes": 50_000_000,
            "measured": {key: self._numbers(shape) for key, shape in layout.keys},
        }
        return json.dumps(result, indent=1, sort_keys=True).encode()

    def _varied(self, result: dict[str, Any]) -> dict[str, Any]:
        """What else the worker may write, and old scripts, and others."""
        result["ended"] = self.random.choice(["complete"] * 5 + ["budget", "error", "refused", "x", 1])
        result["peak_memory_bytes"] = self.random.choice([50_000_000, -1, 1e308, "x"])
        if self.random.random() < 0.1:
            result["error"] = self.random.choice(["KeyError", "KeyError: 'a'", "".join(STDERR[1:5]), 5, ["x"], {}])
        if self.random.random() < 0.05:
            result["runs"] = [{"seed": 5, "measured": result.pop("measured")}]
        return result

    def _numbers(self, shape: tuple[int, ...]) -> Any:
        if not shape:
            return self.random.choice([self.random.gauss(0, 1), self.random.randrange(100), 0.0])
        return [self._numbers(shape[1:]) for _ in range(shape[0])]

    def _rebuild(self, result: dict[str, Any]) -> None:
        """Put something else in the place of something, wherever in the result."""
        node: Any = result
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                return
            key = self.random.choice(keys)
            if isinstance(node[key], dict | list) and node[key] and self.random.random() < 0.8:
                node = node[key]
                continue
            if self.random.random() < 0.3:
                del node[key]
            elif isinstance(node, dict) and self.random.random() < 0.3:
                node[self.random.choice(["a", "", "\ud800", "error", "traceback", "runs", "x" * 300])] = self._tree(3)
            else:
                node[key] = self._tree(3)
            return

    def _tree(self, depth: int) -> Any:
        kind = self.random.randrange(10 if depth else 7)
        if kind >= 7:
            parts = [self._tree(depth - 1) for _ in range(self.random.randrange(5))]
            return parts if kind == 7 else {self.random.choice(["measured", "seed", "a", "n"]): part for part in parts}
        leaves = [None, True, "text", 10 ** self.random.randrange(400), math.nan, -math.inf, self.random.gauss(0, 1e3)]
        return leaves[kind]


def flip(content: bytes, random_: random.Random) -> bytes:
    """One bit."""
    flipped = bytearray(content)
    flipped[random_.randrange(len(flipped))] ^= 1 << random_.randrange(8)
    return bytes(flipped)


def cut(content: bytes, random_: random.Random) -> bytes:
    """The end is missing, as of an upload that broke off."""
    return content[: random_.randrange(1, len(content) + 1)]


def splice(content: bytes, random_: random.Random) -> bytes:
    """A part stands in another place, too."""
    begin, at = random_.randrange(len(content)), random_.randrange(len(content))
    return content[:at] + content[begin : begin + random_.randrange(200)] + content[at:]


def insert(content: bytes, random_: random.Random) -> bytes:
    """A nasty word stands in the middle, or in the place of a number."""
    token = random_.choice(TOKENS)
    numbers = [match.span() for match in re.finditer(rb"[0-9.]+", content)]
    if numbers and random_.random() < 0.6:
        begin, end = random_.choice(numbers)
    else:
        begin = end = random_.randrange(len(content))
    return content[:begin] + token + content[end:]


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [flip, cut, splice, insert, insert]


def wrong_with(read: Output, layout: Layout | None) -> str:
    """Say what is wrong with what came of an output file; empty if nothing."""
    numbers = array("d", read.numbers)
    quantities = array("d", read.quantities)
    has_numbers = read.outcome in {Outcome.COMPLETE, Outcome.PARTIAL}
    rules = {
        "no reason, or none of the list": (read.reason in REASONS)
        == (read.outcome in {Outcome.EMPTY, Outcome.REFUSED}),
        "a failure too many, or too few": (read.failure is None) == read.outcome.is_good,
        "a failure that isn't harmless": read.failure is None or not wrong_with_failure(read.failure),
        "dropped for a reason of no list": {reason for reason, _ in read.dropped} <= DROPPED,
        "numbers where there are none, or none": bool(numbers) == has_numbers and (layout is not None or not numbers),
        "not the layout's size": not numbers or (layout is not None and len(numbers) == layout.size),
        "other quantities": len(quantities) == (len(layout.quantities) if layout and has_numbers else 0),
        "a number that isn't finite": all(math.isnan(number) or abs(number) < 1e300 for number in numbers),
        "a gap in what is complete": read.outcome != Outcome.COMPLETE or not any(map(math.isnan, numbers)),
        "complete, yet something was dropped": read.outcome != Outcome.COMPLETE or not read.dropped,
        "another digest": read.digest == (digest(read.numbers) if numbers else 0),
        "memory without bounds": 0 <= read.memory <= 2**50,
    }
    return next((rule for rule, holds in rules.items() if not holds), "")


def wrong_with_failure(failure: Failure) -> bool:
    """Whether anything of a failure is what a stranger may not choose."""
    return not (
        failure.class_ in CLASSES
        and len(failure.class_) <= LONGEST_CLASS
        and len(failure.place) <= LONGEST_PLACE
        and len(failure.detail) <= LONGEST_DETAIL
        and HARMLESS.fullmatch(failure.detail)
        and HARMLESS.fullmatch(failure.place)
    )


def peak_memory() -> int:
    """The most memory that this process held, in bytes."""
    found = re.search(r"VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) * 1024 if found else 0


def fuzz(inputs: int, seed: int) -> dict[str, Any]:
    """Read so many inputs: nine output files to one stderr."""
    run = Fuzz(seed)
    before, begin = peak_memory(), time.monotonic()
    for number in range(inputs):
        if number % 10:
            run.output()
        else:
            run.report()
    more = peak_memory() - before
    if more > MOST_MORE:
        run.problems.append(f"reading took {more} bytes of memory")
    counted = run.found.total() + run.classes.total()
    if counted != inputs:
        run.problems.append(f"{inputs - counted} inputs weren't counted")
    seconds = time.monotonic() - begin
    return {
        "inputs": inputs,
        "counted": counted,
        "outcomes": dict(sorted(run.found.items())),
        "dropped": dict(sorted(run.dropped.items())),
        "classes": dict(sorted(run.classes.items())),
        "fingerprints": len(run.fingerprints),
        "more_memory": more,
        "audit": {"ok": not run.problems, "problems": run.problems[:20]},
        "seed": seed,
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(command("fuzz", {"inputs": 100_000}, fuzz))
