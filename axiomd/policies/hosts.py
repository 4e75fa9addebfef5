"""Which hosts are live, silent or dead, and when the whole fleet fell silent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from axiomd.settings import HostSettings


@dataclass(frozen=True, slots=True)
class HostContact:
    """A host's last contact (Unix seconds), and whether axiomd's own table calls it live: None if it isn't there."""

    host_id: int
    last_contact_at: float
    stored_live: bool | None


@dataclass(frozen=True, slots=True)
class FleetSilence:
    """How many hosts ought to be in contact, and how many of them are silent."""

    live: int
    silent: int


def is_live(last_contact_at: float, settings: HostSettings, now: float) -> bool:
    """Whether a host counts as live."""
    return now - last_contact_at <= settings.live_after_contact_s


def changed_hosts(
    contacts: Iterable[HostContact], settings: HostSettings, now: float
) -> tuple[list[HostContact], list[HostContact]]:
    """Hosts whose stored state is wrong: those that fell silent, and those that returned or are new."""
    stale, returned = [], []
    for host in contacts:
        live = is_live(host.last_contact_at, settings, now)
        if host.stored_live and not live:
            stale.append(host)
        elif live and not host.stored_live:
            returned.append(host)
    return stale, returned


def fleet_is_silent(silence: FleetSilence, settings: HostSettings) -> bool:
    """Whether so many hosts are silent together that the server or its network must be the patient."""
    return silence.live >= settings.fleet_min_hosts and silence.silent >= settings.fleet_silent_share * silence.live
