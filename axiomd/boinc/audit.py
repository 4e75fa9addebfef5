"""The audit: does what axiomd wrote down agree with itself and with BOINC's tables? Reads only, and locks nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from axiomd.sql import Connection, load_statements

SQL = load_statements("axiomd.boinc", "audit.sql")

LIMIT = 100
"""Problems of a kind that are listed at most."""

# What must hold, each as the statement that finds where it doesn't, and how to say so.
_CONSERVATION = {
    "journal_differs": "journal entry {}: says {} credit, its ledger rows sum up to {}",
    "ledger_without_journal": "result {}: its ledger row names journal entry {}, which is not there",
    "results_differ": "result {}: the ledger granted {}, granted_credit is {}",
    "marks_differ": "result {}: in the ledger, but its mark is {} instead of 1 (paid)",
    "paid_without_ledger": "result {}: marked as paid, but not in the ledger",
    "hosts_differ": "host {}: the ledger granted {}, its account says {}",
    "users_differ": "user {}: the ledger granted {}, its account says {}",
    "teams_differ": "team {}: the ledger granted {}, its account says {}",
}
_TOTALS = {
    "host_totals_differ": "host {}: total_credit is {}, opening and grants explain {}",
    "user_totals_differ": "user {}: total_credit is {}, opening and grants explain {}",
    "team_totals_differ": "team {}: total_credit is {}, opening and grants explain {}",
}


@dataclass
class Audit:
    """What an audit found. `problems` are judged, `remarks` aren't."""

    ledger_rows: int = 0
    credit: float = 0.0
    purged: int = 0
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


async def audit(connection: Connection, *, strict: bool) -> Audit:
    """Check conservation of credit; `connection` must see one moment of the database.

    `strict` judges total_credit of hosts, users and teams too, which holds where axiomd alone grants.
    """
    rows, credit = (await connection.fetch(SQL["ledger_totals"]))[0]
    found = Audit(int(rows), float(credit))
    found.purged = int((await connection.fetch(SQL["purged_results"]))[0][0])
    for statement, words in _CONSERVATION.items():
        found.problems += [words.format(*row) for row in await connection.fetch(SQL[statement], {"limit": LIMIT})]
    for statement, words in _TOTALS.items():
        differing = [words.format(*row) for row in await connection.fetch(SQL[statement], {"limit": LIMIT})]
        (found.problems if strict else found.remarks).extend(differing)
    return found
