"""BOINC's tables: their columns and indexes as MariaDB reports them, in `boinc_tables.json`."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from pymysql.connections import Connection

# What the database fills in by itself when an INSERT leaves it out.
_FILLED_IN = ("auto_increment", "on update current_timestamp()")


@functools.cache
def tables() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The tables by name; each has `columns` and `indexes`."""
    text = resources.files("axiomd.demo").joinpath("boinc_tables.json").read_text(encoding="utf-8")
    tables: dict[str, dict[str, list[dict[str, Any]]]] = json.loads(text)
    return tables


def statements() -> list[str]:
    """The CREATE TABLE statements."""
    return [_create_table(name, table["columns"], table["indexes"]) for name, table in tables().items()]


def create_tables(connection: Connection) -> None:
    """Create BOINC's tables in the connection's database."""
    with connection.cursor() as cursor:
        for statement in statements():
            cursor.execute(statement)


def insert(connection: Connection, table: str, **columns: Any) -> int:
    """Insert a row and give its id (0 where the table has none).

    As in BOINC's own inserts, a column that isn't named is zero or empty, unless the table has a default for it.
    """
    return insert_batch(connection, table, [columns])


def insert_batch(connection: Connection, table: str, batch: Sequence[Mapping[str, Any]]) -> int:
    """Insert rows that name the same columns, by one statement; gives the id of the first."""
    values = [_zeros(table) | dict(columns) for columns in batch]
    names = ", ".join(f"`{name}`" for name in values[0])
    places = ", ".join(["%s"] * len(values[0]))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO `{table}` ({names}) VALUES " + ", ".join([f"({places})"] * len(values)),
            [row[name] for row in values for name in values[0]],
        )
        return int(cursor.lastrowid or 0)


@functools.cache
def _zeros(table: str) -> dict[str, int | str]:
    return {
        column["name"]: "" if _is_text(column) else 0
        for column in tables()[table]["columns"]
        if not column["null"] and "default" not in column and column.get("extra", "") not in _FILLED_IN
    }


def _is_text(column: dict[str, Any]) -> bool:
    return any(kind in column["type"] for kind in ("char", "text", "blob"))


def _create_table(name: str, columns: list[dict[str, Any]], indexes: list[dict[str, Any]]) -> str:
    lines = [_column(column) for column in columns] + [_index(index) for index in indexes]
    return f"CREATE TABLE `{name}` (\n  " + ",\n  ".join(lines) + "\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"


def _column(column: dict[str, Any]) -> str:
    words = [f"`{column['name']}`", column["type"], "NULL" if column["null"] else "NOT NULL"]
    if (default := column.get("default")) is not None:
        is_expression = default.endswith("()")
        words += ["DEFAULT", default if is_expression else f"'{default}'"]
    if extra := column.get("extra"):
        words.append(extra)
    return " ".join(words)


def _index(index: dict[str, Any]) -> str:
    columns = ", ".join("`{}` {}".format(*f"{column} ".split(" ", 1)).rstrip() for column in index["columns"])
    if index["name"] == "PRIMARY":
        return f"PRIMARY KEY ({columns})"
    if index["type"] == "FULLTEXT":
        return f"FULLTEXT KEY `{index['name']}` ({columns})"
    return f"{'UNIQUE ' if index['unique'] else ''}KEY `{index['name']}` ({columns})"
