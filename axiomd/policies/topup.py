"""Which host gets how many jobs of which experiment.

The share of each experiment follows its weight over the whole deployment, not host by host: what one host can't take
(too little memory, no GPU, target nearly met) the next one makes up for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from axiomd.settings import TopupSettings


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
    quota_left: float = math.inf
    """Jobs that BOINC would still send it today."""


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


@dataclass(frozen=True, slots=True)
class Order:
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


def room(host: Host, settings: TopupSettings, max_in_progress_per_core: float) -> int:
    """CPU jobs that a host may be given now: to fill its cores, within what axiomd and BOINC allow."""
    cores = usable_cores(host.ncpus, settings)
    most = math.floor(cores * min(settings.max_jobs_per_core, max_in_progress_per_core))
    return max(0, min(idle_cores(host, settings), most - host.jobs, _whole(host.quota_left)))


def gpu_room(host: Host, settings: TopupSettings) -> int:
    """GPU jobs that a host may be given now."""
    return max(0, min(math.floor(host.ngpus * settings.jobs_per_gpu) - host.gpu_jobs, _whole(host.quota_left)))


def _whole(quota: float) -> int:
    return math.floor(quota) if math.isfinite(quota) else 2**31


def memory_slots(host: Host, experiment: Experiment, settings: TopupSettings) -> int:
    """How many jobs of an experiment fit into a host's memory at once."""
    if experiment.memory <= 0:
        return 2**31
    return math.floor(host.memory * settings.memory_share / experiment.memory)


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
        hosts: live hosts that aren't excluded.
        experiments: what wants results; names are unique.
        settings: shares and bounds.
        limit: jobs made at most, all together.
        max_in_progress_per_core: BOINC's max_wus_in_progress, jobs a core.

    """
    orders: list[Order] = []
    wanted = {experiment.name: experiment.wanted for experiment in experiments if experiment.wanted > 0}
    left = limit
    pilots_given: dict[int, int] = {}
    largest_first = sorted(hosts, key=lambda host: (-usable_cores(host.ncpus, settings), host.host_id))
    for experiment in experiments:
        if experiment.pilot and wanted.get(experiment.name):
            chosen = [
                host
                for host in largest_first
                if _kind_room(host, experiment, settings, max_in_progress_per_core) > pilots_given.get(host.host_id, 0)
                and memory_slots(host, experiment, settings) > host.jobs
            ][: min(experiment.pilot_hosts, wanted[experiment.name], left)]
            for host in chosen:
                orders.append(Order(host.host_id, experiment.name, 1))
                pilots_given[host.host_id] = pilots_given.get(host.host_id, 0) + 1
            left -= len(chosen)
    for gpu in (True, False):
        kind = [e for e in experiments if e.gpu is gpu and not e.pilot and e.weight > 0 and wanted.get(e.name)]
        owed = dict.fromkeys((experiment.name for experiment in kind), 0.0)
        for host in hosts:
            if left <= 0 or not kind:
                break
            slots = _room(host, settings, max_in_progress_per_core, gpu=gpu) - pilots_given.get(host.host_id, 0)
            if slots <= 0:
                continue
            given = _share_out(host, min(slots, left), kind, wanted, owed, settings)
            for name, jobs in given.items():
                orders.append(Order(host.host_id, name, jobs))
                wanted[name] -= jobs
                left -= jobs
            if any(wanted[name] <= 0 for name in given):
                kind = [experiment for experiment in kind if wanted[experiment.name] > 0]
    return orders


def _room(host: Host, settings: TopupSettings, max_in_progress_per_core: float, *, gpu: bool) -> int:
    return gpu_room(host, settings) if gpu else room(host, settings, max_in_progress_per_core)


def _kind_room(host: Host, experiment: Experiment, settings: TopupSettings, max_in_progress_per_core: float) -> int:
    return _room(host, settings, max_in_progress_per_core, gpu=experiment.gpu)


def _share_out(
    host: Host,
    slots: int,
    experiments: Sequence[Experiment],
    wanted: Mapping[str, int],
    owed: dict[str, float],
    settings: TopupSettings,
) -> dict[str, int]:
    """Share a host's slots among the experiments that fit, by what each is owed; `owed` carries the rest on."""
    weight = sum(experiment.weight for experiment in experiments)
    for experiment in experiments:
        owed[experiment.name] += slots * experiment.weight / weight
    # Jobs of all experiments share the memory, so those that the host has count against each.
    fitting = [(e, memory_slots(host, e, settings) - host.jobs) for e in experiments]
    fitting = [(experiment, most) for experiment, most in fitting if most > 0]
    fitting.sort(key=lambda item: -owed[item[0].name])
    given: dict[str, int] = {}
    left = slots
    for experiment, most in fitting:
        jobs = min(left, math.ceil(owed[experiment.name] - 1e-9), most - (slots - left), wanted[experiment.name])
        if jobs > 0:
            given[experiment.name] = jobs
            owed[experiment.name] -= jobs
            left -= jobs
            if left == 0:
                break
    for experiment, most in fitting if left else ():
        # What is left goes to whoever can take it, owed or not.
        before = given.get(experiment.name, 0)
        more = min(left, most - (slots - left), wanted[experiment.name] - before)
        if more > 0:
            given[experiment.name] = before + more
            owed[experiment.name] -= more
            left -= more
    return given
