"""Metrics and health over HTTP: /metrics, /healthz (alive), /readyz (database reached, polls fresh)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from axiomd.errors import ProjectError
from axiomd.settings import HttpSettings

Readiness = Callable[[], Awaitable[list[str]]]
"""Gives what stands in the way of being ready; empty if nothing does."""


def application(readiness: Readiness) -> web.Application:
    """Build the application."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def alive(_request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def ready(_request: web.Request) -> web.Response:
        obstacles = await readiness()
        if obstacles:
            return web.Response(status=503, text="".join(f"{obstacle}\n" for obstacle in obstacles))
        return web.Response(text="ready\n")

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", alive), web.get("/readyz", ready)])
    return app


@asynccontextmanager
async def serve(settings: HttpSettings, readiness: Readiness) -> AsyncIterator[str]:
    """Serve until the context ends; gives the address, `http://host:port`.

    Raises ProjectError if the address can't be listened on.
    """
    runner = web.AppRunner(application(readiness), access_log=None)
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
