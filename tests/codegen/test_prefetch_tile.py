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


PANELS = "A: in float32[9, {steps}, 6], B: in float32[4, {steps}, 16], C: out float32[54, 64]"
NEXT = (
    f"program main({PANELS}):"
    + """
  for i in range(9) {{{hint}}}:
    for j in {loop}:
      alloc T: float32[6, 16] local
        for r in unrolled(6):
          for l in vectorized(16):
            T[r, l] = 0.0
        for k in range({steps}):
          for r_1 in unrolled(6):
            for l_1 in vectorized(16):
              T[r_1, l_1] += A[{panel}] * B[j, k, l_1]
        for r_2 in unrolled(6):
          for l_2 in vectorized(16):
            C[i * 6 + r_2, j * 16 + l_2] = T[r_2, l_2]
"""
)


def next_kernel(
    steps: int = 40,
    hint: str = "prefetch_next: 1",
    loop: str = "range(4)",
    panel: str = "i, k, r_1",
) -> Kernel:
    return Kernel(parse(NEXT.format(steps=steps, hint=hint, loop=loop, panel=panel)), X86)


def test_each_iteration_asks_for_its_share_of_what_the_next_one_around_adds_up() -> None:
    kinds = [kind for _, kind in asked(next_kernel().text)]
    assert kinds == ["0"] * 4, "a panel of 960 bytes is 15 lines, a quarter of them 4"
    assert len(asked(next_kernel(steps=80).text)) == 8
    assert len(asked(next_kernel(loop="range(2)").text)) == 8


def test_shares_begin_at_the_next_panel_and_lie_one_after_the_other() -> None:
    text = next_kernel().text
    pointers = [re.escape(p) for p, _ in asked(text)]
    found = [re.findall(rf"{p} = getelementptr float, ptr \S+, i64 (\S+)", text) for p in pointers]
    assert [int(x) for (x,) in found] == [240, 256, 272, 288], "a panel has 240 elements"


def test_nothing_is_asked_for_that_the_loop_inside_chooses() -> None:
    assert asked(next_kernel(hint="prefetch_next: 0").text) == []
    assert asked(next_kernel(panel="j, k, r_1").text) == []
    assert asked(next_kernel(panel="2 * j + i // 9, k, r_1").text) == []
    assert asked(next_kernel(loop="unrolled(4)").text) == []
    assert asked(next_kernel(steps=4000).text) == [], "a share of 375 lines is more than it keeps"


def test_asking_for_the_next_panel_changes_no_result() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(-4, 5, (9, 40, 6)).astype(np.float32)
    b = rng.integers(-4, 5, (4, 40, 16)).astype(np.float32)
    c = np.empty((54, 64), np.float32)
    code, _ = next_kernel()({"A": a, "B": b, "C": c}, 1)
    assert code == 0
    whole = np.einsum("ikr,jkl->irjl", a, b).reshape(54, 64)
    assert np.array_equal(c, whole)
