"""ExperimentFailing -> stopped where it fails: no new jobs there, and the hosts get back the quota that it cost them.

What no volunteer has begun is cancelled afterwards (watchers/unwanted_jobs.py), for a stop is a state.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from axiomd.boinc import hosts
from axiomd.boinc.project import Project
from axiomd.events import ExperimentFailing
from axiomd.handlers.exclude import quota_changes
from axiomd.handlers.handler import Handler, Planned
from axiomd.policies.failures import failing_places
from axiomd.policies.measurement import Failure
from axiomd.settings import HOUR_S, Settings
from axiomd.sql import Connection
from axiomd.store import failures, tables
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.failures import Stop
from axiomd.store.tables import Entry

log = structlog.get_logger(__name__)

HOSTS_AT_ONCE = 100
"""Hosts whose quota is given back in one transaction."""


class StopHandler(Handler):
    """Stops failing experiments."""

    name = "stop"
    events = (ExperimentFailing,)

    def __init__(self, database: Database, project: Project, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run, most=100)
        self._database = database
        self._project = project
        self._settings = settings

    async def plan(self, events: Sequence[ExperimentFailing]) -> list[Planned]:
        """Say what would be stopped, where and why."""
        async with self._database.session() as session:
            now = await read_clock(session)
            return [
                Planned("stop", place_words(stop), await self._reason(session, stop, *counts, now))
                for stop, counts in (await self._failing(session, events, now)).items()
            ]

    async def act(self, events: Sequence[ExperimentFailing]) -> None:
        """Give the quotas back, some hosts at a time, then note the stop: whoever is killed in between begins anew."""
        async with self._database.session() as session:
            now = await read_clock(session)
            failing = await self._failing(session, events, now)
            since = failures.window(self._settings.failures, now)
            hit = {stop: await failures.failed_hosts(session, stop, since) for stop in failing}
        for stop, (results, failed) in failing.items():
            given_back = 0
            for start in range(0, len(hit[stop]), HOSTS_AT_ONCE):
                given_back += await self._give_back(stop, hit[stop][start : start + HOSTS_AT_ONCE])
            await self._stop(stop, results, failed, given_back)

    async def _failing(
        self, connection: Connection, events: Sequence[ExperimentFailing], now: float
    ) -> dict[Stop, tuple[int, int]]:
        """Look whether what the events said is still so: where to stop, with the results and failures there."""
        settings = self._settings
        asked = {(event.experiment, event.version, event.gpu) for event in events}
        stops = await failures.stops(connection)
        tallies = await failures.tallies(connection, settings, now)
        found = {}
        for of in sorted(asked & tallies.keys()):
            for place in failing_places(tallies[of], settings.failures, int(now // HOUR_S)):
                stop = Stop(*of, place.platform)
                if not stops & {stop, stop._replace(platform=None)}:
                    found[stop] = (place.results, place.failures)
        return found

    async def _give_back(self, stop: Stop, host_ids: Sequence[int]) -> int:
        full = self._project.config.daily_result_quota

        async def raise_quotas(session: Session) -> int:
            # A host that fails by itself, or is excluded, keeps what BOINC leaves it.
            kept = await tables.excluded_hosts(session, self._settings.hosts)
            kept |= (await failures.breakers(session)).keys()
            found = await hosts.quotas(session, [id_ for id_ in host_ids if id_ not in kept], self._project.app_ids)
            lowered = [quota for quota in found if 0 < quota.jobs < full]
            if lowered:
                count = len({quota.host_id for quota in lowered})
                detail = {"experiment": stop.experiment, "version": stop.version}
                entry = Entry(await read_clock(session), "quota", ExperimentFailing.name, count, detail=detail)
                await tables.write_journal(session, entry, quota_changes(lowered, full))
                await hosts.set_quotas(session, lowered, full)
            return len({quota.host_id for quota in lowered})

        return await self._database.transaction(raise_quotas) if full else 0

    async def _stop(self, stop: Stop, results: int, failed: int, given_back: int) -> None:
        async def note(session: Session) -> str:
            now = await read_clock(session)
            stops = await failures.stops(session)
            ended = (stop.experiment, stop.version) in await tables.endings(session)
            if ended or stops & {stop, stop._replace(platform=None)}:
                return ""
            reason = await self._reason(session, stop, results, failed, now)
            await failures.put_stop(session, stop, reason=reason, now=now)
            detail = {
                "experiment": stop.experiment,
                "version": stop.version,
                "processor": "gpu" if stop.gpu else "cpu",
                "platform": "all" if stop.platform is None else stop.platform.name.lower(),
                "results": results,
                "failures": failed,
                "quotas_given_back": given_back,
                "reason": reason,
            }
            await tables.write_journal(session, Entry(now, "stop", ExperimentFailing.name, 1, detail=detail))
            return reason

        if reason := await self._database.transaction(note):
            log.warning(
                "experiment stopped: it fails", experiment=place_words(stop), why=reason, quotas_given_back=given_back
            )

    async def _reason(self, connection: Connection, stop: Stop, results: int, failed: int, now: float) -> str:
        since = failures.window(self._settings.failures, now)
        found = await failures.most_frequent(connection, stop, since)
        what = f", most often {failure_words(found[0])}" if found else ""
        return f"{failed} of {results} results failed{what}"[: failures.LONGEST_REASON]


def place_words(stop: Stop) -> str:
    """Say what is stopped: `spectral_dynamics v2 on GPUs, windows`."""
    where = "" if stop.platform is None else f", {stop.platform.name.lower()}"
    return f"{stop.experiment} v{stop.version} on {'GPUs' if stop.gpu else 'CPUs'}{where}"


def failure_words(failure: Failure) -> str:
    """Say what failed: `KeyError: 'top_sv_growth' (spectral_dynamics.py:88 measure)`."""
    words = ": ".join(filter(None, (failure.class_, failure.detail)))
    return f"{words} ({failure.place})" if failure.place else words
