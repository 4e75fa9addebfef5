"""Alertmanager's webhook on a real MariaDB with the real interventions: what is done, done once, and left undone."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from axiomd.interventions.registry import Interventions
from axiomd.store.database import Database, Login
from tests.gateway import Client, served
from tests.world import World

RULES: list[dict[str, Any]] = [
    {"alert": "BacklogOld", "intervention": "pause", "parameters": {"kind": "topup"}, "min_interval_s": 60},
    {"alert": "BacklogOld", "on": "resolved", "intervention": "resume", "parameters": {"kind": "topup"}},
    {
        "alert": "HostBad",
        "labels": {"severity": "page"},
        "intervention": "exclude_host",
        "parameters": {"host": "{host}", "reason": "{alertname}"},
    },
    {"alert": "CapReached", "intervention": "raise_cap", "parameters": {"kind": "{kind}", "factor": 99, "hours": 1}},
]
SETTINGS: dict[str, Any] = {"alerts": {"rules": RULES}}
T1, T2 = "2026-03-01T12:00:00.5Z", "2026-03-02T12:00:00.5Z"


def alert(name: str, *, status: str = "firing", at: str = T1, **labels: str) -> dict[str, Any]:
    """An alert, as Alertmanager sends it."""
    return {
        "status": status,
        "labels": {"alertname": name, **labels},
        "annotations": {"summary": "what\nit says", "runbook_url": "https://example.org/runbook"},
        "startsAt": at,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": hashlib.sha256(f"{name}{labels}".encode()).hexdigest()[:16],
    }


def notification(*alerts: Any, **changes: Any) -> dict[str, Any]:
    """A payload, as Alertmanager sends it."""
    return {
        "version": "4",
        "groupKey": '{}:{alertname="x"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "axiomd",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": list(alerts),
        **changes,
    }


async def send(client: Client, *alerts: Any, **changes: Any) -> dict[str, Any]:
    """Send a notification, and give the summary."""
    code, found = await client.post("/alertmanager", notification(*alerts, **changes))
    assert code == 200, found
    assert isinstance(found, dict)
    return found


def ignored(reason: str) -> float:
    return REGISTRY.get_sample_value("axiomd_alerts_ignored_total", {"reason": reason}) or 0.0


def calls(world: World) -> list[tuple[str, str]]:
    rows = world.rows("SELECT caller, intervention FROM axiomd_intervention ORDER BY begun_at")
    return [(row["caller"], row["intervention"]) for row in rows]


def is_paused(world: World) -> bool:
    return bool(world.rows("SELECT * FROM axiomd_state WHERE name = 'paused:topup' AND value = 1"))


async def test_firing_and_resolved_lead_to_their_own_calls(world: World) -> None:
    async with served(world, **SETTINGS) as client:
        found = await send(client, alert("BacklogOld"))
        assert is_paused(world)
        assert found["calls"] == [
            {
                "alert": "BacklogOld",
                "intervention": "pause",
                "outcome": "done",
                "message": found["calls"][0]["message"],
                "repeated": False,
            }
        ]
        await send(client, alert("BacklogOld", status="resolved"))
        assert not is_paused(world)
    assert calls(world) == [("alert:BacklogOld", "pause"), ("alert:BacklogOld", "resume")]
    actors = world.rows("SELECT actor FROM axiomd_journal WHERE kind = 'intervene'")
    assert {row["actor"] for row in actors} == {"alert:BacklogOld"}


async def test_sent_again_nothing_is_done_twice_not_even_after_a_restart(world: World) -> None:
    async with served(world, **SETTINGS) as client:
        await send(client, alert("BacklogOld"))
        world.execute("UPDATE axiomd_state SET value = 0 WHERE name = 'paused:topup'")
        found = await send(client, alert("BacklogOld"), alert("BacklogOld"))
        assert [call["repeated"] for call in found["calls"]] == [True, True]
        assert client.inside.interventions
        client.inside.interventions = Interventions(client.inside.interventions.ground)
        await asyncio.gather(*(send(client, alert("BacklogOld")) for _ in range(5)))
    assert not is_paused(world)
    assert len(calls(world)) == 1


async def test_the_same_call_again_too_soon_is_ignored(world: World) -> None:
    before = ignored("too_soon")
    async with served(world, **SETTINGS) as client:
        await send(client, alert("BacklogOld"))
        # The alert fired anew: another call, but the same thing.
        found = await send(client, alert("BacklogOld", at=T2))
        assert (found["calls"], found["ignored"]) == ([], {"too_soon": 1})
        world.execute("UPDATE axiomd_intervention SET begun_at = begun_at - 61")
        assert len((await send(client, alert("BacklogOld", at=T2)))["calls"]) == 1
    assert ignored("too_soon") == before + 1
    assert len(calls(world)) == 2


async def test_two_of_one_notification_that_ask_for_the_same_are_done_once(world: World) -> None:
    async with served(world, **SETTINGS) as client:
        found = await send(client, alert("BacklogOld", app="a"), alert("BacklogOld", app="b"))
    assert (len(found["calls"]), found["ignored"]) == (1, {"too_soon": 1})


async def test_labels_become_parameters_of_their_types(world: World) -> None:
    hosts = [world.host(), world.host()]
    async with served(world, **SETTINGS) as client:
        found = await send(client, *(alert("HostBad", severity="page", host=str(host)) for host in hosts))
    assert [call["outcome"] for call in found["calls"]] == ["done", "done"]
    rows = world.rows("SELECT host_id, reason, actor FROM axiomd_excluded ORDER BY host_id")
    assert rows == [{"host_id": host, "reason": "HostBad", "actor": "alert:HostBad"} for host in hosts]


REFUSED: dict[str, dict[str, Any]] = {
    "a host that isn't there": alert("HostBad", severity="page", host="99"),
    "no number": alert("HostBad", severity="page", host="1 OR 1=1"),
    "beyond what the settings allow": alert("CapReached", kind="credit"),
    "an unknown kind": alert("CapReached", kind="everything"),
}
NO_CALL: dict[str, tuple[Any, str]] = {
    "an unknown name": (alert("Nonsense"), "no_rule"),
    "a label of another value": (alert("HostBad", severity="info", host="1"), "no_rule"),
    "a label is missing": (alert("HostBad", severity="page"), "no_label"),
    "no name": ({"status": "firing", "labels": {}}, "no_rule"),
    "a line break in a label": (alert("BacklogOld", app="a\nERROR all is lost"), "unreadable"),
    "an escape in its name": (alert("Backlog\x1b[2JOld"), "unreadable"),
    "a null byte": (alert("BacklogOld", app="\x00"), "unreadable"),
    "a label over-long": (alert("BacklogOld", app="a" * 5000), "unreadable"),
    "a label that is a number": ({"status": "firing", "labels": {"alertname": "BacklogOld", "app": 1}}, "unreadable"),
    "an unknown status": (alert("BacklogOld", status="simmering"), "unreadable"),
    "not an alert": (["BacklogOld"], "unreadable"),
    "nothing": (None, "unreadable"),
}


async def test_what_leads_to_no_call_or_to_a_refused_one_changes_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(world, **SETTINGS) as client:
        for name, one in REFUSED.items():
            found = await send(client, one)
            assert [call["outcome"] for call in found["calls"]] == ["refused"], name
        for name, (one, reason) in NO_CALL.items():
            before = ignored(reason)
            assert await send(client, one) == {"alerts": 1, "calls": [], "ignored": {reason: 1}}, name
            assert ignored(reason) == before + 1, name
    assert calls(world) == []
    assert world.rows("SELECT * FROM axiomd_journal") == []
    said = capsys.readouterr().out
    assert "all is lost" not in said
    assert "\x1b[2J" not in said


PAYLOADS: dict[str, Any] = {
    "another version": notification(alert("BacklogOld"), version="3"),
    "a number for a version": notification(alert("BacklogOld"), version=4),
    "no alerts": {"version": "4"},
    "alerts that are none": notification(alerts={"BacklogOld": 1}),
    "a list": [notification(alert("BacklogOld"))],
    "a text": "BacklogOld",
}


async def test_what_is_no_payload_is_refused_for_good(world: World) -> None:
    async with served(world, **SETTINGS) as client:
        for name, payload in PAYLOADS.items():
            code, found = await client.post("/alertmanager", payload)
            assert (code, list(found)) == (400, ["error"]), name
    assert calls(world) == []


async def test_a_thousand_alerts(world: World) -> None:
    """The first ones are looked at, the others counted; a flood of one alert is one call."""
    before = ignored("too_many")
    sent = [alert("BacklogOld", number=str(number)) for number in range(1000)]
    async with served(world, alerts={"rules": RULES, "max_alerts": 50}) as client:
        found = await send(client, *sent)
    assert found["alerts"] == 1000
    assert found["ignored"] == {"too_many": 950, "too_soon": 49}
    assert calls(world) == [("alert:BacklogOld", "pause")]
    assert ignored("too_many") == before + 950


async def test_without_the_database_or_standing_by_it_is_to_be_sent_again(world: World) -> None:
    async with served(world, **SETTINGS) as client:
        registry = client.inside.interventions
        assert registry
        away = Database(Login("", 0, f"{world.folder}/no.sock", "none", "nobody", ""))
        for inside in (None, Interventions(replace(registry.ground, database=away))):
            client.inside.interventions = inside
            code, _ = await client.post("/alertmanager", notification(alert("BacklogOld")))
            assert code == 503
            # What leads to no call needs neither.
            assert (await send(client, alert("Nonsense")))["ignored"] == {"no_rule": 1}
        client.inside.interventions = registry
        await send(client, alert("BacklogOld"))
    assert len(calls(world)) == 1


async def test_a_call_that_takes_long_is_to_be_sent_again_and_is_not_begun_twice(world: World) -> None:
    program = world.folder / "bin" / "transitioner"
    program.parent.mkdir()
    waits = f"while [ ! -e {world.folder}/go ]; do sleep 0.05; done"
    program.write_text(f"#!/bin/sh\necho begun >> {world.folder}/passes\n{waits}\n")
    program.chmod(0o755)
    rules = [{"alert": "Behind", "intervention": "transitioner_pass"}, *RULES]
    async with served(world, {"timeout_s": 0.7}, alerts={"rules": rules}) as client:
        both = notification(alert("Behind"), alert("BacklogOld"))
        for _ in range(2):
            code, _ = await client.post("/alertmanager", both)
            assert code == 503
        assert not is_paused(world)
        (world.folder / "go").touch()
        async with asyncio.timeout(10):
            while (found := await client.post("/alertmanager", both))[0] == 503:
                pass
    assert [call["outcome"] for call in found[1]["calls"]] == ["done", "done"]
    assert (world.folder / "passes").read_text() == "begun\n"
    assert is_paused(world)
