"""HTTP: metrics, health, the report, the JSON API, Alertmanager's webhook. docs/http.md tells the routes and limits."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from axiomd.errors import ProjectError
from axiomd.gateways import report_file, routes
from axiomd.gateways.api import ROOT, Api
from axiomd.gateways.guard import Guard
from axiomd.gateways.inside import Inside
from axiomd.gateways.openapi import description
from axiomd.gateways.webhook import Webhook
from axiomd.settings import AlertSettings, HttpSettings

Readiness = Callable[[], Awaitable[list[str]]]
"""Gives what stands in the way of being ready; empty if nothing does."""

STOP_S = 2.0
"""Requests in hand get so long to be answered when the daemon stops."""
LINGERING_S = 2.0
"""A body that was refused is still read for so long, so that its sender comes to read the answer."""


def application(
    settings: HttpSettings,
    readiness: Readiness,
    inside: Inside | None = None,
    alerts: AlertSettings | None = None,
    report: Path | None = None,
) -> web.Application:
    """Build the application. Without `inside` the API answers that the project was not read yet.

    report: the file that /report gives.
    """

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def alive(_request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def ready(_request: web.Request) -> web.Response:
        obstacles = await readiness()
        if obstacles:
            return web.Response(status=503, text="".join(f"{obstacle}\n" for obstacle in obstacles))
        return web.Response(text="ready\n")

    guard = Guard(settings)
    app = web.Application(middlewares=[_middleware(guard)], client_max_size=settings.max_body)
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", alive), web.get("/readyz", ready)])
    app.router.add_get("/report", report_file.serve(report))
    for route in table(inside or Inside(), alerts or AlertSettings(), settings.timeout_s):
        app.router.add_route(route.method, route.at, routes.serve(route, guard))
    return app


def table(inside: Inside, alerts: AlertSettings, timeout_s: float) -> list[routes.Route]:
    """Give the table of routes that have a description, with the route of the description itself."""

    async def read_openapi(_: routes.Request) -> dict[str, Any]:
        """This description."""
        return document

    described = [*Api(inside, timeout_s).routes(), Webhook(inside, alerts, timeout_s).route()]
    described.append(routes.Route("GET", f"{ROOT}/openapi.json", read_openapi, answers=None))
    document = description(described)
    return described


def _middleware(guard: Guard) -> Any:
    @web.middleware
    async def guarded(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
        return await guard(request, handler)

    return guarded


@asynccontextmanager
async def serve(
    settings: HttpSettings,
    readiness: Readiness,
    inside: Inside | None = None,
    alerts: AlertSettings | None = None,
    report: Path | None = None,
) -> AsyncIterator[str]:
    """Serve until the context ends; gives the address, `http://host:port`.

    Raises ProjectError if the address can't be listened on.
    """
    # A connection on which no whole request arrives in time is closed: aiohttp's keep-alive counts from its beginning.
    runner = web.AppRunner(
        application(settings, readiness, inside, alerts, report),
        access_log=None,
        logger=_quiet_logger(),
        keepalive_timeout=settings.timeout_s,
        lingering_time=LINGERING_S,
        shutdown_timeout=STOP_S,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        try:
            await site.start()
        except OSError as error:
            raise ProjectError(
                f"http: can't listen on {settings.host}:{settings.port}: {error.strerror}. Set http.port to a free one."
            ) from error
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def _quiet_logger() -> logging.Logger:
    """Give a logger for what aiohttp says of requests that aren't HTTP: a stranger's noise, told by tracebacks."""
    logger = logging.getLogger(f"{__name__}.strangers")
    logger.setLevel(logging.CRITICAL)
    return logger
