"""MQTT on a real broker, with the ACL that operators are given: what is published, and what may be asked for."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from prometheus_client import REGISTRY

from axiomd.demo.mariadb import PrivateMariaDB
from axiomd.errors import SettingsError
from axiomd.events import CoresIdle, HostReturned, HostStale, ResultCompleted
from axiomd.gateways import mqtt_client, mqtt_journal
from axiomd.gateways.inside import Inside
from axiomd.gateways.mqtt import MOST_EVENTS, Mqtt, prefix
from axiomd.gateways.mqtt_commands import MOST_WAITING
from axiomd.interventions.intervention import Answer, Call, Ground, Outcome
from axiomd.interventions.registry import Interventions
from axiomd.policies.commands import MOST_BYTES
from axiomd.store import outbox
from tests.faults.broker import Listener, judge, numbers
from tests.servers import DEPLOY, PASSWORDS, Mosquitto
from tests.world import World

TOPICS = "axiom/test/"
ENTRY = (
    "INSERT INTO axiomd_journal (at, kind, cause, actor, changes, detail) "
    "VALUES (UNIX_TIMESTAMP(), %s, 'result_completed', 'axiomd', 1, '{\"paid\": 1}')"
)
STALE = HostStale(5, 1000.0)


@pytest.fixture(scope="module")
def project(mariadb: PrivateMariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One project for all of these tests: making BOINC's tables takes longer than most of them."""
    world = World(mariadb, "project_mqtt", tmp_path_factory.mktemp("mqtt"))
    yield world
    asyncio.run(world.close())


@pytest.fixture
async def world(project: World) -> AsyncIterator[World]:
    """That project, with axiomd's tables as good as new."""
    made = {next(iter(row.values())) for row in project.rows("SHOW TABLES")}
    for table in ("axiomd_journal", "axiomd_outbox", "axiomd_intervention", "axiomd_state"):
        if table in made:
            project.execute(f"TRUNCATE TABLE {table}")
    yield project
    for database in project._opened:
        await database.close()
    project._opened.clear()


@pytest.fixture(autouse=True)
def looks_come_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_journal, "LOOK_EVERY_S", 0.05)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"axiomd_{name}", labels) or 0.0


def commands_counted() -> dict[str, float]:
    return {outcome.value: metric("mqtt_commands_total", outcome=outcome.value) for outcome in Outcome}


async def until(holds: Callable[[], object], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 - what is waited for is in the database or in counters
            await asyncio.sleep(0.01)


@dataclass
class Gateway:
    """The gateway on a project, running."""

    mqtt: Mqtt
    inside: Inside
    stop: asyncio.Event
    task: asyncio.Task[None]
    status: dict[str, object]

    @property
    def connected(self) -> bool:
        return self.mqtt._connected


@asynccontextmanager
async def running(
    world: World, broker: Mosquitto | None, *, calls: Any = None, connected: bool = True, **mqtt: Any
) -> AsyncIterator[Gateway]:
    """Run the gateway; `calls` stands for the registry."""
    password_file = world.folder / "password"
    password_file.write_text(PASSWORDS["axiomd"] + "\n")
    section: dict[str, Any] = {
        "enabled": True,
        "project": "test",
        "user": "axiomd",
        "password_file": str(password_file),
        "commands": True,
        "reconnect_max_s": 0.3,
        "state_interval_s": 0.2,
        "port": broker.port if broker else 1,
    } | mqtt
    settings = world.settings(mqtt=section)
    database, project = await world.migrate(settings)
    ground = Ground(settings, database, project)
    inside = Inside(ground, calls or Interventions(ground))
    status: dict[str, object] = {"results_waiting": 0}

    async def say() -> Mapping[str, object]:
        return status

    gateway = Mqtt(ground, inside, say)
    stop = asyncio.Event()
    task = asyncio.create_task(gateway.run(stop), name="mqtt")
    try:
        if connected:
            await until(lambda: gateway._connected or task.done())
        yield Gateway(gateway, inside, stop, task, status)
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await task


@asynccontextmanager
async def client(broker: Mosquitto, user: str = "operator") -> AsyncIterator[aiomqtt.Client]:
    tls = aiomqtt.TLSParameters(ca_certs=str(broker.ca_file)) if broker.ca_file else None
    async with aiomqtt.Client(
        broker.host,
        broker.port,
        username=user,
        password=PASSWORDS[user],
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_params=tls,
    ) as connection:
        yield connection


async def following(connection: aiomqtt.Client, topic: str, timeout_s: float = 10.0) -> aiomqtt.Message:
    """The next message on topics that begin so."""
    async with asyncio.timeout(timeout_s):
        async for message in connection.messages:
            if message.topic.value.startswith(TOPICS + topic):
                return message
    raise AssertionError("the messages ended")


def words(message: aiomqtt.Message) -> Any:
    return json.loads(message.payload)


def command(id_: str = "a", **more: Any) -> bytes:
    return json.dumps({"id": id_, "sent_at": time.time(), "parameters": {"kind": "credit"}} | more).encode()


ANSWERS = f"{TOPICS}answers/operator"


async def send(connection: aiomqtt.Client, name: str, payload: bytes, answers: str = ANSWERS) -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.CorrelationData = b"\x00 mine"
    if answers:
        properties.ResponseTopic = answers
    await connection.publish(f"{TOPICS}commands/{name}", payload, qos=1, properties=properties)


async def ask(connection: aiomqtt.Client, name: str, payload: bytes) -> Any:
    """Send a command; its answer."""
    await connection.subscribe(ANSWERS, qos=1)
    await send(connection, name, payload)
    message = await following(connection, "answers")
    assert message.properties
    assert getattr(message.properties, "CorrelationData", None) == b"\x00 mine"
    return words(message)


def entries(world: World) -> int:
    return int(world.value("SELECT COUNT(*) FROM axiomd_journal"))


def paused(world: World) -> bool:
    return bool(world.rows("SELECT 1 FROM axiomd_state WHERE name = 'paused:credit' AND value"))


# State.


async def test_the_state_is_retained_and_the_last_word_is_offline(world: World, broker: Mosquitto) -> None:
    async with client(broker, "reader") as reader:
        await reader.subscribe(f"{TOPICS}state/#", qos=1)
        async with running(world, broker) as gateway:
            assert (await following(reader, "state/daemon")).payload == b"online"
            assert words(await following(reader, "state/status")) == {"results_waiting": 0}
            gateway.status["results_waiting"] = 3
            assert words(await following(reader, "state/status")) == {"results_waiting": 3}
            started = time.monotonic()
            gateway.stop.set()
            await gateway.task
            assert time.monotonic() - started < 1.0
        while (await following(reader, "state/daemon")).payload != b"offline":
            pass
    async with client(broker, "reader") as late:
        await late.subscribe(f"{TOPICS}state/#", qos=1)
        found = [await following(late, "state") for _ in range(2)]
        assert {message.payload for message in found if message.retain} == {b"offline", b'{"results_waiting": 3}'}


async def test_a_status_that_stays_is_published_once(world: World, broker: Mosquitto) -> None:
    async with client(broker, "reader") as reader, running(world, broker, state_interval_s=0.05):
        await reader.subscribe(f"{TOPICS}state/#", qos=1)
        seen = [(await following(reader, "state")).topic.value for _ in range(8)]
        assert seen.count(f"{TOPICS}state/status") <= 1


async def test_who_hangs_is_called_offline_and_a_successor_takes_that_back(world: World, broker: Mosquitto) -> None:
    async with client(broker, "reader") as reader:
        await reader.subscribe(f"{TOPICS}state/daemon", qos=1)
        will = aiomqtt.Will(f"{TOPICS}state/daemon", b"offline", qos=1, retain=True)
        hanging = aiomqtt.Client(
            broker.host,
            broker.port,
            username="axiomd",
            password=PASSWORDS["axiomd"],
            protocol=aiomqtt.ProtocolVersion.V5,
            will=will,
        )
        async with running(world, broker):
            assert (await following(reader, "state/daemon")).payload == b"online"
            with suppress(aiomqtt.MqttError):
                async with hanging:
                    raw = hanging._client.socket()
                    assert isinstance(raw, socket.socket)
                    raw.shutdown(socket.SHUT_RDWR)
                    await asyncio.sleep(0.1)
            while (await following(reader, "state/daemon")).payload != b"offline":
                pass
            assert (await following(reader, "state/daemon")).payload == b"online"


# Events.


async def test_events_are_published_as_they_are_seen(world: World, broker: Mosquitto) -> None:
    async with client(broker, "reader") as reader, running(world, broker) as gateway:
        await reader.subscribe(f"{TOPICS}events/#")
        gateway.mqtt.seen([ResultCompleted(1, 2), STALE])
        gateway.mqtt.seen([CoresIdle(8, 3, ((1, 2), (4, 1)))])
        stale, idle = [await following(reader, "events") for _ in range(2)]
        assert stale.topic.value == f"{TOPICS}events/host_stale"
        assert words(stale) == {"event": "host_stale", "at": words(stale)["at"], "host_id": 5, "last_contact_at": 1000}
        assert abs(words(stale)["at"] - time.time()) < 10
        assert words(idle)["hosts"] == [[1, 2], [4, 1]]


async def test_events_never_wait(world: World, broker: Mosquitto) -> None:
    """Without a broker, and past a thousand, they are dropped and counted."""
    async with running(world, None, connected=False) as away:
        before = metric("mqtt_dropped_total")
        away.mqtt.seen([STALE, ResultCompleted(1, 2), HostReturned(5, 1.0)])
        assert metric("mqtt_dropped_total") == before + 2
    async with running(world, broker) as gateway:
        before = metric("mqtt_dropped_total")
        gateway.mqtt.seen([STALE] * (MOST_EVENTS + 7))
        assert metric("mqtt_dropped_total") == before + 7


# Commands.


async def test_a_command_is_done_once_however_often_it_comes(world: World, broker: Mosquitto) -> None:
    async with client(broker) as operator, running(world, broker):
        before = metric("mqtt_commands_total", outcome="done")
        first = await ask(operator, "pause", command())
        assert (first["outcome"], first["id"], first["repeated"]) == ("done", "a", False)
        assert first["journal_id"]
        assert paused(world)
        again = await ask(operator, "pause", command())
        assert again == first | {"repeated": True}
        assert entries(world) == 1
        assert metric("mqtt_commands_total", outcome="done") == before + 2
        assert world.value("SELECT actor FROM axiomd_journal") == "mqtt"


async def test_a_dry_run_changes_nothing(world: World, broker: Mosquitto) -> None:
    async with client(broker) as operator, running(world, broker):
        assert (await ask(operator, "pause", command(dry_run=True)))["outcome"] == "planned"
        assert (paused(world), entries(world)) == (False, 0)


REFUSED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "binary": ("pause", lambda: bytes(range(256)), "not JSON"),
    "empty": ("pause", lambda: b"", "not JSON"),
    "not UTF-8": ("pause", lambda: b'{"id": "\xff"}', "not JSON"),
    "deep": ("pause", lambda: b"[" * 60_000, "not JSON"),
    "no number": ("pause", lambda: command().replace(b'"credit"', b"NaN"), "not JSON"),
    "a list": ("pause", lambda: b"[1]", "not a command"),
    "too long": ("pause", lambda: command() + b" " * MOST_BYTES, "too long"),
    "no id": ("pause", lambda: json.dumps({"sent_at": time.time()}).encode(), "id"),
    "a long id": ("pause", lambda: command("a" * 65), "id: must be 1 to 64"),
    "a strange id": ("pause", lambda: command("ä\n"), "id: must be 1 to 64"),
    "no time": ("pause", lambda: b'{"id": "a"}', "sent_at"),
    "a time in words": ("pause", lambda: command(sent_at="now"), "sent_at"),
    "of last year": ("pause", lambda: command(sent_at=time.time() - 365 * 86400), "older than 300 s"),
    "of tomorrow": ("pause", lambda: command(sent_at=time.time() + 86400), "in the future"),
    "unknown keys": ("pause", lambda: command(extra=1), "extra"),
    "no parameters' table": ("pause", lambda: command(parameters=[1]), "parameters"),
    "unknown": ("explode", command, "no intervention 'explode'"),
    "a level more": ("pause/all", command, "no intervention"),
    "of a wrong type": ("pause", lambda: command(parameters={"kind": 7}), "kind"),
    "without parameters": ("pause", lambda: command(parameters={}), "kind"),
    "with unknown ones": ("pause", lambda: command(parameters={"kind": "credit", "x": 1}), "x"),
    "for an unknown host": (
        "exclude_host",
        lambda: command(parameters={"host": 987_654, "reason": "test"}),
        "987654",
    ),
}


async def test_bad_commands_are_refused_counted_and_change_nothing(world: World, broker: Mosquitto) -> None:
    async with client(broker) as operator, running(world, broker):
        for case, (name, payload, why) in REFUSED.items():
            before = commands_counted()
            answer = await ask(operator, name, payload())
            assert answer["outcome"] == "refused", case
            assert why in answer["message"], case
            assert len(answer["message"]) < 500, case
            assert commands_counted() == before | {"refused": before["refused"] + 1}, case
            assert (paused(world), entries(world)) == (False, 0), case
        assert world.value("SELECT COUNT(*) FROM axiomd_intervention") == 0


async def test_retained_commands_of_last_year_are_refused(world: World, broker: Mosquitto) -> None:
    old = command(sent_at=time.time() - 365 * 86400)
    broker.publish(f"{TOPICS}commands/pause", old, "-r", user="operator")
    before = commands_counted()
    async with running(world, broker):
        await until(lambda: commands_counted()["refused"] == before["refused"] + 1)
        assert (paused(world), entries(world)) == (False, 0)


ELSEWHERE = (
    "axiom/other/answers/x",
    f"{TOPICS}commands/resume",
    f"{TOPICS}events/credit",
    f"{TOPICS}state/daemon",
    f"{TOPICS}answers/",
    f"{TOPICS}answers",
    "$SYS/broker",
    "elsewhere",
)


async def test_answers_go_nowhere_else(world: World, broker: Mosquitto) -> None:
    async with client(broker) as operator, running(world, broker):
        for topic in ELSEWHERE:
            before = commands_counted()
            await send(operator, "pause", command(), topic)
            await until(lambda: commands_counted()["refused"] == before["refused"] + 1)  # noqa: B023 - awaited here
            assert (paused(world), entries(world)) == (False, 0), topic


async def test_what_is_larger_than_any_command_does_not_even_arrive(world: World, broker: Mosquitto) -> None:
    async with client(broker) as operator, running(world, broker) as gateway:
        before = commands_counted()
        await send(operator, "pause", bytes(3_000_000), "")
        assert (await ask(operator, "pause", command()))["outcome"] == "done"
        assert commands_counted() == before | {"done": before["done"] + 1}
        assert gateway.connected


async def test_without_a_response_topic_there_is_no_answer_but_a_count(world: World, broker: Mosquitto) -> None:
    async with client(broker) as operator, running(world, broker):
        before = commands_counted()
        await send(operator, "pause", command(), "")
        await until(lambda: commands_counted() == before | {"done": before["done"] + 1})
        assert paused(world)


async def test_only_the_named_user_may_command(world: World, broker: Mosquitto) -> None:
    async with client(broker, "reader") as reader, client(broker) as operator, running(world, broker):
        await send(reader, "pause", command("by a stranger"))
        assert (await ask(operator, "resume", command("b")))["outcome"] == "done"
        assert not paused(world)
        assert world.value("SELECT COUNT(*) FROM axiomd_intervention") == 1


async def test_commands_are_off_unless_the_settings_turn_them_on(world: World, broker: Mosquitto) -> None:
    async with client(broker) as operator, running(world, broker, commands=False):
        await operator.subscribe(f"{TOPICS}events/#", qos=1)
        before = commands_counted()
        await send(operator, "pause", command())
        world.execute(ENTRY, "credit")
        await following(operator, "events/credit")
        assert (commands_counted(), paused(world)) == (before, False)


class Slow:
    """A registry whose interventions take as long as a test wants."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun: list[str] = []

    async def call(self, call: Call) -> Answer:
        self.begun.append(call.id)
        await self.go.wait()
        return Answer(call.id, call.intervention, Outcome.DONE, "done")


async def test_a_flood_fills_no_memory_and_a_long_intervention_holds_nothing_up(
    world: World, broker: Mosquitto
) -> None:
    slow = Slow()
    extra = 20
    async with client(broker) as operator, running(world, broker, calls=slow) as gateway:
        await operator.subscribe(f"{TOPICS}events/#", qos=1)
        before = commands_counted()
        await send(operator, "pause", command("first"))
        await until(lambda: slow.begun)
        for number in range(MOST_WAITING + extra):
            await send(operator, "pause", command(str(number)))
        await until(lambda: commands_counted()["refused"] == before["refused"] + extra)
        world.execute(ENTRY, "credit")
        gateway.mqtt.seen([STALE])
        assert {(await following(operator, "events")).topic.value for _ in range(2)} == {
            f"{TOPICS}events/credit",
            f"{TOPICS}events/host_stale",
        }
        slow.go.set()
        await until(lambda: commands_counted()["done"] == before["done"] + 1 + MOST_WAITING)
        assert slow.begun == ["first", *map(str, range(MOST_WAITING))]


async def test_a_long_intervention_outlives_the_broker_and_the_answer_comes_later(
    world: World, broker: Mosquitto
) -> None:
    slow = Slow()
    async with running(world, broker, calls=slow) as gateway:
        async with client(broker) as operator:
            await send(operator, "pause", command())
            await until(lambda: slow.begun)
        broker.kill()
        await until(lambda: not gateway.connected)
        slow.go.set()
        broker.start()
        async with client(broker) as operator:
            await operator.subscribe(f"{TOPICS}answers/#", qos=1)
            assert words(await following(operator, "answers"))["id"] == "a"


async def test_while_standing_by_or_without_a_database_a_command_is_answered(world: World, broker: Mosquitto) -> None:
    async with client(broker) as operator, running(world, broker) as gateway:
        gateway.inside.interventions = None
        assert "stands by" in (await ask(operator, "pause", command()))["message"]
        ground = gateway.inside.ground
        assert ground
        await ground.database.close()
        object.__setattr__(ground.database.login, "unix_socket", "/nowhere")
        answer = await ask(operator, "pause", command())
        assert (answer["outcome"], "send the same again" in answer["message"]) == ("failed", True)


# The broker comes and goes.


def frozen(broker: Mosquitto) -> None:
    os.kill(broker.pid, signal.SIGSTOP)


TROUBLES: dict[str, tuple[dict[str, Any], str]] = {
    "nobody listens": ({"port": 1}, "Connect call failed"),
    "wrong password": ({"user": "reader"}, "Not authorized"),
    "TLS with one that speaks none": ({"tls": True}, ""),
    "no such host": ({"host": "no-such-host.invalid"}, ""),
    "no name of a host": ({"host": "a..b"}, ""),
    "no such file": ({"password_file": "/nowhere/password"}, "mqtt.password_file"),
    "no such authority": ({"tls": True, "ca_file": "/nowhere/ca.pem"}, "mqtt.ca_file"),
}


async def test_whatever_is_wrong_with_the_broker_is_said_once_and_the_end_is_quick(
    world: World, broker: Mosquitto, logged: list[Any]
) -> None:
    for case, (section, why) in TROUBLES.items():
        logged.clear()
        async with running(world, broker, connected=False, reconnect_max_s=0.02, **section) as gateway:
            await until(lambda: any("MQTT broker" in line["event"] for line in logged))
            await asyncio.sleep(0.2)  # many tries more
            assert not gateway.task.done(), case
            started = time.monotonic()
            gateway.stop.set()
            await gateway.task
            assert time.monotonic() - started < 1.0, case
        said = [line for line in logged if "MQTT broker" in line["event"]]
        assert [line["log_level"] for line in said] == ["warning"], case
        assert why in said[0]["error"], case
        assert PASSWORDS["axiomd"] not in str(logged), case


async def test_who_speaks_no_mqtt_is_hung_up_on(
    world: World, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_client, "CONNECT_S", 0.5)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running(world, None, connected=False, port=port, reconnect_max_s=0.05) as gateway:
        await until(lambda: any("MQTT broker" in line["event"] for line in logged), 15)
        assert not gateway.task.done()


async def test_a_broker_that_hangs_keeps_nobody_from_the_end(world: World, broker: Mosquitto) -> None:
    async with running(world, broker) as gateway:
        frozen(broker)
        world.execute(ENTRY, "credit")
        await asyncio.sleep(0.2)
        started = time.monotonic()
        gateway.stop.set()
        await gateway.task
        assert time.monotonic() - started < 2.0
    os.kill(broker.pid, signal.SIGCONT)


async def test_it_comes_back_and_says_so_once(world: World, broker: Mosquitto, logged: list[Any]) -> None:
    async with running(world, broker) as gateway:
        broker.kill()
        await until(lambda: not gateway.connected and metric("mqtt_connected") == 0)
        await asyncio.sleep(0.5)
        broker.start()
        await until(lambda: gateway.connected)
        assert metric("mqtt_connected") == 1
    said = [(line["event"], line.get("error", "")) for line in logged if "no connection" in line["event"]]
    lost, refused, over = said
    assert "the connection was lost" in lost[1]
    assert "Connect call failed" in refused[1]
    assert over[0] == "over: no connection to the MQTT broker"


async def test_tls_and_a_password_from_systemd(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "axiomd_mqtt_password").write_text(PASSWORDS["axiomd"])
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with Mosquitto(tmp_path / "tls", users=PASSWORDS, acl=DEPLOY / "mosquitto" / "acl", tls=True) as broker:
        tls: dict[str, Any] = {"tls": True, "ca_file": str(broker.ca_file), "host": "localhost", "password_file": None}
        async with client(broker) as operator, running(world, broker, **tls):
            assert (await ask(operator, "pause", command()))["outcome"] == "done"


async def test_a_certificate_of_nobody_we_trust_is_refused(world: World, tmp_path: Path, logged: list[Any]) -> None:
    with Mosquitto(tmp_path / "tls", users=PASSWORDS, tls=True) as broker:
        async with running(world, broker, connected=False, tls=True):
            await until(lambda: any("certificate verify failed" in line.get("error", "") for line in logged))


# The journal.


async def test_the_journal_is_published_in_order(world: World, broker: Mosquitto) -> None:
    async with client(broker, "reader") as reader, running(world, broker):
        await reader.subscribe(f"{TOPICS}events/#", qos=1)
        for number in range(1, 121):
            world.execute(ENTRY, "credit" if number % 2 else "abort")
        found = [await following(reader, "events") for _ in range(120)]
        assert [words(message)["number"] for message in found] == list(range(1, 121))
        assert {message.topic.value for message in found} == {f"{TOPICS}events/credit", f"{TOPICS}events/abort"}
        first = words(found[0])
        assert first == {
            "number": 1,
            "id": 1,
            "at": first["at"],
            "kind": "credit",
            "cause": "result_completed",
            "actor": "axiomd",
            "changes": 1,
            "credit": 0.0,
            "detail": {"paid": 1},
        }
        await until(lambda: metric("outbox_waiting") == 0)


async def test_what_the_broker_refuses_waits_and_nothing_behind_it_comes_first(
    world: World, broker: Mosquitto, tmp_path: Path, logged: list[Any]
) -> None:
    acl = f"user axiomd\ntopic write {TOPICS}state/#\ntopic write {TOPICS}events/abort\nuser reader\ntopic read #\n"
    world_ = world
    with Mosquitto(tmp_path / "strict", users=PASSWORDS, acl=acl) as strict:
        async with client(strict, "reader") as reader, running(world_, strict) as gateway:
            await reader.subscribe(f"{TOPICS}events/#", qos=1)
            for kind in ("abort", "credit", "abort"):
                world_.execute(ENTRY, kind)
            assert words(await following(reader, "events"))["number"] == 1
            await until(lambda: any("refuses messages to" in line.get("error", "") for line in logged))
            await until(lambda: metric("outbox_waiting") == 2)
            assert gateway.connected
            with pytest.raises(TimeoutError):
                await following(reader, "events", 0.5)
    assert len([line for line in logged if "refuses messages" in line.get("error", "")]) == 1


async def test_who_takes_over_goes_on_where_it_is_safe(world: World, broker: Mosquitto, logged: list[Any]) -> None:
    """What was acknowledged lately comes again under its number; what was long ago doesn't."""
    async with client(broker, "reader") as reader:
        await reader.subscribe(f"{TOPICS}events/#", qos=1)
        async with running(world, broker, settle_s=0.3):
            world.execute(ENTRY, "credit")
            await following(reader, "events")
            await until(lambda: world.value("SELECT value FROM axiomd_state WHERE name = %s", outbox.MQTT_ACKNOWLEDGED))
        async with running(world, broker, settle_s=60):
            for _ in range(3):
                world.execute(ENTRY, "credit")
            assert [words(await following(reader, "events"))["number"] for _ in range(3)] == [2, 3, 4]
        world.execute("DELETE FROM axiomd_journal WHERE id = 3")
        async with running(world, broker, settle_s=60):
            world.execute(ENTRY, "credit")
            assert [words(await following(reader, "events"))["number"] for _ in range(3)] == [2, 4, 5]
    assert [line["entries"] for line in logged if "pruned" in line["event"]] == [1]


class Writer(threading.Thread):
    """Writes entries in transactions that commit in another order than their ids are given, and some never do."""

    def __init__(self, world: World, seed: int, stop: threading.Event) -> None:
        super().__init__()
        self._connection = world.server.connect(world.database_name)
        self._rng = random.Random(seed)
        self._stopping = stop

    def run(self) -> None:
        self._connection.autocommit(False)
        while not self._stopping.is_set():
            with self._connection.cursor() as cursor:
                for _ in range(self._rng.randint(1, 3)):
                    cursor.execute(ENTRY, (self._rng.choice(["credit", "abort", "repair"]),))
            self._stopping.wait(self._rng.uniform(0, 0.04))
            if self._rng.random() < 0.2:
                self._connection.rollback()
            else:
                self._connection.commit()
        self._connection.rollback()
        self._connection.close()


async def test_with_the_broker_killed_nothing_is_missing_and_nothing_out_of_order(
    world: World, broker: Mosquitto
) -> None:
    rng = random.Random(7)
    stop = threading.Event()
    async with running(world, broker, settle_s=1.0):
        listener = Listener(broker, world.folder / "heard", f"{TOPICS}events/#", user="reader")
        await asyncio.to_thread(listener.start)
        writers = [Writer(world, seed, stop) for seed in range(4)]
        for writer in writers:
            writer.start()
        for _ in range(3):
            await asyncio.sleep(rng.uniform(0.3, 0.9))
            broker.kill()
            await asyncio.sleep(rng.uniform(0.0, 0.3))
            await asyncio.to_thread(broker.start)
        await asyncio.sleep(0.3)
        stop.set()
        for writer in writers:
            await asyncio.to_thread(writer.join)

        def all_heard() -> bool:
            published = numbers(world.connection)
            return len(published) == entries(world) and len({number for number, _ in listener.heard()}) == len(
                published
            )

        await until(all_heard, 20)
        listener.stop()
    found = judge(numbers(world.connection), listener.heard())
    assert found.problems == []
    assert found.published > 50
    # Commits in another order than that of the ids there were, else this proves nothing.
    ids = [id_ for _, id_ in sorted(numbers(world.connection).items())]
    assert ids != sorted(ids)


@pytest.mark.parametrize(
    ("name", "heard", "problems"),
    [
        ("all", [(1, 7), (2, 5), (3, 9)], 0),
        ("some twice", [(1, 7), (2, 5), (1, 7), (2, 5), (3, 9)], 0),
        ("one is missing", [(1, 7), (3, 9)], 1),
        ("the last is missing", [(1, 7), (2, 5)], 1),
        ("one came too late", [(1, 7), (3, 9), (2, 5)], 1),
        ("one number for two", [(1, 7), (1, 5), (2, 5), (3, 9)], 1),
        ("a wrong id", [(1, 7), (2, 6), (3, 9)], 1),
        ("one that was never published", [(1, 7), (2, 5), (3, 9), (4, 4)], 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_judge_of_the_broker_run_sees(name: str, heard: list[tuple[int, int]], problems: int) -> None:
    assert len(judge({1: 7, 2: 5, 3: 9}, heard).problems) == problems


SENSELESS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"events": ["no_such_event"]}, "mqtt.events: there is no event 'no_such_event'"),
    ({"project": "a/b"}, "mqtt.project: 'a/b'"),
    ({"project": "#"}, "mqtt.project: '#'"),
)


async def test_settings_that_make_no_sense_are_refused(world: World) -> None:
    database, project = await world.migrate(world.settings())

    async def never() -> Mapping[str, object]:
        raise AssertionError("asked")

    for section, why in SENSELESS:
        ground = Ground(world.settings(mqtt=section), database, project)
        with pytest.raises(SettingsError, match=why):
            Mqtt(ground, Inside(ground), never)


async def test_the_project_is_named_after_its_folder(world: World) -> None:
    assert prefix(world.settings()) == f"axiom/{world.folder.name}/"
