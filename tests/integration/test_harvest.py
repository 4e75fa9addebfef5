"""What comes of output files: measurements and counted failures, once each, in one transaction with their mark."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from array import array
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pyarrow import parquet

from axiomd.cli.export import Format
from axiomd.cli.export import export_to as write_export
from axiomd.daemon import Axiomd
from axiomd.explain import Teller
from axiomd.handlers.harvest import HarvestHandler
from axiomd.policies import harvest as policy
from axiomd.policies.measurement import Outcome
from axiomd.policies.sizing import bucket
from axiomd.science.catalogue import read_catalogue
from axiomd.science.layout import Layout
from axiomd.store import harvest as store
from tests.world import World

ENTRY = read_catalogue(None)["micro_scaling_laws"]
SCALAR = next(key for key, shape in ENTRY.shapes.items() if not shape)
FANOUT = 16
OUTPUT_XML = "<file_info><name>{name}</name><nbytes>1</nbytes></file_info>"
TRACEBACK = """<core_client_version>8.0</core_client_version><![CDATA[<message>process exited with code 1</message>
<stderr_txt>
Traceback (most recent call last):
  File "/home/alice/slots/{slot}/experiments/spectral_dynamics.py", line 380, in run
    total += row["top_sv_growth"]
KeyError: 'top_sv_growth'
</stderr_txt>]]>
"""
QUIET: dict[str, Any] = {
    "repair": {"enabled": False},
    "abort": {"enabled": False},
    "failures": {"enabled": False},
    "topup": {"enabled": False},
    "audit": {"interval_s": 0},
}


def values(shape: tuple[int, ...], draw: random.Random) -> Any:
    """Numbers of a declared shape."""
    return [values(shape[1:], draw) for _ in range(shape[0])] if shape else draw.uniform(0.1, 2.0)


def output(seed: int, numbers: int | None = None, **changes: Any) -> dict[str, Any]:
    """An output as the worker writes it; equal `numbers`, equal numbers."""
    draw = random.Random(seed if numbers is None else numbers)
    measured = {key: values(shape, draw) for key, shape in ENTRY.shapes.items()}
    said = {"experiment": ENTRY.name, "version": ENTRY.version, "seed": seed, "completed": 1.0, "ended": "complete"}
    return said | {"partial": 0, "omitted": [], "peak_memory_bytes": 2**26, "measured": measured} | changes


class Field:
    """Results with output files in a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.write_config(f"<uldl_dir_fanout>{FANOUT}</uldl_dir_fanout>")
        (world.folder / "upload").mkdir(exist_ok=True)
        self._serial = 0

    def path(self, name: str) -> Path:
        """Where BOINC would keep this upload."""
        place = int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[1:8], 16) % FANOUT
        return self.world.folder / "upload" / f"{place:x}" / name

    def result(self, host: int, seed: int, content: object = None, *, experiment: str = "", **columns: Any) -> int:
        """Insert a finished result with its output file; content None: none was uploaded."""
        self._serial += 1
        wu_name = f"{experiment or f'{ENTRY.name}-v{ENTRY.version}'}-b{self._serial}-s{seed}"
        name = f"{wu_name}_0"
        file = f"{name}_r{self._serial}_0"
        if content is not None:
            self.path(file).parent.mkdir(exist_ok=True)
            text = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.path(file).write_bytes(text)
        said = {"name": name, "xml_doc_out": OUTPUT_XML.format(name=file)} | columns
        return self.world.valid_result(host, workunit={"name": wu_name}, **said)


@pytest.fixture
def field(world: World) -> Field:
    return Field(world)


def table_of(path: Path) -> list[dict[str, Any]]:
    """Rows of a table that was written."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"axiomd_{name}_total", labels) or 0.0


def marks(world: World) -> dict[int, int]:
    rows = world.rows("SELECT result_id, harvest_mark FROM axiomd_result")
    return {row["result_id"]: row["harvest_mark"] for row in rows}


def handler_of(axiomd: Axiomd) -> HarvestHandler:
    return next(handler for handler in axiomd.handlers if isinstance(handler, HarvestHandler))


async def test_each_result_becomes_what_it_says(world: World, field: Field) -> None:
    linux, windows = (world.host(os_name=name) for name in ("Linux Debian", "Microsoft Windows 11"))
    third = world.host(os_name="Darwin", p_fpops=1e30)
    gpu_version = world.insert("app_version", appid=world.app_id, platformid=1, version_num=2, plan_class="cuda")
    whole = field.result(linux, 1, output(1))
    agreeing = field.result(windows, 1, output(1))
    disagreeing = field.result(third, 1, output(1, numbers=99), app_version_id=gpu_version)
    again = field.result(linux, 1, output(1))
    stolen = field.result(windows, 2, output(2, numbers=1))
    other = field.result(windows, 3, output(3))
    half = field.result(linux, 4, output(4, ended="budget", partial=1, measured={SCALAR: 3.0}))
    empty = field.result(linux, 5, b"")
    missing = field.result(linux, 6)
    wrong = field.result(linux, 7, output(8))
    foreign = field.result(linux, 9, output(9), xml_doc_out=OUTPUT_XML.format(name="another_result_0"))
    undeclared = field.result(linux, 10, {"anything": 1}, experiment="unheard_of-v3")
    crashed = [
        field.result(host, 11, None, outcome=3, validate_state=2, exit_status=1, stderr_out=TRACEBACK.format(slot=slot))
        for slot, host in enumerate((linux, windows))
    ]
    limit = field.result(linux, 12, None, outcome=3, validate_state=2, exit_status=197)
    invalid = field.result(linux, 13, output(13), outcome=1, validate_state=2)
    skipped = [
        field.result(linux, 14, None, outcome=3, validate_state=2, exit_status=202),
        field.result(linux, 15, output(15), experiment="Not An Experiment"),
        field.result(linux, 16, None, file_delete_state=1),
        field.result(10**6, 17, output(17)),
    ]
    harvested = {outcome: counted("results_harvested", outcome=outcome.name.lower()) for outcome in Outcome} | {
        "same": counted("results_discounted", reason="same_seed")
    }
    axiomd = await world.axiomd(**QUIET, experiments={ENTRY.name: {"target": 5}})
    plan = {planned.subject: planned.detail for planned in await axiomd.plan() if planned.action == "harvest"}
    assert plan[f"result {whole}"] == "complete"
    assert plan[f"result {wrong}"] == "refused: wrong_seed"
    assert "KeyError spectral_dynamics.py:380 run" in plan[f"result {crashed[0]}"]
    assert not world.rows("SELECT * FROM axiomd_measurement")

    await axiomd.once()

    rows = {row["result_id"]: row for row in world.rows("SELECT * FROM axiomd_measurement")}
    assert {id_: Outcome(row["outcome"]) for id_, row in rows.items()} == {
        **dict.fromkeys((whole, agreeing, disagreeing, again, stolen, other), Outcome.COMPLETE),
        half: Outcome.PARTIAL,
        **dict.fromkeys((empty, missing, foreign), Outcome.EMPTY),
        wrong: Outcome.REFUSED,
        undeclared: Outcome.UNDECLARED,
        **dict.fromkeys((*crashed, limit, invalid), Outcome.FAILED),
    }
    assert marks(world) == dict.fromkeys(rows, 2) | dict.fromkeys(skipped, 3)
    # The numbers are what was measured, whatever bytes they are.
    (layout,) = world.rows("SELECT * FROM axiomd_layout")
    unpacked = Layout.from_json(ENTRY.name, ENTRY.version, layout["layout"]).unpack(rows[other]["numbers"])
    assert unpacked == output(3)["measured"]
    assert (rows[disagreeing]["platform"], rows[disagreeing]["gpu"], rows[agreeing]["platform"]) == (3, 1, 1)
    assert rows[other]["elapsed_s"] == 100.0
    # One of each seed, none with another's numbers.
    independent = {row["result_id"] for row in world.rows("SELECT result_id FROM axiomd_replicate")}
    assert independent == {whole, other, undeclared}
    pairs = world.rows("SELECT first_id, second_id, agrees, difference FROM axiomd_comparison")
    assert {(p["first_id"], p["second_id"]): p["agrees"] for p in pairs} == {
        (whole, agreeing): 1,
        (whole, disagreeing): 0,
        (agreeing, disagreeing): 0,
        (agreeing, again): 1,
        (disagreeing, again): 0,
    }
    assert world.rows("SELECT seed FROM axiomd_verification") == [{"seed": 1}]
    # The same cause on two machines is one line.
    failures = {row["id"]: row for row in world.rows("SELECT * FROM axiomd_failure")}
    assert rows[crashed[0]]["failure_id"] == rows[crashed[1]]["failure_id"]
    failure = failures[rows[crashed[0]]["failure_id"]]
    assert (failure["class"], failure["results"]) == ("KeyError", 2)
    assert sum(one["results"] for one in failures.values()) == sum(row["failure_id"] > 0 for row in rows.values()) == 9
    assert world.rows("SELECT SUM(results) r, SUM(failures) f, SUM(limits) l, SUM(seconds) s FROM axiomd_tally") == [
        {"r": len(rows), "f": 9, "l": 1, "s": 700.0}
    ]
    sizes = world.rows("SELECT quantity, SUM(results) n, MAX(bucket) m FROM axiomd_size GROUP BY quantity ORDER BY 1")
    assert [(row["quantity"], row["n"]) for row in sizes] == [(1, 7), (2, 6), (3, 7)]
    assert sizes[0]["m"] < bucket(1e30), "a host's claim of speed is bounded"
    assert counted("results_harvested", outcome="complete") - harvested[Outcome.COMPLETE] == 6
    assert counted("results_discounted", reason="same_seed") - harvested["same"] == 3
    # Paid, harvested, done with; a second look finds nothing.
    before = world.rows("SELECT * FROM axiomd_tally")
    await axiomd.once()
    assert world.value("SELECT COUNT(*) FROM workunit WHERE assimilate_state <> 2") == 0
    assert world.rows("SELECT * FROM axiomd_tally") == before
    assert len(world.rows("SELECT * FROM axiomd_measurement")) == len(rows)

    teller = Teller(axiomd.database, axiomd.project, axiomd.settings)
    told = {id_: "; ".join((await teller.tell("result", id_)).decided) for id_ in (whole, again, stolen, crashed[0])}
    assert told[whole].startswith(f"harvested: {ENTRY.name} version {ENTRY.version}, seed 1: complete, and independent")
    assert f"no new evidence: result {whole} has the same seed" in told[again]
    assert f"no new evidence: result {whole} has the same numbers" in told[stolen]
    assert "failed (KeyError spectral_dynamics.py:380 run" in told[crashed[0]]

    # A scientist's table has the very numbers.
    tables = {}
    for name, form, everything in (("few.csv", Format.CSV, False), ("all.parquet", Format.PARQUET, True)):
        path = world.folder / name
        await write_export(axiomd.settings, ENTRY.name, 0, form, path, all_=everything)
        tables[name] = table_of(path)
    flat = [name for name in tables["few.csv"][0] if name.partition("[")[0] in ENTRY.shapes]
    assert [row["seed"] for row in tables["few.csv"]] == ["1", "3"]
    assert [float(tables["few.csv"][1][name]) for name in flat] == list(array("d", rows[other]["numbers"]))
    exported = {row["result"]: row for row in tables["all.parquet"]}
    assert exported.keys() == {whole, agreeing, disagreeing, again, stolen, other, half}
    assert (exported[half][SCALAR], exported[half]["outcome"], exported[half][flat[-1]]) == (3.0, "partial", None)
    assert [id_ for id_, row in exported.items() if row["independent"]] == [whole, other]
    assert (exported[agreeing]["platform"], exported[disagreeing]["gpu"]) == ("windows", True)


async def test_what_breaks_off_leaves_nothing_and_is_done_again(
    world: World, field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = world.host()
    monkeypatch.setattr(policy, "MOST_FINGERPRINTS", 3)
    for number, error in enumerate(("KeyError", "ValueError", "OSError", "TypeError", "IndexError")):
        said = TRACEBACK.format(slot=1).replace("KeyError", error)
        over: dict[str, Any] = {
            "outcome": 3,
            "validate_state": 2,
            "exit_status": 1,
            "received_time": world.now - 50 + number,
        }
        field.result(host, number, None, stderr_out=said, **over)
    good = field.result(host, 9, output(9))
    axiomd = await world.axiomd(**QUIET)
    true_mark = store.mark

    async def broken(*_arguments: object) -> None:
        raise RuntimeError("killed here")

    monkeypatch.setattr(store, "mark", broken)
    await axiomd.once()
    for table in ("measurement", "replicate", "failure", "tally", "size"):
        assert not world.rows(f"SELECT * FROM axiomd_{table}")
    # Credit is paid all the same, and the workunits wait.
    assert world.value("SELECT granted_credit > 0 FROM result WHERE id = %s", good)
    assert world.value("SELECT COUNT(*) FROM workunit WHERE assimilate_state = 1") == 6

    monkeypatch.setattr(store, "mark", true_mark)
    await axiomd.once()
    assert set(marks(world).values()) == {2}
    # Of unheard-of failures only so many are told apart.
    classes = world.rows("SELECT class, results FROM axiomd_failure ORDER BY id")
    assert {row["class"]: row["results"] for row in classes} == {
        "KeyError": 1,
        "ValueError": 1,
        "OSError": 1,
        "OtherError": 2,
    }
    # A mark that got lost is closed again, and nothing counted twice.
    tally = world.rows("SELECT * FROM axiomd_tally")
    world.execute("UPDATE axiomd_result SET harvest_mark = 1 WHERE result_id = %s", good)
    await axiomd.once()
    assert marks(world)[good] == 2
    assert world.rows("SELECT * FROM axiomd_tally") == tally


async def test_a_disk_in_trouble_is_nobodys_failure(world: World, field: Field) -> None:
    upload = world.folder / "upload"
    axiomd = await world.axiomd(**QUIET, harvest={"retry_s": 0.001}, intake={"mode": "in_flight"})
    good = field.result(world.host(), 1, output(1))
    upload.rename(world.folder / "unmounted")
    await axiomd.once()
    assert marks(world) == {good: 1}
    assert world.value("SELECT credit_mark FROM axiomd_result") == 1
    # Not starved where its payment is put off, either.
    world.execute("UPDATE axiomd_result SET credit_mark = 0, look_at = %s", world.now + 10_000)
    (world.folder / "unmounted").rename(upload)
    await axiomd.once()
    assert marks(world) == {good: 2}
    assert world.value("SELECT outcome FROM axiomd_measurement") == Outcome.COMPLETE
    # What BOINC has purged can't be harvested any more: the mark is closed, the payment's row stays.
    world.execute("UPDATE axiomd_result SET credit_mark = 1, harvest_mark = 1")
    world.execute("DELETE FROM result")
    await (await world.axiomd(**QUIET, intake={"mode": "in_flight"})).once()
    assert marks(world) == {good: 3}


async def test_payment_that_waits_for_the_harvest(world: World, field: Field) -> None:
    host = world.host()
    whole = field.result(host, 1, output(1))
    half = field.result(host, 2, output(2, ended="budget", partial=1))
    empty = field.result(host, 3, b"")
    failed = field.result(host, 4, None, outcome=3, validate_state=2, exit_status=1)
    credit = {"policy": "flat", "flat": 10, "waits_for_harvest": True, "empty_share": 0, "partial_share": 0.5}
    axiomd = await world.axiomd(**QUIET, credit=credit | {"failure_other": 2, "failure_min_s": 1})
    # Harvested; then paid; then done with.
    for _ in range(3):
        await axiomd.once()
    paid = {row["id"]: row["granted_credit"] for row in world.rows("SELECT id, granted_credit FROM result")}
    assert paid == {whole: 10, half: 5, empty: 0, failed: 2}
    assert world.value("SELECT reason FROM axiomd_result WHERE result_id = %s", empty) == "empty_output"
    assert world.value("SELECT COUNT(*) FROM workunit WHERE assimilate_state <> 2") == 0
