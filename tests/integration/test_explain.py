"""What `axiomd explain` tells of a result, a workunit and a host, state by state."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from axiomd.errors import AxiomdError
from axiomd.explain import REFUSALS, Story, Teller
from axiomd.policies.credit import Refusal
from tests.integration.test_abort import live_hosts, silent_host, task
from tests.integration.test_commands import axiomd as command
from tests.integration.test_commands import write_settings
from tests.integration.test_repair import targeted
from tests.integration.test_undo import QUIET, last_entry, once, undo
from tests.world import World

HOUR, DAY = 3600, 86_400


async def tell(world: World, kind: str, id_: int, *, baseline_at: float | None = 1.0, **sections: Any) -> Story:
    settings = world.settings(**sections)
    database, project = await world.migrate(settings, baseline_at=baseline_at)
    return await Teller(database, project, settings).tell(kind, id_)


def said(story: Story) -> str:
    happened = [one.words for one in story.happened]
    return "\n".join([story.title, *story.is_now, *happened, *story.decided, *story.next])


def refused(reason: str) -> str:
    return f"it is not paid: {REFUSALS[reason]}"


Make = Callable[[World], int]


def over(**columns: Any) -> Make:
    return lambda world: world.valid_result(world.host(), **columns)


@pytest.mark.parametrize(
    ("make", "sections", "words"),
    [
        pytest.param(
            lambda world: world.result(world.workunit(), server_state=2, sent_time=0),
            {},
            ["not sent yet", "BOINC's scheduler gives it to a host"],
            id="unsent",
        ),
        pytest.param(
            lambda world: world.result(world.workunit(), world.host()),
            {},
            ["in progress on host 1", "it isn't stuck", "is cancelled in any case from", "it is paid"],
            id="in progress",
        ),
        pytest.param(
            lambda world: task(world, live_hosts(world)[0], 49),
            {},
            ["it is stuck: ceiling: cancel", "axiomd ends it at its next look"],
            id="past the ceiling",
        ),
        pytest.param(
            lambda world: task(world, min([silent_host(world) for _ in range(5)]), 49),
            {},
            ["it is stuck: ceiling", "its end waits: the whole fleet is silent"],
            id="stuck in a storm",
        ),
        pytest.param(
            lambda world: task(world, silent_host(world), 13, workunit={"canonical_resultid": 7}),
            {},
            ["its canonical result already"],
            id="in progress and not needed",
        ),
        pytest.param(
            over(),
            {},
            ["and valid", "it is worth 2 credit", "axiomd deals with it at its next look", "no daemon runs now"],
            id="valid",
        ),
        pytest.param(
            over(), {"credit": {"enabled": False}}, ["axiomd pays nothing (credit.enabled is false)"], id="no credit"
        ),
        pytest.param(over(), {"daemon": {"dry_run": True}}, ["axiomd runs dry"], id="dry run"),
        pytest.param(
            lambda world: world.result(
                world.workunit(), world.host(), server_state=5, outcome=3, received_time=world.now, exit_status=1
            ),
            {},
            ["once its workunit is finished"],
            id="of an open workunit",
        ),
        pytest.param(over(), {"credit": {"cap": 0}}, ["it is paid later: the cap"], id="cap"),
        pytest.param(over(validate_state=2), {}, ["but invalid", refused(Refusal.INVALID)], id="invalid"),
        pytest.param(over(validate_state=0), {}, ["not validated yet", "waits for BOINC's validator"], id="not judged"),
        pytest.param(over(validate_state=4), {}, ["waits for another instance"], id="inconclusive"),
        pytest.param(over(validate_state=3), {}, ["may still be validated"], id="not checked"),
        pytest.param(
            over(outcome=4), {}, ["not reported by its deadline", "a late report is still accepted"], id="no reply"
        ),
        pytest.param(
            over(outcome=3, exit_status=197),
            {},
            ["exit status 197 (time limit exceeded)", refused(Refusal.FAILED)],
            id="failed",
        ),
        pytest.param(over(appid=99), {}, ["axiomd doesn't look after the app number 99"], id="another app's"),
        pytest.param(over(hostid=999), {}, [refused(Refusal.NO_HOST)], id="of a deleted host"),
        pytest.param(over(granted_credit=7), {}, [refused(Refusal.ALREADY_GRANTED)], id="paid by another program"),
    ],
)
async def test_a_result_is_told_by_its_state(
    world: World, make: Make, sections: dict[str, Any], words: list[str]
) -> None:
    story = await tell(world, "result", make(world), **sections)
    for expected in words:
        assert expected in said(story)


async def test_what_was_paid_undone_and_paid_again_is_told_in_order(world: World) -> None:
    team = world.team()
    host = world.host(world.user(teamid=team))
    result = world.valid_result(host)
    await once(world)
    story = await tell(world, "result", result)
    assert story.decided[-1] == "it is paid"
    await undo(world, last_entry(world))
    story = await tell(world, "result", result)
    assert story.decided[-1] == refused("undone")
    credit = [one.words for one in story.happened if "credit" in one.words]
    assert credit == [
        f"2 credit granted to host {host}, user 1, team {team} (entry 1, credit, by axiomd)",
        f"2 credit taken back from host {host}, user 1, team {team} (entry 2, undo, by ada)",
    ]
    assert [one.at for one in story.happened] == sorted(one.at for one in story.happened)


async def test_a_result_that_waits_for_a_cap_is_told_until_when(world: World) -> None:
    host = world.host()
    world.valid_result(host)
    await once(world)
    late = world.valid_result(host)
    story = await tell(world, "result", late, credit={"cap": 2.0})
    assert story.decided == ["it is paid later: the cap on credit for a while is used up"]
    assert "there is room again from" in story.next[0]
    story = await tell(world, "result", late, credit={"host_day_cap": 2.0})
    assert story.decided == ["it is paid later: its host has reached its cap of the day"]
    assert "00:00:00 UTC" in story.next[0]


async def test_history_is_told_as_such(world: World) -> None:
    result = world.valid_result(world.host())
    story = await tell(world, "result", result, baseline_at=None)
    assert story.decided == [refused(Refusal.BEFORE_BASELINE)]
    story = await tell(world, "workunit", world.row("result", result)["workunitid"], baseline_at=None)
    assert "left alone until `axiomd backfill`" in said(story)


async def test_an_abort_and_its_undoing_are_told(world: World) -> None:
    live_hosts(world)
    result = task(world, silent_host(world), 13)
    await once(world)
    assert "abort:host_silent (entry 1, task_stuck, by axiomd)" in said(await tell(world, "result", result))
    await undo(world, last_entry(world, "abort"))
    story = await tell(world, "result", result)
    assert "a person undid its abort: axiomd doesn't end it again" in story.decided
    assert "undo:abort:host_silent (entry 2, undo of 1, by ada)" in said(story)


@pytest.mark.parametrize(
    ("make", "sections", "words"),
    [
        pytest.param(
            lambda world: targeted(world, world.host()),
            {},
            ["no result was made of it yet", "made for certain hosts only", "assigned to host 1, which can fetch it"],
            id="waits for its host",
        ),
        pytest.param(
            targeted,
            {},
            ["it can't move: orphaned", "axiomd repairs it at its next look (orphaned: free)"],
            id="orphaned",
        ),
        pytest.param(
            targeted,
            {"repair": {"min_age_s": 1e6}},
            ["it isn't stuck", "touched too lately"],
            id="fresh",
        ),
        pytest.param(
            lambda world: world.workunit(error_mask=16 | 2, assimilate_state=2),
            {},
            ["finished and assimilated", "ended by: too many errors, cancelled"],
            id="done",
        ),
    ],
)
async def test_a_workunit_is_told_by_its_state(
    world: World, make: Make, sections: dict[str, Any], words: list[str]
) -> None:
    story = await tell(world, "workunit", make(world), **sections)
    for expected in words:
        assert expected in said(story)


async def test_a_finished_workunit_is_told_until_its_end(world: World) -> None:
    workunit = world.row("result", world.valid_result(world.host()))["workunitid"]
    assert "hasn't dealt with each of its final results" in said(await tell(world, "workunit", workunit))
    axiomd = await world.axiomd(**QUIET, intake={"mode": "in_flight"})
    world.execute("UPDATE axiomd_state SET value = 0 WHERE name LIKE 'intake%'")
    await axiomd.once()
    assert "is marked as assimilated at axiomd's next look" in said(await tell(world, "workunit", workunit))
    await once(world)
    assert "finished and assimilated" in said(await tell(world, "workunit", workunit))


async def test_a_repair_and_a_job_of_top_ups_are_told(world: World) -> None:
    dead = world.host(rpc_time=world.now - 8 * DAY)
    live = world.host()
    workunit = targeted(world, dead, name="micro_scaling_laws-v1-b7-s5")
    await once(world)
    row = ("micro_scaling_laws-v1-b7-s5", 7, "axiom", "micro_scaling_laws", 5, dead, 1, 0)
    world.execute("INSERT INTO axiomd_job VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", *row)
    story = said(await tell(world, "workunit", workunit))
    assert f"decided on for idle cores, for host {dead}, seed 5 (entry 7): made" in story
    assert f"remedy retarget, host {live}" in story


async def test_a_host_is_told_with_its_work_and_its_credit(world: World) -> None:
    host = world.host()
    for _ in range(2):
        world.valid_result(host)
    running = world.result(world.workunit(), host)
    targeted(world, host)
    await once(world)
    story = said(await tell(world, "host", host, credit={"host_day_cap": 4.0}))
    for expected in (
        "it is live",
        f"result {running} is in progress there",
        "1 results in progress, 1 jobs wait for it to fetch them",
        "axiomd granted it 4 credit in all; it had 0 before",
        "granted today: 4 of at most 4",
        "there is room again from",
        "4 credit granted (entry 1, credit, by axiomd)",
        "2 of its cores are idle",
    ):
        assert expected in story


@pytest.mark.parametrize(
    ("columns", "sections", "words"),
    [
        pytest.param({"rpc_time": 1_000_000_000}, {}, ["it is silent", "targeted jobs go to others from"], id="silent"),
        pytest.param({}, {"hosts": {"exclude": [1]}}, ["it is excluded"], id="excluded"),
        pytest.param({"userid": 0, "rpc_seqno": 5}, {}, ["it was merged into host 5"], id="merged"),
    ],
)
async def test_a_host_is_told_by_its_state(
    world: World, columns: dict[str, Any], sections: dict[str, Any], words: list[str]
) -> None:
    story = await tell(world, "host", world.host(**columns), **sections)
    for expected in words:
        assert expected in said(story)


async def test_a_host_that_pauses_for_failing_is_told_why_and_until_when(world: World) -> None:
    host = world.host()
    await world.migrate(world.settings())
    world.execute(
        "INSERT INTO axiomd_breaker VALUES (%s, 1, %s, %s, 1, 'memory (7 of 9)', '')",
        *(host, world.now - 60, world.now + 3600),
    )
    story = said(await tell(world, "host", host))
    assert "it fails more often than others: memory (7 of 9), since" in story
    assert "gets a single job, as a probe, from" in story
    world.execute("UPDATE axiomd_breaker SET state = 2, until_at = %s, probe = 'x-v1-b1-s1'", world.now - 1)
    assert "gets jobs again once its probe comes back good (x-v1-b1-s1)" in said(await tell(world, "host", host))


async def test_every_reason_has_words() -> None:
    assert set(REFUSALS) == {reason.value for reason in Refusal} | {"undone"}


async def test_the_command_finds_what_is_meant(world: World) -> None:
    result = world.valid_result(world.host(id=40), id=50)
    workunit = world.row("result", result)["workunitid"]
    database, project = await world.migrate(world.settings())
    config = write_settings(world)
    name = world.row("workunit", workunit)["name"]
    teller = Teller(database, project, world.settings())
    for words, meant in (
        ("result 50", ("result", 50)),
        ("50", ("result", 50)),
        ("40", ("host", 40)),
        (name, ("workunit", workunit)),
        (f"workunit {name}", ("workunit", workunit)),
        (world.row("result", result)["name"], ("result", 50)),
    ):
        assert await teller.find(words.split()) == meant
    for words, error, complaint in (
        ("user 1", AxiomdError, "'user' is nothing to explain"),
        ("nothing-like-it", LookupError, "there is no result, workunit or host nothing-like-it"),
    ):
        with pytest.raises(error, match=complaint):
            await teller.find(words.split())
    world.insert("host", id=50)
    with pytest.raises(AxiomdError, match="`axiomd explain host 50`"):
        await teller.find(["50"])
    status, output = await command("explain", name, "--config", config)
    assert (status, output.startswith(f"workunit {workunit}, {name}")) == (0, True), output
    told = json.loads((await command("explain", "result", "50", "--json", "--config", config))[1])
    assert told["row"]["granted_credit"] == 0
    assert "what is next:" in output
    status, output = await command("explain", "result", "51", "--config", config)
    assert (status, output.strip()) == (1, "axiomd: there is no result 51: BOINC may have purged it")
