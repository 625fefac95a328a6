"""The box of a buffer that some loops touch, buffers rebased to such a box, and loops over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tensorc.ir.affine import Linear, linear, to_expr
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Cast,
    Compare,
    CompareOp,
    Const,
    Dim,
    Expr,
    Load,
    Var,
    Where,
    all_of,
    const_int,
)
from tensorc.ir.facts import steers, touches
from tensorc.ir.sets import EMPTY, Encoder, prove, sample
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Accumulate, For, If, Leaf, Node, Program, Role, Stmt, Store
from tensorc.ir.walk import free_vars, rewrite, same, walk_stmts, written_buffers
from tensorc.schedule.digits import comes_before, divided, fills, mirrors
from tensorc.schedule.legality import accesses, before_text, control
from tensorc.schedule.tree import Site, around, fresh_name, map_nests, path_to, sites, sites_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Indices: TypeAlias = tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """`lows[d] <= index[d] < lows[d] + extents[d]`; the lows depend on outer loops only."""

    lows: tuple[Expr, ...]
    extents: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a buffer's part lies in a buffer of its own.

    Indices count from `lows` on. `order` says which dimension each of the other is (none: the
    same); then the last is cut in panels of `panel` elements, and the panel's number comes first.
    """

    lows: tuple[Expr, ...]
    order: tuple[int, ...] = ()
    panel: int | None = None


def touched_box(
    body: Stmt, buffer: Buffer, *, full_tiles: bool = False, written: bool = False
) -> Box | None:
    """The least box that every access of `buffer` inside `body` stays in; None of no access.

    Every write, if `written`.

    A dimension whose index is not affine, or whose accesses lie at a varying distance, is taken
    whole. Guards do not count, so a box may reach over the end of the buffer; one that covers a
    dimension is cut to it, unless `full_tiles` asks for room for every iteration.
    """
    found: list[tuple[Site, tuple[Expr, ...]]] = []
    for site in sites_of(body, buffer):
        own = [a for a in (*accesses(site.leaf), *control(site)) if a.buffer is buffer]
        found.extend((site, a.indices) for a in own if a.writes or not written)
    if not found:
        return None
    dims = [
        _dimension([(s, indices[d]) for s, indices in found], buffer.shape[d], full_tiles)
        for d in range(buffer.ndim)
    ]
    return Box(tuple(low for low, _ in dims), tuple(extent for _, extent in dims))


def _dimension(
    uses: Sequence[tuple[Site, Expr]], size: Expr, full_tiles: bool
) -> tuple[Expr, Expr]:
    whole: tuple[Expr, Expr] = (Const(0), size)
    base: dict[Var, int] | None = None
    low, high = 0, 0
    symbolic: Expr | None = None
    for site, index in uses:
        inner = {loop.var: loop for loop in site.loops}
        index, parts = _parts(index, inner)
        form = linear(index)
        if form is None:
            return whole
        inner |= parts
        outer = {v: c for v, c in form.coeffs.items() if v not in inner}
        first, last, extra = form.const, form.const, None
        for var, c in form.coeffs.items():
            if var not in inner:
                continue
            start, extent = const_int(inner[var].start), const_int(inner[var].extent)
            if start is None:
                return whole
            if extent is None:
                if c != 1 or extra is not None or not _is_size(inner[var].extent):
                    return whole
                extra, extent = inner[var].extent, 1
            ends = (c * start, c * (start + max(extent, 1) - 1))
            first, last = first + min(ends), last + max(ends)
        if base is None:
            base, low, high, symbolic = outer, first, last, extra
        elif (
            base != outer
            or (extra is None) != (symbolic is None)
            or (extra is not None and (extra is not symbolic or (first, last) != (low, high)))
        ):
            return whole
        else:
            low, high = min(low, first), max(high, last)
    assert base is not None, "at least one use"
    if not base and symbolic is not None:
        return whole
    extent_expr: Expr = Const(high - low + 1)
    if symbolic is not None:
        extent_expr = simplify(symbolic + (high - low))
    limit = const_int(size)
    if not base and not full_tiles and limit is not None and high - low + 1 >= limit:
        return whole
    return to_expr(Linear(base, low)), extent_expr


def _parts(index: Expr, loops: Mapping[Var, For]) -> tuple[Expr, dict[Var, For]]:
    """`index` with a loop for each quotient and rest of a loop's variable by a constant."""
    made: dict[Var, For] = {}

    def rule(node: Node) -> Node | None:
        match node:
            case Binary(BinaryOp.FLOORDIV | BinaryOp.MOD as op, Var() as var, Const(by)):
                start = const_int(loops[var].start) if var in loops else None
                extent = const_int(loops[var].extent) if var in loops else None
                if start is None or extent is None or by <= 0:
                    return None
                last = start + max(extent, 1) - 1
                low, high = start // by, last // by
                if op is BinaryOp.MOD:
                    low, high = (start % by, last % by) if low == high else (0, by - 1)
                part = Var(f"{var.name}.part{len(made)}", var.dtype)
                made[part] = For(part, Const(low), Const(high - low + 1), loops[var].body)
                return part
            case _:
                return None

    return rewrite(index, rule), made


def _is_size(extent: Expr) -> bool:
    """Whether an extent holds for the whole call: a buffer's shape may not name a loop."""
    return all(isinstance(v, Dim) for v in free_vars(extent))


def rebase(
    stmt: Stmt,
    buffer: Buffer,
    local: Buffer,
    layout: Layout,
) -> Stmt:
    """Every access of `buffer` turned into one of `local`, which holds it in `layout`."""
    panels = layout.panel is not None
    loops = {s.var: s for s in walk_stmts(stmt) if isinstance(s, For)} if panels else {}

    def shift(indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        moved = tuple(difference(i, low) for i, low in zip(indices, layout.lows, strict=True))
        if layout.order:
            moved = tuple(moved[d] for d in layout.order)
        if layout.panel is None:
            return moved
        quotient, rest = divided(moved[-1], layout.panel, loops)
        return (quotient, *moved[:-1], rest)

    def rule(node: Node) -> Node | None:
        match node:
            case Load(b, indices) if b is buffer:
                return Load(local, shift(indices), loc=node.loc)
            case Store(b, indices, value) if b is buffer:
                return Store(local, shift(indices), value, loc=node.loc)
            case Accumulate(reducer, bs, indices, values) if any(b is buffer for b in bs):
                new = tuple(local if b is buffer else b for b in bs)
                return Accumulate(reducer, new, shift(indices), values, loc=node.loc)
            case _:
                return None

    return map_nests(stmt, lambda x: rewrite(x, rule) if touches(x, buffer) else x)


def difference(a: Expr, b: Expr) -> Expr:
    """`a - b`, in its shortest affine form where it has one."""
    if isinstance(b, Const) and b.value == 0:
        return a
    result = Binary(BinaryOp.SUB, a, b, loc=a.loc)
    form = linear(result)
    return simplify(result) if form is None else to_expr(form)


def limits(
    lows: Sequence[Expr],
    local: Sequence[Expr],
    extents: Sequence[Expr],
    shape: Sequence[Expr],
    given: Sequence[Expr],
) -> list[Expr]:
    """The conditions that `lows + local` stays inside `shape`, but for those that are proved.

    A variable in `local` runs below its extent; of other places `given` tells the range.
    """
    needed: list[Expr] = []
    for low, place, extent, size in zip(lows, local, extents, shape, strict=True):
        index = Binary(BinaryOp.ADD, low, place)
        own: list[Expr] = []
        if isinstance(place, Var):
            own = [Compare(CompareOp.LE, Const(0), place), Compare(CompareOp.LT, place, extent)]
        claims = (Compare(CompareOp.LE, Const(0), index), Compare(CompareOp.LT, index, size))
        needed += [simplify(c) for c in claims if not prove(c, [*given, *own]).holds]
    return needed


def is_covered(body: Stmt, buffer: Buffer, box: Box, given: Sequence[Expr]) -> bool:
    """Whether `body` writes each element of `box` that lies in `buffer`.

    `given` is what holds around `body`.
    """
    writers = _writers(sites_of(body, buffer), buffer)
    for site in writers:
        if fills(site, _place(site, buffer), box.lows, box.extents, buffer.shape):
            return True
    encoder = Encoder()
    known = [encoder.condition(g) for g in given]
    points = []
    for low, extent, size in zip(box.lows, box.extents, buffer.shape, strict=True):
        p, start = encoder.fresh(), encoder.number(low)
        points.append(p)
        known.append(f"{start} <= {p} < {start} + {encoder.number(extent)}")
        known.append(f"0 <= {p} < {encoder.number(size)}")
    writes = [_written(s, buffer, points, encoder) for s in writers]
    return always(encoder, known, writes)


def reads_own_writes(body: Stmt, buffer: Buffer, given: Sequence[Expr]) -> bool:
    """Whether each read of `buffer` inside `body` sees what `body` itself wrote there before.

    Reads by guards and loop ranges are not looked into: then it is not known.
    """
    if steers(body, buffer):
        return False
    inside = sites_of(body, buffer)
    writers = _writers(inside, buffer)
    box = touched_box(body, buffer)
    shape = buffer.shape
    whole = [
        w.time
        for w in writers
        if box is not None and fills(w, _place(w, buffer), box.lows, box.extents, shape)
    ]
    for site in inside:
        if any(comes_before(time, site.time) for time in whole):
            continue
        for access in accesses(site.leaf):
            if access.buffer is not buffer or (access.writes and not access.updates):
                continue
            if any(mirrors(w, site, _place(w, buffer), access.indices) for w in writers):
                continue
            encoder = Encoder()
            for var in site.vars:
                encoder.var(var)
            known = [encoder.condition(c) for c in (*given, *site.domain())]
            points = [encoder.number(i) for i in access.indices]
            writes = [_written(w, buffer, points, encoder, reader=site) for w in writers]
            if not always(encoder, known, writes):
                return False
    return True


def is_written_before(
    program: Program,
    leaf: Leaf,
    buffer: Buffer,
    indices: Indices,
    where: Sequence[Expr] = (),
    busy: frozenset[Leaf] = frozenset(),
) -> bool:
    """Whether each instance of `leaf`, `where` that holds, finds `buffer[indices]` written.

    `in` and `inout` arguments are written when the call begins, where the element is inside them.
    A copy writes only if it finds its source written; `busy` are the copies that are being asked.
    """
    allocation = path_to(program.body, buffer)
    root = allocation[-1].body if allocation else program.body  # type: ignore[union-attr]
    inside = sites(root)
    site = next(s for s in inside if s.leaf is leaf)
    known = [*around(program, root), *site.domain(), *where]
    given = any(p.buffer is buffer and p.role is not Role.OUT for p in program.params)
    if given and is_inside(indices, buffer, known):
        return True
    encoder = Encoder()
    for var in (*program.dims, *site.vars):
        encoder.var(var)
    texts = [encoder.condition(c) for c in known]
    points = [encoder.number(i) for i in indices]
    busy = busy | {leaf}
    writers = [w for w in _writers(inside, buffer) if _has_value(program, w.leaf, busy)]
    writes = [_written(w, buffer, points, encoder, reader=site) for w in writers]
    return always(encoder, texts, writes)


def _has_value(program: Program, leaf: Leaf, busy: frozenset[Leaf]) -> bool:
    """Whether what a leaf writes is defined: all but a copy of what was never written is."""
    if not isinstance(leaf, Store):
        return True
    where: tuple[Expr, ...] = ()
    match leaf.value:
        case Load() as source:
            pass
        case Where(cond, Load() as source, _):  # A copy with padding.
            where = (cond,)
        case _:
            return True
    return leaf not in busy and is_written_before(
        program, leaf, source.buffer, source.indices, where, busy
    )


def is_inside(indices: Indices, buffer: Buffer, known: Sequence[Expr]) -> bool:
    """Whether the element at `indices` is one of `buffer` wherever `known` holds."""
    zero = Const(0)
    return all(
        prove(claim, known).holds
        for index, size in zip(indices, buffer.shape, strict=True)
        for claim in (Compare(CompareOp.LE, zero, index), Compare(CompareOp.LT, index, size))
    )


def _writers(inside: Sequence[Site], buffer: Buffer) -> list[Site]:
    return [s for s in inside if buffer in set(written_buffers(s.leaf))]


def always(encoder: Encoder, known: list[str], cases: Sequence[str | None]) -> bool:
    """Whether one of `cases` holds wherever all of `known` do; None is a case nobody knows."""
    if not encoder.exact:
        return False
    missing = [f"not ({case})" for case in cases if case is not None]
    return sample(encoder.set_of(*known, *missing)) == EMPTY


def _place(writer: Site, buffer: Buffer) -> Indices:
    """Where a leaf writes `buffer`."""
    return next(a.indices for a in accesses(writer.leaf) if a.writes and a.buffer is buffer)


def _written(
    site: Site, buffer: Buffer, points: list[str], outer: Encoder, reader: Site | None = None
) -> str | None:
    """The isl text of: this leaf writes the element at `points`, before `reader` runs.

    None where that is not affine: then it counts as if it never wrote.
    """
    inner = Encoder()
    own = {v: f"y{d}" for d, v in enumerate(site.vars)}
    inner.names = {(v, 0): name for v, name in own.items()}
    for key, name in outer.names.items():
        inner.names.setdefault(key, name)
    parts = [inner.condition(c) for c in site.domain()]
    place = _place(site, buffer)
    parts += [f"{inner.number(i)} = {p}" for i, p in zip(place, points, strict=True)]
    if reader is not None:
        parts.append(before_text(site.time, inner.number, reader.time, outer.number))
    foreign = [key for key in inner.names if key not in outer.names and key[0] not in own]
    if not inner.exact or inner.side or foreign:
        return None
    names = ", ".join(own.values())
    body = " and ".join(parts) or "true"
    return f"exists ({names} : {body})" if names else body


def loop_nest(vars_: Sequence[Var], extents: Sequence[Expr], body: Stmt) -> Stmt:
    """Loops from 0 around `body`, outermost first."""
    for var, extent in zip(reversed(vars_), reversed(extents), strict=True):
        body = For(var, Const(0), extent, body)
    return body


def copy_nest(
    buffer: Buffer,
    local: Buffer,
    box: Box,
    given: list[Expr],
    used: set[str],
    *,
    to_local: bool,
    layout: Layout | None = None,
    pad: Const | None = None,
) -> Stmt:
    """The nest that copies a box of `buffer` to `local`, in its layout and type, or back."""

    def copied(outside: Indices, here: Indices, guard: Expr | None) -> Stmt:
        value: Expr = Load(buffer, outside)
        if to_local and local.dtype != buffer.dtype:
            value = Cast(value, local.dtype)
        if guard is not None and pad is not None:
            return Store(local, here, Where(guard, value, pad))
        stmt: Stmt = (
            Store(local, here, value) if to_local else Store(buffer, outside, Load(local, here))
        )
        return stmt if guard is None else If(guard, stmt)

    kind = "in" if to_local else "out"
    within = not to_local
    return box_nest(
        buffer, local, box, given, used, copied, kind=kind, within=within, layout=layout
    )


def box_nest(
    buffer: Buffer,
    local: Buffer,
    box: Box,
    given: Sequence[Expr],
    used: set[str],
    body: Callable[[Indices, Indices, Expr | None], Stmt],
    *,
    kind: str,
    within: bool,
    layout: Layout | None = None,
) -> Stmt:
    """Loops over a box of `buffer` that `local` holds, named after `kind`.

    `body` is made of an element's place in `buffer`, its place in `local`, and what must hold for
    it to lie in `buffer`, where that is not known; with `within`, to lie in the box too, which the
    last panel may reach over.
    """
    panel = layout.panel if layout is not None else None
    count = buffer.ndim + (panel is not None)
    vars_ = [Var(fresh_name(f"{buffer.name}.{kind}{d}", used)) for d in range(count)]
    extents = box.extents
    places: list[Expr] = list(vars_)
    here = tuple(vars_)
    if panel is not None:
        assert layout is not None, "a panel is part of a layout"
        first, *others, last = vars_
        inside: dict[int, Expr] = dict(zip(layout.order, others, strict=False))
        inside[layout.order[-1]] = Binary(BinaryOp.ADD, first * panel, last)
        places = [inside[d] for d in range(buffer.ndim)]
        extents = local.shape
        given = [*given, *(c for v, e in zip(vars_, extents, strict=True) for c in _below(v, e))]
    elif layout is not None and layout.order:
        here = tuple(vars_[d] for d in layout.order)
    outside = tuple(simplify(low + v) for low, v in zip(box.lows, places, strict=True))
    needed = limits(box.lows, places, box.extents, buffer.shape, given)
    if within and panel is not None and (const_int(box.extents[-1]) or 1) % panel:
        inside_box = simplify(Compare(CompareOp.LT, places[-1], box.extents[-1]))
        needed += [] if any(same(inside_box, c) for c in needed) else [inside_box]
    return loop_nest(vars_, extents, body(outside, here, all_of(needed)))


def _below(var: Var, extent: Expr) -> tuple[Expr, Expr]:
    return Compare(CompareOp.LE, Const(0), var), Compare(CompareOp.LT, var, extent)
