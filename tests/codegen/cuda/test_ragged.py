"""Ragged edges: guards of whole vectors, padded copies, and zeros that cp.async writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.cuda.harness import ORDERS, check
from codegen.cuda.programs import emitted
from tensorc.codegen.cuda import compile_cuda, disassemble, instructions
from tensorc.codegen.cuda.guards import of_all_lanes, of_first_lane
from tensorc.ir.expr import Compare, CompareOp, Const, Expr, Var, const_int
from tensorc.ir.interp import evaluate
from tensorc.ir.stmt import Block, For, ForKind

ROWS = 8


def fetched(
    n: int | str, lanes: int = 4, hint: str = " {async: True}", dtype: str = "float32"
) -> str:
    """Rows of n elements that go through shared memory in padded tiles, one row ahead."""
    tile = 64 * lanes
    inside = f"b * {tile} + t * {lanes} + v < {n}"
    blocks = -(-n // tile) if isinstance(n, int) else f"({n} + {tile - 1}) // {tile}"
    dims = "" if isinstance(n, int) else f" dims({n} >= 0)"
    return f"""program p(A: in {dtype}[{ROWS}, {n}], B: out {dtype}[{ROWS}, {n}]){dims}:
  for b in block.x({blocks}):
    alloc S: {dtype}[2, {tile}] shared
      for a in range(1):
        for t in thread.x(64){hint}:
          for v in vectorized({lanes}):
            S[a, t * {lanes} + v] = where({inside}, A[a, b * {tile} + t * {lanes} + v], {dtype}(0.0))
      for i in range({ROWS}):
        if i + 1 < {ROWS}:
          for t in thread.x(64){hint}:
            for v in vectorized({lanes}):
              S[(i + 1) % 2, t * {lanes} + v] = where({inside}, A[i + 1, b * {tile} + t * {lanes} + v], {dtype}(0.0))
        for t in thread.x(64):
          for v in vectorized({lanes}):
            if {inside}:
              B[i, b * {tile} + t * {lanes} + v] = S[i % 2, t * {lanes} + v] * {dtype}(2.0)
"""  # noqa: E501


def body(text: str, arch: str = "sm_80") -> str:
    """The code of the kernel, without comments."""
    lines = emitted(text, arch).source.split("__global__")[1].splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("//"))


@pytest.mark.parametrize(
    ("n", "lanes", "dtype", "call"),
    [
        (300, 4, "float32", "cp_async16_or_zeros("),
        (302, 4, "float32", "cp_async4_or_zeros("),
        (302, 2, "float32", "cp_async8_or_zeros("),
        (301, 1, "float32", "cp_async4_or_zeros("),
        (520, 8, "bfloat16", "cp_async16_or_zeros("),
        (300, 2, "float64", "cp_async16_or_zeros("),
    ],
)
def test_padded_copies_are_issued_with_zeros(n: int, lanes: int, dtype: str, call: str) -> None:
    text = fetched(n, lanes, dtype=dtype)
    assert body(text).count(call) == 2
    assert "cp_async_wait<1>();" in body(text)
    check(text, orders=ORDERS if lanes == 4 else ORDERS[:1])


def test_padding_that_no_instruction_writes_is_an_ordinary_copy() -> None:
    narrow = fetched(516, 8, dtype="bfloat16")  # The edge cuts vectors, in elements of 2 bytes.
    ones = fetched(300).replace("float32(0.0)", "float32(1.0)")
    minus = fetched(300).replace("float32(0.0)", "float32(-0.0)")
    for text in (narrow, ones, minus):
        assert "cp_async" not in body(text)
        check(text, orders=ORDERS[:1])
    assert "cp_async" not in body(fetched(300), "sm_75")


def test_whole_vectors_are_wide_and_the_rest_goes_lane_by_lane() -> None:
    even, odd = body(fetched(300, hint="")), body(fetched(302, hint=""))
    assert "if (b * 256 + tid * 4 < 300) {" in even
    assert "+ v < 300" not in even
    assert "if (b * 256 + tid * 4 + 3 < 302) {" in odd
    assert "copy8(&B[" in odd
    check(fetched(300, hint=""))
    check(fetched(302, hint=""))


@pytest.mark.parametrize("n", [0, 1, 3, 256, 259])
def test_edges_of_symbolic_size(n: int) -> None:
    text = """program p(A: in float32[n], B: out float32[n]) dims(n >= 0):
  for b in block.x((n + 255) // 256):
    for t in thread.x(64):
      for v in vectorized(4):
        if b * 256 + t * 4 + v < n:
          B[b * 256 + t * 4 + v] = A[b * 256 + t * 4 + v] + 1.0
"""
    assert "+ 3 < n) {" in body(text)
    assert "copy16(&B[" in body(text)
    check(text, n=n)


def test_the_machine_code_of_a_ragged_pipeline_copies_past_the_registers() -> None:
    binary = compile_cuda(emitted(fetched(300)).source, "sm_80")
    names = instructions(disassemble(binary.cubin))["p_B"]
    assert any(n.startswith("LDGSTS") and "128" in n for n in names)
    assert any(n.startswith("STG") and "128" in n for n in names)


X, LANE = Var("x"), Var("v")


@given(
    op=st.sampled_from([CompareOp.LT, CompareOp.LE, CompareOp.GT, CompareOp.GE]),
    turned=st.booleans(),
    scale=st.integers(1, 6),
    shift=st.integers(-5, 5),
    edge=st.integers(-20, 20),
    slope=st.sampled_from([1, 2, -1]),
    lanes=st.sampled_from([2, 4]),
)
def test_a_guard_of_the_vector_is_that_of_its_lanes(
    op: CompareOp, turned: bool, scale: int, shift: int, edge: int, slope: int, lanes: int
) -> None:
    side: Expr = X * scale + shift + LANE * slope
    sides = (Const(edge), side) if turned else (side, Const(edge))
    cond = Compare(op, *sides)
    loop = For(LANE, Const(0), Const(lanes), Block(()), ForKind.VECTORIZED)
    first, every = of_first_lane(cond, loop), of_all_lanes(cond, loop)
    assert every is not None
    if slope == 1 and scale % lanes == shift % lanes == edge % lanes == 0:
        agrees = op in ((CompareOp.GT, CompareOp.LE) if turned else (CompareOp.LT, CompareOp.GE))
        assert (first is not None) is agrees
    for x in range(-8, 9):
        found = [bool(evaluate(cond, {X: x, LANE: v})) for v in range(lanes)]
        assert bool(evaluate(every, {X: x})) is all(found)
        if first is not None:
            assert [bool(evaluate(first, {X: x}))] * lanes == found
    assert const_int(loop.extent) == lanes
