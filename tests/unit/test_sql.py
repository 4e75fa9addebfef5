"""SQL by name: how statements are found, and how values are spelled."""

from __future__ import annotations

import ast
import math
import uuid
from pathlib import Path

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.sql import literal, load_statements, render, values


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (1, "1"),
        (-1, "-1"),
        (2**63, "9223372036854775808"),
        (True, "1"),
        (None, "NULL"),
        ("axiom", "'axiom'"),
        ("it's", r"'it\'s'"),
        ('a "b"', r"'a \"b\"'"),
        ("back\\slash", r"'back\\slash'"),
        ("line\nbreak", r"'line\nbreak'"),
        ("100 %", "'100 %'"),
        ("Ünï", "'Ünï'"),
        ([1, 2, 3], "(1,2,3)"),
        ((1, "a", None), "(1,'a',NULL)"),
        (["it's"], r"('it\'s')"),
    ],
)
def test_literals(value: object, spelled: str) -> None:
    assert literal(value) == spelled


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_keeps_every_bit(value: float) -> None:
    assert ast.literal_eval(literal(value)) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [1.0, math.nan]])
def test_a_number_that_is_not_finite_is_refused(value: object) -> None:
    with pytest.raises(pymysql.ProgrammingError):
        literal(value)


def test_render_fills_in_parameters_by_name() -> None:
    statement = "SELECT %(name)s FROM t WHERE id IN %(ids)s AND name LIKE '%%gpu%%' AND x = %(name)s"
    assert render(statement, {"name": "50 %s", "ids": [1, 2], "unused": 3}) == (
        "SELECT '50 %s' FROM t WHERE id IN (1,2) AND name LIKE '%gpu%' AND x = '50 %s'"
    )


def test_render_names_the_parameter_that_is_missing() -> None:
    with pytest.raises(KeyError, match="ids"):
        render("SELECT %(ids)s", {"id": 1})


def test_a_value_never_ends_its_literal() -> None:
    hostile = "'); DROP TABLE result; -- %(name)s {rows}"
    assert render("VALUES (%(name)s)", {"name": hostile}) == r"VALUES ('\'); DROP TABLE result; -- %(name)s {rows}')"


def test_rows_come_through_format_and_render_as_they_are() -> None:
    statement = "INSERT INTO t VALUES {rows}".format(rows=values([(1, "100 %"), (2, "{x} %(y)s")]))
    assert render(statement, {}) == "INSERT INTO t VALUES (1,'100 %'),(2,'{x} %(y)s')"


@given(st.lists(st.tuples(st.integers(), st.text()), min_size=1))
def test_values_survive_rendering_whatever_is_in_them(rows: list[tuple[int, str]]) -> None:
    assert render(values(rows), {}) == ",".join(literal(row) for row in rows)


# The .sql files.


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that `load_statements` can look into."""
    folder = tmp_path / f"sql_{uuid.uuid4().hex}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_statements_by_name(package: Path) -> None:
    (package / "a.sql").write_text("-- A comment.\n\n-- name: one\nSELECT 1;\n\n-- name: two\nSELECT\n  2\n")
    assert load_statements(package.name, "a.sql") == {"one": "SELECT 1", "two": "SELECT\n  2"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("SELECT 1;\n-- name: one\nSELECT 2\n", "before the first", id="text before the first name"),
        pytest.param("-- name: one\nSELECT 1\n-- name: one\nSELECT 2\n", "stands twice", id="a name twice"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_its_name(package: Path, text: str, complaint: str) -> None:
    (package / "a.sql").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.sql: .*{complaint}"):
        load_statements(package.name, "a.sql")


def test_a_file_that_is_not_there(package: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_statements(package.name, "b.sql")
