"""Results of the same seed that disagree: sent again, settled, and who is wrong excluded. Jobs that are made twice."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from axiomd.daemon import Axiomd
from axiomd.events import CoresCounted, CoresIdle
from axiomd.policies.verification import State
from axiomd.watchers.idle_cores import IdleCores
from experiments.kit.naming import parse_workunit_name
from tests.integration.test_harvest import ENTRY, QUIET, Field, output
from tests.integration.test_topup import EXPERIMENT, install, names
from tests.world import World

SEED = 17
SETTINGS: dict[str, Any] = {
    "experiments": EXPERIMENT,
    "repair": {"enabled": False},
    "sizing": {"enabled": False},
    "verification": {"share": 0.0, "max_copies": 2},
}
COPIES_ONLY = {"a": EXPERIMENT["a"] | {"weight": 0.0}}
LINUX, WINDOWS = 2, 1


def write(world: World, table: str, **columns: Any) -> None:
    """Insert a row into a table of axiomd's."""
    places = ", ".join(["%s"] * len(columns))
    world.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", *columns.values())


class Fleet:
    """Hosts of a user each, and what they measured, written down as the harvest would."""

    def __init__(self, world: World, hosts: int, **columns: Any) -> None:
        self.world = world
        self.hosts = [world.host(p_ncpus=2, os_name="Linux", **columns) for _ in range(hosts)]
        self.results: dict[int, list[tuple[int, str]]] = defaultdict(list)

    def measured(self, host: int, value: str, *, seed: int = SEED, platform: int = LINUX, workunit: int = 0) -> int:
        """A complete result; what is spelled the same agrees. Compared with all others of its seed."""
        world, host_id = self.world, self.hosts[host]
        columns = {"server_state": 5, "outcome": 1, "validate_state": 1, "received_time": world.now}
        workunit = workunit or world.workunit(name=f"a-v1-b9{host}-s{seed}", assimilate_state=2)
        result = world.result(workunit, host_id, **columns)
        world.execute(
            "UPDATE workunit SET canonical_resultid = %s, assimilate_state = 2 WHERE id = %s", result, workunit
        )
        write(world, "axiomd_result", result_id=result, workunit_id=workunit, credit_mark=1, harvest_mark=2)
        user = world.row("host", host_id)["userid"]
        measurement = {"result_id": result, "workunit_id": workunit, "host_id": host_id, "user_id": user}
        about = {"experiment": "a", "version": 1, "seed": seed}
        write(
            world,
            "axiomd_measurement",
            **measurement | about,
            platform=platform,
            gpu=0,
            received_at=world.now,
            elapsed_s=1.0,
            outcome=1,
        )
        for other, said in self.results[seed]:
            agrees = said == value
            pair = {"first_id": other, "second_id": result, "agrees": agrees, "worst_key": "x", "difference": 2.0}
            write(world, "axiomd_comparison", **pair | about, at=world.now)
            if not agrees and not world.rows("SELECT seed FROM axiomd_verification WHERE seed = %s", seed):
                write(world, "axiomd_verification", **about, state=0, verdict="open", since=world.now)
        self.results[seed].append((result, value))
        return result

    def dispute(self, seed: int = SEED) -> tuple[State, str, int]:
        """State, verdict and number of copies."""
        (row,) = self.world.rows("SELECT * FROM axiomd_verification WHERE seed = %s", seed)
        return State(row["state"]), row["verdict"], row["copies"]

    def copies(self, seed: int = SEED) -> list[tuple[int, int]]:
        """Workunit and host of each copy that was sent."""
        rows = self.world.rows(
            "SELECT w.id, a.target_id FROM workunit w JOIN assignment a ON a.workunitid = w.id "
            "WHERE w.name REGEXP CONCAT('-b[0-9]+v[0-9]+-s', %s, '$') ORDER BY w.id",
            seed,
        )
        return [(row["id"], row["target_id"]) for row in rows]


async def started(world: World, **sections: Any) -> Axiomd:
    install(world)
    return await world.axiomd(**SETTINGS | sections)


def excluded(world: World) -> dict[int, tuple[str, str]]:
    return {row["host_id"]: (row["actor"], row["reason"]) for row in world.rows("SELECT * FROM axiomd_excluded")}


async def test_a_cheating_host_is_excluded_after_the_third_copy(world: World) -> None:
    axiomd = await started(world, experiments=COPIES_ONLY)
    fleet = Fleet(world, 4)
    quota = {"app_version_id": world.app_version_id, "max_jobs_per_day": 100}
    world.insert("host_app_version", host_id=fleet.hosts[1], **quota)
    fleet.measured(0, "honest")
    fleet.measured(1, "false")
    await axiomd.once()
    ((workunit, third),) = fleet.copies()
    assert third in fleet.hosts[2:]
    assert fleet.dispute() == (State.COPY_OUT, "open", 1)
    await axiomd.once()
    assert len(fleet.copies()) == 1
    assert excluded(world) == {}

    # It had a part in one finding, and came in after the other one was settled.
    for experiment, at in (("mine", world.now), ("yours", world.now + 200)):
        world.execute(
            "INSERT INTO axiomd_finding VALUES (%s, 1, 'a_beats_b', '00', 'reproduced', %s, 20)",
            *(experiment, world.now + 100),
        )
        world.execute(
            "INSERT INTO axiomd_replicate SELECT NULL, %s, 1, 1, 1, 900, %s, 1, 2, 0, %s, 0, ''",
            *(experiment, fleet.hosts[1], at),
        )
    fleet.measured(fleet.hosts.index(third), "honest", workunit=workunit)
    assert [planned.subject for planned in await axiomd.plan() if planned.action == "exclude"] == [
        f"host {fleet.hosts[1]}"
    ]
    await axiomd.once()
    reason = f"disagrees with hosts {fleet.hosts[0]}, {third} on a v1 seed {SEED}"
    assert excluded(world) == {fleet.hosts[1]: ("verify", reason)}
    assert fleet.dispute() == (State.SETTLED, "host", 1)
    (entry,) = world.rows("SELECT * FROM axiomd_journal WHERE kind = 'verify'")
    assert (entry["changes"], entry["cause"]) == (1, "results_disagree")
    assert json.loads(entry["detail"])["findings withdrawn"] == 1
    assert [row["experiment"] for row in world.rows("SELECT * FROM axiomd_finding")] == ["yours"]
    await axiomd.once()
    assert world.value("SELECT max_jobs_per_day FROM host_app_version WHERE host_id = %s", fleet.hosts[1]) == 1
    assert world.value("SELECT COUNT(*) FROM axiomd_journal WHERE kind = 'verify'") == 1


async def test_a_copy_that_fails_is_sent_again_and_after_the_last_one_it_stays_unclear(world: World) -> None:
    axiomd = await started(world, experiments=COPIES_ONLY)
    fleet = Fleet(world, 3)
    fleet.measured(0, "this")
    fleet.measured(1, "that")
    for sent in (1, 2):
        await axiomd.once()
        await axiomd.once()
        assert [host for _, host in fleet.copies()] == [fleet.hosts[2]] * sent
        assert fleet.dispute() == (State.COPY_OUT, "open", sent)
        world.execute("UPDATE workunit SET error_mask = 16 WHERE id = %s", fleet.copies()[-1][0])
    await axiomd.once()
    assert fleet.dispute() == (State.SETTLED, "unclear", 2)
    assert excluded(world) == {}


async def test_platforms_that_disagree_are_reported_and_nobody_is_excluded(world: World) -> None:
    axiomd = await started(world, experiments=COPIES_ONLY)
    fleet = Fleet(world, 6)
    world.execute("UPDATE host SET os_name = 'Microsoft Windows 11' WHERE id IN %s", [fleet.hosts[1], fleet.hosts[5]])
    fleet.measured(0, "this")
    fleet.measured(2, "this")
    fleet.measured(1, "that", platform=WINDOWS)
    await axiomd.once()
    ((workunit, host),) = fleet.copies()
    assert host == fleet.hosts[5]
    fleet.measured(5, "that", platform=WINDOWS, workunit=workunit)
    await axiomd.once()
    assert fleet.dispute() == (State.SETTLED, "platform", 1)
    assert excluded(world) == {}
    (entry,) = world.rows("SELECT * FROM axiomd_journal WHERE kind = 'verify'")
    assert entry["changes"] == 0
    assert "Windows and Linux" in entry["detail"]


async def test_a_small_fleet_loses_one_host_a_day_and_none_while_it_is_silent(world: World) -> None:
    axiomd = await started(world, topup={"enabled": False})
    fleet = Fleet(world, 5)
    for host, seed in ((1, 17), (2, 18)):
        for honest in (0, 3):
            fleet.measured(honest, "honest", seed=seed)
        fleet.measured(host, "false", seed=seed)
    await axiomd.once()  # the fleet is known from here on
    world.execute("DELETE FROM axiomd_excluded")
    world.execute("DELETE FROM axiomd_journal WHERE kind = 'verify'")
    world.execute("UPDATE axiomd_verification SET state = 0, verdict = 'open', since = 0")
    world.execute("UPDATE host SET rpc_time = %s", world.now - 10_000)
    await axiomd.once()
    assert excluded(world) == {}
    world.execute("UPDATE host SET rpc_time = %s", world.now)
    for _ in range(2):
        await axiomd.once()
        assert list(excluded(world)) == [fleet.hosts[1]]
    assert fleet.dispute(18)[0] is not State.SETTLED
    world.execute("UPDATE axiomd_journal SET at = at - 90000")
    await axiomd.once()
    assert sorted(excluded(world)) == [fleet.hosts[1], fleet.hosts[2]]


async def test_sampled_jobs_are_made_twice_for_hosts_of_two_users_within_the_cap(world: World) -> None:
    both = world.user()
    hosts = [world.host(user) for user in (both, both, None, None)]
    experiments = {"a": EXPERIMENT["a"] | {"target": 7}}
    axiomd = await started(world, experiments=experiments, verification={"share": 1.0}, topup={"cap": 11})
    await axiomd.once()
    users: dict[int, list[int]] = defaultdict(list)
    copies = 0
    for row in world.rows(
        "SELECT w.name, h.userid, h.id FROM workunit w "
        "JOIN assignment a ON a.workunitid = w.id JOIN host h ON h.id = a.target_id"
    ):
        name = parse_workunit_name(row["name"])
        assert name is not None
        copies += "v" in name.batch
        users[name.seed].append(row["userid"])
        assert row["id"] in hosts
    assert copies == 5  # there is room for no more
    assert sum(len(of_seed) for of_seed in users.values()) == 11
    twice = [of_seed for of_seed in users.values() if len(of_seed) > 1]
    assert len(twice) == copies
    assert all(len(set(of_seed)) == 2 for of_seed in twice)
    assert world.value("SELECT SUM(changes) FROM axiomd_journal WHERE kind = 'topup'") == 11
    world.execute("UPDATE axiomd_journal SET at = at - 100000")
    await axiomd.once()  # what is under way a second time is no second seed
    assert {name.seed for name in map(parse_workunit_name, names(world)) if name} == set(range(1, 8))


async def test_failing_hosts_get_nothing_or_a_single_probe_and_stopped_experiments_no_jobs(world: World) -> None:
    axiomd = await started(world, experiments={"a": EXPERIMENT["a"], "b": EXPERIMENT["a"]})
    open_, half, windows, linux = Fleet(world, 4).hosts
    world.execute("UPDATE host SET os_name = 'Microsoft Windows 11' WHERE id = %s", windows)
    for host, until in ((open_, world.now + 1000), (half, world.now - 1000)):
        write(world, "axiomd_breaker", host_id=host, state=1, since=world.now, until_at=until, trips=1, reason="")
    for name, platform in (("a", WINDOWS), ("b", -1)):
        write(world, "axiomd_stop", experiment=name, version=1, gpu=0, platform=platform, since=world.now, reason="")
    (watcher,) = [watcher for watcher in axiomd.watchers if isinstance(watcher, IdleCores)]
    seen = [event async for events in watcher.poll(world.now) for event in events]
    assert seen == [CoresCounted(2, 4, 4), CoresIdle(4, 5, ((half, 1), (windows, 2), (linux, 2)))]
    assert [type(event) async for events in watcher.poll(world.now + 1) for event in events] == [CoresIdle]
    for _ in range(2):
        await axiomd.once()
        assert world.rows("SELECT target_id, COUNT(*) AS jobs FROM assignment GROUP BY 1 ORDER BY 1") == [
            {"target_id": half, "jobs": 1},
            {"target_id": linux, "jobs": 2},
        ]
    assert {name.split("-")[0] for name in names(world)} == {"a"}
    (probe,) = world.rows("SELECT workunit_name FROM axiomd_job WHERE host_id = %s", half)
    assert world.value("SELECT probe FROM axiomd_breaker WHERE host_id = %s", half) == probe["workunit_name"]


async def test_jobs_for_any_host_are_not_made_of_an_experiment_that_is_stopped_anywhere(world: World) -> None:
    axiomd = await started(world, topup={"targeted": False}, verification={"share": 1.0})
    fleet = Fleet(world, 3)
    fleet.measured(0, "this", seed=900)
    fleet.measured(1, "that", seed=900)
    stop = {"experiment": "a", "version": 1, "gpu": 0, "platform": WINDOWS, "since": world.now, "reason": ""}
    write(world, "axiomd_stop", **stop)
    before = len(names(world))
    await axiomd.once()
    assert len(names(world)) == before
    world.execute("DELETE FROM axiomd_stop")
    await axiomd.once()
    assert world.value("SELECT COUNT(*) FROM assignment") == 0
    made = [name for name in map(parse_workunit_name, names(world)) if name]
    assert [name.batch[-2:] for name in made if name.seed == 900][2:] == ["v1"]
    twice = [name.seed for name in made if "v" in name.batch and name.seed != 900]
    assert len(twice) > 0
    assert {name.seed for name in made if "v" not in name.batch} >= set(twice)


async def test_output_files_that_disagree_lead_all_the_way_to_the_exclusion(world: World) -> None:
    field = Field(world)
    fleet = Fleet(world, 3)
    for host, numbers in zip(fleet.hosts, (1, 2, 1), strict=True):
        field.result(host, 1, output(1, numbers=numbers))
    field.result(fleet.hosts[0], 2, output(2))
    axiomd = await world.axiomd(**QUIET)
    await axiomd.once()
    assert excluded(world) == {
        fleet.hosts[1]: (
            "verify",
            f"disagrees with hosts {fleet.hosts[0]}, {fleet.hosts[2]} on {ENTRY.name} v{ENTRY.version} seed 1",
        )
    }
    assert fleet.dispute(1) == (State.SETTLED, "host", 0)
