"""How long to wait before the next try to reach a server: twice as long each time, with full jitter."""

from __future__ import annotations

FIRST_S = 1.0


def reconnect_delay(failures: int, most_s: float, chance: float) -> float:
    """Seconds until the next try.

    Full jitter (M. Brooker, "Exponential Backoff And Jitter", 2015): any time up to the bound is as likely, so that
    many clients of a broker that comes back don't all come at once.

    Args:
        failures: tries in a row that failed, 1 or more.
        most_s: bound that is never passed.
        chance: uniform in [0, 1).

    """
    return chance * min(most_s, FIRST_S * 2.0 ** min(failures - 1, 30))
