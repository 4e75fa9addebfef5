"""The audit: does what axiomd wrote down agree with itself and with BOINC's tables? Reads only, and locks nothing.

It goes through the tables in pages, so that neither axiomd nor the server ever holds more than one, and it reads a
history of millions once. Sums are exact, for credit is a multiple of 1/1024: they are compared with `=`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from axiomd.boinc.credit import TABLES
from axiomd.policies.credit import Account
from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.boinc", "audit.sql")

LIMIT = 100
"""Problems of a kind that are listed at most; the others are counted."""
PAGE = 20_000
"""Rows that one statement goes through; a journal entry is never cut in two."""
CREDIT_KINDS = ("credit", "backfill", "undo")
"""Kinds of journal entries that ledger rows may hang on."""
PAID = 1
"""axiomd_result.credit_mark of a result whose last grant is in force."""

Progress = Callable[[str, int], None]
"""Is told what is being looked at, and how many rows of it so far."""

_LAST = 2**63 - 1


@dataclass
class Audit:
    """What an audit found. `problems` are judged, `remarks` aren't."""

    since: float = 0.0
    """Only the journal entries from this time on were looked at; 0: all."""
    entries: int = 0
    ledger_rows: int = 0
    credit: float = 0.0
    """Sum of the ledger rows that were looked at: grants less reversals."""
    purged: int = 0
    """Ledger rows of results that BOINC purged since."""
    sealed_rows: int = 0
    sealed_credit: float = 0.0
    """What the ledger rows that were pruned summed up to."""
    accounts: dict[str, float] = field(default_factory=dict)
    """What hosts, users and teams got by their accounts."""
    deleted: dict[str, int] = field(default_factory=dict)
    """Accounts whose host, user or team was deleted since."""
    merged: int = 0
    """Hosts that were merged into another since, with credit to account for."""
    problem_count: int = 0
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem_count


@dataclass(frozen=True)
class PaidResult:
    """A result that the ledger names: its rows there, its mark, and its row in BOINC's table."""

    result_id: int
    grants: Sequence[tuple[int, float]]
    """(generation, credit), ascending: grants are even, reversals odd."""
    mark: int | None
    granted_credit: float | None
    """None if BOINC purged the result."""


def result_problems(result: PaidResult, *, sealed: bool) -> list[str]:
    """Say what is wrong with a result's rows. Where something was `sealed`, its first generations may be gone."""
    who = f"result {result.result_id}"
    numbers = [generation for generation, _ in result.grants]
    first, last = numbers[0], numbers[-1]
    problems = []
    if len(numbers) != last - first + 1 or (first and not sealed):
        problems.append(f"{who}: of its generations 0 to {last} the ledger has only {', '.join(map(str, numbers))}")
    credit_of = dict(result.grants)
    for generation, credit in result.grants:
        if generation % 2 and credit != -credit_of.get(generation - 1, -credit):
            problems.append(f"{who}: was granted {credit_of[generation - 1]:g}, and {-credit:g} was taken back")
    paid = last % 2 == 0
    in_force = credit_of[last] if paid else 0.0
    if result.granted_credit is not None and result.granted_credit != in_force:
        problems.append(f"{who}: the ledger granted {in_force:g}, granted_credit is {result.granted_credit:g}")
    if paid != (result.mark == PAID):
        mark = "missing" if result.mark is None else str(result.mark)
        wanted = f"instead of {PAID} (paid)" if paid else "though its grant was taken back"
        problems.append(f"{who}: in the ledger, but its mark is {mark} {wanted}")
    return problems


async def audit(connection: Connection, *, strict: bool, since: float = 0.0, progress: Progress | None = None) -> Audit:
    """Check conservation of credit; `connection` must see one moment of the database.

    Args:
        connection: a snapshot.
        strict: judge total_credit of hosts, users and teams too, which holds where axiomd alone grants.
        since: look only at journal entries from this time on (Unix seconds), with their results and accounts.
        progress: is called now and then.

    """
    return await _Auditor(connection, Audit(since), strict, progress or (lambda _what, _rows: None)).audit()


async def write_openings(connection: Connection) -> int:
    """Note total_credit of each host, user and team that has no account yet: what it had before axiomd; how many."""
    written = 0
    for kind, table in TABLES.items():
        written += await connection.execute(SQL["write_openings"].format(table=table), {"kind": int(kind)})
    return written


async def purged_results(connection: Connection, journal_ids: Sequence[int]) -> set[int]:
    """Ids of the results in the ledger of these journal entries that BOINC has purged."""
    rows: list[Any] = await connection.fetch_packed(SQL["purged_results"], {"journal_ids": journal_ids})
    return set(rows)


class _Auditor:
    """One audit: its connection, and what it found so far."""

    def __init__(self, connection: Connection, found: Audit, strict: bool, progress: Progress) -> None:  # noqa: FBT001
        self._connection = connection
        self._found = found
        self._strict = strict
        self._progress = progress
        self._counts: Counter[tuple[str, str]] = Counter()
        self._sealed: dict[str, tuple[int, float]] = {}
        # Of the entries that are looked at, where these aren't all.
        self._touched: dict[Account, set[int]] = {kind: set() for kind in Account}

    async def audit(self) -> Audit:
        rows = await self._connection.fetch(SQL["sealed"])
        self._sealed = {str(name): (int(count), float(credit)) for name, count, credit in rows}
        self._found.sealed_rows, self._found.sealed_credit = self._sealed.get("ledger", (0, 0.0))
        await self._entries()
        if not self._found.since:
            await self._results()
        await self._accounts()
        await self._totals()
        await self._sums()
        for (of, what), count in self._counts.items():
            if count > LIMIT:
                said = self._found.problems if of == "problem" else self._found.remarks
                said.append(f"... and {count - LIMIT} more: {what}")
        return self._found

    def _problem(self, what: str, words: str) -> None:
        """Say what is wrong."""
        if words not in self._found.problems:
            self._found.problem_count += 1
            self._list("problem", self._found.problems, what, words)

    def _differs(self, what: str, words: str) -> None:
        """Say that a total isn't what axiomd's ledger explains: wrong only where axiomd alone grants."""
        if self._strict:
            self._problem(what, words)
        else:
            self._list("remark", self._found.remarks, what, words)

    def _list(self, of: str, said: list[str], what: str, words: str) -> None:
        self._counts[of, what] += 1
        if self._counts[of, what] <= LIMIT:
            said.append(words)

    # Journal entries, with their ledger rows and postings.

    async def _entries(self) -> None:
        after = 0
        if self._found.since:
            when = {"kinds": CREDIT_KINDS, "since": self._found.since}
            first = (await self._connection.fetch(SQL["first_entry_since"], when))[0][0]
            if first is None:
                return
            after = int(first) - 1
        async for page in self._pages("entry_page", after):
            await self._entries_of(page)
            if self._found.since:
                await self._touched_by(page)
            self._progress("ledger rows against the journal", self._found.ledger_rows)

    async def _entries_of(self, page: Mapping[str, int]) -> None:
        entries = {row[0]: row[1:] for row in await self._connection.fetch_packed(SQL["entries"], page)}
        ledger = {row[0]: row[1:] for row in await self._connection.fetch_packed(SQL["ledger_of_entries"], page)}
        for id_, (rows, credit) in ledger.items():
            self._found.ledger_rows += rows
            self._found.credit += credit
            if id_ not in entries:
                self._problem(
                    "ledger rows without their journal entry",
                    f"journal entry {id_}: {rows} ledger rows ({credit:g} credit) name it, which is not there",
                )
        for id_, (kind, changes, credit) in entries.items():
            rows, granted = ledger.get(id_, (0, 0.0))
            if kind in CREDIT_KINDS:
                self._found.entries += 1
            elif rows:
                self._problem("ledger rows of other kinds", f"journal entry {id_}: of kind {kind}, with {rows} grants")
            if credit != granted:
                self._problem(
                    "journal entries with another credit",
                    f"journal entry {id_}: says {credit:g} credit, its ledger rows sum up to {granted:g}",
                )
            # What is undone may be of other tables too.
            if kind in CREDIT_KINDS and kind != "undo" and changes != rows:
                self._problem(
                    "journal entries with another number of grants",
                    f"journal entry {id_}: says {changes} grants, the ledger has {rows}",
                )
        for id_, kind, account, posted, granted in await self._connection.fetch(SQL["postings_differ"], page):
            self._problem(
                "postings that differ from the ledger",
                f"journal entry {id_}: its ledger rows granted {granted:g} to {TABLES[Account(kind)]} {account}, "
                f"its posting says {posted:g}",
            )

    async def _touched_by(self, page: Mapping[str, int]) -> None:
        ids: list[Any] = await self._connection.fetch_packed(SQL["results_of_entries"], page)
        if ids:
            await self._results_of(f"l.result_id IN ({','.join(map(str, ids))})", {})
        for kind, id_ in await self._connection.fetch_packed(SQL["accounts_of_entries"], page):
            self._touched[Account(kind)].add(id_)

    # Results.

    async def _results(self) -> None:
        rows = 0
        async for page in self._pages("result_page"):
            await self._results_of("l.result_id > %(after)s AND l.result_id <= %(upto)s", page)
            for (id_,) in await self._connection.fetch(SQL["paid_without_ledger"], page):
                self._problem("paid, not in the ledger", f"result {id_}: marked as paid, but not in the ledger")
            rows = min(rows + PAGE, self._found.ledger_rows)
            self._progress("ledger rows against the results", rows)

    async def _results_of(self, which: str, page: Mapping[str, int]) -> None:
        purged, odd = (await self._connection.fetch(SQL["paid_results"].format(which=which), page))[0]
        self._found.purged += int(purged)
        if not odd:
            return
        ids = [int(id_) for id_ in (odd.decode() if isinstance(odd, bytes) else odd).split(",")]
        grants: dict[int, list[tuple[int, float]]] = defaultdict(list)
        rows = await self._connection.fetch_packed(SQL["ledger_of_results"], {"ids": ids})
        for result_id, generation, credit, _, _ in rows:
            grants[result_id].append((generation, credit))
        for result_id, _, _, mark, granted in {row[0]: row for row in rows}.values():
            result = PaidResult(result_id, sorted(grants[result_id]), mark, granted)
            for problem in result_problems(result, sealed=self._found.sealed_rows > 0):
                self._problem("results that differ", problem)

    # Accounts, and BOINC's totals.

    async def _accounts(self) -> None:
        for kind in Account:
            if self._found.since:
                touched = sorted(self._touched[kind])
                for start in range(0, len(touched), PAGE):
                    ids = ",".join(map(str, touched[start : start + PAGE]))
                    await self._accounts_of(kind, f"id IN ({ids})", {})
                continue
            async for page in self._pages("account_page", kind=int(kind)):
                await self._accounts_of(kind, "id > %(after)s AND id <= %(upto)s", page)
                self._progress(f"accounts of {TABLES[kind]}s", page["after"])

    async def _accounts_of(self, kind: Account, which: str, page: Mapping[str, int]) -> None:
        parameters = {"kind": int(kind), "table": TABLES[kind], **page}
        accounts = await self._credit_by_id("accounts", which, parameters)
        postings = await self._credit_by_id("postings_of_accounts", which, parameters)
        sealed = await self._credit_by_id("sealed_of_accounts", which, parameters)
        for id_ in sorted(accounts.keys() | postings.keys() | sealed.keys()):
            posted = postings.get(id_, 0.0) + sealed.get(id_, 0.0)
            if accounts.get(id_, 0.0) != posted:
                self._problem(
                    "accounts that differ from the postings",
                    f"{TABLES[kind]} {id_}: the ledger granted {posted:g} by its postings, "
                    f"its account says {accounts.get(id_, 0.0):g}",
                )

    async def _credit_by_id(self, statement: str, which: str, parameters: Mapping[str, Any]) -> dict[int, float]:
        return dict(await self._connection.fetch_packed(SQL[statement].format(which=which), parameters))

    async def _totals(self) -> None:
        groups = await self._merged_hosts()
        for kind, table in TABLES.items():
            async for page in self._pages("total_page", table=table):
                where = {"kind": int(kind), **page}
                differing = await self._connection.fetch(SQL["totals_differ"].format(table=table), where)
                for id_, total, explained in differing:
                    if kind is not Account.HOST or id_ not in groups:
                        self._differs(
                            f"{table}s whose total_credit differs",
                            f"{table} {id_}: total_credit is {total:.12g}, opening and grants explain {explained:.12g}",
                        )
            deleted = SQL["deleted"].format(table=table)
            self._found.deleted[table] = int((await self._connection.fetch(deleted, {"kind": int(kind)}))[0][0])
        for group in sorted({tuple(sorted(group)) for group in groups.values()}):
            await self._merged_total(group)

    async def _merged_hosts(self) -> dict[int, set[int]]:
        """Give for each host that was merged into another, and for that other, all that ended in the same one.

        A host may be merged into one that is merged later: the chain is followed to its end.
        """
        merged: dict[int, int] = dict(await self._connection.fetch_packed(SQL["merged_hosts"]))
        self._found.merged = len(merged)
        into = dict(merged)
        unknown = set(into.values()) - into.keys()
        while unknown:
            found = await self._connection.fetch(SQL["hosts_merged_into"], {"ids": sorted(unknown)})
            into |= dict.fromkeys(unknown, 0) | {int(id_): int(successor) for id_, successor in found}
            unknown = set(into.values()) - into.keys() - {0}
        groups: dict[int, set[int]] = defaultdict(set)
        for host_id in merged:
            chain = [host_id]
            while (successor := into[chain[-1]]) and successor not in chain:
                chain.append(successor)
            groups[chain[-1]] |= set(chain)
        return {host_id: group for group in groups.values() for host_id in group}

    async def _merged_total(self, group: Sequence[int]) -> None:
        """Hosts that were merged have together what they were granted together; the web writes it rounded."""
        rows = await self._connection.fetch(SQL["totals_of_hosts"], {"ids": group})
        if len(rows) < len(group):
            return  # the last of them was deleted, with the credit of all
        total, explained = (math.fsum(float(row[place]) for row in rows) for place in (1, 2))
        if not math.isclose(total, explained, rel_tol=1e-9):
            self._differs(
                "hosts whose total_credit differs",
                f"hosts {', '.join(map(str, group))}, merged: total_credit is {total:.12g} together, "
                f"opening and grants explain {explained:.12g}",
            )

    # The sum of everything.

    async def _sums(self) -> None:
        sums = {str(table): float(credit or 0) for table, credit in await self._connection.fetch(SQL["sums"])}
        self._found.accounts = sums
        self._equal(
            "what was sealed",
            {
                "the journal": sum(self._sealed.get(f"journal:{kind}", (0, 0.0))[1] for kind in CREDIT_KINDS),
                "the ledger": self._found.sealed_credit,
                "hosts": self._sealed.get("host", (0, 0.0))[1],
                "users": self._sealed.get("user", (0, 0.0))[1],
            },
        )
        if not self._found.since:
            everything = self._found.credit + self._found.sealed_credit
            self._equal("the sum of all", {"the ledger": everything, "hosts": sums["host"], "users": sums["user"]})

    def _equal(self, what: str, sums: Mapping[str, float]) -> None:
        if len(set(sums.values())) > 1:
            said = ", ".join(f"{credit:.12g} by {of}" for of, credit in sums.items())
            self._problem("sums", f"{what} differs: {said}")

    async def _pages(
        self, statement: str, after: int = 0, table: str = "", **parameters: int
    ) -> AsyncIterator[dict[str, int]]:
        """Give ranges of ids, above `after` up to and with `upto`, of PAGE rows each; the last has no end."""
        page = SQL[statement].format(table=table)
        while True:
            rows = await self._connection.fetch(page, {"after": after, "size": PAGE, **parameters})
            upto = int(rows[0][0]) if rows else _LAST
            yield {"after": after, "upto": upto} | parameters
            if not rows:
                return
            after = upto
