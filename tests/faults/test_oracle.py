"""The oracle of the faults sees what is wrong: damage is planted in a project that was exact."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from axiomd.demo import rows
from tests.faults import harm, oracle
from tests.faults.boinc import finished, lay_out
from tests.faults.project import FIRST_ID, Project

DAMAGE = {
    "granted twice": "UPDATE result SET granted_credit = 2 * granted_credit WHERE id = 7",
    "granted and not in the ledger": "DELETE FROM axiomd_ledger WHERE result_id = 7",
    "in the ledger twice": "INSERT INTO axiomd_ledger"
    " SELECT result_id, 2, journal_id, host_id, user_id, team_id, credit FROM axiomd_ledger WHERE result_id = 7",
    "never granted": "UPDATE result SET granted_credit = 0 WHERE id = 7",
    "worth more than granted": "UPDATE result SET elapsed_time = 400, sent_time = received_time - 400 WHERE id = 1",
    "paid to another user": "UPDATE axiomd_ledger SET user_id = 1 + user_id MOD 8 WHERE result_id = 7",
    "paid to another host": "UPDATE axiomd_ledger SET host_id = 1 + host_id MOD 8 WHERE result_id = 7",
    "added twice to a host": "UPDATE host SET total_credit = total_credit + 1 WHERE id = 3",
    "lost to a user": "UPDATE user SET total_credit = total_credit - 0.5 WHERE id = 3",
    "lost to a team": "UPDATE team SET total_credit = total_credit - 0.5 WHERE id = 1",
    "journal without ledger": "UPDATE axiomd_journal SET changes = changes + 1 WHERE kind = 'credit'",
    "counter ahead": "UPDATE axiomd_state SET value = value + 1 WHERE name = 'credited_count'",
    "not assimilated": "UPDATE workunit SET assimilate_state = 1 WHERE id = 7",
    "report lost": "UPDATE result SET outcome = 4 WHERE id = 7",
    "job lost": f"DELETE FROM workunit WHERE id = {FIRST_ID}",
    "job made twice": f"UPDATE workunit SET name = 'micro_scaling_laws-v1-b1-s999' WHERE id = {FIRST_ID}",
    "job given up": "UPDATE axiomd_job SET state = 2 LIMIT 1",
    "job assigned twice": "INSERT INTO assignment (create_time, target_id, target_type, multi, workunitid, resultid)"
    " SELECT 0, target_id, 1, 0, workunitid, 0 FROM assignment LIMIT 1",
    "harvested without a measurement": "DELETE FROM axiomd_measurement WHERE result_id = 7",
    "a tally ahead": "UPDATE axiomd_tally SET results = results + 1 LIMIT 1",
    "an independent result lost": "DELETE FROM axiomd_replicate LIMIT 1",
    "a harvest begun anew": "UPDATE axiomd_result SET harvest_mark = 1 WHERE result_id = 7",
    "job without target": "DELETE FROM assignment LIMIT 1",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project in which axiomd has paid finished work and made jobs."""
    made = Project(tmp_path_factory.mktemp("oracle"), seed=7)
    with made.connect() as connection:
        lay_out(connection, range(1, 41), finished(made.hosts))
    for _ in range(2):  # paid, then assimilated
        made.axiomd("once")
    yield made
    made.server.stop()


def test_exact(project: Project) -> None:
    with project.connect() as connection:
        assert oracle.problems(connection, project) == []
        assert rows.select(connection, "SELECT COUNT(*) AS n FROM axiomd_ledger")[0]["n"] == 40


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_seen(project: Project, damage: str) -> None:
    with project.connect() as connection:
        rows.execute(connection, "START TRANSACTION")
        assert rows.execute(connection, DAMAGE[damage].replace("%", "%%")) > 0
        found = oracle.problems(connection, project)
        rows.execute(connection, "ROLLBACK")
    assert found


def test_harm_is_seen(project: Project) -> None:
    target = harm.Target(str(project.server.socket), project.hosts, project.users, project.teams)
    with project.connect() as connection:
        rows.execute(connection, "SET GLOBAL innodb_lock_wait_timeout = 0")  # the writers' error comes at once
        rows.execute(connection, "START TRANSACTION")
        rows.select(connection, "SELECT id FROM host FOR UPDATE")
        met = harm.write(target, 100, seed=7)
        rows.execute(connection, "ROLLBACK")
        rows.execute(connection, "SET GLOBAL innodb_lock_wait_timeout = 50")
    hosts = sum(count for kind, count in met.by_kind.items() if kind.endswith(("host", "quota")))
    assert len(met.errors) == hosts > 0
    assert all("1205" in error for error in met.errors)
    assert harm.write(target, 100, seed=7).errors == []
