"""The catalogue of experiments: name, version, memory, GPU. Read from JSON; no experiment is ever imported here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from axiomd.errors import SettingsError
from axiomd.settings import ExperimentSettings


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """What a deployment needs to know of an experiment. Memory in bytes, budget in seconds on one core."""

    name: str
    version: int
    memory: int
    budget_s: float
    gpu: bool


def read_catalogue(path: Path | None) -> dict[str, CatalogueEntry]:
    """Read a catalogue, by default the one that is shipped. Raises SettingsError if it isn't one."""
    try:
        text = path.read_text("utf-8") if path else (files("experiments") / "catalogue.json").read_text("utf-8")
        entries: list[dict[str, Any]] = json.loads(text)["experiments"]
        return {
            str(entry["name"]): CatalogueEntry(
                name=str(entry["name"]),
                version=int(entry["version"]),
                memory=int(entry["memory_bytes"]),
                budget_s=float(entry["budget_s"]),
                gpu=bool(entry["gpu"]),
            )
            for entry in entries
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"daemon.catalogue: {path or 'the shipped catalogue'} can't be read as a catalogue of experiments: {error}"
        ) from error


def deployed(name: str, settings: ExperimentSettings, catalogue: dict[str, CatalogueEntry]) -> CatalogueEntry:
    """What the settings and the catalogue together say of an experiment. Raises SettingsError if that isn't enough."""
    known = catalogue.get(name)
    if known is None and not (settings.version and settings.memory):
        raise SettingsError(
            f"experiments.{name}: not in the catalogue; give its version and memory here, or correct the name"
        )
    return CatalogueEntry(
        name=name,
        version=settings.version or (known.version if known else 0),
        memory=settings.memory or (known.memory if known else 0),
        budget_s=known.budget_s if known else 0.0,
        gpu=settings.gpu,
    )
