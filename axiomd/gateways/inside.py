"""What the gateways may use of the daemon's inside, as it comes and goes."""

from __future__ import annotations

from dataclasses import dataclass

from axiomd.interventions.intervention import Ground
from axiomd.interventions.registry import Interventions


@dataclass
class Inside:
    """The daemon as the gateways see it."""

    ground: Ground | None = None
    """None until the project was read."""
    interventions: Interventions | None = None
    """None while this daemon stands by: who holds the lease answers."""
