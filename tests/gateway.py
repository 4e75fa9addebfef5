"""HTTP on a project of the tests: the gateway as the daemon serves it, with the real interventions, and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from axiomd.gateways import http
from axiomd.gateways.inside import Inside
from axiomd.interventions.intervention import Ground
from axiomd.interventions.registry import Interventions
from axiomd.settings import Settings
from axiomd.store.database import Database
from tests.world import World

TOKEN = "a token for the tests, of some length"
EXPERIMENT = "micro_scaling_laws"
EXPERIMENTS = {EXPERIMENT: {"version": 1, "memory": 1000}}


async def nothing_in_the_way() -> list[str]:
    return []


def token_file(folder: Path) -> Path:
    """A file with the token."""
    path = folder / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@dataclass
class Client:
    """Asks, and gives (status, JSON) of the answer."""

    address: str
    session: aiohttp.ClientSession
    inside: Inside
    settings: Settings
    database: Database
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {TOKEN}"})

    async def get(self, path: str, **query: Any) -> tuple[int, Any]:
        """GET without the token."""
        async with self.session.get(self.address + path, params=query) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        """POST with the token; `body` as JSON, or `data` as it is."""
        given: dict[str, Any] = (
            {"headers": self.headers, "json": body} if "data" not in more else {"headers": self.headers}
        )
        async with self.session.post(self.address + path, **given | more) as answer:
            return answer.status, await answer.json()

    async def intervene(self, name: str, id_: str, *, dry_run: bool = False, **parameters: Any) -> tuple[int, Any]:
        """Call an intervention."""
        return await self.post(
            f"/api/v1/interventions/{name}", {"id": id_, "parameters": parameters, "dry_run": dry_run}
        )


@asynccontextmanager
async def served(world: World, http_: dict[str, Any] | None = None, **sections: Any) -> AsyncIterator[Client]:
    """Serve a project, with the token, and without a limit of the rate that a test would meet."""
    of_http = {"port": 0, "token_file": token_file(world.folder), "requests_per_s": 10_000, **(http_ or {})}
    settings = world.settings(http=of_http, **{"experiments": EXPERIMENTS} | sections)
    database, project = await world.migrate(settings)
    ground = Ground(settings, database, project)
    inside = Inside(ground, Interventions(ground))
    assert inside.interventions
    try:
        async with (
            http.serve(settings.http, nothing_in_the_way, inside, settings.alerts) as address,
            aiohttp.ClientSession() as session,
        ):
            yield Client(address, session, inside, settings, database)
    finally:
        if inside.interventions:
            await inside.interventions.close()
