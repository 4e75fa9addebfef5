"""The JSON API on a real MariaDB: what it shows, what it refuses and how, what it changes with the token."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY

from axiomd.gateways import http
from axiomd.gateways.guard import names_this_machine
from axiomd.interventions.intervention import Ground
from axiomd.interventions.registry import Interventions
from axiomd.settings import HttpSettings
from axiomd.store import journal
from axiomd.store.database import Database, Login
from axiomd.views import status
from axiomd.views.kept import KEPT_TIMES, Kept
from tests.gateway import EXPERIMENT, TOKEN, nothing_in_the_way, served
from tests.world import World

PAUSE = "/api/v1/interventions/pause"
BODY = {"id": "one", "parameters": {"kind": "topup"}}


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"axiomd_{name}_total", labels) or 0.0


def judge(world: World, host: int, *, live: bool = True) -> int:
    """Note a host as axiomd's watcher of hosts does."""
    world.execute("INSERT INTO axiomd_host (host_id, live, since) VALUES (%s, %s, %s)", host, int(live), world.now)
    return host


QUOTA = (
    "INSERT INTO host_app_version (host_id, app_version_id, max_jobs_per_day, consecutive_valid, n_jobs_today, "
    "pfc_n, pfc_avg, et_n, et_avg, et_var, et_q, turnaround_n, turnaround_avg, turnaround_var, turnaround_q) "
    "VALUES (%s, %s, %s, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)"
)


def with_quota(world: World, host: int, jobs: int) -> int:
    """Let BOINC send a host so many jobs a core and day."""
    world.execute(QUOTA, host, world.app_version_id, jobs)
    return host


def with_breaker(world: World, host: int) -> int:
    """Open a host's breaker."""
    world.execute("INSERT INTO axiomd_breaker VALUES (%s, 1, 5, 9, 1, 'memory (7 of 9)', '')", host)
    return host


# What it shows.


async def test_status_is_what_the_command_says(world: World) -> None:
    world.valid_result(world.host())
    async with served(world) as client:
        assert client.inside.ground
        expected = await status.status(client.database, client.inside.ground.project, client.settings)
        code, found = await client.get("/api/v1/status")
    assert code == 200
    said = expected.model_dump(mode="json")
    # Each counts the seconds by its own look at the clock.
    assert found.pop("oldest_waiting_s") == pytest.approx(said.pop("oldest_waiting_s"), abs=30)
    assert found == said
    assert found["results_waiting"] == 1


async def test_a_host_without_names(world: World) -> None:
    host = world.host(domain_name="annas-laptop", last_ip_addr="192.0.2.1", p_ngpus=2)
    world.result(world.workunit(), host)
    async with served(world) as client:
        judge(world, host)
        world.execute("INSERT INTO axiomd_account (kind, id, opening, granted) VALUES (1, %s, 7, 12.5)", host)
        code, found = await client.get(f"/api/v1/hosts/{host}")
    assert code == 200
    assert found == {
        "id": host,
        "live": True,
        "failing": False,
        "excluded": False,
        "ncpus": 4,
        "ngpus": 2,
        "memory": 16e9,
        "last_contact_at": world.now,
        "jobs_in_progress": 1,
        "credit": 12.5,
        "held_since": None,
        "held_until": None,
        "held_reason": "",
    }


async def test_a_host_that_is_not_there(world: World) -> None:
    merged = world.host(userid=0)
    async with served(world) as client:
        for id_ in ("999", "0", "-1", "1.5", "annas-laptop", "1%20OR%201=1", str(2**70), merged):
            code, found = await client.get(f"/api/v1/hosts/{id_}")
            assert code == 404, id_
            assert "there is no" in found["error"]


async def test_hosts_in_every_state(world: World) -> None:
    live, stale, unknown, excluded, banned, failing, good = (world.host() for _ in range(7))
    merged = world.host(userid=0)
    async with served(world, hosts={"exclude": [excluded]}) as client:
        for host in (live, excluded, banned, failing, good, merged):
            judge(world, host)
        judge(world, stale, live=False)
        for host in (banned, failing):
            with_breaker(world, host)
        assert (await client.intervene("exclude_host", "x", host=banned, reason="a cheat"))[0] == 200
        found = {}
        held: dict[int, tuple[float | None, float | None, str]] = {}
        for state in (None, "live", "stale", "failing", "excluded"):
            code, page = await client.get("/api/v1/hosts", **({"state": state} if state else {}))
            assert (code, page["next"]) == (200, None)
            found[state] = [host["id"] for host in page["hosts"]]
            held |= {
                host["id"]: (host["held_since"], host["held_until"], host["held_reason"]) for host in page["hosts"]
            }
    assert found == {
        None: [live, stale, unknown, excluded, banned, failing, good],
        "live": [live, excluded, banned, failing, good],
        "stale": [stale],
        "failing": [banned, failing],
        "excluded": [excluded, banned],
    }
    assert held[failing] == (5, 9, "memory (7 of 9)")
    assert held[excluded] == (None, None, "hosts.exclude, by the settings")
    assert (held[banned][1:], held[good]) == ((None, "a cheat (by http:127.0.0.1)"), (None, None, ""))


@pytest.mark.parametrize("state", [None, "live", "failing", "excluded"])
async def test_pages_of_hosts_follow_each_other(world: World, state: str | None) -> None:
    hosts = [world.host() for _ in range(7)]
    wanted = hosts[2:] if state in {"failing", "excluded"} else hosts
    async with served(world, hosts={"exclude": wanted if state == "excluded" else []}) as client:
        for host in hosts:
            judge(world, host)
        for host in wanted if state == "failing" else ():
            with_breaker(world, host)
        narrowed = {"state": state} if state else {}
        found: list[int] = []
        after: int | None = 0
        while after is not None:
            _, page = await client.get("/api/v1/hosts", after=after, limit=2, **narrowed)
            assert len(page["hosts"]) <= 2
            found += [host["id"] for host in page["hosts"]]
            after = page["next"]
    assert found == wanted


async def test_experiments_and_how_far_they_are(world: World) -> None:
    world.result(world.workunit(), world.host())
    world.workunit()
    world.workunit(name="another-v1-b1-s1")
    world.assignment(world.workunit(transitioner_flags=2), world.host())
    experiments = {EXPERIMENT: {"version": 1, "target": 50, "weight": 2}, "own": {"version": 3, "memory": 1000}}
    async with served(world, experiments=experiments, harvest={"enabled": False}) as client:
        world.execute("INSERT INTO axiomd_experiment (name, version, canonical) VALUES (%s, 1, 17)", EXPERIMENT)
        assert (await client.intervene("retire_experiment", "r", experiment="own"))[0] == 200
        code, found = await client.get("/api/v1/experiments")
    first, second = found["experiments"]
    assert code == 200
    assert first.pop("question")
    assert first == {
        "name": EXPERIMENT, "version": 1, "weight": 2, "target": 50, "seeds": 17, "jobs_under_way": 3, "ended": None,
        "hosts": 0, "users": 0, "platforms": [], "discounted": {},
    }  # fmt: skip
    assert (second["version"], second["question"], second["jobs_under_way"], second["ended"]) == (3, "", 0, "retired")


async def test_findings_page_by_page(world: World) -> None:
    async with served(world) as client:
        code, all_of_them = await client.get("/api/v1/findings", limit=500)
        assert (code, all_of_them["next"]) == (200, None)
        pages, after = [], 0
        while after is not None:
            _, page = await client.get("/api/v1/findings", after=after, limit=9)
            pages += page["findings"]
            after = page["next"]
        _, one = await client.get("/api/v1/findings", experiment=EXPERIMENT)
        _, none = await client.get("/api/v1/findings", verdict="reproduced")
    assert pages == all_of_them["findings"]
    assert len(pages) > 17
    assert {found["verdict"] for found in pages} == {"open"}
    assert [found["experiment"] for found in one["findings"]] == [EXPERIMENT] * len(one["findings"])
    assert one["findings"]
    assert none == {"findings": [], "next": None}


async def test_failures_of_an_experiment(world: World) -> None:
    async with served(world) as client:
        for number, name in enumerate(("a", "a", "b")):
            world.execute(
                "INSERT INTO axiomd_failure (fingerprint, experiment, version, class, place, detail, results, "
                "first_at, last_at) VALUES (%s, %s, 1, 'KeyError', '', '', %s, 5, 9)",
                f"{number:016x}", name, number + 1,
            )  # fmt: skip
        code, found = await client.get("/api/v1/failures", experiment="a", limit=1)
        assert (await client.get("/api/v1/failures", since="nan"))[0] == 400
    assert code == 200
    assert [(line["fingerprint"][-1], line["class_"], line["results"]) for line in found["failures"]] == [
        ("1", "KeyError", 2)
    ]
    assert (found["fingerprints"], found["results"]) == (2, 3)


def journal_of(world: World, kinds: str) -> list[int]:
    """Write entries of these kinds (their first letters); their ids."""
    names = {"c": "credit", "a": "abort"}
    first = int(world.value("SELECT COALESCE(MAX(id), 0) FROM axiomd_journal")) + 1
    ids = list(range(first, first + len(kinds)))
    rows = ",".join(
        f"({id_}, {world.now}, '{names[kind]}', 'test', 'axiomd', 1, '{{}}')"
        for id_, kind in zip(ids, kinds, strict=True)
    )
    world.execute(f"INSERT INTO axiomd_journal (id, at, kind, cause, actor, changes, detail) VALUES {rows}")
    return ids


JOURNAL: dict[str, dict[str, Any]] = {
    "newest first": {"expected": [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]},
    "oldest first": {"after": 0, "expected": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]},
    "one kind": {"kind": "abort", "expected": [9, 2, 1]},
    "one kind, oldest first": {"kind": "abort", "after": 0, "expected": [1, 2, 9]},
    "a kind that isn't there": {"kind": "repair", "expected": []},
}


async def test_pages_of_the_journal_follow_each_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LOOKED_AT", 3)
    async with served(world) as client:
        ids = journal_of(world, "caacccccca")
        world.execute("DELETE FROM axiomd_journal WHERE id = %s", ids[3])
        for name, case in JOURNAL.items():
            query = {key: value for key, value in case.items() if key != "expected"}
            cursor = "after" if "after" in query else "before"
            found: list[int] = []
            while True:
                code, page = await client.get("/api/v1/journal", limit=2, **query)
                assert code == 200
                assert len(page["entries"]) <= 2
                found += [entry["id"] for entry in page["entries"]]
                if page["next"] in {None, query.get(cursor)}:
                    break
                query[cursor] = page["next"]
            assert found == [ids[place] for place in case["expected"] if place != 3], name


async def test_a_part_of_the_journal(world: World) -> None:
    async with served(world) as client:
        ids = journal_of(world, "cccccc")
        _, page = await client.get("/api/v1/journal", after=ids[1], before=ids[4])
    assert [entry["id"] for entry in page["entries"]] == ids[2:4]


async def test_an_entry_with_the_rows_that_it_changed(world: World) -> None:
    host = with_quota(world, world.host(), 500)
    async with served(world) as client:
        _, answer = await client.intervene("exclude_host", "x", host=host, reason="too hot")
        code, entry = await client.get(f"/api/v1/journal/{answer['journal_id']}")
    assert code == 200
    assert (entry["kind"], entry["cause"], entry["actor"], entry["changes"]) == (
        "intervene", "exclude_host", "http:127.0.0.1", 1,
    )  # fmt: skip
    (changed,) = entry["changed"]
    assert changed["row_id"] == host
    assert (entry["granted"], entry["made"], entry["complete"]) == ([], [], True)


async def test_a_large_entry_is_shown_in_part(world: World) -> None:
    async with served(world) as client:
        (id_,) = journal_of(world, "c")
        rows = ",".join(f"({number}, {id_}, 5, 6, 0, 0.5)" for number in range(1, 600))
        world.execute(
            f"INSERT INTO axiomd_ledger (result_id, journal_id, host_id, user_id, team_id, credit) VALUES {rows}"
        )
        _, entry = await client.get(f"/api/v1/journal/{id_}")
    assert entry["granted"][0] == {"result_id": 1, "host_id": 5, "credit": 0.5}
    assert (len(entry["granted"]), entry["complete"]) == (500, False)


async def test_no_entry(world: World) -> None:
    async with served(world) as client:
        assert (await client.get("/api/v1/journal/77"))[0] == 404


WRONG_QUERIES: dict[str, str] = {
    "a page too large": "hosts?limit=501",
    "no page": "hosts?limit=0",
    "no number": "hosts?limit=many",
    "a number below": "hosts?after=-1",
    "a number that no table holds": f"hosts?after={2**63}",
    "an unknown state": "hosts?state=asleep",
    "an unknown parameter": "hosts?offset=5",
    "a parameter twice": "hosts?limit=1&limit=2",
    "an unknown verdict": "findings?verdict=true",
    "a kind with quotes": "journal?kind='%20OR%201=1",
    "a null byte": "journal?kind=%00",
}


async def test_a_wrong_query_is_told(world: World) -> None:
    async with served(world) as client:
        for name, query in WRONG_QUERIES.items():
            code, found = await client.get(f"/api/v1/{query}")
            assert (code, list(found)) == (400, ["error"]), name


# What it changes.


async def test_the_interventions_with_the_schema_of_their_parameters(world: World) -> None:
    async with served(world, interventions={"http": ["pause"]}) as client:
        code, found = await client.get("/api/v1/interventions")
        registry = client.inside.interventions
        assert registry
    by_name = {one["name"]: one for one in found["interventions"]}
    assert code == 200
    assert list(by_name) == list(registry.by_name)
    assert "http" in by_name["pause"]["sources"]
    assert "http" not in by_name["resume"]["sources"]
    assert by_name["exclude_host"]["parameters"]["required"] == ["host"]


async def test_a_call_is_done_once(world: World) -> None:
    async with served(world) as client:
        first = await client.intervene("pause", "one", kind="topup")
        await client.intervene("resume", "two", kind="topup")
        again = await client.intervene("pause", "one", kind="topup")
    assert first[0] == again[0] == 200
    assert (first[1]["outcome"], first[1]["repeated"]) == ("done", False)
    assert again[1] == first[1] | {"repeated": True}
    assert world.value("SELECT value FROM axiomd_state WHERE name = 'paused:topup'") == 0
    assert world.value("SELECT caller FROM axiomd_intervention WHERE id = 'one'") == "http:127.0.0.1"


async def test_a_dry_run_changes_nothing(world: World) -> None:
    async with served(world) as client:
        code, answer = await client.intervene("pause", "one", dry_run=True, kind="topup")
    assert (code, answer["outcome"]) == (200, "planned")
    assert world.rows("SELECT * FROM axiomd_intervention") == []


@pytest.mark.parametrize("key", ["a-key", "0" * 64])
async def test_the_id_may_stand_in_the_fields_own_header(world: World, key: str) -> None:
    async with served(world) as client:
        client.headers["Idempotency-Key"] = key
        assert (await client.post(PAUSE, {"parameters": {"kind": "topup"}}))[0] == 200
        assert (await client.post(PAUSE, {"id": key, "parameters": {"kind": "topup"}}))[1]["repeated"]
    assert world.value("SELECT id FROM axiomd_intervention") == key


REFUSED: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "no id": ("pause", {"parameters": {"kind": "topup"}}, 400, "Idempotency-Key"),
    "an id with spaces": ("pause", BODY | {"id": "a b"}, 400, "id"),
    "an id over-long": ("pause", BODY | {"id": "a" * 65}, 400, "id"),
    "an unknown field": ("pause", BODY | {"force": True}, 400, "force"),
    "a dry run that is neither": ("pause", BODY | {"dry_run": "no"}, 400, "dry_run"),
    "an unknown intervention": ("destroy", BODY, 404, "there is no intervention"),
    "an unknown kind": ("pause", {"id": "one", "parameters": {"kind": "everything"}}, 422, "kind"),
    "no parameters": ("pause", {"id": "one"}, 422, "kind"),
    "a parameter of another type": ("exclude_host", {"id": "one", "parameters": {"host": "1"}}, 422, "host"),
    "a host that isn't there": ("exclude_host", {"id": "one", "parameters": {"host": 99}}, 409, "99"),
    "not allowed by HTTP": ("resume", BODY, 403, "http"),
    "a program that fails": ("transitioner_pass", {"id": "one"}, 502, "transitioner"),
}


async def test_what_is_refused_is_told_and_changes_nothing(world: World) -> None:
    program = world.folder / "bin" / "transitioner"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    async with served(world, interventions={"http": ["pause", "exclude_host", "transitioner_pass"]}) as client:
        for case, (name, body, expected, words) in REFUSED.items():
            code, found = await client.post(f"/api/v1/interventions/{name}", body)
            assert code == expected, (case, found)
            assert words in found["error"], (case, found)
    assert world.rows("SELECT * FROM axiomd_state WHERE name LIKE 'paused%%'") == []
    assert world.rows("SELECT * FROM axiomd_excluded") == []


async def test_two_different_ids_are_refused(world: World) -> None:
    async with served(world) as client:
        client.headers["Idempotency-Key"] = "two"
        assert (await client.post(PAUSE, BODY))[0] == 422


# The token.

WRONG_TOKENS: dict[str, str | None] = {
    "none": None,
    "another": "Bearer nonsense",
    "a part of it": f"Bearer {TOKEN[:-1]}",
    "more than it": f"Bearer {TOKEN}x",
    "an empty one": "Bearer ",
    "as a password": f"Basic {TOKEN}",
    "letters beyond ASCII": "Bearer \u00fc\u4e2d",
}


async def test_without_the_token_nothing_is_changed(world: World) -> None:
    before = counted("http_refused", reason="token")
    async with served(world) as client:
        for name, given in WRONG_TOKENS.items():
            headers = {"Authorization": given} if given else {}
            for path in (PAUSE, "/alertmanager"):
                async with client.session.post(client.address + path, headers=headers, data=b"not JSON") as answer:
                    assert answer.status == 401, name
                    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                    assert "http.token_file" in (await answer.json())["error"]
    assert world.rows("SELECT * FROM axiomd_intervention") == []
    assert counted("http_refused", reason="token") == before + 2 * len(WRONG_TOKENS)


async def test_an_empty_token_is_none(world: World) -> None:
    path = world.folder / "empty"
    async with served(world, {"token_file": path}) as client:
        for content in ("", "\n", "   \n"):
            path.write_text(content)
            for given in ("Bearer ", "Bearer  ", "Bearer"):
                client.headers = {"Authorization": given}
                code, found = await client.post(PAUSE, BODY)
                assert (code, "http.token_file" in found["error"]) == (403, True), (content, given)


async def test_without_a_token_in_the_settings_it_is_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    async with served(world, {"token_file": None}) as client:
        code, found = await client.post(PAUSE, BODY)
        assert (code, "http.token_file" in found["error"]) == (403, True)
        assert (await client.get("/api/v1/status"))[0] == 200


async def test_a_token_that_cannot_be_read_is_none(world: World) -> None:
    async with served(world, {"token_file": world.folder / "nowhere"}) as client:
        code, found = await client.post(PAUSE, BODY)
    assert (code, "nowhere" in found["error"]) == (403, False)


async def test_the_token_as_a_credential_of_systemd(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(world.folder))
    (world.folder / "axiomd_http_token").write_text(TOKEN)
    async with served(world, {"token_file": None}) as client:
        assert (await client.post(PAUSE, BODY))[0] == 200


async def test_a_new_token_holds_at_once(world: World) -> None:
    async with served(world) as client:
        (world.folder / "token").write_text("another one\n")
        assert (await client.post(PAUSE, BODY))[0] == 401
        client.headers = {"Authorization": "bearer another one"}
        assert (await client.post(PAUSE, BODY))[0] == 200


# Limits.

HOSTS: dict[str, tuple[str, bool]] = {
    "an address": ("127.0.0.1:9464", True),
    "another address": ("192.0.2.7", True),
    "an address of version 6": ("[::1]:9464", True),
    "one without a port": ("[::1]", True),
    "localhost": ("localhost:9464", True),
    "the configured one": ("boinc.lan:9464", True),
    "none, as of HTTP 1.0": ("", True),
    "another name": ("rebound.example:9464", False),
    "a name that ends like an address": ("127.0.0.1.rebound.example", False),
    "a name that begins like localhost": ("localhost.rebound.example", False),
}


@pytest.mark.parametrize(("host", "expected"), HOSTS.values(), ids=HOSTS)
def test_by_which_names_it_may_be_asked(host: str, expected: bool) -> None:
    assert names_this_machine(host, "boinc.lan") is expected


async def test_a_web_page_with_a_name_of_its_own_reads_nothing(world: World) -> None:
    async with served(world) as client:
        named = {"Host": "rebound.example"}
        async with client.session.get(client.address + "/api/v1/status", headers=named) as answer:
            assert (answer.status, list(await answer.json())) == (421, ["error"])
        async with client.session.get(client.address + "/api/v1/status", headers=named | client.headers) as answer:
            assert answer.status == 200
        async with client.session.get(client.address + "/metrics", headers=named) as answer:
            assert answer.status == 200


NOT_JSON: dict[str, bytes] = {
    "nothing": b"",
    "half of it": b'{"id": "one"',
    "text": b"pause topup",
    "binary": bytes(range(256)),
    "not a number": b'{"id": "one", "parameters": {"factor": NaN}}',
    "too deep": b'{"id": "one", "parameters": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
    "half a letter": b'{"id": "\\ud800"}',
    "a list": b"[]",
    "null": b"null",
}


async def test_what_is_not_json_is_refused(world: World) -> None:
    before = counted("http_refused", reason="unreadable")
    async with served(world) as client:
        for path in (PAUSE, "/alertmanager"):
            for name, body in NOT_JSON.items():
                code, found = await client.post(path, data=body)
                assert (code, list(found)) == (400, ["error"]), name
    assert counted("http_refused", reason="unreadable") == before + 2 * len(NOT_JSON)


async def stream(sent: list[int], size: int) -> AsyncIterator[bytes]:
    """A body of so many bytes, in pieces; what was asked for is noted."""
    piece = b" " * 65_536
    for _ in range(size // len(piece)):
        sent.append(len(piece))
        yield piece


async def test_a_body_of_100_mb_is_refused(world: World) -> None:
    before = counted("http_refused", reason="too_large")
    size = 100 * 1_048_576
    async with served(world) as client:

        async def send(path: str, **headers: str) -> int:
            sent: list[int] = []
            body = stream(sent, size)
            async with client.session.post(
                client.address + path, data=body, headers=client.headers | headers
            ) as answer:
                assert answer.status == 413
                assert "http.max_body" in (await answer.json())["error"]
                return sum(sent)

        # Its length told before, and in chunks.
        taken = await asyncio.gather(
            *(
                send(path, **length)
                for path in (PAUSE, "/alertmanager")
                for length in ({"Content-Length": str(size)}, {})
            )
        )
    assert max(taken) < size / 2
    assert counted("http_refused", reason="too_large") == before + 4


async def test_a_small_body_that_unpacks_to_a_large_one_is_refused(world: World) -> None:
    packed = gzip.compress(b" " * 50_000_000, 1)
    async with served(world) as client:
        assert len(packed) < client.settings.http.max_body
        client.headers["Content-Encoding"] = "gzip"
        assert (await client.post(PAUSE, data=packed))[0] == 413


async def test_a_request_that_dribbles_in_is_ended(world: World) -> None:
    """A byte now and then holds no connection for longer than http.timeout_s, in the headers or in the body."""
    head = f"POST {PAUSE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 1000\r\n\r\n"
    async with served(world, {"timeout_s": 0.5}) as client:
        host, port = client.address.removeprefix("http://").split(":")

        async def heard(reader: asyncio.StreamReader) -> bytes:
            """What the server said until it hung up; a byte that met a closed door makes that a reset."""
            said = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := await reader.read(4_096):
                    said += piece
            return said

        async def dribble(at_once: str, then: str) -> bytes:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(at_once.encode())
            answer = asyncio.create_task(heard(reader))
            for letter in then:
                if answer.done() or writer.is_closing():
                    break
                writer.write(letter.encode())
                await asyncio.wait([answer], timeout=0.05)
            said = await asyncio.wait_for(answer, 10)
            writer.close()
            return said

        async with asyncio.timeout(15):
            in_headers, in_body = await asyncio.gather(dribble("", head * 5), dribble(head, "x" * 1000))
    assert in_headers == b""
    assert in_body.startswith(b"HTTP/1.1 408 ")
    assert b"0.5 s" in in_body


async def test_too_many_requests_are_refused_but_not_those_with_the_token_nor_of_prometheus(world: World) -> None:
    before = counted("http_refused", reason="rate")
    async with served(world, {"requests_per_s": 5}) as client:
        codes = []
        for _ in range(30):
            async with client.session.get(client.address + "/api/v1/nothing") as answer:
                codes.append(answer.status)
                if answer.status == 429:
                    assert int(answer.headers["Retry-After"]) >= 1
                    assert "http.requests_per_s" in (await answer.json())["error"]
        assert (await client.post(PAUSE, BODY))[0] == 200
        async with client.session.get(client.address + "/metrics") as answer:
            assert answer.status == 200
    assert codes[:5] == [404] * 5
    assert codes.count(429) >= 10
    assert counted("http_refused", reason="rate") - before == codes.count(429)


async def test_what_has_no_address_is_json_too(world: World) -> None:
    before = counted("http_requests", route="unknown", code="404")
    async with served(world) as client:
        code, found = await client.get("/api/v2/hosts/17")
        assert (code, list(found)) == (404, ["error"])
        async with client.session.delete(client.address + "/api/v1/hosts/17") as answer:
            assert (answer.status, list(await answer.json())) == (405, ["error"])
            assert answer.headers["Allow"] == "GET"
    assert counted("http_requests", route="unknown", code="404") == before + 1


async def test_requests_are_counted_by_their_route(world: World) -> None:
    before = counted("http_requests", route="/api/v1/hosts/{id}", code="404")
    async with served(world) as client:
        for id_ in (1, 2, 3):
            await client.get(f"/api/v1/hosts/{id_}")
    assert counted("http_requests", route="/api/v1/hosts/{id}", code="404") == before + 3


# What can go wrong inside.

READS = ["status", "hosts", "hosts/1", "experiments", "findings", "failures", "journal", "journal/1", "interventions"]


async def test_before_the_project_was_read_all_but_the_description_waits() -> None:
    settings = HttpSettings(port=0)
    async with (
        http.serve(settings, nothing_in_the_way) as address,
        aiohttp.ClientSession() as session,
    ):
        for path in READS:
            async with session.get(f"{address}/api/v1/{path}") as answer:
                assert (answer.status, list(await answer.json())) == (503, ["error"]), path
        async with session.get(f"{address}/api/v1/openapi.json") as answer:
            assert answer.status == 200


async def test_without_the_database_it_says_so(world: World) -> None:
    async with served(world) as client:
        ground = client.inside.ground
        assert ground
        away = Database(Login("", 0, f"{world.folder}/no.sock", "none", "nobody", "secret word"))
        client.inside.ground = Ground(ground.settings, away, ground.project)
        client.inside.interventions = Interventions(client.inside.ground)
        for path in ("status", "hosts", "hosts/1", "experiments", "journal", "journal/1"):
            code, found = await client.get(f"/api/v1/{path}")
            assert code == 503, path
            assert found == {"error": "the database can't be reached: try again"}
        assert (await client.intervene("pause", "one", kind="topup"))[0] == 503


async def test_a_daemon_that_stands_by_changes_nothing(world: World) -> None:
    async with served(world) as client:
        registry, client.inside.interventions = client.inside.interventions, None
        assert (await client.intervene("pause", "one", kind="topup"))[0] == 503
        assert (await client.get("/api/v1/journal"))[0] == 200
        client.inside.interventions = registry
    assert world.rows("SELECT * FROM axiomd_intervention") == []


async def test_a_bug_is_told_without_a_traceback(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("inner words")

    monkeypatch.setattr("axiomd.views.journal.entry", broken)
    async with served(world) as client:
        code, found = await client.get("/api/v1/journal/1")
    assert code == 500
    assert list(found) == ["error"]
    assert "inner words" not in json.dumps(found)


async def test_an_answer_that_takes_too_long_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("axiomd.views.journal.entry", endless)
    async with served(world, {"timeout_s": 0.1}) as client:
        # More of them than may read at a time: those that wait for their turn end as well.
        answers = await asyncio.gather(*(client.get("/api/v1/journal/1") for _ in range(4)))
    assert {code for code, _ in answers} == {504}


async def test_a_request_in_hand_does_not_keep_the_daemon_from_stopping(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def endless(*_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("axiomd.views.journal.entry", endless)
    monkeypatch.setattr(http, "STOP_S", 0.1)
    async with asyncio.timeout(20), served(world) as client:
        request = asyncio.create_task(client.get("/api/v1/journal/1"))
        await asked.wait()
    with pytest.raises(aiohttp.ClientError):
        await request


async def test_a_dear_reading_is_kept_for_a_multiple_of_what_it_took() -> None:
    now = 100.0
    readings = 0

    async def read() -> int:
        nonlocal now, readings
        now += 2.0
        readings += 1
        return readings

    kept = Kept(read, lambda: now)
    assert [await kept.get(), await kept.get()] == [1, 1]
    now += 2.0 * KEPT_TIMES - 0.1
    assert await kept.get() == 1
    now += 0.2
    assert await kept.get() == 2


async def test_a_reading_that_fails_is_not_kept() -> None:
    async def read() -> int:
        raise KeyError

    kept = Kept(read)
    for _ in range(2):
        with pytest.raises(KeyError):
            await kept.get()
