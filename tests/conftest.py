"""Fixtures that all tests share: one private MariaDB a session, a fresh project a test."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from axiomd.demo.mariadb import PrivateMariaDB
from tests.world import World

_numbers = itertools.count(1)


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
