"""The credit rules of the five session logs, each under its log's date: settings `credit.preset` names one.

Where a log leaves an edge open, the line below it says which value is ours.
"""

from __future__ import annotations

from typing import Any

from axiomd.errors import SettingsError
from axiomd.settings import CreditSettings

PRESETS: dict[str, dict[str, Any]] = {
    # Three grades for valid work and a consolation for work that ran into its time limit. The log names the grades'
    # amounts, not their bounds: 100 s and 600 s are ours; they agree with all times that the log gives beside an
    # amount (86.9 s: 10, 312.5 s: 15, 1387 s: 20). It calls the limit 203; BOINC's own code is 197: both are paid.
    "2026-03-01": {
        "policy": "tiers",
        "tiers": ((0, 10), (100, 15), (600, 20)),
        "failures": {197: 10, 203: 10},
    },
    # The log's last tier ends at 3000 s: ours has no end.
    "2026-03-02-0545": {
        "policy": "tiers",
        "tiers": ((0, 2), (20, 3), (100, 5), (500, 8), (1000, 15)),
    },
    # The same for every result, "generous flat rate for donated compute".
    "2026-03-02-1010": {"policy": "flat", "flat": 2},
    # The log's first tier begins at 5 s: ours begins at 0.
    "2026-03-02-1300": {
        "policy": "tiers",
        "tiers": ((0, 15), (30, 25), (120, 40), (300, 60), (600, 80), (1200, 100)),
        "cap": 10_000,
    },
    # "300-1000" and ">1000": 1000 s itself is ours to place; it begins the highest tier, as all bounds do here.
    "2026-03-02-1700": {
        "policy": "tiers",
        "tiers": ((0, 5), (30, 15), (300, 30), (1000, 50)),
        "cap": 50_000,
    },
}


def apply_preset(settings: CreditSettings) -> CreditSettings:
    """Fill in the preset that the settings name; what the settings file says itself wins.

    Raises SettingsError if there is no preset of that name.
    """
    if not settings.preset:
        return settings
    if settings.preset not in PRESETS:
        raise SettingsError(f"credit.preset: there is no '{settings.preset}'; choose one of {', '.join(PRESETS)}")
    missing = {key: value for key, value in PRESETS[settings.preset].items() if key not in settings.model_fields_set}
    return settings.model_copy(update=missing)
