"""Where random recurrent networks turn chaotic, and whether their memory is best there.

Method. Networks x(t+1) = tanh(radius W x(t) + strength w u(t)) with normal weights, W scaled to a spectral radius of
exactly 1, run at 30 radii from 0.1 to 3. The largest Lyapunov exponent is the mean log growth of a vector under the
Jacobian, set back to length 1 at each step; a network's critical radius is where its exponent, interpolated linearly
between two radii, rises through zero for the last time, since a small network may be chaotic at one radius and periodic
again at the next. Memory capacity is the sum over delays of the share of the variance of the past input that a linear
read-out of the state explains (ridge regression, scored on later time steps).

Control. The input: strengths 0, 0.1, 0.5 and 1 of the same noise, in the same networks. The size: 40 to 320 units.
For the memory: whether its peak follows the critical radius or stays at radius 1, whatever the critical radius is.

Reference. Sompolinsky et al. 1988, "Chaos in Random Neural Networks" (no input: chaos from radius 1 on, in the limit of
many units). Massar and Massar 2013, "Mean-field theory of echo state networks" (input raises the critical radius).
Jaeger 2001, "Short term memory in echo state networks" (memory capacity).

Logged. Critical radius 1.269, memory peaks at radius 1.0, on all machines alike; neither the input's strength nor the
network's size is logged, nor which 30 radii were swept. Nothing of the sweep is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.kit.claims import Claim
from experiments.kit.encoder import Measured
from experiments.kit.measures import lyapunov_exponent
from experiments.kit.metadata import Metadata, Plot, ResultKey
from experiments.kit.networks import Floats
from experiments.kit.seeds import generator
from experiments.kit.stages import Deadline, Stage, follow

NAME: Final = "edge_of_chaos"
RADII: Final = tuple(round(0.1 * step, 1) for step in range(1, 31))
SIZES: Final = (40, 80, 160, 320)
UNITS: Final = 640  # in all networks of one size together: small networks differ more from one another
STRENGTHS: Final = {"none": 0.0, "weak": 0.1, "medium": 0.5, "strong": 1.0}
DRIVEN: Final = ("weak", "medium", "strong")
WASHOUT: Final = 500
STEPS: Final = 1500
MEMORY_SIZE: Final = 160
MEMORY_TRAIN: Final = 3000
MEMORY_TEST: Final = 1000
DELAYS: Final = 160  # a network can't remember more than its units (Jaeger 2001)
RIDGE: Final = 1e-6  # of the mean variance of a unit; the peak is at the same radius from 1e-8 to 1e-4


def _result_keys() -> Iterator[ResultKey]:
    for name, strength in STRENGTHS.items():
        given = f"input of strength {strength:g}"
        yield ResultKey(
            f"exponent_{name}",
            (4, 30),
            f"Lyapunov exponent, mean over networks, nats a step, by size and radius; {given}",
        )
        yield ResultKey(f"exponent_largest_{name}", (30,), f"the same of the largest networks, by radius; {given}")
        yield ResultKey(f"critical_{name}", (4,), f"critical radius, mean over networks, by size; {given}")
    yield ResultKey("critical_undriven", (), "critical radius of the largest networks without input")
    yield ResultKey("critical_undriven_smallest", (), "critical radius of the smallest networks without input")
    yield ResultKey("critical_driven", (), "critical radius of the largest networks with medium input")
    for name in DRIVEN:
        yield ResultKey(f"memories_{name}", (4, 30), f"memory capacity by network and radius, {name} input")
        yield ResultKey(f"memory_{name}", (30,), f"memory capacity by radius, mean over networks, {name} input")
        yield ResultKey(f"peak_{name}", (), f"radius of the greatest memory capacity, {name} input")
        yield ResultKey(f"peak_to_edge_{name}", (), f"distance of the peak from the critical radius, {name} input")
        yield ResultKey(f"peak_to_one_{name}", (), f"distance of the peak from radius 1, {name} input")


def _claims() -> Iterator[Claim]:
    yield Claim(
        name="input_delays_chaos",
        statement="Driven by input, a network turns chaotic at a greater radius than the same network without input.",
        quantity="critical_driven",
        control="critical_undriven",
        direction="greater",
        threshold=0.05,  # half a step of the radii
        baseline=1.0,
        logged="1.269, at an input that isn't logged",
    )
    yield Claim(
        name="small_networks_turn_chaotic_later",
        statement="Without input, networks of 40 units turn chaotic at a greater radius than networks of 320.",
        quantity="critical_undriven_smallest",
        control="critical_undriven",
        direction="greater",
        threshold=0.05,
        baseline=1.0,
        logged="1.269, at a size that isn't logged",
    )
    for name in DRIVEN:
        yield Claim(
            name=f"memory_peaks_at_the_edge_{name}",
            statement=f"With {name} input, memory capacity peaks nearer to the critical radius than to radius 1.",
            quantity=f"peak_to_edge_{name}",
            control=f"peak_to_one_{name}",
            direction="less",
            threshold=0.05,
            logged="peak at 1.0, critical radius 1.269",
        )
    yield Claim(
        name="memory_peak_moves_with_the_input",
        statement="Under strong input memory capacity peaks at a greater radius than under weak input.",
        quantity="peak_strong",
        control="peak_weak",
        direction="greater",
        threshold=0.1,  # a step of the radii
        logged="peak at 1.0",
    )


METADATA = Metadata(
    name=NAME,
    version=1,
    category="recurrent networks",
    question="Where do random recurrent networks turn chaotic, and is their memory best there?",
    budget_s=100,
    memory_bytes=256 * 2**20,
    tolerance=1.0,  # chaos is what it measures: seed 101 differed by 0.36 between two kernels of OpenBLAS
    result_keys=tuple(_result_keys()),
    claims=tuple(_claims()),
    plots=(
        Plot(
            title="Networks of 320 units",
            x_label="spectral radius",
            x=RADII,
            y_label="Lyapunov exponent, nats a step",
            keys=tuple(f"exponent_largest_{name}" for name in STRENGTHS),
        ),
        Plot(
            title="Where chaos begins",
            x_label="units",
            x=SIZES,
            y_label="critical radius",
            keys=tuple(f"critical_{name}" for name in STRENGTHS),
            log_x=True,
        ),
        Plot(
            title="Memory of networks of 160 units",
            x_label="spectral radius",
            x=RADII,
            y_label="memory capacity, steps",
            keys=tuple(f"memory_{name}" for name in DRIVEN),
        ),
    ),
)


def run(seed: int, budget: Deadline | float, scale: float = 1.0) -> Measured:
    """Measure chaos, a stage for each size, then memory, a stage for each network; `scale` shortens the simulation."""
    return follow(stages(seed, scale), summary, budget)


def stages(seed: int, scale: float) -> list[Stage]:
    """Give a stage for the exponents of each size, and one for the memory of each network of one size."""

    def steps(full: int) -> int:
        return max(10, round(full * scale))

    def measure_chaos(size: int) -> Measured:
        u = generator(seed, NAME, f"data/{size}").standard_normal(steps(WASHOUT) + steps(STEPS), dtype=np.float32)
        networks = [reservoir(seed, size, network) for network in range(UNITS // size)]
        W, w = np.stack([W for W, _ in networks]), np.stack([w for _, w in networks])
        state = generator(seed, NAME, f"state/{size}").standard_normal(W[:, :1].shape, dtype=np.float32)
        measured: Measured = {}
        for name, strength in STRENGTHS.items():
            growth = growths(W, w * np.float32(strength), u, state)[steps(WASHOUT) :]
            exponents = lyapunov_exponent(growth)
            measured[f"exponent_{name}"] = [exponents.mean(axis=0)]
            measured[f"critical_{name}"] = [np.mean([critical_radius(exponent) for exponent in exponents])]
        return measured

    def measure_memory(network: int) -> Measured:
        length = steps(WASHOUT) + steps(MEMORY_TRAIN) + steps(MEMORY_TEST)
        u = generator(seed, NAME, f"data/memory/{network}").standard_normal(DELAYS + length, dtype=np.float32)
        W, w = reservoir(seed, MEMORY_SIZE, network)
        measured: Measured = {}
        for name in DRIVEN:
            scaled = w * np.float32(STRENGTHS[name])
            measured[f"memories_{name}"] = [memories(W, scaled, u, steps(WASHOUT), steps(MEMORY_TRAIN))]
        return measured

    networks = range(UNITS // MEMORY_SIZE)
    return [*(partial(measure_chaos, size) for size in SIZES), *(partial(measure_memory, n) for n in networks)]


def summary(measured: Measured) -> Measured:
    """Give what the claims compare: critical radii of the largest and smallest networks, and where memory peaks."""
    found: Measured = {
        "critical_undriven": measured["critical_none"][-1],
        "critical_undriven_smallest": measured["critical_none"][0],
        "critical_driven": measured["critical_medium"][-1],
    }
    for name in STRENGTHS:
        found[f"exponent_largest_{name}"] = measured[f"exponent_{name}"][-1]
    for name in DRIVEN:
        memory = np.mean(measured[f"memories_{name}"], axis=0)
        peak = peak_radius(memory)
        edge = measured[f"critical_{name}"][SIZES.index(MEMORY_SIZE)]
        found |= {
            f"memory_{name}": memory,
            f"peak_{name}": peak,
            f"peak_to_edge_{name}": abs(peak - edge),
            f"peak_to_one_{name}": abs(peak - 1),
        }
    return found


def reservoir(seed: int, size: int, network: int) -> tuple[Floats, Floats]:
    """Draw one network's recurrent weights, of spectral radius 1, (size, size), and its input weights, (1, size)."""
    rng = generator(seed, NAME, f"weights/{size}/{network}")
    W = rng.standard_normal((size, size))
    W /= np.abs(np.linalg.eigvals(W)).max()
    return W.astype(np.float32), rng.standard_normal((1, size), dtype=np.float32)


def growths(W: Floats, w: Floats, u: Floats, state: Floats) -> Floats:
    """Give how a small perturbation grows in every step, (steps, networks, radii).

    u is the input, (steps,); state, (networks, 1, size), is where the networks start, and also the first perturbation.
    The Jacobian is diag(1 - x^2) times the recurrent weights, x being the state after the step.
    """
    radii = np.array(RADII, dtype=np.float32)[:, np.newaxis]
    x = np.repeat(state, len(RADII), axis=1)
    v = x.copy()
    growth = np.empty((len(u), *x.shape[:2]), dtype=np.float32)
    for step, now in enumerate(u):
        # Without input small radii would let the state fade to numbers below float32's normal range, which are slow.
        drive = w * now + np.float32(1e-12)
        fields = np.concatenate((x, v), axis=1) @ W
        x = np.tanh(radii * fields[:, : len(RADII)] + drive)
        v = radii * fields[:, len(RADII) :] * (1 - x * x)
        growth[step] = np.linalg.norm(v, axis=-1)
        v /= growth[step][..., np.newaxis]
    return growth


def critical_radius(exponents: NDArray[np.floating]) -> float:
    """Give where the exponents, one for each of RADII, rise through zero for the last time.

    The first radius where all of them are above zero, the last where the last one isn't.
    """
    calm = np.flatnonzero(exponents <= 0)
    if not calm.size:
        return RADII[0]
    last = int(calm[-1])
    if last == len(RADII) - 1:
        return RADII[-1]
    below, above = exponents[last], exponents[last + 1]
    return float(RADII[last] + (RADII[last + 1] - RADII[last]) * below / (below - above))


def trajectory(W: Floats, w: Floats, u: Floats) -> Floats:
    """Give the states of one network after every step of the input, (steps, radii, size), from zero on."""
    radii = np.array(RADII, dtype=np.float32)[:, np.newaxis]
    states = np.empty((len(u), len(RADII), len(W)), dtype=np.float32)
    x = np.zeros_like(states[0])
    for step, now in enumerate(u):
        x = np.tanh(radii * (x @ W) + w * now, out=states[step])
    return states


def memories(W: Floats, w: Floats, u: Floats, washout: int, train: int) -> list[float]:
    """Give one network's memory capacity at each radius; its states after the first `washout` count."""
    past = np.lib.stride_tricks.sliding_window_view(u[:-1], DELAYS)[washout:]
    states = trajectory(W, w, u[DELAYS:])[washout:]
    return [memory_capacity(states[:, radius], past, train) for radius in range(len(RADII))]


def memory_capacity(states: Floats, past: Floats, train: int) -> float:
    """Give the number of past inputs that a linear read-out of the state recalls, on the steps after the first `train`.

    states is (steps, size), past (steps, delays). A delay counts with the share of variance explained, at least 0.
    """
    X = states.astype(np.float64)
    fit = X[:train].T @ X[:train]
    fit += np.eye(len(fit)) * RIDGE * np.trace(fit) / len(fit)
    read_out = np.linalg.solve(fit, X[:train].T @ past[:train])
    error = ((X[train:] @ read_out - past[train:]) ** 2).mean(axis=0)
    explained = 1 - error / past[train:].var(axis=0)
    return float(np.maximum(explained, 0).sum())


def peak_radius(memory: NDArray[np.floating]) -> float:
    """Give the radius of the greatest of the values, one for each of RADII.

    It lies at the vertex of the parabola through the greatest and its two neighbours.
    """
    top = int(memory.argmax())
    if not 0 < top < len(RADII) - 1:
        return RADII[top]
    left, middle, right = memory[top - 1 : top + 2]
    shift = (left - right) / (2 * (left - 2 * middle + right))
    return float(RADII[top] + shift * (RADII[1] - RADII[0]))
