"""set_scope, storage_align, padded copies and relax_guard: text, meaning, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule.nests import assert_same_results, assert_text, matmul, two_stages
from tensorc.errors import ScheduleError
from tensorc.ir.expr import const_int
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace
from tensorc.schedule.tree import find_buffer

IMAGE = """program main(A: in float32[{h}, {w}], C: out float32[{w}, {h}]){dims}:
  alloc T: float32[{h}, {w}]
    for i in range({h}):
      for j in range({w}):
        T[i, j] = A[i, j] * 2.0
    for p in range({w}):
      for q in range({h}):
        C[p, q] = T[q, p]
"""


def image(h: int | str = 4, w: int | str = 6) -> str:
    names = [x for x in (h, w) if isinstance(x, str)]
    dims = f" dims({', '.join(f'{x} >= 0' for x in names)})" if names else ""
    return IMAGE.format(h=h, w=w, dims=dims)


def assert_replays(s: Schedule, plain: str) -> None:
    again = Schedule(parse(plain))
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)


def test_set_scope_moves_a_buffer() -> None:
    s = Schedule(two_stages(7))
    for scope in ("local", "shared", "local", "global", "shared"):
        s.set_scope("B", scope)
        assert_same_results(two_stages(7), s.program)
    assert_text(
        s,
        """
        alloc B: float32[8] shared
          for i in range(8):
            B[i] = A[i] + A[i + 1]
          for j in range(7):
            C[j] = B[j] * B[j + 1]
        """,
    )
    assert_replays(s, show(two_stages(7)))


def test_set_scope_refuses_what_has_no_scope_to_choose() -> None:
    s = Schedule(parse(image("n", 6)))
    refusals = {
        ("A", "local"): "set_scope(A, local): 'A' is a parameter, stored as the caller has it; "
        "cache_read or cache_write makes a copy to store otherwise",
        ("X", "local"): "set_scope(X, local): there is no buffer 'X'",
        ("T", "texture"): "set_scope(T, texture): scope must be one of global, local, shared, got "
        "'texture'",
        ("T", "local"): "set_scope(T, local): 'T' has n x 6 elements, which is no constant size; "
        "cache or compute a part of it inside of a loop",
    }
    for (buffer, scope), message in refusals.items():
        with pytest.raises(ScheduleError) as error:
            s.set_scope(buffer, scope)
        assert str(error.value) == message
    assert len(s.trace) == 0


def test_storage_align_widens_rows() -> None:
    s = Schedule(parse(image(4, 6)))
    s.storage_align("T", 0, 8, 1)
    assert_text(
        s,
        """
        alloc T: float32[4, 9]
          for i in range(4):
            for j in range(6):
              T[i, j] = A[i, j] * 2.0
          for p in range(6):
            for q in range(4):
              C[p, q] = T[q, p]
        """,
    )
    assert_same_results(parse(image(4, 6)), s.program)
    assert_replays(s, image(4, 6))


def test_storage_align_of_a_symbolic_row() -> None:
    s = Schedule(parse(image(4, "n")))
    s.storage_align("T", 0, 8)
    assert "alloc T: float32[4, n + -n % 8]" in show(s.program)
    assert_same_results(parse(image(4, "n")), s.program, n=5)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    dim=st.integers(0, 1),
    factor=st.integers(1, 12),
    offset=st.integers(0, 12),
)
def test_storage_align_gives_the_stride_with_the_least_padding(
    shape: tuple[int, int, int], dim: int, factor: int, offset: int
) -> None:
    a, b, c = shape
    s = Schedule(
        parse(
            f"""program main(A: in float32[{a}, {b}, {c}], C: out float32[{a}, {b}, {c}]):
  alloc T: float32[{a}, {b}, {c}]
    for i in range({a}):
      for j in range({b}):
        for k in range({c}):
          T[i, j, k] = A[i, j, k]
    for i in range({a}):
      for j in range({b}):
        for k in range({c}):
          C[i, j, k] = T[i, j, k]
"""
        )
    )
    inner = c if dim == 0 else 1
    possible = [
        w
        for w in range(shape[dim + 1], shape[dim + 1] + factor)
        if w * inner % factor == offset % factor
    ]
    if not possible:
        with pytest.raises(ScheduleError, match="every stride of dimension 0 is a multiple of"):
            s.storage_align("T", dim, factor, offset)
        return
    s.storage_align("T", dim, factor, offset)
    made = find_buffer(s.program, "T")
    assert made is not None
    assert const_int(made.shape[dim + 1]) == possible[0]
    assert_same_results(s.plain, s.program)


def test_storage_align_refuses_what_has_no_such_stride() -> None:
    s = Schedule(parse(image(4, 6)))
    refusals = {
        ("A", 0, 8): "storage_align(A, 0, 8, 0): 'A' is a parameter, stored as the caller has it; "
        "cache_read or cache_write makes a copy to store otherwise",
        ("T", 1, 8): "storage_align(T, 1, 8, 0): 'T' has 2 dimensions, of which 0 to 0 have a "
        "stride to pad",
        ("T", 0, 0): "storage_align(T, 0, 0, 0): the factor must be at least 1",
    }
    for (buffer, dim, factor), message in refusals.items():
        with pytest.raises(ScheduleError) as error:
            s.storage_align(buffer, dim, factor)
        assert str(error.value) == message
    assert len(s.trace) == 0


def padded_tile(m: int = 6, k: int = 5, n: int = 10, width: int = 8) -> Schedule:
    """A register tile of C whose copies of A and B have room for every iteration."""
    s = Schedule(matmul(m, k, n))
    i, j, k_loop = s.loops("C")
    _, jo, ii, ji = s.tile(i, j, 4, width)
    s.reorder(k_loop, ii, ji)
    s.cache_write("C", jo)
    s.cache_read("B", k_loop, "local", pad=0.0)
    s.cache_read("A", k_loop, "local", pad=0.0)
    return s


def test_cache_read_pads_what_reaches_over_the_end() -> None:
    plain = """program main(A: in float32[10], C: out float32[10]):
  for i in range(10):
    C[i] = A[i] * 2.0
"""
    s = Schedule(parse(plain))
    io, _ = s.split(s["C"].loop("i"), 4)
    s.cache_read("A", io, "local", pad=float("-inf"))
    assert_text(
        s,
        """
        for i.outer in range(3):
          alloc A.local: float32[4] local
            for A.in0 in range(4):
              A.local[A.in0] = where(i.outer * 4 + A.in0 < 10, A[i.outer * 4 + A.in0], float32(-inf))
            for i.inner in range(4):
              if i.outer * 4 + i.inner < 10:
                C[i.outer * 4 + i.inner] = A.local[i.inner] * 2.0
        """,  # noqa: E501
    )
    assert str(s.trace.steps[-1]) == (
        's.cache_read("A", s["C"].loop("i.outer"), scope=\'local\', pad=float("-inf"))'
    ).replace('"A"', "'A'")
    assert_same_results(parse(plain), s.program)
    assert_replays(s, plain)


def test_a_copy_that_does_not_reach_over_the_end_has_no_padding() -> None:
    s = Schedule(matmul(4, 6, 8))
    s.cache_read("B", s["C"].loop("i"), pad=1.0)
    assert "where" not in show(s.program)
    assert_same_results(matmul(4, 6, 8), s.program)


@pytest.mark.parametrize(
    ("part", "room"), [("k // 2", 6), ("k % 2", 5), ("k % 8", 8), ("(k // 3 - k % 3)", 7)]
)
def test_a_copy_holds_what_the_parts_of_a_loop_add_to_an_index(part: str, room: int) -> None:
    plain = parse(
        f"""program main(A: in float32[16], C: out float32[8]):
  for i in range(2):
    for j in range(4):
      C[i * 4 + j] = 0.0
      for k in range(5):
        C[i * 4 + j] += A[i * 4 + j + {part} + 2]
"""
    )
    s = Schedule(plain)
    copy = s.cache_read("A", s["C"].loop("i"))
    assert [str(s.extent(x)) for x in copy.loops[-1:]] == [str(room)]
    assert_same_results(plain, s.program)


def test_cache_read_refuses_padding_of_another_dtype() -> None:
    plain = """program main(A: in int32[10], C: out int32[10]):
  for i in range(10):
    C[i] = A[i]
"""
    s = Schedule(parse(plain))
    with pytest.raises(ScheduleError) as error:
        s.cache_read("A", s["C"].loop("i"), pad=0.5)
    assert str(error.value) == (
        "cache_read(A, i): pad=0.5: 0.5 is not an integer, and the dtype here is int32"
    )


def test_relax_guard_makes_full_tiles_of_padded_copies() -> None:
    s = padded_tile()
    tile = s["C.local"]
    for name in ("i.inner.init", "j.inner.init", "i.inner", "j.inner"):
        s.relax_guard("C.local", tile.loop(name))
    assert_text(
        s,
        """
        for i.outer in range(2):
          for j.outer in range(2):
            alloc C.local: float32[4, 8] local
              for i.inner.init in range(4):
                for j.inner.init in range(8):
                  C.local[i.inner.init, j.inner.init] = 0.0
              for k in range(5):
                alloc A.local: float32[4, 1] local
                  for A.in0 in range(4):
                    for A.in1 in range(1):
                      A.local[A.in0, A.in1] = where(i.outer * 4 + A.in0 < 6, A[i.outer * 4 + A.in0, k + A.in1], 0.0)
                  alloc B.local: float32[1, 8] local
                    for B.in0 in range(1):
                      for B.in1 in range(8):
                        B.local[B.in0, B.in1] = where(j.outer * 8 + B.in1 < 10, B[k + B.in0, j.outer * 8 + B.in1], 0.0)
                    for i.inner in range(4):
                      for j.inner in range(8):
                        C.local[i.inner, j.inner] += A.local[i.inner, 0] * B.local[0, j.inner]
              for C.out0 in range(4):
                for C.out1 in range(8):
                  if i.outer * 4 + C.out0 < 6 and j.outer * 8 + C.out1 < 10:
                    C[i.outer * 4 + C.out0, j.outer * 8 + C.out1] = C.local[C.out0, C.out1]
        """,  # noqa: E501
    )
    assert_same_results(matmul(6, 5, 10), s.program)
    assert_replays(s, show(matmul(6, 5, 10)))


@settings(max_examples=30, deadline=None)
@given(sizes=st.tuples(*[st.integers(1, 9)] * 3), width=st.integers(1, 6), count=st.integers(0, 4))
def test_relax_guard_keeps_meaning(sizes: tuple[int, int, int], width: int, count: int) -> None:
    s = padded_tile(*sizes, width)
    for name in ("j.inner.init", "i.inner.init", "j.inner", "i.inner")[:count]:
        try:
            s.relax_guard("C.local", s["C.local"].loop(name))
        except ScheduleError as error:
            assert "no guard of 'C.local' inside loop" in str(error)  # noqa: PT017
    assert_same_results(matmul(*sizes), s.program)


def test_relax_guard_refuses_to_read_what_was_not_initialised() -> None:
    s = padded_tile()
    with pytest.raises(ScheduleError) as error:
        s.relax_guard("C.local", s["C.local"].loop("j.inner"))
    assert str(error.value) == (
        "relax_guard(C.local, j.inner): iterations outside of j.outer * 8 + j.inner < 10 might "
        "read elements of 'C.local' that hold no value\n"
        "  C.local[i.inner, j.inner] += A.local[i.inner, 0] * B.local[0, j.inner]\n"
        "  relax the guard of what initialises 'C.local' first"
    )


def test_relax_guard_refuses_to_leave_a_buffer() -> None:
    s = Schedule(matmul(6, 5, 10))
    i, j, k = s.loops("C")
    _, jo, ii, ji = s.tile(i, j, 4, 8)
    s.reorder(k, ii, ji)
    s.cache_write("C", jo)
    s.relax_guard("C.local", s["C.local"].loop("j.inner.init"))
    before = show(s.program)
    with pytest.raises(ScheduleError) as error:
        s.relax_guard("C.local", ji)
    assert str(error.value) == (
        "relax_guard(C.local, j.inner): iterations outside of j.outer * 8 + j.inner < 10 might "
        "leave 'B'\n"
        "  C.local[i.inner, j.inner] += A[i.outer * 4 + i.inner, k] * B[k, j.outer * 8 + j.inner]\n"
        "  cache_read with pad makes a copy with room for them"
    )
    assert show(s.program) == before


def test_relax_guard_refuses_to_write_what_counts() -> None:
    plain = """program main(C: out float32[16]):
  alloc T: float32[16]
    for a in range(16):
      T[a] = 1.0
    for i in range(16):
      if i < 10:
        T[i] = 2.0
    for j in range(16):
      C[j] = T[j]
"""
    s = Schedule(parse(plain))
    with pytest.raises(ScheduleError) as error:
        s.relax_guard("T", s["T"].loop("i"))
    assert str(error.value) == (
        "relax_guard(T, i): iterations outside of i < 10 might write elements of 'T' that are "
        "read\n"
        "  T[i] = 2.0\n"
        "  C[j] = T[j]: reads them"
    )


def test_relax_guard_refuses_a_parameter_and_a_loop_without_a_guard() -> None:
    plain = """program main(C: inout float32[16]):
  for i in range(16):
    if i < 10:
      C[i] = 2.0
"""
    s = Schedule(parse(plain))
    with pytest.raises(ScheduleError) as error:
        s.relax_guard("C", s["C"].loop("i"))
    assert str(error.value) == (
        "relax_guard(C, i): 'C' is a parameter, all of whose elements count; cache_write collects "
        "what a loop writes to it in a buffer of its own"
    )
    s = Schedule(matmul(4, 6, 8))
    with pytest.raises(ScheduleError) as error:
        s.relax_guard("C", s["C"].loop("i"))
    assert str(error.value) == ("relax_guard(C, i): no guard of 'C' inside loop i depends on i")


def test_cache_write_keeps_a_part_in_panels() -> None:
    plain = matmul(4, 3, 6)
    s = Schedule(plain)
    i_outer, _ = s.split(s.loops("C")[0], 2)
    s.cache_write("C", i_outer, panel=4)
    assert_text(
        s,
        """
        for i.outer in range(2):
          alloc C.local: float32[2, 2, 4] local
            for i.inner in range(2):
              for j in range(6):
                C.local[j // 4, i.inner, j % 4] = 0.0
                for k in range(3):
                  C.local[j // 4, i.inner, j % 4] += A[i.outer * 2 + i.inner, k] * B[k, j]
            for C.out0 in range(2):
              for C.out1 in range(2):
                for C.out2 in range(4):
                  if C.out0 * 4 + C.out2 < 6:
                    C[i.outer * 2 + C.out1, C.out0 * 4 + C.out2] = C.local[C.out0, C.out1, C.out2]
        """,
    )
    assert_same_results(plain, s.program)
    assert_replays(s, show(plain))


def test_pack_stores_an_operand_anew_before_its_nest() -> None:
    plain = matmul(4, 3, 5)
    s = Schedule(plain)
    copy = s.pack("C", "B", order=(1, 0))
    assert [x.name for x in copy.loops] == ["B.in0", "B.in1"]
    assert_text(
        s,
        """
        alloc B.packed: float32[5, 3]
          for B.in0 in range(3):
            for B.in1 in range(5):
              B.packed[B.in1, B.in0] = B[B.in0, B.in1]
          for i in range(4):
            for j in range(5):
              C[i, j] = 0.0
              for k in range(3):
                C[i, j] += A[i, k] * B.packed[j, k]
        """,
    )
    assert_same_results(plain, s.program)
    assert_replays(s, show(plain))


def test_pack_rounds_where_it_is_told_to() -> None:
    s = Schedule(matmul(4, 3, 5))
    s.pack("C", "A", precision="tf32")
    assert "A.packed[A.in0, A.in1] = tf32(A[A.in0, A.in1])" in show(s.program)
    s.split(s["C"].loop("i"), 2)
    assert_replays(s, show(matmul(4, 3, 5)))


def test_pack_stores_an_operand_in_a_wider_type() -> None:
    plain = """program main(A: in bfloat16[4, 3], B: in bfloat16[3, 5], C: out float32[4, 5]):
  for i in range(4):
    for j in range(5):
      C[i, j] = 0.0
      for k in range(3):
        C[i, j] += float32(A[i, k]) * float32(-B[k, j]) * float32(B[k, 0])
"""
    s = Schedule(parse(plain))
    s.pack("C", "A", dtype="float32")
    s.pack("C", "B", order=(1, 0), dtype="float32")
    assert_text(
        s,
        """
        alloc A.packed: float32[4, 3]
          for A.in0 in range(4):
            for A.in1 in range(3):
              A.packed[A.in0, A.in1] = float32(A[A.in0, A.in1])
          alloc B.packed: float32[5, 3]
            for B.in0 in range(3):
              for B.in1 in range(5):
                B.packed[B.in1, B.in0] = float32(B[B.in0, B.in1])
            for i in range(4):
              for j in range(5):
                C[i, j] = 0.0
                for k in range(3):
                  C[i, j] += A.packed[i, k] * float32(-bfloat16(B.packed[j, k])) * B.packed[0, k]
        """,
    )
    assert_same_results(parse(plain), s.program)
    assert_replays(s, plain)


def test_pack_refuses_a_type_that_does_not_hold_the_numbers() -> None:
    s = Schedule(matmul(4, 3, 5))
    with pytest.raises(ScheduleError) as raised:
        s.pack("C", "A", dtype="bfloat16")
    assert str(raised.value) == "pack(A, C): bfloat16 does not hold all numbers of float32"
    with pytest.raises(ScheduleError, match=r"^pack\(A, C\): dtype complex64 is not supported"):
        s.pack("C", "A", dtype="complex64")
    with pytest.raises(ScheduleError) as raised:
        s.pack("C", "A", precision="tf32", dtype="float64")
    told = "pack(A, C): numbers rounded to tf32 are float32; leave out dtype=float64"
    assert str(raised.value) == told


def test_cache_read_packs_a_matrix_in_panels() -> None:
    plain = matmul(4, 3, 10)
    s = Schedule(plain)
    i, j, k = s.loops("C")
    once, i = s.split(i, 4)
    j_outer, j_inner = s.split(j, 4)
    s.reorder(once, j_outer, i, k, j_inner)
    panels = s.cache_read("B", once, panel=4)
    assert [x.name for x in panels.loops] == ["i.outer", "B.in0", "B.in1", "B.in2"]
    assert_text(
        s,
        """
        for i.outer in range(1):
          alloc B.local: float32[3, 3, 4]
            for B.in0 in range(3):
              for B.in1 in range(3):
                for B.in2 in range(4):
                  if B.in0 * 4 + B.in2 < 10:
                    B.local[B.in0, B.in1, B.in2] = B[B.in1, B.in0 * 4 + B.in2]
            for i.inner.init in range(4):
              for j.outer.init in range(3):
                for j.inner.init in range(4):
                  if j.outer.init * 4 + j.inner.init < 10:
                    C[i.outer * 4 + i.inner.init, j.outer.init * 4 + j.inner.init] = 0.0
            for j.outer in range(3):
              for i.inner in range(4):
                for k in range(3):
                  for j.inner in range(4):
                    if j.outer * 4 + j.inner < 10:
                      C[i.outer * 4 + i.inner, j.outer * 4 + j.inner] += \
A[i.outer * 4 + i.inner, k] * B.local[j.outer, k, j.inner]
        """,
    )
    assert_same_results(plain, s.program)
    assert_replays(s, show(plain))


@given(
    sizes=st.tuples(*[st.integers(1, 9)] * 3),
    factor=st.integers(1, 5),
    panel=st.integers(1, 6),
    flip=st.booleans(),
    pad=st.sampled_from([None, 0.0]),
)
def test_panels_of_every_width_keep_meaning(
    sizes: tuple[int, int, int], factor: int, panel: int, flip: bool, pad: float | None
) -> None:
    plain = matmul(*sizes)
    s = Schedule(plain)
    i, j, k = s.loops("C")
    outer, inner = s.split(j, factor)
    s.reorder(outer, i, k, inner)
    s.cache_read("B", s["C"].loop("i"), order=(1, 0) if flip else None, pad=pad, panel=panel)
    s.cache_read("A", outer, order=(1, 0), pad=pad, panel=panel)
    assert_same_results(plain, s.program)


def test_panels_of_a_symbolic_size_keep_meaning() -> None:
    plain = parse(
        "program main(A: in float32[n, m], B: out float32[m, n]) dims(n >= 0, m >= 0):\n"
        "  for t in range(1):\n"
        "    for i in range(n):\n"
        "      for j in range(m):\n"
        "        B[j, i] = A[i, j]\n"
    )
    s = Schedule(plain)
    s.cache_read("A", s["B"].loop("t"), panel=4)
    assert "A.local: float32[(m + 3) // 4, n, 4]" in str(s)
    assert_same_results(plain, s.program, n=3, m=10)


def test_cache_read_refuses_an_empty_panel() -> None:
    s = Schedule(matmul(4, 3, 5))
    before = str(s)
    with pytest.raises(ScheduleError) as caught:
        s.cache_read("B", s["C"].loop("i"), panel=0)
    assert str(caught.value) == (
        "cache_read(B, i): a panel has at least 1 element of the last dimension; got panel=0 for "
        "'B', which has 2 dimensions"
    )
    assert str(s) == before


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("panel", [None, 2])
def test_cache_write_lays_the_part_out_in_another_order(fold: bool, panel: int | None) -> None:
    plain = matmul(5, 3, 4)
    s = Schedule(plain)
    i, j, k = s.loops("C")
    s.reorder(k, i, j)
    outer, _ = s.split(i, 3)
    s.reorder(outer, k)
    s.cache_write("C", outer, panel=panel, order=(1, 0), fold=fold)
    part = find_buffer(s.program, "C.local")
    assert part is not None
    shape = [const_int(n) for n in part.shape]
    assert shape == ([4, 3] if panel is None else [2, 4, 2])
    assert_same_results(plain, s.program)
    again = Schedule(plain)
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)


def test_cache_write_refuses_an_order_that_is_no_permutation() -> None:
    s = Schedule(matmul(5, 3, 4))
    with pytest.raises(ScheduleError) as error:
        s.cache_write("C", s["C"].loop("i"), order=(1, 1))
    assert str(error.value) == (
        "cache_write(C, i): order (1, 1) is no permutation of the 2 dimensions of 'C'"
    )
