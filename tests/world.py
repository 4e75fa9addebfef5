"""A small BOINC project for a test: a fresh database with BOINC's tables, rows on demand, and axiomd on top."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pymysql

from axiomd import daemon, opening
from axiomd.boinc.project import Project
from axiomd.daemon import Axiomd
from axiomd.demo.mariadb import PrivateMariaDB
from axiomd.demo.schema import create_tables, insert
from axiomd.handlers.baseline import write_baseline
from axiomd.settings import Settings
from axiomd.store import schema as own_schema
from axiomd.store import tables, verification
from axiomd.store.database import Database

CONFIG_XML = """<boinc>
  <config>
    <db_name>{database}</db_name>
    <db_host>localhost</db_host>
    <db_user>root</db_user>
    <db_passwd></db_passwd>
    <enable_assignment>1</enable_assignment>
    <send_result_abort>1</send_result_abort>
    <daily_result_quota>500</daily_result_quota>
    {more}
  </config>
</boinc>
"""
APP = "axiom"
INT_MAX = 2_147_483_647


class World:
    """One BOINC project. Rows are written by plain SQL, as BOINC's programs would leave them."""

    def __init__(self, server: PrivateMariaDB, database: str, folder: Path) -> None:
        self.server = server
        self.database_name = database
        self.folder = folder
        self.now = int(time.time())
        self._serial = 0
        self._opened: list[Database] = []
        admin = server.connect()
        with admin.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {database}")
        admin.close()
        self.connection = server.connect(database)
        create_tables(self.connection)
        self.write_config()
        (folder / "upload").mkdir(exist_ok=True)
        self.app_id = insert(self.connection, "app", name=APP, create_time=self.now)
        self.app_version_id = insert(self.connection, "app_version", appid=self.app_id, platformid=1, version_num=1)

    def write_config(self, more: str = "") -> None:
        """Write config.xml, with more elements."""
        (self.folder / "config.xml").write_text(CONFIG_XML.format(database=self.database_name, more=more))

    async def close(self) -> None:
        """Close and drop everything."""
        for database in self._opened:
            await database.close()
        with self.connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {self.database_name}")
        self.connection.close()

    # Rows.

    def insert(self, table: str, **columns: Any) -> int:
        """Insert a row; its id."""
        return insert(self.connection, table, **columns)

    def user(self, **columns: Any) -> int:
        """Insert a user."""
        self._serial += 1
        unique = f"{self._serial}"
        return self.insert(
            "user", **{"email_addr": f"{unique}@example.org", "name": unique, "authenticator": unique} | columns
        )

    def team(self, **columns: Any) -> int:
        """Insert a team."""
        self._serial += 1
        return self.insert("team", **{"name": f"team {self._serial}"} | columns)

    def host(self, userid: int | None = None, **columns: Any) -> int:
        """Insert a host in contact, with a user of its own unless one is named."""
        owner = self.user() if userid is None else userid
        defaults: dict[str, Any] = {
            "userid": owner,
            "rpc_time": self.now,
            "p_ncpus": 4,
            "p_fpops": 1e9,
            "m_nbytes": 16e9,
        }
        return self.insert("host", **defaults | columns)

    def workunit(self, **columns: Any) -> int:
        """Insert an open workunit, old enough to be looked at."""
        self._serial += 1
        defaults: dict[str, Any] = {
            "appid": self.app_id,
            "name": f"micro_scaling_laws-v1-b1-s{self._serial}",
            "create_time": self.now - 100_000,
            "transition_time": INT_MAX,
            "delay_bound": 86_400,
            "target_nresults": 1,
            "min_quorum": 1,
            "max_error_results": 3,
            "max_total_results": 5,
            "max_success_results": 3,
        }
        id_ = self.insert("workunit", **defaults | columns)
        self.age("workunit", id_)
        return id_

    def age(self, table: str, id_: int, seconds: float = 100_000) -> None:
        """Make a row look untouched for so long."""
        self.execute(f"UPDATE {table} SET mod_time = FROM_UNIXTIME(%s) WHERE id = %s", self.now - seconds, id_)

    def result(self, workunitid: int, hostid: int = 0, **columns: Any) -> int:
        """Insert a result, by default in progress since an hour ago."""
        self._serial += 1
        defaults: dict[str, Any] = {
            "workunitid": workunitid,
            "appid": self.app_id,
            "name": f"result_{self._serial}",
            "hostid": hostid,
            "server_state": 4,
            "sent_time": self.now - 3600,
            "report_deadline": self.now - 3600 + 86_400,
            "app_version_id": self.app_version_id,
        }
        return self.insert("result", **defaults | columns)

    def valid_result(self, hostid: int, /, *, workunit: Mapping[str, Any] | None = None, **columns: Any) -> int:
        """Insert a valid, canonical result whose workunit waits for its assimilator, as the validator leaves it."""
        workunit_id = self.workunit(assimilate_state=1, **dict(workunit or {}))
        defaults: dict[str, Any] = {
            "server_state": 5,
            "outcome": 1,
            "validate_state": 1,
            "client_state": 5,
            "received_time": self.now - 60,
            "elapsed_time": 100.0,
        }
        id_ = self.result(workunit_id, **{"hostid": hostid} | defaults | columns)
        self.execute("UPDATE workunit SET canonical_resultid = %s WHERE id = %s", id_, workunit_id)
        return id_

    def assignment(self, workunitid: int, hostid: int, **columns: Any) -> int:
        """Insert the assignment of a workunit to a host."""
        defaults: dict[str, Any] = {"workunitid": workunitid, "target_id": hostid, "target_type": 1, "multi": 0}
        return self.insert("assignment", **defaults | columns)

    def execute(self, statement: str, *parameters: Any) -> int:
        """Run a statement as another program would, by itself."""
        with self.connection.cursor() as cursor:
            return int(cursor.execute(statement, parameters or None))

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """Read rows as dictionaries."""
        with self.connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall())

    def row(self, table: str, id_: int) -> dict[str, Any]:
        """Read one row by its id."""
        return self.rows(f"SELECT * FROM {table} WHERE id = %s", id_)[0]

    def value(self, statement: str, *parameters: Any) -> Any:
        """Read one value."""
        return next(iter(self.rows(statement, *parameters)[0].values()))

    # axiomd.

    def settings(self, **sections: Any) -> Settings:
        """Settings for this project, with sections of the test's choice."""
        database = {"unix_socket": str(self.server.socket), **sections.pop("database", {})}
        project = {"dir": str(self.folder), "apps": [APP], **sections.pop("project", {})}
        return Settings(project=project, database=database, **sections)

    async def database(self, settings: Settings) -> Database:
        """Open the database as axiomd does; it is closed with the world."""
        database, _ = opening.open_database(settings)
        self._opened.append(database)
        return database

    async def migrate(self, settings: Settings, *, baseline_at: float | None = 1.0) -> tuple[Database, Project]:
        """Make axiomd's tables and the baseline, which is long ago unless a test wants another (None: now)."""
        database = await self.database(settings)
        _, config = opening.open_database(settings)
        project = await opening.read_project(database, config, settings)
        async with database.session() as session:
            await own_schema.migrate(session, self.now)
            await tables.set_state(session, verification.SALT, 0)  # the same jobs are made twice in every run
        await write_baseline(database, project)
        if baseline_at is not None:
            async with database.session() as session:
                await tables.set_state(session, tables.BASELINE_AT, baseline_at)
            self.execute("DELETE FROM axiomd_history")
        return database, project

    async def axiomd(self, *, baseline_at: float | None = 1.0, **sections: Any) -> Axiomd:
        """Build the daemon on this project, not started: `once` and `plan` drive it."""
        settings = self.settings(**sections)
        database, project = await self.migrate(settings, baseline_at=baseline_at)
        return daemon.build(settings, database, project)
