"""A stand-in for the array of another device: what works on it works on CuPy's, which no machine of the tests has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from experiments.kit.device import Device

IN_CUPY: Final = {np.arange, np.concatenate, np.linalg.norm, np.stack, np.where}
"""The functions, besides ufuncs, that are known to be in CuPy 14 with the parameters that the experiments give them."""


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Behaves as cupy.ndarray does, as strictly: it becomes a numpy array only by `get` and meets none but 0-d ones."""

    def __init__(self, host: NDArray[Any]) -> None:
        self._host = host

    def __array__(self, *_: object, **__: object) -> NDArray[Any]:
        raise TypeError("implicit conversion to a numpy array")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            return NotImplemented
        given = ufunc(*_unwrapped(inputs), **_unwrapped(kwargs))
        return kwargs["out"][0] if "out" in kwargs else _wrapped(given)

    def __array_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        if func not in IN_CUPY:
            return NotImplemented
        return _wrapped(func(*_unwrapped(args), **_unwrapped(kwargs)))

    def __getitem__(self, key: Any) -> DeviceArray:
        return _wrapped(self._host[_unwrapped(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._host[_unwrapped(key)] = _unwrapped(value)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[DeviceArray]:
        return map(_wrapped, self._host)

    def __float__(self) -> float:
        return float(self._host)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __getattr__(self, name: str) -> Any:
        if name in {"shape", "dtype", "ndim", "size"}:
            return getattr(self._host, name)
        if name == "T":
            return _wrapped(self._host.T)
        if name in {"argmax", "astype", "copy", "max", "mean", "reshape", "sum", "swapaxes"}:
            method = getattr(self._host, name)
            return lambda *args, **kwargs: _wrapped(method(*_unwrapped(args), **_unwrapped(kwargs)))
        raise AttributeError(name)


def _wrapped(given: Any) -> DeviceArray:
    return DeviceArray(np.asarray(given))


def _unwrapped(given: Any) -> Any:
    if isinstance(given, DeviceArray):
        return given._host
    if isinstance(given, np.ndarray) and given.ndim > 0:
        raise TypeError("an array of the device meets one of the host")
    if isinstance(given, list | tuple):
        return type(given)(map(_unwrapped, given))
    if isinstance(given, dict):
        return {key: _unwrapped(value) for key, value in given.items()}
    return given


def _put(array: Any) -> DeviceArray:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"only arrays of the host are put on the device, not {type(array).__name__}")
    return DeviceArray(array.copy())


def _get(array: Any) -> NDArray[Any]:
    if not isinstance(array, DeviceArray):
        raise TypeError(f"only arrays of the device are got from it, not {type(array).__name__}")
    return array._host.copy()


STAND_IN: Final = Device(_put, _get)
