"""Commands as bytes: what is read, what is refused, and that nothing else comes out; and the delay of a reconnect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.policies.commands import (
    LONGEST_TOPIC,
    MOST_BYTES,
    MOST_CORRELATION,
    BadCommand,
    Command,
    check_age,
    check_answer_topic,
    read_command,
)
from axiomd.policies.reconnect import reconnect_delay

GOOD: dict[str, Any] = {"id": "a-1", "sent_at": 1000.5, "parameters": {"kind": "credit"}, "dry_run": True}


@pytest.mark.parametrize(
    ("name", "document", "expected"),
    [
        ("whole", GOOD, Command(**GOOD)),
        ("least", {"id": "a", "sent_at": 5}, Command(id="a", sent_at=5.0, parameters={}, dry_run=False)),
        ("longest id", {"id": "~" * 64, "sent_at": 5}, Command(id="~" * 64, sent_at=5.0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_command_is_read(name: str, document: dict[str, Any], expected: Command) -> None:
    assert read_command(json.dumps(document).encode()) == expected


@pytest.mark.parametrize(
    ("name", "change", "id_", "why"),
    [
        ("no id", {"id": None}, "", "id"),
        ("an empty id", {"id": ""}, "", "id: must be 1 to 64"),
        ("an id with a space", {"id": "a "}, "", "id: must be 1 to 64"),
        ("an id with a line's end", {"id": "a\n"}, "", "id: must be 1 to 64"),
        ("an id that is a number", {"id": 7}, "", "id"),
        ("a time that is a truth value", {"sent_at": True}, "a-1", "sent_at"),
        ("a time in words", {"sent_at": "1000"}, "a-1", "sent_at"),
        ("a dry run in words", {"dry_run": "yes"}, "a-1", "dry_run"),
        ("parameters in a list", {"parameters": []}, "a-1", "parameters"),
        ("an unknown key", {"caller": "me"}, "a-1", "caller"),
        ("a key that isn't printable", {"\x1b[2J": 1}, "a-1", r"'\x1b[2J'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_command_of_wrong_types_is_refused(name: str, change: dict[str, Any], id_: str, why: str) -> None:
    with pytest.raises(BadCommand) as refused:
        read_command(json.dumps(GOOD | change).encode())
    assert (refused.value.id, str(refused.value).startswith(why)) == (id_, True)


@given(st.binary(max_size=200) | st.just(b"[" * 60_000) | st.just(b" " * (MOST_BYTES + 1)) | st.just(b"9" * 10_000))
def test_bytes_are_refused_in_a_line(payload: bytes) -> None:
    with pytest.raises(BadCommand) as refused:
        read_command(payload)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "more"]), JSON, max_size=5))
def test_whatever_is_sent_a_command_or_a_refusal_comes_out(document: dict[str, Any]) -> None:
    try:
        command = read_command(json.dumps(document).encode())
    except BadCommand as refused:
        said = str(refused)
    else:
        assert 1 <= len(command.id) <= 64
        assert command.parameters == document.get("parameters", {})
        said = command.id
    assert said.isprintable()


@pytest.mark.parametrize(
    ("age_s", "good"), [(0, True), (300, True), (301, False), (-60, True), (-61, False), (3e9, False)]
)
def test_only_what_was_sent_lately_is_done(age_s: float, good: bool) -> None:
    command = Command(id="a", sent_at=5e9)
    if good:
        check_age(command, 5e9 + age_s, 300.0)
    else:
        with pytest.raises(BadCommand, match=r"s ago|in the future") as refused:
            check_age(command, 5e9 + age_s, 300.0)
        assert refused.value.id == "a"


BELOW = "axiom/p/answers/"


@pytest.mark.parametrize(
    ("topic", "correlation", "good"),
    [
        (BELOW + "operator", None, True),
        (BELOW + "operator/7", b"x" * MOST_CORRELATION, True),
        (BELOW + "operator", b"x" * (MOST_CORRELATION + 1), False),
        (BELOW, None, False),
        (BELOW + "#", None, False),
        (BELOW + "+/a", None, False),
        (BELOW + "$SYS", None, False),
        (BELOW + "a\x00", None, False),
        (BELOW + "a" * LONGEST_TOPIC, None, False),
        ("axiom/p/commands/pause", None, False),
        ("axiom/other/answers/a", None, False),
        ("$SYS/x", None, False),
        ("", None, False),
    ],
)
def test_answers_stay_below_their_place(topic: str, correlation: bytes | None, good: bool) -> None:
    if good:
        check_answer_topic(topic, correlation, BELOW)
    else:
        with pytest.raises(BadCommand):
            check_answer_topic(topic, correlation, BELOW)


@given(st.integers(1, 10_000), st.floats(0.01, 600), st.floats(0, 1, exclude_max=True))
def test_a_delay_grows_to_its_bound(failures: int, most_s: float, chance: float) -> None:
    delay = reconnect_delay(failures, most_s, chance)
    assert 0 <= delay <= most_s
    assert delay <= reconnect_delay(failures + 1, most_s, chance)
    assert reconnect_delay(1, most_s, chance) <= 1.0
