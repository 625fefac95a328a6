"""What is read off an index without a solver agrees with the solver."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tensorc.ir.expr import Binary, BinaryOp, Compare, CompareOp, Const, Expr, Var
from tensorc.ir.parser import parse
from tensorc.ir.sets import Encoder, prove, sample
from tensorc.ir.stmt import Accumulate, For, Store
from tensorc.schedule.digits import divided, fills, mirrors, tied_vars
from tensorc.schedule.region import _written, always
from tensorc.schedule.tree import Site, in_range, sites

ZERO = Const(0)
LEAF = parse("program main(A: out float32[9]):\n  A[0] = 0.0\n").body


def nested(digits: list[tuple[int, int]], copy: str = "") -> tuple[Site, Expr]:
    """A site in loops of the given (coefficient, extent), and their weighted sum."""
    index: Expr = ZERO
    loops: list[For] = []
    assert isinstance(LEAF, Store)
    for number, (c, extent) in enumerate(digits):
        var = Var(f"v{number}{copy}")
        loops.append(For(var, ZERO, Const(extent), LEAF))
        index = index + Binary(BinaryOp.MUL, Const(c), var)
    time = tuple(loop.var for loop in loops)
    return Site(LEAF, tuple(loops), (), time, frozenset()), index


DIGITS = st.lists(st.tuples(st.integers(-12, 12), st.integers(1, 6)), min_size=1, max_size=4)


@given(digits=DIGITS)
def test_tied_variables_are_equal_wherever_the_indices_are(digits: list[tuple[int, int]]) -> None:
    (a, i), (b, j) = nested(digits), nested(digits, "_2")
    same = Compare(CompareOp.EQ, i, j)
    for w, v in tied_vars(a, b, [i], [j]).items():
        assert prove(Compare(CompareOp.EQ, v, w), [*a.domain(), *b.domain(), same]).holds


def test_a_tile_ties_all_of_its_loops() -> None:
    a, i = nested([(16, 100), (8, 2), (1, 8)])
    b, j = nested([(16, 100), (8, 2), (1, 8)], "_2")
    assert tied_vars(a, b, [i], [j]) == dict(zip(b.vars, a.vars, strict=True))


def test_a_window_ties_nothing() -> None:
    a, i = nested([(1, 10), (1, 3)])
    assert tied_vars(a, a, [i], [i]) == {}
    b, j = nested([(2, 10), (1, 3)])
    assert tied_vars(b, b, [j], [j]) == {}


@given(digits=DIGITS, length=st.integers(1, 40))
def test_what_fills_a_box_writes_all_of_it(digits: list[tuple[int, int]], length: int) -> None:
    site, index = nested(digits)
    said = fills(site, [index], [ZERO], [Const(length)], [Const(100)])
    touched = {0}
    for c, extent in digits:
        touched = {t + c * v for t in touched for v in range(extent)}
    assert not said or set(range(length)) <= touched


def test_a_guard_that_is_no_bound_of_the_buffer_fills_nothing() -> None:
    site, index = nested([(4, 3), (1, 4)])
    kept = Compare(CompareOp.LT, index, Const(10))
    guarded = Site(site.leaf, site.loops, (kept,), site.time, site.private)
    box = ([index], [ZERO], [Const(12)])
    assert fills(site, *box, [Const(10)])
    assert fills(guarded, *box, [Const(10)])
    assert not fills(guarded, *box, [Const(12)])


ORDERED = """program main(A: in float32[40], n: in int32[40], C: out float32[8], D: out float32[8]):
  for o in range(4):
    for r in range(2):
      if {guard}:
        C[{first}] = 0.0
    for s in range(2):
      for k in range(5):
        if o * 2 + s < 7:
          C[{second}] += A[k]
"""


@given(
    guard=st.sampled_from(["o * 2 + r < 7", "o * 2 + r < 6", "n[r] > int32(0)", "o < 4"]),
    first=st.sampled_from(["o * 2 + r", "o + r", "r", "o * 2"]),
    second=st.sampled_from(["o * 2 + s", "o + s", "s", "o * 2"]),
)
def test_what_mirrors_a_write_reads_it(guard: str, first: str, second: str) -> None:
    program = parse(ORDERED.format(guard=guard, first=first, second=second))
    writer, reader = sites(program.body)
    assert isinstance(writer.leaf, Store)
    assert isinstance(reader.leaf, Accumulate)
    buffer, points = writer.leaf.buffer, reader.leaf.indices
    if mirrors(writer, reader, writer.leaf.indices, points):
        encoder = Encoder()
        known = [encoder.condition(c) for c in reader.domain()]
        texts = [encoder.number(i) for i in points]
        assert always(encoder, known, [_written(writer, buffer, texts, encoder, reader=reader)])


def test_an_initialisation_in_a_tile_is_mirrored_by_its_sum() -> None:
    text = ORDERED.format(guard="o * 2 + r < 7", first="o * 2 + r", second="o * 2 + s")
    writer, reader = sites(parse(text).body)
    assert mirrors(writer, reader, writer.leaf.indices, reader.leaf.indices)  # type: ignore[union-attr]
    assert not mirrors(reader, writer, reader.leaf.indices, writer.leaf.indices)  # type: ignore[union-attr]


CLAIMS = st.tuples(
    st.sampled_from(list(CompareOp)),
    st.lists(st.integers(-3, 3), min_size=2, max_size=2),
    st.integers(-20, 20),
)


@given(claim=CLAIMS, low=st.integers(-4, 4), extent=st.integers(1, 6))
def test_ranges_prove_what_the_solver_proves(
    claim: tuple[CompareOp, list[int], int], low: int, extent: int
) -> None:
    op, coeffs, const = claim
    loops = [For(Var(n), Const(low), Const(extent), LEAF) for n in "xy"]
    total: Expr = Const(const)
    for c, loop in zip(coeffs, loops, strict=True):
        total = total + Binary(BinaryOp.MUL, Const(c), loop.var)
    given_ = [c for loop in loops for c in in_range(loop)]
    encoder = Encoder()
    wrong = encoder.condition(Compare(op, total, ZERO), False)
    known = [encoder.condition(g) for g in given_]
    empty = sample(encoder.set_of(wrong, *known)) == ()
    assert prove(Compare(op, total, ZERO), given_).holds == empty


@given(digits=DIGITS, factor=st.integers(1, 12), const=st.integers(-5, 30))
def test_an_index_is_its_panel_and_its_place_in_it(
    digits: list[tuple[int, int]], factor: int, const: int
) -> None:
    site, index = nested(digits)
    index = index + const
    quotient, rest = divided(index, factor, {x.var: x for x in site.loops})
    by = Const(factor)
    for got, op in ((quotient, BinaryOp.FLOORDIV), (rest, BinaryOp.MOD)):
        wanted = Binary(op, index, by)
        assert prove(Compare(CompareOp.EQ, got, wanted), site.domain()).holds


def test_the_digits_of_a_tile_are_divided_without_a_quotient() -> None:
    site, index = nested([(16, 9), (8, 2), (1, 8)])
    quotient, rest = divided(index, 16, {x.var: x for x in site.loops})
    assert [str(x) for x in (quotient, rest)] == ["v0", "v1 * 8 + v2"]
