"""A project with some credit granted, for the tests of audit and pruning: rows as paying and undoing leave them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from axiomd.boinc import audit as conservation
from axiomd.boinc.audit import Audit
from axiomd.sql import Parameters, Row, render
from tests.world import World

DAY_S = 86_400.0


class Inside:
    """A connection for the audit that sees what the test has written and not committed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.calm = asyncio.Lock()

    async def fetch(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        with self._world.connection.cursor() as cursor:
            cursor.execute(render(statement, parameters or {}))
            return list(cursor.fetchall())

    async def fetch_packed(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        rows: list[Row] = json.loads((await self.fetch(statement, parameters))[0][0] or "[]")
        return rows

    async def execute(self, statement: str, parameters: Parameters | None = None) -> int:
        raise AssertionError("an audit changes nothing")

    insert = execute

    async def holding(self) -> None:
        raise AssertionError("an audit holds nothing")


class Books:
    """A project with some credit granted: three results of host 1, one of host 2; the first team has host 1's user.

    Host 1 and its user had 100.5 before the baseline. Rows are written as paying and undoing leave them.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.entries = 0
        self.team = world.team(total_credit=0.1)
        self.users = [world.user(teamid=self.team, total_credit=100.5), world.user()]
        self.hosts = [world.host(self.users[0], total_credit=100.5), world.host(self.users[1])]
        self.results = [world.valid_result(host) for host in (*[self.hosts[0]] * 3, self.hosts[1])]

    async def open(self) -> Books:
        """Make axiomd's tables with a baseline, and pay."""
        await self.world.migrate(self.world.settings())
        self.book("credit", [(self.results[0], 0, 2.0), (self.results[1], 0, 2.5)], ago_s=2 * DAY_S)
        self.book("credit", [(self.results[2], 0, 3.25), (self.results[3], 0, 4.0)], ago_s=3600)
        return self

    def book(self, kind: str, rows: Sequence[tuple[int, int, float]], *, ago_s: float = 0.0) -> int:
        """Write a journal entry with ledger rows (result, generation, credit) and all that follows; its id."""
        execute = self.world.execute
        self.entries += 1
        entry, credit = self.entries, sum(row[2] for row in rows)
        execute(
            "INSERT INTO axiomd_journal (id, at, kind, cause, actor, changes, credit, detail) "
            "VALUES (%s, %s, %s, 'result_completed', 'axiomd', %s, %s, '{}')",
            *(entry, self.world.now - ago_s, kind, len(rows), credit),
        )
        for result, generation, amount in rows:
            execute(
                "INSERT INTO axiomd_ledger SELECT r.id, %s, %s, h.id, u.id, u.teamid, %s FROM result r "
                "JOIN host h ON h.id = r.hostid JOIN user u ON u.id = h.userid WHERE r.id = %s",
                *(generation, entry, amount, result),
            )
            grant = generation % 2 == 0
            execute("UPDATE result SET granted_credit = %s WHERE id = %s", amount if grant else 0, result)
            execute(
                "REPLACE INTO axiomd_result (result_id, workunit_id, credit_mark, reason) "
                "SELECT id, workunitid, %s, %s FROM result WHERE id = %s",
                *(1 if grant else 2, "" if grant else "undone", result),
            )
        for number, table in enumerate(("host", "user", "team"), start=1):
            execute(
                f"INSERT INTO axiomd_posting SELECT journal_id, %s, {table}_id, SUM(credit), 0 FROM axiomd_ledger "
                f"WHERE journal_id = %s AND {table}_id <> 0 GROUP BY {table}_id",
                *(number, entry),
            )
            execute(
                "INSERT INTO axiomd_account (kind, id, opening, granted) SELECT kind, id, 0, credit "
                "FROM axiomd_posting p WHERE p.journal_id = %s AND p.kind = %s "
                "ON DUPLICATE KEY UPDATE granted = granted + VALUES(granted)",
                *(entry, number),
            )
            execute(
                f"UPDATE {table} t JOIN axiomd_posting p ON p.journal_id = %s AND p.kind = %s AND p.id = t.id "
                "SET t.total_credit = t.total_credit + p.credit",
                *(entry, number),
            )
        return entry

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo at the end what was written here: one project serves a table of cases."""
        self.world.execute("START TRANSACTION")
        try:
            yield
        finally:
            self.world.execute("ROLLBACK")

    async def audit_inside(self, *, since: float = 0.0) -> Audit:
        """Audit what was written here and will be undone."""
        return await conservation.audit(Inside(self.world), strict=True, since=since)

    async def audit(self, *, strict: bool = True, since: float = 0.0) -> Audit:
        """Audit on a snapshot, as the command does."""
        database = await self.world.database(self.world.settings())
        async with database.snapshot() as session:
            return await conservation.audit(session, strict=strict, since=since)
