"""Intrinsics: operations on tiles with a stated meaning, which `tensorize` puts in place of a nest.

fma.4, fma.8, fma.16    C[j] += A * B[j] for 4, 8, 16 lanes of float32
dot4.int8               C += A[k] * B[k] for 4 int8 values each, in int32
mma.m16n8k16.bf16       C[i, j] += A[i, k] * B[k, j] of 16x16 and 16x8 values, in float32, by the 32
mma.m16n8k16.f16        threads of a warp: lane t has C[t // 4 + 8h, t % 4 * 2 + c], h and c 0 and 1
mma.m16n8k8.tf32        the same of 16x8 and 8x8 float32 values, each rounded: tf32(A[i, k])
wgmma.m64nNk16.bf16     the same of 64x16 and 16xN values, N a multiple of 8 up to 256, by the 128
wgmma.m64nNk16.f16      threads of a warp group, of which warp w has rows 16w to 16w + 15
wgmma.m64nNk8.tf32      the same of 64x8 and 8xN float32 values, each rounded
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tensorc.errors import ScheduleError
from tensorc.ir import interp
from tensorc.ir.expr import const_int
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.stmt import For, Param, Program, Role
from tensorc.ir.verify import verify

LANES = (4, 8, 16)
# The dtype of the operands, how many of their elements are summed up, and how one is read.
_MMA = {
    "mma.m16n8k16.bf16": ("bfloat16", 16, "float32"),
    "mma.m16n8k16.f16": ("float16", 16, "float32"),
    "mma.m16n8k8.tf32": ("float32", 8, "tf32"),
}
NAMES = (*(f"fma.{n}" for n in LANES), "dot4.int8", *_MMA)
_WGMMA = {
    f"wgmma.m64n{n}{name.removeprefix('mma.m16n8')}": (n, *form)
    for n in range(8, 264, 8)
    for name, form in _MMA.items()
}
FAMILY = "wgmma.m64nNk16.bf16, .f16 and wgmma.m64nNk8.tf32 for N = 8, 16, ... 256"


@dataclass(frozen=True, slots=True)
class Intrinsic:
    """An operation on tiles: what it means, and the nest that does it.

    Attributes:
        name: what `tensorize` calls it.
        meaning: its operands are formal ones, of constant shape (`float32[]` is one element); its
            body, one loop nest, is what a nest must look like.
        implementation: a program with the same operands, whose body replaces the nest.
        reassociates: the implementation folds floats in another order.
        compared: someone has compared the two, as the tests do with those of this module.

    Making one runs both on random numbers and compares the results: whole numbers, and fractions
    too (bit for bit) unless it reassociates.

    Raises:
        ScheduleError: the two differ, in operands or in results; a shape is not constant; the
            meaning is not one loop nest.
    """

    name: str
    meaning: Program
    implementation: Program
    reassociates: bool = False
    compared: bool = False

    def __post_init__(self) -> None:
        step = f"intrinsic {self.name}"
        if not isinstance(self.meaning.body, For):
            raise ScheduleError(f"{step}: its meaning must be one loop nest")
        forms = [[_form(p) for p in x.params] for x in (self.meaning, self.implementation)]
        if forms[0] != forms[1]:
            raise ScheduleError(
                f"{step}: the operands of meaning and implementation differ: "
                f"{', '.join(forms[0])} and {', '.join(forms[1])}"
            )
        for program in (self.meaning, self.implementation):
            if any(const_int(e) is None for p in program.params for e in p.buffer.shape):
                raise ScheduleError(f"{step}: the shapes of its operands must be constant")
            verify(program)
        if self.compared:
            return
        for fractions in (False,) if self.reassociates else (False, True):
            for seed in range(3):
                expected = _results(self.meaning, seed, fractions)
                got = _results(self.implementation, seed, fractions)
                for name, array in expected.items():
                    if array.tobytes() != got[name].tobytes():
                        raise ScheduleError(
                            f"{step}: its implementation computes another '{name}': "
                            f"{got[name].tolist()} in place of {array.tolist()}"
                            + ("; does it reassociate?" if fractions else "")
                        )


def _form(param: Param) -> str:
    buffer = param.buffer
    return f"{buffer.name}: {param.role.value} {buffer.dtype}[{', '.join(map(show, buffer.shape))}]"


def _results(program: Program, seed: int, fractions: bool) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for param in program.params:
        shape = tuple(const_int(e) or 0 for e in param.buffer.shape)
        numbers = rng.standard_normal(shape) if fractions else rng.integers(-4, 5, shape)
        filled = np.asarray(numbers).astype(param.buffer.dtype.numpy)
        arrays[param.buffer.name] = np.zeros_like(filled) if param.role is Role.OUT else filled
    interp.run(program, arrays)
    return arrays


def is_builtin(name: str) -> bool:
    """Whether `builtin` has an intrinsic of that name."""
    return name in NAMES or name in _WGMMA


@cache
def builtin(name: str) -> Intrinsic:
    """The intrinsic `name` of this module's tables."""
    assert is_builtin(name), f"{name} is one of {NAMES} and {FAMILY}"
    if name in _WGMMA:
        meaning, nest = (_wgmma(*_WGMMA[name], by_lanes) for by_lanes in (False, True))
        return Intrinsic(name, meaning, nest, reassociates=True, compared=True)
    if name == "dot4.int8":
        return Intrinsic(name, _dot4("range"), _dot4("unrolled"))
    if name in _MMA:
        return Intrinsic(name, _mma(name, False), _mma(name, True), reassociates=True)
    lanes = int(name.removeprefix("fma."))
    return Intrinsic(name, _fma(lanes, "range"), _fma(lanes, "vectorized"))


def _fma(lanes: int, kind: str) -> Program:
    tile = f"float32[{lanes}]"
    return parse(
        f"""program fma(A: in float32[], B: in {tile}, C: inout {tile}):
  for j in {kind}({lanes}):
    C[j] += A[] * B[j]
"""
    )


def _dot4(kind: str) -> Program:
    return parse(
        f"""program dot4(A: in int8[4], B: in int8[4], C: inout int32[]):
  for k in {kind}(4):
    C[] += int32(A[k]) * int32(B[k])
"""
    )


def _mma(name: str, by_lanes: bool) -> Program:
    dtype, depth, read = _MMA[name]
    nest = f"""  for i in range(16):
    for j in range(8):
      for k in range({depth}):
        C[i, j] += {read}(A[i, k]) * {read}(B[k, j])
"""
    if by_lanes:
        row, column = "lane // 4 + h * 8", "lane % 4 * 2 + c"
        nest = f"""  for lane in thread.x(32):
    for h in unrolled(2):
      for c in unrolled(2):
        for k in range({depth}):
          C[{row}, {column}] += {read}(A[{row}, k]) * {read}(B[k, {column}])
"""
    a, b = f"{dtype}[16, {depth}]", f"{dtype}[{depth}, 8]"
    return parse(f"program mma(A: in {a}, B: in {b}, C: inout float32[16, 8]):\n{nest}")


def _wgmma(columns: int, dtype: str, depth: int, read: str, by_lanes: bool) -> Program:
    nest = f"""  for i in range(64):
    for j in range({columns}):
      for k in range({depth}):
        C[i, j] += {read}(A[i, k]) * {read}(B[k, j])
"""
    if by_lanes:
        row, column = "lane // 32 * 16 + lane % 32 // 4 + h * 8", "n * 8 + lane % 4 * 2 + c"
        nest = f"""  for lane in thread.x(128):
    for h in unrolled(2):
      for n in unrolled({columns // 8}):
        for c in unrolled(2):
          for k in range({depth}):
            C[{row}, {column}] += {read}(A[{row}, k]) * {read}(B[k, {column}])
"""
    operands = f"A: in {dtype}[64, {depth}], B: in {dtype}[{depth}, {columns}]"
    return parse(f"program wgmma({operands}, C: inout float32[64, {columns}]):\n{nest}")
