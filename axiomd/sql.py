"""SQL by name: reads the `.sql` files, spells literals, and says what a connection can do.

A statement stands in a `.sql` file below a line `-- name: the_name`. Its parameters are written `%(name)s`; a list or
tuple becomes `(1,2,3)` for `IN`. `{rows}` stands for the rows of a multi-row INSERT, which `values` spells.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Protocol

from pymysql.converters import escape_item

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]


class Connection(Protocol):
    """What the rooms that speak SQL need of a database connection. `store.database` has the real one."""

    calm: asyncio.Lock
    """To be taken by whoever is about to compute for long: nobody holds rows of BOINC meanwhile."""

    async def fetch(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        """Rows of a query."""
        ...

    async def fetch_packed(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        """Rows of a query of the form SELECT JSON_ARRAYAGG(JSON_ARRAY(...)): for thousands of rows at a time."""
        ...

    async def execute(self, statement: str, parameters: Parameters | None = None) -> int:
        """Run a statement; the number of rows that it changed or inserted."""
        ...

    async def insert(self, statement: str, parameters: Parameters | None = None) -> int:
        """Run an INSERT of one row; the id that the database gave it."""
        ...

    async def holding(self) -> None:
        """Say that rows of BOINC are locked from here to the end of the transaction: how long, is measured."""
        ...


def load_statements(package: str, file: str) -> dict[str, str]:
    """Statements of a `.sql` file of a package, by name. Raises ValueError on text outside a named statement."""
    text = (files(package) / file).read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    preamble = [line for line in parts[0].splitlines() if line.strip() and not line.startswith("--")]
    if preamble:
        raise ValueError(f"{package}/{file}: text before the first '-- name:' line: {preamble[0]!r}")
    names = parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{package}/{file}: a name stands twice")
    return dict(zip(names, (body.strip().rstrip(";") for body in parts[2::2]), strict=True))


def literal(value: object) -> str:
    """Spell a value as an SQL literal; a list or tuple becomes `(1,2,3)`.

    Raises pymysql's ProgrammingError for a number that isn't finite.
    """
    # The two most frequent kinds by far, spelled as the driver does.
    if type(value) is int:
        return str(value)
    if type(value) is float and math.isfinite(value):
        spelled = repr(value)
        return spelled if "e" in spelled else f"{spelled}e0"
    if isinstance(value, list | tuple):
        return f"({','.join(map(literal, value))})"
    return str(escape_item(value, "utf8mb4"))


def values(rows: Iterable[Sequence[object]]) -> str:
    """Spell rows for a multi-row INSERT: `(1,'a'),(2,'b')`. Percent signs are doubled, for `render` halves them."""
    # Whole numbers, which most columns are, are spelled right here: a call for each would take half the time.
    spelled = [",".join([str(v) if type(v) is int else literal(v) for v in row]) for row in rows]
    return f"({'),('.join(spelled)})".replace("%", "%%") if spelled else ""


def render(statement: str, parameters: Parameters) -> str:
    """Fill in the parameters of a statement as literals."""
    return statement % {name: literal(value) for name, value in parameters.items()}
