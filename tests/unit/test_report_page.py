"""A report as a page: strangers' text stays text, nothing comes from elsewhere, the same data give the same bytes."""

from __future__ import annotations

import errno
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from axiomd.views.failures import FailureLine
from axiomd.views.report_page import as_html, as_json, as_markdown, write
from axiomd.views.report_parts import (
    Amount,
    CleanUp,
    CoresPoint,
    CreditPart,
    DayCredit,
    Deployment,
    ExperimentResults,
    FindingPart,
    HeldHost,
    HostCredit,
    IndependencePart,
    Next,
    Point,
    Report,
    SharePoint,
    Summary,
    UserCredit,
    VerificationPart,
)

AT = 1_772_323_200.0
DAY = 86_400.0
HOSTILE = "<script>alert('1')</script> | `x` [y](http://evil.example) \x1b[31m\n# heading"


def made(**more: Any) -> Report:
    """A report with something of everything."""
    course = [
        Point(at=AT + n, seeds=n, effect=1.3 + 1 / n, low=1.2 - 2 / n if n > 5 else None, high=1.5 + 3 / n)
        for n in range(1, 41)
    ]
    parts: dict[str, Any] = {
        "project": "axiom",
        "since": AT,
        "until": AT + 7 * DAY,
        "written_at": AT + 7 * DAY,
        "sealed_before": None,
        "summary": Summary(
            results=300,
            good=250,
            failed=50,
            silent=20,
            hosts=12,
            users=5,
            credited=290,
            credit=5720.5,
            refused={"failed": 10},
            undecided=2,
            aborted=4,
            repaired=9979,
            deployed=1834,
        ),
        "next": [Next(urgency="now", subject="toy v1", words="all 20 good results have one seed")],
        "credit": CreditPart(
            by_amount=[Amount(credit=25, results=33, total=825), Amount(credit=15, results=41, total=615)],
            other_amounts=Amount(credit=0, results=3, total=30),
            by_user=[UserCredit(id=40, name=HOSTILE, results=120, hosts=4, credit=4960)],
            other_users=3,
            by_host=[HostCredit(id=332, ncpus=32, ngpus=1, results=50, credit=2015)],
            other_hosts=0,
            by_day=[DayCredit(at=AT + n * DAY, credit=700 + 50 * n) for n in range(7)],
        ),
        "clean_up": CleanUp(aborted={"host_silent": 4}, repaired={"orphaned": 9979}, interventions=[]),
        "experiments": [
            ExperimentResults(
                experiment="toy",
                version=1,
                gpu=False,
                results=300,
                good=250,
                partial=5,
                empty=10,
                refused=5,
                failed=30,
                silent=20,
                died=3,
                mean_s=113.0,
                mean_all_s=99.0,
            )
        ],
        "failures": [
            FailureLine(
                fingerprint="0" * 16,
                experiment="toy",
                version=1,
                class_="KeyError",
                place="",
                detail=HOSTILE,
                results=30,
                hosts=7,
                first_at=AT,
                last_at=AT + DAY,
            )
        ],
        "other_failures": 0,
        "findings": [
            FindingPart(
                experiment="toy",
                version=1,
                claim="wider_is_worse",
                statement="The gap grows with the width <of the network>.",
                verdict="reproduced" if number % 2 else "open",
                level="definitive",
                settled_at=AT,
                seeds=40,
                hosts=12,
                supported=38,
                contradicted=1,
                effect=1.325,
                interval=(1.2, None),
                bound=0.5,
                e_value=1e6,
                bar=4000.0,
                missing=0,
                course=course,
            )
            for number in range(2)
        ],
        "independence": [
            IndependencePart(
                experiment="toy",
                version=1,
                results=250,
                seeds=240,
                fresh=240,
                discounted=10,
                hosts=12,
                users=5,
                platforms=["Linux", "Windows"],
                status="240 of 250 independent",
            )
        ],
        "verification": VerificationPart(agreed=12, disagreed=0, disputed=[]),
        "stopped": [],
        "ended": [],
        "deployments": [Deployment(experiment="toy", at=AT, made=1834, waiting=0, given_up=0)],
        "deployed_hosts": 78,
        "hosts": [HeldHost(id=63, state="excluded", since=AT, until=0, reason=HOSTILE, actor=HOSTILE)],
        "failure_share": [
            SharePoint(at=AT + n * DAY, experiment=name, version=1, results=50, failures=2 * n + k)
            for n in range(7)
            for k, name in enumerate(("toy", "other_toy"))
        ],
        "failure_step_s": DAY,
        "cores": [CoresPoint(at=AT + n * 6000, hosts=80, cores=2000, idle=200 + 5 * (n % 40)) for n in range(100)],
    }
    return Report(**parts | more)


class Tags(HTMLParser):
    """Every tag of a page, what it names, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> str:
    return as_html(made())


def test_a_page_needs_nothing_else_and_runs_nothing(page: str) -> None:
    found = Tags(page)
    assert "script" not in found.tags
    assert not {"link", "iframe", "object", "img", "form", "base"}.intersection(found.tags)
    assert found.tags.count("svg") == 4
    names = {name for name, _ in found.attributes}
    assert not [name for name in names if name.startswith("on")]
    elsewhere = [value for name, value in found.attributes if name in ("href", "src", "xlink:href")]
    assert elsewhere
    assert all(value.startswith("#") for value in elsewhere)
    assert not re.findall(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in dict(found.attributes)["content"] or "default-src &#39;none" in page


def test_what_strangers_wrote_stays_text(page: str) -> None:
    assert Tags(page).text.count("<script>alert('1')</script>") == 4
    assert "The gap grows with the width <of the network>." in Tags(page).text


def test_a_page_has_the_figures(page: str) -> None:
    text = " ".join(Tags(page).text.split())
    for figure in ("5,720.5", "9,979", "1,834", "113 s", "240 of 250 independent", "1.2 to -", "Credit by day"):
        assert figure in text
    assert page.count("currentColor") > 80
    assert "#010203" not in page


def test_the_same_data_give_the_same_bytes(page: str) -> None:
    assert as_html(made()) == page


def test_markdown_is_safe_on_a_terminal() -> None:
    text = as_markdown(made())
    assert "\x1b" not in text
    assert "\n# heading" not in text
    assert "\\<script\\>" in text
    assert re.search(r"\| 25 \| 33 \| 825 \|", text)


def test_json_is_the_data() -> None:
    assert Report.model_validate(json.loads(as_json(made()))) == made()


def test_an_empty_period_has_a_report() -> None:
    nothing = Summary(**dict.fromkeys(Summary.model_fields, 0) | {"refused": {}})
    credit = CreditPart(
        by_amount=[],
        other_amounts=Amount(credit=0, results=0, total=0),
        by_user=[],
        other_users=0,
        by_host=[],
        other_hosts=0,
        by_day=[],
    )
    lists = ("next", "experiments", "failures", "findings", "independence", "deployments", "hosts", "failure_share")
    empty = made(summary=nothing, credit=credit, cores=[], sealed_before=AT + DAY, **{name: [] for name in lists})
    assert "svg" not in Tags(as_html(empty)).tags
    assert "Nothing stands out." in as_html(empty)
    assert "summed up and deleted" in as_markdown(empty)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.html"
    write(file, "old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(file, "new")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]  # noqa: PTH208
