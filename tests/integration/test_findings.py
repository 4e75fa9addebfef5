"""From independent results to findings, and to the end of an experiment, on a real MariaDB."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from axiomd import daemon
from axiomd.daemon import Axiomd
from axiomd.science import findings as evidence
from axiomd.science.catalogue import CatalogueEntry, read_catalogue
from axiomd.science.layout import Layout
from axiomd.store import findings as store
from axiomd.store import tables
from axiomd.views import experiments, findings, status
from axiomd.watchers.findings import Findings
from axiomd.watchers.watcher import poll_once
from experiments.kit.claims import Claim
from tests.world import World

CLAIMS = (
    Claim("more", "A is more than b.", "a", "b", "greater", 0.5),
    Claim("less", "C is less than b.", "c", "b", "less", 0.0, baseline=0.0),
)
NAME = "small"


def catalogue(folder: Path) -> Path:
    """A catalogue of one experiment with two claims; it needs 2 * 3 sequences / .05 = 120 for a verdict."""
    claims = [asdict(claim) | {"hash": claim.hash} for claim in CLAIMS]
    keys = [{"name": key, "shape": []} for key in "abcd"]
    entry = {"name": NAME, "version": 2, "memory_bytes": 1000, "budget_s": 10, "gpu": False}
    path = folder / "catalogue.json"
    path.write_text(json.dumps({"experiments": [entry | {"result_keys": keys, "claims": claims}]}))
    return path


async def small(world: World, *, target: int = 100, **sections: Any) -> Axiomd:
    off = {"enabled": False}
    return await world.axiomd(
        experiments={NAME: {"target": target}},
        daemon={"catalogue": catalogue(world.folder)},
        **{"topup": off, "repair": off, "failures": off, "verification": off} | sections,
    )


def replicate(world: World, entry: CatalogueEntry, seed: int, *, host: int = 0, **measured: float) -> int:
    """Write an independent result as the harvest does, with its measurement; the result's id."""
    layout, result, host = Layout.of(entry), 1000 + seed, host or 10 + seed % 12
    world.execute(
        "INSERT IGNORE INTO axiomd_layout (id, hash, experiment, version, layout) VALUES (1, %s, %s, %s, %s)",
        layout.hash, entry.name, entry.version, layout.as_json(),
    )  # fmt: skip
    measurement(world, entry, result, seed, host)
    world.execute(
        "INSERT INTO axiomd_replicate (experiment, version, seed, digest, result_id, host_id, user_id, platform, gpu, "
        "at, layout_id, quantities) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 0, %s, 1, %s)",
        entry.name, entry.version, seed, seed + 1, result, host, host // 2, 1 + seed % 3, world.now + seed,
        layout.pack_quantities(measured),
    )  # fmt: skip
    return result


def measurement(world: World, entry: CatalogueEntry, result: int, seed: int, host: int, outcome: int = 1) -> None:
    world.execute(
        "INSERT INTO axiomd_measurement (result_id, workunit_id, experiment, version, seed, host_id, user_id, "
        "platform, gpu, received_at, elapsed_s, outcome, failure_id) "
        "VALUES (%s, %s, %s, %s, %s, %s, 1, 2, 0, 1, 1, %s, %s)",
        result, result, entry.name, entry.version, seed, host, outcome, int(outcome != 1),
    )  # fmt: skip


def of(axiomd: Axiomd) -> dict[str, CatalogueEntry]:
    return read_catalogue(axiomd.settings.daemon.catalogue)


def watcher(axiomd: Axiomd) -> Findings:
    return next(watcher for watcher in axiomd.watchers if isinstance(watcher, Findings))


def gauge(verdict: str) -> float | None:
    return REGISTRY.get_sample_value("axiomd_findings", {"verdict": verdict})


def entries(world: World, kind: str) -> list[dict[str, Any]]:
    rows = world.rows("SELECT detail, actor FROM axiomd_journal WHERE kind = %s ORDER BY id", kind)
    return [json.loads(row["detail"]) | {"actor": row["actor"]} for row in rows]


async def test_claims_settle_once_and_the_experiment_is_retired(world: World) -> None:
    axiomd = await small(world)
    entry = of(axiomd)[NAME]
    unsent = world.result(world.workunit(name=f"{NAME}-v2-b1-s900"), server_state=2, sent_time=0)
    busy = world.result(world.workunit(name=f"{NAME}-v2-b1-s901"), world.host())
    for seed in range(9):
        replicate(world, entry, seed, a=2, b=1, c=1 + seed / 10)
    await axiomd.once()
    assert (entries(world, "finding"), gauge("open"), gauge("reproduced")) == ([], 2, 0)

    for seed in range(9, 12):
        replicate(world, entry, seed, a=2, b=1, c=1 + seed / 10)
    planned = {(plan.action, plan.subject, plan.detail) for plan in await axiomd.plan()}
    assert ("finding", "claim more of small version 2", "reproduced, after 12 seeds") in planned
    # The margin of the other is not above 0, and its quantity isn't below the baseline.
    assert ("finding", "claim less of small version 2", "not reproduced, after 12 seeds") in planned
    assert ("retire", "experiment small version 2", "each of its claims is settled, after 12 seeds") in planned
    assert world.rows("SELECT * FROM axiomd_finding") == []

    await axiomd.once()
    assert [(one["claim"], one["verdict"], one["seeds"]) for one in entries(world, "finding")] == [
        ("more", "reproduced", 12), ("less", "not reproduced", 12),
    ]  # fmt: skip
    (retired,) = entries(world, "retire")
    assert (retired["experiment"], retired["version"], retired["seeds"], retired["actor"]) == (NAME, 2, 12, "axiomd")
    assert (gauge("reproduced"), gauge("not reproduced"), gauge("open")) == (1, 1, 0)
    # What no volunteer has begun is cancelled, what is under way is left.
    assert world.row("result", unsent)["server_state"] == 5
    assert world.row("result", busy)["server_state"] == 4

    # Evidence to the contrary changes no verdict; nothing is written twice.
    for seed in range(20, 80):
        replicate(world, entry, seed, a=0, b=1, c=0)
    await axiomd.once()
    shown = await findings.read(axiomd.database, axiomd.settings, of(axiomd))
    assert [(one.verdict, one.settled_seeds, one.seeds, one.contradicted) for one in shown] == [
        ("reproduced", 12, 72, 60), ("not reproduced", 12, 72, 12),
    ]  # fmt: skip
    assert (len(entries(world, "finding")), len(entries(world, "retire"))) == (2, 1)

    # A person lets it go on: it isn't retired again for the same reason, but at its target.
    async with axiomd.database.session() as session:
        await tables.delete_ending(session, NAME, 2)
    await axiomd.once()
    assert world.rows("SELECT * FROM axiomd_ending") == []
    for seed in range(100, 128):
        replicate(world, entry, seed, a=2, b=1, c=0)
    await axiomd.once()
    assert entries(world, "retire")[1:] == [
        {"experiment": NAME, "version": 2, "seeds": 100, "actor": "axiomd",
         "why": "it has the independent seeds that were wanted"},
    ]  # fmt: skip


@pytest.mark.parametrize("settings", [{"replication": {"retire": False}}, {"daemon": {"dry_run": True}}])
async def test_nothing_ends_where_that_is_not_wanted(world: World, settings: dict[str, Any]) -> None:
    axiomd = await small(world, target=2)
    entry = of(axiomd)[NAME]
    changed = axiomd.settings.model_copy(
        update={name: getattr(axiomd.settings, name).model_copy(update=keys) for name, keys in settings.items()}
    )
    axiomd = daemon.build(changed, axiomd.database, axiomd.project)
    for seed in range(3):
        replicate(world, entry, seed, a=2, b=1, c=0)
    await axiomd.once()
    assert world.rows("SELECT * FROM axiomd_ending") == []
    assert entries(world, "retire") == []


async def test_what_is_evidence_and_what_is_discounted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PAGE", 4)
    axiomd = await small(world, replication={"retire": False})
    entry = of(axiomd)[NAME]
    for seed in range(12):
        replicate(world, entry, seed, a=2, b=1, c=0)
    cheat = 77
    replicate(world, entry, 30, host=cheat, a=-9, b=1, c=0)
    measurement(world, entry, 5000, 3, 11)  # the seed of another result
    measurement(world, entry, 5001, 999, 11)  # a seed of its own, with numbers of another result
    measurement(world, entry, 5002, 4, 11, outcome=2)  # no complete one
    looking = watcher(axiomd)
    read: list[str] = []
    monkeypatch.setattr("axiomd.science.findings.read", counting(read))
    await poll_once(looking, axiomd.database, axiomd.bus)
    await poll_once(looking, axiomd.database, axiomd.bus)
    assert read == [NAME]  # nothing new: nothing is read again
    (first, _) = await findings.read(axiomd.database, axiomd.settings, of(axiomd))
    assert (first.seeds, first.contradicted) == (13, 1)

    async with axiomd.database.session() as session:
        await tables.put_exclusion(session, cheat, reason="disagrees", actor="verify", now=1.0)
        await tables.put_exclusion(session, 10, reason="too hot", actor="anna", now=1.0)
    read.clear()
    await poll_once(looking, axiomd.database, axiomd.bus)
    assert read == [NAME]
    (first, _), (_, course) = await of_both(axiomd)
    assert (first.seeds, first.contradicted, first.level) == (12, 0, "definitive")
    assert [(point.seeds, point.effect) for point in course] == [(seeds, -1) for seeds in range(1, 13)]
    assert course[-1].at == world.now + 11

    (shown,) = (await experiments.experiments(axiomd.database, axiomd.settings, of(axiomd), {NAME: 5})).experiments
    assert (shown.seeds, shown.hosts, shown.users, shown.jobs_under_way) == (12, 12, 6, 5)
    assert shown.platforms == ("windows", "linux", "mac")
    assert shown.discounted == {"same seed": 1, "same numbers": 1, "distrusted host": 1}
    whole = await status.status(axiomd.database, axiomd.project, axiomd.settings)
    assert (whole.independent_seeds, whole.evidence_hosts, whole.evidence_users) == (12, 12, 6)
    assert whole.results_discounted == shown.discounted
    await axiomd.once()
    assert REGISTRY.get_sample_value("axiomd_experiment_seeds", {"experiment": NAME}) == 12


def counting(read: list[str]) -> Any:
    """Note which experiments' evidence is read."""
    really = evidence.read

    async def noting(connection: Any, entry: CatalogueEntry, distrusted: frozenset[int]) -> Any:
        read.append(entry.name)
        return await really(connection, entry, distrusted)

    return noting


async def of_both(axiomd: Axiomd) -> tuple[Any, Any]:
    async with axiomd.database.session() as session:
        found = await findings.gather(session, axiomd.settings, of(axiomd), courses=True)
    return (found[0][0], found[0][1]), (found[1][0], found[1][1])
