from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.kit.naming import MAX_SEED, WorkunitName, parse_workunit_name

NAMES = st.builds(
    WorkunitName,
    experiment=st.from_regex(r"[a-z][a-z0-9_]{0,40}", fullmatch=True),
    version=st.integers(1, 999_999_999),
    batch=st.from_regex(r"[0-9a-z]{1,20}", fullmatch=True),
    seed=st.integers(0, MAX_SEED),
)
NUMBER = st.integers(0, 10**12)


@given(NAMES)
def test_a_name_reads_back_as_what_was_written(name: WorkunitName) -> None:
    assert parse_workunit_name(str(name)) == name


@given(NAMES, NUMBER, NUMBER, NUMBER)
def test_a_result_has_the_name_of_its_workunit(name: WorkunitName, n: int, pid: int, time: int) -> None:
    assert parse_workunit_name(f"{name}_{n}") == name
    assert parse_workunit_name(f"{name}_{pid}_{time}_{n}") == name


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    name = parse_workunit_name(text)
    assert name is None or text.startswith(str(name))


def test_the_name_is_spelled_as_agreed() -> None:
    assert str(WorkunitName("micro_scaling_laws", 1, "b12", 4242)) == "micro_scaling_laws-v1-b12-s4242"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("micro_scaling_laws", id="experiment alone"),
        pytest.param("Micro-v1-b12-s42", id="capital letter"),
        pytest.param("9lives-v1-b12-s42", id="digit first"),
        pytest.param("micro-v0-b12-s42", id="version zero"),
        pytest.param("micro-v01-b12-s42", id="version with a leading zero"),
        pytest.param("micro-v1--s42", id="no batch"),
        pytest.param("micro-v1-B12-s42", id="batch with a capital"),
        pytest.param("micro-v1-b12-s", id="no seed"),
        pytest.param("micro-v1-b12-s042", id="seed with a leading zero"),
        pytest.param("micro-v1-b12-s-1", id="negative seed"),
        pytest.param(f"micro-v1-b12-s{MAX_SEED + 1}", id="seed too large"),
        pytest.param("micro-v1-b12-s" + "9" * 10_000, id="seed of ten thousand digits"),
        pytest.param("micro-v1-b12-s٤٢", id="digits of another script"),
        pytest.param("micro-v1-b12-s42\n", id="newline behind"),
        pytest.param(" micro-v1-b12-s42", id="space before"),
        pytest.param("micro-v1-b12-s42_", id="empty suffix"),
        pytest.param("micro-v1-b12-s42_1_2", id="two numbers behind"),
        pytest.param("micro-v1-b12-s42_1_2_3_4", id="four numbers behind"),
    ],
)
def test_other_names_are_refused(text: str) -> None:
    assert parse_workunit_name(text) is None


@pytest.mark.parametrize(
    ("experiment", "version", "batch", "seed"),
    [
        ("Micro", 1, "b", 1),
        ("micro", 0, "b", 1),
        ("micro", 1, "b-1", 1),
        ("micro", 1, "b", -1),
        ("micro", 1, "b", 2**63),
    ],
)
def test_a_name_that_could_not_be_read_back_is_never_made(experiment: str, version: int, batch: str, seed: int) -> None:
    with pytest.raises(ValueError):
        WorkunitName(experiment, version, batch, seed)
