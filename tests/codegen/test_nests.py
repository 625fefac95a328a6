"""Each nest a function: shared by nests alike, compiled in parts that are linked together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from codegen.harness import Kernel
from tensorc.codegen.llvm import (
    ModuleText,
    Objects,
    compile_object,
    emit_module,
    load_objects,
    openmp_runtime,
)
from tensorc.codegen.llvm.jit import PLAIN, SCHEDULED, exported_functions
from tensorc.ir.alike import pattern
from tensorc.ir.parser import parse
from tensorc.ir.stmt import Block
from tensorc.lower.memory import plan_memory
from tensorc.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

CHAIN = """
program chain(A: in float32[8, 8], B: out float32[8, 8]):
  alloc T: float32[8, 8]
    alloc U: float32[8, 8]
      for i in {kind}(8):
        for j in vectorized(8):
          T[i, j] = A[i, j] * 2.0 + 1.0
      for k in {kind}(8):
        for l in vectorized(8):
          U[k, l] = T[k, l] * {factor} + 1.0
      for m in {kind}(8):
        for n in vectorized(8):
          B[m, n] = U[m, n] * 2.0 + 1.0
"""


def emit(text: str) -> ModuleText:
    program = parse(text)
    return emit_module(program, Target(), plan_memory(program))


def nests(text: str) -> int:
    return len(emit(text).nests)


def several(count: int) -> str:
    """A program of so many nests, no two alike: polynomials of growing degree."""
    lines = ["program several(A: in float32[64], B: out float32[64]):"]
    source = "A"
    for c in range(count):
        target = "B" if c == count - 1 else f"T{c}"
        if target != "B":
            lines.append(f"{'  ' * (c + 1)}alloc {target}: float32[64]")
        pad = "  " * min(c + 2, count)
        lines += [f"{pad}for i{c} in unrolled(8):", f"{pad}  for j{c} in vectorized(8):"]
        value = f"{source}[i{c} * 8 + j{c}]"
        for d in range(c + 4):
            value = f"({value} * {0.5 + d / 64} + {c / 32})"
        lines.append(f"{pad}    {target}[i{c} * 8 + j{c}] = {value}")
        source = target
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("kind", ["range", "parallel"])
def test_nests_that_do_the_same_are_one_function(kind: str) -> None:
    text = CHAIN.format(kind=kind, factor="2.0")
    module = emit(text)
    # The first and the last use an argument, which may be aligned to less than the workspace.
    assert len(module.nests) == 3
    assert len({n.text.split("{", 1)[1] for n in module.nests}) == 1
    a = np.arange(64, dtype=np.float32).reshape(8, 8)
    out = np.zeros_like(a)
    code, _ = Kernel(parse(text))({"A": a, "B": out})
    assert code == 0
    assert np.array_equal(out, 8 * a + 7)


def test_a_nest_alike_is_called_with_its_own_buffers() -> None:
    text = """
program twice(A: in float32[8], B: in float32[8], C: out float32[8], D: out float32[8]):
  for i in range(8):
    C[i] = A[i] - 1.0
  for j in range(8):
    D[j] = B[j] - 1.0
"""
    assert nests(text) == 1
    a, b = np.arange(8, dtype=np.float32), np.ones(8, np.float32)
    c, d = np.zeros_like(a), np.zeros_like(a)
    code, _ = Kernel(parse(text))({"A": a, "B": b, "C": c, "D": d})
    assert code == 0
    assert np.array_equal(c, a - 1)
    assert np.array_equal(d, b - 1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("B[i] = A[i] * 0.0", "C[i] = A[i] * -0.0"),
        ("B[i] = A[i] + A[i + 1]", "C[i] = A[i] + A[i]"),
        ("B[i] = A[i] + B[i]", "C[i] = A[i] + B[i]"),
        ("B[i] = float32(i == 1)", "C[i] = float32(i < 1)"),
        ("B[i] += A[i]", "C[i] max= A[i]"),
    ],
)
def test_what_differs_is_not_alike(first: str, second: str) -> None:
    program = parse(f"""
program apart(A: in float32[9], B: inout float32[8], C: inout float32[8]):
  for i in range(8):
    {first}
  for i in range(8):
    {second}
""")
    assert isinstance(program.body, Block)
    one, two = (pattern(s)[0] for s in program.body.stmts)
    assert one != two


def test_a_pattern_lists_what_it_leaves_out_in_order() -> None:
    program = parse("""
program order(A: in float32[8], B: out float32[8], C: out float32[8]):
  for i in range(8):
    B[i] = A[i] + 1.0
  for j in range(8):
    C[j] = A[j] + 1.0
""")
    assert isinstance(program.body, Block)
    (one, used), (two, others) = (pattern(s) for s in program.body.stmts)
    assert one == two
    assert [x.name for x in used] == ["i", "B", "A"]
    assert [x.name for x in others] == ["j", "C", "A"]


def test_values_from_around_a_nest_are_its_arguments() -> None:
    text = """
program around(A: inout float32[n, 16], B: in float32[n]) dims(n >= 0):
  for t in range(3):
    for i in parallel(n):
      for j in range(16):
        A[i, j] = A[i, j] * 2.0 + B[i] + float32(t)
"""
    a, b = np.ones((5, 16), np.float32), np.arange(5, dtype=np.float32)
    expected = a.copy()
    for t in range(3):
        expected = expected * 2 + b[:, None] + t
    code, _ = Kernel(parse(text))({"A": a, "B": b}, threads=2)
    assert code == 0
    assert np.array_equal(a, expected)


def compiled(parts: Sequence[str], threads: int) -> tuple[bytes, ...]:
    with Objects(Target(), threads=threads) as objects:
        for part in parts:
            objects.add(part)
        return objects.result()


def test_parts_make_the_whole_but_for_its_entry() -> None:
    parts = emit(several(12)).parts
    assert len(parts) > 2
    objects = compiled(parts, 2)
    assert exported_functions(objects[-1]) == ["several_workspace", "several_run"]
    assert not any(exported_functions(o) for o in objects[:-1])
    code = load_objects(objects)
    assert all(code.address(n) for n in ("several_run", "several_workspace"))


def test_each_part_is_told_before_the_next_is_emitted() -> None:
    program = parse(several(12))
    told: list[str] = []
    longer = parse(several(14))
    module = emit_module(program, Target(), plan_memory(program), told.append)
    assert tuple(told) == module.parts
    more = emit_module(longer, Target(), plan_memory(longer)).parts
    assert len(told) > 2
    assert more[:2] == module.parts[:2]  # The last nest of the shorter program writes an output.


def test_one_part_alone_defines_how_threads_share() -> None:
    *others, last = emit(several(12).replace("unrolled", "parallel")).parts
    assert others
    assert all("declare hidden i64 @tensorc.claim(" in p for p in others)
    assert not any("define hidden i64 @tensorc.claim(" in p for p in others)
    assert "define hidden i64 @tensorc.claim(" in last


def test_parts_compute_what_the_whole_computes() -> None:
    program = parse(several(12))
    a = np.linspace(-1, 1, 64, dtype=np.float32)
    results = []
    for cut in (False, True):
        kernel = Kernel(program, cut=cut)
        out = np.zeros(64, np.float32)
        code, _ = kernel({"A": a, "B": out})
        assert code == 0
        results.append(out)
    assert np.array_equal(results[0], results[1])


def test_threads_compile_the_same_bytes() -> None:
    parts = emit(several(12)).parts
    alone = tuple(compile_object(p, Target()) for p in parts)
    assert all(compiled(parts, n) == alone for n in (1, 2, 3))


@pytest.mark.skipif(openmp_runtime() is None, reason="there is no OpenMP runtime here")
def test_threads_share_a_nest_of_another_part() -> None:
    text = several(12).replace("unrolled", "parallel")
    a = np.linspace(-1, 1, 64, dtype=np.float32)
    results = []
    for threads in (1, 3):
        out = np.zeros(64, np.float32)
        code, _ = Kernel(parse(text), cut=True)({"A": a, "B": out}, threads=threads)
        assert code == 0
        results.append(out)
    assert np.array_equal(results[0], results[1])


def test_small_programs_are_one_part() -> None:
    assert len(emit(CHAIN.format(kind="range", factor="3.0")).parts) == 1


def mixed(count: int) -> str:
    """So many nests of each kind: element-wise in lanes, a sum in lanes, and plain."""
    kinds = (
        ("  for i in range(8):", "    for j in vectorized(8):", "      A[i, j] = A[i, j] * {f}"),
        ("  for i in range(8):", "    for j in vectorized(8):", "      B[j] += A[i, j] * {f}"),
        ("  for i in range(8):", "    C[i] = C[i] * {f}"),
    )
    head = "program mixed(A: inout float32[8, 8], B: inout float32[8], C: inout float32[8]):"
    lines = [line.format(f=f"{c + 2}.0") for c in range(count) for kind in kinds for line in kind]
    return "\n".join((head, *lines))


def test_loops_of_scheduled_nests_are_left_as_they_stand_but_for_steps_of_sums() -> None:
    element_wise, summed, plain = emit(mixed(1)).nests
    assert (element_wise.scheduled, summed.scheduled, plain.scheduled) == (True, True, False)
    hints = [n.text.count(", !llvm.loop !0\n") for n in (element_wise, summed, plain)]
    assert hints == [1, 0, 0]


def test_scheduled_nests_and_others_are_not_in_one_part() -> None:
    parts = emit(mixed(20)).parts
    kinds = [(f"{SCHEDULED} {{\n" in p, f"{PLAIN} {{\n" in p) for p in parts]
    assert sorted(set(kinds)) == [(False, True), (True, False)]


def test_what_is_simplified_by_itself_computes_the_same_bits() -> None:
    a = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    results = []
    for cut in (False, True):
        arrays = {"A": a.copy(), "B": a[0].copy(), "C": a[1].copy()}
        code, _ = Kernel(parse(mixed(20)), cut=cut)(arrays)
        assert code == 0
        results.append(arrays)
    assert all(np.array_equal(results[0][name], results[1][name]) for name in "ABC")
