"""Opening a project: its config.xml, its database, its apps, axiomd's tables. For the daemon and for each command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from axiomd.boinc import credit, fleet, schema
from axiomd.boinc.config import ProjectConfig, read_config
from axiomd.boinc.project import Project
from axiomd.errors import AxiomdError, ProjectError, SchemaError, SettingsError
from axiomd.settings import DatabaseSettings, Settings
from axiomd.store import schema as own_schema
from axiomd.store import tables
from axiomd.store.database import Database, Login
from axiomd.store.lease import Lease

log = structlog.get_logger(__name__)


def database_login(settings: DatabaseSettings, config: ProjectConfig) -> Login:
    """Where the database is: the settings, and config.xml for what they leave empty."""
    password = settings.password.get_secret_value()
    if not password and settings.password_file:
        try:
            password = settings.password_file.read_text(encoding="utf-8").splitlines()[0].strip()
        except (OSError, IndexError) as error:
            raise SettingsError(f"database.password_file: {settings.password_file} can't be read") from error
    host, _, port = (settings.host or config.db_host or "localhost").partition(":")
    if port and not port.isdigit():
        raise ProjectError(f"config.xml: <db_host> has no valid port: '{config.db_host}'")
    return Login(
        host=host,
        port=settings.port or int(port or 3306),
        unix_socket=settings.unix_socket,
        name=settings.name or config.db_name,
        user=settings.user or config.db_user,
        password=password or config.db_passwd,
        connect_timeout_s=settings.connect_timeout_s,
        pool_size=settings.pool_size,
    )


def open_database(settings: Settings) -> tuple[Database, ProjectConfig]:
    """Give the project's database, not connected yet, and its config.xml."""
    config = read_config(settings.project.dir)
    return Database(database_login(settings.database, config)), config


async def read_project(database: Database, config: ProjectConfig, settings: Settings) -> Project:
    """Look up the apps; raises ProjectError where a table, a column or an app is missing."""
    async with database.session() as session:
        missing = await schema.missing_columns(session, credit_by_app=config.credit_by_app)
        if missing:
            raise ProjectError(
                f"database '{database.login.name}' lacks what axiomd needs of BOINC: {', '.join(missing)}. "
                "Bring the project's tables up to date with BOINC's html/ops/upgrade_db.php."
            )
        apps = await fleet.app_ids(session, settings.project.apps)
        for name, experiment in settings.experiments.items():
            if experiment.app and experiment.app not in apps:
                raise SettingsError(f"experiments.{name}.app: '{experiment.app}' is not one of project.apps")
        gpu = await credit.gpu_app_versions(session, list(apps.values()))
    return Project(config, apps, gpu)


@asynccontextmanager
async def opened(settings: Settings, *, ready: bool = True) -> AsyncIterator[tuple[Database, Project]]:
    """Open the project as the commands do, and close it; with `ready` axiomd's tables have to be there."""
    database, config = open_database(settings)
    try:
        project = await read_project(database, config, settings)
        if ready:
            await check_ready(database, settings)
        yield database, project
    finally:
        await database.close()


@asynccontextmanager
async def leased(database: Database, settings: Settings) -> AsyncIterator[None]:
    """Hold the lease, for a command that does what the daemon does. Raises ProjectError if a daemon holds it."""
    lease = Lease(database, settings.daemon.lease_s)
    give_up_at = time.monotonic() + settings.daemon.lease_s
    while (holder := await lease.take()) is not None:
        if time.monotonic() > give_up_at:
            raise ProjectError(f"a daemon looks after this project already ({holder.holder}): stop it first.")
        await asyncio.sleep(lease.look_every_s)
    try:
        yield
    finally:
        await give_back(lease)


async def check_ready(database: Database, settings: Settings) -> None:
    """Raise SchemaError unless axiomd's tables, the baseline and the index of the chosen mode are there."""
    async with database.session() as session:
        await own_schema.check(session)
        if tables.BASELINE_AT not in await tables.get_state(session):
            raise SchemaError("there is no baseline yet. Run `axiomd migrate`.")
        if settings.intake.mode == "mod_time" and not await schema.has_mod_time_index(session):
            raise SchemaError(
                "intake.mode is 'mod_time', and its index isn't there. Run `axiomd migrate --index`, "
                "or set intake.mode = 'in_flight'."
            )


async def give_back(lease: Lease) -> None:
    """Let a standby take over at once, if the database can be told."""
    try:
        async with asyncio.timeout(1.0):
            await lease.give_back()
    except (AxiomdError, TimeoutError) as error:
        log.warning("the lease could not be given back; it runs out by itself", error=str(error) or "no answer in time")
