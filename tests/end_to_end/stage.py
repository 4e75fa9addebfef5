"""What the commands of a page need around them: a running axiomd, a broker, an Alertmanager, as far as they are named.

The pages name the usual ports; here each server listens on a free one, which stands in the commands that are run.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from tests.servers import DEPLOY, Alertmanager, Mosquitto, free_port
from tests.world import APP, World

AXIOMD, BROKER, ALERTMANAGER = "127.0.0.1:9464", "-p 1883", "127.0.0.1:9093"
USERS = {"axiomd": "axiomd", "operator": "operator"}
"""Users of the broker, with their passwords as the pages have them."""

A_TIME = "1790000000"
"""Stands in the pages for the time at which a command is sent."""

SETTINGS = """
[project]
dir = "{folder}"
apps = ["{app}"]

[database]
unix_socket = "{socket}"

[http]
port = {port}
token_file = "{folder}/axiomd-token"

[topup]
enabled = false
"""

MQTT = """
[mqtt]
enabled = true
port = {port}
project = "axiom"
user = "axiomd"
password_file = "{folder}/axiomd-mqtt-password"
commands = true
"""


def write_settings(world: World, *, port: int = 0, broker: Mosquitto | None = None) -> Path:
    """Write the settings of a page's axiomd, and the files with its secrets."""
    token = secrets.token_hex(16)
    (world.folder / "axiomd-token").write_text(token + "\n")
    (world.folder / "axiomd-token-header").write_text(f"Authorization: Bearer {token}\n")
    text = SETTINGS.format(folder=world.folder, app=APP, socket=world.server.socket, port=port)
    if broker:
        (world.folder / "axiomd-mqtt-password").write_text(USERS["axiomd"] + "\n")
        text += MQTT.format(folder=world.folder, port=broker.port)
    settings = world.folder / "axiomd.toml"
    settings.write_text(text)
    return settings


@asynccontextmanager
async def stage(commands: str, world: World, env: Mapping[str, str]) -> AsyncIterator[Callable[[str], str]]:
    """Start what these commands name; gives a function that puts the present ports and the time into a command."""
    ports: dict[str, str] = {}
    with ExitStack() as stack:
        broker = None
        if BROKER in commands:
            acl = DEPLOY / "mosquitto" / "acl"
            broker = stack.enter_context(Mosquitto(world.folder / "mosquitto", users=USERS, acl=acl))
            ports[BROKER] = f"-p {broker.port}"
        port = free_port() if broker or AXIOMD in commands or ALERTMANAGER in commands else 0
        write_settings(world, port=port, broker=broker)
        if not port:
            yield lambda command: command
            return
        ports[AXIOMD] = f"127.0.0.1:{port}"
        if ALERTMANAGER in commands:
            url, token = f"http://127.0.0.1:{port}/alertmanager", world.folder / "axiomd-token"
            receiver = Alertmanager(world.folder / "alertmanager", webhook_url=url, token_file=token)
            ports[ALERTMANAGER] = f"127.0.0.1:{stack.enter_context(receiver).port}"
        async with running(port, env):
            yield lambda command: _with(command, ports)


@asynccontextmanager
async def running(port: int, env: Mapping[str, str]) -> AsyncIterator[None]:
    """Run `axiomd run`, from when it is ready until it is told to stop."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "axiomd", "run", env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as client:
            while not await _ready(client, port):
                assert process.returncode is None, (await process.communicate())[0].decode()
                await asyncio.sleep(0.1)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def _ready(client: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with client.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False  # it doesn't listen yet


def _with(command: str, ports: Mapping[str, str]) -> str:
    for usual, present in ports.items():
        command = command.replace(usual, present)
    return command.replace(A_TIME, str(int(time.time())))
