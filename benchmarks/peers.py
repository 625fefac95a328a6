"""The rivals: the same work in NumPy, torch (eager and compiled) and JAX, where installed."""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from benchmarks.harness import Action

Arrays: TypeAlias = Sequence[np.ndarray[Any, Any]]
Function: TypeAlias = Callable[..., Any]

LIBRARIES = ("numpy", "torch", "jax")
MISSING = "not installed"  # Stands for the version of a library that is not there.


def installed(name: str) -> bool:
    """Whether a rival can be imported, without importing it."""
    return importlib.util.find_spec(name) is not None


def versions() -> dict[str, str]:
    """The rivals' versions, `MISSING` where there is none."""
    return {name: metadata.version(name) if installed(name) else MISSING for name in LIBRARIES}


@cache
def torch() -> Any:
    """Torch, on as many threads as this process has processors."""
    module: Any = import_module("torch")  # Optional, and takes seconds to import.
    module.set_num_threads(len(os.sched_getaffinity(0)))
    return module


@cache
def jax() -> Any:
    """JAX."""
    return import_module("jax")  # Optional, and takes a second to import.


def rotated(actions: Sequence[Action]) -> Action:
    """Each call runs the next of `actions`, in turns."""
    if len(actions) == 1:
        return actions[0]
    turns = itertools.cycle(actions)
    return lambda: next(turns)()


def numpy_actions(function: Function, copies: Sequence[Arrays], outs: Arrays | None) -> Action:
    """`function` on each copy of the inputs, with the outputs in turns where there are some."""
    if outs is None:
        return rotated([partial(function, *a) for a in copies])
    pairs = zip(copies, itertools.cycle(outs), strict=False)
    return rotated([partial(function, *a, o) for a, o in pairs])


def torch_actions(function: Function, copies: Sequence[Arrays], outs: Arrays | None) -> Action:
    """The same for a function of tensors."""
    given = [[torch().from_numpy(x) for x in arrays] for arrays in copies]
    kept = None if outs is None else [torch().from_numpy(np.empty_like(o)) for o in outs]

    if kept is None:
        return rotated([partial(function, *a) for a in given])
    pairs = zip(given, itertools.cycle(kept), strict=False)
    return rotated([partial(function, *a, o) for a, o in pairs])


def jax_actions(function: Function, copies: Sequence[Arrays], out: bool) -> Action:
    """The same for a jitted function; with `out` the result takes the place of a donated array."""
    numbers = jax().numpy
    given = [[numbers.asarray(x) for x in arrays] for arrays in copies]
    if not out:
        jitted = jax().jit(function)

        def waiting(*arguments: Any) -> Any:
            return jax().block_until_ready(jitted(*arguments))

        return rotated([partial(waiting, *a) for a in given])
    donating = jax().jit(
        lambda *a: function(*a[:-1]), donate_argnums=len(given[0]), keep_unused=True
    )
    kept = [function(*given[0])]

    def run(arguments: Sequence[Any]) -> Any:
        kept[0] = donating(*arguments, kept[0]).block_until_ready()
        return kept[0]

    return rotated([partial(run, a) for a in given])


def rivals(
    copies: Sequence[Arrays],
    *,
    numpy: Function | None = None,
    torch_eager: Function | None = None,
    torch_compiled: Function | None = None,
    jax_function: Function | None = None,
    outs: Arrays | None = None,
    kept: bool = False,
) -> dict[str, Action]:
    """The actions of all rivals that are installed, on copies of the same inputs.

    Args:
        copies: of the inputs, each of the same values; more than one where memory is the limit.
        numpy: takes the inputs, and an output last where there are `outs`.
        torch_eager: from the module torch to a function of tensors; with `kept` it too takes an
            output last.
        torch_compiled: the same for what `torch.compile` is given.
        jax_function: from the module jax to what `jax.jit` is given.
        outs: arrays for results, in turns.
        kept: torch and JAX write their results in kept storage as well.
    """
    found: dict[str, Action] = {}
    theirs = outs if kept else None
    if numpy is not None:
        found["numpy"] = numpy_actions(numpy, copies, outs)
    if installed("torch"):
        if torch_eager is not None:
            found["torch"] = torch_actions(torch_eager(torch()), copies, theirs)
        if torch_compiled is not None:
            compiled = torch().compile(torch_compiled(torch()))
            found["torch.compile"] = torch_actions(compiled, copies, theirs)
    if jax_function is not None and installed("jax"):
        found["jax"] = jax_actions(jax_function(jax()), copies, kept)
    return found
