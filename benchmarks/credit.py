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
from axiomd.settings import CreditSettings
from axiomd.sql import load_statements, render
from axiomd.watchers.completed_results import CompletedResults
from benchmarks.ground import Ground, ground, parser, report, run

BARE = load_statements("benchmarks", "bare_credit.sql")


def pay_bare(place: Ground, results: int, batch: int) -> float:
    """Pay results by hand-written SQL, in the same batches; seconds."""
    first = int(place.value("SELECT MIN(id) FROM result WHERE granted_credit = 0"))
    started = time.perf_counter()
    for start in range(first, first + results, batch):
        place.execute("START TRANSACTION")
        last = min(start + batch, first + results) - 1
        numbers = {"first": start, "last": last, "count": last - start + 1, "journal": 0}
        for name, statement in BARE.items():
            place.execute(render(statement, numbers))
            if name == "journal":
                numbers["journal"] = int(place.value("SELECT LAST_INSERT_ID()"))
        place.execute("COMMIT")
    return time.perf_counter() - started


async def pay_by_axiomd(place: Ground, batch: int) -> float:
    """Pay everything that waits, by the watcher, the bus and the handler; seconds."""
    # Without the harvest: benchmarks/harvest.py measures that.
    settings = place.settings(credit={"batch": batch}, harvest={"enabled": False})
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
    arguments.add_argument("--batch", type=int, default=CreditSettings().batch)
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
