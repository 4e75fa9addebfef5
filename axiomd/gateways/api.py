"""The JSON API below /api/v1: what axiomd sees and did, to read; and interventions, to call with the token."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from axiomd.boinc import views
from axiomd.gateways.inside import Inside
from axiomd.gateways.problem import Problem
from axiomd.gateways.routes import Asked, Request, Route
from axiomd.interventions.intervention import Answer, Call, Ground, Intervention, Outcome, Source
from axiomd.interventions.registry import Interventions
from axiomd.science.catalogue import CatalogueEntry, read_catalogue
from axiomd.science.findings import ClaimFinding, Verdict
from axiomd.views import experiments, failures, findings, hosts, journal, status
from axiomd.views.kept import Kept

T = TypeVar("T")

READERS = 2
"""Reading requests that use the database at a time; the pool is the daemon's in the first place."""
LARGEST_ID = 2**63 - 1
ID_PATTERN = r"^[\x21-\x7e]{1,64}$"
ROOT = "/api/v1"
CALL_PROBLEMS = {
    403: "it isn't allowed by HTTP",
    409: "it is refused as things are, and nothing was changed",
    422: "its parameters are wrong, or it has two ids",
    502: "it was begun and did not succeed: the message says how far it came",
}

Limit = Annotated[int, Field(ge=1, le=500, description="entries of a page at most")]
Id = Annotated[int, Field(ge=1, le=LARGEST_ID, description="id")]
Time = Annotated[float, Field(ge=0, le=1e12)]
After = Annotated[int, Field(ge=0, le=LARGEST_ID, description="only what comes behind this: `next` of the page before")]


class HostsQuery(Asked):
    """Which hosts."""

    after: After = 0
    limit: Limit = 100
    state: Literal["live", "stale", "failing", "excluded"] | None = Field(None, description="only hosts in this state")


class FindingsQuery(Asked):
    """Which findings."""

    after: After = 0
    limit: Limit = 100
    experiment: str | None = Field(None, max_length=64, description="only claims of this experiment")
    verdict: Verdict | None = Field(None, description="only claims with this verdict")


class FailuresQuery(Asked):
    """Which failures."""

    experiment: str = Field("", max_length=64, description="only those of this experiment")
    since: Time = Field(0.0, description="only results that came in then or later (Unix seconds)")
    until: Time | None = Field(None, description="only results that came in before then (Unix seconds)")
    limit: Limit = 50


class JournalQuery(Asked):
    """Which entries of the journal: newest first, or with `after` oldest first."""

    before: Id = Field(LARGEST_ID, description="only entries below this id")
    after: After | None = Field(None, description="only entries above this id, and then oldest first")
    kind: str = Field("", max_length=16, pattern=r"^[a-z_]*$", description="only entries of this kind")
    limit: Limit = 100


class OfId(Asked):
    """One thing by its id."""

    id: Id


class OfName(Asked):
    """An intervention by its name."""

    name: str = Field(max_length=64, description="name of the intervention", examples=["pause"])


class CallHeaders(Asked):
    """The id of a call in the field's custom."""

    idempotency_key: str | None = Field(
        None, alias="Idempotency-Key", pattern=ID_PATTERN, description="id of the call, where the body has none"
    )


class CallBody(BaseModel):
    """A call of an intervention."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"id": "of-your-choice-1", "parameters": {"kind": "topup"}, "dry_run": True}]},
    )

    id: str | None = Field(
        None,
        pattern=ID_PATTERN,
        description="chosen by the caller: what comes again under the same id is not done again",
    )
    parameters: dict[str, Any] = Field(default_factory=dict, description="as the intervention's schema asks for")
    dry_run: bool = Field(default=False, description="say what would be done, and do nothing")


class CallAnswer(BaseModel):
    """What became of a call."""

    id: str
    intervention: str
    outcome: Literal["done", "planned"] = Field(description="planned: it was a dry run")
    message: str = Field(description="what was done, in words")
    changes: int = Field(description="rows that were changed")
    journal_id: int = Field(description="entry of the journal; 0: none")
    repeated: bool = Field(description="whether this is the answer to an earlier delivery of the same call")


class InterventionView(BaseModel):
    """What axiomd can be asked to do."""

    name: str
    summary: str = Field(description="what it does")
    at_most: str = Field(description="what a call may change at most")
    parameters: dict[str, Any] = Field(description="JSON schema of its parameters")
    sources: list[Literal["cli", "http", "mqtt", "alert"]] = Field(description="where calls may come from")


class InterventionList(BaseModel):
    """All interventions."""

    interventions: list[InterventionView]


class Api:
    """The handlers. Each gives a model, or raises Problem; its docstring is its summary in the API's description."""

    def __init__(self, inside: Inside, timeout_s: float) -> None:
        self._inside = inside
        self._timeout_s = timeout_s
        self._readers = asyncio.Semaphore(READERS)
        self._catalogue: dict[str, CatalogueEntry] | None = None
        self._status = Kept(self._make_status)
        self._experiments = Kept(self._read_experiments)
        self._findings = Kept(self._read_findings)

    def routes(self) -> list[Route]:
        """Give the table of routes."""
        return [
            Route("GET", f"{ROOT}/status", self.read_status, status.Status),
            Route("GET", f"{ROOT}/hosts", self.list_hosts, hosts.HostPage, query=HostsQuery),
            Route("GET", f"{ROOT}/hosts/{{id}}", self.read_host, hosts.Host, path=OfId),
            Route("GET", f"{ROOT}/experiments", self.list_experiments, experiments.Experiments),
            Route("GET", f"{ROOT}/findings", self.list_findings, findings.FindingPage, query=FindingsQuery),
            Route("GET", f"{ROOT}/failures", self.list_failures, failures.FailureList, query=FailuresQuery),
            Route("GET", f"{ROOT}/journal", self.list_journal, journal.JournalPage, query=JournalQuery),
            Route("GET", f"{ROOT}/journal/{{id}}", self.read_entry, journal.EntryWithRows, path=OfId),
            Route("GET", f"{ROOT}/interventions", self.list_interventions, InterventionList),
            Route(
                "POST",
                f"{ROOT}/interventions/{{name}}",
                self.intervene,
                CallAnswer,
                path=OfName,
                headers=CallHeaders,
                body=CallBody,
                changes=True,
                problems=CALL_PROBLEMS,
            ),
        ]

    async def read_status(self, _: Request) -> status.Status:
        """What was done, what waits, how full the caps are."""
        return await self._read(self._status.get)

    async def list_hosts(self, asked: Request) -> hosts.HostPage:
        """The hosts by id."""
        ground, query = self._ground(), asked.query

        async def page() -> hosts.HostPage:
            narrowed = {"after": query.after, "limit": query.limit, "state": query.state}
            return await hosts.page(ground.database, ground.project, ground.settings, **narrowed)

        return await self._read(page)

    async def read_host(self, asked: Request) -> hosts.Host:
        """One host."""
        ground, host_id = self._ground(), asked.path.id

        async def one() -> hosts.Host | None:
            return await hosts.host(ground.database, ground.project, ground.settings, host_id)

        return _there(await self._read(one), f"there is no host {host_id}, or it was merged into another")

    async def list_experiments(self, _: Request) -> experiments.Experiments:
        """The experiments of the settings."""
        self._ground()
        return await self._read(self._experiments.get)

    async def list_findings(self, asked: Request) -> findings.FindingPage:
        """What came of each claim of the catalogue."""
        self._ground()
        query = asked.query
        found = await self._read(self._findings.get)
        return findings.page(
            found, after=query.after, limit=query.limit, experiment=query.experiment, verdict=query.verdict
        )

    async def list_failures(self, asked: Request) -> failures.FailureList:
        """Failures by their cause, the most frequent first."""
        database, query = self._ground().database, asked.query

        async def some() -> failures.FailureList:
            until = math.inf if query.until is None else query.until
            narrowed = {"experiment": query.experiment, "since": query.since, "until": until, "limit": query.limit}
            return await failures.failures(database, **narrowed)

        return await self._read(some)

    async def list_journal(self, asked: Request) -> journal.JournalPage:
        """What axiomd did."""
        database, query = self._ground().database, asked.query

        async def page() -> journal.JournalPage:
            narrowed = {"kind": query.kind, "limit": query.limit}
            if query.after is not None:
                return await journal.after(database, query.after, before=query.before, **narrowed)
            return await journal.before(database, query.before, **narrowed)

        return await self._read(page)

    async def read_entry(self, asked: Request) -> journal.EntryWithRows:
        """One entry of the journal with the rows that it changed."""
        database, id_ = self._ground().database, asked.path.id

        async def one() -> journal.EntryWithRows | None:
            return await journal.entry(database, id_)

        return _there(await self._read(one), f"there is no entry {id_}, or it was pruned")

    async def list_interventions(self, _: Request) -> InterventionList:
        """What axiomd can be asked to do."""
        registry = registry_of(self._inside)
        return InterventionList(
            interventions=[
                InterventionView(
                    name=one.name,
                    summary=one.summary,
                    at_most=one.at_most,
                    parameters=one.parameters.model_json_schema(),
                    sources=[source.value for source in Source if registry.allowed(one, source)],
                )
                for one in registry.by_name.values()
            ]
        )

    async def intervene(self, asked: Request) -> CallAnswer:
        """Ask for an intervention."""
        id_, key, name = asked.body.id, asked.headers.idempotency_key, asked.path.name
        if not (id_ or key):
            raise Problem(
                400, 'name the call: by "id" in the body or the header Idempotency-Key; then asking again is safe'
            )
        if id_ and key and id_ != key:
            raise Problem(422, "the id in the body and the header Idempotency-Key differ")
        registry = registry_of(self._inside)
        call = Call(
            id=id_ or key,
            intervention=name,
            parameters=asked.body.parameters,
            source=Source.HTTP,
            caller=f"http:{asked.remote}"[:64],
            dry_run=asked.body.dry_run,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await registry.call(call)
        except TimeoutError:
            raise Problem(504, "no answer yet: ask again under the same id, it isn't done twice") from None
        if answer.outcome is Outcome.DONE or answer.outcome is Outcome.PLANNED:
            return CallAnswer(
                id=answer.id,
                intervention=answer.intervention,
                outcome=answer.outcome.value,
                message=answer.message,
                changes=answer.changes,
                journal_id=answer.journal_id,
                repeated=answer.repeated,
            )
        raise Problem(_status_of(answer, registry, call), answer.message)

    def _ground(self) -> Ground:
        if self._inside.ground is None:
            waits = "axiomd has not read the project yet: it starts, or waits for the database"
            raise Problem(503, waits, headers={"Retry-After": "5"})
        return self._inside.ground

    async def _read(self, reading: Callable[[], Awaitable[T]]) -> T:
        async with asyncio.timeout(self._timeout_s), self._readers:
            return await reading()

    async def _make_status(self) -> status.Status:
        ground = self._ground()
        return await status.status(ground.database, ground.project, ground.settings)

    async def _read_experiments(self) -> experiments.Experiments:
        ground = self._ground()
        async with ground.database.session() as session:
            jobs = await views.jobs_of_experiments(session, ground.project.app_ids)
        return await experiments.experiments(ground.database, ground.settings, await self._known(ground), jobs)

    async def _read_findings(self) -> list[ClaimFinding]:
        ground = self._ground()
        return await findings.read(ground.database, ground.settings, await self._known(ground))

    async def _known(self, ground: Ground) -> dict[str, CatalogueEntry]:
        """Give the catalogue, as it was when it was first asked for."""
        if self._catalogue is None:
            self._catalogue = await asyncio.to_thread(read_catalogue, ground.settings.daemon.catalogue)
        return self._catalogue


def registry_of(inside: Inside) -> Interventions:
    """Give the interventions. Raises Problem while this daemon doesn't work."""
    if inside.interventions is None:
        waits = "this daemon doesn't work now: it starts, or stands by for another one, which answers this"
        raise Problem(503, waits, headers={"Retry-After": "5"})
    return inside.interventions


def _there(found: T | None, otherwise: str) -> T:
    if found is None:
        raise Problem(404, otherwise)
    return found


def _status_of(answer: Answer, registry: Interventions, call: Call) -> int:
    """Give the status code of a call that was refused or failed."""
    if answer.outcome is Outcome.FAILED:
        return 502
    intervention = registry.by_name.get(call.intervention)
    if intervention is None:
        return 404
    if not registry.allowed(intervention, call.source):
        return 403
    return 409 if _fits(intervention, call.parameters) else 422


def _fits(intervention: Intervention[Any], parameters: Mapping[str, Any]) -> bool:
    """Whether the parameters are as the intervention's schema asks for."""
    try:
        intervention.parameters.model_validate_json(json.dumps(dict(parameters)), strict=True)
    except ValidationError:
        return False
    return True
