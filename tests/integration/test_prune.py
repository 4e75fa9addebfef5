"""Pruning on a real MariaDB: old entries leave sums, and audit, status and payment go on as if they were there."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import pytest

from axiomd.daemon import Axiomd
from axiomd.events import JournalAged
from axiomd.handlers.prune import PruneHandler
from axiomd.store import seal, tables
from axiomd.store.database import Database
from axiomd.watchers.old_entries import OldEntries
from tests.books import DAY_S, Books
from tests.world import World

OWN = ("axiomd_journal", "axiomd_ledger", "axiomd_posting", "axiomd_change", "axiomd_job")


@pytest.fixture
async def books(world: World) -> Books:
    """Entries 1 (two days old, results 1 and 2) and 2 (an hour old, results 3 and 4)."""
    return await Books(world).open()


async def prune(world: World, *, older_than_s: float, **sections: Any) -> Database:
    """Prune by the handler, as the daemon does."""
    settings = world.settings(**sections)
    database = await world.database(settings)
    await PruneHandler(database, settings).handle([JournalAged(world.now - older_than_s)])
    return database


def sizes(world: World) -> list[int]:
    return [world.value(f"SELECT COUNT(*) FROM {table}") for table in OWN]


async def totals(world: World) -> dict[str, Any]:
    database = await world.database(world.settings())
    async with database.session() as session:
        return asdict(await tables.totals(session))


async def test_old_entries_leave_their_sums_and_the_audit_goes_on(books: Books) -> None:
    await prune(books.world, older_than_s=DAY_S)
    found = await books.audit()
    assert (found.problems, found.ledger_rows, found.sealed_rows, found.sealed_credit) == ([], 2, 2, 4.5)
    assert found.accounts == {"host": 11.75, "user": 11.75, "team": 7.75}
    sealed = books.world.rows("SELECT name, id, rows_sealed, changes, credit FROM axiomd_sealed ORDER BY name, id")
    assert [tuple(row.values()) for row in sealed] == [
        ("host", 1, 1, 0, 4.5),
        ("journal:credit", 0, 1, 2, 4.5),
        ("ledger", 0, 2, 0, 4.5),
        ("team", 1, 1, 0, 4.5),
        ("user", 1, 1, 0, 4.5),
    ]
    assert books.world.value("SELECT value FROM axiomd_state WHERE name = 'sealed_through'") == 1
    await prune(books.world, older_than_s=60)
    found = await books.audit()
    assert (found.problems, found.ledger_rows, found.sealed_rows, found.sealed_credit) == ([], 0, 4, 11.75)
    assert sizes(books.world) == [0] * len(OWN)


async def test_after_pruning_the_audit_still_finds_what_is_off(books: Books) -> None:
    await prune(books.world, older_than_s=DAY_S)
    cases = {
        "UPDATE host SET total_credit = total_credit + 1 WHERE id = 1": "host 1: total_credit is 109.25",
        "UPDATE axiomd_sealed SET credit = 5 WHERE name = 'user'": "user 1: the ledger granted 8.25 by its postings",
        "UPDATE axiomd_sealed SET credit = 5 WHERE name = 'ledger'": "what was sealed differs",
        "DELETE FROM axiomd_sealed WHERE name = 'host'": "host 1: the ledger granted 3.25 by its postings",
        "DELETE FROM axiomd_ledger WHERE result_id = 3": "result 3: marked as paid, but not in the ledger",
        "UPDATE axiomd_result SET reason = '' WHERE result_id = 1": "result 1: marked as paid, but not in the ledger",
        "UPDATE result SET granted_credit = 1 WHERE id = 3": "result 3: the ledger granted 3.25",
    }
    for tampering, words in cases.items():
        with books.undone():
            assert books.world.execute(tampering) > 0
            assert [problem for problem in (await books.audit_inside()).problems if words in problem], tampering


async def test_a_sealed_grant_may_be_followed_by_what_came_later(books: Books) -> None:
    undone, again = books.results[:2]
    books.book("undo", [(undone, 1, -2.0), (again, 1, -2.5)], ago_s=7200)
    books.book("backfill", [(again, 2, 7.0)], ago_s=1800)
    for older_than_s, left in ((DAY_S, 5), (7000, 5), (3000, 1), (60, 0)):
        await prune(books.world, older_than_s=older_than_s)
        found = await books.audit()
        assert (found.problems, found.ledger_rows + found.sealed_rows) == ([], 7)
        assert found.ledger_rows == left
        assert found.credit + found.sealed_credit == 11.75 - 4.5 + 7.0
    marks = books.world.rows("SELECT result_id, credit_mark, reason FROM axiomd_result ORDER BY result_id")
    assert [tuple(row.values()) for row in marks] == [
        (undone, 2, "undone"),
        (again, 1, "sealed"),
        (books.results[2], 1, "sealed"),
        (books.results[3], 1, "sealed"),
    ]


async def test_only_what_is_older_than_all_before_goes(books: Books) -> None:
    """Entries go in the order of their ids: an old one behind a young one waits for it."""
    books.world.execute("UPDATE axiomd_journal SET at = at - 864000 WHERE id = 2")
    books.world.execute("UPDATE axiomd_journal SET at = at + 172800 WHERE id = 1")
    await prune(books.world, older_than_s=DAY_S)
    assert sizes(books.world)[:2] == [2, 4]


async def test_a_sealed_result_is_not_paid_again(books: Books) -> None:
    world = books.world
    await prune(world, older_than_s=60)
    world.execute("UPDATE result SET granted_credit = 0")
    axiomd = await world.axiomd()
    new = world.valid_result(books.hosts[1])
    await axiomd.once()
    assert [world.row("result", id_)["granted_credit"] for id_ in (*books.results, new)] == [0, 0, 0, 0, 2]


async def test_marks_of_purged_results_go_with_their_entry(books: Books) -> None:
    books.world.execute("DELETE FROM result WHERE id IN (1, 3)")
    await prune(books.world, older_than_s=60)
    marks = books.world.rows("SELECT result_id FROM axiomd_result ORDER BY result_id")
    assert [row["result_id"] for row in marks] == [2, 4]
    assert (await books.audit()).ok


async def test_what_status_says_does_not_change(books: Books) -> None:
    world = books.world
    for kind, reason in (("abort", "host_silent"), ("repair", "repair:orphaned"), ("repair", "repair:orphaned")):
        world.execute(
            "INSERT INTO axiomd_journal (at, kind, cause, actor, changes, detail) VALUES (%s, %s, '', '', 1, '{}')",
            *(world.now - DAY_S, kind),
        )
        for subject in ("workunit", "assignment"):
            world.execute(
                "INSERT INTO axiomd_change SELECT MAX(id), %s, 7, %s, '{}', '{}' FROM axiomd_journal", subject, reason
            )
    world.execute(
        "INSERT INTO axiomd_journal (at, kind, cause, actor, changes, detail) VALUES (%s, 'topup', '', '', 2, '{}')",
        world.now - DAY_S,
    )
    for name, state in (("a", 1), ("b", 1), ("c", 2)):
        world.execute(
            "INSERT INTO axiomd_job (workunit_name, journal_id, app, experiment, seed, host_id, state) "
            "SELECT %s, MAX(id), 'axiom', 'e', 1, 1, %s FROM axiomd_journal",
            *(name, state),
        )
    before = await totals(world)
    assert (before["credit_granted"], before["tasks_aborted"], before["workunits_deployed"]) == (11.75, 1, 2)
    assert before["flags_repaired"] == {"orphaned": 2}
    for older_than_s in (1.5 * DAY_S, 7200, 60):
        await prune(world, older_than_s=older_than_s)
        assert await totals(world) == before
        assert (await books.audit()).ok
    assert sizes(world) == [0] * len(OWN)


async def test_an_entry_whose_jobs_are_not_made_yet_stays(books: Books) -> None:
    world = books.world
    intent = (
        "INSERT INTO axiomd_job (workunit_name, journal_id, app, experiment, seed, host_id, state) "
        "VALUES ('a', 2, 'axiom', 'e', 1, 1, 0)"
    )
    world.execute(intent)
    await prune(world, older_than_s=60)
    assert sizes(world) == [1, 2, 3 + 2, 0, 1]
    world.execute("UPDATE axiomd_job SET state = 1")
    await prune(world, older_than_s=60)
    assert sizes(world) == [0] * len(OWN)


@pytest.mark.parametrize(("entries", "rows"), [(1, 10_000), (50, 1), (2, 3)])
async def test_whatever_fits_into_a_transaction_all_that_is_old_goes(
    books: Books, monkeypatch: pytest.MonkeyPatch, entries: int, rows: int
) -> None:
    monkeypatch.setattr(seal, "MOST_ENTRIES", entries)
    monkeypatch.setattr(seal, "MOST_ROWS", rows)
    for host in books.hosts * 3:
        books.book("credit", [(books.world.valid_result(host), 0, 1.0)], ago_s=7200)
    books.book("credit", [(books.world.valid_result(books.hosts[0]), 0, 1.0)])
    books.world.execute("UPDATE axiomd_journal SET at = at - 7200 WHERE id = 2")
    await prune(books.world, older_than_s=5000)
    assert sizes(books.world)[:2] == [1, 1]
    found = await books.audit()
    assert (found.problems, found.sealed_rows) == ([], 10)


async def test_a_dry_run_prunes_nothing_and_says_what_it_would(books: Books) -> None:
    database = await prune(books.world, older_than_s=60, daemon={"dry_run": True})
    assert sizes(books.world)[:2] == [2, 4]
    handler = PruneHandler(database, books.world.settings())
    planned = await handler.plan([JournalAged(books.world.now - DAY_S)])
    assert [(change.action, change.detail) for change in planned] == [("prune", "1 entries")]


async def test_a_transaction_that_breaks_off_leaves_everything(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sizes(books.world)
    settings = books.world.settings()
    handler = PruneHandler(await books.world.database(settings), settings)
    monkeypatch.setitem(seal.SQL, "delete_journal", "DELETE FROM no_such_table WHERE id IN %(ids)s")
    with pytest.raises(Exception, match="no_such_table"):
        await handler.handle([JournalAged(books.world.now - 60)])
    assert sizes(books.world) == before
    assert books.world.value("SELECT COUNT(*) FROM axiomd_sealed") == 0


async def test_two_that_prune_at_the_same_time_seal_each_entry_once(books: Books) -> None:
    for host in books.hosts * 5:
        books.book("credit", [(books.world.valid_result(host), 0, 1.0)], ago_s=3600)
    await asyncio.gather(*(prune(books.world, older_than_s=60) for _ in range(3)))
    found = await books.audit()
    assert (found.problems, found.sealed_rows, found.sealed_credit) == ([], 14, 21.75)


async def test_pruning_waits_for_no_row_of_boincs(books: Books) -> None:
    books.world.execute("START TRANSACTION")
    for table in ("result", "host", "user", "team"):
        books.world.rows(f"SELECT * FROM {table} FOR UPDATE")
    try:
        await prune(books.world, older_than_s=60)
    finally:
        books.world.execute("ROLLBACK")
    assert sizes(books.world) == [0] * len(OWN)


@pytest.mark.parametrize(
    ("name", "journal", "old"),
    [
        ("the default", {}, False),
        ("a day", {"keep_s": DAY_S}, True),
        ("three days", {"keep_s": 3 * DAY_S}, False),
        ("shorter than the caps' windows", {"keep_s": 60}, True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_counts_as_old(books: Books, name: str, journal: dict[str, float], old: bool) -> None:
    settings = books.world.settings(journal=journal)
    watcher = OldEntries(await books.world.database(settings), settings)
    seen: list[Any] = [event async for page in watcher.poll(books.world.now) for event in page]
    assert bool(seen) == old
    if seen:
        assert seen[0].before <= books.world.now - settings.credit.cap_window_s


async def test_the_daemon_prunes_by_itself_unless_all_is_kept(books: Books) -> None:
    def names(axiomd: Axiomd) -> set[str]:
        return {watcher.name for watcher in axiomd.watchers} & {"old_entries", "audit"}

    axiomd = await books.world.axiomd(journal={"keep_s": DAY_S})
    assert names(axiomd) == {"old_entries", "audit"}
    await axiomd.once()
    assert sizes(books.world)[:2] == [1, 2]
    assert names(await books.world.axiomd(journal={"keep_s": 0}, audit={"interval_s": 0})) == set()
