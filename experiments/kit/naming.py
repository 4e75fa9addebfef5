"""Names of workunits. The seed stands in the name, so that it outlives an empty input file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_SEED: Final = 2**63 - 1
"""The largest seed: what fits a BIGINT column."""

_EXPERIMENT: Final = r"[a-z][a-z0-9_]*"
_BATCH: Final = r"[0-9a-z]+"
_NAME: Final = re.compile(
    rf"(?P<experiment>{_EXPERIMENT})-v(?P<version>[1-9][0-9]{{0,8}})-(?P<batch>{_BATCH})"
    r"-s(?P<seed>0|[1-9][0-9]{0,18})"
    r"(?:_[0-9]+(?:_[0-9]+_[0-9]+)?)?"  # what BOINC adds to name a result: _<n> or _<pid>_<time>_<n>
)


@dataclass(frozen=True, slots=True)
class WorkunitName:
    """What the name of a workunit says; `str()` of it is the name. Raises ValueError for parts no name can hold.

    version: the experiment's version, from 1 to 999,999,999. seed: from 0 to MAX_SEED.
    """

    experiment: str
    version: int
    batch: str
    seed: int

    def __post_init__(self) -> None:
        if not re.fullmatch(_EXPERIMENT, self.experiment):
            raise ValueError(f"an experiment is named in a-z, 0-9 and _, a letter first; not {self.experiment!r}")
        if not re.fullmatch(_BATCH, self.batch):
            raise ValueError(f"a batch is named in 0-9 and a-z; not {self.batch!r}")
        if not 1 <= self.version <= 999_999_999:
            raise ValueError(f"a version lies between 1 and 999999999; not {self.version}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"a seed lies between 0 and {MAX_SEED}; not {self.seed}")

    def __str__(self) -> str:
        return f"{self.experiment}-v{self.version}-{self.batch}-s{self.seed}"


def parse_workunit_name(text: str) -> WorkunitName | None:
    """Read the name of a workunit, or of a result that BOINC made from it; None for any other text."""
    match = _NAME.fullmatch(text)
    if match is None or int(match["seed"]) > MAX_SEED:
        return None
    return WorkunitName(match["experiment"], int(match["version"]), match["batch"], int(match["seed"]))
