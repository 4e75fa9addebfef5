"""What stands before every route of HTTP: the token, the rate, the sizes, the time; each refusal counted and told.

A request without the token may only read, at `http.requests_per_s` for all together, and must name this machine by
address, by `localhost` or by `http.host`: a web page that has its own name point at this machine gets nothing. One
with the token has a rate of its own, so that whoever floods the one doesn't keep out the other.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from aiohttp import web
from aiolimiter import AsyncLimiter

from axiomd import metrics
from axiomd.errors import AxiomdError, DatabaseUnavailable
from axiomd.gateways.problem import Problem, ProblemBody, answer
from axiomd.settings import HttpSettings

log = structlog.get_logger(__name__)

CREDENTIAL = "axiomd_http_token"
PUBLIC = frozenset({"/metrics", "/healthz", "/readyz"})
"""Routes for Prometheus and for whoever restarts axiomd: never refused by their rate."""
REASONS = ("rate", "host", "off", "token", "too_large", "too_slow", "unreadable")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Token:
    """The bearer token, read anew each time: it is changed by replacing the file."""

    def __init__(self, settings: HttpSettings) -> None:
        self._file = settings.token_file

    def read(self) -> bytes:
        """Give the token; empty if none is configured. Raises OSError if its file can't be read."""
        path = self._file
        if path is None and (folder := os.environ.get("CREDENTIALS_DIRECTORY")):
            credential = Path(folder) / CREDENTIAL
            path = credential if credential.exists() else None
        if path is None:
            return b""
        with path.open("rb") as file:
            return file.readline(4096).strip()

    def fits(self, request: web.Request) -> bool:
        """Whether a request has the token."""
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not given:
            return False
        try:
            token = self.read()
        except OSError:
            return False
        # In constant time: how long it takes tells nothing of how much was right.
        return bool(token) and hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token)

    def demand(self) -> Problem:
        """Say what a request without it lacks."""
        try:
            if self.read():
                return Problem(
                    401,
                    "this needs the header 'Authorization: Bearer TOKEN', with the token of http.token_file",
                    headers={"WWW-Authenticate": 'Bearer realm="axiomd"'},
                    reason="token",
                )
        except OSError as error:
            log.error("http.token_file can't be read", file=str(self._file), error=error.strerror)
            return Problem(403, "this is off: the file of http.token_file can't be read", reason="off")
        return Problem(
            403, f"this is off: set http.token_file, or give axiomd a systemd credential {CREDENTIAL}", reason="off"
        )


class Rate:
    """So many requests a second at most; those above are refused at once."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._limiter: AsyncLimiter | None = None

    async def admit(self) -> None:
        """Raise Problem if there were too many."""
        if self._per_s and self._limiter is None:
            # Made here, for it belongs to the event loop that it is first used in.
            self._limiter = AsyncLimiter(max(self._per_s, 1.0), max(1.0 / self._per_s, 1.0))
        if self._limiter is None or not self._limiter.has_capacity():
            raise Problem(
                429, "too many requests: http.requests_per_s says how many", headers={"Retry-After": "1"}, reason="rate"
            )
        await self._limiter.acquire()


def names_this_machine(host: str, configured: str) -> bool:
    """Whether a Host header names an address, localhost or the configured host, and no other name."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.strip("[]").lower().rstrip(".")
    if not name or name in {"localhost", configured.lower()}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """The middleware."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._token = Token(settings)
        self._rates = {authorised: Rate(settings.requests_per_s) for authorised in (False, True)}
        for reason in REASONS:
            metrics.HTTP_REFUSED.labels(reason)

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Admit a request, have it answered, and turn whatever goes wrong into a problem; count it."""
        try:
            if route_of(request) not in PUBLIC:
                await self._admit(request)
            response = await self._answered(request, handler)
        except Problem as problem:
            if problem.reason:
                metrics.HTTP_REFUSED.labels(problem.reason).inc()
            response = answer(ProblemBody(error=problem.message), problem.status, problem.headers)
            if problem.reason == "too_slow":
                response.force_close()
        response.headers.update({"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"})
        metrics.HTTP_REQUESTS.labels(route_of(request), str(response.status)).inc()
        return response

    def demand_token(self, request: web.Request) -> None:
        """Raise Problem unless the request has the token."""
        if not self._token.fits(request):
            raise self._token.demand()

    async def body(self, request: web.Request) -> bytes:
        """Read a request's body. Raises Problem if it is too large, or takes too long to arrive."""
        too_large = Problem(
            413, f"the body is larger than http.max_body, {self._settings.max_body} bytes", reason="too_large"
        )
        if (request.content_length or 0) > self._settings.max_body:
            raise too_large
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await request.read()
        except TimeoutError:
            raise Problem(
                408, f"the body did not arrive within {self._settings.timeout_s:g} s", reason="too_slow"
            ) from None
        except web.HTTPRequestEntityTooLarge:
            raise too_large from None
        except (web.PayloadAccessError, web.RequestPayloadError) as error:
            raise Problem(400, "the body is not what its headers say", reason="unreadable") from error

    async def _admit(self, request: web.Request) -> None:
        authorised = self._token.fits(request)
        await self._rates[authorised].admit()
        if not authorised and not names_this_machine(request.headers.get("Host", ""), self._settings.host):
            raise Problem(421, "ask for this machine by its address, by localhost or by http.host", reason="host")

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPNotFound:
            raise Problem(
                404, "there is nothing at this address; /api/v1/openapi.json names all that there is"
            ) from None
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            raise Problem(405, f"this address takes {allowed} only", headers={"Allow": allowed}) from None
        except web.HTTPException as error:
            raise Problem(error.status, error.reason) from None
        except TimeoutError:
            raise Problem(504, f"there was no answer within {self._settings.timeout_s:g} s: try again") from None
        except DatabaseUnavailable as error:
            log.warning("a request could not be answered", route=route_of(request), error=str(error))
            raise Problem(503, "the database can't be reached: try again", headers={"Retry-After": "5"}) from error
        except AxiomdError as error:
            log.error("a request could not be answered", route=route_of(request), error=str(error))
            raise Problem(500, "axiomd can't answer this as things are: its log says why") from error
        except Problem:
            raise
        except Exception as error:
            log.exception("a request could not be answered: this is a bug", route=route_of(request))
            raise Problem(500, "this is a bug in axiomd: its log says more") from error


def route_of(request: web.Request) -> str:
    """Give the pattern of the route that a request came by, never what was asked for; unknown if there is none."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unknown"
