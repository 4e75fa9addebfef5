"""Poll: the time of a look that finds 100 new results must not grow with the old rows that lie beside them.

Two projects stand side by side, one with few old results and one with many, and are polled in turn, so that a noisy
machine disturbs both alike. `growth` is the relative growth of the median from the small to the large one, of the
mode in which it is worse.
"""

from __future__ import annotations

import statistics
import time

from axiomd.boinc import schema
from axiomd.events import ResultCompleted
from axiomd.store.database import Database
from axiomd.watchers.completed_results import CompletedResults
from benchmarks.ground import Ground, ground, parser, report, run

NEW = 100
HOSTS = 300
OLD_AGE_S = 10 * 86_400
MODES = ("assimilator", "mod_time")


def lay_history(place: Ground, rows: int) -> None:
    """Make old results, paid and assimilated long ago."""
    place.people(hosts=HOSTS, users=50, teams=10)
    for start in range(0, rows, 500_000):
        count = min(500_000, rows - start)
        place.finished(count, hosts=HOSTS, assimilate_state=2, received_ago_s=OLD_AGE_S)


def deal_with_history(place: Ground) -> None:
    """Close the marks of all results, as axiomd would have when they came in."""
    place.execute(
        "INSERT IGNORE INTO axiomd_result (result_id, workunit_id, credit_mark) SELECT id, workunitid, 1 FROM result"
    )


async def time_poll(place: Ground, database: Database, watcher: CompletedResults) -> float:
    """Seconds of a look that finds the new results."""
    place.finished(NEW, hosts=HOSTS, assimilate_state=1, received_ago_s=0)
    now = await database.now()
    started = time.perf_counter()
    found = 0
    async for events in watcher.poll(now):
        found += sum(1 for event in events if isinstance(event, ResultCompleted))
    seconds = time.perf_counter() - started
    if found != NEW:
        raise SystemExit(f"the poll found {found} of {NEW} new results")
    place.execute(
        f"INSERT INTO axiomd_result (result_id, workunit_id, credit_mark) SELECT id, workunitid, 1 FROM result "
        f"ORDER BY id DESC LIMIT {NEW} ON DUPLICATE KEY UPDATE credit_mark = 1"
    )
    place.execute("UPDATE workunit SET assimilate_state = 2 WHERE appid = %s AND assimilate_state = 1", place.app_id)
    return seconds


async def _measure(small: Ground, large: Ground, polls: int) -> dict[str, float]:
    grounds = {}
    for place in (small, large):
        database, project = await place.migrate(place.settings())
        async with database.session() as session:
            await schema.make_mod_time_index(session)
        deal_with_history(place)
        place.execute("ANALYZE TABLE result, workunit, axiomd_result")
        place.settle()
        grounds[place] = (database, project)
    figures: dict[str, float] = {}
    for mode in MODES:
        times: dict[Ground, list[float]] = {small: [], large: []}
        watchers = {
            place: CompletedResults(database, project, place.settings(intake={"mode": mode, "overlap_s": 2}))
            for place, (database, project) in grounds.items()
        }
        for number in range(polls + 3):
            for place, (database, _) in grounds.items():
                seconds = await time_poll(place, database, watchers[place])
                if number >= 3:  # the first ones warm up
                    times[place].append(seconds)
        medians = [statistics.median(times[place]) for place in (small, large)]
        figures[f"{mode}_poll_s_small"], figures[f"{mode}_poll_s_large"] = medians
        figures[f"{mode}_growth"] = medians[1] / medians[0] - 1
    for database, _ in grounds.values():
        await database.close()
    worse = max(MODES, key=lambda mode: figures[f"{mode}_growth"])
    return {key: figures[f"{worse}_{key}"] for key in ("poll_s_small", "poll_s_large", "growth")} | figures


def main() -> None:
    """Run from the command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--small", type=int, default=100_000, help="old results of the small project")
    arguments.add_argument("--large", type=int, default=3_000_000, help="old results of the large project")
    arguments.add_argument("--polls", type=int, default=40)
    chosen = arguments.parse_args()
    with ground() as small, ground() as large:
        lay_history(small, chosen.small)
        lay_history(large, chosen.large)
        figures = run(_measure(small, large, chosen.polls))
    report(
        figures,
        "poll: {poll_s_small:.4f} s beside few old results, {poll_s_large:.4f} s beside many: growth {growth:+.1%} "
        "(assimilator {assimilator_growth:+.1%}, mod_time {mod_time_growth:+.1%})",
        as_json=chosen.json,
    )


if __name__ == "__main__":
    main()
