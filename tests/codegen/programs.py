"""Programs for the tests, as text, and the comparison of compiled code with the interpreter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from codegen.harness import Array, Kernel, garbage
from tensorc.ir import interp
from tensorc.ir.parser import parse
from tensorc.ir.stmt import Program, Role
from tensorc.ir.verify import verify
from tensorc.lower.pipeline import lower
from tensorc.target import Target

if TYPE_CHECKING:
    from tensorc.dtypes import DType


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
    """Numbers of every kind: small, large, negative, and for floats the special ones."""
    kind = dtype.numpy
    if dtype.is_bool:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype.is_int:
        small = rng.integers(-9 if dtype.kind == "i" else 0, 10, shape)
        return small.astype(kind)
    return rng.standard_normal(shape).astype(kind)


def arrays_for(program: Program, dims: dict[str, int], seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    result: dict[str, Array] = {}
    for param in program.params:
        shape = tuple(int(interp.evaluate(s, _env(program, dims))) for s in param.buffer.shape)
        if param.role is Role.OUT:
            result[param.buffer.name] = garbage(list(shape), param.buffer.dtype.numpy)
        else:
            result[param.buffer.name] = values(rng, shape, param.buffer.dtype)
    return result


def _env(program: Program, dims: dict[str, int]) -> dict[Any, Any]:
    return {d: np.int64(dims[d.name]) for d in program.dims}


def check(
    text: str | Program,
    arrays: dict[str, Array] | None = None,
    *,
    threads: int = 1,
    lowered: bool = True,
    rtol: float = 0.0,
    target: Target | None = None,
    **dims: int,
) -> Kernel:
    """Compare the compiled program with the interpreter, bit for bit unless `rtol` is given."""
    program = parse(text) if isinstance(text, str) else text
    verify(program)
    target = target or Target()
    ready = lower(program, target) if lowered else program
    verify(ready)
    kernel = Kernel(ready, target)
    given = arrays if arrays is not None else arrays_for(program, dims)
    expected = {k: v.copy() for k, v in given.items()}
    actual = {k: v.copy() for k, v in given.items()}
    with np.errstate(all="ignore"):
        interp.run(program, expected)
    code, info = kernel(actual, threads)
    assert code == 0, (code, info)
    for name, want in expected.items():
        got = actual[name]
        if rtol and want.dtype.kind == "f":
            np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol, err_msg=name)
        elif want.dtype.kind == "f" or want.dtype == ml_dtypes.bfloat16:
            wide, other = got.astype(np.float64), want.astype(np.float64)
            np.testing.assert_array_equal(wide, other, err_msg=name)
        else:
            np.testing.assert_array_equal(got, want, err_msg=name)
    return kernel
