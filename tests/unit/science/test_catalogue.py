"""The server knows the experiments as data: it reads them and evaluates their claims without numerics."""

from __future__ import annotations

import subprocess
import sys


def test_a_claim_is_evaluated_without_importing_an_experiment_or_numpy() -> None:
    code = """
import sys
from axiomd.science import bundle, results
from axiomd.science.catalogue import read_catalogue
from experiments.kit.claims import effect, evaluate

entry = read_catalogue(None)["representation_alignment"]
claim = next(claim for claim in entry.claims if claim.name == "training_makes_the_rise_with_width")
measured = {claim.quantity: 0.27, claim.control: 0.47}
assert evaluate(claim, measured) == "contradicts"
assert abs(effect(claim, measured) + 0.2) < 1e-9
assert results.problems({"measured": measured}, entry)
assert "numpy" not in sys.modules
assert "experiments.representation_alignment" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
