"""Bundles: one experiment and what it imports, in one file that runs on a Python with numpy; and the gate before it.

A bundle is a zip archive that Python runs. Nothing in it depends on when or where it was packed, so that the same
sources give the same bytes; its name carries their hash, so that a client never mistakes an old one for a new one.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from axiomd.errors import AxiomdError
from axiomd.science import results
from axiomd.science.catalogue import CatalogueEntry, entry_from_json

MAIN: Final = "import sys\n\nfrom experiments.worker import main\n\nsys.exit(main())\n"
TOY_SCALE: Final = 0.01
DESCRIBE_TIMEOUT_S: Final = 60
RESULT_FILE: Final = "result.json"


class BundleError(AxiomdError):
    """An experiment can't be packed or isn't fit to be deployed; the message says what to mend."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """One experiment as one file. `content` is a zip archive, `entry` what it says of itself."""

    content: bytes
    entry: CatalogueEntry

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the content's SHA-256."""
        return hashlib.sha256(self.content).hexdigest()[:16]

    @property
    def stem(self) -> str:
        """Name, version and hash."""
        return f"{self.entry.name}-v{self.entry.version}-{self.hash}"

    @property
    def filename(self) -> str:
        """The file's name: what is in it can't change under it."""
        return f"{self.stem}.pyz"


def sources_folder() -> Path:
    """The folder of the experiments that are installed with axiomd."""
    return Path(str(files("experiments")))


def pack(name: str, folder: Path) -> Bundle:
    """Pack the experiment of this name in a folder of experiments; raises BundleError if that can't be done."""
    if not (folder / f"{name}.py").is_file() or not (folder / "worker.py").is_file():
        raise BundleError(f"there is no experiment {name} in {folder}; `axiomd experiments list` shows what there is")
    needed = {
        f"experiments/{path.relative_to(folder).as_posix()}": code for path, code in _needed(name, folder).items()
    }
    content = _archive({"__main__.py": MAIN.encode(), **needed})
    return Bundle(content, _describe(name, content))


def _needed(name: str, folder: Path) -> dict[Path, bytes]:
    """The files of an experiment: it, the worker, and what they import of experiments/."""
    open_ = [folder / "__init__.py", folder / "worker.py", folder / f"{name}.py"]
    needed: dict[Path, bytes] = {}
    while open_:
        path = open_.pop()
        if path in needed:
            continue
        needed[path] = content = path.read_bytes()
        try:
            compile(content, str(path), "exec")
            tree = ast.parse(content)
        except (SyntaxError, ValueError) as error:
            raise BundleError(f"{path} does not compile: {error}") from error
        open_ += [found for module in _imports(tree) for found in _files_of(module, folder)]
    return needed


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files_of(module: str, folder: Path) -> Iterator[Path]:
    root, *parts = module.split(".")
    if root != "experiments":
        return
    path = folder
    for part in parts:
        path /= part
        candidates = (path.with_suffix(".py"), path / "__init__.py")
        yield from (candidate for candidate in candidates if candidate.is_file())


def _archive(sources: dict[str, bytes]) -> bytes:
    """A zip of these files: uncompressed, undated, in order of their names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(sources):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, sources[name])
    return buffer.getvalue()


def _describe(name: str, content: bytes) -> CatalogueEntry:
    """Ask the bundle itself for its metadata, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle.pyz"
        path.write_bytes(content)
        try:
            said = subprocess.run(
                [*BARE_PYTHON, str(path), "--describe", name],
                capture_output=True,
                text=True,
                check=False,
                timeout=DESCRIBE_TIMEOUT_S,
                cwd=folder,
            )
            if said.returncode != 0:
                raise BundleError(f"{name} can't be imported: {_last_line(said.stderr)}")
            return entry_from_json(json.loads(said.stdout))
        except (ValueError, TypeError, KeyError) as error:
            raise BundleError(f"{name} describes itself wrongly: {error}") from error
        except subprocess.TimeoutExpired as error:
            raise BundleError(f"{name} takes over {DESCRIBE_TIMEOUT_S} s to be imported; do nothing there") from error


BARE_PYTHON: Final = (sys.executable, "-I")
"""This Python, isolated: no variables, no user's packages, nothing of the current folder."""


@dataclass(frozen=True, slots=True)
class Run:
    """How one run of a bundle ended. `result` is the content of its result file, None where it left none.

    seconds: of a core.
    """

    result: Any
    status: int
    seconds: float
    stderr: str


def run(bundle: Bundle, *options: str, timeout_s: float | None = None, under: Sequence[str] = ()) -> Run:
    """Run a bundle in a folder of its own; after `timeout_s` it is killed. under: a program's command to run it in."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / bundle.filename
        path.write_bytes(bundle.content)
        with (Path(folder) / "stderr").open("w+b") as stderr:
            process = subprocess.Popen(
                [*under, *BARE_PYTHON, str(path), "--experiment", bundle.entry.name, *options],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
            status, usage = _wait(process, timeout_s)
            stderr.seek(0)
            said = stderr.read().decode(errors="replace")
        try:
            result = json.loads((Path(folder) / RESULT_FILE).read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            result = None
    return Run(result, status, usage.ru_utime + usage.ru_stime, said)


def gate(bundle: Bundle) -> list[str]:
    """Run a bundle at toy size and say what keeps it from being deployed; an empty list if nothing does."""
    entry = bundle.entry
    done = run(bundle, "--seed", "1", "--scale", str(TOY_SCALE), timeout_s=entry.budget_s + 30)
    if done.result is None:
        return [f"at toy size it left no result (exit status {done.status}): {_last_line(done.stderr)}"]
    found = results.problems(done.result, entry)
    if done.result.get("error"):
        found.insert(0, f"at toy size it failed: {done.result['error']}; {_last_line(done.stderr)}".rstrip("; "))
    elif done.result.get("ended") != "complete":
        found.insert(0, f"at toy size it ran out of its {entry.budget_s:g} s")
    held = done.result.get("peak_memory_bytes", 0)
    if held > entry.memory:
        found.append(f"it held {held >> 20} MiB at toy size; its metadata say {entry.memory >> 20} MiB")
    return found


def _wait(process: subprocess.Popen[bytes], timeout_s: float | None) -> tuple[int, resource.struct_rusage]:
    """Wait for the end of a process, at most so long; give its exit status and what it used."""
    timer = threading.Timer(timeout_s, process.kill) if timeout_s is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    finally:
        if timer is not None:
            timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"
