"""Where the arrays of a run live: in this machine's memory, or on its GPU. Importing this loads neither numpy nor CuPy.

numpy's functions work on CuPy's arrays as on its own and give such arrays again, so an experiment is written once: it
draws its random numbers with numpy, puts what it drew on the device, computes there by numpy's functions, and gets the
results back. An operation between arrays of both places, numbers apart, is a TypeError. In type hints an array of any
device is an NDArray.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final


class NoGpuError(Exception):
    """This machine can't run an experiment on a GPU; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Device:
    """put: from a numpy array to an array on the device. get: back to numpy."""

    put: Callable[[Any], Any]
    get: Callable[[Any], Any]


def _same(array: Any) -> Any:
    return array


HOST: Final = Device(_same, _same)
"""This machine's memory, where nothing needs to be moved."""


def gpu() -> Device:
    """Give this machine's GPU, by way of CuPy; raises NoGpuError if it has none that can be used."""
    try:
        cupy: Any = import_module("cupy")
    except ImportError as error:
        raise NoGpuError(
            "CuPy can't be imported; install the one of this machine's CUDA, such as by `pip install cupy-cuda12x`, "
            "or run without --gpu"
        ) from error
    try:
        found = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:  # CUDA's own errors are RuntimeErrors
        raise NoGpuError(f"CuPy finds no GPU ({str(error)[:160]}); install its driver, or run without --gpu") from error
    if not found:
        raise NoGpuError("CuPy finds no GPU; install its driver, or run without --gpu")
    return Device(cupy.asarray, cupy.asnumpy)
