"""The commands that look, on a real project: status, audit, doctor, config, plan; exit statuses and JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from axiomd.daemon import write_counters
from axiomd.store import tables
from tests import command
from tests.world import APP, World


def write_settings(world: World, more: str = "") -> str:
    path = world.folder / "axiomd.toml"
    path.write_text(
        f'[project]\ndir = "{world.folder}"\napps = ["{APP}"]\n'
        f'[database]\nunix_socket = "{world.server.socket}"\n{more}'
    )
    return str(path)


async def axiomd(*words: str) -> tuple[int, str]:
    """Run the command line in a process of its own: exit status and standard output."""
    done = await asyncio.to_thread(command.axiomd, *words)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done.returncode, done.stdout or done.stderr


async def answer(*words: str) -> Any:
    return json.loads((await axiomd(*words, "--json"))[1])


async def test_status_and_audit_tell_what_was_paid(world: World) -> None:
    host = world.host()
    for _ in range(3):
        world.valid_result(host)
    await (await world.axiomd()).once()
    config = write_settings(world)
    status = await answer("status", "--config", config)
    assert (status["results_credited"], status["credit_granted"], status["results_completed"]) == (3, 6.0, 3)
    assert status["caps"]["credit"] == "6 of 50000"
    audit = await answer("audit", "--config", config)
    assert (audit["ok"], audit["ledger_rows"], audit["credit"], audit["problems"]) == (True, 3, 6.0, [])


@pytest.mark.parametrize(
    ("tampering", "what"),
    [
        ("UPDATE result SET granted_credit = 5 WHERE granted_credit = 2 LIMIT 1", "granted_credit is 5"),
        ("UPDATE result SET granted_credit = 0 WHERE granted_credit = 2 LIMIT 1", "granted_credit is 0"),
        ("UPDATE host SET total_credit = total_credit + 1", "host 1: total_credit is 7"),
        ("UPDATE user SET total_credit = total_credit - 1", "user 1: total_credit is 5"),
        ("DELETE FROM axiomd_ledger LIMIT 1", "journal entry 1"),
        ("DELETE FROM axiomd_journal", "which is not there"),
        ("UPDATE axiomd_account SET granted = granted + 2 WHERE kind = 2", "user 1: the ledger granted 6"),
        ("UPDATE axiomd_result SET credit_mark = 2 LIMIT 1", "mark is 2"),
    ],
)
async def test_the_audit_finds_what_is_off_and_exits_1(world: World, tampering: str, what: str) -> None:
    host = world.host()
    for _ in range(3):
        world.valid_result(host)
    await (await world.axiomd()).once()
    assert world.execute(tampering) > 0
    status, output = await axiomd("audit", "--config", write_settings(world))
    assert status == 1
    assert what in output


async def test_beside_a_granting_validator_a_total_is_remarked_and_not_judged(world: World) -> None:
    world.valid_result(world.host())
    await (await world.axiomd()).once()
    world.execute("UPDATE host SET total_credit = total_credit + 10")
    status, output = await axiomd("audit", "--config", write_settings(world, "[audit]\nstrict = false\n"))
    assert status == 0
    assert "remark: host 1: total_credit is 12" in output


async def test_a_purged_result_is_told_apart_from_an_error(world: World) -> None:
    result = world.valid_result(world.host())
    await (await world.axiomd()).once()
    world.execute("DELETE FROM result WHERE id = %s", result)
    audit = await answer("audit", "--config", write_settings(world))
    assert (audit["ok"], audit["purged"]) == (True, 1)


async def test_the_doctor_names_what_is_wrong_and_what_to_do(world: World) -> None:
    world.write_config()
    config = (world.folder / "config.xml").read_text()
    (world.folder / "config.xml").write_text(config.replace("<enable_assignment>1</enable_assignment>", ""))
    settings = write_settings(world, "[experiments.micro_scaling_laws]\n")
    status, _ = await axiomd("doctor", "--config", settings)
    findings = {finding["check"]: finding for finding in await answer("doctor", "--config", settings)}
    assert status == 1
    assert findings["targeted jobs"]["verdict"] == "wrong"
    assert "enable_assignment" in findings["targeted jobs"]["words"]
    assert "bin/create_work: not there" in findings["create_work"]["words"]
    assert "axiomd migrate" in findings["database"]["words"]


async def test_the_doctor_is_content_with_a_good_project(world: World) -> None:
    await world.migrate(world.settings())
    status, output = await axiomd("doctor", "--config", write_settings(world))
    assert status == 0
    assert "wrong" not in output


async def test_config_show_hides_the_password(world: World) -> None:
    settings = write_settings(world, 'password = "top-secret"\n')
    status, output = await axiomd("config", "show", "--config", settings)
    assert status == 0
    assert "top-secret" not in output
    shown = await answer("config", "show", "--config", settings)
    assert shown["credit.flat"] == 2.0
    assert "top-secret" not in json.dumps(shown)


async def test_plan_says_what_would_be_done_and_does_nothing(world: World) -> None:
    result = world.valid_result(world.host())
    await world.migrate(world.settings())
    planned = await answer("plan", "--config", write_settings(world))
    assert {"action": "credit", "subject": f"result {result}", "detail": "2 credit"} in planned
    assert world.row("result", result)["granted_credit"] == 0
    assert world.value("SELECT COUNT(*) FROM axiomd_journal") == 0


async def test_a_dry_run_changes_nothing_of_boincs(world: World) -> None:
    result = world.valid_result(world.host())
    axiomd_ = await world.axiomd(daemon={"dry_run": True})
    await axiomd_.once()
    assert world.row("result", result)["granted_credit"] == 0
    assert world.value("SELECT COUNT(*) FROM axiomd_ledger") == 0


async def test_the_counters_for_the_web_site(world: World) -> None:
    history = world.valid_result(world.host(), granted_credit=3.0)
    axiomd_ = await world.axiomd()
    world.execute("DELETE FROM axiomd_history")
    for _ in range(2):
        world.valid_result(world.host())
    await axiomd_.once()
    async with axiomd_.database.session() as session:
        write_counters(world.folder / "counters.json", await tables.get_state(session))
    counters = json.loads((world.folder / "counters.json").read_text())
    assert world.row("result", history)["granted_credit"] == 3
    assert counters["credited_count"] == 1 + 2
    assert list(world.folder.glob(".counters*")) == []


async def test_hosts_and_journal_are_listed_page_by_page(world: World) -> None:
    paid, silent = world.host(), world.host(rpc_time=world.now - 200_000)
    world.valid_result(paid)
    await (await world.axiomd(hosts={"exclude": [silent]})).once()
    config = write_settings(world, f"[hosts]\nexclude = [{silent}]\n")
    page, excluded, entries, (_, table) = await asyncio.gather(
        answer("hosts", "--config", config, "--limit", "1"),
        answer("hosts", "--config", config, "--state", "excluded"),
        answer("journal", "--config", config, "--kind", "credit"),
        axiomd("journal", "--config", config),
    )
    assert ([(h["id"], h["live"], h["credit"]) for h in page["hosts"]], page["next"]) == ([(paid, True, 2.0)], paid)
    assert [host["id"] for host in excluded["hosts"]] == [silent]
    assert [(e["kind"], e["changes"], e["credit"]) for e in entries["entries"]] == [("credit", 1, 2.0)]
    assert "result_completed" in table


async def test_the_doctor_looks_at_the_files_that_hold_secrets(world: World) -> None:
    await world.migrate(world.settings())
    token = world.folder / "token"
    found = {}
    for text, mode in (("", 0o600), ("short\n", 0o600), ("x" * 40 + "\n", 0o644), ("x" * 40 + "\n", 0o600)):
        token.write_text(text)
        token.chmod(mode)
        config = write_settings(world, f'[http]\ntoken_file = "{token}"\n')
        checks = {finding["check"]: finding for finding in await answer("doctor", "--config", config)}
        found[text[:6], mode] = checks["http.token_file"]["verdict"]
    assert found == {
        ("", 0o600): "wrong",
        ("short\n", 0o600): "note",
        ("xxxxxx", 0o644): "note",
        ("xxxxxx", 0o600): "good",
    }
