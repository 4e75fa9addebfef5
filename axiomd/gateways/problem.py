"""What a gateway can't do, for the one who asked: a status code and one sentence, always of the same shape."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError


class ProblemBody(BaseModel):
    """The body of every answer from status code 400 on."""

    error: str = Field(description="what is wrong, for a person")


class Problem(Exception):  # noqa: N818 - an answer, not an error of axiomd's
    """A request that is answered with a problem."""

    def __init__(
        self, status: int, message: str, *, headers: Mapping[str, str] | None = None, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
        self.reason = reason
        """What it is counted under; empty: only by its status code."""


def answer(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Give a body as JSON."""
    return web.Response(
        body=body.model_dump_json().encode(), status=status, headers=headers, content_type="application/json"
    )


def complaint(error: ValidationError) -> str:
    """Say what is wrong with the first few fields, without repeating what was sent."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    said = [f"{'.'.join(str(key)[:64] for key in one['loc'][:6]) or 'it'}: {one['msg']}" for one in problems[:3]]
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return "; ".join(said) + more
