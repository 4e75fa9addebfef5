"""Which hosts are live, and when the whole fleet is silent, as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.policies.hosts import FleetSilence, HostContact, changed_hosts, fleet_is_silent, is_live
from axiomd.settings import DAY_S, HostSettings

NOW = 1_772_460_000.0
SETTINGS = HostSettings(live_after_contact_s=DAY_S, fleet_min_hosts=4, fleet_silent_share=0.5)
FRESH, OLD = NOW - 60, NOW - DAY_S - 1


@pytest.mark.parametrize(
    ("last_contact_at", "live"),
    [(NOW, True), (NOW + 100, True), (NOW - DAY_S, True), (NOW - DAY_S - 1, False), (0.0, False)],
)
def test_a_host_is_live_for_so_long_after_its_last_contact(last_contact_at: float, *, live: bool) -> None:
    assert is_live(last_contact_at, SETTINGS, NOW) is live


@pytest.mark.parametrize(
    ("contact", "change"),
    [
        pytest.param(HostContact(1, FRESH, stored_live=True), "", id="live and known as live"),
        pytest.param(HostContact(1, OLD, stored_live=True), "stale", id="fell silent"),
        pytest.param(HostContact(1, FRESH, stored_live=False), "returned", id="returned"),
        pytest.param(HostContact(1, OLD, stored_live=False), "", id="silent and known as silent"),
        pytest.param(HostContact(1, FRESH, stored_live=None), "returned", id="new"),
        pytest.param(HostContact(1, OLD, stored_live=None), "", id="silent and never seen live"),
    ],
)
def test_only_a_state_that_is_stored_wrong_is_an_event(contact: HostContact, change: str) -> None:
    stale, returned = changed_hosts([contact], SETTINGS, NOW)
    assert (stale, returned) == ([contact] if change == "stale" else [], [contact] if change == "returned" else [])


@given(st.lists(st.tuples(st.floats(0, NOW), st.sampled_from([None, True, False])), max_size=30))
def test_once_noted_nothing_changes(hosts: list[tuple[float, bool | None]]) -> None:
    contacts = [HostContact(id_, at, stored) for id_, (at, stored) in enumerate(hosts, 1)]
    stale, returned = changed_hosts(contacts, SETTINGS, NOW)
    noted = {host.host_id: False for host in stale} | {host.host_id: True for host in returned}
    after = [HostContact(c.host_id, c.last_contact_at, noted.get(c.host_id, c.stored_live)) for c in contacts]
    assert changed_hosts(after, SETTINGS, NOW) == ([], [])


@pytest.mark.parametrize(
    ("silence", "silent"),
    [
        pytest.param(FleetSilence(100, 50), True, id="half of them"),
        pytest.param(FleetSilence(100, 49), False, id="less than half"),
        pytest.param(FleetSilence(4, 4), True, id="the least fleet"),
        pytest.param(FleetSilence(3, 3), False, id="too few hosts to tell"),
        pytest.param(FleetSilence(0, 0), False, id="no hosts"),
    ],
)
def test_the_fleet_is_silent(silence: FleetSilence, *, silent: bool) -> None:
    assert fleet_is_silent(silence, SETTINGS) is silent
