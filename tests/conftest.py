"""Fixtures that all tests share: one private MariaDB a session, a fresh project or MQTT broker a test."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from axiomd.demo.mariadb import PrivateMariaDB
from tests.servers import DEPLOY, PASSWORDS, Mosquitto
from tests.world import World

_numbers = itertools.count(1)

# No deadline an example: a busy machine is no failure. The same examples each time, unless one is out to explore.
hypothesis.settings.register_profile("axiomd", deadline=None, derandomize="AXIOMD_MODEL_EXAMPLES" not in os.environ)
hypothesis.settings.load_profile("axiomd")


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateMariaDB]:
    """A MariaDB of the tests' own."""
    with PrivateMariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture
async def world(mariadb: PrivateMariaDB, tmp_path: Path) -> AsyncIterator[World]:
    """A fresh BOINC project."""
    project = World(mariadb, f"project_{next(_numbers)}", tmp_path)
    yield project
    await project.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """An MQTT broker with the ACL that operators are given."""
    with Mosquitto(tmp_path / "mosquitto", users=PASSWORDS, acl=DEPLOY / "mosquitto" / "acl") as server:
        yield server
