"""Where the volunteers' jobs are really computed: a few slots, as many as this machine has cores.

The fleet has many more cores on paper. A job that finds no free slot replays an output that was computed earlier in
this run, for as long as that took, and says that it came from its own seed. Its numbers are a copy then, and no
evidence of anything. But an equal seed always gives equal numbers, as it does where everybody computes.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from axiomd.demo import children, content
from axiomd.demo.backend_lib import dir_hier_path
from axiomd.demo.config import Config
from axiomd.demo.project import INPUT_FILE, OUTPUT_FILE
from experiments.kit.naming import parse_workunit_name

TIME_LIMIT_S = 60.0
TIME_LIMIT_EXCEEDED = 197  # exit status that BOINC's client gives then
LONGEST_STDERR = 60_000
NICENESS = 10

INIT_DATA = """\
<app_init_data>
<app_name>axiom</app_name>
<wu_name>{wu_name}</wu_name>
<result_name>{result_name}</result_name>
</app_init_data>
"""


@dataclass(frozen=True)
class Task:
    """What there is to compute: names of the workunit, of the result, and of the input file."""

    wu_name: str
    result_name: str
    input_name: str

    @property
    def seed(self) -> int | None:
        """The seed that the workunit's name says."""
        name = parse_workunit_name(self.wu_name)
        return name.seed if name else None


@dataclass(frozen=True)
class Output:
    """What came of a task: its output file's content, how long it took, how it ended."""

    content: bytes
    elapsed_s: float
    exit_status: int = 0
    stderr: str = ""
    replayed: bool = False


@dataclass
class Run:
    """A task being computed, or an earlier output being replayed until `ends_at`."""

    task: Task
    started_at: float
    slot: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    replay: Output | None = None


@dataclass
class Workshop:
    """The slots, and the outputs computed so far. Times are monotonic seconds."""

    folder: Path
    config: Config
    slots: int = os.cpu_count() or 1
    seed: int = 0
    computed: int = 0
    replayed: int = 0
    _outputs: dict[str, list[Output]] = field(default_factory=dict)
    _of_seed: dict[tuple[str, int | None], Output] = field(default_factory=dict)  # whose numbers a seed has
    _running: list[Run] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _started: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def start(self, task: Task) -> Run | None:
        """Begin a task; None while it has to wait for a slot, or for an output to replay."""
        self._seen.add(task.input_name)
        if (known := self._of_seed.get((task.input_name, task.seed))) is not None:
            return Run(task, time.monotonic(), replay=known)
        if any((run.task.input_name, run.task.seed) == (task.input_name, task.seed) for run in self._running):
            return None  # its numbers are being computed
        if len(self._running) < self.slots and self._deserves_slot(task):
            return self._compute(task)
        outputs = self._outputs.get(task.input_name)
        if not outputs:
            return None
        return Run(task, time.monotonic(), replay=self._remember(task, self._rng.choice(outputs)))

    def _remember(self, task: Task, output: Output) -> Output:
        if task.seed is not None:
            self._of_seed[task.input_name, task.seed] = output
        return output

    def _deserves_slot(self, task: Task) -> bool:
        """Inputs without any output come first, one slot each: only then every job finds something to replay."""
        missing = self._seen - set(self._outputs) - {run.task.input_name for run in self._running}
        return not missing or task.input_name in missing

    def finish(self, run: Run) -> Output | None:
        """The output of a task that has ended; None while it runs."""
        elapsed_s = time.monotonic() - run.started_at
        if run.replay is not None:
            if elapsed_s < run.replay.elapsed_s:
                return None
            self.replayed += 1
            seed = run.task.seed
            replayed = run.replay.content if seed is None else content.with_seed(run.replay.content, seed)
            return Output(replayed, elapsed_s, replayed=True)
        return self._collect(run, elapsed_s)

    def drop(self, run: Run) -> None:
        """End a task that nobody wants any more."""
        if run.process is not None:
            children.kill(run.process)
            self._leave(run)

    def close(self) -> None:
        """End all tasks."""
        for run in list(self._running):
            self.drop(run)

    def _compute(self, task: Task) -> Run:
        self._started += 1
        slot = self.folder / str(self._started)
        slot.mkdir(parents=True)
        source = dir_hier_path(task.input_name, Path(self.config.download_dir), self.config.uldl_dir_fanout)
        shutil.copyfile(source, slot / INPUT_FILE)
        init_data = INIT_DATA.format(wu_name=escape(task.wu_name), result_name=escape(task.result_name))
        (slot / "init_data.xml").write_text(init_data, encoding="utf-8")
        with (slot / "stderr.txt").open("wb") as stderr:
            process = children.start(
                ["nice", "-n", str(NICENESS), sys.executable, "-m", "experiments.worker"],
                cwd=slot,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        run = Run(task, time.monotonic(), slot, process)
        self._running.append(run)
        return run

    def _collect(self, run: Run, elapsed_s: float) -> Output | None:
        if run.process is None or run.slot is None:
            return None
        exit_status = run.process.poll()
        if exit_status is None:
            if elapsed_s < TIME_LIMIT_S:
                return None
            exit_status = TIME_LIMIT_EXCEEDED
        children.kill(run.process)
        computed = b""
        if exit_status == 0 and (run.slot / OUTPUT_FILE).exists():
            computed = (run.slot / OUTPUT_FILE).read_bytes()
        stderr = (run.slot / "stderr.txt").read_text(encoding="utf-8", errors="replace")[-LONGEST_STDERR:]
        output = Output(computed, elapsed_s, exit_status, stderr)
        self.computed += 1
        if computed:
            self._remember(run.task, output)
            self._outputs.setdefault(run.task.input_name, []).append(output)
        self._leave(run)
        return output

    def _leave(self, run: Run) -> None:
        self._running.remove(run)
        if run.slot is not None:
            shutil.rmtree(run.slot)


def _environment() -> dict[str, str]:
    """The worker's variables: where to find it, and one core only."""
    found = importlib.util.find_spec("experiments")
    roots = [str(Path(place).parent) for place in (found.submodule_search_locations or [])] if found else []
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(roots)}
