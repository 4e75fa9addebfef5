"""axiomd's table of seeds whose results disagree. While a copy is under way, `detail` names its workunit."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from axiomd.boinc import fleet
from axiomd.events import Platform
from axiomd.policies.measurement import Outcome
from axiomd.policies.verification import Copy, Dispute, Judgement, State, Verdict, judge, next_state
from axiomd.sql import Connection, load_statements, values
from axiomd.store import failures, findings, tables

SQL = load_statements("axiomd.store", "verification.sql")

ACTOR: Final = "verify"
"""Who excludes hosts that are wrong: axiomd_excluded.actor."""

SALT: Final = "verification_salt"
"""Among the named numbers of axiomd_state."""

MOST: Final = 1000
"""Disputes that are looked at together; the others wait for these to be settled."""

LONGEST_DETAIL: Final = 191

Seed = tuple[str, int, int]
"""Experiment, version, seed."""


class Case(NamedTuple):
    """A dispute, what its results say now, and whether its copy is still under way."""

    dispute: Dispute
    judgement: Judgement
    copy_out: bool

    @property
    def next_state(self) -> State:
        """How far the dispute is with that."""
        return next_state(self.judgement, copy_out=self.copy_out)

    @property
    def is_due(self) -> bool:
        """Whether there is anything to do about it, beyond making a copy."""
        return bool(self.judgement.wrong) or self.next_state is not self.dispute.state


class Standing(NamedTuple):
    """How a dispute is to stand."""

    dispute: Dispute
    state: State
    verdict: Verdict
    copies: int
    detail: str


async def cases(connection: Connection, versions: Mapping[str, int], max_copies: int) -> list[Case]:
    """Read the disputes that aren't settled, and judge each by what its results say now.

    Args:
        connection: where to read.
        versions: of the experiments that get new jobs, the version that does; others get no more copies.
        max_copies: a seed is sent again so many times at most.

    """
    found = await disputes(connection)
    if not found:
        return []
    ended = await tables.endings(connection)
    bad = await findings.distrusted_hosts(connection)
    names = [dispute.workunit_name for dispute in found if dispute.workunit_name]
    out = await fleet.workunits_out(connection, names) | await failures.intended(connection, names)
    judged = []
    for dispute in found:
        copy_out = dispute.workunit_name in out
        which = dispute.experiment, dispute.version
        gets_jobs = versions.get(dispute.experiment) == dispute.version and which not in ended
        last = not copy_out and (dispute.copies >= max_copies or not gets_jobs)
        judged.append(Case(dispute, judge(dispute, last=last, distrusted=bad), copy_out))
    return judged


async def disputes(connection: Connection) -> list[Dispute]:
    """Read the disputes that aren't settled, those that changed longest ago first."""
    rows = await connection.fetch(SQL["open_disputes"], {"limit": MOST})
    if not rows:
        return []
    results: dict[Seed, list[Copy]] = defaultdict(list)
    users: dict[Seed, set[int]] = defaultdict(set)
    for name, version, seed, result_id, host_id, user_id, platform, gpu, outcome in await connection.fetch(
        SQL["results"]
    ):
        users[name, version, seed].add(int(user_id))
        if outcome == Outcome.COMPLETE:
            copy = Copy(int(result_id), int(host_id), int(user_id), Platform(platform), bool(gpu))
            results[name, version, seed].append(copy)
    compared: dict[Seed, list[tuple[int, int, bool]]] = defaultdict(list)
    for name, version, seed, first, second, agrees in await connection.fetch(SQL["comparisons"]):
        compared[name, version, seed].append((int(first), int(second), bool(agrees)))
    return [
        Dispute(
            experiment=str(name),
            version=int(version),
            seed=int(seed),
            state=State(state),
            copies=int(copies),
            workunit_name=str(detail) if state == State.COPY_OUT else "",
            results=tuple(results[name, version, seed]),
            users=frozenset(users[name, version, seed]),
            compared=tuple(compared[name, version, seed]),
        )
        for name, version, seed, state, copies, detail in rows
    ]


async def lock(connection: Connection) -> None:
    """Lock the disputes that aren't settled until the transaction ends."""
    await connection.fetch(SQL["lock_disputes"])


async def put(connection: Connection, standings: Iterable[Standing], now: float) -> None:
    """Note how disputes stand."""
    rows = sorted(
        (
            s.dispute.experiment,
            s.dispute.version,
            s.dispute.seed,
            int(s.state),
            s.verdict.value,
            s.copies,
            now,
            s.detail[:LONGEST_DETAIL],
        )
        for s in standings
    )
    if rows:
        await connection.execute(SQL["put_disputes"].format(rows=values(rows)))


async def wants_copy(connection: Connection) -> bool:
    """Whether any dispute wants one more copy."""
    return bool((await connection.fetch(SQL["wants_copy"]))[0][0])


async def salt(connection: Connection) -> float:
    """Read the project's secret by which jobs are chosen that are made twice; the first time draw it."""
    known = (await tables.get_state(connection)).get(SALT)
    if known is None:
        known = float(secrets.randbits(52))
        await tables.set_state(connection, SALT, known)
    return known


async def excluded_since(connection: Connection, since: float) -> int:
    """How many hosts verification has excluded since then."""
    return int((await connection.fetch(SQL["excluded_since"], {"since": since}))[0][0])
