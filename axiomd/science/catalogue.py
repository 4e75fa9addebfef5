"""The catalogue of experiments: what each needs, measures and claims. Read from JSON; none is ever imported here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from axiomd.errors import SettingsError
from experiments.kit.claims import Claim
from experiments.kit.metadata import TOLERANCE, Plot

if TYPE_CHECKING:
    from axiomd.settings import ExperimentSettings


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """What the server knows of an experiment. Memory in bytes, budget in seconds on one core.

    shapes: of each measured key, () for a single number. variant_of: the experiment whose slow variant this is.
    tolerance: how far the numbers of two machines may differ for an equal seed, as Metadata has it.
    """

    name: str
    version: int
    memory: int
    budget_s: float
    gpu: bool
    question: str = ""
    variant_of: str | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    plots: tuple[Plot, ...] = ()
    tolerance: float = TOLERANCE


def entry_from_json(entry: Mapping[str, Any]) -> CatalogueEntry:
    """Read one experiment's metadata; raises KeyError, TypeError or ValueError if they aren't metadata.

    A claim's hash must be that of its text: a catalogue edited by hand would evaluate a claim that no experiment makes.
    """
    claims = []
    for given in entry.get("claims", ()):
        claim = Claim(**{key: value for key, value in given.items() if key != "hash"})
        if given["hash"] != claim.hash:
            raise ValueError(f"claim {claim.name} of {entry['name']} was changed without its hash")
        claims.append(claim)
    return CatalogueEntry(
        name=str(entry["name"]),
        version=int(entry["version"]),
        memory=int(entry["memory_bytes"]),
        budget_s=float(entry["budget_s"]),
        gpu=bool(entry["gpu"]),
        question=str(entry.get("question", "")),
        variant_of=entry.get("variant_of"),
        shapes={key["name"]: tuple(key["shape"]) for key in entry.get("result_keys", ())},
        claims=tuple(claims),
        plots=tuple(Plot(**{**plot, "x": tuple(plot["x"])}) for plot in entry.get("plots", ())),
        tolerance=float(entry.get("tolerance", TOLERANCE)),
    )


def read_catalogue(path: Path | None) -> dict[str, CatalogueEntry]:
    """Read a catalogue, by default the one that is shipped. Raises SettingsError if it isn't one."""
    try:
        text = path.read_text("utf-8") if path else (files("experiments") / "catalogue.json").read_text("utf-8")
        entries: list[dict[str, Any]] = json.loads(text)["experiments"]
        return {entry.name: entry for entry in map(entry_from_json, entries)}
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
        tolerance=known.tolerance if known else TOLERANCE,
    )
