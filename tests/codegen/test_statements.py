"""Each kind of statement and loop, compiled, against the interpreter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.programs import check

if TYPE_CHECKING:
    from codegen.harness import Array

SIZES = st.integers(0, 21)
few = settings(max_examples=8, deadline=None)


def test_a_vector_loop_reads_and_writes_whole_vectors() -> None:
    text = """
program scale(A: in float32[4, 16], B: out float32[4, 16]):
  for i in range(4):
    for j in vectorized(16):
      B[i, j] = A[i, j] * 2.0
"""
    kernel = check(text)
    assert "load <16 x float>" in kernel.text
    assert "store <16 x float>" in kernel.text


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bool", "bfloat16"])
@pytest.mark.parametrize("n", [1, 5, 8, 10, 15])
def test_a_tail_of_known_length_is_stored_without_a_mask(n: int, dtype: str) -> None:
    text = f"""
program copy(A: in {dtype}[3, {n}], B: out {dtype}[3, {n}]):
  for i in range(3):
    for o in unrolled(2):
      for j in vectorized(8):
        if o * 8 + j < {n}:
          if 1 <= o * 8 + j:
            B[i, o * 8 + j] = A[i, o * 8 + j]
    B[i, 0] = A[i, 0]
"""
    kernel = check(text)
    assert ("masked.store" in kernel.text) == (n > 1)  # The first lane alone is off: no prefix.
    assert "reduce.or" not in kernel.text
    assert "masked.store" not in check(text.replace("if 1 <=", "if 0 <=")).text


@few
@given(n=SIZES, width=st.sampled_from([1, 2, 3, 8, 16]))
def test_a_ragged_tail_is_masked(n: int, width: int) -> None:
    text = f"""
program scale(A: in float32[n], B: out float32[n]) dims(n >= 0):
  for i in range((n + {width - 1}) // {width}):
    for j in vectorized({width}):
      if i * {width} + j < n:
        B[i * {width} + j] = A[i * {width} + j] * 2.0
"""
    check(text, n=n)
    check(text, n=n, lowered=False)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("size", [2, 4, 8, 16])
def test_a_square_with_rows_and_columns_exchanged_is_shuffled(size: int, dtype: str) -> None:
    text = f"""
program turn(A: in {dtype}[3, {2 * size}, n], B: out {dtype}[n, {2 * size}]) dims(n >= 0):
  for io in range(n // {size}):
    for jo in range(2):
      for i in unrolled({size}):
        for j in vectorized({size}):
          B[io * {size} + i, jo * {size} + j] = A[1, jo * {size} + j, io * {size} + i]
  for i in range(n % {size}):
    for j in range({2 * size}):
      B[n // {size} * {size} + i, j] = A[2, j, i]
"""
    kernel = check(text, n=2 * size + 1)
    shuffled = size * int(dtype[-2:]) >= 128
    assert (f"load <{size} x " in kernel.text) == shuffled


@pytest.mark.parametrize(
    "source", ["A[j, i // 2]", "A[j, i * 2]", "A[j * 2, 7 - i]", "A[i, i + j]"]
)
def test_what_is_no_exchange_of_rows_and_columns_is_copied_as_it_stands(source: str) -> None:
    text = f"""
program turn(A: in float32[16, 16], B: out float32[8, 8]):
  for i in unrolled(8):
    for j in vectorized(8):
      B[i, j] = {source}
"""
    check(text)


@pytest.mark.parametrize("index", ["7 - j", "j * 2", "15 - j * 2", "j // 2", "3", "I[j]"])
def test_any_access_map_loads_in_a_vector_loop(index: str) -> None:
    text = f"""
program pick(A: in float32[16], I: in int64[8], B: out float32[8]):
  for j in vectorized(8):
    B[j] = A[{index}]
"""
    numbers = np.arange(16, dtype=np.float32)
    where = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    check(text, {"A": numbers, "I": where, "B": np.zeros(8, np.float32)})


PATTERNS = ["j * 2", "15 - j * 2", "j // 2 + 3", "(j + 1) // 2", "j % 4 * 2", "j // 3 + j % 3 * 4"]


@pytest.mark.parametrize("index", PATTERNS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bool", "float16"])
@pytest.mark.parametrize("guard", ["True", "G[j] > 2", "j % 3 != 1"])
def test_lanes_that_read_a_fixed_pattern_are_shuffled(index: str, dtype: str, guard: str) -> None:
    zero = {"b": "False", "i": "int8(0)"}.get(dtype[0], f"{dtype}(0.0)")
    text = f"""
program pick(A: in {dtype}[2, 16], G: in int64[8], B: out {dtype}[2, 8]):
  for i in range(2):
    for j in vectorized(8):
      B[i, j] = where({guard}, A[i, {index}], {zero})
"""
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2 if dtype == "bool" else 100, (2, 16)).astype(dtype)
    given = {"A": numbers, "G": rng.integers(0, 6, 8), "B": np.zeros((2, 8), dtype)}
    kernel = check(text, given)
    assert "gather" not in kernel.text
    assert "shufflevector" in kernel.text


def test_lanes_that_run_on_from_row_to_row_are_neighbours() -> None:
    text = """
program rows(A: in float32[2, 5, 7], B: out float32[2, 35]):
  for i in range(2):
    for o in range(5):
      for j in vectorized(8):
        if o * 8 + j < 35:
          B[i, o * 8 + j] = A[i, (o * 8 + j) // 7, (o * 8 + j) % 7]
"""
    assert "gather" not in check(text).text


def test_a_pattern_of_lanes_stays_between_its_first_and_its_last_element() -> None:
    # The 15 elements that are read fill whole registers only where these overlap.
    text = """
program pick(A: in float32[15], B: out float32[8]):
  for j in vectorized(8):
    B[j] = A[j * 2]
"""
    kernel = check(text)
    loads = [line for line in kernel.text.splitlines() if "= load <" in line]
    assert len(loads) == 2
    assert "getelementptr float, ptr" in kernel.text
    assert "i64 7" in kernel.text


def test_a_choice_by_the_lane_number_takes_turns() -> None:
    text = """
program turns(A: in float32[n, 8], B: in float32[n, 8], C: out float32[n, 16]) dims(n >= 0):
  for i in range(n):
    for o in unrolled(2):
      for j in vectorized(8):
        C[i, o * 8 + j] = where(j % 2 == 0, A[i, (o * 8 + j) // 2], B[i, (o * 8 + j) // 2])
"""
    kernel = check(text, n=3)
    assert "gather" not in kernel.text


@pytest.mark.parametrize("index", ["7 - j", "j * 2", "15 - j * 2", "I[j]", "3"])
@pytest.mark.parametrize("guard", ["True", "A[j] > 2.0", "j < 5"])
def test_any_access_map_stores_in_a_vector_loop(index: str, guard: str) -> None:
    text = f"""
program put(A: in float32[8], I: in int64[8], B: inout float32[16]):
  for j in vectorized(8):
    if {guard}:
      B[{index}] = A[j]
"""
    numbers = np.arange(8, dtype=np.float32)[::-1].copy()
    where = np.array([3, 1, 4, 1, 5, 9, 2, 3])
    check(text, {"A": numbers, "I": where, "B": np.zeros(16, np.float32)})


@pytest.mark.parametrize(
    ("source", "masked"),
    [
        ("G[i * 8 + j]", False),
        ("G[(i * 8 + j) // 2 + j % 4]", False),
        ("G[31 - j * 2]", False),
        ("G[i * 8 + j - 1 + j // 7]", True),
        ("A[i * 8 + j]", True),
    ],
)
@pytest.mark.parametrize("loop", ["range", "parallel"])
def test_a_read_that_is_inside_anyway_needs_no_mask(source: str, masked: bool, loop: str) -> None:
    inside = "i * 8 + j < n" if source[0] == "A" else "i * 8 + j >= 1"
    text = f"""
program relu(A: in float32[n], X: in float32[4, 8], G: in float32[32], D: out float32[4, 8])
    dims(n >= 0):
  for i in {loop}(4):
    for j in vectorized(8):
      D[i, j] = where(X[i, j] > 0.0 and {inside}, {source}, 0.0)
"""
    kernel = check(text.replace("\n    dims", " dims"), n=29, threads=2)
    assert ("masked" in kernel.text) == masked


def test_masked_gathers_leave_out_of_range_indices_alone() -> None:
    text = """
program pick(A: in float32[4], I: in int64[8], B: out float32[8]):
  for j in vectorized(8):
    B[j] = where(I[j] >= 0 and I[j] < 4, A[I[j]], -1.0)
"""
    where = np.array([0, 10**12, 3, -5, 2, 4, 1, -(10**14)])
    check(text, {"A": np.ones(4, np.float32), "I": where, "B": np.zeros(8, np.float32)})


@pytest.mark.parametrize("kind", ["range", "vectorized", "unrolled", "parallel"])
def test_where_evaluates_one_side_only(kind: str) -> None:
    text = f"""
program pad(A: in float32[n], B: out float32[12]) dims(n >= 0):
  for i in {kind}(12):
    B[i] = where(i >= 2 and i < n + 2, A[i - 2], where(n > 100, A[n - 1], 7.0))
"""
    for n in (0, 1, 5, 10):
        check(text, n=n)


def test_a_uniform_load_under_a_lane_condition_is_not_done_when_no_lane_needs_it() -> None:
    text = """
program pick(A: in float32[n], I: in int64[8], B: out float32[8]) dims(n >= 0):
  for k in range(3):
    for j in vectorized(8):
      B[j] = where(I[j] > 100, A[k * 1000000000], 5.0)
"""
    check(text, {"A": np.zeros(0, np.float32), "I": np.zeros(8, np.int64), "B": np.zeros(8, "f4")})


def test_else_takes_the_other_lanes() -> None:
    text = """
program split(A: in float32[8], B: out float32[8]):
  for j in vectorized(8):
    if A[j] > 0.0:
      B[j] = A[j]
    else:
      if A[j] < -1.0:
        B[j] = -1.0
      else:
        B[j] = 0.0
"""
    check(text)


def test_a_triangular_loop_inside_a_vector_loop_runs_to_the_longest_lane() -> None:
    text = """
program prefix(A: in float32[8], B: out float32[8]):
  for j in vectorized(8):
    B[j] = 0.0
    for k in range(j + 1):
      B[j] += A[k]
"""
    check(text)


@pytest.mark.parametrize("kind", ["range", "vectorized", "unrolled"])
@pytest.mark.parametrize(
    ("name", "dtype", "unit"),
    [("+", "float32", "0.0"), ("+", "int32", "int32(0)"), ("*", "float64", "float64(1.0)"),
     ("max", "float32", "float32(-inf)"), ("min", "int64", "9223372036854775807"),
     ("and", "bool", "True"), ("or", "bool", "False")],
)  # fmt: skip
def test_a_reduction_over_any_loop_combines_in_order(
    kind: str, name: str, dtype: str, unit: str
) -> None:
    text = f"""
program fold(A: in {dtype}[3, 8], S: out {dtype}[3]):
  for i in range(3):
    S[i] = {unit}
    for k in {kind}(8):
      S[i] {name}= A[i, k]
"""
    check(text)
    check(text, lowered=False)


def test_a_reduction_over_lanes_respects_a_mask() -> None:
    text = """
program fold(A: in float32[n], S: out float32[]) dims(n >= 0):
  S[] = -0.0
  for k in range((n + 7) // 8):
    for l in vectorized(8):
      if k * 8 + l < n:
        S[] += A[k * 8 + l]
"""
    for n in (0, 1, 7, 8, 13):
        kernel = check(text, n=n)
        assert "noalias" in kernel.text


def test_lanes_that_meet_in_one_element_accumulate_one_after_the_other() -> None:
    text = """
program count(I: in int64[16], V: in float32[16], C: inout float32[4]):
  for k in vectorized(16):
    C[I[k]] += V[k]
"""
    rng = np.random.default_rng(0)
    arrays: dict[str, Array] = {
        "I": rng.integers(0, 4, 16),
        "V": rng.standard_normal(16).astype(np.float32),
        "C": np.zeros(4, np.float32),
    }
    check(text, arrays)


@pytest.mark.parametrize("kind", ["range", "vectorized"])
def test_argmax_keeps_the_first_of_equals_and_nan_wins(kind: str) -> None:
    text = f"""
program best(A: in float32[4, 8], V: out float32[4], I: out int64[4]):
  for i in range(4):
    V[i] = float32(-inf)
    I[i] = 9223372036854775807
    for k in {kind}(8):
      (V[i], I[i]) argmax= (A[i, k], k)
"""
    a = np.array([[1, 3, 3, 2, 0, 0, 0, 3]] * 4, np.float32)
    a[1, 5] = a[1, 6] = np.nan
    a[2, :] = -np.inf
    check(text, {"A": a, "V": np.zeros(4, "f4"), "I": np.zeros(4, "i8")})


def test_a_local_buffer_in_a_vector_loop_is_each_lanes_own() -> None:
    text = """
program poly(A: in float32[8], B: out float32[8]):
  for j in vectorized(8):
    alloc T: float32[4] local
      for k in range(4):
        T[k] = A[j] * float32(k)
      B[j] = T[3] - T[1]
"""
    check(text)


def test_a_global_buffer_in_a_vector_loop_is_each_lanes_own() -> None:
    text = """
program poly(A: in float32[8], B: out float32[8]):
  for j in vectorized(8):
    alloc T: float32[4]
      for k in range(4):
        T[k] = A[j] * float32(k)
      B[j] = T[3] - T[1]
"""
    check(text)


def test_a_register_tile_stays_in_registers() -> None:
    text = """
program mm(A: in float32[12, 20], B: in float32[20, 32], C: out float32[12, 32]):
  for i in range(2):
    for j in range(2):
      alloc T: float32[6, 16] local
        for a in unrolled(6):
          for b in vectorized(16):
            T[a, b] = 0.0
        for k in range(20):
          for a in unrolled(6):
            for b in vectorized(16):
              T[a, b] += A[i * 6 + a, k] * B[k, j * 16 + b]
        for a in unrolled(6):
          for b in vectorized(16):
            C[i * 6 + a, j * 16 + b] = T[a, b]
"""
    check(text, rtol=1e-5)


@few
@given(m=SIZES, p=st.integers(0, 9), n=SIZES)
def test_a_tiled_matmul_with_symbolic_sizes(m: int, p: int, n: int) -> None:
    head = "A: in float32[m, p], B: in float32[p, n], C: out float32[m, n]"
    text = f"""
program f({head}) dims(m >= 0, n >= 0, p >= 0):
  for i in parallel((m + 3) // 4):
    for j in range((n + 7) // 8):
      for a in unrolled(4):
        for b in vectorized(8):
          if i * 4 + a < m and j * 8 + b < n:
            C[i * 4 + a, j * 8 + b] = 0.0
      for k in range(p):
        for a in unrolled(4):
          for b in vectorized(8):
            if i * 4 + a < m and j * 8 + b < n:
              C[i * 4 + a, j * 8 + b] += A[i * 4 + a, k] * B[k, j * 8 + b]
"""
    check(text, m=m, p=p, n=n, rtol=1e-6)


def test_shared_subexpressions_do_not_grow_the_text() -> None:
    text = "program deep(A: in float32[4], B: out float32[4]):\n  for i in range(4):\n    B[i] = "
    expr = "A[i]"
    lets = ""
    for k in range(40):
        lets += f"(let v{k} = {expr} + {expr} in "
        expr = f"v{k}"
    kernel = check(text + lets + expr + ")" * 40 + "\n")
    assert len(kernel.text) < 40_000


def test_a_vector_loop_inside_a_vector_loop_is_written_out() -> None:
    text = """
program outer(A: in float32[4], B: in float32[3], C: out float32[4, 3]):
  for i in vectorized(4):
    for j in vectorized(3):
      C[i, j] = A[i] * B[j]
"""
    check(text)


def test_the_text_of_a_module_is_the_same_twice() -> None:
    text = """
program scale(A: in float32[n], B: out float32[n]) dims(n >= 0):
  for i in parallel(n):
    B[i] = exp(A[i])
"""
    first = check(text, n=5, rtol=1e-6)
    assert check(text, n=5, rtol=1e-6).text == first.text
