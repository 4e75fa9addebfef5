"""Real servers for tests: Prometheus, Alertmanager and mosquitto, each on a free port of 127.0.0.1 with its own folder.

They are made available by tools/need-programs, which installs and starts none of them.

    with Prometheus(folder, scrape=["127.0.0.1:9464"]) as prometheus:
        prometheus.wait_for("axiomd_build_info")

All of it is synchronous. They end with the thread that started them, should the tests be killed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import yaml

from axiomd.demo import children

DEPLOY = Path(__file__).parents[1] / "deploy"
HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0
POLL_S = 0.02
PORTS_TRIED = 5
IN_USE = "address already in use"

# Users of the broker in the fixture of that name. deploy/mosquitto/acl says what each may do.
PASSWORDS = {"axiomd": "daemon's password", "operator": "operator's password", "reader": "reader's password"}


class ServerError(Exception):
    """A server doesn't start, or its program is missing; the message holds the server's log, or says what to do."""


class QueryError(Exception):
    """Prometheus refuses a query; the message is its own."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def _program(*names: str) -> str:
    """Path of a program, under whichever of its names it is there; Debian keeps some of them in /usr/sbin."""
    for name in names:
        if path := shutil.which(name) or shutil.which(name, path="/usr/sbin"):
            return path
    raise ServerError(f"{names[0]} is missing: run tools/need-programs {names[0]}, and put .tools/bin into PATH.")


class Server:
    """A server as a process. Where the port wasn't asked for and is taken meanwhile, `start` takes another one."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder
        self.host = HOST
        self.port = free_port() if port is None else port
        self._may_move = port is None
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the running server; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start it, with what it stored before, and wait until it answers. Raises ServerError."""
        if self._process is not None:
            return
        for _ in range(PORTS_TRIED):
            command = self._prepare()
            begin = len(self.log())
            with self._log_file.open("ab") as log:
                self._process = children.start(
                    command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            if self._answers_in_time():
                self._may_move = False  # whoever knows its address finds it there again
                return
            self.kill()
            if not self._may_move or IN_USE not in self.log()[begin:].lower():
                break
            self.port = free_port()
        raise ServerError(f"{command[0]} doesn't start; its log:\n{self.log()}")

    def stop(self) -> None:
        """End it in good order (SIGTERM), or by force where that takes too long; what it stored stays."""
        if self._process is not None:
            children.stop(self._process, STOP_TIMEOUT_S)
            self._process = None

    def kill(self) -> None:
        """End it as a crash would (SIGKILL); `start` brings it back."""
        if self._process is not None:
            children.kill(self._process)
            self._process = None

    def log(self) -> str:
        """All that it wrote so far."""
        return self._log_file.read_text(encoding="utf-8", errors="replace") if self._log_file.exists() else ""

    @property
    def _log_file(self) -> Path:
        return self.folder / "server.log"

    def _prepare(self) -> list[str]:
        """Write the settings file; the command that starts the server."""
        raise NotImplementedError

    def _answers(self) -> bool:
        """Whether it is of use, now that it listens."""
        return True

    def _answers_in_time(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            if self._listens(self._process.pid) and self._answers():
                return True
            time.sleep(POLL_S)
        return False

    def _listens(self, pid: int) -> bool:
        """Whether it is this process that has the port, and not another server."""
        try:
            connections = psutil.Process(pid).net_connections("tcp4")
        except psutil.NoSuchProcess:
            return False
        return any(one.status == psutil.CONN_LISTEN and one.laddr[1] == self.port for one in connections)


class _HttpServer(Server):
    """A server that says at /-/ready when it is ready, and answers JSON."""

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    def _get(self, path: str, **parameters: float | str) -> Any:
        url = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - always http
            return json.load(answer)


@dataclass(frozen=True)
class Sample:
    """A value of an instant query."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Series:
    """Values of a range query, with their times in unix seconds."""

    labels: dict[str, str]
    times: list[float]
    values: list[float]


class Prometheus(_HttpServer):
    """Scrapes what it is told to, and evaluates rules."""

    def __init__(
        self,
        folder: Path,
        *,
        scrape: Sequence[str] = (),
        rules: Sequence[Path] = (),
        alertmanager: str | None = None,
        interval_s: float = 1.0,
    ) -> None:
        """`scrape` and `alertmanager` are of the form host:port; the interval is for scrapes and for rules."""
        super().__init__(folder)
        interval = f"{round(interval_s * 1000)}ms"
        self._settings: dict[str, Any] = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "scrape_configs": [{"job_name": "axiomd", "static_configs": [{"targets": list(scrape)}]}],
            "rule_files": [str(rule.absolute()) for rule in rules],
        }
        if alertmanager is not None:
            self._settings["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}

    def query(self, expr: str, at: float | None = None) -> list[Sample]:
        """What an expression is now, or was at a unix time. Raises QueryError."""
        data = self._ask("/api/v1/query", query=expr, **({} if at is None else {"time": at}))
        if data["resultType"] in ("scalar", "string"):
            return [Sample({}, float(data["result"][1]))]
        return [Sample(item["metric"], float(item["value"][1])) for item in data["result"]]

    def query_range(self, expr: str, start: float, end: float, step_s: float) -> list[Series]:
        """What an expression was between two unix times. Raises QueryError."""
        data = self._ask("/api/v1/query_range", query=expr, start=start, end=end, step=step_s)
        return [
            Series(item["metric"], [float(at) for at, _ in item["values"]], [float(v) for _, v in item["values"]])
            for item in data["result"]
        ]

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or firing: labels, annotations, state, activeAt, value."""
        alerts: list[dict[str, Any]] = self._ask("/api/v1/alerts")["alerts"]
        return alerts

    def rules(self) -> list[dict[str, Any]]:
        """All rules, recording and alerting, of all groups."""
        return [rule for group in self._ask("/api/v1/rules")["groups"] for rule in group["rules"]]

    def wait_for(self, expr: str, timeout_s: float = 30.0) -> list[Sample]:
        """What an expression is, once it is something. Raises TimeoutError, QueryError."""
        deadline = time.monotonic() + timeout_s
        while not (samples := self.query(expr)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Prometheus had no sample of {expr} within {timeout_s} s; its log:\n{self.log()}")
            time.sleep(5 * POLL_S)
        return samples

    def _ask(self, path: str, **parameters: float | str) -> Any:
        try:
            return self._get(path, **parameters)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise QueryError(error.read().decode()) from error

    def _prepare(self) -> list[str]:
        settings = self.folder / "prometheus.yml"
        settings.write_text(yaml.safe_dump(self._settings), encoding="utf-8")
        return [
            _program("prometheus"),
            f"--config.file={settings}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.host}:{self.port}",
        ]


class Alertmanager(_HttpServer):
    """Tells one webhook about every alert at once, and when it is over."""

    def __init__(
        self,
        folder: Path,
        *,
        webhook_url: str,
        token_file: Path | None = None,
        group_interval_s: float = 1.0,
        repeat_interval_s: float = 3600.0,
    ) -> None:
        """With a `token_file` the webhook is given its content as a bearer token."""
        super().__init__(folder)
        webhook: dict[str, Any] = {"url": webhook_url, "send_resolved": True}
        if token_file is not None:
            webhook["http_config"] = {"authorization": {"credentials_file": str(token_file.absolute())}}
        self._settings = {
            "route": {
                "receiver": "axiomd",
                "group_by": ["alertname"],
                "group_wait": "0s",
                "group_interval": f"{round(group_interval_s * 1000)}ms",
                "repeat_interval": f"{round(repeat_interval_s * 1000)}ms",
            },
            "receivers": [{"name": "axiomd", "webhook_configs": [webhook]}],
        }

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that it knows of."""
        alerts: list[dict[str, Any]] = self._get("/api/v2/alerts")
        return alerts

    def _prepare(self) -> list[str]:
        settings = self.folder / "alertmanager.yml"
        settings.write_text(yaml.safe_dump(self._settings), encoding="utf-8")
        return [
            _program("alertmanager", "prometheus-alertmanager"),
            f"--config.file={settings}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address={self.host}:{self.port}",
            "--cluster.listen-address=",
        ]


class Mosquitto(Server):
    """An MQTT broker. It stores each change at once, so that a kill loses next to nothing."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        users: Mapping[str, str] | None = None,
        acl: Path | str | None = None,
        tls: bool = False,
    ) -> None:
        """`users` maps names to passwords, None: anybody may connect; `acl` is a file, or its text."""
        super().__init__(folder, port=port)
        self._users = users
        self._acl = acl
        self._certificates = make_certificates(folder / "certificates") if tls else None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"{'mqtt' if self._certificates is None else 'mqtts'}://{self.host}:{self.port}"

    @property
    def ca_file(self) -> Path | None:
        """The authority that signed its certificate; None without TLS."""
        return None if self._certificates is None else self._certificates.ca

    def words(self, user: str | None = None) -> list[str]:
        """Options of mosquitto_pub and mosquitto_sub that connect to it, by MQTT 5."""
        words = ["-V", "5", "-h", self.host, "-p", str(self.port)]
        if user is not None:
            words += ["-u", user, "-P", (self._users or {})[user]]
        if self.ca_file is not None:
            words += ["--cafile", str(self.ca_file)]
        return words

    def publish(self, topic: str, payload: str | bytes, *more: str, user: str | None = None) -> None:
        """Publish a message with QoS 1 by mosquitto_pub; `more` are further options of it. Raises ServerError."""
        command = [_program("mosquitto_pub"), *self.words(user), "-q", "1", "-t", topic, "-s", *more]
        content = payload.encode() if isinstance(payload, str) else payload
        done = subprocess.run(command, input=content, capture_output=True, timeout=ANSWER_TIMEOUT_S, check=False)
        if done.returncode:
            raise ServerError(f"mosquitto_pub: {done.stderr.decode(errors='replace')}")

    def _prepare(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        lines = [
            f"listener {self.port} {self.host}",
            "persistence true",
            f"persistence_location {data}/",
            "autosave_on_changes true",
            "autosave_interval 1",
            "log_dest stderr",
            "log_type all",
            f"allow_anonymous {'true' if self._users is None else 'false'}",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # else it changes to a user that may not read the folder
        if self._users is not None:
            lines.append(f"password_file {self._write_passwords(self._users)}")
        if self._acl is not None:
            acl = self.folder / "acl"
            acl.write_text(self._acl if isinstance(self._acl, str) else self._acl.read_text(encoding="utf-8"))
            acl.chmod(0o600)
            lines.append(f"acl_file {acl}")
        if self._certificates is not None:
            lines += [f"certfile {self._certificates.certificate}", f"keyfile {self._certificates.key}"]
        settings = self.folder / "mosquitto.conf"
        settings.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return [_program("mosquitto"), "-c", str(settings)]

    def _write_passwords(self, users: Mapping[str, str]) -> Path:
        path = self.folder / "passwords"
        path.write_text("".join(f"{name}:{password}\n" for name, password in users.items()), encoding="utf-8")
        path.chmod(0o600)
        _check_call([_program("mosquitto_passwd"), "-U", str(path)])  # replaces them by their hashes
        return path


@dataclass(frozen=True)
class Certificates:
    """A throw-away authority, and what it signed for localhost and 127.0.0.1."""

    ca: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path) -> Certificates:
    """Make an authority and a server's certificate, for two days. Raises ServerError."""
    folder.mkdir(parents=True, exist_ok=True)
    openssl = _program("openssl")
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    ca_key, request, extensions = folder / "ca.key", folder / "server.csr", folder / "extensions"
    extensions.write_text(
        "subjectAltName = DNS:localhost, IP:127.0.0.1\n"
        "basicConstraints = critical, CA:FALSE\n"
        "keyUsage = critical, digitalSignature\n"
        "extendedKeyUsage = serverAuth\n"
        "authorityKeyIdentifier = keyid\n"
    )
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["-x509", "-subj", "/CN=the tests' authority", "-addext", "keyUsage = critical, keyCertSign, cRLSign"]
    _check_call([openssl, "req", *key, *authority, "-days", "2", "-keyout", str(ca_key), "-out", str(made.ca)])
    _check_call([openssl, "req", *key, "-subj", "/CN=localhost", "-keyout", str(made.key), "-out", str(request)])
    signer = ["-CA", str(made.ca), "-CAkey", str(ca_key), "-CAcreateserial", "-extfile", str(extensions)]
    _check_call([openssl, "x509", "-req", "-in", str(request), *signer, "-days", "2", "-out", str(made.certificate)])
    return made


def _check_call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    if done.returncode:
        raise ServerError(f"{' '.join(command)}: {done.stderr}")
