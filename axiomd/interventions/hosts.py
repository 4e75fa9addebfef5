"""Exclude a host, and release it again. Never by max_results_day = -1: that would refuse its reports."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from axiomd.boinc import hosts
from axiomd.handlers.exclude import quota_changes
from axiomd.interventions.intervention import Done, Parameters, Refusal, Transactional
from axiomd.policies.breaker import closed
from axiomd.store import failures, story, tables
from axiomd.store.database import Session

HostId = Annotated[int, Field(ge=1, le=2**31 - 1, description="id of the host")]
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"


class Exclusion(Parameters):
    """Which host, and why."""

    host: HostId
    reason: Annotated[str, Field(max_length=150, pattern=PRINTABLE, description="why, for the record")] = ""


class Release(Parameters):
    """Which host."""

    host: HostId


class ExcludeHost(Transactional[Exclusion]):
    """Gives a host no more work."""

    name = "exclude_host"
    summary = "Give a host no more jobs; its daily quota at BOINC comes down to one job a core, its reports are taken."
    at_most = "one host: its daily quota for each version of axiomd's apps"
    parameters = Exclusion

    async def plan(self, parameters: Exclusion) -> str:
        """Say what would change."""
        async with self.ground.database.session() as session:
            await _check(session, parameters.host)
            quotas = await hosts.quotas(session, [parameters.host], self.ground.project.app_ids)
        if not self.ground.settings.hosts.exclusion_lowers_quota:
            return f"host {parameters.host} would get no more jobs from axiomd"
        lowered = sum(hosts.is_regrown(quota) for quota in quotas)
        return f"host {parameters.host} would get no more jobs from axiomd{_quotas(lowered, hosts.LOWEST_QUOTA)}"

    async def change(self, session: Session, parameters: Exclusion, *, actor: str, now: float) -> Done:
        """Exclude it."""
        await _check(session, parameters.host)
        await tables.put_exclusion(session, parameters.host, reason=parameters.reason, actor=actor, now=now)
        lowered = []
        if self.ground.settings.hosts.exclusion_lowers_quota:
            quotas = await hosts.quotas(session, [parameters.host], self.ground.project.app_ids)
            lowered = [quota for quota in quotas if hosts.is_regrown(quota)]
            await hosts.set_quotas(session, lowered, hosts.LOWEST_QUOTA)
        return Done(
            f"host {parameters.host} gets no more jobs from axiomd{_quotas(len(lowered), hosts.LOWEST_QUOTA)}",
            changes=len(lowered),
            rows=quota_changes(lowered, hosts.LOWEST_QUOTA),
        )


class ReleaseHost(Transactional[Release]):
    """Gives a host work again."""

    name = "release_host"
    summary = "Give an excluded or failing host jobs again, and its full daily quota back."
    at_most = "one host: its breaker, and its daily quota for each version of axiomd's apps"
    parameters = Release

    async def plan(self, parameters: Release) -> str:
        """Say what would change."""
        async with self.ground.database.session() as session:
            failing = parameters.host in await failures.breakers(session)
            if not failing and not await story.exclusion(session, parameters.host):
                raise Refusal(self._not_excluded(parameters.host))
        return f"host {parameters.host} would get jobs again, with a daily quota of {self._full} jobs a core"

    async def change(self, session: Session, parameters: Release, *, actor: str, now: float) -> Done:  # noqa: ARG002
        """Release it, and close its breaker: what it did before doesn't count against it any more."""
        breaker = (await failures.lock_breakers(session, [parameters.host])).get(parameters.host)
        failing = breaker is not None and bool(breaker.state)
        if not await tables.delete_exclusion(session, parameters.host) and not failing:
            raise Refusal(self._not_excluded(parameters.host))
        if breaker is not None and failing:
            await failures.put_breakers(session, [closed(breaker, now)])
        given_back = []
        if (failing or self.ground.settings.hosts.exclusion_lowers_quota) and self._full:
            quotas = await hosts.quotas(session, [parameters.host], self.ground.project.app_ids)
            given_back = [quota for quota in quotas if 0 < quota.jobs < self._full]
            await hosts.set_quotas(session, given_back, self._full)
        return Done(
            f"host {parameters.host} gets jobs again{_quotas(len(given_back), self._full)}",
            changes=len(given_back),
            rows=quota_changes(given_back, self._full),
        )

    @property
    def _full(self) -> int:
        """The quota of a host without failures, as config.xml has it; 0: the project has none."""
        return self.ground.project.config.daily_result_quota

    def _not_excluded(self, host_id: int) -> str:
        if host_id in self.ground.settings.hosts.exclude:
            return f"host {host_id} is excluded by the settings: take it out of hosts.exclude and restart axiomd"
        return f"host {host_id} isn't excluded, and its breaker is closed"


def _quotas(changed: int, jobs: int) -> str:
    """Say what becomes of the daily quotas at BOINC, one for each app version that the host has used."""
    if not changed:
        return "; its daily quota at BOINC stays as it is"
    return f"; its daily quota at BOINC: {jobs} {'job' if jobs == 1 else 'jobs'} a core ({changed} app versions)"


async def _check(session: Session, host_id: int) -> None:
    if not await hosts.is_there(session, host_id):
        raise Refusal(f"there is no host {host_id}")
