"""The skeleton of an experiment: a small one that runs, to be made another one."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from axiomd.science.bundle import BundleError


def write(name: str, folder: Path) -> Path:
    """Write the skeleton of an experiment of this name; raises BundleError if it exists or can't be written."""
    path = folder / f"{name}.py"
    if not (folder / "worker.py").is_file():
        raise BundleError(f"{folder} is no folder of experiments: it has no worker.py; name one by --folder")
    text = (files("axiomd.science") / "skeleton.txt").read_text("utf-8").replace("EXPERIMENT_NAME", name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BundleError(f"{path} exists already; choose another name") from None
    except OSError as error:
        raise BundleError(f"can't write {path}: {error.strerror}; choose a folder by --folder") from error
    return path
