"""The five logs of the work as it was done by hand, replayed: a report has their sums, and sees what they missed.

tests/data/session_logs.json has the figures, and for each log in its `note` where it contradicts itself or leaves
something open, and what was taken then.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from axiomd.boinc.files import upload_path
from axiomd.boinc.project import Project
from axiomd.events import ResultCompleted
from axiomd.handlers.credit import CreditHandler
from axiomd.handlers.harvest import HarvestHandler
from axiomd.science.catalogue import CatalogueEntry, read_catalogue
from axiomd.settings import CreditSettings
from axiomd.store import tables
from axiomd.store.database import Database, Session
from axiomd.store.tables import Entry, IntendedJob, JobState
from axiomd.views.report import report
from axiomd.views.report_page import as_markdown
from axiomd.views.report_parts import Report
from axiomd.watchers.completed_results import CompletedResults
from tests.world import World

LOGS = json.loads((Path(__file__).parents[1] / "data" / "session_logs.json").read_text("utf-8"))
SESSION_S = 3600
SEED = 42
"""Of every result until the fix."""
TRACEBACK = """Traceback (most recent call last):
  File "C:\\\\ProgramData\\\\BOINC\\\\slots\\\\3\\\\spectral_dynamics.py", line 380, in main
    lr_rank_summary[lr]['top_sv_growth'].append(growth)
KeyError: 'top_sv_growth'
"""


class Replayed(NamedTuple):
    """A session, and what the report says of it."""

    expect: dict[str, Any]
    report: Report


def output(experiment: str, seed: int, outcome: str, catalogue: dict[str, CatalogueEntry]) -> bytes:
    """What the run left: the same numbers for the same seed."""
    if outcome == "error":
        return json.dumps({"error": "KeyError: 'top_sv_growth'", "traceback": TRACEBACK}).encode()
    shapes = catalogue[experiment].shapes if experiment in catalogue else {"value": ()}
    measured = {key: filled(shape, seed + 0.25 * number) for number, (key, shape) in enumerate(shapes.items())}
    said = {"experiment": experiment, "version": 1, "seed": seed, "ended": "complete", "measured": measured}
    return json.dumps(said).encode()


def filled(shape: tuple[int, ...], value: float) -> Any:
    return [filled(shape[1:], value) for _ in range(shape[0])] if shape else value


def results_of(session: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for group in session["results"]:
        for _ in range(group["count"]):
            yield group


def write_results(world: World, session: dict[str, Any], number: int, at: float) -> None:
    """Leave workunits, results and output files as BOINC would, all of them reported at one time."""
    catalogue = read_catalogue(None)
    contents: dict[tuple[str, int, str], bytes] = {}
    workunits, results = [], []
    (world.folder / "upload").mkdir(exist_ok=True)
    for place, one in enumerate(results_of(session)):
        id_ = 10_000 * (number + 1) + place
        seed = 1000 + place if session.get("seeds") == "own" else SEED
        name = f"{one['experiment']}-v{one['version']}-b{number}x{place}-s{seed}"
        failed = one["outcome"] == "exit 203"
        workunits.append(
            {
                "id": id_,
                "appid": world.app_id,
                "name": name,
                "create_time": int(at) - 100_000,
                "assimilate_state": 1,
                "error_mask": 2 if failed else 0,
                "canonical_resultid": 0 if failed else id_,
                "transition_time": 2**31 - 1,
                "target_nresults": 1,
                "min_quorum": 1,
                "max_total_results": 1,
            }
        )
        results.append(
            {
                "id": id_,
                "workunitid": id_,
                "appid": world.app_id,
                "app_version_id": world.app_version_id,
                "name": f"{name}_0",
                "hostid": one["host"],
                "userid": LOGS["hosts"][str(one["host"])]["user"],
                "server_state": 5,
                "outcome": 3 if failed else 1,
                "validate_state": 0 if failed else 1,
                "client_state": 5,
                "exit_status": 203 if failed else 0,
                "sent_time": int(at - one["elapsed_s"]) - 600,
                "received_time": int(at) + 60,
                "elapsed_time": one["elapsed_s"],
                "granted_credit": 10.0 if one["outcome"] == "paid before" else 0.0,
                "xml_doc_out": f"<file_info><name>{name}_0_0</name></file_info>",
            }
        )
        if not failed:
            key = one["experiment"], seed, one["outcome"]
            if key not in contents:
                contents[key] = output(*key, catalogue)
            Path(upload_path(world.folder / "upload", 0, f"{name}_0_0")).write_bytes(contents[key])
    insert(world, "workunit", workunits)
    insert(world, "result", results)


def insert(world: World, table: str, rows: list[dict[str, Any]]) -> None:
    """Insert rows by what they name; all else is zero or empty, by the server's own leave, which takes no time."""
    world.execute("SET SESSION sql_mode = ''")
    names, places = ", ".join(rows[0]), ", ".join(["%s"] * len(rows[0]))
    with world.connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", [tuple(row.values()) for row in rows])


async def write_work(database: Database, session: dict[str, Any], number: int, at: float) -> None:
    """Note what was deployed and aborted, as top-up and abort do."""

    async def write(connection: Session) -> None:
        deployed = session["deployed"]
        entry = Entry(at + 60, "topup", "cores_idle", sum(deployed.values()), detail=deployed)
        journal_id = await tables.write_journal(connection, entry)
        jobs = [
            IntendedJob(f"{name}-v1-d{number}-s{seed}", journal_id, "axiom", name, seed, 1 + seed % 78)
            for name, count in deployed.items()
            for seed in range(count)
        ]
        await tables.write_intent(connection, jobs)
        await tables.set_job_state(connection, [job.name for job in jobs], JobState.MADE)
        if aborted := session["expect"].get("aborted", 0):
            stuck = Entry(at + 60, "abort", "task_stuck", aborted, detail={"host_silent": aborted})
            await tables.write_journal(connection, stuck)

    await database.transaction(write)


async def replay(world: World, database: Database, project: Project, harvest: HarvestHandler, number: int) -> Replayed:
    """Pay and harvest a session's results by the rule of its day, date that as it was then, and report the session."""
    session = LOGS["sessions"][number]
    at = float(world.now - (len(LOGS["sessions"]) + 1 - number) * SESSION_S)
    write_results(world, session, number, at)
    settings = world.settings().model_copy(update={"credit": CreditSettings(preset=session["preset"], cap=1e9)})
    before = world.value("SELECT COALESCE(MAX(id), 0) FROM axiomd_journal")
    pay = CreditHandler(database, project, settings)
    async for events in CompletedResults(database, project, settings).poll(world.now):
        if finished := [event for event in events if isinstance(event, ResultCompleted)]:
            await pay.handle(finished)
            await harvest.handle(finished)
    world.execute("UPDATE axiomd_journal SET at = %s WHERE id > %s", at + 60, before)
    await write_work(database, session, number, at)
    return Replayed(session["expect"], await report(database, project, settings, since=at, until=at + SESSION_S))


@pytest.fixture
async def replayed(world: World) -> list[Replayed]:
    for id_, name in LOGS["users"].items():
        world.user(id=int(id_), name=name)
    for id_, host in LOGS["hosts"].items():
        world.host(host["user"], id=int(id_), p_ncpus=host["cores"], os_name="Microsoft Windows 11")
    settings = world.settings()
    database, project = await world.migrate(settings)
    harvest = HarvestHandler(database, project, settings, read_catalogue(None))
    try:
        return [await replay(world, database, project, harvest, number) for number in range(len(LOGS["sessions"]))]
    finally:
        await harvest.close()


async def test_the_reports_of_the_logs(replayed: list[Replayed]) -> None:
    for expect, found in replayed:
        sums_are_the_logs(expect, found)
    first_march, morning, noon, one_oclock, evening = (one.report for one in replayed)

    # What died at the time limit was the volunteer's abort, says BOINC; and what had been paid before isn't paid again.
    assert first_march.summary.refused == {"already_granted": 64}
    assert [(line.results, line.hosts) for line in first_march.failures if line.class_ == "EXIT_ABORTED_VIA_GUI"] == [
        (1, 1)
    ] * 5

    # A crash that BOINC called a success is one line.
    for found, count in ((morning, 132), (noon, 54)):
        (line,) = found.failures
        assert (line.class_, line.experiment, line.results) == ("KeyError", "spectral_dynamics", count)
        assert "top_sv_growth" in line.detail
        assert found.summary.silent == count

    # Hundreds of replications were one: each had the seed 42.
    status = {one.experiment: one for one in one_oclock.independence}
    assert {one.seeds for one in one_oclock.independence} == {1}
    memorization = status["memorization_dynamics"]
    assert (memorization.results, memorization.fresh, memorization.discounted) == (21, 1, 20)
    assert memorization.status == "one seed: 21 results are one replicate"
    assert any(
        one.subject == "memorization_dynamics v1" and one.urgency == "now" and "one seed" in one.words
        for one in one_oclock.next
    )
    assert [(one.seeds, one.level) for one in one_oclock.findings if one.experiment == "memorization_dynamics"] == [
        (1, "awaiting")
    ] * 3
    # After the fix they are what they seem to be.
    assert {one.status for one in evening.independence if one.results > 1} == {"independent"}

    text = as_markdown(one_oclock)
    for figure in ("5,720", "4,960", "Armin Gips", "one seed: 21 results are one replicate"):
        assert figure in text


def sums_are_the_logs(expect: dict[str, Any], found: Report) -> None:
    """Hold a report against the figures that its log has."""
    summary = found.summary
    assert (summary.results, summary.credited, summary.credit) == (
        expect["results"],
        expect["credited"],
        expect["credit"],
    )
    assert (summary.deployed, summary.aborted) == (expect["deployed"], expect.get("aborted", 0))
    assert summary.refused == expect["refused"]
    assert not summary.undecided
    if tiers := expect.get("tiers"):
        assert {f"{one.credit:g}": one.results for one in found.credit.by_amount} == tiers
    users = {one.name: one.credit for one in found.credit.by_user}
    assert users == (expect["users"] or users)
    assert sum(users.values()) == expect["credit"]
    hosts = {str(one.id): one.credit for one in found.credit.by_host}
    assert {id_: hosts[id_] for id_ in expect.get("hosts", {})} == expect.get("hosts", {})
    if results_of_users := expect.get("users_of"):
        assert {
            one.name: one.results for one in found.credit.by_user if one.name in results_of_users
        } == results_of_users
        assert len(users) == expect["user_count"]
        assert len(hosts) + found.credit.other_hosts == expect["host_count"]
    results: Counter[str] = Counter()
    for one in found.experiments:
        results[one.experiment] += one.results
    assert {name: results[name] for name in expect.get("experiments", {})} == expect.get("experiments", {})
    means = {one.experiment: one.mean_all_s for one in found.experiments}
    for name, mean in expect.get("mean_all_s", {}).items():
        assert means[name] == pytest.approx(mean)
