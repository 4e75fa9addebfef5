"""What to look at next: each line of advice by the facts that call for it, and silence where nothing does."""

from __future__ import annotations

import pytest

from axiomd.policies.advice import MOST_OF_A_KIND, Evidence, Facts, OpenClaim, Service, Urgency, Work, advise
from axiomd.policies.advice import independence as in_words


def work(**more: object) -> Facts:
    return Facts(work=[Work(**{"experiment": "toy", "version": 2, "results": 100} | more)])  # type: ignore[arg-type]


def evidence(**more: object) -> Facts:
    given = {"results": 20, "fresh": 20, "seeds": 20, "different": 20, "hosts": 5} | more
    return Facts(evidence=[Evidence("toy", 2, **given)])  # type: ignore[arg-type]


def claim(missing: int) -> Facts:
    return Facts(claims=[OpenClaim("toy", "grows", 12, missing)])


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        pytest.param(Facts(), [], id="nothing known"),
        pytest.param(Facts(service=Service(audit_problems=3)), [(1, "credit", "found 3 problems")], id="the audit"),
        pytest.param(Facts(service=Service(paused=[("credit", "paused")])), [(1, "credit", "paused")], id="a pause"),
        pytest.param(
            Facts(service=Service(waiting=7, waiting_s=7300)), [(1, "intake", "7 finished results wait")], id="backlog"
        ),
        pytest.param(Facts(service=Service(waiting=7, waiting_s=60)), [], id="a backlog of a minute"),
        pytest.param(work(), [], id="all good"),
        pytest.param(work(failed=30), [], id="failures at the bar"),
        pytest.param(work(failed=31), [(2, "toy v2", "31 of 100 results failed")], id="failures above the bar"),
        pytest.param(work(results=5, failed=5), [], id="too few to say"),
        pytest.param(work(failed=50, stopped=True), [(1, "toy v2", "count up its version")], id="stopped"),
        pytest.param(work(failed=6, silent=6), [(2, "toy v2", "6 results that BOINC calls a success")], id="silent"),
        pytest.param(work(failed=6, silent=2), [], id="two silent ones"),
        pytest.param(work(failed=10, died=10, gpu=True), [(2, "toy v2 (GPU)", "died of a limit")], id="limits"),
        pytest.param(evidence(), [], id="all independent"),
        pytest.param(
            evidence(seeds=1, different=1, fresh=1), [(1, "toy v2", "all 20 good results have one seed")], id="one seed"
        ),
        pytest.param(evidence(different=1, fresh=1), [(1, "toy v2", "doesn't use its seed")], id="the same numbers"),
        pytest.param(evidence(different=1, fresh=1, numbered=False), [(2, "toy v2", "only 1 of 20")], id="no numbers"),
        pytest.param(evidence(fresh=9), [(2, "toy v2", "only 9 of 20")], id="mostly copies"),
        pytest.param(evidence(fresh=10), [], id="half of them copies"),
        pytest.param(evidence(results=2, seeds=1, different=1, fresh=1), [], id="a pair"),
        pytest.param(
            claim(missing=4), [(3, "toy", "about 4 more seeds like the 12 so far would settle grows")], id="near"
        ),
        pytest.param(
            Facts(claims=[*claim(missing=9).claims, *claim(missing=4).claims]),
            [(3, "toy", "about 4 more seeds like the 12 so far would settle grows, and 9 all of 2 claims")],
            id="two that are near",
        ),
        pytest.param(claim(missing=0), [], id="settled"),
        pytest.param(claim(missing=500), [], id="far from its bar"),
        pytest.param(Facts(disputed=[("toy", 2, 7, "platform")]), [(1, "toy v2", "operating systems")], id="platforms"),
        pytest.param(Facts(disputed=[("toy", 2, 7, "host")]), [(3, "verification", "it is excluded")], id="a cheat"),
        pytest.param(
            Facts(disputed=[("toy", 2, 7, "open")]),
            [(3, "verification", "1 seeds have results that disagree")],
            id="not decided",
        ),
        pytest.param(Facts(held_hosts=2), [(3, "hosts", "2 of them get no work")], id="hosts"),
        pytest.param(Facts(idle_share=0.31), [(2, "fleet", "31%")], id="idle cores"),
        pytest.param(Facts(idle_share=0.3), [], id="some idle cores"),
    ],
)
def test_advice(facts: Facts, said: list[tuple[int, str, str]]) -> None:
    found = advise(facts)
    assert [(one.urgency, one.subject) for one in found] == [(urgency, subject) for urgency, subject, _ in said]
    for one, (_, _, words) in zip(found, said, strict=True):
        assert words in one.words


def test_the_most_urgent_comes_first_and_one_kind_does_not_fill_the_page() -> None:
    disputed = [("toy", 1, seed, "platform") for seed in range(50)]
    found = advise(Facts(disputed=disputed, held_hosts=1, idle_share=0.9))
    assert [one.urgency for one in found] == sorted(one.urgency for one in found)
    assert len([one for one in found if one.urgency is Urgency.NOW]) == MOST_OF_A_KIND
    assert f"{50 - MOST_OF_A_KIND} more" in {one.words for one in found}


@pytest.mark.parametrize(
    ("results", "fresh", "seeds", "different", "words"),
    [
        (21, 1, 1, 1, "one seed: 21 results are one replicate"),
        (21, 1, 21, 1, "the same numbers for 21 seeds: one replicate"),
        (21, 20, 20, 20, "20 of 21 independent"),
        (21, 21, 21, 21, "independent"),
        (1, 1, 1, 1, "independent"),
        (1, 0, 1, 1, "0 of 1 independent"),
    ],
)
def test_independence_in_words(results: int, fresh: int, seeds: int, different: int, words: str) -> None:
    assert in_words(Evidence("toy", 1, results, fresh, seeds, different, hosts=3)) == words
