"""The guard rails: how much of each kind of change a rolling window allows, and what a person has stopped.

Past its cap a kind of change stops; the rest goes on. It resumes by itself as the window moves on, or when a person
says so (`axiomd resume`): then the window begins anew. What a person stopped (`axiomd pause`) waits for that person.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from axiomd import metrics
from axiomd.policies.presets import apply_preset
from axiomd.settings import Settings
from axiomd.sql import Connection, load_statements
from axiomd.store import tables

SQL = load_statements("axiomd.store", "guard.sql")


class Kind(StrEnum):
    """Kinds of change that have a cap. Credit is counted in credit, the others in results, workunits or jobs."""

    CREDIT = "credit"
    ABORT = "abort"
    REPAIR = "repair"
    TOPUP = "topup"


@dataclass(frozen=True)
class Rail:
    """At most so much of a kind in a rolling window."""

    kind: Kind
    cap: float
    window_s: float


@dataclass(frozen=True)
class Use:
    """How a rail stands."""

    rail: Rail
    used: float
    paused: bool
    room_at: float
    """When the oldest change leaves the window, Unix seconds; 0 if there is none."""

    @property
    def left(self) -> float:
        """How much is allowed now."""
        return 0.0 if self.paused else max(self.rail.cap - self.used, 0.0)

    @property
    def stopped(self) -> str:
        """Why nothing of this kind is done, in words; empty if it is."""
        if self.paused:
            return f"paused by a person; `axiomd resume {self.rail.kind}` lets it go on"
        if self.left > 0:
            return ""
        when = f"{datetime.fromtimestamp(self.room_at, UTC):%Y-%m-%d %H:%M} UTC" if self.room_at else "any time"
        return f"its cap is used up; there is room again from {when}, or after `axiomd resume {self.rail.kind}`"


def rails(settings: Settings) -> dict[Kind, Rail]:
    """The rails that the settings put up."""
    credit = apply_preset(settings.credit)
    return {
        Kind.CREDIT: Rail(Kind.CREDIT, credit.cap, credit.cap_window_s),
        Kind.ABORT: Rail(Kind.ABORT, settings.abort.cap, settings.abort.cap_window_s),
        Kind.REPAIR: Rail(Kind.REPAIR, settings.repair.cap, settings.repair.cap_window_s),
        Kind.TOPUP: Rail(Kind.TOPUP, settings.topup.cap, settings.topup.cap_window_s),
    }


async def use(connection: Connection, rail: Rail, now: float) -> Use:
    """Read how a rail stands, and show it in the metrics."""
    state = await tables.get_state(connection)
    if state.get(_raised_until(rail.kind), 0.0) > now:
        rail = replace(rail, cap=rail.cap * state.get(_raised(rail.kind), 1.0))
    since = max(now - rail.window_s, state.get(_resumed(rail.kind), 0.0))
    statement = "jobs" if rail.kind is Kind.TOPUP else "credit" if rail.kind is Kind.CREDIT else "changes"
    used, oldest = (await connection.fetch(SQL[statement], {"kind": rail.kind.value, "since": since}))[0]
    found = Use(
        rail,
        float(used),
        paused=bool(state.get(_paused(rail.kind))),
        room_at=float(oldest) + rail.window_s if oldest is not None else 0.0,
    )
    metrics.CAP.labels(rail.kind.value).set(rail.cap)
    metrics.CAP_USED.labels(rail.kind.value).set(found.used / rail.cap if rail.cap else 1.0)
    metrics.PAUSED.labels(rail.kind.value).set(found.paused)
    metrics.STOPPED.labels(rail.kind.value).set(1 if found.stopped else 0)
    return found


async def pause(connection: Connection, kind: Kind) -> None:
    """Stop a kind of change until `resume`."""
    await tables.set_state(connection, _paused(kind), 1)


async def resume(connection: Connection, kind: Kind, now: float) -> None:
    """Let a kind of change go on: what was done before doesn't count towards the cap any more."""
    await tables.set_state(connection, _paused(kind), 0)
    await tables.set_state(connection, _resumed(kind), now)
    if kind is Kind.CREDIT:
        await connection.execute(SQL["look_at_once"])


async def raise_cap(connection: Connection, kind: Kind, *, factor: float, until: float) -> None:
    """Multiply a kind's cap until then; with a factor of 1 it is as the settings say."""
    await tables.set_state(connection, _raised(kind), factor)
    await tables.set_state(connection, _raised_until(kind), until)
    if kind is Kind.CREDIT:
        await connection.execute(SQL["look_at_once"])


def _raised(kind: Kind) -> str:
    return f"cap_factor:{kind.value}"


def _raised_until(kind: Kind) -> str:
    return f"cap_raised_until:{kind.value}"


def _paused(kind: Kind) -> str:
    return f"paused:{kind.value}"


def _resumed(kind: Kind) -> str:
    return f"resumed_at:{kind.value}"
