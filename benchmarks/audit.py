"""Audit: how long `axiomd audit` takes over millions of ledger rows, beside the least that any such check must read.

seconds            the full audit, on one snapshot
rows_per_s         ledger rows a second
reference_seconds  COUNT(*), SUM(credit), SUM(granted_credit) of the ledger joined to its results, and nothing else
since_seconds      the audit of the last tenth of the entries, as a daily run with --since does
peak_mb            the most memory that this process held, and `start_mb` what it held before the audit
"""

from __future__ import annotations

import resource
import time

from axiomd.boinc.audit import audit
from axiomd.store.database import Database
from benchmarks.ground import Ground, ground, parser, report, run

START = 1_700_000_000
"""When the first entry was written; one follows a second."""


def people(place: Ground, hosts: int, users: int, teams: int) -> None:
    """Make hosts, users and teams inside the server, for there may be hundreds of thousands."""
    place.fill("team", teams, id="seq", name="CONCAT('team ', seq)")
    unique = dict.fromkeys(("email_addr", "name", "authenticator"), "CONCAT('u', seq)")
    place.fill("user", users, id="seq", teamid=f"1 + MOD(seq, {teams})", **unique)
    place.fill("host", hosts, id="seq", userid=f"1 + MOD(seq, {users})")


def lay_out(place: Ground, rows: int, entry: int, hosts: int, users: int, teams: int) -> None:
    """Make paid results with everything that paying them leaves, by the million and all in agreement."""
    people(place, hosts, users, teams)
    place.fill(
        "result",
        rows,
        id="seq",
        workunitid="seq",
        server_state=5,
        outcome=1,
        validate_state=1,
        hostid=f"1 + MOD(seq * 7919, {hosts})",
        name="CONCAT('r', seq)",
        appid=place.app_id,
        granted_credit="2 + MOD(seq, 7) / 8",
    )
    place.execute(
        "INSERT INTO axiomd_ledger (result_id, generation, journal_id, host_id, user_id, team_id, credit) "
        f"SELECT r.id, 0, 1 + (r.id - 1) DIV {entry}, r.hostid, h.userid, u.teamid, r.granted_credit "
        "FROM result r STRAIGHT_JOIN host h ON h.id = r.hostid STRAIGHT_JOIN user u ON u.id = h.userid"
    )
    place.execute(
        "INSERT INTO axiomd_result (result_id, workunit_id, credit_mark) SELECT id, workunitid, 1 FROM result"
    )
    place.execute(
        "INSERT INTO axiomd_journal (id, at, kind, cause, actor, changes, credit, detail) "
        f"SELECT journal_id, {START} + journal_id, 'credit', 'bench', 'bench', COUNT(*), SUM(credit), '{{}}' "
        "FROM axiomd_ledger GROUP BY journal_id"
    )
    for kind, table in enumerate(("host", "user", "team"), start=1):
        place.execute(
            f"INSERT INTO axiomd_posting SELECT journal_id, {kind}, {table}_id, SUM(credit), 0 "
            f"FROM axiomd_ledger GROUP BY journal_id, {table}_id"
        )
        place.execute(
            "INSERT INTO axiomd_account (kind, id, opening, granted) SELECT kind, id, 0, SUM(credit) "
            f"FROM axiomd_posting WHERE kind = {kind} GROUP BY kind, id"
        )
        place.execute(
            f"UPDATE {table} t JOIN axiomd_account a ON a.kind = {kind} AND a.id = t.id SET t.total_credit = a.granted"
        )


def peak_mb() -> float:
    """Give the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure(database: Database, entries: int) -> dict[str, float]:
    """Time the reference, the full audit and a part of it."""
    figures = {}
    async with database.snapshot() as session:
        started = time.perf_counter()
        await session.fetch(
            "SELECT COUNT(*), SUM(l.credit), SUM(r.granted_credit) "
            "FROM axiomd_ledger l JOIN result r ON r.id = l.result_id"
        )
        figures["reference_seconds"] = time.perf_counter() - started
    figures["start_mb"] = peak_mb()
    for name, since in (("seconds", 0.0), ("since_seconds", START + 0.9 * entries)):
        async with database.snapshot() as session:
            started = time.perf_counter()
            found = await audit(session, strict=True, since=since)
            figures[name] = time.perf_counter() - started
        if not found.ok:
            raise SystemExit(f"the audit found problems on good ground: {found.problems[:5]}")
        if name == "seconds":
            figures["rows"] = found.ledger_rows
            figures["peak_mb"] = peak_mb()
    await database.close()
    return figures | {"rows_per_s": figures["rows"] / figures["seconds"]}


async def _migrate(place: Ground) -> Database:
    database, _ = await place.migrate(place.settings())
    return database


def main() -> None:
    """Run from the command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=int, default=3_000_000)
    arguments.add_argument("--entry", type=int, default=1000, help="ledger rows of a journal entry")
    arguments.add_argument("--hosts", type=int, default=300)
    arguments.add_argument("--users", type=int, default=50)
    arguments.add_argument("--teams", type=int, default=10)
    chosen = arguments.parse_args()

    async def measured(place: Ground) -> dict[str, float]:
        database = await _migrate(place)
        lay_out(place, chosen.rows, chosen.entry, chosen.hosts, chosen.users, chosen.teams)
        place.settle()
        return await measure(database, chosen.rows // chosen.entry)

    with ground() as place:
        figures = run(measured(place))
    report(
        figures,
        "audit: {rows:,.0f} ledger rows in {seconds:.1f} s ({rows_per_s:,.0f} rows/s), the last tenth in "
        "{since_seconds:.1f} s; a bare join of ledger and results {reference_seconds:.1f} s; "
        "memory {peak_mb:.0f} MB at most ({start_mb:.0f} MB before)",
        as_json=chosen.json,
    )


if __name__ == "__main__":
    main()
