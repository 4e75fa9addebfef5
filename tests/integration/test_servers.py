"""The servers that other tests stand on, and the example settings that an operator is given for them."""

from __future__ import annotations

import http.server
import queue
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
import yaml

from tests.servers import DEPLOY, PASSWORDS, Alertmanager, Mosquitto, Prometheus, QueryError, Server, ServerError

RULES = """\
groups:
  - name: test
    rules:
      - alert: Glowing
        expr: glow > 1
"""


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves one metric, and keeps the webhooks that come in."""

    bodies: ClassVar[queue.Queue[tuple[str | None, bytes]]]

    def do_GET(self) -> None:
        self._answer(b"glow 7\n")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.put((self.headers["Authorization"], body))
        self._answer(b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the overridden one
        pass

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def target() -> Iterator[tuple[str, queue.Queue[tuple[str | None, bytes]]]]:
    """Something to scrape, and a webhook."""

    class Handler(_Handler):
        bodies = queue.Queue()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"127.0.0.1:{server.server_port}", Handler.bodies
        server.shutdown()
        thread.join()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_metric_goes_through_prometheus_and_alertmanager_to_a_webhook(tmp_path: Path) -> None:
    rules, token = tmp_path / "rules.yml", tmp_path / "token"
    rules.write_text(RULES)
    token.write_text("secret\n")
    with (
        target() as (address, bodies),
        Alertmanager(tmp_path / "am", webhook_url=f"http://{address}/hook", token_file=token) as alertmanager,
        Prometheus(
            tmp_path / "prometheus",
            scrape=[address],
            rules=[rules],
            alertmanager=f"127.0.0.1:{alertmanager.port}",
            interval_s=0.5,
        ) as prometheus,
    ):
        (sample,) = prometheus.wait_for("glow")
        assert (sample.value, sample.labels["job"], sample.labels["instance"]) == (7, "axiomd", address)
        authorization, body = bodies.get(timeout=20)
        assert authorization == "Bearer secret"
        payload = yaml.safe_load(body)
        assert (payload["version"], payload["alerts"][0]["labels"]["alertname"]) == ("4", "Glowing")
        assert [alert["state"] for alert in prometheus.alerts()] == ["firing"]
        assert [rule["name"] for rule in prometheus.rules()] == ["Glowing"]
        assert [alert["labels"]["alertname"] for alert in alertmanager.alerts()] == ["Glowing"]
        (now,) = prometheus.query("time()")
        (series,) = prometheus.query_range("glow", now.value, now.value, 1)
        assert series.values == [7]
        with pytest.raises(QueryError, match="parse error"):
            prometheus.query("glow >")
        pids = [prometheus.pid, alertmanager.pid]
    assert all(gone(pid) for pid in pids)


def test_the_broker_keeps_a_retained_message_through_a_kill(broker: Mosquitto) -> None:
    broker.publish("axiom/test/state/fleet", "alive", "-r", user="axiomd")
    port, pid = broker.port, broker.pid
    _wait_until_stored(broker, b"alive")
    broker.kill()
    assert gone(pid)
    broker.start()
    assert broker.port == port
    assert _retained(broker, "axiom/test/state/fleet", "reader") == ["alive"]


MAY = [
    # who publishes, where, who subscribes to it; and whether it arrives
    ("axiomd", "axiom/p/events/host_stale", "reader", True),
    ("axiomd", "axiom/p/answers/operator", "operator", True),
    ("axiomd", "axiom/p/answers/operator", "reader", False),
    ("operator", "axiom/p/commands/pause", "axiomd", True),
    ("operator", "axiom/p/state/fleet", "reader", False),
    ("reader", "axiom/p/commands/pause", "axiomd", False),
    ("reader", "axiom/p/events/host_stale", "operator", False),
]


def test_the_acl_lets_only_the_operator_command(broker: Mosquitto) -> None:
    for number, (publisher, topic, subscriber, arrives) in enumerate(MAY):
        broker.publish(topic, f"{number}", "-r", user=publisher)
        got = _retained(broker, topic, subscriber)
        assert (f"{number}" in got) is arrives, (MAY[number], got, broker.log())


def test_nobody_connects_without_a_password(broker: Mosquitto) -> None:
    words = ["mosquitto_pub", "-h", broker.host, "-p", f"{broker.port}", "-t", "axiom/p/commands/pause", "-m", "x"]
    for more in ([], ["-u", "operator", "-P", "wrong"]):
        done = subprocess.run([*words, *more], capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode != 0
        assert "not authorised" in done.stderr


def test_a_broker_with_tls_shows_a_certificate_that_its_authority_signed(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "mosquitto", tls=True) as broker:
        assert broker.ca_file is not None
        broker.publish("a", "1", "-r")
        context = ssl.create_default_context(cafile=str(broker.ca_file))
        with socket_of(broker) as plain, context.wrap_socket(plain, server_hostname="localhost") as connection:
            assert connection.version() == "TLSv1.3"
        with pytest.raises(ssl.SSLCertVerificationError), socket_of(broker) as plain:
            ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="parse error"):
        Prometheus(tmp_path, rules=[_file(tmp_path / "rules.yml", RULES.replace("glow > 1", "glow >"))]).start()


def test_a_port_that_is_taken_meanwhile_is_left_to_its_owner(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "one") as one:
        with pytest.raises(ServerError, match="in use"):
            Mosquitto(tmp_path / "two", port=one.port).start()
        three: Server = Mosquitto(tmp_path / "three")
        three.port = one.port
        with three:
            assert three.port != one.port


def _wait_until_stored(broker: Mosquitto, content: bytes) -> None:
    stored = broker.folder / "data" / "mosquitto.db"
    deadline = time.monotonic() + 20
    while not (stored.exists() and content in stored.read_bytes()):
        assert time.monotonic() < deadline, broker.log()
        time.sleep(0.05)


def _retained(broker: Mosquitto, topic: str, user: str) -> list[str]:
    """What a user is given at a topic: what comes before a message that everyone may read."""
    broker.publish("axiom/p/events/end", "end", "-r", user="axiomd")
    command = ["mosquitto_sub", *broker.words(user), "-q", "1", "-t", topic, "-t", "axiom/p/events/end", "-W", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        got = list(iter(lambda: process.stdout.readline().strip(), "end"))  # type: ignore[union-attr]
        process.kill()
    return got


def socket_of(broker: Mosquitto) -> socket.socket:
    return socket.create_connection((broker.host, broker.port), 20)


# What an operator copies.


def test_the_example_of_prometheus_is_accepted() -> None:
    _check("promtool", "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))


def test_the_example_of_alertmanager_is_accepted() -> None:
    _check("amtool", "check-config", str(DEPLOY / "prometheus" / "alertmanager.yml"))


def test_the_example_of_mosquitto_starts_a_broker(tmp_path: Path) -> None:
    # the same lines, but for the port, and for the files, which lie elsewhere here
    given = (DEPLOY / "mosquitto" / "mosquitto.conf").read_text()
    assert [line for line in given.splitlines() if line.startswith("listener")] == ["listener 1883 127.0.0.1"]

    class Example(Mosquitto):
        def _prepare(self) -> list[str]:
            command = super()._prepare()
            own = [line for line in Path(command[-1]).read_text().splitlines() if line.startswith(("user ", "log_"))]
            text = given.replace("listener 1883", f"listener {self.port}")
            text = text.replace("/etc/mosquitto/axiomd.passwords", str(self.folder / "passwords"))
            text = text.replace("/etc/mosquitto/axiomd.acl", str(self.folder / "acl"))
            Path(command[-1]).write_text("\n".join([*own, text]))
            return command

    with Example(tmp_path, users=PASSWORDS, acl=DEPLOY / "mosquitto" / "acl") as broker:
        broker.publish("axiom/p/events/x", "seen", "-r", user="axiomd")
        assert _retained(broker, "axiom/p/events/x", "reader") == ["seen"]


def _check(program: str, *words: str) -> None:
    path = shutil.which(program)
    assert path is not None, f"{program} is missing: run tools/need-programs {program}"
    done = subprocess.run([path, *words], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
