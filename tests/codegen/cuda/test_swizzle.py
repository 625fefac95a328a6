"""Swizzled shared memory: every address follows the pattern, and columns meet no bank twice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from codegen.cuda.harness import ORDERS, PROFILED, Emulated, check
from codegen.cuda.programs import emitted, tensor_gemm
from codegen.cuda.schedules import tensor_core_schedule
from codegen.programs import arrays_for
from tensorc.codegen.cuda import compile_cuda
from tensorc.dtypes import as_dtype
from tensorc.ir.swizzle import Swizzle

if TYPE_CHECKING:
    from tensorc.emulator.profile import MemoryProfile


def transposed(
    rows: int, columns: int, dtype: str, swizzle: Swizzle | None, lanes: int, bulk: int = 1
) -> str:
    """Tiles that are written along rows and read along columns, `lanes` elements at once."""
    each = columns // lanes
    pattern = "" if swizzle is None else f" {swizzle}"
    return f"""program p(A: in {dtype}[{bulk}, {rows}, {columns}], C: out {dtype}[{bulk}, {each}, {rows}, {lanes}]):
  for b in block.x(1):
    alloc T: {dtype}[{bulk}, {rows}, {columns}] shared{pattern}
      for s in range({bulk}):
        for y in thread.y({rows}):
          for x in thread.x({each}):
            for v in vectorized({lanes}):
              T[s, y, x*{lanes} + v] = A[s, y, x*{lanes} + v]
      for s in range({bulk}):
        for x in thread.y({each}):
          for y in thread.x({rows}):
            for v in vectorized({lanes}):
              C[s, x, y, v] = T[s, y, x*{lanes} + v]
"""  # noqa: E501


def profiled(emulated: Emulated) -> MemoryProfile:
    arrays = arrays_for(emulated.program, {})
    return emulated.run(arrays, PROFILED).profile


@pytest.mark.parametrize(
    ("rows", "columns", "dtype", "swizzle", "lanes", "bulk"),
    [
        (32, 64, "float16", Swizzle(128), 8, 2),
        (32, 32, "float16", Swizzle(64), 8, 2),
        (32, 16, "bfloat16", Swizzle(32), 8, 3),
        (16, 128, "float16", Swizzle(128, 4), 8, 1),
        (16, 64, "float32", Swizzle(128, 4), 4, 1),
        (16, 64, "float32", Swizzle(128, 3), 4, 1),
        (8, 32, "float64", Swizzle(128, 4), 2, 2),
        (32, 32, "float32", Swizzle(128), 1, 1),
        (64, 96, "float16", Swizzle(64), 8, 1),
        (32, 32, "int8", Swizzle(32), 16, 1),
    ],
)
def test_elements_are_found_where_they_were_put(
    rows: int, columns: int, dtype: str, swizzle: Swizzle, lanes: int, bulk: int
) -> None:
    check(transposed(rows, columns, dtype, swizzle, lanes, bulk))


def test_the_place_of_an_element_is_the_patterns() -> None:
    # Where T[r, c] lies is seen through a second, plain view: its bytes copied out in order.
    source = emitted(transposed(8, 64, "float16", Swizzle(128), 8)).source
    (index,) = re.findall(r"copy16\(&T\[(?:s|0)\]\[y\]\[([^]]*)\]", source)
    for y in range(8):
        for x in range(8):
            column = eval(index, {}, {"y": y, "x": x})
            assert (y * 64 + column) * 2 == Swizzle(128).place((y * 64 + x * 8) * 2)


def test_columns_meet_no_bank_twice() -> None:
    plain = profiled(Emulated(transposed(32, 64, "float16", None, 8)))
    spread = profiled(Emulated(transposed(32, 64, "float16", Swizzle(128), 8)))
    assert plain.ratio("shared") > 2
    assert spread.ratio("shared") == 1.0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_tensor_cores_without_padding_have_no_bank_conflict(dtype: str) -> None:
    padded = tensor_gemm(dtype=dtype)
    text = padded.replace("[64, 24] shared", "[64, 16] shared swizzle(32)")
    text = text.replace("[16, 72] shared", "[16, 64] shared swizzle(128)")
    assert profiled(Emulated(re.sub(r" swizzle\(\d+\)", "", text))).ratio("shared") > 1.2
    emulated = Emulated(text)
    assert profiled(emulated).ratio("shared") == 1.0
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((64, 64)).astype(as_dtype(dtype).numpy) for _ in "AB")
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    bound = 64 * 2.0**-24 * (np.abs(wide_a) @ np.abs(wide_b))
    for options in ORDERS:
        run = emulated.run({"A": a, "B": b, "C": np.zeros((64, 64), np.float32)}, options)
        assert not run.findings, [str(f) for f in run.findings]
        assert np.all(np.abs(run.results["C"] - wide_a @ wide_b) <= bound)


def test_a_pipelined_schedule_copies_asynchronously_into_swizzled_stages() -> None:
    emulated = Emulated(tensor_core_schedule(128, 3, swizzled=True).program)
    assert "cp_async16(" in emulated.module.source
    assert "ldmatrix_x4(" in emulated.module.source
    assert profiled(emulated).ratio("shared") == 1.0
    padded = tensor_core_schedule(128, 3).program
    (less,) = emulated.module.static_shared.values()
    (more,) = Emulated(padded).module.static_shared.values()
    assert less < more


def test_dynamic_shared_memory_starts_where_the_pattern_does() -> None:
    text = transposed(32, 64, "float16", Swizzle(128), 8, 16)
    source = emitted(text).source
    assert "extern __shared__ __align__(1024) unsigned char smem[];" in source
    check(text)
    assert "warning" not in compile_cuda(source, "sm_90").log
