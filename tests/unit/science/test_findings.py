"""The file of findings: what is taken from it, and which files are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.errors import SettingsError
from axiomd.science.catalogue import read_catalogue
from axiomd.science.findings import LARGEST_FILE, VERDICTS, read_findings
from axiomd.science.verdicts import Conclusion
from experiments.kit.claims import is_number

CATALOGUE = read_catalogue(None)
CLAIMS = [(entry.name, claim.name) for entry in CATALOGUE.values() for claim in entry.claims]


def row(claim: tuple[str, str] = CLAIMS[0], **columns: Any) -> dict[str, Any]:
    """A finding as `axiomd experiments replicate --json` prints one."""
    finding = {
        "experiment": claim[0],
        "claim": claim[1],
        "seeds": 8,
        "supported": 7,
        "contradicted": 1,
        "effect": 0.5,
        "interval": [0.25, 0.75],
        "quantity": 2,
        "control": 1.5,
        "control_effect": -0.125,
        "logged": "large",
        "verdict": "reproduced",
        "seconds": 12.5,
    }
    return finding | columns


def write(folder: Path, content: object) -> Path:
    path = folder / "findings.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_the_verdicts_are_those_that_replications_come_to_and_open() -> None:
    assert (*get_args(Conclusion), "open") == VERDICTS


def test_without_a_file_every_claim_is_open_and_has_no_numbers() -> None:
    findings = read_findings(None, CATALOGUE)
    assert [(finding.experiment, finding.claim) for finding in findings] == CLAIMS
    assert {finding.verdict for finding in findings} == {"open"}
    first = findings[0]
    assert (first.seeds, first.effect, first.interval, first.control_effect) == (0, None, None, None)
    assert first.version == CATALOGUE[first.experiment].version
    assert first.statement == CATALOGUE[first.experiment].claims[0].statement


def test_what_the_file_says_is_taken_over_and_the_rest_is_open(tmp_path: Path) -> None:
    path = write(tmp_path, [row(CLAIMS[1]), row(("another experiment", "of another catalogue"))])
    first, second, *others = read_findings(path, CATALOGUE)
    assert (second.verdict, second.seeds, second.supported, second.contradicted) == ("reproduced", 8, 7, 1)
    assert (second.effect, second.interval, second.quantity, second.control) == (0.5, (0.25, 0.75), 2.0, 1.5)
    assert second.control_effect == -0.125
    assert {finding.verdict for finding in [first, *others]} == {"open"}


def test_a_finding_without_numbers_is_one(tmp_path: Path) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("effect", "interval", "quantity", "control", "control_effect"))
    path = write(tmp_path, [row(seeds=1, supported=0, contradicted=0, verdict="too few seeds", **nothing)])
    assert read_findings(path, CATALOGUE)[0].verdict == "too few seeds"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param(None, "No such file", id="no file"),
        pytest.param(b"", "EOF", id="empty"),
        pytest.param(b"\x00\xff\xfe", "expected value", id="binary"),
        pytest.param(b"[" * 100_000, "recursion limit", id="deep"),
        pytest.param({"findings": []}, "should be a valid (list|array)", id="no list"),
        pytest.param([row() | {"verdict": "proven"}], r"0\.verdict", id="a verdict that isn't one"),
        pytest.param([row(seeds=-1)], r"0\.seeds", id="a negative count"),
        pytest.param([row(seeds="8")], r"0\.seeds", id="a count as text"),
        pytest.param([row(effect=float("nan"))], r"0\.effect", id="not a number"),
        pytest.param([row(interval=[1.0])], r"0\.interval", id="half an interval"),
        pytest.param([{"experiment": "x"}], "0.claim: Field required", id="without a claim"),
        pytest.param([row(), row()], "twice", id="a claim twice"),
        pytest.param(b" " * (LARGEST_FILE + 1), "more than 1 MiB", id="too large"),
    ],
)
def test_what_is_no_file_of_findings_is_refused(tmp_path: Path, content: object, complaint: str) -> None:
    path = tmp_path / "findings.json" if content is None else write(tmp_path, content)
    with pytest.raises(SettingsError, match=complaint) as refusal:
        read_findings(path, CATALOGUE)
    message = str(refusal.value)
    assert message.startswith(f"daemon.findings: {path}")
    assert "axiomd experiments replicate --json" in message
    assert len(message) < 500


@given(
    seeds=st.integers(0, 2**63 - 1),
    effect=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    verdict=st.sampled_from(get_args(Conclusion)),
)
def test_numbers_come_through_exactly(
    tmp_path_factory: pytest.TempPathFactory, seeds: int, effect: float | None, verdict: str
) -> None:
    path = write(tmp_path_factory.getbasetemp(), [row(seeds=seeds, effect=effect, verdict=verdict)])
    found = read_findings(path, CATALOGUE)[0]
    assert (found.seeds, found.effect, found.verdict) == (seeds, effect, verdict)
    assert found.effect is None or is_number(found.effect) or abs(found.effect) >= 1e300
