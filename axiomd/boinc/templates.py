"""Input templates: what the project's own one declares of a job's size, and copies of it that declare another.

create_work takes rsc_* and delay_bound from the template, whatever its command line says, so a template is the place
to declare them. It is read as BOINC does (tools/process_input_template.cpp): of what stands twice the last counts.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from axiomd.errors import ProjectError
from axiomd.policies.sizing import Bounds

FOLDER: Final = "templates/axiomd"
"""Where copies lie, below the project's folder."""

DEFAULTS: Final = Bounds(fpops_est=3600e9, fpops_bound=86400e9, memory=5e8, disk=1e9, delay_s=7 * 86400.0)
"""What create_work takes where a template is silent (BOINC's tools/backend_lib.h)."""

_ELEMENTS: Final = {
    "rsc_fpops_est": "fpops_est",
    "rsc_fpops_bound": "fpops_bound",
    "rsc_memory_bound": "memory",
    "rsc_disk_bound": "disk",
    "delay_bound": "delay_s",
}
_WORKUNIT: Final = re.compile(r"<workunit>(.*?)</workunit>", re.DOTALL)
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_NUMBER: Final = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")


def copy_path(app: str, experiment: str, version: int) -> str:
    """Path of an experiment's copy, below the project's folder."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", app)
    return f"{FOLDER}/{safe}_{experiment}_v{version}_in"


def declared(template: str) -> Bounds:
    """What a template declares; BOINC's defaults where it is silent. Raises ProjectError if it isn't one."""
    body = _inside(template)[2]
    found = DEFAULTS._asdict()
    for element, name in _ELEMENTS.items():
        # As BOINC reads it: strtod takes the number at the beginning, and nothing at all is 0.
        for text in re.findall(rf"<{element}>([^<]*)</{element}>", body):
            number = _NUMBER.match(text)
            found[name] = float(number[1]) if number else 0.0
    return Bounds(**found)


def with_bounds(template: str, bounds: Bounds) -> str:
    """A copy of a template that declares these bounds. Raises ProjectError if it isn't one."""
    begin, end, body = _inside(template)
    kept, at = [], 0
    # Found where comments are blanked, taken out of the text as it stands.
    for found in re.finditer(rf"[ \t]*<({'|'.join(_ELEMENTS)})>[^<]*</\1>[ \t]*\n?", body):
        kept.append(template[begin + at : begin + found.start()])
        at = found.end()
    kept.append(template[begin + at : end])
    spelled = "".join(f"\n    <{element}>{_spell(element, bounds)}</{element}>" for element in _ELEMENTS)
    rest = "".join(kept)
    return template[:begin] + spelled + (rest if rest.startswith("\n") else f"\n{rest}") + template[end:]


def read_template(path: Path) -> str | None:
    """The text of a template; None if it isn't there. Raises ProjectError if it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProjectError(f"{path} can't be read: {error.strerror}") from error


def write_template(path: Path, text: str) -> None:
    """Write a template in one step: create_work sees the old one or the new one. Raises ProjectError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ProjectError(f"{path} can't be written: {error.strerror}") from error


def _inside(template: str) -> tuple[int, int, str]:
    """Where the content of <workunit> begins and ends, and that content with its comments blanked."""
    blanked = _COMMENT.sub(lambda comment: re.sub(r"[^\n]", " ", comment[0]), template)
    found = _WORKUNIT.search(blanked)
    if found is None:
        raise ProjectError("no input template: it has no <workunit>")
    return found.start(1), found.end(1), found[1]


def _spell(element: str, bounds: Bounds) -> str:
    value: float = getattr(bounds, _ELEMENTS[element])
    # BOINC reads a delay as a whole number.
    return f"{value:.0f}" if element == "delay_bound" else f"{value:.6g}"
