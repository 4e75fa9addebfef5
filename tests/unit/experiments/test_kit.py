from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.kit.data import GaussianMixture
from experiments.kit.descent import descend
from experiments.kit.encoder import Measured, encode, finite_only, plain
from experiments.kit.measures import (
    at_loss,
    chance_earlier,
    effective_rank,
    fit_power_law,
    hutchinson_trace,
    linear_cka,
    lyapunov_exponent,
    participation_ratio,
)
from experiments.kit.networks import (
    accuracy,
    cross_entropy,
    forward,
    log_softmax,
    new_networks,
    parameter_count,
    sgd_step,
    stretches,
)
from experiments.kit.seeds import generator
from experiments.kit.stages import BatchStage, Checkpoint, Deadline, Stage, follow, follow_batch, of_each_seed

RNG = np.random.default_rng


# Measures.


def _cka_by_gram_matrices(x: Any, y: Any) -> float:
    """The same quantity the long way round: HSIC of linear kernels, centred by H = 1 - 11'/n (Gretton et al. 2005)."""
    n = len(x)
    center = np.eye(n) - 1 / n
    k, m = center @ x @ x.T @ center, center @ y @ y.T @ center
    return float(np.trace(k @ m) / math.sqrt(np.trace(k @ k) * np.trace(m @ m)))


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(1, 8))
def test_cka_agrees_with_its_definition_by_gram_matrices(seed: int, first: int, second: int) -> None:
    rng = RNG(seed)
    x, y = rng.normal(2, 1, (30, first)), rng.normal(-1, 3, (30, second))
    assert linear_cka(x, y) == pytest.approx(_cka_by_gram_matrices(x, y))


def test_cka_does_not_see_rotation_scale_and_shift() -> None:
    rng = RNG(1)
    x = rng.normal(size=(50, 6))
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    assert linear_cka(x, 3 * x @ rotation + 5) == pytest.approx(1)


def test_cka_of_uncorrelated_features_is_zero() -> None:
    x, y = np.array([[1.0], [1], [-1], [-1]]), np.array([[1.0], [-1], [1], [-1]])
    assert linear_cka(x, y) == 0


def test_cka_of_a_constant_representation_is_not_a_number() -> None:
    assert math.isnan(linear_cka(np.ones((5, 2)), RNG(1).normal(size=(5, 2))))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_chance_earlier_counts_all_pairs(first: list[int], second: list[int]) -> None:
    pairs = [1.0 if a < b else 0.5 if a == b else 0.0 for a in first for b in second]
    counted = chance_earlier(np.array(first, dtype=float), np.array(second, dtype=float))
    assert counted == pytest.approx(sum(pairs) / len(pairs))


def test_what_is_never_learned_comes_last() -> None:
    assert chance_earlier(np.array([3.0]), np.array([np.inf])) == 1
    assert chance_earlier(np.array([np.inf]), np.array([np.inf])) == 0.5


def test_chance_earlier_of_nothing_is_not_a_number() -> None:
    assert math.isnan(chance_earlier(np.array([]), np.array([1.0])))


@given(st.floats(-3, 3).filter(lambda exponent: abs(exponent) > 0.01), st.floats(0.1, 10))
def test_a_power_law_gives_its_exponent_back(exponent: float, factor: float) -> None:
    x = np.array([1.0, 2, 5, 10, 100])
    law = fit_power_law(x, factor * x**-exponent)
    assert law.exponent == pytest.approx(exponent)
    assert law.r2 == pytest.approx(1)


def test_r2_is_the_squared_correlation_of_the_logarithms() -> None:
    x, y = np.array([1.0, 2, 4, 8]), np.array([5.0, 1, 3, 2])
    assert fit_power_law(x, y).r2 == pytest.approx(np.corrcoef(np.log(x), np.log(y))[0, 1] ** 2)


def test_what_does_not_vary_is_a_power_law_of_exponent_zero() -> None:
    assert fit_power_law(np.array([1.0, 2, 3]), np.array([0.1, 0.1, 0.1])) == (0, 1)


@pytest.mark.parametrize("y", [[1.0, 0.0, 2.0], [1.0, -1.0, 2.0]])
def test_a_fit_that_does_not_exist_is_not_a_number(y: list[float]) -> None:
    assert all(map(math.isnan, fit_power_law(np.array([1.0, 2, 3]), np.array(y))))


def test_a_value_is_read_off_where_the_loss_passes_on_a_logarithmic_scale() -> None:
    losses, values = np.array([1.0, 0.1, 0.3, 0.01]), np.array([0.0, 0.4, 0.4, 0.6])
    assert at_loss(0.1, losses, values) == pytest.approx(0.4)
    assert at_loss(math.sqrt(0.001), losses, values) == pytest.approx(0.5)
    assert at_loss(2.0, losses, values) == 0
    assert at_loss(0.001, losses, values) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("eigenvalues", "directions"),
    [([1, 1, 1, 1], 4), ([5, 0, 0], 1), ([1, 1, 0, 0], 2), ([2, 1], 9 / 5)],
)
def test_the_participation_ratio_counts_directions(eigenvalues: list[float], directions: float) -> None:
    assert participation_ratio(np.array(eigenvalues, dtype=float)) == pytest.approx(directions)


@pytest.mark.parametrize(
    ("singular_values", "rank"),
    [([3, 3, 3], 3), ([7, 0], 1), ([3, 1], math.exp(0.75 * math.log(4 / 3) + math.log(4) / 4))],
)
def test_the_effective_rank_is_the_exponential_of_an_entropy(singular_values: list[float], rank: float) -> None:
    assert effective_rank(np.array(singular_values, dtype=float)) == pytest.approx(rank)


def test_a_spectrum_of_zeros_has_no_dimension() -> None:
    assert math.isnan(participation_ratio(np.zeros(3)))
    assert math.isnan(effective_rank(np.zeros(3)))


def test_hutchinson_finds_the_trace_within_its_error() -> None:
    rng = RNG(8)
    a = rng.normal(size=(20, 20))
    a += a.T
    trace, error = hutchinson_trace(lambda v: a @ v, rng, 20, 2000)
    assert abs(trace - np.trace(a)) < 4 * error
    # The variance of one estimate is twice the sum of the squared entries off the diagonal (Hutchinson 1989).
    off_diagonal = (a**2).sum() - (np.diagonal(a) ** 2).sum()
    assert error == pytest.approx(math.sqrt(2 * off_diagonal / 2000), rel=0.1)


def test_hutchinson_is_exact_for_a_diagonal_matrix() -> None:
    assert hutchinson_trace(lambda v: np.array([1.0, 2, 3]) * v, RNG(9), 3, 5) == pytest.approx((6, 0))


def test_the_lyapunov_exponent_of_the_logistic_map_is_that_of_the_books() -> None:
    x, growths = 0.3, []
    for _ in range(20_000):
        growths.append(abs(4 - 8 * x))
        x = 4 * x * (1 - x)
    assert lyapunov_exponent(np.array(growths)) == pytest.approx(math.log(2), abs=0.01)  # of r = 4: ln 2


# Networks.


def test_one_step_follows_the_gradient_of_the_loss() -> None:
    rng = RNG(3)
    x, y = rng.normal(size=(1, 20, 4)).astype(np.float32), rng.integers(3, size=(2, 20))
    layers: Any = [(w.astype(np.float64), b.astype(np.float64)) for w, b in new_networks(rng, 2, (4, 6, 5, 3))]
    stepped: Any = [(w.copy(), b.copy()) for w, b in layers]
    sgd_step(stepped, x, y, 1.0)
    for (w, _), (after, _) in zip(layers, stepped, strict=True):
        for network in range(2):
            w[network, 1, 2] += 1e-5
            up = cross_entropy(forward(layers, x)[-1], y)[network]
            w[network, 1, 2] -= 2e-5
            down = cross_entropy(forward(layers, x)[-1], y)[network]
            w[network, 1, 2] += 1e-5
            assert w[network, 1, 2] - after[network, 1, 2] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-7)


def test_networks_of_a_stack_do_not_see_each_other() -> None:
    rng = RNG(4)
    both = new_networks(rng, 2, (4, 6, 3))
    alone = [(w[:1].copy(), b[:1].copy()) for w, b in both]
    x, y = rng.normal(size=(2, 10, 4)).astype(np.float32), rng.integers(3, size=(2, 10))
    sgd_step(both, x, y, 0.1)
    sgd_step(alone, x[:1], y[:1], 0.1)
    for (w, b), (w_alone, b_alone) in zip(both, alone, strict=True):
        np.testing.assert_allclose(w[:1], w_alone, rtol=1e-6)
        np.testing.assert_allclose(b[:1], b_alone, rtol=1e-6, atol=1e-8)


def test_each_network_may_have_a_rate_of_its_own() -> None:
    rng = RNG(5)
    both = new_networks(rng, 2, (4, 6, 3))
    alone = [(w[1:].copy(), b[1:].copy()) for w, b in both]
    still = both[0][0][0].copy()
    x, y = rng.normal(size=(1, 10, 4)).astype(np.float32), rng.integers(3, size=(1, 10))
    sgd_step(both, x, y, np.array([0.0, 0.3], dtype=np.float32).reshape(2, 1, 1))
    sgd_step(alone, x, y, 0.3)
    np.testing.assert_array_equal(both[0][0][0], still)
    np.testing.assert_allclose(both[0][0][1:], alone[0][0], rtol=1e-6)


@pytest.mark.parametrize(
    ("steps", "shares", "taken"),
    [
        pytest.param(100, [0.1, 0.5, 1.0], [10, 50, 100], id="shares of the steps"),
        pytest.param(100, [0.0, 1.0], [0, 100], id="before the first step"),
        pytest.param(1, [0.0, 0.01, 0.1, 1.0], [0, 1, 1, 1], id="at least one step"),
    ],
)
def test_measurements_stand_at_shares_of_the_steps(steps: int, shares: list[float], taken: list[int]) -> None:
    step, measured_after = 0, []
    for stretch in stretches(steps, shares):
        for number in stretch:
            assert number == step
            step += 1
        measured_after.append(step)
    assert measured_after == taken


def test_a_descent_holds_each_network_as_it_was_below_each_loss() -> None:
    # A "network" whose only weight is its loss: the first falls by 1 a step, the second by half of that.
    networks: Any = [(np.array([10.0, 10.0]).reshape(2, 1, 1), np.zeros((2, 1, 1)))]
    fall = np.array([1.0, 0.5]).reshape(2, 1, 1)

    def step() -> None:
        np.subtract(networks[0][0], fall, out=networks[0][0])

    def loss() -> Any:
        return networks[0][0].ravel().copy()

    fixed, held, reached = descend(networks, step, loss, (8.2, 5.2), fixed=3, longest=8, every=2)
    assert fixed[0][0].ravel().tolist() == [7, 8.5]
    assert held[0][0][0].ravel().tolist() == [8, 8]  # after 2 and after 4 steps, the first looks below 8.2
    assert held[1][0][0].ravel().tolist() == [4, 6]  # the second one never got below 5.2: as it was at the end
    assert reached.tolist() == [True, False]


def test_parameters_are_counted_as_they_are_made() -> None:
    sizes = (10, 8, 8, 5)
    assert parameter_count(sizes) == sum(w.size + b.size for w, b in new_networks(RNG(1), 1, sizes))


def test_large_logits_give_finite_losses() -> None:
    logits = np.array([[1000.0, 0.0], [0.0, 1000.0]], dtype=np.float32)
    np.testing.assert_allclose(np.exp(log_softmax(logits)), np.eye(2))
    assert cross_entropy(logits, np.array([0, 1])) == 0
    assert accuracy(logits, np.array([0, 0])) == 0.5


# Data and seeds.


def test_the_best_classifier_is_the_posterior() -> None:
    mixture = GaussianMixture.draw(RNG(5), classes=3, dimensions=2, separation=3.0, clouds=4)
    x, _ = mixture.sample(RNG(6), 10)
    density = np.exp(-((x[:, None, None] - mixture.means) ** 2).sum(axis=-1) / 2).sum(axis=1)
    posterior = density / density.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(log_softmax(mixture.bayes_logits(x))), posterior, atol=1e-5)


def test_points_lie_around_the_means_of_their_class() -> None:
    mixture = GaussianMixture(np.array([[[0.0, 0.0], [10.0, 0.0]]]))
    x, y = mixture.sample(RNG(7), 4000)
    np.testing.assert_allclose(x[y == 1].mean(axis=0), [10, 0], atol=0.1)
    np.testing.assert_allclose(x[y == 0].std(axis=0), [1, 1], atol=0.1)


def test_streams_are_told_apart_by_seed_experiment_and_stream() -> None:
    keys = [(1, "a", "data"), (2, "a", "data"), (1, "b", "data"), (1, "a", "weights"), (2**63 - 1, "a", "data")]
    assert len({generator(*key).random() for key in keys}) == len(keys)
    assert generator(*keys[0]).random() == generator(*keys[0]).random()


# The encoder.


def test_numpy_becomes_plain_numbers() -> None:
    values = plain([np.float32(0.5), np.int64(3), np.bool_(True), np.array([[1, 2]]), np.array(7.0), False, (1,)])
    assert values == [0.5, 3, 1, [[1, 2]], 7.0, 0, [1]]
    assert [type(value) for value in values] == [float, int, int, list, float, int, list]


@pytest.mark.parametrize("value", ["text", None, {"a": 1}, [1, "text"], np.array(["text"]), 1j])
def test_a_result_is_numbers_only(value: object) -> None:
    with pytest.raises(TypeError, match="numbers"):
        plain(value)


def test_what_is_not_finite_is_left_out_and_counted() -> None:
    kept, omitted = finite_only({"a": 1, "b": math.nan, "c": [1, [np.inf]], "d": np.array([1.5])})
    assert kept == {"a": 1, "d": [1.5]}
    assert omitted == ["b", "c"]


def test_a_file_never_holds_nan() -> None:
    with pytest.raises(ValueError):
        encode({"a": math.nan})
    assert json.loads(encode({"b": 1, "a": [0.1]})) == {"b": 1, "a": [0.1]}


# The deadline.


class _Clock:
    """A clock that stands still until it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _stages(clock: _Clock, seconds: list[float]) -> list[Stage]:
    def stage(number: int) -> Measured:
        clock.now += seconds[number]
        return {"stages": np.array([seconds[number]]), "last": number}

    return [partial(stage, number) for number in range(len(seconds))]


def _sum(measured: Measured) -> Measured:
    return {"sum": np.float64(sum(measured["stages"]))}


@pytest.mark.parametrize(
    ("budget", "run", "completed"),
    [
        pytest.param(100, 3, 1.0, id="time enough"),
        pytest.param(30, 3, 1.0, id="just enough"),
        pytest.param(29, 2, 2 / 3, id="the last stage would not fit"),
        pytest.param(0.001, 1, 1 / 3, id="the first stage is always begun"),
    ],
)
def test_a_run_stops_between_two_stages(budget: float, run: int, completed: float) -> None:
    clock = _Clock()
    seen = []
    deadline = Deadline(budget, clock=clock, on_stage=lambda reached: seen.append(reached.done / reached.stages))
    measured = follow(_stages(clock, [10, 10, 10]), _sum, deadline)
    assert measured["stages"] == [10] * run
    assert measured["last"] == run - 1
    assert measured["completed"] == pytest.approx(completed)
    assert ("sum" in measured) == (completed == 1)
    assert seen == pytest.approx([(stage + 1) / 3 for stage in range(run)])


def test_a_budget_may_be_seconds() -> None:
    assert follow(_stages(_Clock(), [1]), _sum, 5.0) == {"stages": [1], "last": 0, "sum": 1.0, "completed": 1.0}


def test_what_is_done_is_not_run_again() -> None:
    ran = []

    def stages(state: dict[str, Any]) -> list[Stage]:
        def stage(number: int) -> Measured:
            ran.append(number)
            state["sum"] = state.get("sum", 0) + number
            return {"sums": [state["sum"]]}

        return [partial(stage, number) for number in range(4)]

    state: dict[str, Any] = {}
    whole = follow(stages(state), _nothing_more, 5.0, state)
    reached = Checkpoint(done=2, stages=4, measured={"sums": [0, 1]}, state={"sum": 1})
    state = {}
    ran.clear()
    assert follow(stages(state), _nothing_more, Deadline(5, checkpoint=reached), state) == whole
    assert ran == [2, 3]


def _of_two_seeds(clock: _Clock) -> list[BatchStage]:
    def stage(number: int) -> list[Measured]:
        clock.now += 10
        return [{"a/b": [10 * seed + number], "last": np.float64(seed)} for seed in (1, 2)]

    return [partial(stage, number) for number in range(3)]


def _first_of(seed: int) -> Callable[[Measured], Measured]:
    return lambda measured: {"first": measured["a/b"][0], "seed": seed}


def test_each_seed_of_a_batch_gets_its_own_numbers_and_summary() -> None:
    measured = follow_batch(_of_two_seeds(_Clock()), [_first_of(1), _first_of(2)], 5.0)
    assert measured == [
        {"a/b": [10, 11, 12], "last": 1.0, "first": 10, "seed": 1, "completed": 1.0},
        {"a/b": [20, 21, 22], "last": 2.0, "first": 20, "seed": 2, "completed": 1.0},
    ]
    assert all(isinstance(value, float) for value in (measured[0]["last"], measured[1]["last"]))


def test_the_checkpoint_of_a_batch_tells_the_seeds_apart() -> None:
    clock = _Clock()
    summaries = [_first_of(1), _first_of(2)]
    stopped = Deadline(15, clock=clock)
    measured = follow_batch(_of_two_seeds(clock), summaries, stopped)
    assert measured == [
        {"a/b": [10], "last": 1.0, "completed": pytest.approx(1 / 3)},
        {"a/b": [20], "last": 2.0, "completed": pytest.approx(1 / 3)},
    ]
    assert stopped.checkpoint.measured == {"0/a/b": [10], "0/last": 1.0, "1/a/b": [20], "1/last": 2.0}
    whole = follow_batch(_of_two_seeds(clock), summaries, Deadline(100, checkpoint=stopped.checkpoint, clock=clock))
    assert whole == follow_batch(_of_two_seeds(_Clock()), summaries, 5.0)


def test_the_checkpoint_of_one_seed_has_the_keys_that_it_measured() -> None:
    deadline = Deadline(5)
    stages: list[BatchStage] = [lambda: [{"n": 1}]]
    assert follow_batch(stages, [_nothing_more], deadline) == [{"n": 1, "completed": 1.0}]
    assert deadline.checkpoint.measured == {"n": 1}
    assert of_each_seed({"n": 1}, 1) == [{"n": 1}]


def test_nothing_was_measured_for_any_seed_before_the_first_stage() -> None:
    assert of_each_seed({}, 3) == [{}, {}, {}]


def _nothing_more(_: Measured) -> Measured:
    return {}
