"""Metrics and health over HTTP, and what Prometheus' own checker says of the metrics."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from axiomd import daemon
from axiomd.errors import ProjectError
from axiomd.gateways import http
from axiomd.settings import HttpSettings
from tests.world import World

REPOSITORY = Path(__file__).parents[2]
ANY_PORT = HttpSettings(port=0)


async def nothing_in_the_way() -> list[str]:
    return []


async def get(address: str, path: str) -> tuple[int, str, str]:
    """Status, content type and text of an answer."""
    async with aiohttp.ClientSession() as client, client.get(address + path) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_alive_as_long_as_it_answers() -> None:
    async def everything_in_the_way() -> list[str]:
        return ["the sky fell down"]

    async with http.serve(ANY_PORT, everything_in_the_way) as address:
        assert (await get(address, "/healthz"))[0] == 200


async def test_ready_when_nothing_stands_in_the_way() -> None:
    async with http.serve(ANY_PORT, nothing_in_the_way) as address:
        assert await get(address, "/readyz") == (200, "text/plain; charset=utf-8", "ready\n")


async def test_not_ready_says_what_stands_in_the_way() -> None:
    async def obstacles() -> list[str]:
        return ["watcher hosts has not polled lately", "the database can't be reached"]

    async with http.serve(ANY_PORT, obstacles) as address:
        status, _, text = await get(address, "/readyz")
    assert (status, text) == (503, "watcher hosts has not polled lately\nthe database can't be reached\n")


async def test_other_addresses_are_not_there() -> None:
    async with http.serve(ANY_PORT, nothing_in_the_way) as address:
        assert (await get(address, "/config"))[0] == 404


async def test_a_port_that_is_taken_is_named() -> None:
    async with http.serve(ANY_PORT, nothing_in_the_way) as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(ProjectError, match=rf"http: can't listen on 127\.0\.0\.1:{port}.*Set http\.port"):
            async with http.serve(HttpSettings(port=port), nothing_in_the_way):
                pass


async def test_the_port_is_free_again_afterwards() -> None:
    async with http.serve(ANY_PORT, nothing_in_the_way) as address:
        port = int(address.rpartition(":")[2])
    async with http.serve(HttpSettings(port=port), nothing_in_the_way) as again:
        assert again == address
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(address, "/healthz")


def everything(world: World) -> dict[str, Any]:
    """Rows for every reaction, so that as many metrics as possible have a value."""
    hosts = [world.host() for _ in range(5)]
    silent = world.host(rpc_time=world.now - 50_000)
    world.valid_result(hosts[0])
    world.valid_result(hosts[0], validate_state=2)
    world.valid_result(hosts[1], workunit={"name": "an odd one"})
    world.valid_result(hosts[1])
    world.result(world.workunit(), silent, sent_time=world.now - 60_000)
    world.result(world.workunit(), hosts[2], sent_time=world.now - 200_000)
    world.workunit(transitioner_flags=2)
    late = {"server_state": 5, "outcome": 4, "client_state": 5, "received_time": world.now - 5000}
    world.result(world.workunit(), hosts[3], **late)
    return {"credit": {"cap": 5}}


async def metrics_after_work(world: World) -> str:
    axiomd = await world.axiomd(**everything(world))
    await axiomd.once()
    await axiomd.once()

    async with http.serve(ANY_PORT, daemon.Health(axiomd.database, axiomd).obstacles) as address:
        status, kind, text = await get(address, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    return text


async def test_prometheus_own_checker_finds_nothing_wrong(world: World) -> None:
    path = shutil.which("promtool", path=f"{REPOSITORY / '.tools' / 'bin'}:/usr/bin:/usr/local/bin")
    assert path, "promtool is missing: run tools/need-programs promtool"
    text = await metrics_after_work(world)
    check = asyncio.to_thread(
        subprocess.run, [path, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    done = await check
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_names_and_labels_follow_the_rules_of_the_house(world: World) -> None:
    families = [
        family
        for family in text_string_to_metric_families(await metrics_after_work(world))
        if not family.name.startswith(("python_", "process_"))
    ]
    assert len(families) > 20
    for family in families:
        assert family.name.startswith("axiomd_")
        assert family.documentation
        for sample in family.samples:
            assert set(sample.labels) <= {
                "state", "reason", "case", "kind", "event", "processor", "handler", "watcher", "version", "le",
                "experiment", "outcome", "verdict", "daemon", "intervention", "source", "status", "route", "code",
                "stream",
            }  # fmt: skip
            assert not any(value.isdigit() for name, value in sample.labels.items() if name not in {"le", "code"})
        assert len(family.samples) < 400


async def test_a_series_for_each_thing_that_axiomd_did(world: World) -> None:
    text = await metrics_after_work(world)
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("axiomd_")
    }
    for name in (
        "axiomd_results_credited_total",
        "axiomd_credit_granted_total",
        "axiomd_results_refused_total",
        "axiomd_results_deferred_total",
        "axiomd_tasks_aborted_total",
        "axiomd_flags_repaired_total",
        "axiomd_rows_skipped_total",
        "axiomd_transactions_total",
    ):
        assert found[name] > 0, name
    assert found["axiomd_database_up"] == 1
    assert found["axiomd_cores"] == 6 * 4
