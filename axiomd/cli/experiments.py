"""`axiomd experiments ...`: what there is, packing it, replicating it, a figure of it, and a new one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from axiomd.cli.options import Json, print_json
from axiomd.errors import AxiomdError
from axiomd.science import bundle, skeleton
from axiomd.science.bundle import Bundle, BundleError
from axiomd.science.catalogue import CatalogueEntry, read_catalogue
from experiments.kit.naming import MAX_SEED

if TYPE_CHECKING:
    from axiomd.science.replicate import Job, Outcome
    from axiomd.science.verdicts import Finding

commands = typer.Typer(name="experiments", help="What the volunteers compute.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Experiments; all of them without one.")]
Folder = Annotated[
    Path,
    typer.Option(
        "--folder",
        envvar="AXIOMD_EXPERIMENTS_FOLDER",
        help="The folder of the experiments.",
        show_default="this axiomd's",
    ),
]
FOLDER_DEFAULT: Final = bundle.sources_folder()
Results = Annotated[Path, typer.Option("--results", help="The folder that keeps the results of finished runs.")]
RESULTS_DEFAULT: Final = Path("replications")
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")]
FirstSeed = Annotated[int, typer.Option("--first-seed", min=0, help="The first of them; the others follow it.")]
Scale = Annotated[float, typer.Option("--scale", min=0.0001, max=1, help="Share of the full length of training.")]
SEEDS_DEFAULT: Final = 8
FIRST_SEED_DEFAULT: Final = 101


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(commands)


@commands.command(name="list")
def list_(as_json: Json = False, folder: Folder = FOLDER_DEFAULT) -> None:
    """List the experiments: question, claims, and what each needs of a machine."""
    entries = _entries(folder)
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    for one in entries:
        needs = f"{one.budget_s:g} s, {one.memory >> 20} MiB, {len(one.claims)} claims"
        print(f"{one.name}, version {one.version}: {needs}\n    {one.question}")


@commands.command()
def catalogue(
    check: Annotated[bool, typer.Option("--check", help="Only say whether the file is up to date.")] = False,
    folder: Folder = FOLDER_DEFAULT,
) -> None:
    """Write catalogue.json anew from the experiments' metadata; with --check exit status 1 if it is out of date."""
    # A process of its own: importing an experiment is importing code that a scientist is working on.
    command = [sys.executable, "-P", "-m", "experiments.catalogue", *(["--check"] if check else [])]
    places = {**os.environ, "PYTHONPATH": str(folder.resolve().parent)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=places)
    if done.returncode == 0:
        print(f"{folder / 'catalogue.json'} is {'up to date' if check else 'written'}")
    elif check and "out of date" in done.stderr:
        print("catalogue.json is out of date; write it by: axiomd experiments catalogue", file=sys.stderr)
        raise typer.Exit(1)
    else:
        raise BundleError(f"the catalogue can't be made: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")


@commands.command(name="bundle")
def bundle_(
    names: Names = None,
    folder: Folder = FOLDER_DEFAULT,
    out: Annotated[Path, typer.Option("--out", help="Where the bundles go.")] = Path("bundles"),
) -> None:
    """Pack experiments into one file each, named by its hash, once they pass the gate; exit status 1 if one doesn't."""
    refused = False
    for name in _chosen(names, folder):
        packed = _gated(name, folder)
        if packed is None:
            refused = True
            continue
        path = out / packed.filename
        try:
            out.mkdir(parents=True, exist_ok=True)
            path.write_bytes(packed.content)
        except OSError as error:
            raise BundleError(f"can't write {path}: {error.strerror}; choose another folder by --out") from error
        print(path)
    if refused:
        raise typer.Exit(1)


@commands.command()
def check(names: Names = None, folder: Folder = FOLDER_DEFAULT) -> None:
    """Send experiments through the gate: compile, run at toy size, give what is declared; exit status 1 if not."""
    refused = False
    for name in _chosen(names, folder):
        if _gated(name, folder) is None:
            refused = True
        else:
            print(f"{name}: passes")
    if refused:
        raise typer.Exit(1)


def _gated(name: str, folder: Path) -> Bundle | None:
    """Pack an experiment and send it through the gate; None, and what is wrong with it is said, if it doesn't pass."""
    packed = bundle.pack(name, folder)
    problems = bundle.gate(packed)
    for problem in problems:
        print(f"{name}: {problem}", file=sys.stderr)
    return None if problems else packed


@commands.command()
def new(
    name: Annotated[str, typer.Argument(help="The name: a-z, 0-9 and _, a letter first.")],
    folder: Folder = FOLDER_DEFAULT,
) -> None:
    """Write the skeleton of an experiment, a small one that passes the gate, to be made your own."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise BundleError(f"an experiment is named in a-z, 0-9 and _, a letter first; not {name!r}")
    path = skeleton.write(name, folder)
    print(f"{path} is written; next: axiomd experiments check {name}")


@commands.command()
def replicate(
    names: Names = None,
    seeds: Seeds = SEEDS_DEFAULT,
    first_seed: FirstSeed = FIRST_SEED_DEFAULT,
    scale: Scale = 1.0,
    folder: Folder = FOLDER_DEFAULT,
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table in Markdown.")] = False,
    kept: Results = RESULTS_DEFAULT,
    cores: Annotated[int | None, typer.Option("--cores", min=1, help="Runs at a time; by default one a core.")] = None,
    backend: Annotated[str, typer.Option("--backend", help="local or dask.")] = "local",
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="Address of the Dask scheduler.")] = None,
) -> None:
    """Run experiments from several seeds and say what becomes of each claim; run again, it goes on where it was.

    Without a name it takes all but the slow variants. Exit status 1 if a run left no whole result.
    """
    if backend not in {"local", "dask"} or (backend == "dask") != (scheduler is not None):
        raise BundleError("--backend is local, or dask together with --scheduler ADDRESS")
    jobs = _jobs(names, folder, seeds, first_seed, scale)
    outcomes = _run(jobs, kept, cores, scheduler)
    findings, seconds = _concluded(outcomes)
    failed = [outcome for outcome in outcomes if outcome.problem]
    for outcome in failed:
        print(f"{outcome.job.bundle.entry.name}, seed {outcome.job.seed}: {outcome.problem}", file=sys.stderr)
    if as_json:
        print_json([{**asdict(finding), "seconds": seconds.get(finding.experiment)} for finding in findings])
    elif markdown:
        _print_markdown(findings, seconds)
    else:
        _print_findings(findings, seconds, seeds, scale)
    if failed:
        raise typer.Exit(1)


@commands.command()
def figures(
    names: Names = None,
    seeds: Seeds = SEEDS_DEFAULT,
    first_seed: FirstSeed = FIRST_SEED_DEFAULT,
    scale: Scale = 1.0,
    folder: Folder = FOLDER_DEFAULT,
    kept: Results = RESULTS_DEFAULT,
    out: Annotated[Path, typer.Option("--out", help="Where the figures go.")] = Path("docs/figures"),
) -> None:
    """Draw a figure of each experiment from the results that `replicate` with the same options has kept."""
    from axiomd.science import figures as drawing  # noqa: PLC0415
    from axiomd.science import replicate as replication  # noqa: PLC0415

    found = defaultdict(list)
    for job in _jobs(names, folder, seeds, first_seed, scale):
        outcome = replication.kept(job, kept)
        if outcome is None or outcome.result is None:
            name = job.bundle.entry.name
            raise BundleError(
                f"{kept} has no result of {name} as it is now, seed {job.seed}; "
                f"first: axiomd experiments replicate {name} "
                f"--seeds {seeds} --first-seed {first_seed} --scale {scale:g}"
            )
        found[job.bundle.entry.name].append(outcome)
    for name, outcomes in found.items():
        path = out / f"{name}.svg"
        try:
            drawing.draw(outcomes[0].job.bundle.entry, [o.result["measured"] for o in outcomes if o.result], path)
        except OSError as error:
            raise BundleError(f"can't write {path}: {error.strerror}; choose another folder by --out") from error
        print(path)


def _entries(folder: Path) -> list[CatalogueEntry]:
    return list(read_catalogue(folder / "catalogue.json").values())


def _chosen(names: list[str] | None, folder: Path) -> list[str]:
    """The experiments named, or all that the catalogue has."""
    return list(dict.fromkeys(names)) if names else [entry.name for entry in _entries(folder)]


def _jobs(names: list[str] | None, folder: Path, seeds: int, first_seed: int, scale: float) -> list[Job]:
    """A run of each seed and experiment; without names, of all but the slow variants."""
    from axiomd.science.replicate import Job  # noqa: PLC0415

    if first_seed + seeds - 1 > MAX_SEED:
        raise BundleError(f"seeds go up to {MAX_SEED}; choose a smaller --first-seed than {first_seed}")
    slow = set() if names else {entry.name for entry in _entries(folder) if entry.variant_of is not None}
    packed = [bundle.pack(name, folder) for name in _chosen(names, folder) if name not in slow]
    return [Job(one, seed, scale) for seed in range(first_seed, first_seed + seeds) for one in packed]


def _run(jobs: list[Job], kept: Path, cores: int | None, scheduler: str | None) -> list[Outcome]:
    from axiomd.science.replicate import replicate as run_all  # noqa: PLC0415 - statistics and figures load slowly

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcomes: list[Outcome] = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("replicating", total=len(jobs))
        try:
            for outcome in run_all(jobs, kept, cores=cores, scheduler=scheduler):
                outcomes.append(outcome)
                progress.update(task, advance=1, description=outcome.job.bundle.entry.name)
        except KeyboardInterrupt:
            raise AxiomdError(
                f"stopped after {len(outcomes)} of {len(jobs)} runs; the same command goes on from there"
            ) from None
    return outcomes


def _concluded(outcomes: list[Outcome]) -> tuple[list[Finding], dict[str, float]]:
    """The findings of all claims, and the mean seconds of a core that a run of each experiment took."""
    from axiomd.science.verdicts import conclude  # noqa: PLC0415

    measured: dict[str, list[dict[str, Any]]] = defaultdict(list)
    spent: dict[str, list[float]] = defaultdict(list)
    entries: dict[str, CatalogueEntry] = {}
    for outcome in sorted(outcomes, key=lambda outcome: (outcome.job.bundle.entry.name, outcome.job.seed)):
        entry = outcome.job.bundle.entry
        entries[entry.name] = entry
        measured[entry.name].append(outcome.result["measured"] if outcome.result else {})
        if outcome.result:
            spent[entry.name].append(outcome.result["cpu_s"])
    findings = [conclude(name, claim, measured[name]) for name, entry in entries.items() for claim in entry.claims]
    return findings, {name: round(sum(times) / len(times), 2) for name, times in spent.items()}


def _print_findings(findings: list[Finding], seconds: dict[str, float], seeds: int, scale: float) -> None:
    """Three short lines a claim, which a narrow screen holds and a table doesn't."""
    for name in dict.fromkeys(finding.experiment for finding in findings):
        took = f", {seconds[name]:.3g} s of a core each" if name in seconds else ""
        length = "" if scale == 1 else f" at scale {scale:g}"
        print(f"{name}: {seeds} seeds{length}{took}")
        for finding in findings:
            if finding.experiment == name:
                claim, supported, contradicted, effect, interval, control_effect, logged, verdict = _cells(finding)
                print(f"  {verdict.upper()}: {claim}")
                print(f"    {supported} for, {contradicted} against; effect {effect or 'not measured'}", end="")
                print(f" ({interval}), the control's {control_effect}" if interval else "")
                if logged:
                    print(f"    logged: {logged}")


def _print_markdown(findings: list[Finding], seconds: dict[str, float]) -> None:
    columns = ("experiment", *COLUMNS, "s")
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")
    for finding in findings:
        cells = (finding.experiment, *_cells(finding), _signed(seconds.get(finding.experiment)).lstrip("+"))
        print("| " + " | ".join(cells) + " |")


COLUMNS: Final = ("claim", "for", "against", "effect", "95 % interval", "control's", "logged", "verdict")


def _cells(finding: Finding) -> tuple[str, ...]:
    return (
        finding.claim.replace("_", " "),
        f"{finding.supported} of {finding.seeds}",
        str(finding.contradicted),
        _signed(finding.effect),
        " to ".join(map(_signed, finding.interval)) if finding.interval else "",
        _signed(finding.control_effect),
        finding.logged,
        finding.verdict,
    )


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3g}"
