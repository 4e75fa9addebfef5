"""What a finished result is worth, and whether it is paid now, later or never.

Rules that no setting turns off: nothing is paid twice, nothing that isn't final, nothing that finished before the
baseline; time counts only as far as the server itself saw it pass; a consolation for failed work needs a minimum of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from operator import attrgetter
from typing import NamedTuple

from axiomd.policies.measurement import Outcome
from axiomd.settings import DAY_S, CreditSettings


class Ending(StrEnum):
    """How a result ended, as far as payment goes. boinc.states reads it off a result's row."""

    VALID = "valid"
    INVALID = "invalid"
    FAILED = "failed"
    ABORTED_BY_PROJECT = "aborted_by_project"
    NOT_NEEDED = "not_needed"
    NOT_FINAL = "not_final"


class Refusal(StrEnum):
    """Why a result is never paid."""

    OTHER_APP = "other_app"
    ALREADY_GRANTED = "already_granted"
    BEFORE_BASELINE = "before_baseline"
    NO_HOST = "no_host"
    NO_USER = "no_user"
    INVALID = "invalid"
    CANCELLED = "cancelled"
    NOT_NEEDED = "not_needed"
    FAILED = "failed"
    TOO_SHORT = "too_short"
    WORTH_NOTHING = "worth_nothing"
    EMPTY_OUTPUT = "empty_output"
    PARTIAL_OUTPUT = "partial_output"


class Delay(StrEnum):
    """Why a result is paid later."""

    NOT_FINAL = "not_final"
    CAP = "cap"
    HOST_DAY_CAP = "host_day_cap"
    HARVEST = "harvest"


class FinishedResult(NamedTuple):
    """What a decision about credit needs to know of a result. Times are Unix seconds; speeds operations a second."""

    result_id: int
    workunit_id: int
    app_id: int
    host_id: int
    user_id: int
    team_id: int
    ending: Ending
    exit_status: int
    elapsed_s: float
    sent_at: float
    received_at: float
    granted_credit: float
    cancelled: bool = False
    ended_by_axiomd: bool = False
    uses_gpu: bool = False
    fpops: float = 0.0
    gpu_fpops: float = 0.0
    generation: int = 0
    """Which row in the ledger a payment would be: 0 the first, 2 after a first one was undone, and so on."""
    experiment: str = ""
    """What the workunit's name says that it is of, before `-v`; any text where people name workunits otherwise."""
    awaits_harvest: bool = False
    """Its output is to be read before it is paid, and hasn't been read yet."""
    outcome: Outcome | None = None
    """What the harvest found, where payment heeds it; None: it doesn't, or there was nothing to harvest."""


class Account(IntEnum):
    """Whose totals a grant is added to; axiomd_account.kind."""

    HOST = 1
    USER = 2
    TEAM = 3


class Share(NamedTuple):
    """What a host, user or team gets of a batch."""

    account: Account
    id: int
    credit: float
    started_at: float
    """When the earliest work of it began, Unix seconds."""


class Posting(NamedTuple):
    """What a batch added to a host, user or team."""

    account: Account
    id: int
    credit: float
    """Added to total_credit."""
    average: float
    """Added to expavg_credit, as of the time of the batch: from then on it decays with the rest."""


class Grant(NamedTuple):
    """Pay this result so much."""

    result: FinishedResult
    credit: float


class Refuse(NamedTuple):
    """Never pay this result."""

    result: FinishedResult
    reason: Refusal


class Defer(NamedTuple):
    """Look at this result again, not before `until` (Unix seconds)."""

    result: FinishedResult
    reason: Delay
    until: float


@dataclass(slots=True)
class CreditDecisions:
    """What was decided about a batch of results."""

    grants: list[Grant] = field(default_factory=list)
    refusals: list[Refuse] = field(default_factory=list)
    deferrals: list[Defer] = field(default_factory=list)

    @property
    def credit(self) -> float:
        """Sum of the grants."""
        return sum(grant.credit for grant in self.grants)

    @property
    def closed(self) -> list[FinishedResult]:
        """Results that are dealt with: paid or refused."""
        return [grant.result for grant in self.grants] + [refusal.result for refusal in self.refusals]


@dataclass(frozen=True, slots=True)
class CreditState:
    """What was granted before, for the caps; and what counts as history."""

    app_ids: frozenset[int]
    baseline_at: float
    granted_in_window: float = 0.0
    granted_today: Mapping[int, float] = field(default_factory=dict)
    """Credit granted on this UTC day, by host id."""
    run_cap: float | None = None
    """A person pays the past, so much at most: then neither the baseline nor a host's cap of the day counts, for the
    work wasn't done on this day."""


def shares(grants: Iterable[Grant]) -> list[Share]:
    """Sum up what each host, user and team gets; nobody's (0) are left out. By account, ascending."""
    granted = list(grants)
    found = []
    for account, id_of in (
        (Account.HOST, attrgetter("host_id")),
        (Account.USER, attrgetter("user_id")),
        (Account.TEAM, attrgetter("team_id")),
    ):
        credit: dict[int, float] = {}
        started: dict[int, float] = {}
        for result, amount in granted:
            id_ = id_of(result)
            credit[id_] = credit.get(id_, 0.0) + amount
            started[id_] = min(started.get(id_, result.sent_at), result.sent_at)
        found += [Share(account, id_, credit[id_], started[id_]) for id_ in sorted(credit) if id_]
    return found


CREDIT_STEP = 1 / 1024
"""Credit is a multiple of this, so that sums are exact in binary floating point, in whatever order they are taken."""

MOST_CREDIT = 2.0**40
"""No result is worth more: far from where sums of steps stop being exact (2^43)."""

# How long to leave a result alone that a cap put off: the rolling window moves on all the time.
CAP_RETRY_S = 30.0


def decide_credit(
    results: Iterable[FinishedResult], state: CreditState, settings: CreditSettings, now: float
) -> CreditDecisions:
    """Decide for each result whether it is paid, refused or put off. Who finished first is served first."""
    decisions = CreditDecisions()
    by_hand = state.run_cap is not None
    cap = settings.cap if state.run_cap is None else state.run_cap
    granted = state.granted_in_window
    today = dict(state.granted_today)
    for result in sorted(results, key=lambda result: (result.received_at, result.result_id)):
        reason = refusal(result, state)
        if reason is not None:
            decisions.refusals.append(Refuse(result, reason))
            continue
        if result.ending is Ending.NOT_FINAL:
            decisions.deferrals.append(Defer(result, Delay.NOT_FINAL, now))
            continue
        if result.awaits_harvest and result.ending is Ending.VALID:
            decisions.deferrals.append(Defer(result, Delay.HARVEST, now))
            continue
        worth = value(result, settings)
        if isinstance(worth, Refusal):
            decisions.refusals.append(Refuse(result, worth))
        elif granted + worth > cap:
            decisions.deferrals.append(Defer(result, Delay.CAP, now + CAP_RETRY_S))
        elif not by_hand and today.get(result.host_id, 0.0) + worth > settings.host_day_cap:
            decisions.deferrals.append(Defer(result, Delay.HOST_DAY_CAP, next_day(now)))
        else:
            granted += worth
            today[result.host_id] = today.get(result.host_id, 0.0) + worth
            decisions.grants.append(Grant(result, worth))
    return decisions


def refusal(result: FinishedResult, state: CreditState) -> Refusal | None:
    """Why this result is never paid, whatever it is worth; None if nothing speaks against it."""
    if result.app_id not in state.app_ids:
        return Refusal.OTHER_APP
    if result.granted_credit > 0:
        return Refusal.ALREADY_GRANTED
    if result.ending is Ending.NOT_FINAL:
        return None
    if state.run_cap is None and 0 < result.received_at < math.floor(state.baseline_at):
        return Refusal.BEFORE_BASELINE
    if result.ending is Ending.NOT_NEEDED:
        return Refusal.NOT_NEEDED
    if result.ending is Ending.INVALID:
        return Refusal.INVALID
    if (result.cancelled or result.ending is Ending.ABORTED_BY_PROJECT) and not (
        result.ended_by_axiomd and result.ending is Ending.VALID
    ):
        return Refusal.CANCELLED
    if not result.host_id:
        return Refusal.NO_HOST
    if not result.user_id:
        return Refusal.NO_USER
    return None


def value(result: FinishedResult, settings: CreditSettings) -> float | Refusal:
    """Credit that a result is worth, a multiple of CREDIT_STEP; or why it is worth nothing."""
    if result.ending is Ending.FAILED:
        credit = settings.failures.get(result.exit_status, settings.failure_other)
        if credit <= 0:
            return Refusal.FAILED
        if result.received_at - result.sent_at < settings.failure_min_s:
            return Refusal.TOO_SHORT
    else:
        share, without = _output_share(result, settings)
        if share <= 0:
            return without
        credit = share * _valid_credit(result, settings)
    # What is worth more than a whole cap is paid the cap: else it would wait for ever. A cap of 0 stops all payment.
    caps = [math.floor(cap / CREDIT_STEP) * CREDIT_STEP for cap in (settings.cap, settings.host_day_cap) if cap > 0]
    credit = 0.0 if math.isnan(credit) else min([credit, MOST_CREDIT, *caps])
    credit = math.floor(credit / CREDIT_STEP + 0.5) * CREDIT_STEP
    return credit if credit > 0 else Refusal.WORTH_NOTHING


def _output_share(result: FinishedResult, settings: CreditSettings) -> tuple[float, Refusal]:
    """Share of its credit that a valid result gets for what its output held; and why nothing, where that is 0."""
    if not settings.waits_for_harvest or result.outcome is None or result.outcome.is_good:
        return 1.0, Refusal.WORTH_NOTHING
    if result.outcome is Outcome.PARTIAL:
        return settings.partial_share, Refusal.PARTIAL_OUTPUT
    return settings.empty_share, Refusal.EMPTY_OUTPUT


def counted_s(claimed_s: float, sent_at: float, received_at: float) -> float:
    """Seconds of computing that count: what the client claims, but no more than the server saw pass."""
    claimed = claimed_s if math.isfinite(claimed_s) else 0.0
    return min(max(claimed, 0.0), max(received_at - sent_at, 0.0))


def _valid_credit(result: FinishedResult, settings: CreditSettings) -> float:
    if settings.policy == "flat":
        return settings.flat
    elapsed = counted_s(result.elapsed_s, result.sent_at, result.received_at)
    if settings.policy == "tiers":
        reached = [credit for start, credit in settings.tiers if elapsed >= start]
        return reached[-1] if reached else 0.0
    if result.uses_gpu:
        speed = min(max(result.gpu_fpops, 0.0), settings.max_gpu_fpops)
    else:
        speed = min(max(result.fpops, 0.0), settings.max_fpops)
    return elapsed * speed * settings.flops_scale if math.isfinite(speed) else 0.0


def next_day(now: float) -> float:
    """Start of the next UTC day, Unix seconds."""
    return (now // DAY_S + 1) * DAY_S
