"""axiomd's own tables: made by `axiomd migrate`, checked at each start.

A migration is a file `migrations/NNNN_what.sql`. MariaDB commits every CREATE and ALTER by itself, so each statement
must do no harm when it runs again (IF NOT EXISTS): a migration that broke off is run again from its start.
"""

from __future__ import annotations

import re
from importlib.resources import files

from axiomd.errors import SchemaError
from axiomd.sql import Connection

_VERSIONS = """
CREATE TABLE IF NOT EXISTS axiomd_schema (
  version INT NOT NULL PRIMARY KEY, complete TINYINT NOT NULL, at DOUBLE NOT NULL
) ENGINE=InnoDB COMMENT='migrations of the tables axiomd_*'
"""


def migrations() -> dict[int, tuple[str, list[str]]]:
    """Statements of every migration with its name, by version, ascending."""
    found = {}
    for file in sorted(files("axiomd.store").joinpath("migrations").iterdir(), key=lambda file: file.name):
        if match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            text = re.sub(r"^--.*$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            statements = [statement.strip() for statement in text.split(";\n") if statement.strip()]
            found[int(match[1])] = (match[2], statements)
    return found


async def migrate(connection: Connection, now: float) -> list[str]:
    """Bring axiomd's tables to this version; names of the migrations that ran. Raises SchemaError on newer tables."""
    await connection.execute(_VERSIONS)
    done = await _versions(connection)
    _refuse_newer(done)
    ran = []
    for version, (name, statements) in migrations().items():
        if done.get(version):
            continue
        await connection.execute(
            "REPLACE INTO axiomd_schema VALUES (%(version)s, 0, %(now)s)", {"version": version, "now": now}
        )
        for statement in statements:
            await connection.execute(statement)
        await connection.execute("UPDATE axiomd_schema SET complete=1 WHERE version=%(version)s", {"version": version})
        ran.append(f"{version:04d}_{name}")
    return ran


async def check(connection: Connection) -> None:
    """Raise SchemaError unless axiomd's tables are those of this version, complete."""
    there = await connection.fetch("SHOW TABLES LIKE 'axiomd\\_schema'")
    if not there:
        raise SchemaError("axiomd's tables are not in this database yet. Run `axiomd migrate`.")
    done = await _versions(connection)
    _refuse_newer(done)
    missing = [version for version in migrations() if not done.get(version)]
    if missing:
        raise SchemaError(f"axiomd's tables are incomplete (migration {missing[0]:04d}). Run `axiomd migrate`.")


async def _versions(connection: Connection) -> dict[int, bool]:
    rows = await connection.fetch("SELECT version, complete FROM axiomd_schema")
    return {int(version): bool(complete) for version, complete in rows}


def _refuse_newer(done: dict[int, bool]) -> None:
    newest = max(migrations())
    if done and max(done) > newest:
        raise SchemaError(
            f"axiomd's tables are of version {max(done)}, made by a newer axiomd; this one knows version {newest}. "
            "Install the newer axiomd again."
        )
