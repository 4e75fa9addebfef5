"""Runs one experiment in the folder it is started in: `python -m experiments.worker`.

In a BOINC slot it takes its order from wu.json, and what that doesn't say from the workunit's name in init_data.xml. It
writes fraction_done and a checkpoint after every stage, result.json at the end, and then boinc_finish_called, the sign
by which BOINC's client knows that an app that doesn't link its library has ended well. Options are for a person, and
come before both files.
"""

from __future__ import annotations

import _thread
import argparse
import contextlib
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, cast

from experiments import NAMES, BatchExperiment, Experiment, load
from experiments.kit.device import HOST, Device, NoGpuError, gpu
from experiments.kit.encoder import Measured, encode, finite_only
from experiments.kit.files import load_checkpoint, save_checkpoint, write
from experiments.kit.naming import MAX_SEED, WorkunitName, parse_workunit_name
from experiments.kit.order import MAX_SEEDS, Order, OrderError, read_order
from experiments.kit.stages import Checkpoint, Deadline, of_each_seed

INPUT_FILE: Final = "wu.json"
INIT_FILE: Final = "init_data.xml"
RESULT_FILE: Final = "result.json"
PROGRESS_FILE: Final = "fraction_done"
CHECKPOINT_FILE: Final = "checkpoint.npz"
FINISH_FILE: Final = "boinc_finish_called"

logger = logging.getLogger(__name__)


class OutOfTimeError(Exception):
    """The budget ended within a stage; what the stage would have measured is lost."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the options and this folder's files say. Gives the exit status: 0 good, 1 no result, 2 bad order."""
    folder = Path()
    options = _options(arguments)
    described = options.pop("describe", None)
    if described is not None:
        print(encode(load(described).METADATA.as_json()), end="")
        return 0
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        # Before numpy is loaded: a task has one core, and threads would take its neighbours'.
        os.environ[variable] = "1"
    try:
        order = read_order(options, _read_input(folder), _read_name(folder), NAMES)
        if not _leave(folder, perform(order, load, folder)):
            return 1
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        write(folder / FINISH_FILE, "")
    except OrderError as error:
        print(f"experiments.worker: {error}", file=sys.stderr)
        refused = {"completed": 0.0, "partial": 1, "ended": "refused", "error": error.word, "measured": {}}
        _leave(folder, refused)
        return 2
    except KeyboardInterrupt:
        print("experiments.worker: interrupted; started again, it goes on from its checkpoint", file=sys.stderr)
        return 130
    return 0


def perform(order: Order, find: Callable[[str], Experiment], folder: Path) -> dict[str, Any]:
    """Run the experiment that `find` gives for its name, and give the content of its result file.

    If the experiment fails or its time is up, the result has what the stages until then measured, with partial = 1.
    Raises OrderError if this experiment, or this machine, has not what the order needs.
    """
    begin = time.monotonic()
    run = _identity(order)
    reached, spent_s, checkpoint = Checkpoint(), 0.0, "none"
    error: str | None = None

    def on_stage(reached: Checkpoint) -> None:
        nonlocal checkpoint
        try:
            write(folder / PROGRESS_FILE, f"{reached.done / reached.stages:.4f}\n")
            save_checkpoint(folder / CHECKPOINT_FILE, run, reached, spent_s + time.monotonic() - begin)
        except OSError:  # both are a courtesy: a run doesn't end for want of them
            checkpoint = "not written"

    try:
        experiment = find(order.experiment)
        device = _device(order, experiment)
        run["version"] = experiment.METADATA.version
        # A seed that the system drew is taken from the checkpoint: a restart would draw another one.
        known = {key: value for key, value in run.items() if key != "seed" or order.seed_source != "random"}
        found, reached, spent_s, checkpoint = load_checkpoint(folder / CHECKPOINT_FILE, known)
        run |= found
        budget_s = experiment.METADATA.budget_s if order.budget_s is None else order.budget_s
        with _stopped_after(budget_s - spent_s):
            deadline = Deadline(budget_s - spent_s, checkpoint=reached, on_stage=on_stage)
            measured = _measured(experiment, order, run["seed"], deadline, device)
        completed = min(own.pop("completed") for own in measured)
        ended = "complete" if completed == 1 else "budget"
    except OrderError:
        raise
    except Exception as failure:
        measured, completed = of_each_seed(reached.measured, order.seeds), reached.done / max(1, reached.stages)
        ended = "budget" if isinstance(failure, OutOfTimeError) else "error"
        if ended == "error":
            error = type(failure).__name__
            logger.exception("%s failed after %.0f %% of its stages", order.experiment, 100 * completed)
    finite = [finite_only(own) for own in measured]
    omitted = sorted({key for _, keys in finite for key in keys})
    if omitted and error is None:
        error = "NotFinite"
    result = {
        **run,
        "elapsed_s": round(spent_s + time.monotonic() - begin, 3),
        "peak_memory_bytes": _peak_memory(),
        "completed": completed,
        "partial": int(error is not None or ended != "complete"),
        "ended": ended,
        "checkpoint": checkpoint,
        "omitted": omitted,
    }
    if order.seeds == 1:
        result["measured"] = finite[0][0]
    else:
        seeds = _seeds(run["seed"], order.seeds)
        result["runs"] = [{"seed": seed, "measured": own} for seed, (own, _) in zip(seeds, finite, strict=True)]
    return result if error is None else {**result, "error": error}


def _identity(order: Order) -> dict[str, Any]:
    """What tells one run from another one, for its result and its checkpoint; the version is added to it."""
    run: dict[str, Any] = {
        "experiment": order.experiment,
        "seed": order.seed,
        "seed_source": order.seed_source,
        "scale": order.scale,
    }
    if order.gpu:
        run["gpu"] = 1  # its numbers aren't those of a CPU, digit by digit
    if order.seeds > 1:
        run["seeds"] = order.seeds
    return run


def _device(order: Order, experiment: Experiment) -> Device:
    if order.is_batch and not experiment.METADATA.gpu:
        raise OrderError("NoGpuVariant", f"{order.experiment} runs from one seed on a CPU; leave out --gpu and --seeds")
    try:
        return gpu() if order.gpu else HOST
    except NoGpuError as error:
        raise OrderError("NoGpu", str(error)) from error


def _measured(
    experiment: Experiment, order: Order, first_seed: int, deadline: Deadline, device: Device
) -> list[Measured]:
    """Run the experiment from one seed or several; give what each measured."""
    if not order.is_batch:
        return [experiment.run(first_seed, deadline, order.scale)]
    batch = cast("BatchExperiment", experiment)
    return batch.run_batch(_seeds(first_seed, order.seeds), deadline, order.scale, device)


def _seeds(first: int, count: int) -> list[int]:
    """The seeds of a batch, going on from 0 after the largest one."""
    return [(first + number) % (MAX_SEED + 1) for number in range(count)]


def _peak_memory() -> int:
    """The most memory that this process held, in bytes; 0 where the system doesn't tell.

    Not getrusage's number: on Linux that begins with the memory of the process that started this one.
    """
    try:
        found = re.search(r"VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


@contextlib.contextmanager
def _stopped_after(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in what runs within, should it take longer; to be used in the main thread."""
    is_late = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError if is_late.is_set() else KeyboardInterrupt

    def end() -> None:
        is_late.set()
        _thread.interrupt_main()

    timer = threading.Timer(max(0.0, seconds), end)
    timer.daemon = True
    before = signal.signal(signal.SIGINT, stop)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)


def _leave(folder: Path, result: dict[str, Any]) -> bool:
    """Write the result; if that can't be done, say why and give False."""
    try:
        write(folder / RESULT_FILE, encode(result))
    except OSError as error:
        print(
            f"experiments.worker: can't write the result in {folder.resolve()}: {error.strerror or error}; "
            "free the disk or choose a folder that can be written, and run it again",
            file=sys.stderr,
        )
        return False
    return True


def _options(arguments: Sequence[str] | None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="experiments.worker", description="Run one experiment in this folder.")
    parser.add_argument("--experiment", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--seed", help=f"an integer from 0 to {MAX_SEED}")
    parser.add_argument("--scale", help="share of the full length of training, above 0 and up to 1")
    parser.add_argument("--gpu", action="store_const", const=True, help="run on this machine's GPU, by way of CuPy")
    parser.add_argument("--seeds", metavar="N", help=f"run N seeds side by side, from --seed on; up to {MAX_SEEDS}")
    parser.add_argument("--budget", dest="budget_s", metavar="SECONDS", help="end the run after this")
    parser.add_argument(
        "--describe", metavar="EXPERIMENT", choices=NAMES, help="print its metadata as JSON, run nothing"
    )
    return {key: value for key, value in vars(parser.parse_args(arguments)).items() if value is not None}


def _read_input(folder: Path) -> dict[str, Any]:
    """Give what wu.json says; nothing if it is missing, empty or broken, as clients have been seen to deliver it."""
    try:
        content = json.loads((folder / INPUT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _read_name(folder: Path) -> WorkunitName | None:
    """Give the name that init_data.xml has for the workunit or the result, if either is one of ours."""
    try:
        text = (folder / INIT_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    names = (parse_workunit_name(name) for name in re.findall(r"<(?:wu|result)_name>\s*([^<\s]*)\s*</", text))
    return next((name for name in names if name is not None), None)


if __name__ == "__main__":
    sys.exit(main())
