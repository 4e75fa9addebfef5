"""A route as data: what it is asked with, what it answers. The API is served and described from the same table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from axiomd.gateways.guard import Guard
from axiomd.gateways.problem import Problem, answer, complaint


class Asked(BaseModel):
    """Parameters of a route, from its path, its query or its headers: unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Asked):
    """A route without parameters."""


@dataclass(frozen=True)
class Request:
    """What came in, checked."""

    path: Any
    query: Any
    headers: Any
    body: Any
    remote: str
    """Address of the caller."""


@dataclass(frozen=True)
class Route:
    """One route. `changes`: it needs the token."""

    method: str
    at: str
    handle: Callable[[Request], Awaitable[BaseModel | dict[str, Any]]]
    answers: type[BaseModel] | None
    """None: a JSON document of no model of ours."""
    path: type[Asked] = Nothing
    query: type[Asked] = Nothing
    headers: type[Asked] = Nothing
    body: type[BaseModel] | None = None
    changes: bool = False
    problems: Mapping[int, str] = field(default_factory=dict)
    """Status codes of its own from 400 on, and when they are given."""

    @property
    def name(self) -> str:
        """Its name in the description."""
        return self.handle.__name__

    @property
    def summary(self) -> str:
        """What it is for."""
        return (self.handle.__doc__ or "").partition("\n")[0].removesuffix(".")


def serve(route: Route, guard: Guard) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Give the handler of a route for aiohttp."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if route.changes:
            # Before anything of it is read.
            guard.demand_token(request)
        asked = Request(
            path=_path(route.path, request),
            query=_query(route.query, request),
            headers=_headers(route.headers, request),
            body=_body(route.body, await guard.body(request)) if route.body else None,
            remote=request.remote or "",
        )
        given = await route.handle(asked)
        return web.json_response(given) if isinstance(given, dict) else answer(given)

    return handler


def _path(model: type[Asked], request: web.Request) -> Asked:
    try:
        return model.model_validate_strings(dict(request.match_info))
    except ValidationError as error:
        raise Problem(404, f"there is no such thing: {complaint(error)}") from None


def _query(model: type[Asked], request: web.Request) -> Asked:
    if len(request.query) != len(set(request.query)):
        raise Problem(400, "a parameter stands twice")
    try:
        return model.model_validate_strings(dict(request.query))
    except ValidationError as error:
        raise Problem(400, complaint(error)) from None


def _headers(model: type[Asked], request: web.Request) -> Asked:
    names = [field.alias or name for name, field in model.model_fields.items()]
    try:
        return model.model_validate_strings({name: request.headers[name] for name in names if name in request.headers})
    except ValidationError as error:
        raise Problem(400, complaint(error)) from None


def _body(model: type[BaseModel], body: bytes) -> BaseModel:
    try:
        sent = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise Problem(400, "the body is not JSON", reason="unreadable") from None
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        raise Problem(400, f"the body: {complaint(error)}", reason="unreadable") from None
