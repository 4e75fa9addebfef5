"""How large the next jobs are declared: input templates from the sizes seen; BoundTooTight -> wider ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from axiomd.boinc import speeds, templates
from axiomd.boinc.project import Project
from axiomd.errors import ProjectError
from axiomd.events import BoundTooTight
from axiomd.handlers.handler import Handler, Planned
from axiomd.policies.sizing import Bounds, Needs, bounds, has_moved, next_factor
from axiomd.science.catalogue import CatalogueEntry
from axiomd.settings import DAY_S, Settings
from axiomd.sql import Connection
from axiomd.store import sizing, tables
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.sizing import Deployed, Widened
from axiomd.store.tables import Entry

log = structlog.get_logger(__name__)

KIND = "size"
"""Of journal entries: a template written, or bounds made wider."""

FAST_HOSTS = 0.99
"""Share of the live hosts that a fast host is faster than."""

LIMITS = (
    "ERR_RSC_LIMIT_EXCEEDED",
    "EXIT_DISK_LIMIT_EXCEEDED",
    "EXIT_MEM_LIMIT_EXCEEDED",
    "EXIT_OUT_OF_MEMORY",
    "EXIT_TIME_LIMIT_EXCEEDED",
    "MemoryError",
    "OutOfMemoryError",
)
"""Classes of failures that are a limit's."""


@dataclass
class _Known:
    """An experiment's template as it was found at the last look; `until` is monotonic seconds."""

    path: str
    until: float
    trouble: str = ""


class Sizing:
    """Which input template an experiment's next jobs are made with. Looks again every `sizing.interval_s`."""

    def __init__(self, project: Project, settings: Settings) -> None:
        self._project = project
        self._settings = settings
        self._dir = settings.project.dir
        self._known: dict[tuple[str, str, int], _Known] = {}
        self._fast, self._fast_until = 0.0, 0.0

    async def template(self, connection: Connection, name: str, entry: CatalogueEntry, app: str) -> str:
        """Path, below the project's folder, of the input template for an experiment's jobs; "" for the ordinary one.

        Writes it if the sizes seen have moved. Trouble with the disk is logged, and then it is the ordinary one.
        """
        if not self._settings.sizing.enabled:
            return ""
        key = (app, name, entry.version)
        known = self._known.get(key)
        if known is None or time.monotonic() >= known.until or not self._is_there(known.path):
            until = time.monotonic() + self._settings.sizing.interval_s
            before = known.trouble if known else ""
            try:
                known = _Known(await self._look(connection, name, entry, app), until)
            except ProjectError as error:
                known = _Known("", until, str(error))
                if known.trouble != before:
                    log.warning("jobs are made with the ordinary template", experiment=name, why=known.trouble)
            self._known[key] = known
        return known.path

    def _is_there(self, path: str) -> bool:
        return not path or (self._dir / path).is_file()

    async def _look(self, connection: Connection, name: str, entry: CatalogueEntry, app: str) -> str:
        """Compare the template that there is with what was seen, and write another if that is worth it."""
        ordinary = self._dir / (self._settings.topup.wu_template or f"templates/{app}_in")
        text = templates.read_template(ordinary)
        if text is None:
            raise ProjectError(f"{ordinary}: not there; set topup.wu_template")
        try:
            declared = templates.declared(text)
        except ProjectError as error:
            raise ProjectError(f"{ordinary}: {error}") from error
        now = await read_clock(connection)
        wanted = await self._bounds(connection, Deployed(name, entry.version, entry.gpu), declared, entry, now)
        if wanted is None:
            return ""
        path = templates.copy_path(app, name, entry.version)
        present = templates.read_template(self._dir / path)
        before = _declared(present) or declared
        # Another text around the same bounds: the project's own template was changed, or the copy was.
        if not has_moved(before, wanted) and present == templates.with_bounds(text, before):
            return path
        # The journal first: a template that nobody knows of can't come about, one said to be written will be.
        detail = {"experiment": name, "version": entry.version, "template": path}
        detail |= {"before": _spelled(before), "after": _spelled(wanted)}
        await tables.write_journal(connection, Entry(now, KIND, "topup", 1, detail=detail))
        templates.write_template(self._dir / path, templates.with_bounds(text, wanted))
        log.info("sizes of jobs declared anew", experiment=name, template=path, **_spelled(wanted))
        return path

    async def _bounds(
        self, connection: Connection, of: Deployed, declared: Bounds, entry: CatalogueEntry, now: float
    ) -> Bounds | None:
        sizes = await sizing.sizes(connection, of)
        fast = await self._fast_speed(connection, now)
        needs = Needs(entry.budget_s, float(entry.memory))
        factor = (await sizing.widened(connection, of)).factor
        return bounds(sizes, declared, needs, fast, self._settings.sizing, factor)

    async def _fast_speed(self, connection: Connection, now: float) -> float:
        """Speed of a core of the fast hosts, which counts for no more than where credit is computed from it."""
        if time.monotonic() >= self._fast_until:
            live_since = now - self._settings.hosts.live_after_contact_s
            fast = await speeds.speed_at(connection, FAST_HOSTS, live_since=live_since)
            self._fast = min(fast, self._settings.credit.max_fpops)
            self._fast_until = time.monotonic() + self._settings.sizing.interval_s
        return self._fast


class SizingHandler(Handler):
    """Makes the bounds of an experiment's next jobs wider. Those under way keep theirs."""

    name = "sizing"
    events = (BoundTooTight,)

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(dry_run=settings.daemon.dry_run)
        self._database = database

    async def plan(self, events: Sequence[BoundTooTight]) -> list[Planned]:
        """Say whose bounds would become wider."""
        async with self._database.session() as session:
            now = await read_clock(session)
            planned = []
            for event in events:
                factor = await self._decide(session, _of(event), now)
                if factor is not None:
                    subject = f"{event.experiment} v{event.version}"
                    detail = f"bounds x {factor:g}: {event.died} of {event.results} results died of a limit"
                    planned.append(Planned("widen", subject, detail))
        return planned

    async def act(self, events: Sequence[BoundTooTight]) -> None:
        """Make the bounds wider, at most once a day an experiment."""
        for event in events:
            await self._database.transaction(partial(self._widen, event=event))

    async def _decide(self, connection: Connection, of: Deployed, now: float) -> float | None:
        widened = await sizing.widened(connection, of)
        return next_factor(widened.factor, widened.at, now)

    async def _widen(self, session: Session, event: BoundTooTight) -> None:
        of, now = _of(event), await read_clock(session)
        factor = await self._decide(session, of, now)
        if factor is None:
            return
        died_of = await sizing.causes(session, of, LIMITS, since=now - DAY_S)
        detail = {"experiment": event.experiment, "version": event.version, "gpu": event.gpu}
        detail |= {"results": event.results, "died": event.died, "died_of": died_of, "factor": factor}
        await tables.write_journal(session, Entry(now, KIND, BoundTooTight.name, 1, detail=detail))
        await sizing.put_widened(session, of, Widened(factor, now))
        log.warning(
            "results die of their limits: the next jobs get wider ones",
            experiment=event.experiment,
            version=event.version,
            died=event.died,
            results=event.results,
            died_of=died_of,
            factor=factor,
        )


def _of(event: BoundTooTight) -> Deployed:
    return Deployed(event.experiment, event.version, event.gpu)


def _declared(copy: str | None) -> Bounds | None:
    """What a copy declares; None if there is none, or a machine that lost its power left it empty."""
    try:
        return templates.declared(copy) if copy else None
    except ProjectError:
        return None


def _spelled(of: Bounds) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in of._asdict().items()}
