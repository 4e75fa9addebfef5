"""Idle: memory and CPU of the daemon as a process, at AXIOM's size, when little happens.

300 hosts and 10,000 open workunits; every watcher polls every 2 s.
`cpu_share` is the daemon's share of one core over the time
watched; `reference_rss_mb` is a bare Python that has imported the daemon and does nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from benchmarks.ground import APP, Ground, ground, parser, report, run

SETTINGS = """
[project]
dir = "{folder}"
apps = ["{app}"]
[database]
unix_socket = "{socket}"
[intake]
interval_s = 2
[http]
port = 0
[hosts]
interval_s = 2
[abort]
interval_s = 2
[repair]
interval_s = 2
[topup]
interval_s = 2
[daemon]
status_interval_s = 2
"""


def lay_out(place: Ground, hosts: int, workunits: int) -> None:
    """Make a fleet with its queue: targeted jobs, each waiting for its host, some in progress."""
    place.people(hosts=hosts, users=50, teams=10)
    created = int(time.time()) - 7200
    place.fill(
        "workunit",
        workunits,
        create_time=created,
        appid=place.app_id,
        name="CONCAT('micro_scaling_laws-v1-b1-s', seq)",
        transition_time=2_147_483_647,
        delay_bound=86_400,
        target_nresults=1,
        max_total_results=5,
        transitioner_flags="IF(MOD(seq, 4), 2, 0)",
        mod_time=f"FROM_UNIXTIME({created})",
    )
    place.execute(
        "INSERT INTO assignment (create_time, target_id, target_type, multi, workunitid, resultid) "
        f"SELECT {created}, 1 + MOD(id, {hosts}), 1, 0, id, 0 FROM workunit WHERE transitioner_flags = 2"
    )
    place.execute("UPDATE workunit SET transition_time = UNIX_TIMESTAMP() + 80000 WHERE transitioner_flags = 0")
    place.fill(
        "result",
        workunits // 4,
        create_time=created,
        workunitid="4 * seq",
        appid=place.app_id,
        name="CONCAT('r', seq)",
        server_state=4,
        hostid=f"1 + MOD(seq, {hosts})",
        sent_time="UNIX_TIMESTAMP() - 3600",
        report_deadline="UNIX_TIMESTAMP() + 80000",
        app_version_id=place.app_version_id,
    )


async def _prepare(place: Ground) -> None:
    database, _ = await place.migrate(place.settings())
    await database.close()


def watch(place: Ground, seconds: float) -> dict[str, float]:
    """Start the daemon, leave it alone, and read what it used."""
    config = place.folder / "axiomd.toml"
    config.write_text(SETTINGS.format(folder=place.folder, app=APP, socket=place.server.socket))
    with (place.folder / "axiomd.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "axiomd", "run", "--config", str(config)], stderr=log)
        try:
            daemon = psutil.Process(process.pid)
            time.sleep(10)  # the first polls are over by then
            before = sum(daemon.cpu_times()[:2])
            started = time.monotonic()
            time.sleep(seconds)
            share = (sum(daemon.cpu_times()[:2]) - before) / (time.monotonic() - started)
            rss = daemon.memory_info().rss / 2**20
            if process.poll() is not None:
                raise SystemExit(f"the daemon ended: {(place.folder / 'axiomd.log').read_text()}")
        finally:
            process.terminate()
            process.wait()
    bare = subprocess.run(
        [sys.executable, "-c", "import axiomd.cli, psutil; print(psutil.Process().memory_info().rss / 2**20)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {"rss_mb": rss, "cpu_share": share, "reference_rss_mb": float(bare.stdout)}


def main() -> None:
    """Run from the command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--hosts", type=int, default=300)
    arguments.add_argument("--workunits", type=int, default=10_000)
    arguments.add_argument("--seconds", type=float, default=60)
    chosen = arguments.parse_args()
    with ground() as place:
        lay_out(place, chosen.hosts, chosen.workunits)
        run(_prepare(place))
        figures = watch(place, chosen.seconds)
    report(
        figures,
        "idle: {rss_mb:.0f} MB resident (bare import {reference_rss_mb:.0f} MB), {cpu_share:.2%} of a core",
        as_json=chosen.json,
    )


if __name__ == "__main__":
    main()
