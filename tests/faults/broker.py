"""The MQTT broker killed with SIGKILL at random moments, while the daemon publishes its journal.

    PATH=.tools/bin:$PATH python -m tests.faults.broker --kills 10 --seed 7

A mosquitto_sub with a session at the broker listens all the while. In the end it must have heard every entry of the
journal, in order, and what it heard twice must have come under the same number.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymysql.connections import Connection

from axiomd.demo import children, rows
from tests.faults.project import FaultError, wait_until
from tests.faults.run import Run, command
from tests.servers import Mosquitto, ServerError

START_S = 30.0
HEARD_S = 60.0
UP_S, DOWN_S = 1.5, 0.5
"""How long the broker lives and stays away at most."""
PROJECT = "faults"


class Listener:
    """A mosquitto_sub that writes what it hears into a file. The broker remembers it while it is away."""

    def __init__(self, broker: Mosquitto, file: Path, topic: str, *, user: str | None = None) -> None:
        self._file = file
        program = shutil.which("mosquitto_sub") or "mosquitto_sub"
        session = ["-c", "-x", "3600", "-i", "listener", "-q", "1"]
        self._command = [program, *broker.words(user), *session, "-t", topic, "-F", "%p"]
        self._broker = broker
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until the broker has stored its session. Raises FaultError."""
        already = self._broker.log().count("SUBSCRIBE")
        with self._file.open("wb") as file:
            self._process = children.start(self._command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        wait_until(lambda: self._broker.log().count("SUBSCRIBE") > already, START_S, "the listener's subscription")
        stored = self._broker.folder / "data" / "mosquitto.db"
        wait_until(lambda: stored.exists() and b"listener" in stored.read_bytes(), START_S, "the listener's session")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            children.stop(self._process, 5.0)
            self._process = None

    def heard(self) -> list[tuple[int, int]]:
        """What it heard of the journal so far: pairs (number, journal id)."""
        found = []
        for line in self._file.read_bytes().splitlines(keepends=True):
            if line.startswith(b"{") and line.endswith(b"\n"):
                message = json.loads(line)
                if "number" in message:
                    found.append((int(message["number"]), int(message["id"])))
        return found


@dataclass(frozen=True)
class Judgement:
    """What was published and what was heard."""

    published: int
    heard: int
    duplicates: int
    problems: Sequence[str]


def numbers(connection: Connection) -> dict[int, int]:
    """What the outbox publishes: journal ids by number."""
    found = rows.select(connection, "SELECT number, journal_id FROM axiomd_outbox WHERE number > 0")
    return {int(row["number"]): int(row["journal_id"]) for row in found}


def judge(published: Mapping[int, int], heard: Sequence[tuple[int, int]]) -> Judgement:
    """Compare what was published with what was heard."""
    first: dict[int, int] = {}
    problems = []
    for number, id_ in heard:
        if first.setdefault(number, id_) != id_:
            problems.append(f"number {number} came with id {first[number]} and with id {id_}")
    order = list(first)
    problems += [f"{late} first came after {early}" for early, late in itertools.pairwise(order) if early > late]
    problems += [f"number {number} is missing" for number in sorted(set(published) - set(first))]
    problems += [
        f"number {number} came with id {id_}, and is {published.get(number)}"
        for number, id_ in first.items()
        if published.get(number) != id_
    ]
    if sorted(published) != list(range(1, len(published) + 1)):
        problems.append("the numbers have gaps")
    return Judgement(len(published), len(heard), len(heard) - len(first), problems)


def broker(kills: int, seed: int) -> dict[str, Any]:
    """Kill the broker so often; the summary."""
    try:
        return _broker(kills, seed)
    except ServerError as error:
        raise FaultError(str(error)) from error


def _broker(kills: int, seed: int) -> dict[str, Any]:
    rng = random.Random(f"broker {seed}")
    with (
        Run(seed) as run,
        Mosquitto(run.folder / "mosquitto") as mosquitto,
        run.project.connect() as connection,
    ):
        listener = Listener(mosquitto, run.folder / "heard", f"axiom/{PROJECT}/events/#")
        listener.start()
        daemon = run.daemon(
            AXIOMD_MQTT__ENABLED="true",
            AXIOMD_MQTT__PORT=str(mosquitto.port),
            AXIOMD_MQTT__PROJECT=PROJECT,
            AXIOMD_MQTT__RECONNECT_MAX_S="1",
            AXIOMD_MQTT__SETTLE_S="3",
        )
        daemon.start()
        for _ in range(kills):
            run.check()
            run.wait_for_change(START_S)
            time.sleep(rng.uniform(0.0, UP_S))
            mosquitto.kill()
            time.sleep(rng.uniform(0.0, DOWN_S))
            mosquitto.start()
        daemon.stop()
        answer = run.finish({"kills": kills})
        # What was written last, right before the end of the last daemon, is published by the next one.
        daemon.start()
        try:
            wait_until(lambda: _all_heard(connection, listener), HEARD_S, "the whole journal at the listener")
        except FaultError as error:
            answer["audit"]["problems"].append(str(error))
        daemon.stop()
        listener.stop()
        found = judge(numbers(connection), listener.heard())
        answer["audit"]["problems"] += found.problems[:20]
        answer["problems"] = len(answer["audit"]["problems"])
        answer["audit"]["ok"] = run.good = not answer["problems"]
        answer["complaints"] |= dict(daemon.complaints())
        return {"published": found.published, "heard": found.heard, "duplicates": found.duplicates} | answer


def _all_heard(connection: Connection, listener: Listener) -> bool:
    time.sleep(0.1)
    journal = {int(row["id"]) for row in rows.select(connection, "SELECT id FROM axiomd_journal")}
    numbered = rows.select(connection, "SELECT journal_id FROM axiomd_outbox")
    if journal != {int(row["journal_id"]) for row in numbered}:
        return False
    return {number for number, _ in listener.heard()} >= set(numbers(connection))


def main(words: list[str] | None = None) -> int:
    """The command; gives its exit status."""
    return command("the MQTT broker killed with SIGKILL", {"kills": 10}, broker, words)


if __name__ == "__main__":
    sys.exit(main())
