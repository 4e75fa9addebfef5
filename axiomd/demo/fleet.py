"""The demo's volunteers on paper: hosts unlike each other, their users and teams, and who misbehaves."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass

from pymysql.connections import Connection

from axiomd.demo import schema

GB = 2**30
DAY_S = 86400
HOSTS_A_USER = 3
MAX_NCPUS = 64
FEWEST_HOSTS = 12

LINUX, WINDOWS = "Linux", "Microsoft Windows 11"
"""host.os_name, as clients write it."""


class Role(enum.Enum):
    """What a host is there to show."""

    STEADY = "does its work"
    SMALL = "has too little memory for a job"
    FAILING = "fails every job"
    CHEATING = "changes the numbers of its outputs"
    SILENT = "goes silent holding work, and never comes back"
    LATE = "goes silent, and reports late after all"


@dataclass(frozen=True)
class HostSpec:
    """A host as its client describes it: processors, memory (GB), GPUs, speed of a core (1e9 operations a second)."""

    name: str
    ncpus: int
    memory_gb: int
    ngpus: int = 0
    gflops: float = 4.0
    role: Role = Role.STEADY
    os_name: str = LINUX

    def usable_cores(self, job_memory: float, memory_share: float) -> int:
        """Cores that jobs of `job_memory` bytes can use in that share of the memory."""
        return min(self.ncpus, MAX_NCPUS, int(memory_share * self.memory_gb * GB / job_memory))


# The first twelve have one of each role; a larger fleet is filled up with drawn ones.
SPECS = (
    HostSpec("attic-netbook", 2, 3, gflops=1.2, role=Role.SMALL),
    HostSpec("kitchen-laptop", 2, 16, gflops=3.1, os_name=WINDOWS),
    HostSpec("old-tower", 4, 16, gflops=2.2, role=Role.FAILING),
    HostSpec("school-lab-1", 4, 32, gflops=3.4),
    HostSpec("school-lab-2", 4, 32, gflops=3.4),
    HostSpec("travelling-laptop", 6, 32, gflops=4.1, role=Role.LATE, os_name=WINDOWS),
    HostSpec("student-flat", 6, 64, ngpus=1, gflops=4.4, role=Role.SILENT),
    HostSpec("gaming-pc", 8, 64, ngpus=1, gflops=5.6, os_name=WINDOWS),
    HostSpec("home-server", 8, 96, gflops=3.0, role=Role.CHEATING),
    HostSpec("workstation", 12, 128, ngpus=2, gflops=5.0, os_name=WINDOWS),
    HostSpec("render-node", 16, 192, ngpus=4, gflops=4.8),
    HostSpec("big-iron", 64, 256, gflops=2.9),
    HostSpec("club-pc", 4, 8, gflops=3.7),  # more cores than its memory can feed
    HostSpec("mini-cluster-head", 24, 128, gflops=3.3),
)


def draw(count: int, rng: random.Random) -> list[HostSpec]:
    """A fleet of so many hosts; the same for the same state of `rng`."""
    specs = list(SPECS[:count])
    for number in range(len(specs), count):
        ncpus = rng.choice((2, 4, 4, 8, 8, 12, 16))
        memory_gb = ncpus * rng.choice((2, 4, 8))
        ngpus, gflops = rng.choice((0, 0, 1)), rng.uniform(2, 6)
        os_name = rng.choice((LINUX, WINDOWS))
        specs.append(HostSpec(f"volunteer-{number}", ncpus, memory_gb, ngpus, gflops, os_name=os_name))
    return specs


def enrol(connection: Connection, specs: list[HostSpec], now: int) -> tuple[list[int], int]:
    """Write the hosts, their users and teams; gives the hosts' ids, and that of one which left a month ago."""
    teams = [
        schema.insert(connection, "team", create_time=now, name=name, name_lc=name.lower(), userid=0)
        for name in ("Night Shift", "Idle Cycles")
    ]
    users = [_user(connection, number, teams, now) for number in range(-(-len(specs) // HOSTS_A_USER) + 1)]
    ids = [_host(connection, spec, users[number // HOSTS_A_USER], now) for number, spec in enumerate(specs)]
    gone = _host(connection, HostSpec("gone", 4, 8), users[-1], now - 30 * DAY_S)
    return ids, gone


def _user(connection: Connection, number: int, teams: list[int], now: int) -> int:
    return schema.insert(
        connection,
        "user",
        create_time=now,
        email_addr=f"volunteer{number}@example.org",
        name=f"Volunteer {number}",
        authenticator=f"{number:032x}",
        teamid=([*teams, 0])[number % (len(teams) + 1)],  # some volunteers have no team
    )


def _host(connection: Connection, spec: HostSpec, userid: int, now: int) -> int:
    return schema.insert(
        connection,
        "host",
        create_time=now,
        rpc_time=now,
        userid=userid,
        domain_name=spec.name,
        p_ncpus=spec.ncpus,
        p_ngpus=spec.ngpus,
        p_fpops=spec.gflops * 1e9,
        p_iops=spec.gflops * 2e9,
        p_gpu_fpops=spec.ngpus * 1e12,
        m_nbytes=spec.memory_gb * GB,
        d_total=500 * GB,
        d_free=200 * GB,
        on_frac=1.0,
        active_frac=1.0,
        os_name=spec.os_name,
        p_vendor="GenuineIntel",
        p_model="demo",
    )
