"""Random sequences of BOINC's and axiomd's steps on a real MariaDB, held against the model in model.py after each.

axiomd's steps meet faults between any two of their statements: the process is killed, the connection cut, the lease
taken by another, or one of BOINC's programs changes a row. The database's clock is set by hand, and stands still within
a step. `AXIOMD_MODEL_EXAMPLES=500` makes it long.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import hypothesis
import pymysql
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from axiomd import daemon
from axiomd.boinc import audit
from axiomd.demo import transitioner, validator
from axiomd.demo.mariadb import PrivateMariaDB
from axiomd.errors import AxiomdError, DatabaseUnavailable, Fenced
from axiomd.events import Event
from axiomd.handlers import undo
from axiomd.handlers.backfill import Backfill, Wish
from axiomd.handlers.baseline import write_baseline
from axiomd.handlers.handler import Handler
from axiomd.handlers.undo import Undo
from axiomd.settings import Settings
from axiomd.sql import Row
from axiomd.store import guard, seal
from axiomd.store.guard import Kind
from axiomd.store.lease import Lease
from axiomd.store.undo import Selection
from tests.faults import model
from tests.faults.fragile import FragileDatabase, Killed
from tests.faults.model import KINDS, Average, Books, Entry, Fact, Rules
from tests.world import World

EXAMPLES = int(os.environ.get("AXIOMD_MODEL_EXAMPLES", "12"))
LENGTH = 30

START = 1_750_000_000
DAY_S = 86_400
ENOUGH = 1e6  # credit that no example comes to
RULES = Rules(
    tiers=((0, 2.5), (100, 7.25), (1000, 20.0)),
    failures={197: 3.0},
    failure_min_s=600.0,
    caps={"credit": 40.0, "abort": 4.0, "repair": 6.0},
    cap_window_s=6 * 3600.0,
    host_day_cap=25.0,
    keep_s=float(DAY_S),
)
HOSTS, USERS, TEAMS = 3, 3, 2
MOST_STATEMENTS = 30  # a few more than a transaction of credit has

# How a result comes back: outcome, exit_status, elapsed_time, validate_state.
REPORTS = {
    "long": (1, 0, 5000.0, 0),
    "short": (1, 0, 200.0, 0),
    "nothing": (1, 0, 0.0, 0),
    "time limit": (3, 197, 3000.0, 2),
    "crash": (3, 1, 10.0, 2),
    "aborted": (3, 202, 10.0, 2),
}
REACTIONS = {
    "pay": ("completed_results", ("credit", "assimilate")),
    "abort": ("stuck_tasks", ("abort",)),
    "reports": ("lost_reports", ("reports",)),
    "repair": ("stuck_workunits", ("repair",)),
    "prune": ("old_entries", ("prune",)),
}
OWN_TABLES = (
    "state",
    "journal",
    "change",
    "ledger",
    "account",
    "result",
    "history",
    "ended",
    "host",
    "posting",
    "sealed",
)
BOINC_TABLES = ("workunit", "result", "host", "user", "team", "assignment", "host_app_version")

FACTS = """
SELECT r.id, r.workunitid, r.server_state, r.outcome, r.validate_state, r.exit_status, r.sent_time, r.received_time,
  r.elapsed_time, w.error_mask & 16, w.assimilate_state, COALESCE(h.id, 0), COALESCE(u.id, 0), COALESCE(t.id, 0)
FROM result r JOIN workunit w ON w.id = r.workunitid LEFT JOIN host h ON h.id = r.hostid
LEFT JOIN user u ON u.id = h.userid LEFT JOIN team t ON t.id = u.teamid ORDER BY r.id
"""


Fault = tuple[str, int, int, int]
"""What happens, after how many of axiomd's statements, and which row and which new owner BOINC's change is about."""

MEDDLING = ("host", "user", "quit", "team", "delete host", "delete user", "delete team", "cancel", "long", "time limit")
ROW, OWNER = st.integers(0, 9), st.integers(0, 2)
HOW = st.sampled_from(sorted(REPORTS))
PICKS = st.lists(ROW, min_size=1, max_size=4)
SENT_TO, COPIES = st.lists(OWNER, min_size=1, max_size=4), st.integers(1, 2)
FAULTS = st.none() | st.tuples(
    st.sampled_from([*["kill"] * 5, *["cut"] * 3, *["usurp"] * 3, *MEDDLING]),
    st.integers(1, MOST_STATEMENTS),
    ROW,
    OWNER,
)

# The steps by the names of Machine's methods: how often, and with what.
STEPS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "work_is_done": (6, {"hosts": SENT_TO, "how": HOW, "copies": COPIES}),
    "work_is_sent": (2, {"hosts": SENT_TO, "copies": COPIES}),
    "results_are_reported": (3, {"picks": PICKS, "how": HOW, "lost": st.booleans()}),
    "boinc_daemons": (3, {"invalid": st.none() | ROW}),
    "time_passes": (2, {"seconds": st.sampled_from([40, 700, 7 * 3600, 13 * 3600, 3 * DAY_S])}),
    "owner_changes": (2, {"what": st.sampled_from(["host", "user", "quit", "team"]), "pick": OWNER, "to": OWNER}),
    "owner_is_deleted": (1, {"table": st.sampled_from(["host", "user", "team"]), "pick": OWNER}),
    "workunit_is_cancelled": (1, {"pick": ROW}),
    "workunit_is_purged": (1, {"pick": ROW}),
    "axiomd_reacts": (3, {"name": st.sampled_from(sorted(REACTIONS)), "fault": FAULTS}),
    "axiomd_pays": (8, {"fault": FAULTS}),
    "axiomd_reacts_to_all": (1, {}),
    "entry_is_undone": (5, {"pick": ROW, "host": st.none() | OWNER, "fault": FAULTS}),
    "past_is_paid": (2, {"undone": st.booleans(), "cap": st.sampled_from([10.0, ENOUGH]), "fault": FAULTS}),
    "kind_is_paused_or_resumed": (2, {"kind": st.sampled_from(["credit", "abort", "repair"]), "stop": st.booleans()}),
    "audit_is_well": (1, {}),
}


def _step() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    names = [name for name, (often, _) in STEPS.items() for _ in range(often)]
    return st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), st.fixed_dictionaries(STEPS[name][1])))


class Bench:
    """What all examples share: the project's database, the event loop, the settings."""

    def __init__(self, server: PrivateMariaDB, folder: Path) -> None:
        self.world = World(server, "model", folder)
        self.runner = asyncio.Runner()
        self.now = START
        self.settings = self._settings(RULES.caps["credit"], RULES.host_day_cap)
        self.generous = self._settings(1e9, 1e9)
        database, self.project = self.run(self.world.migrate(self.settings))
        self.login = database.login
        self.run(database.close())
        # As BOINC's programs: they wait for axiomd's locks for long. In the middle of a step nobody can wait.
        self.hasty = server.connect("model")
        with self.hasty.cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = 0")

    def _settings(self, cap: float, host_day_cap: float) -> Settings:
        credit = {
            "policy": "tiers",
            "tiers": RULES.tiers,
            "failures": RULES.failures,
            "failure_min_s": RULES.failure_min_s,
            "cap": cap,
            "cap_window_s": RULES.cap_window_s,
            "host_day_cap": host_day_cap,
            "batch": 3,
        }
        return self.world.settings(
            credit=credit,
            intake={"late_interval_s": 1e-6},
            abort={"cap": RULES.caps["abort"], "batch": 2},
            repair={"cap": RULES.caps["repair"], "batch": 2},
            journal={"keep_s": RULES.keep_s},
            audit={"interval_s": 0},
        )

    def run(self, work: Any) -> Any:
        """Run a coroutine."""
        return self.runner.run(work)

    def open(self) -> FragileDatabase:
        """Open the database."""
        return FragileDatabase(self.login, lambda: self.now)

    def close(self, database: FragileDatabase) -> None:
        """Close it, and wait until the server has undone what was under way."""
        self.run(database.close())
        until = time.monotonic() + 10.0
        still_there = f"SELECT COUNT(*) FROM information_schema.processlist WHERE id IN ({database.connections})"
        while self.world.value(still_there):
            assert time.monotonic() < until, "the server keeps a connection that was closed"
            time.sleep(0.001)

    def end(self) -> None:
        """Drop everything."""
        self.hasty.close()
        self.run(self.world.close())
        self.runner.close()


class Machine(RuleBasedStateMachine):
    """One example: a fresh project, and steps in any order."""

    bench: Bench

    def __init__(self) -> None:
        super().__init__()
        self.world = self.bench.world
        self.hosts: list[int] = []
        self.users: list[int] = []
        self.teams: list[int] = []
        self.fenced = False
        self.before: dict[int, Fact] = {}
        self.meddled = False
        self.wrong: AssertionError | None = None

    # What BOINC does, each statement by itself.

    @initialize(openings=st.lists(st.sampled_from([0.0, 100.1, 7.25]), min_size=HOSTS, max_size=HOSTS))
    def project(self, openings: list[float]) -> None:
        """A fresh project, with history, and work under way at the baseline."""
        world = self.world
        for table in (*BOINC_TABLES, *(f"axiomd_{name}" for name in OWN_TABLES)):
            world.execute(f"DELETE FROM {table}")
        self.bench.now = START
        self._tick(0)
        self.teams = [world.team() for _ in range(TEAMS)]
        self.users = [world.user(teamid=self.teams[0] if number == 1 else 0) for number in range(USERS)]
        self.hosts = [
            world.host(
                self.users[number % USERS], total_credit=opening, expavg_credit=opening, expavg_time=bool(opening)
            )
            for number, opening in enumerate(openings)
        ]
        past = {"sent_time": START - 90_000, "report_deadline": START + 9_000}
        world.valid_result(self.hosts[0], workunit=None, **past)  # history
        workunit = world.workunit()
        world.result(
            workunit, self.hosts[0], server_state=5, outcome=3, exit_status=197, received_time=START - 9, **past
        )
        world.result(workunit, self.hosts[1], **past)
        world.result(world.workunit(), self.hosts[2], server_state=5, outcome=4, **past)
        database = self.bench.open()
        self.bench.run(write_baseline(database, self.bench.project))
        self.bench.close(database)
        self.books = Books(
            RULES,
            baseline=START,
            totals={(model.HOST, id_): opening for id_, opening in zip(self.hosts, openings, strict=True)},
        )
        for id_, opening in zip(self.hosts, openings, strict=True):
            if opening:
                self.books.averages[model.HOST, id_] = Average(1.0, {0: opening}, {0: 0.0})
        self._start(self.bench.settings)
        self.work_is_done([0, 1, 2], "short", copies=2)

    # One rule for all: hypothesis leaves half of the rules out in each example, and then little is ever paid.
    @rule(step=_step())
    def step(self, step: tuple[str, dict[str, Any]]) -> None:
        """Do a step."""
        name, arguments = step
        getattr(self, name)(**arguments)

    def work_is_done(self, hosts: list[int], how: str, copies: int = 1) -> None:
        """Workunits are made, sent, reported and validated; of two copies the second may come in later."""
        for id_ in self.work_is_sent(hosts, copies):
            self._report(self.world.connection, id_, how)
        self.boinc_daemons(None)

    def work_is_sent(self, hosts: list[int], copies: int) -> list[int]:
        """Workunits are made and sent, to one host or two; the ids of the first results."""
        self._others_join()
        first = []
        for number in hosts:
            workunit = self.world.workunit(target_nresults=copies, max_total_results=3, max_error_results=1)
            to = [self.hosts[(number + copy) % HOSTS] for copy in range(copies)]
            when = {"sent_time": self.now - 3000, "report_deadline": self.now + DAY_S}
            results = [self.world.result(workunit, host, **when) for host in to]
            first.append(results[0])
        return first

    def _others_join(self) -> None:
        """Whoever was deleted is followed by another, or there would soon be nobody."""
        world = self.world
        self.teams = [id_ if self._there("team", id_) else world.team() for id_ in self.teams]
        self.users = [id_ if self._there("user", id_) else world.user() for id_ in self.users]
        self.hosts = [id_ if self._there("host", id_) else world.host(self.users[0]) for id_ in self.hosts]

    def _there(self, table: str, id_: int) -> bool:
        return bool(self._select(f"SELECT id FROM {table} WHERE id = {id_}"))

    def results_are_reported(self, picks: list[int], how: str, lost: bool) -> None:
        """Hosts report, in time or late; the transitioner may overwrite it."""
        for pick in picks:
            if not (out := self._out()):
                return
            id_ = out[pick % len(out)]
            self._report(self.world.connection, id_, how)
            if lost:
                self.world.execute("UPDATE result SET outcome = 4, validate_state = 0 WHERE id = %s", id_)

    def _out(self) -> list[int]:
        """What hosts may still report, the latest first."""
        found = self._select(
            "SELECT r.id FROM result r JOIN host h ON h.id = r.hostid WHERE r.server_state = 4 "
            "OR r.server_state = 5 AND r.outcome = 4 AND r.received_time = 0 ORDER BY r.id DESC"
        )
        return [row[0] for row in found]

    def _report(self, connection: Any, id_: int, how: str) -> None:
        """Report a result, as the scheduler does."""
        outcome, exit_status, elapsed, validate_state = REPORTS[how]
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE result SET server_state = 5, outcome = %s, exit_status = %s, elapsed_time = %s, "
                "validate_state = %s, client_state = IF(%s = 1, 5, 3), received_time = %s WHERE id = %s",
                (outcome, exit_status, elapsed, validate_state, outcome, self.now, id_),
            )
            cursor.execute(
                "UPDATE workunit w JOIN result r ON r.workunitid = w.id SET w.transition_time = %s WHERE r.id = %s",
                (self.now, id_),
            )
            cursor.execute(
                "UPDATE host h JOIN result r ON r.hostid = h.id SET h.rpc_time = %s WHERE r.id = %s", (self.now, id_)
            )

    def boinc_daemons(self, invalid: int | None) -> None:
        """Transitioner, validator, transitioner; the validator may find a success invalid."""
        self._transition()
        if invalid is not None:
            waiting = self.world.rows(
                "SELECT r.id, r.workunitid FROM result r JOIN workunit w ON w.id = r.workunitid "
                "WHERE w.need_validate > 0 AND r.server_state = 5 AND r.outcome = 1 AND r.validate_state = 0 "
                "ORDER BY r.id"
            )
            if waiting:
                row = waiting[invalid % len(waiting)]
                self.world.execute("UPDATE result SET validate_state = 2 WHERE id = %s", row["id"])
                self.world.execute(
                    "UPDATE workunit SET transition_time = %s WHERE id = %s", self.now, row["workunitid"]
                )
        validator.one_pass(self.world.connection, self.now)
        self._transition()

    def _transition(self) -> None:
        transitioner.one_pass(self.world.connection, self.now + 1)

    def time_passes(self, seconds: int) -> None:
        """Deadlines pass, windows move on, hosts fall silent."""
        self._tick(seconds)

    def owner_changes(self, what: str, pick: int, to: int) -> None:
        """A host changes hands; a user joins or quits a team; a host, user or team is deleted."""
        self._meddle(self.world.connection, what, pick, to)

    def owner_is_deleted(self, table: str, pick: int) -> None:
        """A host, user or team is deleted."""
        self._meddle(self.world.connection, f"delete {table}", pick, 0)

    def workunit_is_cancelled(self, pick: int) -> None:
        """As cancel_jobs does it."""
        self._meddle(self.world.connection, "cancel", pick, 0)

    def workunit_is_purged(self, pick: int) -> None:
        """db_purge deletes what is assimilated and over, paid or not."""
        done = self.world.rows(
            "SELECT w.id FROM workunit w WHERE w.assimilate_state = 2 AND w.file_delete_state > 0 AND NOT EXISTS "
            "(SELECT 1 FROM result r WHERE r.workunitid = w.id AND r.server_state <> 5) ORDER BY w.id"
        )
        if done:
            workunit = done[pick % len(done)]["id"]
            self.world.execute("DELETE FROM result WHERE workunitid = %s", workunit)
            self.world.execute("DELETE FROM workunit WHERE id = %s", workunit)

    def _meddle(self, connection: Any, what: str, pick: int, to: int) -> None:
        """Change one row by a single statement. In the middle of a step, what axiomd has locked stays as it is."""
        host, user = self.hosts[pick % HOSTS], self.users[pick % USERS]
        team = self.teams[to % TEAMS]
        statements = {
            "host": ("UPDATE host SET userid = %s WHERE id = %s", self.users[to % USERS], host),
            "user": ("UPDATE user SET teamid = %s WHERE id = %s", team, user),
            "quit": ("UPDATE user SET teamid = 0 WHERE id = %s", user),
            "team": ("UPDATE user SET teamid = %s WHERE teamid = 0", team),
            "delete host": ("DELETE FROM host WHERE id = %s", host),
            "delete user": ("DELETE FROM user WHERE id = %s", user),
            "delete team": ("DELETE FROM team WHERE id = %s", self.teams[pick % TEAMS]),
        }
        try:
            if what in REPORTS:
                for id_ in self._out()[pick : pick + 1]:
                    self._report(connection, id_, what)
            elif what == "cancel":
                self._cancel(connection, pick)
            else:
                statement, *values = statements[what]
                with connection.cursor() as cursor:
                    cursor.execute(statement, values)
        except pymysql.err.OperationalError as error:
            # It would wait for axiomd, and come after it: as the step after this one.
            if connection is self.world.connection or error.args[0] != 1205:
                raise

    def _cancel(self, connection: Any, pick: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, error_mask & 16 FROM workunit WHERE assimilate_state < 2 ORDER BY id DESC")
            if not (found := cursor.fetchall()):
                return
            workunit, already = found[pick % len(found)]
            cursor.execute(
                "UPDATE workunit SET error_mask = error_mask | 16, transition_time = %s WHERE id = %s",
                (self.now, workunit),
            )
            if not already:
                self.books.others_cancelled.add(workunit)
            cursor.execute(
                "UPDATE result SET server_state = 5, outcome = 5 WHERE workunitid = %s AND server_state <= 2",
                (workunit,),
            )

    # What axiomd does, and what may happen to it meanwhile.

    def axiomd_pays(self, fault: Fault | None) -> None:
        """One look for finished results, and what comes of it. A fault needs something to strike at."""
        if fault:
            self.work_is_done([fault[2] % HOSTS], "short")
        self._nothing_overdue(judged=self._act(self.daemon, self._react("pay"), fault))

    def axiomd_reacts(self, name: str, fault: Fault | None) -> None:
        """One look of another watcher, and what its handlers make of it."""
        self._act(self.daemon, self._react(name), fault)

    def axiomd_reacts_to_all(self) -> None:
        """As the daemon does it, on its bus; until a look changes nothing, for one reaction may cause another."""
        entries = -1
        while entries < len(self.books.entries):
            entries = len(self.books.entries)
            self._act(self.daemon, self.axiomd.once(), None)
        self._nothing_overdue(judged=True)

    def entry_is_undone(self, pick: int, host: int | None, fault: Fault | None) -> None:
        """A person undoes a journal entry, or what of it concerns a host; maybe not for the first time."""
        # The latest of credit first, undone or not, then the other kinds.
        entries = sorted(self.books.entries.values(), key=lambda e: (e.kind not in ("credit", "backfill"), -e.id))
        if not entries:
            return
        entry = entries[pick % len(entries)]
        host_id = 0 if host is None else self.hosts[host]
        if entry.kind == "undo" or entry.id in self.books.pruned:
            with pytest.raises(AxiomdError, match=str(entry.id)):
                self._act(self.person, self._undo(entry.id, host_id), None)
        elif self._act(self.person, self._undo(entry.id, host_id), fault):
            left = [row for row in self.books.of_entry(entry.id) if row.host == host_id or not host_id]
            assert not left, f"{entry} was undone, and these are still in force: {left}"

    def past_is_paid(self, undone: bool, cap: float, fault: Fault | None) -> None:
        """A person pays again what was taken back, or what finished before the baseline."""
        before = self._backfilled()
        whole = self._act(self.person, self._backfill(Wish(undone=undone, cap=cap)), fault)
        assert self._backfilled() - before <= cap
        if whole and undone and cap == ENOUGH:
            unpaid = self.books.unpaid(self._facts().values())
            assert not unpaid, f"these were taken back, and not paid again: {unpaid}"

    def _backfilled(self) -> float:
        return sum(entry.credit for entry in self.books.entries.values() if entry.kind == "backfill")

    def kind_is_paused_or_resumed(self, kind: str, stop: bool) -> None:
        """A person stops a kind of change, or lets it go on."""

        async def work() -> None:
            async with self.person.session() as session:
                await (guard.pause(session, Kind(kind)) if stop else guard.resume(session, Kind(kind), self.now))

        self.bench.run(work())
        if stop:
            self.books.pause(kind)
        else:
            self.books.resume(kind, self.now)

    async def _react(self, name: str) -> None:
        """One after the other, so that the same statement is the same one each time."""
        watcher_name, handler_names = REACTIONS[name]
        watcher = next(watcher for watcher in self.axiomd.watchers if watcher.name == watcher_name)
        pages = cast(AsyncGenerator[Sequence[Event], None], watcher.poll(await self.daemon.now()))
        async with aclosing(pages):
            async for events in pages:
                for handler in self.axiomd.handlers:
                    same = [e for e in events if isinstance(e, handler.events)] if handler.name in handler_names else []
                    for start in range(0, len(same), handler.most):
                        await self._handle(handler, same[start : start + handler.most])

    async def _handle(self, handler: Handler, events: list[Event]) -> None:
        """As the bus does it: what fails is tried again."""
        try:
            await handler.handle(events)
        except DatabaseUnavailable:
            await handler.handle(events)

    async def _undo(self, entry: int, host: int) -> None:
        work = Undo(self.person, self.bench.project, "the test")
        await work.act(await work.plan(Selection(entries=(entry,), host_id=host)))

    async def _backfill(self, wish: Wish) -> None:
        work = Backfill(self.person, self.bench.project, self.bench.settings, "the test")
        await work.act(wish, await work.plan(wish))

    def _act(self, database: FragileDatabase, work: Any, fault: Fault | None) -> bool:
        """Run a step of axiomd's with a fault or none; whether nothing befell it."""
        self.before, self.meddled, self.wrong = self._facts(), False, None
        self.books.looked_at(self.before.values())
        if fault:
            self._arm(database, *fault)
        whole = not fault
        try:
            self.bench.run(work)
        except (Killed, DatabaseUnavailable):
            assert fault
        except Fenced:
            assert self.fenced
        finally:
            database.fuse.disarm()
        if self.wrong:
            raise self.wrong
        if self.meddled:
            self.books.looked_at(self._facts().values())
        if database.fuse.dead or self.fenced:
            self._restart()
        return whole

    def _arm(self, database: FragileDatabase, what: str, statements: int, pick: int, to: int) -> None:
        def meddle(_: Any) -> None:
            self.meddled = True
            self._meddle(self.bench.hasty, what, pick, to)

        strikes = {"kill": database.fuse.kill, "cut": database.fuse.cut, "usurp": self._usurp}
        database.fuse.arm(statements, strikes.get(what, meddle))

    def _usurp(self, connection: Any) -> None:
        """Another daemon takes the lease. It has to wait where this one is about to commit."""
        try:
            with self.bench.hasty.cursor() as cursor:
                cursor.execute("UPDATE axiomd_lease SET fence = fence + 1")
        except pymysql.err.OperationalError as error:
            if error.args[0] != 1205:
                raise
        else:
            self.fenced = True

    def _start(self, settings: Settings) -> None:
        """A daemon that holds the lease, and a person beside it."""
        self.daemon, self.person = self.bench.open(), self.bench.open()
        lease = Lease(self.daemon, 10.0)
        while self.bench.run(lease.take()):
            time.sleep(0.001)
        self.fenced = False
        self.daemon.fuse.committed = self._daemon_committed
        self.person.fuse.committed = self._committed
        self.axiomd = daemon.build(settings, self.daemon, self.bench.project)

    def _restart(self, settings: Settings | None = None) -> None:
        self._stop()
        self._start(settings or self.bench.settings)

    def _stop(self) -> None:
        self.bench.close(self.daemon)
        self.bench.close(self.person)

    # What must be true.

    def _daemon_committed(self) -> None:
        if self.fenced and not self.wrong:
            self.wrong = AssertionError("a daemon committed after another had taken the lease")
        self._committed()

    def _committed(self) -> None:
        """Judge what was committed at this very moment. The bus swallows errors: this one is kept."""
        try:
            self._read_journal()
        except AssertionError as error:
            self.wrong = self.wrong or error
            raise

    def _read_journal(self) -> None:
        found = self._select("SELECT id, at, kind, changes, credit FROM axiomd_journal ORDER BY id")
        entries = {row[0]: Entry(*row) for row in found}
        for id_ in self.books.entries.keys() - entries.keys() - self.books.pruned:
            age_s = self.now - self.books.entries[id_].at
            assert age_s > RULES.keep_s, f"{self.books.entries[id_]} was pruned after {age_s} s"
            self.books.pruned.add(id_)
        new = sorted(entries.keys() - self.books.entries.keys())
        if new:
            facts = self._facts()
            self.books.looked_at(facts.values())
            ledger = self._ledger()
            for id_ in new:
                rows = [row for row in ledger.values() if row.journal_id == id_]
                self.books.book(entries[id_], rows, [facts, self.before] if self.meddled else [facts])

    def _nothing_overdue(self, *, judged: bool) -> None:
        facts = self._facts()
        overdue = self.books.overdue(facts.values(), self.now)
        assert not (judged and overdue), f"these are owed, and no cap stands in the way: {overdue}"
        # With DONE BOINC may take a result away: not before it is paid, unless it came in late.
        due = {fact.result_id for fact in self.books.due(facts.values()) if fact.assimilate_state == model.DONE}
        early = [self.before[id_] for id_ in sorted(due & self.before.keys()) if self.before[id_].final]
        early = [fact for fact in early if fact.assimilate_state == model.READY]
        assert not early, f"these are owed, and their workunits are assimilated: {early}"

    @invariant()
    def the_books_agree(self) -> None:
        """BOINC's rows and axiomd's own say what the model says."""
        books = self.books
        for result_id, granted in self._select("SELECT id, granted_credit FROM result"):
            assert granted == books.in_force(result_id), f"result {result_id}: {granted}, {books.last(result_id)}"
        for kind, table in KINDS.items():
            for id_, total, average, at in self._select(
                f"SELECT id, total_credit, expavg_credit, expavg_time FROM {table}"
            ):
                assert total == books.totals.get((kind, id_), 0.0), f"{table} {id_}: total_credit is {total}"
                expected = books.averages[kind, id_]
                assert at == expected.at, f"{table} {id_}: expavg_time is {at}, not {expected.at}"
                assert average == pytest.approx(expected.value, rel=1e-9, abs=1e-9), f"{table} {id_}: RAC is {average}"
                assert average >= 0
        kept = {key: row for key, row in books.ledger.items() if row.journal_id not in books.pruned}
        assert self._ledger() == kept
        assert {row[0] for row in self._select("SELECT id FROM axiomd_journal")} == books.entries.keys() - books.pruned
        granted = {key: credit for key, credit in books.granted.items() if credit}
        accounts = self._select("SELECT kind, id, granted FROM axiomd_account WHERE granted <> 0")
        postings = self._select(
            "SELECT kind, id, SUM(credit) FROM (SELECT kind, id, credit FROM axiomd_posting UNION ALL "
            "SELECT FIELD(name, 'host', 'user', 'team'), id, credit FROM axiomd_sealed WHERE id <> 0) p "
            "GROUP BY kind, id HAVING SUM(credit) <> 0"
        )
        assert {(kind, id_): credit for kind, id_, credit in accounts} == granted
        assert {(kind, id_): credit for kind, id_, credit in postings} == granted
        self._tick(1)

    def audit_is_well(self) -> None:
        """Axiomd's own audit agrees."""

        async def work() -> audit.Audit:
            async with self.person.snapshot() as session:
                return await audit.audit(session, strict=True)

        found = self.bench.run(work())
        assert found.ok, found.problems

    def teardown(self) -> None:
        """In the end, with the caps lifted, everything that is owed is paid."""
        try:
            if hasattr(self, "daemon"):
                self._drain()
        finally:
            if hasattr(self, "daemon"):
                self._stop()

    def _drain(self) -> None:
        self.books.rules = replace(RULES, caps={}, host_day_cap=1e9)
        self._restart(self.bench.generous)
        for kind in ("credit", "abort", "repair"):
            self.kind_is_paused_or_resumed(kind, stop=False)
        for number in itertools.count():
            before = len(self.books.entries)
            self._tick(3 * DAY_S)
            self.boinc_daemons(None)
            for name in ("reports", "pay"):
                self._act(self.daemon, self._react(name), None)
            self.the_books_agree()
            if number and len(self.books.entries) == before:
                break
        due = self.books.due(self._facts().values())
        assert not due, f"owed and never paid: {due}"
        self.audit_is_well()

    # Reading.

    @property
    def now(self) -> int:
        """The time by the database's clock."""
        return self.bench.now

    def _tick(self, seconds: int) -> None:
        self.bench.now += seconds
        self.world.now = self.bench.now
        for connection in (self.world.connection, self.bench.hasty):
            with connection.cursor() as cursor:
                cursor.execute(f"SET timestamp = {self.bench.now}")

    def _select(self, query: str) -> list[Row]:
        with self.world.connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def _facts(self) -> dict[int, Fact]:
        return {row[0]: Fact(*row) for row in self._select(FACTS)}

    def _ledger(self) -> dict[tuple[int, int], model.Row]:
        found = self._select(
            "SELECT result_id, generation, journal_id, host_id, user_id, team_id, credit FROM axiomd_ledger"
        )
        return {row[:2]: model.Row(*row) for row in found}


@pytest.mark.timeout(120 + 5 * EXAMPLES)
def test_axiomd_keeps_to_the_model(mariadb: PrivateMariaDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Several transactions for a few rows, so that a fault can strike between two.
    monkeypatch.setattr(undo, "MOST", 2)
    monkeypatch.setattr(seal, "MOST_ENTRIES", 2)
    bench = Bench(mariadb, tmp_path)
    # The server itself doesn't crash here: it need not wait for the disk.
    bench.world.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 0")
    try:
        run_state_machine_as_test(
            type("BoundMachine", (Machine,), {"bench": bench}),
            settings=hypothesis.settings(max_examples=EXAMPLES, stateful_step_count=LENGTH),
        )
    finally:
        bench.world.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
        bench.end()
