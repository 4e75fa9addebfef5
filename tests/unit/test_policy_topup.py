"""Which host gets how many jobs of which experiment."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.events import Platform
from axiomd.policies.topup import (
    EXPERIMENTS_PER_HOST,
    Copies,
    Experiment,
    Host,
    Order,
    decide_topup,
    idle_cores,
    usable_cores,
    with_jobs,
)
from axiomd.settings import TopupSettings

GB = 1e9
SETTINGS = TopupSettings(jobs_per_core=1, max_jobs_per_core=2, max_cores=64, memory_share=0.75, jobs_per_gpu=1)


def host(id_: int = 1, ncpus: int = 4, memory: float = 1000 * GB, ngpus: int = 0, **what: Any) -> Host:
    return Host(id_, ncpus, ngpus, memory, **what)


def experiment(name: str = "a", weight: float = 1.0, wanted: int = 10**6, **what: Any) -> Experiment:
    return Experiment(name, weight, wanted, **what)


def decide(
    hosts: list[Host],
    experiments: list[Experiment],
    settings: TopupSettings = SETTINGS,
    limit: int = 10**6,
    most: float = math.inf,
) -> list[Order]:
    return decide_topup(hosts, experiments, settings, limit=limit, max_in_progress_per_core=most)


def by_experiment(orders: list[Order]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for order in orders:
        counts[order.experiment] += order.jobs
    return counts


def by_host(orders: list[Order]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for order in orders:
        counts[order.host_id] += order.jobs
    return counts


# What a host may be given.


@pytest.mark.parametrize(("ncpus", "cores"), [(0, 0), (-1, 0), (1, 1), (64, 64), (240, 64)])
def test_boinc_counts_no_more_cores_than_max_ncpus(ncpus: int, cores: int) -> None:
    assert usable_cores(ncpus, SETTINGS) == cores


@pytest.mark.parametrize(
    ("one", "jobs_per_core", "idle"),
    [
        pytest.param(host(ncpus=4), 1.0, 4, id="no job at all"),
        pytest.param(host(ncpus=4, jobs=3), 1.0, 1, id="one job short"),
        pytest.param(host(ncpus=4, jobs=9), 1.0, 0, id="more jobs than cores"),
        pytest.param(host(ncpus=3), 1.5, 4, id="one and a half jobs a core, rounded down"),
        pytest.param(host(ncpus=4), 0.0, 0, id="no job a core"),
    ],
)
def test_idle_cores(one: Host, jobs_per_core: float, idle: int) -> None:
    assert idle_cores(one, TopupSettings(jobs_per_core=jobs_per_core)) == idle


@pytest.mark.parametrize(
    ("one", "settings", "most", "jobs"),
    [
        pytest.param(host(), SETTINGS, math.inf, 4, id="one job a core"),
        pytest.param(host(ncpus=240), SETTINGS, math.inf, 64, id="max_cores"),
        pytest.param(host(), TopupSettings(jobs_per_core=5, max_jobs_per_core=2), math.inf, 8, id="max_jobs_per_core"),
        pytest.param(host(jobs=7), TopupSettings(jobs_per_core=5, max_jobs_per_core=2), math.inf, 1, id="what it has"),
        pytest.param(host(), TopupSettings(jobs_per_core=5), 1, 4, id="BOINC's max_wus_in_progress"),
        pytest.param(host(quota_left=2.0), SETTINGS, math.inf, 2, id="the daily quota"),
        pytest.param(host(quota_left=-3.0), SETTINGS, math.inf, 0, id="a quota overdrawn"),
        pytest.param(host(memory=4 * GB), SETTINGS, math.inf, 3, id="the share of its memory that jobs may need"),
        pytest.param(
            host(memory=4 * GB, jobs=1, job_sizes=((1.5 * GB, 1),)), SETTINGS, math.inf, 1, id="what its job needs"
        ),
        pytest.param(
            host(memory=4 * GB, jobs=1, job_sizes=((9 * GB, 1),)), SETTINGS, math.inf, 0, id="memory overdrawn"
        ),
        pytest.param(
            host(ncpus=2, memory=4 * GB),
            TopupSettings(jobs_per_core=2, memory_share=0.5),
            math.inf,
            4,
            id="a job that waits for a core needs no memory yet",
        ),
    ],
)
def test_what_a_host_may_be_given(one: Host, settings: TopupSettings, most: float, jobs: int) -> None:
    assert by_host(decide([one], [experiment(memory=GB)], settings, most=most)) == ({1: jobs} if jobs else {})


@pytest.mark.parametrize(
    ("one", "jobs"),
    [
        pytest.param(host(ngpus=0), 0, id="no GPU"),
        pytest.param(host(ngpus=2), 2, id="a job a GPU"),
        pytest.param(host(ngpus=2, gpu_jobs=1, jobs=4), 1, id="CPU jobs don't count"),
        pytest.param(host(ngpus=2, gpu_jobs=3), 0, id="more than it should have"),
        pytest.param(host(ngpus=2, quota_left=1.0), 1, id="the daily quota"),
    ],
)
def test_how_many_gpu_jobs_a_host_may_be_given(one: Host, jobs: int) -> None:
    assert by_host(decide([one], [experiment(gpu=True)])) == ({1: jobs} if jobs else {})


# Shares.


def test_idle_cores_are_filled() -> None:
    assert decide([host(1, 4), host(2, 2, jobs=1)], [experiment()]) == [Order(1, "a", 4), Order(2, "a", 1)]


def test_the_share_follows_the_weights_over_the_whole_deployment() -> None:
    orders = decide([host(id_, 1) for id_ in range(100)], [experiment("a", 3), experiment("b", 1)])
    assert by_experiment(orders) == {"a": 75, "b": 25}


def test_what_one_host_cannot_take_the_others_make_up_for() -> None:
    small, large = host(1, 20, memory=4 * GB), host(2, 60, memory=1000 * GB)
    orders = decide([small, large], [experiment("big", 1, memory=8 * GB), experiment("small", 1)])
    assert [order for order in orders if order.host_id == 1] == [Order(1, "small", 20)]
    assert sum(by_experiment(orders).values()) == 80
    assert abs(by_experiment(orders)["big"] - 40) <= 60 // EXPERIMENTS_PER_HOST


def test_a_host_that_can_take_nothing_does_not_bend_the_shares() -> None:
    """Many cores, no memory: what nobody could be given is nobody's debt."""
    barren = host(1, 64, memory=0.0)
    hosts = [barren, *(host(id_, 4) for id_ in range(2, 12))]
    orders = decide(hosts, [experiment("a", 3, memory=GB), experiment("b", 1, memory=GB)])
    assert by_experiment(orders) == {"a": 30, "b": 10}


def test_a_large_host_gets_a_few_experiments_and_several_jobs_of_each() -> None:
    """Its volunteer downloads fewer inputs; over many hosts the shares hold all the same."""
    experiments = [experiment(name) for name in "abcdefgh"]
    hosts = [host(id_, 32) for id_ in range(20)]
    orders = decide(hosts, experiments)
    assert max(Counter(order.host_id for order in orders).values()) <= EXPERIMENTS_PER_HOST + 1
    assert by_experiment(orders) == dict.fromkeys("abcdefgh", 80)


def test_where_a_target_is_nearly_met_the_others_get_the_rest() -> None:
    orders = decide([host(1, 10), host(2, 10)], [experiment("a", 1, wanted=3), experiment("b", 1)])
    assert by_experiment(orders) == {"a": 3, "b": 17}


@pytest.mark.parametrize(
    ("experiments", "expected"),
    [
        pytest.param([experiment("a", 0), experiment("b", 1)], {"b": 4}, id="no weight, no jobs"),
        pytest.param([experiment("a", wanted=0)], {}, id="target met"),
        pytest.param([experiment("a", wanted=-5)], {}, id="target overshot"),
        pytest.param([experiment("a", gpu=True)], {}, id="a GPU job, and no GPU"),
        pytest.param([experiment("a", memory=10_000 * GB)], {}, id="more memory than anybody has"),
        pytest.param([], {}, id="no experiment"),
    ],
)
def test_who_gets_nothing(experiments: list[Experiment], expected: dict[str, int]) -> None:
    assert by_experiment(decide([host()], experiments)) == expected


def test_gpu_jobs_fill_gpus_and_cpu_jobs_cores() -> None:
    orders = decide([host(1, 4, ngpus=2), host(2, 4)], [experiment("cpu"), experiment("gpu", gpu=True)])
    assert sorted(orders, key=lambda order: (order.host_id, order.experiment)) == [
        Order(1, "cpu", 4),
        Order(1, "gpu", 2),
        Order(2, "cpu", 4),
    ]


def test_gpu_and_cpu_jobs_together_keep_within_the_quota() -> None:
    orders = decide([host(1, 4, ngpus=2, quota_left=3.0)], [experiment("cpu"), experiment("gpu", gpu=True)])
    assert by_host(orders) == {1: 3}


def test_jobs_of_a_mixture_fit_into_the_memory_together() -> None:
    """Usable are 8 GB: two of 4 GB leave no room for any of 1 GB."""
    one = host(1, 16, memory=8 * GB / SETTINGS.memory_share)
    orders = decide([one], [experiment("large", 3, memory=4 * GB), experiment("small", 1, memory=GB)])
    sizes = {"large": 4 * GB, "small": GB}
    assert sum(sizes[order.experiment] * order.jobs for order in orders) <= 8 * GB


# Pilots.


def test_a_pilot_goes_once_to_a_few_large_hosts() -> None:
    hosts = [host(1, 2), host(2, 32), host(3, 8), host(4, 16)]
    assert decide(hosts, [experiment("p", pilot=True, pilot_hosts=2)]) == [Order(2, "p", 1), Order(4, "p", 1)]


def test_a_pilot_skips_hosts_without_room_or_memory() -> None:
    hosts = [host(1, 32, jobs=32), host(2, 16, memory=GB), host(3, 4)]
    assert decide(hosts, [experiment("p", pilot=True, memory=2 * GB)]) == [Order(3, "p", 1)]


def test_a_pilot_takes_no_more_than_is_wanted_and_its_slots_are_not_given_twice() -> None:
    hosts = [host(1, 2), host(2, 2)]
    orders = decide(hosts, [experiment("p", wanted=1, pilot=True), experiment("a")])
    assert by_experiment(orders) == {"p": 1, "a": 3}
    assert by_host(orders) == {1: 2, 2: 2}


# Platforms.


def test_an_experiment_goes_to_no_host_of_a_platform_where_it_is_stopped() -> None:
    hosts = [host(1, 4, platform=Platform.WINDOWS), host(2, 4, platform=Platform.LINUX)]
    stopped = experiment("a", stopped_on=frozenset({Platform.WINDOWS}))
    assert decide(hosts, [stopped]) == [Order(2, "a", 4)]
    assert by_host(decide(hosts, [stopped, experiment("b")])) == {1: 4, 2: 4}
    assert Order(1, "b", 4) in decide(hosts, [stopped, experiment("b")])
    pilot = experiment("p", pilot=True, stopped_on=frozenset({Platform.LINUX, Platform.OTHER}))
    assert decide(hosts, [pilot]) == [Order(1, "p", 1)]


# Second copies.


def copies(hosts: list[Host], orders: list[Order], *experiments: Experiment, most: float = math.inf) -> Copies:
    return Copies(hosts, experiments or [experiment()], orders, SETTINGS, max_in_progress_per_core=most)


def test_a_copy_goes_to_a_host_of_another_user_and_waits_there_if_it_must() -> None:
    hosts = [host(1, 2, user_id=7), host(2, 2, jobs=2, user_id=7), host(3, 2, jobs=2, user_id=8)]
    found = copies(hosts, [Order(1, "a", 2)])
    assert [found.host_for("a", {7}) for _ in range(3)] == [3, 3, 0]
    assert found.host_for("a", {8}) in (1, 2)
    assert copies(hosts, [], most=1.0).host_for("a", {7}) == 0


@pytest.mark.parametrize(
    "unfit",
    [
        pytest.param(host(1, user_id=8, memory=GB), id="no memory"),
        pytest.param(host(1, user_id=8, quota_left=0), id="no quota"),
        pytest.param(host(1, user_id=8, jobs=8), id="no room"),
        pytest.param(host(1, user_id=8, platform=Platform.MAC), id="stopped on its platform"),
        pytest.param(host(1, user_id=7), id="of the same user"),
    ],
)
def test_a_copy_that_fits_nowhere_goes_nowhere(unfit: Host) -> None:
    one = experiment(memory=2 * GB, stopped_on=frozenset({Platform.MAC}))
    assert copies([unfit], [], one).host_for("a", {7}) == 0


def test_a_copy_goes_to_the_platform_that_tells_most_if_it_can() -> None:
    hosts = [host(1, 64, user_id=1, platform=Platform.LINUX), host(2, 1, user_id=2, platform=Platform.WINDOWS)]
    found = copies(hosts, [])
    assert [found.host_for("a", (), {Platform.WINDOWS}) for _ in range(3)] == [2, 2, 1]


def test_copies_are_spread_over_the_hosts() -> None:
    found = copies([host(id_, 4, user_id=id_) for id_ in (1, 2, 3)], [])
    assert [found.host_for("a", ()) for _ in range(6)] == [1, 2, 3, 1, 2, 3]


def test_a_copy_of_a_gpu_job_needs_a_gpu() -> None:
    found = copies([host(1, 4, user_id=1), host(2, 4, ngpus=1, gpu_jobs=1, user_id=2)], [], experiment("g", gpu=True))
    assert [found.host_for("g", ()) for _ in range(2)] == [2, 0]


def test_jobs_that_were_given_before_count() -> None:
    hosts = with_jobs(
        [host(1, 4, ngpus=1, quota_left=5.0, jobs=1, job_sizes=((GB, 1),)), host(2)],
        [experiment("a", memory=GB), experiment("g", gpu=True)],
        [Order(1, "a", 2), Order(1, "g", 1)],
    )
    assert (hosts[0].jobs, hosts[0].gpu_jobs, hosts[0].quota_left) == (3, 1, 2.0)
    assert dict(hosts[0].job_sizes) == {GB: 3, 0.0: 1}
    assert hosts[1] == host(2)


# Invariants.

names = st.sampled_from("abcdef")
some_hosts = st.lists(
    st.builds(
        Host,
        st.integers(1, 40),
        st.integers(0, 80),
        st.integers(0, 3),
        st.floats(0, 64 * GB),
        st.integers(0, 10),
        st.integers(0, 2),
        st.lists(
            st.tuples(st.integers(0, 12 * 10**9), st.integers(1, 5)), max_size=3, unique_by=lambda job: job[0]
        ).map(tuple),
        st.one_of(st.just(math.inf), st.floats(-5, 20)),
        st.integers(1, 4),
        st.sampled_from(Platform),
    ),
    max_size=12,
    unique_by=lambda one: one.host_id,
)
some_experiments = st.lists(
    st.builds(
        Experiment,
        names,
        st.floats(0, 5),
        st.integers(-2, 60),
        st.integers(0, 12 * 10**9),
        st.booleans(),
        st.booleans(),
        st.integers(1, 6),
        st.frozensets(st.sampled_from(Platform)),
    ),
    max_size=6,
    unique_by=lambda one: one.name,
)
some_settings = st.builds(
    TopupSettings,
    jobs_per_core=st.floats(0, 3),
    max_jobs_per_core=st.floats(0, 3),
    max_cores=st.integers(1, 64),
    memory_share=st.floats(0, 1),
    jobs_per_gpu=st.floats(0, 2),
)


@given(some_hosts, some_experiments, some_settings, st.integers(0, 200), st.sampled_from([math.inf, 1.0, 2.0]))
def test_no_bound_is_ever_passed(
    hosts: list[Host], experiments: list[Experiment], settings: TopupSettings, limit: int, most: float
) -> None:
    orders = decide(hosts, experiments, settings, limit, most)
    known_hosts = {one.host_id: one for one in hosts}
    known = {one.name: one for one in experiments}
    assert all(order.jobs > 0 for order in orders)
    assert sum(order.jobs for order in orders) <= limit
    for name, jobs in by_experiment(orders).items():
        assert jobs <= known[name].wanted
    for host_id, total in by_host(orders).items():
        one = known_hosts[host_id]
        mine = [order for order in orders if order.host_id == host_id]
        assert not any(one.platform in known[order.experiment].stopped_on for order in mine)
        gpu = sum(order.jobs for order in mine if known[order.experiment].gpu)
        cores = min(one.ncpus, settings.max_cores)
        assert total <= one.quota_left
        assert gpu <= max(one.ngpus * settings.jobs_per_gpu - one.gpu_jobs, 0)
        if total - gpu:
            assert one.jobs + total - gpu <= cores * min(settings.jobs_per_core, settings.max_jobs_per_core, most)
        sizes = [size for size, count in one.job_sizes for _ in range(count)]
        sizes += [known[order.experiment].memory for order in mine for _ in range(order.jobs)]
        at_once = cores + math.floor(one.ngpus * settings.jobs_per_gpu)
        largest = sum(sorted(sizes, reverse=True)[:at_once])
        assert largest <= one.memory * settings.memory_share * (1 + 1e-9)


@given(
    st.lists(st.integers(1, 64), min_size=1, max_size=30),
    st.lists(st.floats(0.1, 5), min_size=1, max_size=5),
)
def test_where_all_fits_the_shares_are_right_to_within_a_hosts_portion_an_experiment(
    cores: list[int], weights: list[float]
) -> None:
    experiments = [experiment(f"e{number}", weight) for number, weight in enumerate(weights)]
    counts = by_experiment(decide([host(id_, ncpus) for id_, ncpus in enumerate(cores)], experiments))
    assert sum(counts.values()) == sum(cores)
    portion = max(1, max(cores) // EXPERIMENTS_PER_HOST)
    for one in experiments:
        share = sum(cores) * one.weight / sum(weights)
        assert abs(counts[one.name] - share) <= len(weights) * portion
