"""Lines that are asked for at the beginning of a tile: which, and that the answer is the same."""

from __future__ import annotations

import re

import numpy as np

from codegen.harness import Kernel
from tensorc.ir.parser import parse
from tensorc.target import Target

X86 = Target(cpu="haswell", features="+avx2,+avx,+fma", triple="x86_64-unknown-linux-gnu")
TILES = """program main(A: in float32[{rows}, 40], D: in {shape}, C: out {shape}):
  for j in {loop} {{prefetch_tile: {hint}}}:
    alloc T: float32[{rows}, {columns}] local
      for i in unrolled({rows}):
        for l in vectorized({columns}):
          T[i, l] = 0.0
      for k in range(40):
        for i_1 in unrolled({rows}):
          for l_1 in vectorized({columns}):
            T[i_1, l_1] += A[i_1, k]
      for i_2 in unrolled({rows}):
        for l_2 in vectorized({columns}):
          C[i_2, j * {columns} + l_2] = D[i_2, j * {columns} + l_2] + T[i_2, l_2]
"""


def kernel(rows: int = 6, columns: int = 16, loop: str = "range(4)", hint: str = "0") -> Kernel:
    shape = f"float32[{rows}, {4 * columns}]"
    text = TILES.format(rows=rows, columns=columns, shape=shape, loop=loop, hint=hint)
    return Kernel(parse(text), X86)


def asked(text: str) -> list[tuple[str, str]]:
    """The pointer and the kind, 1 to write, of each request."""
    return re.findall(r"call void @llvm\.prefetch\.p0\(ptr (\S+), i32 ([01]), i32 3, i32 1\)", text)


def test_a_tile_asks_once_for_each_line_of_what_it_reads_and_writes_after_its_sum() -> None:
    kinds = [kind for _, kind in asked(kernel().text)]
    assert sorted(kinds) == ["0"] * 6 + ["1"] * 6, "a row of 16 numbers is a line"
    assert len(asked(kernel(columns=32).text)) == 2 * len(kinds)


def test_lines_are_asked_for_by_their_last_element() -> None:
    text = kernel(rows=1).text
    (pointer, _), *_ = asked(text)
    (offset,) = re.findall(rf"{re.escape(pointer)} = getelementptr float, ptr \S+, i64 (\d+)", text)
    assert int(offset) == 15


def test_nothing_is_asked_for_without_the_hint_or_beyond_what_the_processor_keeps_in_flight() -> (
    None
):
    assert asked(kernel(hint="False").text) == []
    assert asked(kernel(rows=12, columns=64).text) == []


def test_a_distance_asks_for_what_a_later_iteration_touches() -> None:
    near, far = (kernel(hint=hint).text for hint in ("0", "3"))
    assert len(asked(far)) == len(asked(near)) > 0
    assert near != far, "as many lines, three tiles further on"
    assert asked(kernel(hint="-1").text) == []


def test_a_loop_that_threads_share_asks_too() -> None:
    assert len(asked(kernel(loop="parallel(4)").text)) == 12


def test_asking_ahead_changes_no_result() -> None:
    a = np.arange(240, dtype=np.float32).reshape(6, 40)
    d, out = np.ones((6, 64), np.float32), np.zeros((6, 64), np.float32)
    code, _ = kernel()({"A": a, "D": d, "C": out})
    assert code == 0
    assert np.array_equal(out, np.repeat(a.sum(axis=1)[:, None] + 1, 64, axis=1))


def test_what_is_added_to_after_the_sum_is_asked_for_too() -> None:
    text = TILES.format(rows=6, columns=16, shape="float32[6, 64]", loop="range(4)", hint="0")
    stored = "C[i_2, j * 16 + l_2] = D[i_2, j * 16 + l_2] + T[i_2, l_2]"
    assert stored in text
    added = text.replace(stored, "C[i_2, j * 16 + l_2] += T[i_2, l_2]")
    kinds = [
        kind for _, kind in asked(Kernel(parse(added.replace("C: out", "C: inout")), X86).text)
    ]
    assert kinds == ["1"] * 6
