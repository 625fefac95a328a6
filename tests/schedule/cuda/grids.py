"""What a scheduled program asks of a grid, and how its results are compared."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tensorc.ir import interp
from tensorc.ir.expr import const_int
from tensorc.ir.facts import nests
from tensorc.ir.stmt import Allocate, For, Role
from tensorc.ir.verify import verify
from tensorc.ir.walk import walk_stmts, written_buffers
from tensorc.schedule.tree import parts, sites

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorc.ir.stmt import Program, Stmt

Arrays = dict[str, np.ndarray[Any, Any]]


def kernels(program: Program) -> list[tuple[dict[str, int], int]]:
    """The blocks by axis and the threads of each nest on a grid, in order."""
    found = []
    for nest in nests(program.body):
        blocks = {
            s.axis: const_int(s.extent) or 0
            for s in walk_stmts(nest)
            if isinstance(s, For) and s.axis is not None and s.axis.startswith("block")
        }
        threads = threads_of(nest)
        if threads:
            found.append((dict(sorted(blocks.items())), threads))
    return found


def threads_of(stmt: Stmt) -> int:
    """The threads of the largest phase under `stmt`, 0 of none."""
    below = max((threads_of(p) for p in parts(stmt)), default=0)
    if isinstance(stmt, For) and stmt.axis is not None and stmt.axis.startswith("thread"):
        return (const_int(stmt.extent) or 0) * max(below, 1)
    return below


def phases(program: Program) -> list[tuple[str, int]]:
    """What the statements on threads compute, and with how many of them, in order."""
    found = []
    for site in sites(program.body):
        bound = [x for x in site.loops if x.axis is not None and x.axis.startswith("thread")]
        if bound:
            threads = prod(const_int(x.extent) or 0 for x in bound)
            found.append((written_buffers(site.leaf)[0].name, threads))
    return found


def allocations(program: Program) -> dict[str, tuple[str, int]]:
    """The scope and the number of elements of each buffer that is allocated."""
    made = [s.buffer for s in walk_stmts(program.body) if isinstance(s, Allocate)]
    return {b.name: (b.scope, prod(const_int(n) or 0 for n in b.shape)) for b in made}


def shared_bytes(program: Program) -> int:
    """The bytes of all shared buffers."""
    made = [s.buffer for s in walk_stmts(program.body) if isinstance(s, Allocate)]
    sizes = [prod(const_int(n) or 0 for n in b.shape) * b.dtype.bytes for b in made]
    return sum(n for b, n in zip(made, sizes, strict=True) if b.scope == "shared")


def random_inputs(program: Program, **dims: int) -> Arrays:
    """Normal floats, integers that index anything, for each parameter by name."""
    arrays: Arrays = {}
    for param in program.params:
        buffer = param.buffer
        shape = tuple(dims[str(n)] if str(n) in dims else int(str(n)) for n in buffer.shape)
        rng = np.random.default_rng(len(arrays))
        is_float = buffer.dtype.is_float
        values = rng.standard_normal(shape) if is_float else rng.integers(0, 2, shape)
        filled = values.astype(buffer.dtype.numpy)
        arrays[buffer.name] = np.zeros_like(filled) if param.role is Role.OUT else filled
    return arrays


def interpreted(
    program: Program, arrays: Mapping[str, Any], order: Literal["forward", "reverse"] = "forward"
) -> Arrays:
    """The arrays after a run of the interpreter."""
    found = {name: np.array(a) for name, a in arrays.items()}
    with np.errstate(all="ignore"):
        interp.run(program, found, order=order)
    return found


def assert_close(
    plain: Program, scheduled: Program, given: Mapping[str, Any] | None = None, rtol: float = 1e-12
) -> None:
    """Both compute the same but for the rounding of sums in another order, threads last to first.

    In float64 a sum of n numbers of one size errs by n * 1.1e-16 of them: of 10 000 by 1e-12.
    """
    verify(scheduled)
    arrays = random_inputs(plain) | dict(given or {})
    expected = interpreted(plain, arrays)
    got = interpreted(scheduled, arrays, "reverse")
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=rtol, atol=rtol, err_msg=name)
