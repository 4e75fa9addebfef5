"""What a command from a stranger asks for: read from bytes, or refused with a reason, before anything is looked up."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from axiomd.errors import AxiomdError

MOST_BYTES = 65_536
"""Bytes of a command at most."""
MOST_AHEAD_S = 60.0
"""A sender's clock may be ahead by so much."""
LONGEST_TOPIC = 255
MOST_CORRELATION = 1024
"""Letters of an answer's topic, and bytes of its correlation data, at most."""
MOST_COMPLAINTS = 3


class BadCommand(AxiomdError):  # noqa: N818 - not an error of axiomd's
    """A command is refused as it stands; `id` is the one that its sender gave it, as far as it can be read."""

    def __init__(self, message: str, id_: str = "") -> None:
        super().__init__(message)
        self.id = id_


class Command(BaseModel):
    """A command as it is sent."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
    """The sender's: whatever comes again under it is not done again."""
    sent_at: Annotated[float, Field(allow_inf_nan=False)]
    """Unix seconds by the sender's clock."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    dry_run: bool = False


def read_command(payload: bytes) -> Command:
    """Read a command. Raises BadCommand."""
    if len(payload) > MOST_BYTES:
        raise BadCommand(f"too long: {len(payload)} bytes, {MOST_BYTES} at most")
    try:
        document = from_json(payload, allow_inf_nan=False)
    except ValueError as error:
        raise BadCommand(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadCommand('not a command: {"id": ..., "sent_at": ..., "parameters": {...}} is expected')
    try:
        return Command.model_validate(document)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        complaints = [_complaint(problem["loc"], problem["msg"]) for problem in problems[:MOST_COMPLAINTS]]
        named = any(problem["loc"] == ("id",) for problem in problems)
        raise BadCommand("; ".join(complaints), "" if named else document["id"]) from None


def _complaint(where: tuple[int | str, ...], what: str) -> str:
    """Say what is wrong, in printable letters: a key may be anything."""
    name = ".".join(map(str, where))[:64]
    if name == "id" and "pattern" in what:
        what = "must be 1 to 64 printable ASCII letters, no space"
    return f"{name if name.isprintable() else ascii(name)}: {what}"


def check_age(command: Command, now: float, max_age_s: float) -> None:
    """Raise BadCommand unless a command was sent lately."""
    age_s = now - command.sent_at
    if age_s > max_age_s:
        raise BadCommand(f"sent {age_s:.0f} s ago: older than {max_age_s:g} s, and not done any more", command.id)
    if age_s < -MOST_AHEAD_S:
        raise BadCommand(f"sent {-age_s:.0f} s in the future: set the sender's clock", command.id)


def check_answer_topic(topic: str, correlation: bytes | None, below: str) -> None:
    """Raise BadCommand unless an answer may go to this topic: never where a stranger's commands or events would be."""
    name = topic.removeprefix(below)
    if name == topic or not name:
        raise BadCommand(f"the response topic must lie below {below}")
    if len(topic) > LONGEST_TOPIC or not name.isprintable() or set(name) & set("+#$"):
        raise BadCommand("the response topic is no name for answers")
    if correlation is not None and len(correlation) > MOST_CORRELATION:
        raise BadCommand(f"the correlation data is longer than {MOST_CORRELATION} bytes")
