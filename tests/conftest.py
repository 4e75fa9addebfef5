"""Fixtures that all tests share: one private MariaDB a session, a fresh project or MQTT broker a test."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from axiomd.demo.mariadb import PrivateMariaDB
from tests.servers import DEPLOY, PASSWORDS, Mosquitto
from tests.world import World

_numbers = itertools.count(1)
ROOM = 3_000_000_000
"""Bytes that the tests' databases may need."""

# No deadline an example: a busy machine is no failure. The same examples each time, unless one is out to explore.
hypothesis.settings.register_profile("axiomd", deadline=None, derandomize="AXIOMD_MODEL_EXAMPLES" not in os.environ)
hypothesis.settings.load_profile("axiomd")


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateMariaDB]:
    """A MariaDB of the tests' own. A test has forty tables made and dropped: in memory, and not in a file each."""
    in_memory = Path("/dev/shm")  # noqa: S108
    roomy = os.access(in_memory, os.W_OK) and shutil.disk_usage(in_memory).free > ROOM
    with (
        tempfile.TemporaryDirectory(
            prefix="axiomd-", dir=in_memory if roomy else tmp_path_factory.getbasetemp()
        ) as folder,
        PrivateMariaDB(Path(folder) / "mariadb") as server,
    ):
        connection = server.connect()
        with connection.cursor() as cursor:
            cursor.execute("SET GLOBAL innodb_file_per_table = 0")
        connection.close()
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
