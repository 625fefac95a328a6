"""Loops as the digits of an index: what can be read off affine indices without a solver.

`6*i + r` with `0 <= r < 6` is one element for one `i` and one `r` only, and all `i` and `r`
together make every element. Tiled loops give such indices, and most questions about them end
here; the others go to `sets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tensorc.ir.affine import exact_linear
from tensorc.ir.expr import Compare, CompareOp, Const, Expr, Var, const_int
from tensorc.ir.walk import loads, substitute
from tensorc.schedule.tree import equal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.ir.stmt import For
    from tensorc.schedule.tree import Site

Term: TypeAlias = tuple[int, Var, Var]


def tied_vars(a: Site, b: Site, x: Sequence[Expr], y: Sequence[Expr]) -> dict[Var, Var]:
    """The loop variables of `b` that equal one of `a` where the indices `x` and `y` are equal."""
    mine, yours = ({loop.var: loop for loop in s.loops} for s in (a, b))
    tied: dict[Var, Var] = {}
    for i, j in zip(x, y, strict=True):
        terms = [t for t in _terms(i, j, mine, yours) or () if tied.get(t[2]) is not t[1]]
        for place, (c, v, w) in enumerate(terms):
            reach = [_reach(d, mine[p], yours[q]) for d, p, q in terms[place + 1 :]]
            if None in reach or sum(r for r in reach if r is not None) >= c:
                break
            tied[w] = v
    return tied


def _terms(
    i: Expr, j: Expr, mine: Mapping[Var, For], yours: Mapping[Var, For]
) -> list[Term] | None:
    """The terms of two indices, (|coefficient|, variable of `i`, of `j`), the greatest first.

    None unless the terms correspond one to one by coefficient, and all else is equal.
    """
    f, g = exact_linear(i), exact_linear(j)
    if f is None or g is None or f.const != g.const:
        return None
    outer = {v: c for v, c in f.coeffs.items() if v not in mine}
    if outer != {v: c for v, c in g.coeffs.items() if v not in yours}:
        return None
    own = {c: v for v, c in f.coeffs.items() if v in mine}
    other = {c: w for w, c in g.coeffs.items() if w in yours}
    repeated = len(own) + len(outer) < len(f.coeffs) or len(other) + len(outer) < len(g.coeffs)
    if repeated or own.keys() != other.keys() or len({abs(c) for c in own}) < len(own):
        return None
    return sorted(((abs(c), own[c], other[c]) for c in own), key=lambda t: -t[0])


def _reach(c: int, one: For, other: For) -> int | None:
    """How far `c * (v - w)` may be from 0; None where the loops have no constant limits."""
    ends: list[int] = []
    for loop in (one, other):
        start, extent = const_int(loop.start), const_int(loop.extent)
        if start is None or extent is None:
            return None
        ends += [start, start + max(extent, 1) - 1]
    return c * (max(ends) - min(ends))


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
        if {v: c for v, c in f.coeffs.items() if v not in loops} != dict(g.coeffs):
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
