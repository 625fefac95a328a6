"""A scheduled program against the plain one, in the interpreter, on small exact inputs."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tensorc.errors import CheckFailed, ScheduleError
from tensorc.ir import interp
from tensorc.ir.expr import Binary, BinaryOp, Call, Const, Dim, Var
from tensorc.ir.stmt import Program, Role
from tensorc.ir.walk import loads, walk
from tensorc.schedule.tree import sites

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorc.dtypes import DType

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
ORDERS: tuple[Literal["forward", "reverse"], ...] = ("forward", "reverse")

MAX_STATEMENTS = 300_000  # That the interpreter runs in about a second.
SIZES = (7, 5, 6, 9, 8)  # Of symbolic dimensions, in order: neither alike nor powers of two.
EXACT_CALLS = ("abs", "sign", "floor", "ceil", "round", "trunc", "fma", "tf32")


def difference(
    plain: Program,
    scheduled: Program,
    sizes: Mapping[str, int] | None = None,
    arrays: Mapping[str, Array] | None = None,
) -> str | None:
    """The first element in which the results differ, in words, or None.

    Args:
        plain: what is right.
        scheduled: what is checked; its parallel loops run forwards, then backwards.
        sizes: symbolic dimensions by name. Where it is left out two sets are tried: small different
            numbers, and each dimension's least.
        arrays: inputs by name; those left out hold integers from -4 to 4, those of integers 0 to 2.

    Raises:
        ScheduleError: the programs would run too long, or the inputs fail a check of `plain`.
    """
    for chosen in _all_sizes(plain, sizes):
        env = {d: chosen[d.name] for d in plain.dims}
        _refuse_long(plain, env)
        inputs, expected = _results_of_plain(plain, env, arrays or {})
        shown = ", ".join(f"{name}={n}" for name, n in chosen.items())
        where = f"with {shown}, " if shown else ""
        for order in ORDERS:
            try:
                got = _results(scheduled, inputs, order)
            except (AssertionError, CheckFailed) as error:
                return f"{where}the scheduled program fails: {error}"
            found = _first(expected, got, is_exact=_is_exact(plain))
            if found is not None:
                return where + found
    return None


def _all_sizes(plain: Program, sizes: Mapping[str, int] | None) -> list[dict[str, int]]:
    names = [d.name for d in plain.dims]
    if sizes is not None:
        if sorted(sizes) != sorted(names):
            raise ScheduleError(
                f"check: give a size for each of {', '.join(names) or 'no dimensions'}; "
                f"got {', '.join(sizes) or 'none'}"
            )
        return [dict(sizes)]
    if not names:
        return [{}]
    usual = {d.name: max(n, d.lower) for d, n in zip(plain.dims, cycle(SIZES), strict=False)}
    return [usual, {d.name: d.lower for d in plain.dims}]


def _refuse_long(plain: Program, sizes: Mapping[Dim, int]) -> None:
    total = sum(_runs(site.loops, sizes) for site in sites(plain.body))
    if total > MAX_STATEMENTS:
        raise ScheduleError(
            f"check: the plain program runs about {total} statements, and the interpreter takes "
            f"{MAX_STATEMENTS} at most; replay the trace on a smaller program and check that, "
            "or make sizes symbolic"
        )


def _runs(loops: tuple[Any, ...], sizes: Mapping[Dim, int]) -> int:
    """How often a statement inside `loops` runs, at most, for ranges that depend on data 1."""
    env: dict[Var, Any] = {d: np.int64(n) for d, n in sizes.items()}
    total = 1
    for loop in loops:
        if loads(loop.start) or loads(loop.extent):
            env[loop.var] = np.int64(0)
            continue
        start, extent = (int(interp.evaluate(x, env)) for x in (loop.start, loop.extent))
        total *= max(extent, 0)
        env[loop.var] = np.int64(start + max(extent - 1, 0))
    return total


def _results_of_plain(
    plain: Program, sizes: Mapping[Dim, int], given: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs that `plain` accepts, and what it makes of them."""
    for top in (2, 0):  # A gather may have but one row.
        inputs = _inputs(plain, sizes, given, top)
        try:
            return inputs, _results(plain, inputs, "forward")
        except CheckFailed as error:
            failure = error
    raise ScheduleError(
        f"check: the plain program ends with {str(failure)!r} on the inputs that were drawn; "
        "give it others by arrays="
    )


def _inputs(
    plain: Program, sizes: Mapping[Dim, int], given: Mapping[str, Array], top: int
) -> dict[str, Array]:
    env: dict[Var, Any] = {d: np.int64(n) for d, n in sizes.items()}
    found: dict[str, Array] = {}
    for number, param in enumerate(plain.params):
        buffer = param.buffer
        shape = tuple(int(interp.evaluate(x, env)) for x in buffer.shape)
        if param.role is Role.OUT:
            found[buffer.name] = np.zeros(shape, buffer.dtype.numpy)
        elif buffer.name in given:
            array = given[buffer.name]
            if array.shape != shape or array.dtype != buffer.dtype.numpy:
                raise ScheduleError(
                    f"check: {buffer.name} must be {buffer.dtype}{list(shape)}, got "
                    f"{array.dtype}{list(array.shape)}"
                )
            found[buffer.name] = array
        else:
            found[buffer.name] = _drawn(buffer.dtype, shape, number, top)
    return found


def _drawn(dtype: DType, shape: tuple[int, ...], seed: int, top: int) -> Array:
    low, high = (-4, 4) if dtype.is_float else (0, min(top, 1) if dtype.is_bool else top)
    drawn: Array = np.random.default_rng(seed).integers(low, high + 1, shape).astype(dtype.numpy)
    return drawn


def _results(
    program: Program, inputs: Mapping[str, Array], order: Literal["forward", "reverse"]
) -> dict[str, Array]:
    arrays = {name: array.copy() for name, array in inputs.items()}
    interp.run(program, arrays, order=order)
    return {p.buffer.name: arrays[p.buffer.name] for p in program.params if p.role is not Role.IN}


def _is_exact(plain: Program) -> bool:
    """Whether floats stay integers, or halves of them and the like: then no sum is rounded."""

    def rounds(node: object) -> bool:
        match node:
            case Binary(BinaryOp.DIV, _, _):
                return node.dtype.is_float
            case Call(name, _, dtype):
                return dtype.is_float and name not in EXACT_CALLS
            case Const(value, dtype):
                return dtype.is_float and np.isfinite(value) and (float(value) * 256) % 1 != 0
            case _:
                return False

    return not any(rounds(node) for node in walk(plain.body))


def _first(
    expected: Mapping[str, Array], got: Mapping[str, Array], *, is_exact: bool
) -> str | None:
    for name, want in expected.items():
        have = got[name]
        wrong = ~_agrees(have, want, is_exact=is_exact)
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            return f"{name}{list(index)} is {have[index]}, and {want[index]} by the plain program"
    return None


def _agrees(have: Array, want: Array, *, is_exact: bool) -> Array:
    """Where two results are equal, or, if values are rounded, agree in half of their digits.

    A schedule may fold a sum in another order.
    """
    same: Array = (have == want) | ((have != have) & (want != want))  # NaN is not equal to itself.
    if want.dtype.kind in "iub" or not want.size:
        return same
    eps = float(np.finfo(want.dtype).eps) if want.dtype.kind == "f" else 2.0**-7
    a, b = have.astype(np.float64), want.astype(np.float64)
    scale = float(np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
    if is_exact and scale * eps < 1:
        return same
    with np.errstate(invalid="ignore"):
        close: Array = np.abs(a - b) <= np.sqrt(eps) * max(scale, 1.0)
    return same | close
