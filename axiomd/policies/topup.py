"""Which host gets how many jobs of which experiment.

Jobs are dealt out by stride scheduling (Waldspurger and Weihl 1995): each job goes to the experiment that is furthest
behind its weight, so that the shares hold over the whole deployment and not host by host. What one host can't take (too
little memory, no GPU, target met, stopped on its platform) the next one makes up for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple

from axiomd.events import Platform
from axiomd.settings import TopupSettings

EXPERIMENTS_PER_HOST = 2
"""Into how many portions, each of one experiment, the jobs for a host are divided."""


@dataclass(frozen=True, slots=True)
class Host:
    """A live host and its jobs. Sizes are bytes."""

    host_id: int
    ncpus: int
    ngpus: int
    memory: float
    jobs: int = 0
    """CPU jobs that it has: in progress, or made for it and not fetched yet."""
    gpu_jobs: int = 0
    job_sizes: tuple[tuple[float, int], ...] = ()
    """Its jobs as (bytes of memory that one needs, how many)."""
    quota_left: float = math.inf
    """Jobs that it may be given now: what BOINC would still send it today, or the one of a probe."""
    user_id: int = 0
    platform: Platform = Platform.OTHER


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment that wants results. Memory in bytes."""

    name: str
    weight: float
    wanted: int
    """Independent results still wanted, those under way taken off."""
    memory: float = 0.0
    gpu: bool = False
    pilot: bool = False
    pilot_hosts: int = 5
    stopped_on: frozenset[Platform] = frozenset()
    """Hosts of these platforms get none."""


class Order(NamedTuple):
    """Make so many jobs of an experiment for a host."""

    host_id: int
    experiment: str
    jobs: int


def usable_cores(ncpus: int, settings: TopupSettings) -> int:
    """Cores of a host that count, for BOINC itself counts no more than max_ncpus."""
    return max(0, min(ncpus, settings.max_cores))


def idle_cores(host: Host, settings: TopupSettings) -> int:
    """Cores of a host without a job."""
    wanted = math.floor(usable_cores(host.ncpus, settings) * settings.jobs_per_core)
    return max(0, wanted - host.jobs)


@dataclass(slots=True)
class _Room:
    """What a host can still take: CPU jobs, GPU jobs, jobs of either kind; and what fits into its memory."""

    cpu: int
    gpu: int
    quota: int
    memory: float
    at_once: int
    """Jobs that run at once; only they need memory, the others wait."""
    sizes: dict[float, int]
    largest: float
    taken: dict[str, int]
    host: Host

    def slots(self, *, gpu: bool) -> int:
        """Jobs of a kind that it can take, memory aside."""
        return max(0, min(self.gpu if gpu else self.cpu, self.quota))

    def fit(self, size: float, jobs: int) -> int:
        """How many more jobs of a size fit, `jobs` at most, if of all its jobs the largest happen to run at once."""
        if max(size, self.largest) * self.at_once <= self.memory:
            return jobs
        if not self.sizes:
            return min(jobs, int(self.memory // size))
        if self._peak(size, jobs) <= self.memory:
            return jobs
        if self._peak(size, 1) > self.memory:
            return 0
        while self._peak(size, jobs) > self.memory:
            jobs -= 1
        return jobs

    def can_take(self, experiment: Experiment) -> bool:
        """Whether it can take one more job of an experiment."""
        return (
            self.host.platform not in experiment.stopped_on
            and self.slots(gpu=experiment.gpu) > 0
            and self.fit(experiment.memory, 1) > 0
        )

    def _peak(self, size: float, jobs: int) -> float:
        sizes = self.sizes | {size: self.sizes.get(size, 0) + jobs}
        left, peak = self.at_once, 0.0
        for one, count in sorted(sizes.items(), reverse=True):
            running = min(left, count)
            peak += running * one
            left -= running
            if not left:
                break
        return peak

    def take(self, experiment: Experiment, jobs: int) -> None:
        if experiment.gpu:
            self.gpu -= jobs
        else:
            self.cpu -= jobs
        self.quota -= jobs
        self.largest = max(self.largest, experiment.memory)
        self.sizes[experiment.memory] = self.sizes.get(experiment.memory, 0) + jobs
        self.taken[experiment.name] = self.taken.get(experiment.name, 0) + jobs


def _rooms(hosts: Sequence[Host], settings: TopupSettings, max_in_progress_per_core: float) -> dict[int, _Room]:
    """What each host that can take anything at all can still take, by host id."""
    most_per_core = min(settings.max_jobs_per_core, max_in_progress_per_core)
    jobs_per_gpu, memory_share = settings.jobs_per_gpu, settings.memory_share
    rooms = {}
    for host in hosts:
        cores = usable_cores(host.ncpus, settings)
        gpu_jobs = math.floor(host.ngpus * jobs_per_gpu) if host.ngpus else 0
        cpu = min(idle_cores(host, settings), math.floor(cores * most_per_core) - host.jobs)
        gpu = gpu_jobs - host.gpu_jobs
        if (cpu > 0 or gpu > 0) and host.quota_left >= 1:
            sizes = dict(host.job_sizes)
            rooms[host.host_id] = _Room(
                cpu=cpu,
                gpu=gpu,
                quota=math.floor(min(host.quota_left, 2.0**31)),
                memory=host.memory * memory_share,
                at_once=cores + gpu_jobs,
                sizes=sizes,
                largest=max(sizes) if sizes else 0.0,
                taken={},
                host=host,
            )
    return rooms


def decide_topup(
    hosts: Sequence[Host],
    experiments: Sequence[Experiment],
    settings: TopupSettings,
    *,
    limit: int,
    max_in_progress_per_core: float = math.inf,
) -> list[Order]:
    """Decide which jobs to make.

    Args:
        hosts: live hosts that aren't excluded; their ids are unique.
        experiments: what wants results; names are unique.
        settings: shares and bounds.
        limit: jobs made at most, all together.
        max_in_progress_per_core: BOINC's max_wus_in_progress, jobs a core.

    """
    rooms = _rooms(hosts, settings, max_in_progress_per_core)
    left = max(limit, 0)
    pilots = [experiment for experiment in experiments if experiment.pilot]
    if pilots:
        largest_first = sorted(hosts, key=lambda host: (-usable_cores(host.ncpus, settings), host.host_id))
        for experiment in pilots:
            most = min(experiment.pilot_hosts, experiment.wanted, left)
            fit = [rooms[host.host_id] for host in largest_first if host.host_id in rooms]
            fit = [room for room in fit if room.can_take(experiment)]
            for room in fit[: max(most, 0)]:
                room.take(experiment, 1)
                left -= 1
    for gpu in (True, False):
        kind = [e for e in experiments if e.gpu is gpu and not e.pilot and e.weight > 0 and e.wanted > 0]
        left = _deal_out(kind, rooms.values(), left, gpu=gpu)
    return [
        Order(host_id, experiment, jobs) for host_id, room in rooms.items() for experiment, jobs in room.taken.items()
    ]


def _deal_out(kind: Sequence[Experiment], rooms: Iterable[_Room], limit: int, *, gpu: bool) -> int:
    """Deal jobs of experiments that are all CPU or all GPU out to the hosts; how much of the limit is left."""
    left = limit
    wanted = [experiment.wanted for experiment in kind]
    strides = [1 / experiment.weight for experiment in kind]
    stopped_on = [experiment.stopped_on for experiment in kind]
    # By how far each experiment has come, in jobs over weight: the one furthest behind is at the top.
    queue = [(stride, number) for number, stride in enumerate(strides)]
    heapify(queue)
    for room in rooms:
        slots = min(room.slots(gpu=gpu), left)
        # A host gets a few experiments, several jobs of each: its volunteer downloads fewer inputs.
        portion = max(1, slots // EXPERIMENTS_PER_HOST)
        unfit = []
        too_large = math.inf
        while slots > 0 and queue:
            come, number = queue[0]
            if stopped_on[number] and room.host.platform in stopped_on[number]:
                unfit.append(heappop(queue))
                continue
            size = kind[number].memory
            jobs = room.fit(size, min(portion, slots, wanted[number])) if size < too_large else 0
            if not jobs:
                too_large = min(too_large, size)
                unfit.append(heappop(queue))
                continue
            room.take(kind[number], jobs)
            slots -= jobs
            left -= jobs
            wanted[number] -= jobs
            if wanted[number]:
                heapreplace(queue, (come + jobs * strides[number], number))
            else:
                heappop(queue)
        for entry in unfit:
            heappush(queue, entry)
    return left


class Copies:
    """Hosts for second copies of jobs, which are few. A host that has no idle core may have them wait.

    It may have as many jobs as BOINC lets it have and `max_jobs_per_core` allows, and one that waits for each GPU.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        experiments: Iterable[Experiment],
        orders: Iterable[Order],
        settings: TopupSettings,
        *,
        max_in_progress_per_core: float = math.inf,
    ) -> None:
        """Take the same as `decide_topup`, and the orders that it gave."""
        self._experiments = {experiment.name: experiment for experiment in experiments}
        waiting = settings.model_copy(
            update={"jobs_per_core": settings.max_jobs_per_core, "jobs_per_gpu": settings.jobs_per_gpu + 1}
        )
        rooms = _rooms(hosts, waiting, max_in_progress_per_core)
        for order in orders:
            if order.host_id in rooms:
                rooms[order.host_id].take(self._experiments[order.experiment], order.jobs)
        # Those with the most room first, and each in its turn.
        self._queue = sorted(rooms.values(), key=lambda room: (-room.cpu - room.gpu, room.host.host_id))

    def host_for(self, experiment: str, users: Collection[int], platforms: Collection[Platform] = ()) -> int:
        """Give one job to a host of none of these users, of one of these platforms if there is one; 0: to nobody."""
        wanted = self._experiments[experiment]
        for only in (platforms, ()) if platforms else ((),):
            for place, room in enumerate(self._queue):
                if only and room.host.platform not in only:
                    continue
                if room.host.user_id not in users and room.can_take(wanted):
                    room.take(wanted, 1)
                    self._queue.append(self._queue.pop(place))
                    return room.host.host_id
        return 0


def with_jobs(hosts: Iterable[Host], experiments: Iterable[Experiment], orders: Iterable[Order]) -> list[Host]:
    """Give the hosts with these jobs as well."""
    known = {experiment.name: experiment for experiment in experiments}
    given = {host.host_id: host for host in hosts}
    for host_id, name, jobs in orders:
        host, experiment = given[host_id], known[name]
        given[host_id] = replace(
            host,
            jobs=host.jobs + (0 if experiment.gpu else jobs),
            gpu_jobs=host.gpu_jobs + (jobs if experiment.gpu else 0),
            job_sizes=tuple((Counter(dict(host.job_sizes)) + Counter({experiment.memory: jobs})).items()),
            quota_left=host.quota_left - jobs,
        )
    return list(given.values())
