"""The ground that the benchmarks stand on: a private MariaDB, BOINC's tables filled by the million, and printing."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axiomd import opening
from axiomd.boinc.project import Project
from axiomd.demo.mariadb import PrivateMariaDB
from axiomd.demo.schema import create_tables, insert
from axiomd.demo.schema import tables as boinc_tables
from axiomd.handlers.baseline import write_baseline
from axiomd.settings import Settings
from axiomd.store import schema as own_schema
from axiomd.store import tables
from axiomd.store.database import Database

CONFIG_XML = (
    "<boinc><config><db_name>bench</db_name><db_host>localhost</db_host><db_user>root</db_user><db_passwd></db_passwd>"
    "<enable_assignment>1</enable_assignment></config></boinc>"
)
APP = "axiom"
# Enough for three million old results with their indexes, as an operator would give it; taken only as it fills.
BUFFER_POOL = 6 << 30


class Ground:
    """A BOINC project on a server of its own. Rows are made inside the server, from its sequence tables."""

    def __init__(self, folder: Path, server: PrivateMariaDB) -> None:
        self.folder = folder
        self.server = server
        connection = server.connect()
        with connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE bench")
            cursor.execute(f"SET GLOBAL innodb_buffer_pool_size = {BUFFER_POOL}")
        connection.close()
        self.connection = server.connect("bench")
        create_tables(self.connection)
        (folder / "config.xml").write_text(CONFIG_XML)
        self.app_id = insert(self.connection, "app", name=APP)
        self.app_version_id = insert(self.connection, "app_version", appid=self.app_id, platformid=1, version_num=1)

    def configure(self, more: str) -> None:
        """Write config.xml again, with more elements."""
        (self.folder / "config.xml").write_text(CONFIG_XML.replace("</config>", f"{more}</config>"))

    def execute(self, statement: str, *parameters: Any) -> int:
        """Run a statement by itself."""
        with self.connection.cursor() as cursor:
            return int(cursor.execute(statement, parameters or None))

    def value(self, statement: str) -> Any:
        """Read one value."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0]

    def people(self, hosts: int, users: int, teams: int) -> None:
        """Make teams, users and hosts in contact."""
        for number in range(1, teams + 1):
            insert(self.connection, "team", name=f"team {number}")
        for number in range(1, users + 1):
            unique = str(number)
            who = {"email_addr": unique, "name": unique, "authenticator": unique}
            insert(self.connection, "user", teamid=1 + number % teams, **who)
        for number in range(1, hosts + 1):
            insert(
                self.connection,
                "host",
                userid=1 + number % users,
                rpc_time=int(time.time()) + 86_400,
                p_ncpus=(4, 8, 16, 32, 64)[number % 5],
                p_fpops=1e9,
                m_nbytes=64e9,
            )

    def fill(self, table: str, count: int, **expressions: Any) -> None:
        """Make rows inside the server: SQL expressions of `seq` (1 to count) by column, zero or empty the others."""
        columns: dict[str, str] = {}
        for column in boinc_tables()[table]["columns"]:
            name, text = column["name"], any(kind in column["type"] for kind in ("char", "text", "blob"))
            if name in expressions:
                columns[name] = str(expressions[name])
            elif not column["null"] and "default" not in column and "extra" not in column:
                columns[name] = "''" if text else "0"
        self.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM seq_1_to_{count}"
        )

    def finished(self, count: int, *, hosts: int, assimilate_state: int, received_ago_s: int = 60) -> None:
        """Make workunits with one valid, canonical result each, spread over the hosts."""
        result = int(self.value("SELECT COALESCE(MAX(id), 0) FROM result"))
        workunit = int(self.value("SELECT COALESCE(MAX(id), 0) FROM workunit"))
        received = int(time.time()) - received_ago_s
        self.fill(
            "workunit",
            count,
            id=f"{workunit} + seq",
            create_time=received - 7200,
            appid=self.app_id,
            name=f"CONCAT('micro_scaling_laws-v1-b1-s', {workunit} + seq)",
            canonical_resultid=f"{result} + seq",
            transition_time=2_147_483_647,
            delay_bound=86_400,
            assimilate_state=assimilate_state,
            target_nresults=1,
            max_total_results=5,
            mod_time=f"FROM_UNIXTIME({received})",
        )
        self.fill(
            "result",
            count,
            id=f"{result} + seq",
            create_time=received - 7200,
            workunitid=f"{workunit} + seq",
            server_state=5,
            outcome=1,
            client_state=5,
            validate_state=1,
            hostid=f"1 + MOD(seq * 7919, {hosts})",
            userid=1,
            sent_time=received - 3600,
            received_time=received,
            report_deadline=received + 80_000,
            name=f"CONCAT('r', {result} + seq)",
            appid=self.app_id,
            app_version_id=self.app_version_id,
            elapsed_time="100 + MOD(seq, 900)",
            mod_time=f"FROM_UNIXTIME({received})",
        )

    def settle(self) -> None:
        """Wait until the server has written its changed pages: else it is still busy with what was laid out."""
        self.execute("SET GLOBAL innodb_max_dirty_pages_pct = 0, GLOBAL innodb_max_dirty_pages_pct_lwm = 0")
        deadline = time.monotonic() + 300
        while int(self.status("Innodb_buffer_pool_pages_dirty")) > 50 and time.monotonic() < deadline:
            time.sleep(0.5)
        self.execute("SET GLOBAL innodb_max_dirty_pages_pct = DEFAULT, GLOBAL innodb_max_dirty_pages_pct_lwm = DEFAULT")

    def status(self, name: str) -> str:
        """Read a status variable of the server."""
        with self.connection.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE %s", (name,))
            return str(cursor.fetchone()[1])

    def settings(self, **sections: Any) -> Settings:
        """Settings for this project, with caps out of the way."""
        wide = {"cap": 1e15, "host_day_cap": 1e15}
        sections["credit"] = wide | sections.get("credit", {})
        return Settings(
            project={"dir": str(self.folder), "apps": [APP]},
            database={"unix_socket": str(self.server.socket)},
            **sections,
        )

    async def migrate(self, settings: Settings) -> tuple[Database, Project]:
        """Make axiomd's tables with a baseline long ago; nothing is left to a backfill."""
        database, config = opening.open_database(settings)
        project = await opening.read_project(database, config, settings)
        async with database.session() as session:
            await own_schema.migrate(session, time.time())
        await write_baseline(database, project)
        async with database.session() as session:
            await tables.set_state(session, tables.BASELINE_AT, 1.0)
            await session.execute("TRUNCATE axiomd_history")
        return database, project


@contextmanager
def ground() -> Iterator[Ground]:
    """Stand on a fresh project; everything is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="axiomd-bench-"))
    try:
        with PrivateMariaDB(folder / "mariadb") as server:
            yield Ground(folder, server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Give a command line with --json."""
    made = argparse.ArgumentParser(description=doc)
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def report(figures: dict[str, float], words: str, *, as_json: bool) -> None:
    """Print the figures."""
    if as_json:
        print(json.dumps(figures))
    else:
        print(words.format(**figures))


def run(coroutine: Any) -> Any:
    """Run a coroutine to its end."""
    return asyncio.run(coroutine)
