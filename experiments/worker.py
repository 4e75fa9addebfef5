"""Runs one experiment in the folder it is started in: `python -m experiments.worker`.

In a BOINC slot it takes its order from wu.json, and what that doesn't say from the workunit's name in init_data.xml. It
writes result.json and fraction_done, then boinc_finish_called, the sign by which BOINC's client knows that an app
that doesn't link its library has ended well. Options are for a person, and come before both files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import os
import re
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from experiments import NAMES, Experiment, load
from experiments.kit.deadline import Deadline
from experiments.kit.encoder import Measured, encode, finite_only
from experiments.kit.naming import MAX_SEED, WorkunitName, parse_workunit_name

INPUT_FILE: Final = "wu.json"
INIT_FILE: Final = "init_data.xml"
RESULT_FILE: Final = "result.json"
PROGRESS_FILE: Final = "fraction_done"
FINISH_FILE: Final = "boinc_finish_called"
MAX_BUDGET_S: Final = 86_400.0

logger = logging.getLogger(__name__)


class OrderError(Exception):
    """What the worker was told to do can't be done; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to run. seed_source: "input", "name" or "random"; budget_s: None for the experiment's own."""

    experiment: str
    seed: int
    seed_source: str
    scale: float
    budget_s: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the options and this folder's files say. Gives the exit status: 0 good, 1 no result, 2 bad order."""
    folder = Path()
    try:
        order = read_order(_options(arguments), _read_input(folder), _read_name(folder))
    except OrderError as error:
        print(f"experiments.worker: {error}", file=sys.stderr)
        return 2
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ[variable] = (
            "1"  # before numpy is loaded: a task has one core, and threads would take its neighbours'
        )
    try:
        write(folder / RESULT_FILE, encode(perform(order, load(order.experiment), folder)))
        write(folder / FINISH_FILE, "")
    except OSError as error:
        print(
            f"experiments.worker: can't write the result in {folder.resolve()}: {error.strerror or error}; "
            "free the disk or choose a folder that can be written, and run it again",
            file=sys.stderr,
        )
        return 1
    return 0


def read_order(options: Mapping[str, Any], given: Mapping[str, Any], workunit: WorkunitName | None) -> Order:
    """Decide what to run from the options, the input file and the workunit's name, in this order.

    Without a seed in any of them the system's randomness gives one. Raises OrderError for an unknown experiment, a seed
    that isn't an integer from 0 to MAX_SEED, a scale outside (0, 1], or a budget outside (0, MAX_BUDGET_S] seconds.
    """
    wanted = {**given, **options}
    experiment = wanted.get("experiment", workunit.experiment if workunit else None)
    if experiment is None:
        raise OrderError(f"no experiment is named; choose one by --experiment: {', '.join(NAMES)}")
    if experiment not in NAMES:
        raise OrderError(f"unknown experiment {str(experiment)[:40]!r}; there are {', '.join(NAMES)}")
    if "seed" in wanted:
        seed, seed_source = _seed(wanted["seed"]), "input"
    elif workunit:
        seed, seed_source = workunit.seed, "name"
    else:
        seed, seed_source = secrets.randbelow(MAX_SEED + 1), "random"
    scale = _positive("scale", wanted.get("scale", 1.0), 1.0)
    budget_s = _positive("budget", wanted["budget_s"], MAX_BUDGET_S) if "budget_s" in wanted else None
    return Order(experiment, seed, seed_source, scale, budget_s)


def perform(order: Order, experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Run the experiment and give the content of its result file.

    If the experiment fails, what it had measured until then is given, with partial = 1 and the class of the error.
    """
    begin = time.monotonic()
    metadata = experiment.METADATA
    completed, measured = 0.0, Measured()
    error = None

    def on_stage(share: float, so_far: Measured) -> None:
        nonlocal completed, measured
        completed, measured = share, so_far
        with contextlib.suppress(OSError):  # progress is a courtesy: a run doesn't end for want of it
            write(folder / PROGRESS_FILE, f"{share:.4f}\n")

    deadline = Deadline(metadata.budget_s if order.budget_s is None else order.budget_s, on_stage=on_stage)
    try:
        measured = experiment.run(order.seed, deadline, order.scale)
        completed = measured.pop("completed")
    except Exception as failure:
        logger.exception("%s failed after %.0f %% of its stages", metadata.name, 100 * completed)
        error = type(failure).__name__
    finite, omitted = finite_only(measured)
    result = {
        "experiment": metadata.name,
        "version": metadata.version,
        "seed": order.seed,
        "seed_source": order.seed_source,
        "scale": order.scale,
        "elapsed_s": round(time.monotonic() - begin, 3),
        "completed": completed,
        "partial": int(error is not None or completed < 1),
        "omitted": omitted,
        "measured": finite,
    }
    return result if error is None else {**result, "error": error}


def write(path: Path, text: str) -> None:
    """Write a file so that it is there as a whole or not at all; raises OSError if it can't be written."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _options(arguments: Sequence[str] | None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="experiments.worker", description="Run one experiment in this folder.")
    parser.add_argument("--experiment", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--seed", help=f"an integer from 0 to {MAX_SEED}")
    parser.add_argument("--scale", help="share of the full length of training, above 0 and up to 1")
    parser.add_argument("--budget", dest="budget_s", metavar="SECONDS", help="stop between two stages after this")
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


def _seed(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SEED:
        raise OrderError(f"the seed is an integer from 0 to {MAX_SEED}, not {str(value)[:40]!r}")
    return value


def _positive(name: str, value: object, most: float) -> float:
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)
    if not 0 < number <= most:  # false for NaN too
        raise OrderError(f"the {name} is a number above 0 and up to {most:g}, not {str(value)[:40]!r}")
    return number


if __name__ == "__main__":
    sys.exit(main())
