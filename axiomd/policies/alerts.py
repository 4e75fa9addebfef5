"""What an alert leads to: the first rule that fits, the call that follows, and the id by which it is done once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from axiomd.settings import AlertRule

MOST_LABELS = 64
LONGEST_NAME = 128
LONGEST_VALUE = 1024
"""Labels of an alert, letters of a label's name and of its value; Prometheus itself sets no limits."""
LONGEST_CALLER = 64
"""Letters of a caller that axiomd's tables hold."""

Status = Literal["firing", "resolved"]
Parameter = str | int | float | bool

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Ignored(StrEnum):
    """Why an alert leads to no call."""

    NO_RULE = "no_rule"
    """No rule of the settings fits it."""
    NO_LABEL = "no_label"
    """A parameter of the rule asks for a label that it hasn't."""
    TOO_SOON = "too_soon"
    """The same was called less than the rule's min_interval_s ago."""
    TOO_MANY = "too_many"
    """It stands behind the first alerts.max_alerts of its webhook."""
    UNREADABLE = "unreadable"
    """It isn't an alert, or a label is over-long or not printable."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert of a webhook, as far as axiomd looks at it."""

    status: Status
    labels: Mapping[str, str]
    starts_at: str
    """As Alertmanager spells it: the same in each notification of one firing, and in that of its end."""
    fingerprint: str

    @property
    def name(self) -> str:
        """Its name; empty if it has none."""
        return self.labels.get("alertname", "")


@dataclass(frozen=True, slots=True)
class AlertCall:
    """The call that follows from an alert."""

    id: str
    """64 hexadecimal digits: the same however often the alert is delivered."""
    caller: str
    intervention: str
    parameters: Mapping[str, Parameter]
    min_interval_s: float


def is_readable(alert: Alert) -> bool:
    """Whether all that an alert says is printable and of a sensible length, so that it may be logged and kept."""
    if len(alert.labels) > MOST_LABELS or len(alert.name) > LONGEST_CALLER - len("alert:"):
        return False
    texts = [*alert.labels.values(), alert.starts_at, alert.fingerprint]
    return all(len(name) <= LONGEST_NAME and name.isprintable() for name in alert.labels) and all(
        len(text) <= LONGEST_VALUE and text.isprintable() for text in texts
    )


def decide(alert: Alert, rules: Sequence[AlertRule]) -> AlertCall | Ignored:
    """Say which call an alert leads to by the first rule that fits, or why to none."""
    if not is_readable(alert):
        return Ignored.UNREADABLE
    rule = next((rule for rule in rules if fits(rule, alert)), None)
    if rule is None:
        return Ignored.NO_RULE
    parameters = filled_in(rule.parameters, alert.labels)
    if parameters is None:
        return Ignored.NO_LABEL
    what = [rule.alert, rule.on, rule.intervention, parameters, alert.fingerprint, alert.starts_at, alert.status]
    return AlertCall(
        id=hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest(),
        caller=f"alert:{alert.name}",
        intervention=rule.intervention,
        parameters=parameters,
        min_interval_s=rule.min_interval_s,
    )


def fits(rule: AlertRule, alert: Alert) -> bool:
    """Whether a rule is for this alert: its name, its status, and each label that the rule names."""
    return (
        rule.alert == alert.name
        and rule.on == alert.status
        and all(alert.labels.get(name) == value for name, value in rule.labels.items())
    )


def filled_in(parameters: Mapping[str, Parameter], labels: Mapping[str, str]) -> dict[str, Parameter] | None:
    """Put the alert's labels in place of "{label}"; None if one isn't there. What a label says is not looked into."""
    filled: dict[str, Parameter] = {}
    for name, value in parameters.items():
        if isinstance(value, str):
            if not all(label in labels for label in _PLACEHOLDER.findall(value)):
                return None
            filled[name] = _PLACEHOLDER.sub(lambda found: labels[found[1]], value)
        else:
            filled[name] = value
    return filled
