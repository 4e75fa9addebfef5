"""Failures, grouped by their fingerprint: what failed, in which experiment, how often, on how many hosts, and when."""

from __future__ import annotations

import math

from pydantic import Field

from axiomd.store import failures as stored
from axiomd.store.database import Database
from axiomd.views.view import View


class FailureLine(View):
    """Failures of the same cause."""

    fingerprint: str = Field(description="the same for failures of the same cause")
    experiment: str
    version: int
    class_: str = Field(description="the error's class, or BOINC's name of the exit status")
    place: str = Field(description="file, line and function, where the file is one of axiomd's; else empty")
    detail: str = Field(description="the first words of the message, made harmless")
    results: int = Field(description="results that failed by it")
    hosts: int = Field(description="hosts that they came from")
    first_at: float = Field(description="when the first came in (Unix seconds)")
    last_at: float = Field(description="when the last came in (Unix seconds)")


class FailureList(View):
    """The most frequent failures first."""

    failures: list[FailureLine]
    fingerprints: int = Field(description="how many there are in all")
    results: int = Field(description="results that failed, in all")


async def failures(
    database: Database, *, experiment: str = "", since: float = 0.0, until: float = math.inf, limit: int = 50
) -> FailureList:
    """Give the most frequent failures, of one experiment or of all; with a period, as often as they came in then."""
    async with database.session() as session:
        rows, fingerprints, results = await stored.failures(
            session, experiment=experiment, since=since, until=until, limit=limit
        )
    lines = [FailureLine(**row._asdict()) for row in rows]
    return FailureList(failures=lines, fingerprints=fingerprints, results=results)
