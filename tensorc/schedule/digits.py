"""Loops as the digits of an index: what can be read off affine indices without a solver.

`6*i + r` with `0 <= r < 6` is one element for one `i` and one `r` only, and all `i` and `r`
together make every element. Tiled loops give such indices, and most questions about them end
here; the others go to `sets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tensorc.ir.affine import Linear, exact_linear, split_digits, to_expr
from tensorc.ir.expr import Binary, BinaryOp, Compare, CompareOp, Const, Expr, Var, const_int
from tensorc.ir.walk import loads, substitute
from tensorc.schedule.tree import equal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.ir.stmt import For
    from tensorc.schedule.tree import Site, Time

Term: TypeAlias = tuple[int, Var, Var]


def tied_vars(a: Site, b: Site, x: Sequence[Expr], y: Sequence[Expr]) -> dict[Var, Var]:
    """The loop variables of `b` that equal one of `a` where the indices `x` and `y` are equal."""
    mine, yours = ({loop.var: loop for loop in s.loops} for s in (a, b))
    tied: dict[Var, Var] = {}
    for i, j in zip(x, y, strict=True):
        f, g = exact_linear(i), exact_linear(j)
        if f is None or g is None or _outer(f, mine) != _outer(g, yours):
            continue
        gone = [(v, w) for w, v in tied.items() if f.coeffs.get(v) == g.coeffs.get(w)]
        one = [t for t in _own(f, mine) if all(t[1] is not v for v, _ in gone)]
        other = [t for t in _own(g, yours) if all(t[1] is not w for _, w in gone)]
        for place, ((c, v), (d, w)) in enumerate(zip(one, other, strict=False), 1):
            near, far = _span(one[place:], mine), _span(other[place:], yours)
            if c != d or near is None or far is None:
                break
            apart = f.const - g.const
            if max(near[1] - far[0] + apart, far[1] - near[0] - apart) >= abs(c):
                break
            tied[w] = v
    return tied


def _outer(form: Linear, loops: Mapping[Var, For]) -> dict[Var, int]:
    return {v: c for v, c in form.coeffs.items() if v not in loops}


def _own(form: Linear, loops: Mapping[Var, For]) -> list[tuple[int, Var]]:
    """The terms in loop variables, the greatest coefficient first."""
    return sorted(((c, v) for v, c in form.coeffs.items() if v in loops), key=lambda t: -abs(t[0]))


def _span(terms: Sequence[tuple[int, Var]], loops: Mapping[Var, For]) -> tuple[int, int] | None:
    """The least and greatest sum of some terms; None where a loop has no constant limits."""
    low = high = 0
    for c, var in terms:
        start, extent = const_int(loops[var].start), const_int(loops[var].extent)
        if start is None or extent is None:
            return None
        ends = (c * start, c * (start + max(extent, 1) - 1))
        low, high = low + min(ends), high + max(ends)
    return low, high


def _terms(
    i: Expr, j: Expr, mine: Mapping[Var, For], yours: Mapping[Var, For]
) -> list[Term] | None:
    """The terms of two indices, (|coefficient|, variable of `i`, of `j`), the greatest first.

    None unless the terms correspond one to one by coefficient, and all else is equal.
    """
    f, g = exact_linear(i), exact_linear(j)
    if f is None or g is None or f.const != g.const:
        return None
    outer = _outer(f, mine)
    if outer != _outer(g, yours):
        return None
    own = {c: v for v, c in f.coeffs.items() if v in mine}
    other = {c: w for w, c in g.coeffs.items() if w in yours}
    repeated = len(own) + len(outer) < len(f.coeffs) or len(other) + len(outer) < len(g.coeffs)
    if repeated or own.keys() != other.keys() or len({abs(c) for c in own}) < len(own):
        return None
    return sorted(((abs(c), own[c], other[c]) for c in own), key=lambda t: -t[0])


def mirrors(writer: Site, reader: Site, written: Sequence[Expr], read: Sequence[Expr]) -> bool:
    """Whether each instance of `reader` follows the one of `writer` with the same digits.

    That is: it touches at `read` the element that `writer` touched at `written`, in loops of equal
    range and under guards that hold for the reader too. False where that is not plain to see.
    """
    mine, yours = ({loop.var: loop for loop in s.loops} for s in (reader, writer))
    match: dict[Var, Expr] = {}
    for i, j in zip(read, written, strict=True):
        terms = _terms(i, j, mine, yours)
        if terms is None or any(match.setdefault(w, v) is not v for _, v, w in terms):
            return False
    for w, loop in yours.items():
        if any(loads(e) for e in (loop.start, loop.extent)):
            return False
        v = match.get(w)
        if v is None and not _runs(loop):
            return False
        if isinstance(v, Var) and not _same_range(loop, mine[v]):
            return False
    if any(loads(c) for c in writer.conds):
        return False  # Data may have changed since.
    conds = [substitute(c, match) for c in writer.conds]
    if not all(any(equal(c, d) for d in reader.conds) for c in conds):
        return False
    return _comes_first(writer, reader, match)


def _same_range(one: For, other: For) -> bool:
    return equal(one.start, other.start) and equal(one.extent, other.extent)


def _comes_first(writer: Site, reader: Site, match: Mapping[Var, Expr]) -> bool:
    """Whether block positions alone put the matched writer first."""
    for s, t in zip(writer.time, reader.time, strict=False):
        if isinstance(s, int) and isinstance(t, int):
            if s != t:
                return s < t
        elif isinstance(s, int) or isinstance(t, int) or match.get(s, s) is not t:  # type: ignore[arg-type]
            return False
    return False


def divided(index: Expr, factor: int, loops: Mapping[Var, For]) -> tuple[Expr, Expr]:
    """`index // factor` and `index % factor`, in affine form where the digits tell it.

    `16*j + l` with `0 <= l < 16` is `j` and `l`.
    """
    form = exact_linear(index)
    if form is not None:
        ranges = {v: _span([(1, v)], loops) for v in form.coeffs if v in loops}
        limits = {v: x for v, x in ranges.items() if x is not None}
        step, high, low = split_digits(form, factor, limits)
        if step == factor:
            return to_expr(high), to_expr(low)
    by = Const(factor)
    return Binary(BinaryOp.FLOORDIV, index, by), Binary(BinaryOp.MOD, index, by)


def comes_before(first: Time, second: Time) -> bool:
    """Whether all that runs at `first` precedes all at `second`, by position in one block."""
    if not first or not second:
        return False
    s, t = first[0], second[0]
    return isinstance(s, int) and isinstance(t, int) and s < t


def fills(
    site: Site,
    indices: Sequence[Expr],
    lows: Sequence[Expr],
    extents: Sequence[Expr],
    shape: Sequence[Expr],
) -> bool:
    """Whether `site`, at `indices`, touches each element of a box that lies within `shape`.

    False where that is not plain to see: the digits of each index must count through all of the
    box, and guards may only keep an index inside of `shape`.
    """
    loops = {loop.var: loop for loop in site.loops}
    used: set[Var] = set()
    for index, low, extent in zip(indices, lows, extents, strict=True):
        f, g, length = exact_linear(index), exact_linear(low), const_int(extent)
        if f is None or g is None or length is None or f.const != g.const:
            return False
        own = {v: c for v, c in f.coeffs.items() if v in loops}
        if _outer(f, loops) != dict(g.coeffs):
            return False
        if used & own.keys() or not _counts_through(own, loops, length):
            return False
        used |= own.keys()
    if any(not _runs(loops[v]) for v in loops.keys() - used):
        return False
    return all(_only_keeps_inside(c, indices, shape) for c in site.conds)


def _counts_through(digits: Mapping[Var, int], loops: Mapping[Var, For], length: int) -> bool:
    """Whether the digits' sums are 0, 1, 2... up to `length` at least."""
    step = 1
    for var, c in sorted(digits.items(), key=lambda d: d[1]):
        start, extent = const_int(loops[var].start), const_int(loops[var].extent)
        if c != step or start != 0 or extent is None:
            return False
        step *= extent
    return step >= length


def _runs(loop: For) -> bool:
    extent = const_int(loop.extent)
    return extent is not None and extent > 0


def _only_keeps_inside(cond: Expr, indices: Sequence[Expr], shape: Sequence[Expr]) -> bool:
    """Whether `cond` is `index < size` or `0 <= index` of one dimension."""
    if not isinstance(cond, Compare):
        return False
    for index, size in zip(indices, shape, strict=True):
        if cond.op is CompareOp.LT and _alike(cond.lhs, index) and _alike(cond.rhs, size):
            return True
        zero = isinstance(cond.lhs, Const) and cond.lhs.value == 0
        if cond.op is CompareOp.LE and zero and _alike(cond.rhs, index):
            return True
    return False


def _alike(a: Expr, b: Expr) -> bool:
    if a is b:
        return True
    f, g = exact_linear(a), exact_linear(b)
    return f is not None and f == g
