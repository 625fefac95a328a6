"""tensorize: a nest replaced by an intrinsic that means the same."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tensorc.dtypes import float32
from tensorc.errors import ScheduleError
from tensorc.ir.affine import Linear, linear, to_expr
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Call,
    Cast,
    Compare,
    CompareOp,
    Const,
    Expr,
    Load,
    Select,
    Unary,
    Var,
    Where,
    const_int,
)
from tensorc.ir.printer import show
from tensorc.ir.sets import prove
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Accumulate, Allocate, Block, For, ForKind, Program, Role, Stmt, Store
from tensorc.ir.walk import (
    children,
    replace_buffers,
    rewrite,
    same,
    substitute,
    walk_stmts,
)
from tensorc.schedule.legality import STRICT
from tensorc.schedule.tree import (
    around,
    fresh_name,
    loop_names,
    replace_stmt,
    used_names,
    with_body,
)

if TYPE_CHECKING:
    from tensorc.ir.expr import Buffer
    from tensorc.ir.stmt import Node
    from tensorc.schedule.intrinsics import Intrinsic

COMMUTATIVE = (
    *(BinaryOp.ADD, BinaryOp.MUL, BinaryOp.MIN, BinaryOp.MAX),
    *(BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR),
)


@dataclass(frozen=True, slots=True)
class _Dim:
    """A dimension of a buffer; or two, where it is cut in panels: `x // panel` and `x % panel`."""

    at: int
    inside: int | None = None
    panel: int = 1


@dataclass(frozen=True, slots=True)
class _Operand:
    """Where a formal operand lies: an index of `buffer` is `offsets` plus the formal one.

    `dims[f]` is the dimension of `buffer` that the formal dimension f runs along. `offsets` are by
    the first of a dimension's numbers.
    """

    buffer: Buffer
    dims: tuple[_Dim, ...]
    offsets: dict[int, Linear]


@dataclass(slots=True)
class _Match:
    """What is known so far: the formal loops as expressions of the nest's, and the operands."""

    vars: dict[Var, Linear] = field(default_factory=dict)
    inner: set[Var] = field(default_factory=set)
    operands: dict[Buffer, _Operand] = field(default_factory=dict)


def tensorize(
    program: Program,
    loop: For,
    intrinsic: Intrinsic,
    strict: bool = False,
    precision: str | None = None,
) -> Program:
    """Replace the nest of `loop` by an intrinsic of the same meaning.

        for j in range(8):                becomes,     for v in vectorized(8) {intrinsic: "fma.8"}:
          C[i, 8 + j] += B[k, j] * P[i]   of fma.8,      C[i, 8 + v] += P[i] * B[k, v]

    The nest must look like the intrinsic's meaning, but for names, where the operands begin in
    their buffers, further dimensions of these, and the order of operands of commutative operators.
    The loops of the implementation keep their names where those are free. With `precision="tf32"`
    the operands of float32 products in the nest are first rounded, `A[i, k] * B[k, j]` to
    `tf32(A[i, k]) * tf32(B[k, j])`: other numbers than were defined, and the program then says so.

    Legal where it looks so, each operand lies inside its buffer, and none that is written shares
    its buffer with another. The floats of an intrinsic that reassociates round otherwise: not when
    `strict`.

    Raises:
        ScheduleError: one of these is not so.
    """
    step = f"tensorize({loop.var.name}, {intrinsic.name})"
    if strict and intrinsic.reassociates:
        raise ScheduleError(f"{step}: {intrinsic.name} folds floats in another order\n{STRICT}")
    found = _Match()
    nest = loop if precision is None else _rounded(step, loop, precision)
    if not _stmt(intrinsic.meaning.body, nest, found):
        near = precision is None and _stmt(intrinsic.meaning.body, _in_tf32(loop), _Match())
        hint = "\n  precision='tf32' rounds the operands of its products, and then it does"
        raise ScheduleError(
            f"{step}: the nest\n{_indented(nest)}\n  does not look like {intrinsic.name}, which "
            f"means\n{_indented(intrinsic.meaning.body)}{hint if near else ''}"
        )
    _no_alias(step, intrinsic, found)
    _inside(program, step, intrinsic, loop, found)
    body = _implementation(program, loop, intrinsic, found)
    if isinstance(body, For):
        body = replace(body, annotations=(*body.annotations, ("intrinsic", intrinsic.name)))
    return with_body(program, replace_stmt(program.body, loop, body))


def _rounded(step: str, loop: For, precision: str) -> For:
    """The nest with the operands of its products rounded, as was asked."""
    if precision != "tf32":
        raise ScheduleError(f"{step}: precision must be 'tf32' or None, got {precision!r}")
    nest = _in_tf32(loop)
    if nest is loop:
        raise ScheduleError(
            f"{step}: precision='tf32' rounds the operands of float32 products, and the nest\n"
            f"{_indented(loop)}\n  has none"
        )
    return nest


def _in_tf32(loop: For) -> For:
    """The nest with every float32 product that is accumulated one of rounded operands."""

    def operand(x: Expr) -> Expr:
        known = isinstance(x, Call) and x.name == "tf32"
        return x if known else Call("tf32", (x,), float32)

    def rule(node: Node) -> Node | None:
        match node:
            case Accumulate(_, _, _, (Binary(BinaryOp.MUL, a, b) as value,)):
                if value.dtype != float32:
                    return None
                product = Binary(BinaryOp.MUL, operand(a), operand(b), loc=value.loc)
                return replace(node, values=(product,))
            case _:
                return None

    nest = rewrite(loop, rule)
    assert isinstance(nest, For), "only values are changed"
    return nest


def _indented(stmt: Stmt) -> str:
    return "\n".join(f"    {line}" for line in show(stmt).splitlines())


# --- matching -------------------------------------------------------------------------------


def _stmt(formal: Stmt, actual: Stmt, found: _Match) -> bool:
    match formal, actual:
        case For(), For():
            start, count = linear(actual.start), const_int(formal.extent)
            if actual.kind is not ForKind.SERIAL or start is None or const_int(formal.start) != 0:
                return False
            if count is None or count != const_int(actual.extent):
                return False
            if any(v in found.inner for v in start.coeffs):
                return False
            found.inner.add(actual.var)
            found.vars[formal.var] = _minus(Linear({actual.var: 1}, 0), start)
            return _stmt(formal.body, actual.body, found)
        case Block(xs), Block(ys):
            return len(xs) == len(ys) and all(
                _stmt(x, y, found) for x, y in zip(xs, ys, strict=True)
            )
        case Store(), Store():
            return _access(
                formal.buffer, formal.indices, actual.buffer, actual.indices, found
            ) and _expr(formal.value, actual.value, found)
        case Accumulate(), Accumulate():
            pairs = zip(formal.buffers, actual.buffers, strict=True)
            return (
                formal.reducer is actual.reducer
                and all(_access(x, formal.indices, y, actual.indices, found) for x, y in pairs)
                and all(
                    _expr(x, y, found) for x, y in zip(formal.values, actual.values, strict=True)
                )
            )
        case _:
            return False


def _expr(formal: Expr, actual: Expr, found: _Match) -> bool:
    if formal.dtype != actual.dtype:
        return False
    if isinstance(formal, Var):
        place, form = found.vars.get(formal), linear(actual)
        return place is not None and form is not None and _equal(place, form)
    match formal, actual:
        case Const(), Const():
            return same(formal, actual)
        case Load(), Load():
            return _access(formal.buffer, formal.indices, actual.buffer, actual.indices, found)
        case Binary(op, a, b), Binary(other, x, y) if op is other:
            return _both((a, b), (x, y), found) or (
                op in COMMUTATIVE and _both((a, b), (y, x), found)
            )
        case (Unary(), Unary()) | (Compare(), Compare()):
            alike = formal.op is actual.op  # type: ignore[union-attr]
        case Call(), Call():
            alike = formal.name == actual.name
        case (Cast(), Cast()) | (Select(), Select()) | (Where(), Where()):
            alike = True
        case _:
            return False
    parts = (children(formal), children(actual))
    return alike and len(parts[0]) == len(parts[1]) and _both(*parts, found)  # type: ignore[arg-type]


def _both(formal: tuple[Expr, ...], actual: tuple[Expr, ...], found: _Match) -> bool:
    """Whether all pairs match; nothing is learned where they do not."""
    operands = dict(found.operands)
    if all(_expr(x, y, found) for x, y in zip(formal, actual, strict=True)):
        return True
    found.operands = operands
    return False


def _access(
    formal: Buffer,
    indices: tuple[Expr, ...],
    buffer: Buffer,
    actual: tuple[Expr, ...],
    found: _Match,
) -> bool:
    """Whether the two accesses are one, for an operand that lies where earlier ones say."""
    if formal.dtype != buffer.dtype:
        return False
    wanted: list[Linear] = []
    for index in indices:
        form = linear(index)
        if form is None or any(v not in found.vars for v in form.coeffs):
            return False
        place = Linear({}, form.const)
        for var, c in form.coeffs.items():
            place = _plus(place, found.vars[var], c)
        wanted.append(place)
    forms = _dims(actual)
    if forms is None:
        return False
    offsets = {d.at: form for d, form in forms}
    free = [d for d, _ in forms]
    dims: list[_Dim] = []
    for place in wanted:
        inner = _inner(place, found)
        fitting = [d for d in free if _equal(_inner(offsets[d.at], found), inner)]
        if not fitting:
            return False
        d = fitting[0]
        free.remove(d)
        dims.append(d)
        offsets[d.at] = _minus(offsets[d.at], place)
    if any(_inner(o, found).coeffs for o in offsets.values()):
        return False
    operand = _Operand(buffer, tuple(dims), offsets)
    known = found.operands.setdefault(formal, operand)
    return (
        known.buffer is buffer
        and known.dims == operand.dims
        and all(_equal(known.offsets[d], offsets[d]) for d in offsets)
    )


def _dims(indices: tuple[Expr, ...]) -> list[tuple[_Dim, Linear]] | None:
    """The dimensions that indices go along, panels as one; None where one is not affine."""
    found: list[tuple[_Dim, Linear]] = []
    cut: dict[int, int] = {}
    for d, index in enumerate(indices):
        for e, other in enumerate(indices):
            if _is_panel(index, other):
                cut[d] = e
    for d, index in enumerate(indices):
        if d in cut.values():
            continue
        dim, whole = _Dim(d), index
        if d in cut:
            assert isinstance(index, Binary), "the number of a panel is a quotient"
            dim, whole = _Dim(d, cut[d], const_int(index.rhs) or 1), index.lhs
        form = linear(whole)
        if form is None:
            return None
        found.append((dim, form))
    return found


def _is_panel(number: Expr, inside: Expr) -> bool:
    """Whether two indices are `x // size` and `x % size`."""
    match number, inside:
        case Binary(BinaryOp.FLOORDIV, x, Const(a, _)), Binary(BinaryOp.MOD, y, Const(b, _)):
            one, other = linear(x), linear(y)
            return a == b and one is not None and other is not None and _equal(one, other)
        case _:
            return False


def _inner(form: Linear, found: _Match) -> Linear:
    """The part of an index that varies inside the nest."""
    return Linear({v: c for v, c in form.coeffs.items() if v in found.inner}, 0)


def _plus(a: Linear, b: Linear, times: int = 1) -> Linear:
    total = dict(a.coeffs)
    for v, c in b.coeffs.items():
        total[v] = total.get(v, 0) + c * times
    return Linear({v: c for v, c in total.items() if c}, a.const + b.const * times)


def _minus(a: Linear, b: Linear) -> Linear:
    return _plus(a, b, -1)


def _equal(a: Linear, b: Linear) -> bool:
    difference = _minus(a, b)
    return not difference.coeffs and difference.const == 0


# --- what the match must satisfy, and the replacement -----------------------------------------


def _no_alias(step: str, intrinsic: Intrinsic, found: _Match) -> None:
    for param in intrinsic.meaning.params:
        if param.role is Role.IN or param.buffer not in found.operands:
            continue
        mine = found.operands[param.buffer].buffer
        for other, operand in found.operands.items():
            if other is not param.buffer and operand.buffer is mine:
                raise ScheduleError(
                    f"{step}: '{mine.name}' is both operand {param.buffer.name}, which is written, "
                    f"and operand {other.name}"
                )


def _inside(program: Program, step: str, intrinsic: Intrinsic, loop: For, found: _Match) -> None:
    """Refuse where an operand, whole, might reach over an end of its buffer."""
    given = around(program, loop)
    for param in intrinsic.meaning.params:
        formal = param.buffer
        operand = found.operands.get(formal)
        if operand is None:
            raise ScheduleError(f"{step}: the meaning of {intrinsic.name} never uses {formal.name}")
        for f, d in enumerate(operand.dims):
            low, size = to_expr(operand.offsets[d.at]), operand.buffer.shape[d.at]
            if d.inside is not None:
                size = simplify(Binary(BinaryOp.MUL, size, Const(d.panel)))
            claims = (
                Compare(CompareOp.LE, Const(0), low),
                Compare(CompareOp.LE, Binary(BinaryOp.ADD, low, formal.shape[f]), size),
            )
            if not all(prove(c, given).holds for c in claims):
                raise ScheduleError(
                    f"{step}: operand {formal.name}, {formal.shape[f]} elements of "
                    f"'{operand.buffer.name}' from {low} on, might leave it: the size is {size}"
                )


def _implementation(program: Program, loop: For, intrinsic: Intrinsic, found: _Match) -> Stmt:
    """The intrinsic's own nest for `loop`, on the operands."""
    source = intrinsic.implementation
    formal = {p.buffer.name: p.buffer for p in intrinsic.meaning.params}
    operands = {p.buffer: found.operands[formal[p.buffer.name]] for p in source.params}

    def indices(buffer: Buffer, own: tuple[Expr, ...]) -> tuple[Expr, ...]:
        operand = operands[buffer]
        found = {d: to_expr(offset) for d, offset in operand.offsets.items()}
        for d, place, size in zip(operand.dims, own, buffer.shape, strict=True):
            offset = operand.offsets[d.at]
            if d.inside is None:
                found[d.at] = _at(offset, place)
            else:
                found[d.at], found[d.inside] = _cut(offset, place, d.panel, const_int(size) or 0)
        return tuple(found[d] for d in range(operand.buffer.ndim))

    def rule(node: Node) -> Node | None:
        match node:
            case Load(b, own) if b in operands:
                return Load(operands[b].buffer, indices(b, own), loc=node.loc)
            case Store(b, own, value) if b in operands:
                return Store(operands[b].buffer, indices(b, own), value, loc=node.loc)
            case Accumulate(reducer, bs, own, values) if bs[0] in operands:
                new = tuple(operands[b].buffer for b in bs)
                return Accumulate(reducer, new, indices(bs[0], own), values, loc=node.loc)
            case For():
                return replace(node, var=fresh[node.var])
            case _:
                return None

    used, taken = loop_names(program, loop), used_names(program)
    stmts = list(walk_stmts(source.body))
    fresh = {s.var: Var(fresh_name(s.var.name, used)) for s in stmts if isinstance(s, For)}
    own_buffers = {
        s.buffer: replace(s.buffer, name=fresh_name(s.buffer.name, taken))
        for s in stmts
        if isinstance(s, Allocate)
    }
    body = substitute(rewrite(source.body, rule), fresh)
    return replace_buffers(body, own_buffers)


def _cut(offset: Linear, place: Expr, panel: int, size: int) -> tuple[Expr, Expr]:
    """The panel of `offset + place`, and where in it, of `0 <= place < size`."""
    by = Const(panel)
    if offset.const % panel or any(c % panel for c in offset.coeffs.values()):
        whole = _at(offset, place)
        return Binary(BinaryOp.FLOORDIV, whole, by), Binary(BinaryOp.MOD, whole, by)
    first = Linear({v: c // panel for v, c in offset.coeffs.items()}, offset.const // panel)
    if size <= panel:
        return to_expr(first), place
    return _at(first, Binary(BinaryOp.FLOORDIV, place, by)), Binary(BinaryOp.MOD, place, by)


def _at(offset: Linear, place: Expr) -> Expr:
    """The index `offset + place`, in its shortest form where it is affine."""
    form = linear(place)
    if form is not None:
        return to_expr(_plus(offset, form))
    at_start = not offset.coeffs and offset.const == 0
    return place if at_start else Binary(BinaryOp.ADD, to_expr(offset), place)
