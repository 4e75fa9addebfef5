"""The private MariaDB: it starts, keeps what it stored through a crash, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pymysql
import pytest

from axiomd.demo import mariadb, schema
from axiomd.demo.mariadb import MariaDBError, PrivateMariaDB


@pytest.fixture
def demo_server(tmp_path: Path) -> Iterator[PrivateMariaDB]:
    with PrivateMariaDB(tmp_path / "server") as server:
        yield server


def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_what_was_committed_outlives_a_crash(demo_server: PrivateMariaDB) -> None:
    with demo_server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE kept")
        cursor.execute("CREATE TABLE kept.t (x INT) ENGINE=InnoDB")
        cursor.execute("INSERT INTO kept.t VALUES (42)")

    before = demo_server.pid
    demo_server.kill()
    assert _is_gone(before)
    with pytest.raises(pymysql.err.OperationalError):
        demo_server.connect()
    demo_server.start()

    assert demo_server.pid not in {0, before}
    with demo_server.connect("kept") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT x FROM t")
        assert cursor.fetchall() == ((42,),)


def test_after_stop_no_process_is_left(tmp_path: Path) -> None:
    server = PrivateMariaDB(tmp_path / "server")
    server.start()
    pid = server.pid
    server.stop()

    assert server.pid == 0
    assert _is_gone(pid)
    server.stop()  # once more does no harm


def test_it_commits_durably_and_listens_on_its_socket_alone(demo_server: PrivateMariaDB) -> None:
    with demo_server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@innodb_flush_log_at_trx_commit, @@skip_networking, @@autocommit")
        assert cursor.fetchone() == (1, 1, 1)


def test_with_a_port_it_listens_on_the_loopback_address(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with PrivateMariaDB(tmp_path / "server", port=port), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


def test_a_deep_folder_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20) / "server"
    with PrivateMariaDB(deep) as server:
        assert len(os.fsencode(server.socket)) < 108
        server.connect().close()
        folder = server.socket.parent
    assert not folder.exists()


def test_a_missing_server_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_words, **_options: None)

    with pytest.raises(MariaDBError, match=r"^mariadb-install-db is not installed: .*`apt install mariadb-server`\.$"):
        PrivateMariaDB(tmp_path / "server").start()


def test_a_server_that_cannot_start_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mariadb, "OPTIONS", ("--no-such-option",))
    server = PrivateMariaDB(tmp_path / "server")

    with pytest.raises(MariaDBError, match=str(server.log)):
        server.start()
    assert "no-such-option" in server.log.read_text(encoding="utf-8")


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib\n"
        "from axiomd.demo.mariadb import PrivateMariaDB\n"
        "server = PrivateMariaDB(pathlib.Path(sys.argv[1]))\n"
        "server.start()\n"
        "print(server.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "server")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()

    deadline = time.monotonic() + 10
    while not _is_gone(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _is_gone(pid)


def test_the_tables_are_as_the_file_says(demo_server: PrivateMariaDB) -> None:
    with demo_server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE tables")
    with demo_server.connect("tables") as connection, connection.cursor() as cursor:
        schema.create_tables(connection)
        cursor.execute(
            "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE = 'YES' FROM information_schema.COLUMNS"
            " WHERE TABLE_SCHEMA = 'tables'"
        )
        columns = set(cursor.fetchall())
        cursor.execute(
            "SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE = 0, INDEX_TYPE,"
            " GROUP_CONCAT(CONCAT(COLUMN_NAME, IF(COLLATION = 'D', ' desc', '')) ORDER BY SEQ_IN_INDEX)"
            " FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = 'tables'"
            " GROUP BY TABLE_NAME, INDEX_NAME, NON_UNIQUE, INDEX_TYPE"
        )
        indexes = set(cursor.fetchall())

    assert columns == {
        (table, column["name"], column["type"], int(column["null"]))
        for table, parts in schema.tables().items()
        for column in parts["columns"]
    }
    assert indexes == {
        (table, index["name"], int(index["unique"]), index["type"], ",".join(index["columns"]))
        for table, parts in schema.tables().items()
        for index in parts["indexes"]
    }
