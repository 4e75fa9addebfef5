"""Two daemons on one project: one holds the lease, the other stands by.

    python -m tests.faults.pair --rounds 60 --seed 7

The holder is killed, stopped, paused (SIGSTOP), cut off from the database, or its network stands still; the other must
take over within the lease time. When the former holder comes back it changes nothing more: it stands by.
"""

from __future__ import annotations

import enum
import http.client
import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from pymysql.connections import Connection

from axiomd.demo import rows
from axiomd.demo.operations import free_port
from tests.faults.project import LEASE_S, USER, Daemon, FaultError, Project, wait_until
from tests.faults.proxy import Proxy
from tests.faults.run import Run, command

START_S = 30.0
WORKS_S = 15.0
AFTER_S = 0.5  # so long the former holder is watched after it has come back

# Every row that a daemon writes, by who wrote it. Not the lease itself: who lost it may try to renew it.
WROTE = """
CREATE TRIGGER {table}_{event} AFTER {event} ON {table} FOR EACH ROW IF USER() LIKE '{user}%%' THEN
  INSERT INTO wrote VALUES (NULL, SUBSTRING_INDEX(USER(), '@', 1), '{table}', SYSDATE(6)); END IF
"""
WATCHED = ("host", "user", "team", "workunit", "result", "assignment")


class Fault(enum.StrEnum):
    """What happens to the holder."""

    KILLED = enum.auto()
    STOPPED = enum.auto()
    PAUSED = enum.auto()
    CUT_OFF = enum.auto()
    FROZEN = enum.auto()  # its packets get through no more, and nobody is told
    BOTH = enum.auto()  # both are killed, and started at once


class Member:
    """One of the two daemons, with its own way to the database."""

    def __init__(self, run: Run, proxy: Proxy, name: str) -> None:
        self.user = f"{USER}_{name}"
        self.proxy = proxy
        self._port = free_port()
        settings = run.project.settings(database_port=proxy.port, http_port=self._port, name=name, user=self.user)
        self.daemon = Daemon(settings, run.folder / f"axiomd_{name}.log")

    def says(self) -> str:
        """What /readyz answers; empty for no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=1.0)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    @property
    def stands_by(self) -> bool:
        """Whether it says so."""
        return "standing by" in self.says()

    def strike(self, fault: Fault) -> None:
        """Let the fault happen."""
        match fault:
            case Fault.KILLED | Fault.BOTH:
                self.daemon.kill()
            case Fault.STOPPED:
                self.daemon.stop()
            case Fault.PAUSED:
                self.daemon.pause()
            case Fault.CUT_OFF:
                self.proxy.take_down()
            case Fault.FROZEN:
                self.proxy.freeze()

    def heal(self, fault: Fault) -> None:
        """Let it come back."""
        match fault:
            case Fault.KILLED | Fault.BOTH | Fault.STOPPED:
                self.daemon.start()
            case Fault.PAUSED:
                self.daemon.resume()
            case Fault.CUT_OFF:
                self.proxy.bring_up()
            case Fault.FROZEN:
                self.proxy.thaw()


class Pair:
    """The two of them, and the database's own word on who holds the lease and who wrote what."""

    def __init__(self, connection: Connection, members: list[Member]) -> None:
        self.members = members
        self._connection = connection

    def fence(self) -> int:
        """The fencing number."""
        return int(rows.select(self._connection, "SELECT fence FROM axiomd_lease")[0]["fence"])

    def holder(self) -> Member | None:
        """Who holds the lease, if one of them does and works."""
        found = rows.select(self._connection, "SELECT holder FROM axiomd_lease WHERE token <> ''")
        for member in self.members:
            if found and found[0]["holder"].endswith(f":{member.daemon.pid}"):
                return member
        return None

    def settled(self) -> tuple[Member, Member]:
        """Holder and standby, once there are both, and the holder changes something."""
        wait_until(lambda: self.holder() is not None, START_S, "a holder")
        holder = self.holder()
        if holder is None:
            raise FaultError("the lease was given up")
        other = next(member for member in self.members if member is not holder)
        self.wait_for_standby(other)
        self.wait_for_change(holder)
        return holder, other

    def wait_for_takeover(self, fence: int) -> None:
        """Wait until somebody takes the lease anew."""
        wait_until(lambda: self.fence() != fence, WORKS_S, "a takeover")

    def wait_for_standby(self, member: Member) -> None:
        """Wait until a daemon says that it stands by."""
        wait_until(lambda: member.stands_by, START_S, f"{member.user} standing by")

    def wait_for_change(self, member: Member) -> None:
        """Wait until a daemon writes something."""
        before = self.last_written(member)
        wait_until(
            lambda: self.last_written(member) > before, WORKS_S, f"a change by {member.user}, which holds the lease"
        )

    def last_written(self, member: Member) -> int:
        """Serial number of the last row that it wrote."""
        found = rows.select(
            self._connection, "SELECT COALESCE(MAX(serial), 0) AS n FROM wrote WHERE user = %s", member.user
        )
        return int(found[0]["n"])

    def written(self, member: Member, after: int) -> dict[str, int]:
        """Rows that it has written since, by table."""
        found = rows.select(
            self._connection,
            "SELECT at_table, COUNT(*) AS n FROM wrote WHERE user = %s AND serial > %s GROUP BY at_table",
            member.user,
            after,
        )
        return {row["at_table"]: row["n"] for row in found}


def take_turns(rounds: int, seed: int) -> dict[str, Any]:
    """Let so many faults happen to the holder; the summary, with the seconds until the other had the lease."""
    rng = random.Random(f"pair {seed}")
    taken_s: dict[str, float] = {}
    works_s, wrong = 0.0, []
    with Run(seed, tcp=True) as run, ExitStack() as stack:
        _watch_writes(run.project)
        connection = stack.enter_context(run.project.connect())
        members = []
        for name in ("a", "b"):
            proxy = stack.enter_context(Proxy(run.project.server.port or 0))
            members.append(Member(run, proxy, name))
        pair = Pair(connection, members)
        for member in members:  # at once
            member.daemon.start()
        for fault in _faults(rng, rounds):
            run.check()
            holder, other = pair.settled()
            time.sleep(rng.uniform(0.0, 0.5))
            if fault is Fault.BOTH:
                for member in members:
                    member.strike(fault)
                for member in members:
                    member.heal(fault)
                continue
            fence = pair.fence()
            holder.strike(fault)
            began = time.monotonic()  # one that is told to stop first finishes what it has in hand
            pair.wait_for_takeover(fence)
            taken_s[fault] = max(taken_s.get(fault, 0.0), time.monotonic() - began)
            pair.wait_for_change(other)
            works_s = max(works_s, time.monotonic() - began)
            before = pair.last_written(holder)
            holder.heal(fault)
            pair.wait_for_standby(holder)
            time.sleep(AFTER_S)
            if late := pair.written(holder, before):
                wrong.append(f"{holder.user}, which was {fault}, wrote after it had lost the lease: {late}")
        pair.settled()
        for member in members:
            member.daemon.stop()
        summary: dict[str, Any] = {
            "rounds": rounds,
            "lease_s": LEASE_S,
            "taken_after_s": {fault: round(seconds, 2) for fault, seconds in taken_s.items()},
            "works_after_s": round(works_s, 2),
            "fence": pair.fence(),
        }
        wrong += [
            f"the holder {fault}: the other took the lease after {seconds:.2f} s"
            for fault, seconds in taken_s.items()
            if seconds >= LEASE_S
        ]
        return run.finish(summary, wrong)


def _faults(rng: random.Random, rounds: int) -> Iterator[Fault]:
    """Each in turn, in an order by chance."""
    bag: list[Fault] = []
    for _ in range(rounds):
        bag = bag or rng.sample(list(Fault), len(Fault))
        yield bag.pop()


def _watch_writes(project: Project) -> None:
    with project.connect() as connection:
        rows.execute(
            connection,
            "CREATE TABLE wrote (serial BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, user VARCHAR(32) NOT NULL,"
            " at_table VARCHAR(64) NOT NULL, at DATETIME(6) NOT NULL, KEY (user)) ENGINE=InnoDB",
        )
        own = rows.select(connection, "SHOW TABLES LIKE 'axiomd\\_%%'")
        tables = {next(iter(row.values())) for row in own} - {"axiomd_lease"}
        for table in (*WATCHED, *sorted(tables)):
            for event in ("INSERT", "UPDATE", "DELETE"):
                rows.execute(connection, WROTE.format(table=table, event=event, user=USER))


def main(words: list[str] | None = None) -> int:
    """The command; gives its exit status."""
    return command("two daemons", {"rounds": len(Fault)}, take_turns, words)


if __name__ == "__main__":
    sys.exit(main())
