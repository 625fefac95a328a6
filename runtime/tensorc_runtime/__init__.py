"""Run what tensorc has compiled, without the compiler: NumPy is all that this package needs.

`load(directory)` gives the functions that `CompiledFunction.export` wrote there. What calls them is
imported with the first use, since the compiler imports this package for its errors alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tensorc_runtime.errors import ArgumentError, CheckFailed, LoadError, TensorcError

if TYPE_CHECKING:
    from tensorc_runtime.function import BoundFunction, Function
    from tensorc_runtime.loading import load
    from tensorc_runtime.manifest import Manifest
    from tensorc_runtime.threads import available_threads

_HOMES = {
    "BoundFunction": "function",
    "Function": "function",
    "Manifest": "manifest",
    "available_threads": "threads",
    "load": "loading",
}

__all__ = [
    "ArgumentError",
    "BoundFunction",
    "CheckFailed",
    "Function",
    "LoadError",
    "Manifest",
    "TensorcError",
    "available_threads",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import what `name` needs, with its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tensorc_runtime' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"tensorc_runtime.{_HOMES[name]}"), name)
    return value
