"""A run's files: written as a whole or not at all, and the checkpoint from which a restart goes on."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from experiments.kit.stages import Checkpoint

_HEAD: Final = "run"
_STATE: Final = "state/"


def write(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there as a whole or not at all; raises OSError if it can't be written."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def save_checkpoint(path: Path, run: Mapping[str, Any], reached: Checkpoint, elapsed_s: float) -> None:
    """Write how far a run came; raises OSError. `run` says which run it is, for `load_checkpoint`."""
    import numpy as np  # noqa: PLC0415 - a server imports the worker without loading numerics

    head = {
        "run": dict(run),
        "done": reached.done,
        "stages": reached.stages,
        "measured": reached.measured,
        "elapsed_s": elapsed_s,
    }
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {_STATE + name: array for name, array in reached.state.items()}
    arrays[_HEAD] = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    np.savez(buffer, **arrays)
    write(path, buffer.getvalue())


def load_checkpoint(path: Path, run: Mapping[str, Any]) -> tuple[dict[str, Any], Checkpoint, float, str]:
    """Give the run that the file is of, where it came to, the seconds it took until there, and a word on the file.

    The word is "continued", "none" where there is no file, or "of another run" (one that differs from `run` in the
    version, say, or the seed) or "unreadable": with these, nothing is taken from the file. A `run` without a seed goes
    on with any.
    """
    import numpy as np  # noqa: PLC0415

    nothing = dict(run), Checkpoint(), 0.0
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(file[_HEAD].tobytes())
            state = {name.removeprefix(_STATE): file[name] for name in file.files if name != _HEAD}
        if {"seed": head["run"].get("seed"), **run} != head["run"]:
            return *nothing, "of another run"
        reached = Checkpoint(int(head["done"]), int(head["stages"]), dict(head["measured"]), state)
        return dict(head["run"]), reached, float(head["elapsed_s"]), "continued"
    except FileNotFoundError:
        return *nothing, "none"
    except (OSError, ValueError, TypeError, LookupError, AttributeError, EOFError, zipfile.BadZipFile):
        return *nothing, "unreadable"
