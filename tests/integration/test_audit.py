"""The audit on a real MariaDB: every way in which the books can be off is found by row, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from axiomd.boinc import audit as conservation
from axiomd.boinc.audit import Audit, PaidResult, result_problems
from axiomd.cli.inspection import parse_since
from axiomd.errors import SettingsError
from axiomd.events import AuditDue
from axiomd.handlers.audit import AuditHandler
from axiomd.policies.audit import LastAudit, next_audit
from axiomd.settings import AuditSettings
from axiomd.store import tables
from axiomd.watchers.audit import FIRST_AFTER_S, Audits
from tests.books import DAY_S, Books
from tests.world import World


@pytest.fixture
async def books(world: World) -> Books:
    return await Books(world).open()


# Ids in these statements: entries 1 and 2, results 1 to 4, hosts 1 and 2, users 1 and 2, team 1.
CORRUPTIONS = {
    "a total paid twice": ("UPDATE host SET total_credit = total_credit + 4 WHERE id = 2", "host 2: total_credit is 8"),
    "a total one off": (
        "UPDATE host SET total_credit = total_credit + 1 WHERE id = 1",
        "host 1: total_credit is 109.25",
    ),
    "the least there is": (
        "UPDATE host SET total_credit = total_credit + 0.0009765625 WHERE id = 2",
        "host 2: total_credit is 4.0009765625, opening and grants explain 4",
    ),
    "a user's total": (
        "UPDATE user SET total_credit = 3 WHERE id = 2",
        "user 2: total_credit is 3, opening and grants",
    ),
    "a team's total": ("UPDATE team SET total_credit = total_credit - 2", "team 1: total_credit is 5.85, opening and"),
    "an unpaid host with credit": (
        "INSERT INTO host SELECT * FROM (SELECT * FROM host WHERE id = 2) h ON DUPLICATE KEY UPDATE host.id = 77",
        "host 77: total_credit is 4, opening and grants explain 0",
    ),
    "a ledger row removed": (
        "DELETE FROM axiomd_ledger WHERE result_id = 3",
        "journal entry 2: says 7.25 credit, its ledger rows sum up to 4",
    ),
    "a ledger row removed, by its mark": (
        "DELETE FROM axiomd_ledger WHERE result_id = 3",
        "result 3: marked as paid, but not in the ledger",
    ),
    "a ledger row too many": (
        "INSERT INTO axiomd_ledger VALUES (1, 2, 2, 1, 1, 1, 2)",
        "result 1: of its generations 0 to 2 the ledger has only 0, 2",
    ),
    "a ledger row too many, by its entry": (
        "INSERT INTO axiomd_ledger VALUES (1, 2, 2, 1, 1, 1, 2)",
        "journal entry 2: says 2 grants, the ledger has 3",
    ),
    "another credit in the ledger": (
        "UPDATE axiomd_ledger SET credit = 9 WHERE result_id = 4",
        "result 4: the ledger granted 9, granted_credit is 4",
    ),
    "granted_credit raised": (
        "UPDATE result SET granted_credit = 5 WHERE id = 1",
        "result 1: the ledger granted 2, granted_credit is 5",
    ),
    "granted_credit lost": (
        "UPDATE result SET granted_credit = 0 WHERE id = 1",
        "result 1: the ledger granted 2, granted_credit is 0",
    ),
    "the first generation missing": (
        "UPDATE axiomd_ledger SET generation = 2 WHERE result_id = 2",
        "result 2: of its generations 0 to 2 the ledger has only 2",
    ),
    "a mark that says refused": (
        "UPDATE axiomd_result SET credit_mark = 2 WHERE result_id = 4",
        "result 4: in the ledger, but its mark is 2 instead of 1 (paid)",
    ),
    "a mark that would be paid again": (
        "DELETE FROM axiomd_result WHERE result_id = 4",
        "result 4: in the ledger, but its mark is missing",
    ),
    "a mark without a grant": (
        "INSERT INTO axiomd_result (result_id, workunit_id, credit_mark) VALUES (99, 99, 1)",
        "result 99: marked as paid, but not in the ledger",
    ),
    "another credit in the journal": (
        "UPDATE axiomd_journal SET credit = 5 WHERE id = 1",
        "journal entry 1: says 5 credit, its ledger rows sum up to 4.5",
    ),
    "another count in the journal": (
        "UPDATE axiomd_journal SET changes = 3 WHERE id = 1",
        "journal entry 1: says 3 grants, the ledger has 2",
    ),
    "a journal entry removed": (
        "DELETE FROM axiomd_journal WHERE id = 1",
        "journal entry 1: 2 ledger rows (4.5 credit)",
    ),
    "a journal entry without its ledger": (
        "DELETE FROM axiomd_ledger WHERE journal_id = 2",
        "journal entry 2: says 7.25 credit, its ledger rows sum up to 0",
    ),
    "grants under another kind": (
        "UPDATE axiomd_journal SET kind = 'abort' WHERE id = 1",
        "of kind abort, with 2 grants",
    ),
    "a posting changed": (
        "UPDATE axiomd_posting SET credit = 5 WHERE journal_id = 2 AND kind = 2 AND id = 2",
        "journal entry 2: its ledger rows granted 4 to user 2, its posting says 5",
    ),
    "a posting removed": (
        "DELETE FROM axiomd_posting WHERE journal_id = 1 AND kind = 3",
        "journal entry 1: its ledger rows granted 4.5 to team 1, its posting says 0",
    ),
    "a posting to a stranger": (
        "UPDATE axiomd_posting SET id = 2 WHERE journal_id = 1 AND kind = 1",
        "journal entry 1: its ledger rows granted 0 to host 2, its posting says 4.5",
    ),
    "an account changed": (
        "UPDATE axiomd_account SET granted = granted + 1 WHERE kind = 1 AND id = 2",
        "host 2: the ledger granted 4 by its postings, its account says 5",
    ),
    "an account removed": (
        "DELETE FROM axiomd_account WHERE kind = 2 AND id = 2",
        "user 2: the ledger granted 4 by its postings, its account says 0",
    ),
    "a team's account changed": (
        "UPDATE axiomd_account SET granted = 0 WHERE kind = 3",
        "team 1: the ledger granted 7.75 by its postings, its account says 0",
    ),
    "sealed credit from nowhere": ("INSERT INTO axiomd_sealed VALUES ('host', 2, 1, 0, 8)", "what was sealed differs"),
    "an opening changed": (
        "UPDATE axiomd_account SET opening = 0 WHERE kind = 2 AND id = 1",
        "user 1: total_credit is 108.25, opening and grants explain 7.75",
    ),
}


async def test_what_is_off_is_found_by_row(books: Books) -> None:
    missed = {}
    for name, (tampering, words) in CORRUPTIONS.items():
        with books.undone():
            assert (await books.audit_inside()).ok
            assert books.world.execute(tampering) > 0
            found = await books.audit_inside()
            if found.ok or not any(words in problem for problem in found.problems):
                missed[name] = found.problems
    assert missed == {}


async def test_an_account_that_only_the_accounts_know_shows_in_the_sums(books: Books) -> None:
    books.world.execute("UPDATE axiomd_account SET granted = granted + 1 WHERE kind = 1 AND id = 2")
    assert (
        "the sum of all differs: 11.75 by the ledger, 12.75 by hosts, 11.75 by users" in (await books.audit()).problems
    )


def merge(world: World, old: int, new: int) -> None:
    """Do as the web does, which writes sums in PHP's 14 digits."""
    world.execute(
        "UPDATE host n JOIN host o ON o.id = %s SET n.total_credit = ROUND(n.total_credit + o.total_credit, 11), "
        "o.total_credit = 0, o.userid = 0, o.rpc_seqno = n.id WHERE n.id = %s",
        *(old, new),
    )
    world.execute("UPDATE result SET hostid = %s WHERE hostid = %s", new, old)


def undo(books: Books) -> None:
    books.book("undo", [(books.results[0], 1, -2.0), (books.results[1], 1, -2.5)])


def pay_again(books: Books) -> None:
    undo(books)
    books.book("backfill", [(books.results[0], 2, 7.0)])


def merge_twice(books: Books) -> None:
    third = books.world.host(books.users[0])
    merge(books.world, books.hosts[0], books.hosts[1])
    merge(books.world, books.hosts[1], third)
    books.book("credit", [(books.world.valid_result(third), 0, 1.0)])


def merge_and_delete(books: Books) -> None:
    merge(books.world, books.hosts[0], books.hosts[1])
    books.world.execute("DELETE FROM host WHERE id = %s", books.hosts[1])


def change_team(books: Books) -> None:
    books.world.execute("UPDATE user SET teamid = 0 WHERE id = %s", books.users[0])
    other = books.world.team()
    books.world.execute("UPDATE user SET teamid = %s WHERE id = %s", other, books.users[1])
    books.book("credit", [(books.world.valid_result(host), 0, 1.0) for host in books.hosts])


def change_hands(books: Books) -> None:
    books.world.execute("UPDATE host SET userid = %s WHERE id = %s", books.users[1], books.hosts[0])
    books.book("credit", [(books.world.valid_result(books.hosts[0]), 0, 1.0)])


def delete(table: str, where: str = "TRUE") -> Callable[[Books], None]:
    def happening(books: Books) -> None:
        assert books.world.execute(f"DELETE FROM {table} WHERE {where}") > 0

    return happening


def other_kinds(books: Books) -> None:
    books.world.execute(
        "INSERT INTO axiomd_journal (at, kind, cause, actor, changes, detail) VALUES "
        "(1, 'abort', 'task_stuck', 'axiomd', 5, '{}'), (2, 'undo', 'operator', 'root', 3, '{}')"
    )


def refused(books: Books) -> None:
    books.world.execute(
        "INSERT INTO axiomd_result (result_id, workunit_id, credit_mark) VALUES (98, 98, 2), (99, 99, 0)"
    )


NO_ERRORS = {
    "nothing happened": lambda _: None,
    "a grant undone": undo,
    "a grant undone, and paid anew": pay_again,
    "results purged": delete("result"),
    "a host deleted": delete("host", "id = 2"),
    "a user deleted": delete("user", "id = 1"),
    "a team deleted": delete("team"),
    "a host merged": lambda books: merge(books.world, books.hosts[0], books.hosts[1]),
    "hosts merged in a chain, and paid after": merge_twice,
    "a host merged into one that was deleted": merge_and_delete,
    "users changed team": change_team,
    "a host changed hands": change_hands,
    "entries without credit": other_kinds,
    "results refused and waiting": refused,
}


async def test_what_may_happen_is_no_error(books: Books) -> None:
    said = {}
    for name, happening in NO_ERRORS.items():
        with books.undone():
            happening(books)
            for since in (0.0, books.world.now - DAY_S):
                found = await books.audit_inside(since=since)
                said[name, since] = found.problems + found.remarks
    assert len(said) == 2 * len(NO_ERRORS)
    assert not any(said.values()), said


async def test_a_merge_that_lost_credit_is_found(books: Books) -> None:
    merge(books.world, books.hosts[0], books.hosts[1])
    books.world.execute("UPDATE host SET total_credit = total_credit - 4 WHERE id = 2")
    assert (await books.audit()).problems == [
        "hosts 1, 2, merged: total_credit is 108.25 together, opening and grants explain 112.25"
    ]


async def test_what_is_gone_is_counted(books: Books) -> None:
    delete("result", "id <= 3")(books)
    delete("host", "id = 1")(books)
    delete("team")(books)
    found = await books.audit()
    assert (found.ok, found.purged, found.deleted) == (True, 3, {"host": 1, "user": 0, "team": 1})
    assert (found.ledger_rows, found.credit, found.entries) == (4, 11.75, 2)
    assert found.accounts == {"host": 11.75, "user": 11.75, "team": 7.75}


async def test_beside_a_granting_validator_totals_are_remarked_and_the_rest_is_judged(books: Books) -> None:
    books.world.execute("UPDATE host SET total_credit = total_credit + 0.3")
    books.world.host(total_credit=12.0)
    found = await books.audit(strict=False)
    assert (found.ok, len(found.remarks)) == (True, 3)
    books.world.execute("UPDATE axiomd_ledger SET credit = 9 WHERE result_id = 4")
    assert not (await books.audit(strict=False)).ok


async def test_openings_that_another_program_granted_may_be_rounded(world: World) -> None:
    host = world.host(world.user(total_credit=0.1), total_credit=1e6 / 3)
    await world.migrate(world.settings())
    for _ in range(50):
        world.valid_result(host)
    await (await world.axiomd()).once()
    books = await audit_of(world)
    assert (books.problems, books.ledger_rows) == ([], 50)
    world.execute("UPDATE host SET total_credit = total_credit + 0.01")
    assert not (await audit_of(world)).ok


async def audit_of(world: World) -> Audit:
    database = await world.database(world.settings())
    async with database.snapshot() as session:
        return await conservation.audit(session, strict=True)


async def test_since_looks_at_what_is_new_only(books: Books) -> None:
    yesterday = books.world.now - DAY_S
    new = await books.audit(since=yesterday)
    assert (new.ok, new.entries, new.ledger_rows, new.credit) == (True, 1, 2, 7.25)
    books.world.execute("UPDATE result SET granted_credit = 5 WHERE id = 1")
    assert (await books.audit(since=yesterday)).ok
    books.world.execute("UPDATE result SET granted_credit = 5 WHERE id = 3")
    assert (await books.audit(since=yesterday)).problems == ["result 3: the ledger granted 3.25, granted_credit is 5"]
    assert (await books.audit()).problem_count == 2
    assert (await books.audit(since=books.world.now + 1)).entries == 0


async def test_since_looks_at_old_grants_of_results_and_accounts_that_changed(books: Books) -> None:
    undo(books)
    books.world.execute("UPDATE axiomd_ledger SET credit = 3 WHERE result_id = 1 AND generation = 0")
    books.world.execute("UPDATE axiomd_account SET granted = granted - 1 WHERE kind = 1 AND id = 1")
    problems = (await books.audit(since=books.world.now - 60)).problems
    assert "result 1: was granted 3, and 2 was taken back" in problems
    assert "host 1: the ledger granted 3.25 by its postings, its account says 2.25" in problems


async def test_what_two_entries_touched_is_told_once(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conservation, "PAGE", 1)
    books.book("undo", [(books.results[2], 1, -3.25)])
    books.world.execute("UPDATE result SET granted_credit = 5 WHERE id = 3")
    found = await books.audit(since=books.world.now - DAY_S)
    assert (found.problem_count, found.problems) == (1, ["result 3: the ledger granted 0, granted_credit is 5"])


@pytest.mark.parametrize("page", [1, 3])
async def test_pages_leave_nothing_out(books: Books, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    pay_again(books)
    other_kinds(books)
    monkeypatch.setattr(conservation, "PAGE", page)
    found = await books.audit()
    assert (found.problems, found.ledger_rows, found.entries) == ([], 7, 5)
    for table in ("host", "user", "team"):
        books.world.execute(f"UPDATE {table} SET total_credit = total_credit + 1")
    books.world.execute("UPDATE result SET granted_credit = granted_credit + 1")
    books.world.execute("UPDATE axiomd_journal SET credit = credit + 1")
    assert (await books.audit()).problem_count == 2 + 2 + 1 + 4 + 6


async def test_problems_are_listed_up_to_a_limit_and_counted_beyond(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conservation, "LIMIT", 3)
    books.world.execute("UPDATE result SET granted_credit = 9")
    found = await books.audit()
    assert (found.problem_count, len(found.problems)) == (4, 4)
    assert found.problems[-1] == "... and 1 more: results that differ"


async def test_the_audit_takes_no_lock(books: Books) -> None:
    """Every row that it reads is locked by another, as in the middle of a transaction of BOINC's."""
    books.world.execute("START TRANSACTION")
    for table in ("result", "host", "user", "team", "axiomd_ledger", "axiomd_journal", "axiomd_posting"):
        books.world.rows(f"SELECT * FROM {table} FOR UPDATE")
    try:
        assert (await books.audit()).ok
    finally:
        books.world.execute("ROLLBACK")


async def test_openings_are_noted_once_also_where_the_baseline_is_older(world: World) -> None:
    host = world.host(total_credit=5.0)
    await world.migrate(world.settings())
    openings = "SELECT kind, id, opening FROM axiomd_account ORDER BY kind"
    assert world.rows(openings) == [{"kind": 1, "id": host, "opening": 5.0}]
    world.execute("DELETE FROM axiomd_state WHERE name = %s", tables.OPENINGS_AT)
    world.execute("UPDATE host SET total_credit = 8 WHERE id = %s", host)
    user = world.user(total_credit=2.0)
    await world.migrate(world.settings())
    world.host(total_credit=3.0)
    await world.migrate(world.settings())
    assert world.rows(openings) == [
        {"kind": 1, "id": host, "opening": 5.0},
        {"kind": 2, "id": user, "opening": 2.0},
    ]


JUDGED = {
    "granted": ([(0, 2.0)], 1, 2.0, False, 0),
    "granted, purged": ([(0, 2.0)], 1, None, False, 0),
    "taken back": ([(0, 2.0), (1, -2.0)], 2, 0.0, False, 0),
    "taken back, and open again": ([(0, 2.0), (1, -2.0)], 0, 0.0, False, 0),
    "granted anew": ([(0, 2.0), (1, -2.0), (2, 3.0)], 1, 3.0, False, 0),
    "the reversal of what was sealed": ([(1, -2.0)], 2, 0.0, True, 0),
    "granted anew, the rest sealed": ([(2, 3.0)], 1, 3.0, True, 0),
    "taken back, and still marked as paid": ([(0, 2.0), (1, -2.0)], 1, 0.0, False, 1),
    "taken back, and granted_credit still there": ([(0, 2.0), (1, -2.0)], 2, 2.0, False, 1),
    "another amount taken back": ([(0, 2.0), (1, -1.0)], 2, 0.0, False, 1),
    "the reversal of what never was": ([(1, -2.0)], 2, 0.0, False, 1),
    "a gap after what was sealed": ([(1, -2.0), (3, -2.0)], 2, 0.0, True, 1),
    "all wrong": ([(0, 2.0), (1, -1.0)], 1, 2.0, False, 3),
}


@pytest.mark.parametrize(("grants", "mark", "granted", "sealed", "problems"), JUDGED.values(), ids=JUDGED)
def test_a_result_is_judged(
    grants: list[tuple[int, float]], mark: int, granted: float | None, sealed: bool, problems: int
) -> None:
    assert len(result_problems(PaidResult(1, grants, mark, granted), sealed=sealed)) == problems


SCHEDULE = {
    "never audited": (LastAudit(), {}, 0.0),
    "audited an hour ago": (LastAudit(at=10 * DAY_S - 3600, full_at=9 * DAY_S), {}, None),
    "yesterday, all of it the day before": (LastAudit(at=9 * DAY_S, full_at=8 * DAY_S), {}, 9 * DAY_S - 600),
    "all of it a week ago": (LastAudit(at=9 * DAY_S, full_at=3 * DAY_S), {}, 0.0),
    "yesterday, and something was wrong": (LastAudit(at=9 * DAY_S, full_at=8 * DAY_S, problems=1), {}, 0.0),
    "switched off": (LastAudit(), {"interval_s": 0}, None),
}


@pytest.mark.parametrize(("last", "settings", "since"), SCHEDULE.values(), ids=SCHEDULE)
def test_when_an_audit_is_due(last: LastAudit, settings: dict[str, float], since: float | None) -> None:
    assert next_audit(last, AuditSettings(**settings), 10 * DAY_S) == since


async def test_the_daemon_audits_some_minutes_after_its_start_and_then_by_schedule(books: Books) -> None:
    world = books.world
    settings = world.settings()
    database = await world.database(settings)
    watcher, handler = Audits(database, settings), AuditHandler(database, settings)

    async def look(at: float) -> list[Any]:
        return [event async for page in watcher.poll(at) for event in page]

    now = float(world.now)
    assert await look(now) == []
    due = await look(now + FIRST_AFTER_S)
    assert due == [AuditDue(0.0)]
    assert [planned.detail for planned in await handler.plan(due)] == ["all of it"]
    await handler.handle(due)
    assert await look(now + FIRST_AFTER_S) == []
    (next_due,) = await look(now + 2 * DAY_S)
    assert now - 700 < next_due.since < now
    world.execute("UPDATE host SET total_credit = total_credit + 1 WHERE id = 1")
    await handler.handle([next_due])
    # Something is wrong: the next one looks at everything, and a restart doesn't forget it.
    restarted = Audits(database, settings)
    assert [page async for page in restarted.poll(now + 3 * DAY_S)] == []
    assert await look(now + 3 * DAY_S) == [AuditDue(0.0)]
    state = {row["name"]: row["value"] for row in world.rows("SELECT name, value FROM axiomd_state")}
    assert state["audit_problems"] == 1
    assert state["fully_audited_at"] < state["audited_at"]


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("1d", NOW - DAY_S),
        ("36h", NOW - 1.5 * DAY_S),
        ("90m", NOW - 5400),
        ("1700000000", 1_700_000_000.0),
        ("2026-05-01", 1_777_593_600.0),
        ("2026-05-01T12:00+02:00", 1_777_593_600.0 + 10 * 3600),
    ],
)
def test_since_is_a_span_a_time_or_a_date(text: str, when: float) -> None:
    assert parse_since(text, NOW) == when


@pytest.mark.parametrize("text", ["yesterday", "1x", "-1d", "2026-13-01", "5"])
def test_since_of_another_form_is_an_error(text: str) -> None:
    with pytest.raises(SettingsError, match="--since"):
        parse_since(text, NOW)
