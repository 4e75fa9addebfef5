"""What an alert leads to: which rule fits, the call that follows, its id; and what is ignored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.policies.alerts import Alert, AlertCall, Ignored, decide, filled_in, is_readable
from axiomd.settings import AlertRule

STARTS_AT = "2026-03-01T12:00:00.123Z"
ALERT = Alert("firing", {"alertname": "HostFailing", "host": "17", "severity": "warning"}, STARTS_AT, "c0ffee")


def rule(**changes: Any) -> AlertRule:
    """A rule that fits the alert above, with what a test changes."""
    return AlertRule(
        **{"alert": "HostFailing", "intervention": "exclude_host", "parameters": {"host": "{host}"}} | changes
    )


def call_of(alert: Alert, *rules: AlertRule) -> AlertCall:
    call = decide(alert, rules)
    assert isinstance(call, AlertCall)
    return call


FITS: dict[str, tuple[AlertRule, bool]] = {
    "by its name": (rule(), True),
    "another name": (rule(alert="HostFail"), False),
    "a part of the name is another name": (rule(alert="HostFailing2"), False),
    "a label that it has": (rule(labels={"severity": "warning"}), True),
    "a label of another value": (rule(labels={"severity": "page"}), False),
    "a label that it has not": (rule(labels={"rack": ""}), False),
    "all labels must fit": (rule(labels={"severity": "warning", "host": "18"}), False),
    "resolved is not firing": (rule(on="resolved"), False),
}


@pytest.mark.parametrize(("one", "fits"), FITS.values(), ids=FITS)
def test_which_rule_fits(one: AlertRule, fits: bool) -> None:
    decision = decide(ALERT, [one])
    assert isinstance(decision, AlertCall) is fits
    if not fits:
        assert decision is Ignored.NO_RULE


def test_the_first_rule_that_fits_is_taken() -> None:
    rules = [rule(alert="Other"), rule(intervention="release_host"), rule()]
    assert call_of(ALERT, *rules).intervention == "release_host"


def test_its_end_leads_to_the_rule_for_its_end() -> None:
    rules = [rule(), rule(on="resolved", intervention="release_host")]
    assert call_of(replace(ALERT, status="resolved"), *rules).intervention == "release_host"
    assert call_of(ALERT, *rules).intervention == "exclude_host"


def test_who_called_is_the_alert() -> None:
    assert call_of(ALERT, rule()).caller == "alert:HostFailing"


PARAMETERS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "a label": ({"host": "{host}"}, {"host": "17"}),
    "labels within a text": ({"reason": "{alertname} on {host}"}, {"reason": "HostFailing on 17"}),
    "no label in braces that hold more": ({"reason": "{host.__class__} {0} {}"}, {"reason": "{host.__class__} {0} {}"}),
    "numbers and truth as they are": (
        {"factor": 2.5, "hours": 4, "all": True},
        {"factor": 2.5, "hours": 4, "all": True},
    ),
    "a label that isn't there": ({"host": "{machine}"}, None),
    "none": ({}, {}),
}


@pytest.mark.parametrize(("wanted", "filled"), PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_are_filled_in(wanted: dict[str, Any], filled: dict[str, Any] | None) -> None:
    assert filled_in(wanted, ALERT.labels) == filled


def test_what_a_label_says_is_not_filled_in_again() -> None:
    assert filled_in({"a": "{host}"}, {"host": "{severity}", "severity": "page"}) == {"a": "{severity}"}


def test_a_missing_label_leads_to_no_call() -> None:
    assert decide(ALERT, [rule(parameters={"host": "{machine}"})]) is Ignored.NO_LABEL


UNREADABLE: dict[str, dict[str, str]] = {
    "a line break": {"host": "17\n18"},
    "a null byte": {"host": "\x00"},
    "an escape sequence": {"host": "\x1b[2J"},
    "text that runs the other way": {"host": "\u202e71"},
    "a control character in a label's name": {"ho\tst": "17"},
    "a value over-long": {"host": "1" * 1025},
    "a name over-long": {"h" * 129: "17"},
    "too many labels": {f"label_{number}": "" for number in range(64)},
    "a name that no caller can have": {"alertname": "A" * 59},
}


@pytest.mark.parametrize("labels", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_unreadable_is_left_alone(labels: dict[str, str]) -> None:
    alert = replace(ALERT, labels={**ALERT.labels, **labels})
    assert decide(alert, [rule(), rule(alert=alert.name)]) is Ignored.UNREADABLE


@pytest.mark.parametrize("field", ["starts_at", "fingerprint"])
def test_the_other_texts_are_looked_at_too(field: str) -> None:
    texts = {"starts_at": STARTS_AT, "fingerprint": "c0ffee"}
    assert not is_readable(Alert("firing", ALERT.labels, **texts | {field: "x\r\n"}))
    assert is_readable(Alert("firing", ALERT.labels, **texts | {field: ""}))


OTHER_CALLS: dict[str, tuple[Alert, AlertRule]] = {
    "another firing": (replace(ALERT, starts_at="2026-03-02T12:00:00Z"), rule()),
    "another alert": (replace(ALERT, fingerprint="c0ffee00"), rule()),
    "another host": (replace(ALERT, labels={**ALERT.labels, "host": "18"}), rule()),
    "another intervention": (ALERT, rule(intervention="release_host")),
    "its end": (replace(ALERT, status="resolved"), rule(on="resolved")),
}


@pytest.mark.parametrize(("alert", "by"), OTHER_CALLS.values(), ids=OTHER_CALLS)
def test_another_call_has_another_id(alert: Alert, by: AlertRule) -> None:
    assert call_of(alert, by).id != call_of(ALERT, rule()).id


def test_the_same_alert_sent_again_has_the_same_id() -> None:
    again = replace(ALERT, labels=dict(reversed(list(ALERT.labels.items()))))
    assert call_of(again, rule(min_interval_s=1)).id == call_of(ALERT, rule()).id


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=5), st.text(max_size=20))
def test_whatever_comes_in_the_call_is_printable_and_fits_the_tables(labels: dict[str, str], name: str) -> None:
    decision = decide(
        Alert("firing", {**labels, "alertname": name}, STARTS_AT, "f"), [rule(alert=name or "-", parameters={})]
    )
    if isinstance(decision, AlertCall):
        assert len(decision.id) == 64
        assert decision.id.isalnum()
        assert len(decision.caller) <= 64
        assert decision.caller.isprintable()
    else:
        assert decision in {Ignored.UNREADABLE, Ignored.NO_RULE}
