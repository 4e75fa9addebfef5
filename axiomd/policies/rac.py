"""Recent average credit (RAC), as BOINC computes it."""

from __future__ import annotations

import math

from axiomd.settings import DAY_S

HALF_LIFE_S = 7 * DAY_S
"""Half-life of the average (CREDIT_HALF_LIFE in BOINC's sched/credit.h)."""

DECAY = math.log(2) / HALF_LIFE_S
"""Rate of its decay (1/s): after d seconds exp(-d DECAY) is left."""


def updated_average(average: float, average_at: float, work: float, now: float, work_started_at: float) -> float:
    """Credit a day after `work` was added at `now`, half-life one week: update_average of BOINC's lib/util.cpp.

    Args:
        average: the average so far, credit a day.
        average_at: when it was last computed, Unix seconds; 0 if never.
        work: credit added; a whole batch at once. BOINC adds result by result. For results paid at the same moment the
            sum gives the same: the first addition decays the average, the others find no time passed. Their share is
            weighed by the limit ln2/H instead of (1-k)/d, which differ by less than (d ln2 / H) / 2 relative to
            the batch's term, d being the time since the average was last computed.
        now: Unix seconds.
        work_started_at: when the work began, Unix seconds; used only if there is no average yet, and then at least one
            second lies between, so that the first average is finite.

    """
    if average_at <= 0:
        return work / (max(now - work_started_at, 1.0) / DAY_S) if work else average
    passed = max(now - average_at, 0.0)
    kept = math.exp(-passed * DECAY)
    if 1 - kept > 1e-6:
        return average * kept + (1 - kept) * work / (passed / DAY_S)
    return average * kept + DECAY * work * DAY_S


def decayed(average: float, passed_s: float) -> float:
    """What is left of a part of an average after so many seconds: the formula is linear, each part decays alone."""
    return average * math.exp(-max(passed_s, 0.0) * DECAY)


def contribution(work: float) -> float:
    """What work adds to an average at once, in the limit of no time passed since the average was last computed."""
    return DECAY * work * DAY_S
