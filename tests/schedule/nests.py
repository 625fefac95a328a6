"""Small programs to schedule, and how two of them are compared."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Literal

import numpy as np

from tensorc.ir import interp
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.stmt import Program, Role
from tensorc.ir.verify import verify
from tensorc.ir.walk import same

if TYPE_CHECKING:
    from tensorc.schedule.schedule import Schedule


def scale(n: int | str = 10) -> Program:
    dims = f" dims({n} >= 0)" if isinstance(n, str) else ""
    return parse(
        f"""program main(A: in float32[{n}], B: out float32[{n}]){dims}:
  for i in range({n}):
    B[i] = A[i] * 2.0
"""
    )


def matmul(m: int = 8, k: int = 6, n: int = 10) -> Program:
    return parse(
        f"program main(A: in float32[{m}, {k}], B: in float32[{k}, {n}], C: out float32[{m}, {n}]):"
        f"""
  for i in range({m}):
    for j in range({n}):
      C[i, j] = 0.0
      for k in range({k}):
        C[i, j] += A[i, k] * B[k, j]
"""
    )


def two_stages(n: int = 9) -> Program:
    """B[i] = A[i] + A[i + 1], then C[j] = B[j] * B[j + 1]."""
    return parse(
        f"""program main(A: in float32[{n + 2}], C: out float32[{n}]):
  alloc B: float32[{n + 1}]
    for i in range({n + 1}):
      B[i] = A[i] + A[i + 1]
    for j in range({n}):
      C[j] = B[j] * B[j + 1]
"""
    )


def diagonal() -> Program:
    """Each element needs one of the row before, further right."""
    return parse(
        """program main(B: inout float32[8, 8]):
  for i in range(1, 8):
    for j in range(7):
      B[i, j] = B[i - 1, j + 1] * 0.5
"""
    )


def run(
    program: Program, order: Literal["forward", "reverse"] = "forward", **dims: int
) -> dict[str, np.ndarray]:
    """The arrays after the program ran on small integers, drawn by name."""
    arrays: dict[str, np.ndarray] = {}
    for param in program.params:
        buffer = param.buffer
        shape = tuple(dims[str(s)] if str(s) in dims else int(str(s)) for s in buffer.shape)
        rng = np.random.default_rng(len(arrays))
        filled = rng.integers(-4, 5, shape).astype(buffer.dtype.numpy)
        arrays[buffer.name] = np.zeros_like(filled) if param.role is Role.OUT else filled
    interp.run(program, arrays, order=order)
    return arrays


def assert_same_results(plain: Program, scheduled: Program, **dims: int) -> None:
    """Both give the same numbers, exactly, whichever way parallel loops run."""
    verify(scheduled)
    expected = run(plain, "forward", **dims)
    orders: tuple[Literal["forward", "reverse"], ...] = ("forward", "reverse")
    for order in orders:
        got = run(scheduled, order, **dims)
        for name, array in expected.items():
            np.testing.assert_array_equal(got[name], array, err_msg=name)


def assert_text(schedule: Schedule, expected: str) -> None:
    """The program's body reads as `expected`, and its text parses back to it."""
    text = show(schedule.program)
    body = text.split(":\n", 1)[1]
    assert textwrap.dedent(body).strip() == textwrap.dedent(expected).strip()
    assert same(parse(text), schedule.program)
