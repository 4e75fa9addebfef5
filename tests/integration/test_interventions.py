"""Interventions on a real MariaDB: what each changes, done once however often it is delivered, journaled, answered."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from axiomd.daemon import Axiomd
from axiomd.errors import SettingsError
from axiomd.explain import Teller
from axiomd.interventions import registry
from axiomd.interventions.intervention import Answer, Call, Ground, Outcome, Source
from axiomd.interventions.registry import ALL, Interventions
from axiomd.settings import Settings
from axiomd.store.database import Database
from tests.command import axiomd
from tests.world import World

EXPERIMENT = "micro_scaling_laws"
DEPLOYED = {EXPERIMENT: {"version": 1, "memory": 1000}}


async def desk(world: World, **sections: Any) -> Interventions:
    """The registry on a project."""
    settings = world.settings(experiments=DEPLOYED, **sections)
    database, project = await world.migrate(settings)
    return Interventions(Ground(settings, database, project))


async def say(
    interventions: Interventions,
    name: str,
    parameters: dict[str, Any] | None = None,
    *,
    id_: str = "one",
    source: Source = Source.CLI,
    dry_run: bool = False,
) -> Answer:
    return await interventions.call(Call(id_, name, parameters or {}, source, "anna", dry_run))


def journal(world: World) -> list[dict[str, Any]]:
    return world.rows(
        "SELECT kind, cause, actor, changes, detail FROM axiomd_journal WHERE kind = 'intervene' ORDER BY id"
    )


def quota(world: World, host: int, version: int) -> int:
    return int(
        world.value(
            "SELECT max_jobs_per_day FROM host_app_version WHERE host_id = %s AND app_version_id = %s", host, version
        )
    )


def with_quota(world: World, jobs: int = 500) -> int:
    """A host that BOINC would send so many jobs a core and day, of axiomd's app and of another."""
    host = world.host()
    for version in (world.app_version_id, world.app_id * 1_000_000 + 2, 999):
        world.execute(
            "INSERT INTO host_app_version (host_id, app_version_id, max_jobs_per_day, pfc_n, pfc_avg, et_n, et_avg, "
            "et_var, et_q, n_jobs_today, turnaround_n, turnaround_avg, turnaround_var, turnaround_q, "
            "consecutive_valid) VALUES (%s, %s, %s, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
            host,
            version,
            jobs,
        )
    return host


async def test_an_excluded_host_gets_no_jobs_and_a_quota_of_one_and_may_still_report(world: World) -> None:
    host = with_quota(world)
    answer = await say(await desk(world), "exclude_host", {"host": host, "reason": "only errors"})
    assert answer.outcome is Outcome.DONE
    assert (quota(world, host, world.app_version_id), quota(world, host, world.app_id * 1_000_000 + 2)) == (1, 1)
    assert quota(world, host, 999) == 500  # another app's
    assert world.row("host", host)["max_results_day"] != -1
    axiomd = await world.axiomd(experiments=DEPLOYED)
    assert [p for p in await axiomd.plan() if f"host {host}" in p.subject and p.action == "deploy"] == []


async def test_a_released_host_gets_its_quota_back_as_the_project_has_it(world: World) -> None:
    host = with_quota(world)
    interventions = await desk(world)
    await say(interventions, "exclude_host", {"host": host})
    answer = await say(interventions, "release_host", {"host": host}, id_="two")
    assert answer.outcome is Outcome.DONE
    assert quota(world, host, world.app_version_id) == 500
    assert (await say(interventions, "release_host", {"host": host}, id_="three")).outcome is Outcome.REFUSED


async def test_a_quota_that_grew_again_is_brought_down_again(world: World) -> None:
    host = with_quota(world)
    await say(await desk(world), "exclude_host", {"host": host})
    world.execute("UPDATE host_app_version SET max_jobs_per_day = 4 WHERE host_id = %s", host)
    axiomd = await world.axiomd()
    await axiomd.once()
    assert quota(world, host, world.app_version_id) == 1
    before = world.value("SELECT COUNT(*) FROM axiomd_journal")
    await axiomd.once()
    assert world.value("SELECT COUNT(*) FROM axiomd_journal") == before


async def test_by_setting_the_quota_is_left_alone(world: World) -> None:
    host = with_quota(world)
    interventions = await desk(world, hosts={"exclusion_lowers_quota": False})
    assert (await say(interventions, "exclude_host", {"host": host})).outcome is Outcome.DONE
    assert quota(world, host, world.app_version_id) == 500


def jobs_of_an_experiment(world: World) -> dict[str, int]:
    """Workunits of an experiment: waiting for their host, unsent, in progress; and one of another."""
    host = world.host()
    waiting = world.workunit(transitioner_flags=2)
    world.assignment(waiting, host)
    unsent, running = world.workunit(), world.workunit()
    world.result(unsent, server_state=2, sent_time=0)
    world.result(running, host)
    other = world.workunit(name="lottery_ticket-v1-b1-s1")
    version_two = world.workunit(name=f"{EXPERIMENT}-v2-b1-s1")
    world.result(other, server_state=2, sent_time=0)
    return {"waiting": waiting, "unsent": unsent, "running": running, "other": other, "version two": version_two}


def cancelled(world: World, jobs: dict[str, int]) -> set[str]:
    return {name for name, id_ in jobs.items() if world.row("workunit", id_)["error_mask"] & 16}


@pytest.mark.parametrize(
    ("name", "ended"),
    [("retire_experiment", {"waiting", "unsent"}), ("abort_experiment", {"waiting", "unsent", "running"})],
)
async def test_what_ends_with_an_experiment(world: World, name: str, ended: set[str]) -> None:
    jobs = jobs_of_an_experiment(world)
    assert (await say(await desk(world), name, {"experiment": EXPERIMENT})).outcome is Outcome.DONE
    axiomd: Axiomd = await world.axiomd(experiments=DEPLOYED)
    await axiomd.once()
    assert cancelled(world, jobs) == ended
    states = world.rows("SELECT server_state, outcome FROM result WHERE workunitid = %s", jobs["unsent"])
    assert states == [{"server_state": 5, "outcome": 5}]
    assert world.value("SELECT COUNT(*) FROM axiomd_ended") == len(ended)
    assert not [p for p in await axiomd.plan() if p.action in {"deploy", "abort"}]


async def test_an_aborted_experiment_ends_within_the_cap_of_aborts(world: World) -> None:
    jobs = jobs_of_an_experiment(world)
    await say(await desk(world), "abort_experiment", {"experiment": EXPERIMENT})
    axiomd = await world.axiomd(experiments=DEPLOYED, abort={"cap": 2})
    await axiomd.once()
    assert len(cancelled(world, jobs)) == 2


async def test_an_experiment_that_goes_on_gets_jobs_again(world: World) -> None:
    world.host()
    interventions = await desk(world)
    await say(interventions, "retire_experiment", {"experiment": EXPERIMENT})
    axiomd = await world.axiomd(experiments=DEPLOYED)
    assert not [p for p in await axiomd.plan() if p.action == "deploy"]
    answer = await say(interventions, "continue_experiment", {"experiment": EXPERIMENT}, id_="two")
    assert answer.outcome is Outcome.DONE
    assert [p for p in await axiomd.plan() if p.action == "deploy"]


async def test_repair_flags_repairs_what_the_daemon_would_leave(world: World) -> None:
    orphans = [world.workunit(transitioner_flags=2) for _ in range(3)]
    interventions = await desk(world, repair={"enabled": False})
    plan = await say(interventions, "repair_flags", {"limit": 2}, dry_run=True)
    assert (plan.outcome, plan.message) == (Outcome.PLANNED, "2 workunits and reports would be repaired")
    assert all(world.row("workunit", id_)["transitioner_flags"] for id_ in orphans)
    answer = await say(interventions, "repair_flags", {"limit": 2})
    assert (answer.outcome, answer.changes) == (Outcome.DONE, 2)
    assert sorted(world.row("workunit", id_)["transitioner_flags"] for id_ in orphans) == [0, 0, 2]
    assert world.value("SELECT COUNT(*) FROM axiomd_journal WHERE kind = 'repair' AND actor = 'anna'") == 1


async def test_a_raised_cap_holds_for_its_time(world: World) -> None:
    host = world.host()
    results = [world.valid_result(host) for _ in range(5)]
    axiomd = await world.axiomd(credit={"cap": 6})
    await axiomd.once()
    interventions = Interventions(Ground(axiomd.settings, axiomd.database, axiomd.project))
    await say(interventions, "raise_cap", {"kind": "credit", "factor": 1.5, "hours": 1})
    await axiomd.once()
    assert sum(world.row("result", id_)["granted_credit"] for id_ in results) == 8
    world.execute("UPDATE axiomd_state SET value = %s WHERE name = 'cap_raised_until:credit'", world.now - 10)
    world.execute("UPDATE axiomd_result SET look_at = 0")
    await axiomd.once()
    assert sum(world.row("result", id_)["granted_credit"] for id_ in results) == 8


async def test_pause_all_stops_every_kind(world: World) -> None:
    interventions = await desk(world)
    await say(interventions, "pause", {"kind": "all"})
    paused = world.value("SELECT COUNT(*) FROM axiomd_state WHERE name LIKE 'paused:%%' AND value = 1")
    assert paused == 4


# Once.


async def test_what_is_delivered_twice_is_done_once_with_the_same_answer(world: World) -> None:
    host = with_quota(world)
    interventions = await desk(world)
    first = await say(interventions, "exclude_host", {"host": host}, source=Source.MQTT)
    again = await say(interventions, "exclude_host", {"host": host}, source=Source.MQTT)
    assert (again.repeated, first.repeated) == (True, False)
    assert (again.message, again.journal_id, again.changes) == (first.message, first.journal_id, first.changes)
    entries = journal(world)
    assert [(e["cause"], e["actor"]) for e in entries] == [("exclude_host", "anna")]
    assert json.loads(entries[0]["detail"]) == {
        "id": "one",
        "source": "mqtt",
        "parameters": {"host": host, "reason": ""},
        "outcome": "done",
        "answer": first.message,
    }


async def test_many_deliveries_at_the_same_time_are_one(world: World) -> None:
    world.workunit(transitioner_flags=2)
    interventions = await desk(world)
    for name, parameters in (("pause", {"kind": "credit"}), ("repair_flags", {"limit": 5})):
        answers = await asyncio.gather(*(say(interventions, name, parameters, id_=name) for _ in range(5)))
        assert sorted(answer.repeated for answer in answers) == [False, True, True, True, True]
        assert {answer.outcome for answer in answers} == {Outcome.DONE}
    assert len(journal(world)) == 2


async def test_an_id_belongs_to_one_call(world: World) -> None:
    interventions = await desk(world)
    await say(interventions, "pause", {"kind": "credit"})
    answer = await say(interventions, "pause", {"kind": "abort"})
    assert (answer.outcome, "used for another call" in answer.message) == (Outcome.REFUSED, True)


async def test_an_errand_whose_end_is_not_known_is_not_begun_again(world: World) -> None:
    interventions = await desk(world)
    await say(interventions, "repair_flags", {"limit": 5})
    world.execute("UPDATE axiomd_intervention SET state = 0")
    answer = await say(interventions, "repair_flags", {"limit": 5})
    assert (answer.outcome, answer.repeated, "isn't known" in answer.message) == (Outcome.FAILED, True, True)


# Refused: nothing is changed.

REFUSED = [
    ("an unknown name", "reboot", {}, Source.HTTP, "there is no intervention 'reboot'"),
    ("a name that can't be printed", "re\nboot", {}, Source.HTTP, "'re?boot'"),
    ("a parameter too many", "pause", {"kind": "credit", "now": True}, Source.HTTP, "now"),
    ("a parameter missing", "exclude_host", {}, Source.HTTP, "host: Field required"),
    ("a number as text", "exclude_host", {"host": "7"}, Source.MQTT, "host"),
    ("not a number", "raise_cap", {"kind": "abort", "factor": float("nan"), "hours": 1}, Source.HTTP, "factor"),
    ("a host that isn't there", "exclude_host", {"host": 4711}, Source.MQTT, "there is no host 4711"),
    ("a huge id of a host", "exclude_host", {"host": 2**40}, Source.MQTT, "host"),
    ("an experiment that isn't deployed", "abort_experiment", {"experiment": "grokking"}, Source.HTTP, EXPERIMENT),
    ("a cap by an alert", "raise_cap", {"kind": "abort", "factor": 2, "hours": 1}, Source.ALERT, "isn't allowed"),
    ("a cap too far", "raise_cap", {"kind": "abort", "factor": 11, "hours": 1}, Source.CLI, "10 times at most"),
    ("a cap too long", "raise_cap", {"kind": "abort", "factor": 2, "hours": 25}, Source.CLI, "24 hours at most"),
    ("a reason with control characters", "exclude_host", {"host": 1, "reason": "a\x00b"}, Source.HTTP, "reason"),
    ("a daemon that isn't there", "restart_daemon", {"daemon": "rm -rf"}, Source.HTTP, "isn't there"),
    ("a limit below one", "repair_flags", {"limit": 0}, Source.HTTP, "limit"),
]


@pytest.mark.parametrize(
    ("name", "parameters", "source", "why"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
async def test_a_clear_refusal_and_nothing_changed(
    world: World, name: str, parameters: dict[str, Any], source: Source, why: str
) -> None:
    interventions = await desk(world)
    counted = {
        "intervention": name if name in interventions.by_name else "unknown",
        "source": source,
        "outcome": "refused",
    }
    before = REGISTRY.get_sample_value("axiomd_interventions_total", counted) or 0
    answer = await say(interventions, name, parameters, source=source)
    assert (answer.outcome, why in answer.message) == (Outcome.REFUSED, True), answer.message
    assert "\n" not in answer.message
    assert REGISTRY.get_sample_value("axiomd_interventions_total", counted) == before + 1
    assert journal(world) == world.rows("SELECT * FROM axiomd_intervention") == []


@pytest.mark.parametrize("id_", ["", "x" * 65, "with space", "tab\t", "ümlaut"])
async def test_an_id_is_short_and_printable(world: World, id_: str) -> None:
    assert (await say(await desk(world), "pause", {"kind": "all"}, id_=id_)).outcome is Outcome.REFUSED


async def test_the_settings_say_what_may_come_by_http_and_mqtt(world: World) -> None:
    interventions = await desk(world, interventions={"http": ["pause"], "mqtt": []})
    assert (await say(interventions, "pause", {"kind": "all"}, source=Source.MQTT)).outcome is Outcome.REFUSED
    assert (await say(interventions, "resume", {"kind": "all"}, source=Source.HTTP)).outcome is Outcome.REFUSED
    assert (await say(interventions, "pause", {"kind": "all"}, source=Source.HTTP)).outcome is Outcome.DONE


async def test_in_a_dry_run_boinc_is_not_touched(world: World) -> None:
    host = with_quota(world)
    interventions = await desk(world, daemon={"dry_run": True})
    assert (await say(interventions, "exclude_host", {"host": host})).outcome is Outcome.PLANNED
    assert quota(world, host, world.app_version_id) == 500
    assert journal(world) == []


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"interventions": {"http": ["reboot"]}}, "interventions.http: there is no 'reboot'"),
        ({"alerts": {"rules": [{"alert": "A", "intervention": "reboot"}]}}, "rule 1 .A.: there is no intervention"),
        ({"alerts": {"rules": [{"alert": "A", "intervention": "raise_cap"}]}}, "raise_cap is not for alerts"),
        ({"alerts": {"rules": [{"alert": "A", "intervention": "pause"}]}}, "pause: it needs kind"),
        (
            {"alerts": {"rules": [{"alert": "A", "intervention": "pause", "parameters": {"kind": "all", "x": 1}}]}},
            "no parameter x",
        ),
    ],
)
def test_settings_that_name_what_is_not_there_are_refused(tmp_path: Path, section: dict[str, Any], why: str) -> None:
    settings = Settings(project={"dir": str(tmp_path), "apps": ["axiom"]}, **section)
    with pytest.raises(SettingsError, match=why):
        registry.check(settings)


def test_every_intervention_says_what_it_is() -> None:
    names = [kind.name for kind in ALL]
    assert len(set(names)) == len(names)
    for kind in ALL:
        assert kind.summary.endswith(".")
        assert kind.at_most
        assert kind.sources
        assert all(field.description for field in kind.parameters.model_fields.values()), kind.name


# The project's programs.

START = """#!/bin/sh
echo "$@" >> {folder}/calls
exec {python} {folder}/bin/start.py
"""
START_PY = """
import fcntl, os, sys, time
folder = {folder!r}
if os.fork():
    sys.exit(0)
os.setsid()
null = os.open(os.devnull, os.O_RDWR)
for number in (0, 1, 2):
    os.dup2(null, number)
lock = open(folder + "/pid_{host}/transitioner.lock", "w")
fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
open(folder + "/pid_{host}/transitioner.pid", "w").write(str(os.getpid()))
time.sleep(60)
"""


@pytest.fixture
def project_with_daemons(world: World) -> Iterator[World]:
    """A project whose bin/start starts a transitioner, which is a process that holds the lock."""
    host = socket.gethostname().split(".")[0]
    text = (world.folder / "config.xml").read_text()
    daemons = "<daemons><daemon><cmd>transitioner -d 3</cmd></daemon></daemons>"
    (world.folder / "config.xml").write_text(text.replace("</boinc>", f"{daemons}</boinc>"))
    (world.folder / "bin").mkdir()
    (world.folder / f"pid_{host}").mkdir()
    (world.folder / f"run_state_{host}.xml").write_text("<boinc><tasks></tasks><enabled>1</enabled></boinc>")
    program(world.folder / "bin" / "start", START.format(folder=world.folder, python=sys.executable))
    (world.folder / "bin" / "start.py").write_text(START_PY.format(folder=str(world.folder), host=host))
    yield world
    if pid := running(world):
        os.kill(pid, 9)


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def running(world: World) -> int:
    """The process that holds the transitioner's lock; 0 if none does."""
    host = socket.gethostname().split(".")[0]
    folder = world.folder / f"pid_{host}"
    if not (folder / "transitioner.lock").exists():
        return 0
    with (folder / "transitioner.lock").open("r+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return int((folder / "transitioner.pid").read_text())
    return 0


async def test_a_daemon_that_does_not_run_is_started_by_bin_start(project_with_daemons: World) -> None:
    interventions = await desk(project_with_daemons)
    plan = await say(interventions, "restart_daemon", {"daemon": "transitioner"}, dry_run=True)
    assert (plan.message, running(project_with_daemons)) == ("transitioner, which doesn't run, would be started", 0)
    answer = await say(interventions, "restart_daemon", {"daemon": "transitioner"})
    assert (answer.outcome, answer.message) == (
        Outcome.DONE,
        f"transitioner runs as process {running(project_with_daemons)}",
    )
    assert (project_with_daemons.folder / "calls").read_text() == "--cron\n"
    await say(interventions, "restart_daemon", {"daemon": "transitioner"})
    assert (project_with_daemons.folder / "calls").read_text() == "--cron\n"


async def test_a_daemon_that_hangs_is_ended_and_started(project_with_daemons: World) -> None:
    interventions = await desk(project_with_daemons)
    await say(interventions, "restart_daemon", {"daemon": "transitioner"})
    first = running(project_with_daemons)
    answer = await say(interventions, "restart_daemon", {"daemon": "transitioner"}, id_="two")
    assert answer.outcome is Outcome.DONE
    assert running(project_with_daemons) not in {0, first}


async def test_a_project_that_was_stopped_on_purpose_stays_so(project_with_daemons: World) -> None:
    (project_with_daemons.folder / "stop_daemons").write_text("<stop/>")
    interventions = await desk(project_with_daemons)
    answer = await say(interventions, "restart_daemon", {"daemon": "transitioner"})
    assert (answer.outcome, "stopped on purpose" in answer.message) == (Outcome.REFUSED, True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#!/bin/sh\necho nothing works >&2\nexit 3\n", "exit status 3: nothing works"),
        ("#!/bin/sh\nexec sleep 20\n", "took longer than 0.3 s"),
        ("not a program", "can't be started"),
    ],
    ids=["fails", "hangs", "isn't one"],
)
async def test_a_program_that_fails_is_a_failure_with_its_words(world: World, text: str, why: str) -> None:
    (world.folder / "bin").mkdir()
    program(world.folder / "bin" / "transitioner", text)
    interventions = await desk(world, interventions={"timeout_s": 0.3})
    answer = await say(interventions, "transitioner_pass")
    assert (answer.outcome, why in answer.message) == (Outcome.FAILED, True), answer.message
    assert (await say(interventions, "transitioner_pass")).repeated
    assert [json.loads(entry["detail"])["outcome"] for entry in journal(world)] == ["failed"]


async def test_a_transitioner_pass_is_the_projects_own_program(world: World) -> None:
    (world.folder / "bin").mkdir()
    program(world.folder / "bin" / "transitioner", f'#!/bin/sh\necho "$PWD $@" > {world.folder}/calls\n')
    answer = await say(await desk(world), "transitioner_pass")
    assert answer.outcome is Outcome.DONE
    assert (world.folder / "calls").read_text() == f"{world.folder}/bin --one_pass\n"


async def test_under_systemd_it_is_a_unit_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.folder / "bin").mkdir()
    program(world.folder / "bin" / "transitioner", "#!/bin/sh\nexit 1\n")
    program(world.folder / "bin" / "systemctl", f'#!/bin/sh\necho "$@" > {world.folder}/calls\n')
    monkeypatch.setenv("PATH", f"{world.folder}/bin:{os.environ['PATH']}")
    answer = await say(await desk(world, interventions={"systemd": True}), "transitioner_pass")
    assert answer.outcome is Outcome.DONE
    assert (world.folder / "calls").read_text() == "start axiomd-boinc-transition.service\n"


# The command line.


def command(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    config = world.folder / "axiomd.toml"
    config.write_text(
        f'[project]\ndir = "{world.folder}"\napps = ["axiom"]\n[database]\nunix_socket = "{world.server.socket}"\n'
    )
    return axiomd("intervene", *words, "--config", str(config))


async def test_from_the_command_line(world: World) -> None:
    host = with_quota(world)
    database: Database = (await desk(world)).ground.database
    await database.close()
    cases = [
        (("exclude_host", f"host={host}", "--dry-run"), 0, "would get no more jobs"),
        (
            ("exclude_host", f"host={host}", "reason=noisy"),
            0,
            "gets no more jobs from axiomd; its daily quota at BOINC: 1 job a core (2 app versions)",
        ),
        (("exclude_host", "host=many"), 2, "refused: exclude_host: host: Input should be a valid integer"),
        (("exclude_host", "host"), 2, "write name=value"),
    ]
    done = await asyncio.gather(*(asyncio.to_thread(command, world, *words) for words, _, _ in cases))
    for (words, status, said), result in zip(cases, done, strict=True):
        assert (result.returncode, said in result.stdout + result.stderr) == (status, True), (words, result)
        assert "Traceback" not in result.stderr
    assert quota(world, host, world.app_version_id) == 1


async def test_explain_tells_of_an_exclusion(world: World) -> None:
    host = with_quota(world)
    interventions = await desk(world)
    await say(interventions, "exclude_host", {"host": host, "reason": "only errors"})
    ground = interventions.ground
    told = await Teller(ground.database, ground.project, ground.settings).tell("host", host)
    assert any("it is excluded, by anna since" in line and "only errors" in line for line in told.decided)
    assert f"gets jobs again after `axiomd intervene release_host host={host}`" in told.next
    assert any("max_jobs_per_day" in happened.words for happened in told.happened)
