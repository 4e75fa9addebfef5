"""When the next audit is due, and how far back it looks."""

from __future__ import annotations

from dataclasses import dataclass

from axiomd.settings import AuditSettings

OVERLAP_S = 600.0
"""An entry is dated when its transaction begins, and is seen when it ends: an audit reaches back so much further."""


@dataclass(frozen=True)
class LastAudit:
    """What the last audit of the daemon found; zeros if there was none."""

    at: float = 0.0
    full_at: float = 0.0
    """When all of the journal was last looked at."""
    problems: int = 0


def next_audit(last: LastAudit, settings: AuditSettings, now: float) -> float | None:
    """Since when the audit that is due now looks at the journal, 0 for all of it; None if none is due.

    After an audit that found something wrong all is looked at, until all is well: a partial look could miss it.
    """
    if not settings.interval_s or now - last.at < settings.interval_s:
        return None
    if last.problems or now - last.full_at >= settings.full_interval_s:
        return 0.0
    return last.at - OVERLAP_S
