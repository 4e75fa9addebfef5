"""schemathesis, which knows nothing of axiomd, against the API's own description of itself, on a real database."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from tests.gateway import TOKEN, Client, served
from tests.world import World

# The description can't say which parameters belong to which intervention (422), nor that a call's id may stand in the
# body or in a header, but must stand in one (400): such a call is rightly refused.
CONFIG = """
[[operations]]
include-name = "POST /api/v1/interventions/{name}"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 404, 409, 422]
"""


async def schemathesis(client: Client, *options: str) -> tuple[int, str]:
    """Run schemathesis; its exit status and what it says."""
    config = client.settings.project.dir / "schemathesis.toml"
    config.write_text(CONFIG)
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"),
        f"--config-file={config}",
        "run",
        f"{client.address}/api/v1/openapi.json",
        "--header",
        f"Authorization: Bearer {TOKEN}",
        "--generation-deterministic",
        "--no-color",
        *options,
        cwd=client.settings.project.dir,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_schemathesis_finds_nothing_wrong(world: World) -> None:
    world.valid_result(world.host())
    async with served(world) as client:
        assert (await client.intervene("pause", "one", kind="topup"))[0] == 200  # the journal has entry 1
        status, said = await schemathesis(client, "--max-examples", "8", "--phases", "examples,coverage,fuzzing")
    assert status == 0, said
    assert re.search(r"Operations: +11 selected / 11 total", said), said
