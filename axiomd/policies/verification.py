"""Results of the same seed: do they agree, and where they don't, who is wrong.

One host against another proves nothing, and one that differs from several others may be a platform of its own. So a
host is wrong only if it stands alone against partners of at least two other users who agree with each other, and one
of whom computes on the same kind of machine: the same operating system, and CPU or GPU likewise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

from axiomd.events import Platform

LARGEST_DIFFERENCE: Final = 1e300
"""Stands for a difference that no number says: measured here and not there."""

PARTNERS: Final = 2
"""Users who must agree with each other against a host."""

HOSTS_SHARE: Final = 0.1
"""Of the live hosts this share at most, and always one, is excluded by verification in a day."""

Kind = tuple[Platform, bool]
"""A kind of machine: what it runs, and whether the job ran on its GPU."""


class Comparison(NamedTuple):
    """How two results of the same seed compare."""

    agrees: bool
    worst: int
    """Index of the number that differs most; 0 if none does."""
    difference: float
    """By how much, relative, in units of the tolerance: up to 1 they agree. Finite."""


def compare(first: Sequence[float], second: Sequence[float], tolerance: float) -> Comparison:
    """Compare two results number by number, |a - b| / max(1, |a|, |b|) against the tolerance.

    What only one of them measured (NaN stands for what is missing) is a disagreement. Raises ValueError if they don't
    have the same number of numbers: such results are laid out differently, and can't be compared.
    """
    worst, most = 0, 0.0
    for index, (a, b) in enumerate(zip(first, second, strict=True)):
        # Neither `==` nor `!=` alone tells: NaN, on both sides, is agreement.
        if a == b or (a != a and b != b):  # noqa: PLR0124 - only NaN differs from itself
            continue
        difference = abs(a - b) / max(1.0, abs(a), abs(b))
        if not difference < LARGEST_DIFFERENCE * tolerance:
            return Comparison(agrees=False, worst=index, difference=LARGEST_DIFFERENCE)
        if difference > most:
            worst, most = index, difference
    return Comparison(most <= tolerance, worst, min(most / tolerance, LARGEST_DIFFERENCE) if most else 0.0)


def is_sample(experiment: str, version: int, seed: int, share: float, salt: float) -> bool:
    """Whether a job is among the share that is made twice: whoever asks again is told the same.

    Whoever doesn't know the salt can't tell, and so can't cheat with the others only.
    """
    drawn = hashlib.sha256(f"{salt!r}/{experiment}/{version}/{seed}".encode()).digest()
    return int.from_bytes(drawn[:8], "big") < share * 2**64


class State(IntEnum):
    """How far the dispute over a seed is; axiomd_verification.state."""

    WANTS_COPY = 0
    COPY_OUT = 1
    SETTLED = 2


class Verdict(StrEnum):
    """What a dispute was about; axiomd_verification.verdict."""

    OPEN = "open"
    HOST = "host"
    """One host was wrong."""
    PLATFORM = "platform"
    """Kinds of machines differ: each agrees with its own kind, as far as there are others of it."""
    UNCLEAR = "unclear"
    """All the copies that may be made didn't tell."""


class Copy(NamedTuple):
    """A complete result of a seed."""

    result_id: int
    host_id: int
    user_id: int
    platform: Platform
    gpu: bool

    @property
    def kind(self) -> Kind:
        """The kind of machine that it ran on."""
        return self.platform, self.gpu


@dataclass(frozen=True, slots=True)
class Dispute:
    """A seed whose results disagree, and all that is known of it."""

    experiment: str
    version: int
    seed: int
    state: State
    copies: int
    """How often it was sent again."""
    workunit_name: str = ""
    """COPY_OUT: the copy that is under way."""
    results: tuple[Copy, ...] = ()
    """The complete ones."""
    users: frozenset[int] = frozenset()
    """Who sent any result of it, complete or not."""
    compared: tuple[tuple[int, int, bool], ...] = ()
    """Pairs of results, as (result id, result id, whether they agree)."""

    @property
    def about(self) -> tuple[str, int, int]:
        """Experiment, version and seed."""
        return self.experiment, self.version, self.seed


class Wrong(NamedTuple):
    """A host that is wrong, and the hosts that agree with each other against it."""

    copy: Copy
    partners: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What results of a seed say together."""

    verdict: Verdict
    wrong: tuple[Wrong, ...] = ()
    kinds: tuple[Kind, ...] = ()
    """PLATFORM: the kinds that differ. OPEN: one more copy would tell most on a machine of this kind."""
    sure: bool = True
    """PLATFORM: False if a kind has one user only, who may be wrong as well."""


@dataclass(slots=True)
class _Cluster:
    """Results that agree, each with at least one other of them."""

    copies: list[Copy] = field(default_factory=list)

    @property
    def users(self) -> set[int]:
        return {copy.user_id for copy in self.copies}

    @property
    def kinds(self) -> set[Kind]:
        return {copy.kind for copy in self.copies}

    @property
    def is_strong(self) -> bool:
        return len(self.users) >= PARTNERS


def judge(dispute: Dispute, *, last: bool, distrusted: Collection[int] = ()) -> Judgement:
    """Say who is wrong about a seed.

    Args:
        dispute: its results, and how they compare.
        last: no further copy will come.
        distrusted: hosts that were found wrong before; what they say counts no more.

    """
    copies, pairs = dispute.results, dispute.compared
    known = {copy.result_id for copy in copies if copy.host_id not in distrusted}
    against: dict[int, set[int]] = {id_: set() for id_ in known}
    for first, second, agrees in pairs:
        if not agrees and first in known and second in known:
            against[first].add(second)
            against[second].add(first)
    if not any(against.values()):
        # Who disagreed isn't heard any more.
        return Judgement(Verdict.HOST if len(known) < len(copies) else Verdict.UNCLEAR)
    clusters = _clusters([copy for copy in copies if copy.result_id in known], pairs)
    strong = [cluster for cluster in clusters if cluster.is_strong]
    alone = [cluster for cluster in clusters if not cluster.is_strong]
    wrong, undecided = [], []
    for cluster in alone:
        found = [one for copy in cluster.copies if (one := _wrong(copy, strong, against))]
        wrong += found
        if len(found) < len(cluster.copies):
            undecided.append(cluster)
    left = strong + undecided
    if len(left) <= 1:
        return Judgement(Verdict.HOST if wrong else Verdict.UNCLEAR, tuple(wrong))
    by_kind = _differ_by_kind(left)
    kinds = tuple(sorted(kind for cluster in left for kind in cluster.kinds))
    if by_kind and not undecided:
        return Judgement(Verdict.PLATFORM, tuple(wrong), kinds)
    if not last:
        return Judgement(Verdict.OPEN, tuple(wrong), tuple(sorted(undecided[0].kinds)) if undecided else ())
    if by_kind:
        return Judgement(Verdict.PLATFORM, tuple(wrong), kinds, sure=False)
    return Judgement(Verdict.HOST if wrong else Verdict.UNCLEAR, tuple(wrong))


def next_state(judgement: Judgement, *, copy_out: bool) -> State:
    """How far a dispute is with this judgement; `copy_out`: its copy hasn't come in, nor failed to."""
    if judgement.verdict is not Verdict.OPEN:
        return State.SETTLED
    return State.COPY_OUT if copy_out else State.WANTS_COPY


def most_exclusions(live_hosts: int) -> int:
    """How many hosts verification may exclude in a day."""
    return max(1, int(live_hosts * HOSTS_SHARE))


def _clusters(copies: Sequence[Copy], pairs: Iterable[tuple[int, int, bool]]) -> list[_Cluster]:
    """Put results that agree together, also those that agree by way of others."""
    of = {copy.result_id: _Cluster([copy]) for copy in copies}
    for first, second, agrees in pairs:
        if agrees and first in of and second in of and of[first] is not of[second]:
            kept, gone = of[first], of[second]
            kept.copies += gone.copies
            of.update((copy.result_id, kept) for copy in gone.copies)
    return list({id(cluster): cluster for cluster in of.values()}.values())


def _wrong(copy: Copy, strong: Iterable[_Cluster], against: dict[int, set[int]]) -> Wrong | None:
    """Who shows that a result is wrong: partners who agree with each other, one of them on the same kind of machine."""
    for cluster in strong:
        partners = [one for one in cluster.copies if one.result_id in against[copy.result_id]]
        if len({one.user_id for one in partners} - {copy.user_id}) < PARTNERS:
            continue
        if any(one.kind == copy.kind and one.user_id != copy.user_id for one in partners):
            return Wrong(copy, tuple(sorted({one.host_id for one in partners})))
    return None


def _differ_by_kind(clusters: Sequence[_Cluster]) -> bool:
    """Whether each cluster is of one kind of machine, and no two are of the same."""
    kinds = [cluster.kinds for cluster in clusters]
    return all(len(one) == 1 for one in kinds) and len(set.union(*kinds)) == len(clusters)
