"""The harvest: output files read, checked and written as measurements a second, beside the bare minimum of the same.

results_per_s      files on disk -> events -> bus -> reader -> committed measurement, replicate, tally, sizes, marks
read_per_s         the same files, opened, read and parsed by json.loads in one process, one after the other
insert_per_s       the same rows of numbers, by bare multi-row INSERTs of 500 into one table
daemon_mb          memory of the process that runs the handlers (VmRSS), at each quarter of the results
reader_mb          memory of the process that reads the files, likewise
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from axiomd.daemon import Axiomd
from axiomd.events import ResultCompleted
from axiomd.handlers.harvest import HarvestHandler
from axiomd.science.catalogue import CatalogueEntry, read_catalogue
from axiomd.science.layout import Layout
from axiomd.settings import HarvestSettings
from axiomd.watchers.completed_results import CompletedResults
from benchmarks.ground import Ground, ground, parser, report

EXPERIMENTS = ("micro_scaling_laws", "spectral_dynamics")
FANOUT = 1024
QUARTERS = 4


def output(entry: CatalogueEntry, seed: int) -> dict[str, Any]:
    """An output of the declared keys, as the worker writes it."""
    draw = random.Random(seed)

    def values(shape: tuple[int, ...]) -> Any:
        return [values(shape[1:]) for _ in range(shape[0])] if shape else draw.gauss(1.0, 0.3)

    return {
        "experiment": entry.name,
        "version": entry.version,
        "seed": seed,
        "seed_source": "name",
        "scale": 1.0,
        "elapsed_seconds": 100.0,
        "peak_memory_bytes": 60_000_000,
        "completed": 1.0,
        "partial": 0,
        "ended": "complete",
        "checkpoint": "none",
        "omitted": [],
        "measured": {key: values(shape) for key, shape in entry.shapes.items()},
    }


def lay_out(place: Ground, entries: Sequence[CatalogueEntry], results: int, hosts: int) -> list[Path]:
    """Make finished results, and their files in the upload folder."""
    place.people(hosts=hosts, users=max(hosts // 6, 1), teams=max(hosts // 30, 1))
    place.finished(results, hosts=hosts, assimilate_state=1)
    names = "ELT(1 + MOD(id, 2), " + ", ".join(f"'{entry.name}-v{entry.version}'" for entry in entries) + ")"
    place.execute(f"UPDATE workunit SET name = CONCAT({names}, '-b1-s', id)")
    place.execute("UPDATE result r JOIN workunit w ON w.id = r.workunitid SET r.name = CONCAT(w.name, '_0')")
    place.execute(
        "UPDATE result SET xml_doc_out = CONCAT('<file_info>\\n    <name>', name, '_r1_0</name>\\n    "
        "<nbytes>9</nbytes>\\n"
        "    <md5_cksum>0123456789abcdef0123456789abcdef</md5_cksum>\\n</file_info>\\n')"
    )
    files = []
    for seed in range(1, results + 1):
        entry = entries[seed % 2]
        name = f"{entry.name}-v{entry.version}-b1-s{seed}_0_r1_0"
        number = int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[1:8], 16)
        path = place.folder / "upload" / f"{number % FANOUT:x}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(output(entry, seed)))
        files.append(path)
    return files


class Watched(HarvestHandler):
    """The handler, noting the memory of both processes at each quarter of the results."""

    results = 0
    done = 0

    async def act(self, events: Sequence[ResultCompleted]) -> None:
        """Harvest, then look."""
        await super().act(events)
        self.done += len(events)
        while self.done >= self.results * (len(self.daemon_mb) + 1) / QUARTERS:
            self.daemon_mb.append(resident_mb("self"))
            self.reader_mb.append(resident_mb(str(self.reader_pid)))

    def prepare(self, results: int) -> None:
        """Say how many results there will be."""
        self.results = results
        self.daemon_mb: list[int] = []
        self.reader_mb: list[int] = []


def resident_mb(pid: str) -> int:
    """Memory that a process holds (VmRSS), in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


async def harvest(place: Ground, batch: int, results: int) -> tuple[float, Watched]:
    """Harvest everything that waits, by the watcher, the bus and the handler; seconds."""
    settings = place.settings(harvest={"batch": batch}, intake={"page": 1000})
    database, project = await place.migrate(settings)
    handler = Watched(database, project, settings, read_catalogue(None))
    handler.prepare(results)
    axiomd = Axiomd(settings, database, project, [CompletedResults(database, project, settings)], [handler])
    await database.open()
    started = time.perf_counter()
    await axiomd.once()
    seconds = time.perf_counter() - started
    await database.close()
    return seconds, handler


def read_bare(files: Sequence[Path]) -> float:
    """Read and parse the files, nothing else; seconds."""
    started = time.perf_counter()
    for path in files:
        json.loads(path.read_bytes())
    return time.perf_counter() - started


def insert_bare(place: Ground, entries: Sequence[CatalogueEntry], results: int) -> float:
    """Insert as many packed rows into one table, nothing else; seconds."""
    packed = [Layout.of(entry).pack(output(entry, 1)["measured"]).hex() for entry in entries]
    place.execute("CREATE TABLE bare (id BIGINT NOT NULL PRIMARY KEY, numbers MEDIUMBLOB) ENGINE=InnoDB")
    started = time.perf_counter()
    for first in range(0, results, 500):
        rows = ",".join(f"({id_},X'{packed[id_ % 2]}')" for id_ in range(first, min(first + 500, results)))
        place.execute(f"INSERT INTO bare VALUES {rows}")
    return time.perf_counter() - started


def measure(results: int, batch: int, hosts: int) -> dict[str, Any]:
    """Measure all three on the same files."""
    catalogue = read_catalogue(None)
    entries = [catalogue[name] for name in EXPERIMENTS]
    with ground() as place:
        place.configure(f"<uldl_dir_fanout>{FANOUT}</uldl_dir_fanout>")
        files = lay_out(place, entries, results, hosts)
        place.settle()
        seconds, seen = asyncio.run(harvest(place, batch, results))
        written = place.value("SELECT COUNT(*) FROM axiomd_measurement WHERE outcome = 1")
        if written != results or place.value("SELECT COUNT(*) FROM axiomd_replicate") != results:
            raise SystemExit(f"{written} of {results} results were harvested as complete")
        size = sum(path.stat().st_size for path in files) / results
        bare_read, bare_insert = read_bare(files), insert_bare(place, entries, results)
    return {
        "results_per_s": results / seconds,
        "read_per_s": results / bare_read,
        "insert_per_s": results / bare_insert,
        "file_bytes": size,
        "daemon_mb": seen.daemon_mb,
        "reader_mb": seen.reader_mb,
    }


def main() -> None:
    """Run from the command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--results", type=int, default=30_000)
    arguments.add_argument("--batch", type=int, default=HarvestSettings().batch)
    arguments.add_argument("--hosts", type=int, default=300)
    chosen = arguments.parse_args()
    figures = measure(chosen.results, chosen.batch, chosen.hosts)
    report(
        figures,
        "harvest: {results_per_s:,.0f} results/s of {file_bytes:,.0f} bytes; files read and parsed bare "
        "{read_per_s:,.0f}, rows inserted bare {insert_per_s:,.0f}; MB by quarter: daemon {daemon_mb}, "
        "reader {reader_mb}",
        as_json=chosen.json,
    )


if __name__ == "__main__":
    main()
