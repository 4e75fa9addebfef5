"""What must be true of credit, small enough to be checked by reading: test_model.py holds axiomd against it.

Pure: BOINC's rows come in as facts, axiomd's journal entries as grants and reversals. Each is judged, then booked.
It knows nothing of axiomd's policies; it says once more, in its own words, what they have to come to.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

DAY_S = 86_400.0
HALF_LIFE_S = 7 * DAY_S
CAP_RETRY_S = 30.0

HOST, USER, TEAM = 1, 2, 3
KINDS = {HOST: "host", USER: "user", TEAM: "team"}

OVER = 5
SUCCESS, CLIENT_ERROR, NO_REPLY = 1, 3, 4
INIT, VALID, NO_CHECK, INCONCLUSIVE = 0, 1, 3, 4
ABORTED_BY_PROJECT = 202
READY, DONE = 1, 2

Key = tuple[int, int]
"""Kind and id of a host, user or team."""


@dataclass(frozen=True)
class Rules:
    """What the settings say."""

    tiers: Sequence[tuple[float, float]]
    failures: Mapping[int, float]
    failure_min_s: float
    caps: Mapping[str, float]
    """By kind of journal entry: credit in credit, the others in changes."""
    cap_window_s: float
    host_day_cap: float
    keep_s: float


class Fact(NamedTuple):
    """A result as BOINC's rows say, with the present owner of its host; 0 for who is no more."""

    result_id: int
    workunit_id: int
    server_state: int
    outcome: int
    validate_state: int
    exit_status: int
    sent: float
    received: float
    elapsed: float
    cancelled: int
    assimilate_state: int
    host: int
    user: int
    team: int

    @property
    def final(self) -> bool:
        """Whether BOINC will never change its mind about it."""
        open_success = self.outcome == SUCCESS and self.validate_state in (INIT, NO_CHECK, INCONCLUSIVE)
        return self.server_state == OVER and self.outcome != NO_REPLY and not open_success

    @property
    def owner(self) -> tuple[int, int, int]:
        """Whom BOINC pays for it."""
        return self.host, self.user, self.team


class Row(NamedTuple):
    """A row of the ledger."""

    result_id: int
    generation: int
    journal_id: int
    host: int
    user: int
    team: int
    credit: float

    @property
    def owner(self) -> tuple[int, int, int]:
        """Who got it."""
        return self.host, self.user, self.team


class Entry(NamedTuple):
    """A row of the journal."""

    id: int
    at: float
    kind: str
    changes: int
    credit: float


@dataclass
class Average:
    """A host's, user's or team's RAC: the sum of what each journal entry added, each part decaying by itself."""

    at: float = 0.0
    parts: dict[int, float] = field(default_factory=dict)
    credit: dict[int, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """Credit a day, as of `at`."""
        return sum(self.parts.values())

    def add(self, entry: int, credit: float, now: float, began: float) -> None:
        """Add an entry's credit as BOINC's update_average does; only the first average knows when work began."""
        if not self.at:
            added = credit / (max(now - began, 1.0) / DAY_S)
        else:
            passed = max(now - self.at, 0.0)
            decay = passed * math.log(2) / HALF_LIFE_S
            self.parts = {of: part * math.exp(-decay) for of, part in self.parts.items()}
            daily = credit * DAY_S
            added = -math.expm1(-decay) * daily / passed if passed else daily * math.log(2) / HALF_LIFE_S
        self.parts[entry], self.credit[entry], self.at = added, credit, now

    def take(self, entry: int, credit: float) -> None:
        """Take a part of an entry's credit back, with its share of what is left of the entry's part."""
        self.parts[entry] *= 1 - credit / self.credit[entry]
        self.credit[entry] -= credit


@dataclass
class Books:
    """Everything that was paid and taken back, in the order of the journal."""

    rules: Rules
    baseline: float
    totals: dict[Key, float]
    """total_credit; whoever isn't named began with 0."""
    averages: defaultdict[Key, Average] = field(default_factory=lambda: defaultdict(Average))
    granted: defaultdict[Key, float] = field(default_factory=lambda: defaultdict(float))
    entries: dict[int, Entry] = field(default_factory=dict)
    ledger: dict[tuple[int, int], Row] = field(default_factory=dict)
    """By result and generation, what was pruned too."""
    pruned: set[int] = field(default_factory=set)
    today: defaultdict[Key, float] = field(default_factory=lambda: defaultdict(float))
    """Credit by host and day."""
    others_cancelled: set[int] = field(default_factory=set)
    """Workunits that were cancelled, and not by axiomd."""
    refused: set[int] = field(default_factory=set)
    """Results that axiomd may have looked at when they deserved nothing."""
    waits: dict[int, tuple[str, float]] = field(default_factory=dict)
    """Results that a cap stood in the way of: which one, and until when axiomd may leave them alone."""
    paused: set[str] = field(default_factory=set)
    resumed_at: dict[str, float] = field(default_factory=dict)

    # What is right.

    def worth(self, fact: Fact, *, by_hand: bool = False) -> float:
        """Credit that a result deserves; 0 for nothing, or nothing yet. Only a person pays the past."""
        rules = self.rules
        past = 0 < fact.received < self.baseline
        if not fact.final or (past and not by_hand) or not (fact.host and fact.user):
            return 0.0
        seen = max(fact.received - fact.sent, 0.0)
        if (fact.outcome, fact.validate_state) == (SUCCESS, VALID):
            if fact.cancelled and fact.workunit_id in self.others_cancelled:
                return 0.0
            counted = min(fact.elapsed, seen)
            return max(credit for start, credit in rules.tiers if start <= counted)
        if fact.outcome == CLIENT_ERROR and fact.exit_status != ABORTED_BY_PROJECT and not fact.cancelled:
            return rules.failures.get(fact.exit_status, 0.0) if seen >= rules.failure_min_s else 0.0
        return 0.0

    def last(self, result_id: int) -> Row | None:
        """The newest row of a result: a grant that is in force (even), or a reversal (odd)."""
        generation = 0
        while (result_id, generation) in self.ledger:
            generation += 1
        return self.ledger.get((result_id, generation - 1))

    def in_force(self, result_id: int) -> float:
        """What granted_credit of a result must be."""
        last = self.last(result_id)
        return last.credit if last and last.generation % 2 == 0 else 0.0

    def of_entry(self, entry: int) -> list[Row]:
        """The grants of a journal entry that are in force."""
        return [row for row in self.ledger.values() if row.journal_id == entry and self.last(row.result_id) is row]

    def used(self, kind: str, now: float) -> float:
        """What of a cap is used up."""
        since = max(now - self.rules.cap_window_s, self.resumed_at.get(kind, 0.0))
        recent = [entry for entry in self.entries.values() if entry.kind == kind and entry.at > since]
        return sum(entry.credit if kind == "credit" else entry.changes for entry in recent)

    def due(self, facts: Iterable[Fact]) -> list[Fact]:
        """Results that must be paid now or later: they have come to axiomd, and it never had a reason not to."""
        return [
            fact
            for fact in facts
            if fact.assimilate_state and fact.result_id not in self.refused and not self.last(fact.result_id)
            if self.worth(fact)
        ]

    def unpaid(self, facts: Iterable[Fact]) -> list[Fact]:
        """Results that were taken back and deserve to be paid again, should a person want it."""
        return [
            fact
            for fact in facts
            if (last := self.last(fact.result_id)) and last.generation % 2 and last.journal_id not in self.pruned
            if self.worth(fact, by_hand=True)
        ]

    # What happens.

    def looked_at(self, facts: Iterable[Fact]) -> None:
        """Book that axiomd may have looked at results: what deserves nothing then may be refused for good."""
        self.refused |= {fact.result_id for fact in facts if fact.final and not self.worth(fact)}

    def overdue(self, facts: Iterable[Fact], now: float) -> list[Fact]:
        """Results that had to be paid by now. For the others that are due a cap stands in the way, which is booked."""
        found = []
        for fact in self.due(facts):
            worth, today = self.worth(fact), self.today[fact.host, int(now // DAY_S)]
            if "credit" in self.paused or self.used("credit", now) + worth > self.rules.caps["credit"]:
                self.waits[fact.result_id] = ("cap", now + CAP_RETRY_S)
            elif today + worth > self.rules.host_day_cap:
                self.waits[fact.result_id] = ("host", (now // DAY_S + 1) * DAY_S)
            elif self.waits.get(fact.result_id, ("", 0.0))[1] <= now:
                found.append(fact)
        return found

    def pause(self, kind: str) -> None:
        """Book that a person stopped a kind of change."""
        self.paused.add(kind)

    def resume(self, kind: str, now: float) -> None:
        """Book that a person let it go on: its window begins anew, and what waited for the cap waits no longer."""
        self.paused.discard(kind)
        self.resumed_at[kind] = now
        if kind == "credit":
            self.waits = {id_: wait for id_, wait in self.waits.items() if wait[0] != "cap"}

    def book(self, entry: Entry, rows: Sequence[Row], moments: Sequence[Mapping[int, Fact]]) -> None:
        """Judge and book a journal entry that was just committed.

        `moments` are the facts at the commit and, where BOINC changed something meanwhile, those before: what a result
        deserves may be judged by either, who gets it by the first alone.
        """
        self.entries[entry.id] = entry
        if entry.kind in ("credit", "backfill", "undo"):
            assert entry.credit == sum(row.credit for row in rows), f"{entry}: its ledger rows are {rows}"
        else:
            assert not rows, f"{entry}: it has ledger rows"
        assert entry.kind not in self.paused, f"{entry}: this kind of change was paused"
        if entry.kind in self.rules.caps:
            used = self.used(entry.kind, entry.at)
            assert used <= self.rules.caps[entry.kind], f"{entry}: {used} in the window of its cap"
        if entry.kind in ("credit", "backfill"):
            assert entry.changes == len(rows) > 0, f"{entry}: it has {len(rows)} ledger rows"
            began: dict[Key, float] = {}
            for row in rows:
                self._grant(entry, row, moments)
                for key in _keys(row):
                    sent = moments[0][row.result_id].sent
                    began[key] = min(began.get(key, sent), sent)
            for key, credit in _sums(rows).items():
                self.averages[key].add(entry.id, credit, entry.at, began[key])
        else:
            for row in rows:
                self._reverse(entry, row)
        for key, credit in _sums(rows).items():
            self.totals[key] = self.totals.get(key, 0.0) + credit
            self.granted[key] += credit

    def _grant(self, entry: Entry, row: Row, moments: Sequence[Mapping[int, Fact]]) -> None:
        last = self.last(row.result_id)
        assert last is None or last.generation % 2, f"{row}: it was paid already, by {last}"
        if entry.kind == "credit":
            assert last is None, f"{row}: it was taken back, by {last}"
        else:
            past = all(moment[row.result_id].received < self.baseline for moment in moments)
            assert last or past, f"{row}: this is for the daemon to pay"
        assert row.generation == (last.generation + 1 if last else 0), f"{row}: after {last}"
        found = [moment[row.result_id] for moment in moments if row.result_id in moment]
        assert found, f"{row}: there is no such result"
        deserved = [self.worth(fact, by_hand=entry.kind == "backfill") for fact in found]
        assert row.credit in deserved and row.credit > 0, f"{row}: deserves {deserved} by {found}"  # noqa: PT018
        assert row.owner == found[0].owner, f"{row}: belongs to {found[0].owner}"
        self.ledger[row.result_id, row.generation] = row
        if entry.kind == "credit":
            day = (row.host, int(entry.at // DAY_S))
            self.today[day] += row.credit
            assert self.today[day] <= self.rules.host_day_cap, f"{row}: its host was granted {self.today[day]} today"

    def _reverse(self, entry: Entry, row: Row) -> None:
        last = self.last(row.result_id)
        assert last is not None, f"{row}: there was nothing to take back"
        assert last.generation % 2 == 0, f"{row}: it was taken back already, by {last}"
        assert row == last._replace(generation=last.generation + 1, journal_id=entry.id, credit=-last.credit), f"{last}"
        self.ledger[row.result_id, row.generation] = row
        for key in _keys(last):
            self.averages[key].take(last.journal_id, last.credit)
        first, day = self.entries[last.journal_id], int(entry.at // DAY_S)
        if first.kind == "credit" and int(first.at // DAY_S) == day:
            self.today[row.host, day] -= last.credit


def _keys(row: Row) -> list[Key]:
    return [(kind, id_) for kind, id_ in zip(KINDS, row.owner, strict=True) if id_]


def _sums(rows: Iterable[Row]) -> dict[Key, float]:
    sums: defaultdict[Key, float] = defaultdict(float)
    for row in rows:
        for key in _keys(row):
            sums[key] += row.credit
    return sums
