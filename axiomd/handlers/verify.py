"""ResultsDisagree -> the host that is wrong is excluded, or the platforms that differ are reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from axiomd.boinc import fleet
from axiomd.events import Platform, ResultsDisagree
from axiomd.handlers.handler import Handler, Planned
from axiomd.policies.hosts import fleet_is_silent
from axiomd.policies.verification import Kind, Verdict, Wrong, most_exclusions
from axiomd.settings import DAY_S, Settings
from axiomd.sql import Connection
from axiomd.store import findings, tables, verification
from axiomd.store.database import Database, Session, read_clock
from axiomd.store.tables import Change, Entry
from axiomd.store.verification import ACTOR, Case, Standing

log = structlog.get_logger(__name__)

KIND = "verify"
"""Of journal entries."""

LONGEST_REASON = 191
MOST_SEEDS = 20
"""Seeds that a journal entry names; all are counted."""


@dataclass
class _Decided:
    """What follows from the disputes."""

    exclusions: dict[int, str] = field(default_factory=dict)
    """Hosts to exclude, with the reason."""
    standings: list[tuple[Case, str]] = field(default_factory=list)
    """Disputes that get further, each with a word for its row."""
    put_off: set[int] = field(default_factory=set)
    """Hosts that are wrong, and not excluded before there is room."""

    def settled(self, verdict: Verdict) -> list[tuple[Case, str]]:
        """Disputes that end with a verdict."""
        return [(case, words) for case, words in self.standings if case.judgement.verdict is verdict]


class VerifyHandler(Handler):
    """Settles disputes over seeds. Holds while the fleet is silent, and excludes a tenth of it in a day at most."""

    name = "verify"
    events = (ResultsDisagree,)

    def __init__(self, database: Database, settings: Settings, versions: Mapping[str, int]) -> None:
        """`versions`: of the experiments that get new jobs."""
        super().__init__(dry_run=settings.daemon.dry_run, most=verification.MOST)
        self._database = database
        self._settings = settings
        self._versions = versions
        self._told: set[int] = set()

    async def plan(self, events: Sequence[ResultsDisagree]) -> list[Planned]:
        """Say which hosts would be excluded, and which disputes would be settled."""
        async with self._database.session() as session:
            decided = await self._decide(session, events, await read_clock(session))
        return [Planned("exclude", f"host {host_id}", reason) for host_id, reason in decided.exclusions.items()] + [
            Planned("verify", _seed(case), words) for case, words in decided.standings
        ]

    async def act(self, events: Sequence[ResultsDisagree]) -> None:
        """Judge again under the lock, and write down what follows."""

        async def settle(session: Session) -> _Decided:
            await verification.lock(session)
            now = await read_clock(session)
            decided = await self._decide(session, events, now)
            if decided.exclusions or decided.standings:
                await _apply(session, decided, now)
            return decided

        decided = await self._database.transaction(settle)
        for host_id, reason in decided.exclusions.items():
            log.warning("host excluded: its results are wrong", host=host_id, reason=reason)
        for case, words in decided.settled(Verdict.PLATFORM):
            log.warning("platforms disagree", seed=_seed(case), kinds=words)
        if decided.put_off - self._told:
            log.warning(
                "hosts that are wrong wait for their exclusion: the fleet is silent, or the day's number is reached",
                hosts=sorted(decided.put_off),
            )
        self._told = decided.put_off

    async def _decide(self, connection: Connection, events: Sequence[ResultsDisagree], now: float) -> _Decided:
        keys = {event.key for event in events}
        cases = [
            case
            for case in await verification.cases(connection, self._versions, self._settings.verification.max_copies)
            if case.is_due and case.dispute.about in keys
        ]
        room = await self._room(connection, now)
        excluded = await tables.excluded_hosts(connection, self._settings.hosts)
        decided = _Decided()
        for case in cases:
            wrong = {one.copy.host_id: one for one in case.judgement.wrong}
            new = sorted(wrong.keys() - excluded - decided.exclusions.keys())
            taken = new[: max(0, room - len(decided.exclusions))]
            decided.exclusions |= {host_id: _reason(case, wrong[host_id]) for host_id in taken}
            if len(taken) < len(new):
                decided.put_off.update(new[len(taken) :])
            elif case.next_state is not case.dispute.state:
                decided.standings.append((case, _words(case)))
        return decided

    async def _room(self, connection: Connection, now: float) -> int:
        """How many hosts may be excluded now."""
        hosts = self._settings.hosts
        if fleet_is_silent(await fleet.silence(connection, now - hosts.fleet_silent_after_s), hosts):
            return 0
        live, _ = await tables.host_counts(connection)
        return max(0, most_exclusions(live) - await verification.excluded_since(connection, now - DAY_S))


async def _apply(session: Session, decided: _Decided, now: float) -> None:
    # An excluded host's daily quota comes down by QuotaRegrown.
    exclusions = {
        host_id: reason
        for host_id, reason in sorted(decided.exclusions.items())
        if await tables.put_exclusion(session, host_id, reason=reason, actor=ACTOR, now=now)
    }
    detail: dict[str, object] = {
        verdict.value: len(found)
        for verdict in (Verdict.HOST, Verdict.PLATFORM, Verdict.UNCLEAR)
        if (found := decided.settled(verdict))
    }
    withdrawn = await findings.withdraw(session, exclusions)
    if withdrawn:
        detail["findings withdrawn"] = len(withdrawn)
    if exclusions or detail:
        detail |= {f"host {host_id}": reason for host_id, reason in exclusions.items()}
        detail |= {_seed(case): words for case, words in decided.settled(Verdict.PLATFORM)[:MOST_SEEDS]}
        await tables.write_journal(
            session,
            Entry(now, KIND, ResultsDisagree.name, len(exclusions), detail=detail),
            [Change("host", host_id, KIND, {"excluded": False}, {"excluded": True}) for host_id in exclusions],
        )
    await verification.put(
        session,
        [
            Standing(case.dispute, case.next_state, case.judgement.verdict, case.dispute.copies, words)
            for case, words in decided.standings
        ],
        now,
    )


def _seed(case: Case) -> str:
    return f"{case.dispute.experiment} v{case.dispute.version} seed {case.dispute.seed}"


def _reason(case: Case, wrong: Wrong) -> str:
    """Say why a host is excluded; of many partners the first."""
    seed = _seed(case)
    hosts = ", ".join(map(str, wrong.partners))
    words = f"disagrees with hosts {hosts} on {seed}"
    if len(words) > LONGEST_REASON:
        words = f"disagrees with {len(wrong.partners)} hosts on {seed}"
    return words[:LONGEST_REASON]


def _words(case: Case) -> str:
    """Say of a dispute what its row keeps."""
    judgement = case.judgement
    if judgement.verdict is Verdict.HOST:
        return ", ".join(f"host {one.copy.host_id}" for one in judgement.wrong)
    if judgement.verdict is Verdict.PLATFORM:
        return " and ".join(map(_kind, judgement.kinds)) + ("" if judgement.sure else ", or a host is wrong")
    return ""


def _kind(kind: Kind) -> str:
    platform, gpu = kind
    names = {Platform.WINDOWS: "Windows", Platform.LINUX: "Linux", Platform.MAC: "macOS"}
    return f"{names.get(platform, 'another system')}{' (GPU)' if gpu else ''}"
