"""What an intervention is: a name, typed parameters, what it may change at most, who may call it; a call, an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from axiomd.boinc.project import Project
from axiomd.errors import AxiomdError
from axiomd.settings import Settings
from axiomd.store.database import Database, Session
from axiomd.store.tables import Change


class Source(StrEnum):
    """Where a call comes from."""

    CLI = "cli"
    HTTP = "http"
    MQTT = "mqtt"
    ALERT = "alert"


ANYONE = frozenset(Source)


class Outcome(StrEnum):
    """What became of a call."""

    DONE = "done"
    PLANNED = "planned"
    """A dry run: this would be done."""
    REFUSED = "refused"
    """Nothing was changed, and the message says why; the id may be used again."""
    FAILED = "failed"
    """It was begun and did not succeed; the message says how far it came."""


@dataclass(frozen=True)
class Call:
    """One request for an intervention. The id is the caller's: whatever comes again under it is not done again."""

    id: str
    intervention: str
    parameters: Mapping[str, Any]
    source: Source
    caller: str
    dry_run: bool = False


@dataclass(frozen=True)
class Answer:
    """What became of a call; the same when it is delivered again, but for `repeated`."""

    id: str
    intervention: str
    outcome: Outcome
    message: str
    changes: int = 0
    journal_id: int = 0
    repeated: bool = False


class Parameters(BaseModel):
    """Parameters of an intervention: typed, unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Parameters):
    """An intervention without parameters."""


class Refusal(AxiomdError):  # noqa: N818 - not an error of axiomd's
    """A call can't be done as things are: nothing was changed."""


P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True)
class Done:
    """What an intervention changed, for the answer and the journal."""

    message: str
    changes: int = 0
    rows: Sequence[Change] = ()
    """Rows of BOINC's that were changed, as the journal keeps them."""


@dataclass(frozen=True)
class Ground:
    """What interventions stand on."""

    settings: Settings
    database: Database
    project: Project


class Intervention(ABC, Generic[P]):
    """Something that axiomd can be asked to do."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """What it does, one sentence."""
    at_most: ClassVar[str]
    """What a call may change at most, in words."""
    sources: ClassVar[frozenset[Source]] = ANYONE
    changes_boinc: ClassVar[bool] = True
    """Whether BOINC's rows or programs are touched, now or by the daemon later: not in a dry run of the daemon."""
    parameters: type[P]

    def __init__(self, ground: Ground) -> None:
        self.ground = ground

    @abstractmethod
    async def plan(self, parameters: P) -> str:
        """Say what a call would do now. Raises Refusal where it would be refused."""


class Transactional(Intervention[P]):
    """An intervention that is one transaction: with its record, all of it or nothing."""

    @abstractmethod
    async def change(self, session: Session, parameters: P, *, actor: str, now: float) -> Done:
        """Make the change. Raises Refusal before anything is written."""


class Errand(Intervention[P]):
    """An intervention that is more than one transaction, or a program of the project's: begun, then ended."""

    @abstractmethod
    async def run(self, parameters: P, *, actor: str) -> Done:
        """Do it. Raises AxiomdError with how far it came if it doesn't succeed."""
