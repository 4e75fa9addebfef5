"""Locks: how long axiomd holds BOINC's rows while it pays, and how long BOINC-like writers on the same rows wait.

held_p50_s, held_p99_s, held_max_s   of axiomd's transactions, from the first locked row to the answer to the commit
writes_p99_s, writes_max_s           a single statement of a writer on a host, user or result, while axiomd pays
alone_p99_s, alone_max_s             the same writers before axiomd starts: the reference
results_per_s                        what axiomd pays meanwhile
errors                               1213 and 1205 that the writers saw
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
import time
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pymysql

from axiomd import metrics
from axiomd.daemon import Axiomd
from axiomd.handlers.credit import CreditHandler
from axiomd.watchers.completed_results import CompletedResults
from benchmarks.ground import Ground, ground, parser, report, run

PAUSE_S = 0.002
"""Between two statements of a writer: a scheduler does other things as well."""

Times = list[tuple[float, float]]
"""When a statement began, and how long it took."""

# What the scheduler writes of a host at each contact, what it adds to totals, and what it writes of a result.
STATEMENTS = (
    ("UPDATE host SET rpc_time = %s, rpc_seqno = rpc_seqno + 1 WHERE id = %s", "hosts"),
    ("UPDATE user SET seti_last_result_time = %s WHERE id = %s", "users"),
    ("UPDATE result SET report_deadline = %s WHERE id = %s", "results"),
)


@dataclass(frozen=True)
class Signals:
    """How the writers are told to stop, and tell what they found."""

    ready: Barrier
    stop: Event
    found: Queue[tuple[Times, int]]


def write(socket: Path, most: dict[str, int], seed: int, signals: Signals) -> None:
    """Write single statements, each committed by itself, until told to stop."""
    rng = random.Random(seed)
    connection = pymysql.connect(unix_socket=str(socket), user="root", database="bench", autocommit=True)
    times: Times = []
    errors = 0
    signals.ready.wait()
    with connection.cursor() as cursor:
        while not signals.stop.is_set():
            statement, what = rng.choice(STATEMENTS)
            id_ = rng.randint(1, most[what])
            now = time.time()
            parameters = (int(now), id_)
            started = time.perf_counter()
            try:
                cursor.execute(statement, parameters)
            except pymysql.MySQLError as error:
                errors += error.args[0] in (1213, 1205)
            times.append((now, time.perf_counter() - started))
            time.sleep(PAUSE_S)
    signals.found.put((times, errors))


async def pay(place: Ground, held: list[float]) -> tuple[float, float]:
    """Pay everything that waits; when it began and ended."""
    settings = place.settings()
    database, project = await place.migrate(settings)
    credit = CreditHandler(database, project, settings)
    axiomd = Axiomd(settings, database, project, [CompletedResults(database, project, settings)], [credit])
    await database.open()
    observe = metrics.LOCKS_HELD.observe
    metrics.LOCKS_HELD.observe = held.append  # type: ignore[assignment]
    began = time.time()
    await axiomd.once()
    ended = time.time()
    metrics.LOCKS_HELD.observe = observe  # type: ignore[method-assign]
    await database.close()
    return began, ended


def measure(results: int, hosts: int, writers: int, alone_s: float) -> dict[str, float]:
    """Let the writers write, alone at first, then while axiomd pays."""
    with ground() as place:
        users = max(hosts // 6, 1)
        place.people(hosts=hosts, users=users, teams=max(hosts // 30, 1))
        place.finished(results, hosts=hosts, assimilate_state=1)
        place.settle()
        context = multiprocessing.get_context("spawn")
        signals = Signals(context.Barrier(writers + 1), context.Event(), context.Queue())
        most = {"hosts": hosts, "users": users, "results": results}
        processes = [
            context.Process(target=write, args=(place.server.socket, most, seed, signals)) for seed in range(writers)
        ]
        for process in processes:
            process.start()
        signals.ready.wait()
        time.sleep(alone_s)
        held: list[float] = []
        began, ended = run(pay(place, held))
        signals.stop.set()
        answers = [signals.found.get() for _ in processes]
        for process in processes:
            process.join()
    times = [each for answer, _ in answers for each in answer]
    alone = [took for at, took in times if at < began - 0.5]
    beside = [took for at, took in times if began <= at <= ended]
    return {
        "held_p50_s": statistics.median(held),
        "held_p99_s": percentile(held, 99),
        "held_max_s": max(held),
        "transactions": len(held),
        "writes_p99_s": percentile(beside, 99),
        "writes_max_s": max(beside),
        "writes": len(beside),
        "alone_p99_s": percentile(alone, 99),
        "alone_max_s": max(alone),
        "results_per_s": results / (ended - began),
        "errors": sum(errors for _, errors in answers),
    }


def percentile(values: list[float], percent: int) -> float:
    """Give the value that so many percent don't exceed."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def main() -> None:
    """Run from the command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--results", type=int, default=120_000)
    arguments.add_argument("--hosts", type=int, default=300)
    arguments.add_argument("--writers", type=int, default=4, help="processes that write")
    arguments.add_argument("--alone", type=float, default=5.0, help="seconds that they write before axiomd pays")
    chosen = arguments.parse_args()
    figures = measure(chosen.results, chosen.hosts, chosen.writers, chosen.alone)
    report(
        figures,
        "locks: BOINC's rows are held {held_p50_s:.3f} s (median), {held_p99_s:.3f} s (99 of 100), {held_max_s:.3f} s "
        "at most, by {transactions} transactions at {results_per_s:,.0f} results/s; a writer's statement takes "
        "{writes_p99_s:.3f} s (99 of 100 of {writes}), {writes_max_s:.3f} s at most; alone {alone_p99_s:.3f} s and "
        "{alone_max_s:.3f} s; errors 1213 and 1205: {errors:.0f}",
        as_json=chosen.json,
    )


if __name__ == "__main__":
    main()
