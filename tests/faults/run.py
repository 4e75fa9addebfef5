"""What every fault's command shares: its options, the project and BOINC around it, and the judgement at the end."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from axiomd.demo import children, rows
from axiomd.demo.mariadb import MariaDBError
from tests.faults import oracle
from tests.faults.boinc import Boinc, Load
from tests.faults.project import Daemon, FaultError, Project, wait_until

SETTLE_S = 60.0
MOST_PROBLEMS = 20


@dataclass
class Run:
    """A project with BOINC at work on it, in a temporary folder that stays where something went wrong."""

    seed: int
    tcp: bool = False
    load: Load = field(default_factory=Load)
    started_at: float = field(default_factory=time.monotonic)
    good: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Build the project and start BOINC."""
        self.folder = Path(tempfile.mkdtemp(prefix="axiomd-faults-"))
        try:
            self.project = Project(self.folder, self.seed, tcp=self.tcp)
            self.boinc = Boinc(self.project, self.seed, self.load)
            self.log = self.folder / "axiomd.log"
            self.boinc.start()
        except BaseException:
            self._take_down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take everything down; the folder stays unless all was well."""
        self._take_down()

    def _take_down(self) -> None:
        if hasattr(self, "boinc"):
            self.boinc.stop()
        children.kill_all()
        if hasattr(self, "project"):
            self.project.server.kill()
        if self.good:
            shutil.rmtree(self.folder)
        else:
            sys.stderr.write(f"kept for a look: {self.folder}\n")

    def daemon(self, **environment: str) -> Daemon:
        """A daemon on the unix socket; `environment` overrides settings, for this run's last daemon too."""
        self.environment |= environment
        return Daemon(self.project.settings(), self.log, **self.environment)

    def check(self) -> None:
        """Raise FaultError if one of BOINC's programs died."""
        for writer in self.boinc.writers:
            if writer.failure is not None:
                raise FaultError(f"the stand-in's {writer.name} ended: {writer.failure!r}")

    def wait_for_change(self, timeout_s: float, since: int | None = None) -> float:
        """Wait until axiomd has written down a change, or one more than `since`; the seconds that it took."""
        before = self.journal_entries() if since is None else since
        return wait_until(lambda: self.journal_entries() > before, timeout_s, "a change by the daemon")

    def journal_entries(self) -> int:
        """How many changes axiomd has written down."""
        with self.project.connect() as connection:
            return int(rows.select(connection, "SELECT COUNT(*) AS n FROM axiomd_journal")[0]["n"])

    def changes(self) -> dict[str, int]:
        """How many changes of each kind axiomd has written down."""
        with self.project.connect() as connection:
            found = rows.select(connection, "SELECT kind, SUM(changes) AS n FROM axiomd_journal GROUP BY kind")
        return {row["kind"]: int(row["n"]) for row in found}

    def finish(self, figures: dict[str, Any], found: Sequence[str] = ()) -> dict[str, Any]:
        """Let BOINC and a last daemon finish what is open, and judge; the summary.

        `figures` are the fault's own, `found` is what was wrong already.
        """
        faults_s = time.monotonic() - self.started_at
        self.boinc.draining = True
        # The cap is used up: what was meant is still made, nothing new is meant.
        last = self.daemon(AXIOMD_TOPUP__CAP="1")
        last.start()
        settled = True
        with self.project.connect() as connection:
            try:
                wait_until(lambda: self._settled(connection, last), SETTLE_S, "nothing open")
            except FaultError:
                settled = False
            self.boinc.stop()
            self.check()
            last.stop()
            found = [*found, *oracle.problems(connection, self.project)]
            results = rows.select(connection, "SELECT COUNT(*) AS n FROM result WHERE server_state = 5")[0]["n"]
            credited = rows.select(connection, "SELECT COUNT(*) AS n FROM axiomd_ledger")[0]["n"]
            jobs = rows.select(connection, "SELECT COUNT(*) AS n FROM axiomd_job")[0]["n"]
        found += [f"harm to BOINC: {harm}" for harm in self.boinc.harmed]
        found += [f"axiomd audit: {problem}" for problem in self.project.audit()["problems"]]
        if not (credited and jobs):
            found.append("nothing was paid, or no job was made: this run proves nothing")
        if not settled:
            found.append(f"not settled within {SETTLE_S:g} s")
        self.good = not found
        return {
            **figures,
            "results": results,
            "credited": credited,
            "jobs": jobs,
            "audit": {"ok": self.good, "problems": found[:MOST_PROBLEMS]},
            "problems": len(found),
            "changes": self.changes(),
            "boinc": dict(self.boinc.done),
            "complaints": dict(last.complaints()),
            "faults_s": round(faults_s, 1),
            "seed": self.seed,
            "seconds": round(time.monotonic() - self.started_at, 1),
        }

    def _settled(self, connection: Any, last: Daemon) -> bool:
        self.check()
        _ = last.process
        time.sleep(0.2)
        return not self.boinc.holds and not oracle.unfinished(connection)


def command(
    what: str, counts: dict[str, int], fault: Callable[..., dict[str, Any]], words: list[str] | None = None
) -> int:
    """Run one fault's command: `counts` are its options with their defaults; gives the exit status.

    0: all was exact. 1: something was not. 2: it could not run.
    """
    parser = argparse.ArgumentParser(description=what)
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the moments of an earlier run")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(words)
    sys.stderr.write(f"seed {options.seed}\n")
    try:
        answer = fault(**{name: getattr(options, name) for name in counts}, seed=options.seed)
    except (FaultError, MariaDBError) as error:
        sys.stderr.write(f"{what}: {error}\n")
        return 2
    lines = [json.dumps(answer)] if options.json else _lines(what, answer)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if answer["audit"]["ok"] else 1


def _lines(what: str, answer: dict[str, Any]) -> Iterator[str]:
    """The summary for people."""
    yield what
    for name, value in answer.items():
        if name == "audit":
            yield f"  {'audit':14} {'exact' if value['ok'] else 'NOT EXACT'}"
            yield from (f"    {problem}" for problem in value["problems"])
        elif isinstance(value, dict):
            yield f"  {name:14} {', '.join(f'{key} {count}' for key, count in value.items())}"
        else:
            yield f"  {name:14} {value}"
