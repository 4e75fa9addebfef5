"""Replication: the same experiments from several seeds on local cores, or on a Dask cluster; what is done is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import joblib

from axiomd.errors import AxiomdError
from axiomd.science import bundle, results
from axiomd.science.bundle import Bundle

GRACE_S: Final = 60.0
"""How much longer than its budget a run may take before it is killed: a worker ends by itself before that."""
CONNECT_TIMEOUT_S: Final = 10.0


class ReplicationError(AxiomdError):
    """Experiments can't be run as asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run: an experiment's bundle from one seed."""

    bundle: Bundle
    seed: int
    scale: float

    def path(self, folder: Path) -> Path:
        """Where its result is kept: by the bundle's hash, so that the result of older code doesn't count."""
        return folder / self.bundle.stem / f"s{self.seed}-x{self.scale:g}.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended. result: None if the run left none that its experiment declares; `problem` says why."""

    job: Job
    result: dict[str, Any] | None
    problem: str


def perform(job: Job) -> Outcome:
    """Run a job here, as a volunteer's machine would."""
    done = bundle.run(
        job.bundle,
        *("--seed", str(job.seed), "--scale", repr(job.scale)),
        timeout_s=job.bundle.entry.budget_s + GRACE_S,
    )
    wrong = ["it left no result"] if done.result is None else results.problems(done.result, job.bundle.entry)
    if wrong:
        return Outcome(job, None, "; ".join(wrong[:3]) + f" (exit status {done.status})")
    result: dict[str, Any] = {**done.result, "cpu_s": round(done.seconds, 3)}
    problem = str(result.get("error", "")) or ("" if result["ended"] == "complete" else "ran out of its budget")
    return Outcome(job, result, problem)


def kept(job: Job, folder: Path) -> Outcome | None:
    """Give what an earlier run of this job left; None if there is none that is whole."""
    try:
        result = json.loads(job.path(folder).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if results.problems(result, job.bundle.entry) or "measured" not in result:
        return None
    return Outcome(job, result, "")


def replicate(
    jobs: Sequence[Job], folder: Path, *, cores: int | None = None, scheduler: str | None = None
) -> Iterator[Outcome]:
    """Give the outcome of each job, those kept in the folder first, the others as they end.

    A complete result is kept there, one that failed is tried anew the next time. cores: runs at a time, by default one
    for each core that this process may use. scheduler: the address of a Dask
    scheduler whose workers have axiomd installed; None for this machine. Raises ReplicationError.
    """
    open_ = []
    for job in jobs:
        found = kept(job, folder)
        if found is None:
            open_.append(job)
        else:
            yield found
    with _backend(cores, scheduler) as parallel:
        for outcome in parallel(joblib.delayed(perform)(job) for job in open_):
            if outcome.result is not None and not outcome.problem:
                _keep(outcome, folder)
            yield outcome


def _keep(outcome: Outcome, folder: Path) -> None:
    path = outcome.job.path(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(outcome.result, allow_nan=False, sort_keys=True), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ReplicationError(f"can't keep a result in {path.parent}: {error.strerror}; choose --results") from error


@contextmanager
def _backend(cores: int | None, scheduler: str | None) -> Iterator[joblib.Parallel]:
    """A pool of threads, each of which waits for a process of its own; or the workers of a Dask cluster."""
    if scheduler is None:
        with joblib.Parallel(n_jobs=cores or -1, backend="threading", return_as="generator_unordered") as parallel:
            yield parallel
        return
    try:
        from distributed import Client  # noqa: PLC0415 - an extra that few install
    except ModuleNotFoundError as error:
        raise ReplicationError("the Dask backend needs an extra: pip install 'axiomd[dask]'") from error
    try:
        client = Client(scheduler, timeout=CONNECT_TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise ReplicationError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client, joblib.parallel_config(backend="dask"), joblib.Parallel(return_as="generator_unordered") as parallel:
        yield parallel
