"""Run what tensorc has compiled, without the compiler: NumPy is all that this package needs.

`load(directory)` gives the functions that `CompiledFunction.export` wrote there.
"""

from tensorc_runtime.errors import ArgumentError, CheckFailed, LoadError, TensorcError
from tensorc_runtime.function import BoundFunction, Function
from tensorc_runtime.load import load
from tensorc_runtime.manifest import Manifest
from tensorc_runtime.threads import available_threads

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
