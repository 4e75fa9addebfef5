"""Credit: results paid a second through the whole path, beside the same changes written as bare SQL by hand.

results_per_s     rows in the table -> event -> bus -> committed ledger, result, host, user, team
bare_sql_per_s    the same batches, changed in the same tables by one INSERT ... SELECT or UPDATE ... JOIN a table, with
                  the credit known beforehand: nothing is read into Python, nothing decided
row_by_row_per_s  the same path as the first, a result and a commit at a time
"""

from __future__ import annotations

import time

from axiomd.daemon import Axiomd
from axiomd.handlers.credit import CreditHandler
from axiomd.watchers.completed_results import CompletedResults
from benchmarks.ground import Ground, ground, parser, report, run

BARE = (
    "INSERT INTO axiomd_journal (at, kind, cause, actor, changes, credit) "
    "VALUES (UNIX_TIMESTAMP(), 'credit', 'bench', 'bench', {count}, 2 * {count})",
    "INSERT INTO axiomd_ledger (result_id, journal_id, host_id, user_id, team_id, credit) "
    "SELECT r.id, {journal}, h.id, u.id, u.teamid, 2 FROM result r JOIN host h ON h.id = r.hostid "
    "JOIN user u ON u.id = h.userid WHERE r.id BETWEEN {first} AND {last}",
    "UPDATE axiomd_ledger l JOIN result r ON r.id = l.result_id SET r.granted_credit = l.credit "
    "WHERE l.journal_id = {journal}",
    "INSERT INTO axiomd_result (result_id, workunit_id, credit_mark) "
    "SELECT id, workunitid, 1 FROM result WHERE id BETWEEN {first} AND {last}",
    "UPDATE (SELECT host_id AS id, SUM(credit) AS credit FROM axiomd_ledger WHERE journal_id = {journal} GROUP BY 1) v "
    "JOIN host h ON h.id = v.id SET h.total_credit = h.total_credit + v.credit, h.expavg_credit = v.credit, "
    "h.expavg_time = UNIX_TIMESTAMP()",
    "UPDATE (SELECT user_id AS id, SUM(credit) AS credit FROM axiomd_ledger WHERE journal_id = {journal} GROUP BY 1) v "
    "JOIN user u ON u.id = v.id SET u.total_credit = u.total_credit + v.credit, u.expavg_credit = v.credit, "
    "u.expavg_time = UNIX_TIMESTAMP()",
    "UPDATE (SELECT team_id AS id, SUM(credit) AS credit FROM axiomd_ledger WHERE journal_id = {journal} GROUP BY 1) v "
    "JOIN team t ON t.id = v.id SET t.total_credit = t.total_credit + v.credit, t.expavg_credit = v.credit, "
    "t.expavg_time = UNIX_TIMESTAMP()",
    "INSERT INTO axiomd_account (kind, id, opening, granted, day, granted_today) "
    "SELECT 1, host_id, 0, SUM(credit), 1, SUM(credit) FROM axiomd_ledger WHERE journal_id = {journal} GROUP BY host_id "
    "ON DUPLICATE KEY UPDATE granted = granted + VALUES(granted), granted_today = granted_today + VALUES(granted_today)",
    "INSERT INTO axiomd_account (kind, id, opening, granted, day, granted_today) "
    "SELECT 2, user_id, 0, SUM(credit), 1, SUM(credit) FROM axiomd_ledger WHERE journal_id = {journal} GROUP BY user_id "
    "ON DUPLICATE KEY UPDATE granted = granted + VALUES(granted), granted_today = granted_today + VALUES(granted_today)",
    "INSERT INTO axiomd_account (kind, id, opening, granted, day, granted_today) "
    "SELECT 3, team_id, 0, SUM(credit), 1, SUM(credit) FROM axiomd_ledger WHERE journal_id = {journal} GROUP BY team_id "
    "ON DUPLICATE KEY UPDATE granted = granted + VALUES(granted), granted_today = granted_today + VALUES(granted_today)",
    "UPDATE axiomd_state SET value = value + {count} WHERE name IN ('credited_count', 'completed_count')",
)


def pay_bare(place: Ground, results: int, batch: int) -> float:
    """Pay results by hand-written SQL, in the same batches; seconds."""
    first = int(place.value("SELECT MIN(id) FROM result WHERE granted_credit = 0"))
    started = time.perf_counter()
    for start in range(first, first + results, batch):
        place.execute("START TRANSACTION")
        last = min(start + batch, first + results) - 1
        numbers = {"first": start, "last": last, "count": last - start + 1, "journal": 0}
        place.execute(BARE[0].format(**numbers))
        numbers["journal"] = int(place.value("SELECT LAST_INSERT_ID()"))
        for statement in BARE[1:]:
            place.execute(statement.format(**numbers))
        place.execute("COMMIT")
    return time.perf_counter() - started


async def pay_by_axiomd(place: Ground, batch: int) -> float:
    """Pay everything that waits, by the watcher, the bus and the handler; seconds."""
    settings = place.settings(credit={"batch": batch})
    database, project = await place.migrate(settings)
    credit = CreditHandler(database, project, settings)
    axiomd = Axiomd(settings, database, project, [CompletedResults(database, project, settings)], [credit])
    await database.open()
    started = time.perf_counter()
    await axiomd.once()
    seconds = time.perf_counter() - started
    await database.close()
    return seconds


def check(place: Ground, results: int) -> None:
    """Make sure that each result was paid once."""
    paid, total = (place.value(f"SELECT {what} FROM axiomd_ledger") for what in ("COUNT(*)", "SUM(credit)"))
    hosts = place.value("SELECT SUM(total_credit) FROM host")
    if (paid, total, hosts) != (results, 2.0 * results, 2.0 * results):
        raise SystemExit(f"paid {paid} results, ledger {total}, hosts {hosts}; expected {results}")


def measure(results: int, batch: int, hosts: int, single: int) -> dict[str, float]:
    """Measure all three on equal grounds, each on a fresh project."""
    seconds = {}
    for name in ("axiomd", "bare", "single"):
        with ground() as place:
            count = single if name == "single" else results
            place.people(hosts=hosts, users=max(hosts // 6, 1), teams=max(hosts // 30, 1))
            place.finished(count, hosts=hosts, assimilate_state=1)
            if name == "bare":
                run(_migrate_only(place))
                seconds[name] = pay_bare(place, count, batch)
            else:
                seconds[name] = run(pay_by_axiomd(place, 1 if name == "single" else batch))
            check(place, count)
    figures = {
        "results_per_s": results / seconds["axiomd"],
        "bare_sql_per_s": results / seconds["bare"],
        "row_by_row_per_s": single / seconds["single"],
    }
    return figures | {"ratio": figures["results_per_s"] / figures["bare_sql_per_s"]}


async def _migrate_only(place: Ground) -> None:
    database, _ = await place.migrate(place.settings())
    await database.close()


def main() -> None:
    """Run from the command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--results", type=int, default=60_000)
    arguments.add_argument("--batch", type=int, default=1000)
    arguments.add_argument("--hosts", type=int, default=300)
    arguments.add_argument("--row-by-row", type=int, default=1000, help="results paid one at a time")
    chosen = arguments.parse_args()
    figures = measure(chosen.results, chosen.batch, chosen.hosts, chosen.row_by_row)
    report(
        figures,
        "credit: {results_per_s:,.0f} results/s; bare SQL {bare_sql_per_s:,.0f} (ratio {ratio:.2f}); "
        "row by row {row_by_row_per_s:,.0f}",
        as_json=chosen.json,
    )


if __name__ == "__main__":
    main()
