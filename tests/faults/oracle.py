"""What must be true in the end, told from BOINC's rows and from what the run knows: independent of axiomd's audit.

Each result that deserves pay has its granted_credit and one row in axiomd's ledger, and each other has neither; who got
it is whom it belonged to at that very moment (the witness of tests/faults/project.py saw it); the totals are the sums;
each job that top-up meant to make is there once under its name; each final result was harvested once, with all that
hangs on it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from pymysql.connections import Connection

from axiomd.demo import rows
from axiomd.demo.rows import Row
from axiomd.demo.states import AssimilateState, Outcome, ServerState, ValidateState, WuError
from tests.faults.project import FAILURE_MIN_S, FAILURES, TIERS, Project

KINDS = {1: "host", 2: "user", 3: "team"}
MADE = 1  # axiomd_job.state

COPY = "job.workunit_name REGEXP '-b[0-9]+v[0-9]+-s[0-9]+$'"
"""A verification copy, which has the seed of another job."""

HARVEST = {
    "results marked as harvested without a measurement": "SELECT COUNT(*) AS n FROM axiomd_result a"
    " LEFT JOIN axiomd_measurement m ON m.result_id = a.result_id WHERE a.harvest_mark = 2 AND m.result_id IS NULL",
    "measurements whose mark isn't closed": "SELECT COUNT(*) AS n FROM axiomd_measurement m"
    " LEFT JOIN axiomd_result a ON a.result_id = m.result_id WHERE COALESCE(a.harvest_mark, 0) <> 2",
    "paid results of an experiment that weren't harvested": "SELECT COUNT(*) AS n FROM axiomd_ledger l"
    " LEFT JOIN axiomd_measurement m ON m.result_id = l.result_id WHERE m.result_id IS NULL",
}
GOOD = "outcome IN (1, 6)"
SUMS = {
    "results in the tallies": (
        "SELECT SUM(results) AS n FROM axiomd_tally",
        "SELECT COUNT(*) AS n FROM axiomd_measurement",
    ),
    "failures in the tallies": (
        "SELECT SUM(failures) AS n FROM axiomd_tally",
        f"SELECT COUNT(*) AS n FROM axiomd_measurement WHERE NOT {GOOD}",
    ),
    "failures by fingerprint": (
        "SELECT SUM(results) AS n FROM axiomd_failure",
        "SELECT COUNT(*) AS n FROM axiomd_measurement WHERE failure_id > 0",
    ),
    "independent results": (
        "SELECT COUNT(*) AS n FROM axiomd_replicate",
        f"SELECT COUNT(DISTINCT experiment, version, seed) AS n FROM axiomd_measurement WHERE {GOOD}",
    ),
}

UNVALIDATED = (
    "SELECT COUNT(*) AS n FROM result r JOIN workunit w ON w.id = r.workunitid"
    " WHERE server_state = 5 AND outcome = 1 AND validate_state IN (0, 4)"
)


def worth(result: Row) -> tuple[float, ...]:
    """What a result may have been granted, by the rule of the settings file."""
    seen = max(result["received_time"] - result["sent_time"], 0)
    over = result["server_state"] == ServerState.OVER
    cancelled = bool(result["error_mask"] & WuError.CANCELLED)
    if over and (result["outcome"], result["validate_state"]) == (Outcome.SUCCESS, ValidateState.VALID):
        if cancelled and not result["ended_by_axiomd"]:
            return (0.0,)
        counted = min(max(result["elapsed_time"], 0.0), seen)
        return (max(credit for start, credit in TIERS if counted >= start),)
    if over and result["outcome"] == Outcome.CLIENT_ERROR and seen >= FAILURE_MIN_S:
        credit = FAILURES.get(result["exit_status"], 0.0)
        # Looked at when its workunit is finished, or earlier where a late report was waited for. And paid if that was
        # before the workunit was cancelled, not if after: nobody can tell any more.
        unsure = cancelled or result["assimilate_state"] == AssimilateState.INIT
        return (0.0, credit) if unsure else (credit,)
    return (0.0,)


def unfinished(connection: Connection) -> list[str]:
    """What somebody still has to deal with, be it BOINC or axiomd."""
    counts = {
        "results that wait for the validator": UNVALIDATED,
        "reports that are lost": "SELECT COUNT(*) AS n FROM result WHERE server_state = 5 AND outcome = 4"
        " AND received_time > 0",
        "workunits that wait for the assimilator": "SELECT COUNT(*) AS n FROM workunit WHERE assimilate_state = 1",
        "results with an open mark that are final": "SELECT COUNT(*) AS n FROM axiomd_result a JOIN result r"
        " ON r.id = a.result_id WHERE a.credit_mark = 0 AND r.server_state = 5 AND r.outcome <> 4"
        " AND NOT (r.outcome = 1 AND r.validate_state IN (0, 3, 4))",
        "results that are to be harvested": "SELECT COUNT(*) AS n FROM axiomd_result a JOIN result r"
        " ON r.id = a.result_id WHERE a.harvest_mark = 1 AND r.server_state = 5 AND r.outcome <> 4"
        " AND NOT (r.outcome = 1 AND r.validate_state IN (0, 3, 4))",
        "jobs that were meant and aren't there": "SELECT COUNT(*) AS n FROM axiomd_job WHERE state = 0",
        "targeted jobs without target": "SELECT COUNT(*) AS n FROM workunit w WHERE transitioner_flags = 2"
        " AND assimilate_state = 0 AND error_mask = 0 AND canonical_resultid = 0"
        " AND NOT EXISTS (SELECT 1 FROM assignment a WHERE a.workunitid = w.id)"
        " AND NOT EXISTS (SELECT 1 FROM result r WHERE r.workunitid = w.id)",
    }
    found = {what: rows.select(connection, query)[0]["n"] for what, query in counts.items()}
    return [f"{count} {what}" for what, count in found.items() if count]


def problems(connection: Connection, project: Project) -> list[str]:
    """Everything that is wrong, a line for each row."""
    ledger = rows.select(connection, "SELECT * FROM axiomd_ledger")
    return [
        *unfinished(connection),
        *_results(connection, ledger),
        *_payees(connection, ledger),
        *_totals(connection, ledger, project),
        *_journal(connection, ledger),
        *_jobs(connection),
        *_harvest(connection),
    ]


def _results(connection: Connection, ledger: list[Row]) -> Iterator[str]:
    """Each result against the rule, and against its rows in the ledger."""
    by_result = defaultdict(list)
    for row in ledger:
        by_result[row["result_id"]].append(row)
    results = rows.select(
        connection,
        "SELECT r.id, r.hostid, r.server_state, r.outcome, r.validate_state, r.exit_status, r.elapsed_time,"
        " r.sent_time, r.received_time, r.granted_credit, w.error_mask, w.assimilate_state,"
        " e.workunit_id IS NOT NULL AS ended_by_axiomd"
        " FROM result r JOIN workunit w ON w.id = r.workunitid LEFT JOIN axiomd_ended e ON e.workunit_id = w.id",
    )
    for result in results:
        name, granted = f"result {result['id']}", result["granted_credit"]
        entries = by_result.pop(result["id"], [])
        deserved = worth(result)
        if granted not in deserved:
            yield f"{name}: granted {granted}, deserves {' or '.join(map(str, deserved))}"
        if len(entries) != (granted > 0):
            yield f"{name}: granted {granted}, and {len(entries)} rows in the ledger"
        for entry in entries:
            if (entry["generation"], entry["credit"], entry["host_id"]) != (0, granted, result["hostid"]):
                yield f"{name} of host {result['hostid']}: granted {granted}, the ledger says {entry}"
    yield from (f"result {result_id}: in the ledger, and not there" for result_id in by_result)


def _payees(connection: Connection, ledger: list[Row]) -> Iterator[str]:
    """Whom the ledger names against whom the witness saw."""
    told: dict[tuple[int, int, int], float] = defaultdict(float)
    for row in ledger:
        told[1, row["host_id"], row["user_id"]] += row["credit"]
        told[2, row["user_id"], row["team_id"]] += row["credit"]
        if row["team_id"]:
            told[3, row["team_id"], 0] += row["credit"]
    seen = {
        (row["kind"], row["id"], row["owner"]): row["credit"]
        for row in rows.select(
            connection, "SELECT kind, id, owner, SUM(credit) AS credit FROM witness GROUP BY kind, id, owner"
        )
    }
    for key in sorted(told.keys() | seen.keys()):
        if told.get(key, 0.0) != seen.get(key, 0.0):
            kind, id_, owner = key
            yield (
                f"{KINDS[kind]} {id_} while it belonged to {owner}: the ledger says {told.get(key, 0.0)},"
                f" {seen.get(key, 0.0)} was added"
            )


def _totals(connection: Connection, ledger: list[Row], project: Project) -> Iterator[str]:
    """total_credit against the ledger."""
    expected = Counter(project.openings)
    for row in ledger:
        for kind in KINDS.values():
            if id_ := row[f"{kind}_id"]:
                expected[kind, id_] += row["credit"]
    for key, total in project.totals(connection).items():
        if total != expected[key]:
            yield f"{key[0]} {key[1]}: total_credit is {total}, the ledger explains {expected[key]}"


def _journal(connection: Connection, ledger: list[Row]) -> Iterator[str]:
    """Every entry of credit against its ledger rows, and the counter of results paid."""
    counted: dict[int, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for row in ledger:
        count, credit = counted[row["journal_id"]]
        counted[row["journal_id"]] = (count + 1, credit + row["credit"])
    for entry in rows.select(connection, "SELECT id, changes, credit FROM axiomd_journal WHERE kind = 'credit'"):
        if (entry["changes"], entry["credit"]) != (found := counted.pop(entry["id"], (0, 0.0))):
            yield f"journal entry {entry['id']}: says {entry}, its ledger rows {found}"
    yield from (f"journal entry {journal_id}: not there, and has ledger rows" for journal_id in counted)
    state = rows.select(connection, "SELECT value FROM axiomd_state WHERE name = 'credited_count'")
    if state[0]["value"] != len(ledger):
        yield f"credited_count is {state[0]['value']}, the ledger has {len(ledger)} rows"


def _jobs(connection: Connection) -> Iterator[str]:
    """Top-up: no job twice, none lost, none that wasn't meant."""
    jobs = {row["workunit_name"]: row for row in rows.select(connection, "SELECT * FROM axiomd_job")}
    made = rows.select(
        connection,
        "SELECT w.id, w.name, w.transitioner_flags, w.error_mask, w.assimilate_state,"
        " (SELECT COUNT(*) FROM assignment a WHERE a.workunitid = w.id) AS assignments,"
        " (SELECT COUNT(*) FROM result r WHERE r.workunitid = w.id) AS results"
        " FROM workunit w WHERE w.name NOT LIKE 'fed-%%'",
    )
    for workunit in made:
        name = f"workunit {workunit['id']} ({workunit['name']})"
        job = jobs.pop(workunit["name"], None)
        if job is None:
            yield f"{name}: made, and never meant"
        elif job["state"] != MADE:
            yield f"{name}: it is there, and its job is in state {job['state']}"
        if workunit["assignments"] > 1:
            yield f"{name}: assigned {workunit['assignments']} times"
        # One that lost its assignment was freed: the transitioner makes a result for any host.
        if not (workunit["assignments"] or workunit["results"] or workunit["error_mask"]):
            yield f"{name}: neither an assignment nor a result: nobody will ever get it"
    # create_work is well all the while: nothing may be given up.
    yield from (f"job {name}: {job}, and no such workunit" for name, job in jobs.items())
    entries = rows.select(
        connection,
        "SELECT j.id, j.changes, COUNT(job.workunit_name) AS jobs,"
        f" COUNT(DISTINCT IF({COPY}, NULL, job.seed)) AS seeds, COALESCE(SUM({COPY}), 0) AS copies"
        " FROM axiomd_journal j LEFT JOIN axiomd_job job ON job.journal_id = j.id WHERE j.kind = 'topup' GROUP BY j.id",
    )
    for entry in entries:
        if not entry["changes"] == entry["jobs"] == entry["seeds"] + entry["copies"]:
            yield f"journal entry {entry['id']} of topup: {entry}"


def _harvest(connection: Connection) -> Iterator[str]:
    """Each mark of the harvest against its measurement, and the measurements against all that is counted of them."""
    for what, query in HARVEST.items():
        if count := rows.select(connection, query)[0]["n"]:
            yield f"{count} {what}"
    for what, (one, other) in SUMS.items():
        counted, found = (int(rows.select(connection, query)[0]["n"] or 0) for query in (one, other))
        if counted != found:
            yield f"{what}: {counted}, and the measurements say {found}"
