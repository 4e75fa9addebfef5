"""Single statements, each committed by itself: that is how BOINC's programs use the database."""

from __future__ import annotations

from typing import Any

from pymysql.connections import Connection
from pymysql.cursors import DictCursor

Row = dict[str, Any]


def select(connection: Connection, sql: str, *values: Any) -> list[Row]:
    """Rows of a query, columns by name."""
    with connection.cursor(DictCursor) as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def select_one(connection: Connection, sql: str, *values: Any) -> Row | None:
    """First row of a query; None where there is none."""
    found = select(connection, sql, *values)
    return found[0] if found else None


def execute(connection: Connection, sql: str, *values: Any) -> int:
    """Run a statement and give the number of rows that it changed."""
    with connection.cursor() as cursor:
        return int(cursor.execute(sql, values))


def update(connection: Connection, table: str, key: int, **columns: Any) -> int:
    """Write columns of the row with this id."""
    assignments = ", ".join(f"`{name}` = %s" for name in columns)
    return execute(connection, f"UPDATE `{table}` SET {assignments} WHERE id = %s", *columns.values(), key)
