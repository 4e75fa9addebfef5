"""What the demo's volunteers upload: a copy says its own seed, an equal seed has equal numbers, a cheat's differ."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from axiomd.demo import content, workshop
from axiomd.demo.config import Config
from axiomd.demo.workshop import Output, Run, Task, Workshop

RESULT = {"experiment": "a", "seed": 7, "measured": {"x": 2.0, "rows": [[1, 0.1], [3]]}}


def test_a_copy_says_its_own_seed_and_keeps_its_numbers() -> None:
    assert json.loads(content.with_seed(json.dumps(RESULT).encode(), 9)) == RESULT | {"seed": 9}


def test_a_cheat_changes_every_number() -> None:
    found = json.loads(content.cheated(json.dumps(RESULT).encode()))
    lie = content.LIE
    assert found == RESULT | {"measured": {"x": 2.0 * lie, "rows": [[lie, 0.1 * lie], [3 * lie]]}}


@pytest.mark.parametrize("output", [b"", b"[1]", b"{", b"\xff"])
def test_what_is_no_result_stays_as_it_is(output: bytes) -> None:
    assert content.with_seed(output, 9) == content.cheated(output) == output


def test_an_equal_seed_has_equal_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, Config(), slots=1, seed=5)
    outputs = [Output(json.dumps(RESULT | {"measured": {"x": n}}).encode(), 0.0) for n in range(50)]
    computing = Task("a-v1-b1-s5", "r0", "in")
    shop._outputs["in"], shop._seen = outputs, {"in"}
    shop._running = [Run(computing, time.monotonic())]
    monkeypatch.setattr(workshop, "children", None)  # nothing is started here

    assert shop.start(Task("a-v1-b2v1-s5", "r1", "in")) is None  # its numbers are being computed
    found = {}
    for batch in ("b1", "b2v1"):
        for seed in range(10, 30):
            run = shop.start(Task(f"a-v1-{batch}-s{seed}", "r", "in"))
            assert run is not None
            output = shop.finish(run)
            assert output is not None
            found[batch, seed] = json.loads(output.content)
    assert all(result["seed"] == seed for (_, seed), result in found.items())
    assert all(found["b1", seed] == found["b2v1", seed] for seed in range(10, 30))
    assert len({result["measured"]["x"] for result in found.values()}) > 5
