"""The findings: what came of each claim of the catalogue, from the file that setting daemon.findings names.

The file is what `axiomd experiments replicate --json` prints. It is only read here, without the library of statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from axiomd.errors import SettingsError
from axiomd.science.catalogue import CatalogueEntry

Verdict: TypeAlias = Literal[
    "reproduced", "direction only", "explained by the control", "not reproduced", "too few seeds", "open"
]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
"""Every verdict: those of science/verdicts.py, which says what each means, and open, where there is none yet."""

LARGEST_FILE: Final = 1 << 20
"""Bytes of a file of findings at most; of all that is shipped it has less than a tenth."""

Seeds = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class ClaimFinding:
    """A claim of the catalogue and what came of it; science/verdicts.py says what the numbers are.

    effect, interval, quantity, control, control_effect: None without numbers, as for every open claim.
    """

    experiment: str
    version: int
    claim: str
    statement: str
    verdict: Verdict
    seeds: int = 0
    supported: int = 0
    contradicted: int = 0
    effect: float | None = None
    interval: tuple[float, float] | None = None
    quantity: float | None = None
    control: float | None = None
    control_effect: float | None = None


class _Row(BaseModel):
    """A finding as it stands in the file; what else is there is not looked at."""

    model_config = ConfigDict(extra="ignore", strict=True)

    experiment: str
    claim: str
    verdict: Verdict
    seeds: Seeds
    supported: Seeds
    contradicted: Seeds
    effect: FiniteFloat | None
    interval: tuple[FiniteFloat, FiniteFloat] | None
    quantity: FiniteFloat | None
    control: FiniteFloat | None
    control_effect: FiniteFloat | None


_ROWS: Final = TypeAdapter(list[_Row])


def read_findings(path: Path | None, catalogue: Mapping[str, CatalogueEntry]) -> list[ClaimFinding]:
    """Give every claim of the catalogue, in its order, with what the file says of it; open where it says nothing.

    Without a file every claim is open. A finding about a claim that the catalogue doesn't have is left out: it was
    made with another catalogue. Raises SettingsError if the file can't be read, or isn't one of findings.
    """
    rows = {(row.experiment, row.claim): row for row in _rows(path)} if path else {}
    findings = []
    for entry in catalogue.values():
        for claim in entry.claims:
            open_ = ClaimFinding(entry.name, entry.version, claim.name, claim.statement, "open")
            row = rows.get((entry.name, claim.name))
            findings.append(replace(open_, **row.model_dump(exclude={"experiment", "claim"})) if row else open_)
    return findings


def _rows(path: Path) -> list[_Row]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise SettingsError(f"daemon.findings: {path}: {error.strerror}; {_NEXT_STEP}") from error
    if len(content) > LARGEST_FILE:
        raise SettingsError(f"daemon.findings: {path} has more than {LARGEST_FILE >> 20} MiB; {_NEXT_STEP}")
    try:
        rows = _ROWS.validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise SettingsError(
            f"daemon.findings: {path}: {f'{where}: ' if where else ''}{problem['msg']}; {_NEXT_STEP}"
        ) from None
    seen = set()
    for row in rows:
        if (row.experiment, row.claim) in seen:
            raise SettingsError(
                f"daemon.findings: {path} has claim {row.claim!r} of {row.experiment!r} twice; {_NEXT_STEP}"
            )
        seen.add((row.experiment, row.claim))
    return rows


_NEXT_STEP: Final = "write it by `axiomd experiments replicate --json`, or leave the setting out"
