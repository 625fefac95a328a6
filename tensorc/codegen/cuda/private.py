"""Local buffers that stand outside of the thread loops, divided among the threads.

A thread keeps in registers what it alone touches. For each dimension the index is taken apart into
digits: `acc[ty*8 + i]` with `0 <= i < 8` has the digits ty and i. The digits that say which thread
it is are dropped, and the rest is the index of the thread's own array, `acc[i]`. All accesses, in
all phases, must agree on which digits are the threads', and on whose they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from tensorc.codegen.cuda.kernel import Branch, Loop
from tensorc.errors import CompileError
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Const,
    Expr,
    Load,
    Unary,
    UnaryOp,
    Var,
    const_int,
)
from tensorc.ir.printer import show
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Accumulate, Allocate, For, Stmt, Store
from tensorc.ir.walk import rewrite, walk, walk_stmts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.codegen.cuda.kernel import Kernel, Node, Phase
    from tensorc.ir.stmt import Node as IRNode


@dataclass(frozen=True, slots=True)
class Digit:
    """A part of the thread's number: `tid // divisor % extent`."""

    divisor: int
    extent: int


# The thread digits of a dimension: the weight of each in the index, the greatest first.
_Digits: TypeAlias = tuple[tuple[int, Digit], ...]
_Span: TypeAlias = tuple[int, int] | None  # The least and greatest value, if known.


def digits_of(phase: Phase) -> dict[Var, Digit]:
    """What each thread loop of a phase is of the thread's number; x counts fastest."""
    found: dict[Var, Digit] = {}
    divisor = 1
    for loop in phase.threads.values():
        extent = const_int(loop.extent) or 1
        found[loop.var] = Digit(divisor, extent)
        divisor *= extent
    return found


def privatize(kernel: Kernel) -> dict[Buffer, Buffer]:
    """Divide the kernel's local buffers among its threads, and rewrite its phases accordingly.

    Gives the array of one thread for each such buffer.

    Raises:
        CompileError: an access that may touch what another thread owns.
    """
    phases = kernel.phases()
    inside = {s.buffer for p in phases for s in walk_stmts(p.body) if isinstance(s, Allocate)}
    wanted = [b for b in kernel.buffers if b.scope == "local" and b not in inside]
    outer = _outer_ranges(kernel.body)
    shares = {b: _share(phases, b, outer) for b in wanted}
    if shares:
        for phase in phases:
            phase.body = _rewritten(phase, shares, outer)
    return {b: share.mine for b, share in shares.items()}


@dataclass(frozen=True, slots=True)
class _Share:
    """One thread's array, and the dimensions of the whole that it keeps."""

    mine: Buffer
    kept: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Term:
    """`weight * atom` of an index, where the atom is a variable or a digit of one."""

    weight: int
    atom: Expr
    low: int
    high: int
    digit: Digit | None


def _share(phases: Sequence[Phase], buffer: Buffer, outer: Mapping[Var, _Span]) -> _Share:
    sizes = [const_int(s) for s in buffer.shape]
    if any(s is None for s in sizes):
        raise CompileError(
            f"local buffer {buffer.name}[{', '.join(map(show, buffer.shape))}]: its size must be "
            "constant, since it lies in registers; tile the loops that fill it"
        )
    agreed: list[_Digits] | None = None
    where = ""
    for phase in phases:
        own = digits_of(phase)
        ranges = {**outer, **_loop_ranges(phase)}
        for indices, text in _accesses(phase.body, buffer):
            terms = [_terms(i, own, ranges, _Ask(buffer, text)) for i in indices]
            digits = [_thread_digits(t[0]) for t in terms]
            _need_all(phase, own, digits, _Ask(buffer, text))
            if agreed is None:
                agreed, where = digits, text
            elif agreed != digits:
                raise CompileError(
                    f"local buffer {buffer.name}: {where} and {text} divide it among the threads "
                    "in different ways; bind the same parts of its index to the same threads, or "
                    "set_scope it to 'shared'"
                )
    own_sizes = [
        _own_size(size or 0, digits)
        for size, digits in zip(sizes, agreed or [()] * len(sizes), strict=True)
    ]
    kept = tuple(d for d, size in enumerate(own_sizes) if size > 1)
    mine = replace(buffer, shape=tuple(Const(own_sizes[d]) for d in kept))
    return _Share(mine, kept)


@dataclass(frozen=True, slots=True)
class _Ask:
    """What is asked, for messages."""

    buffer: Buffer
    text: str

    def refuse(self, why: str) -> CompileError:
        return CompileError(
            f"local buffer {self.buffer.name}: {self.text}: {why}; each element must belong to one "
            "thread alone, the same in all phases: split and bind its index so, or set_scope it to "
            "'shared'"
        )


def _accesses(body: Stmt, buffer: Buffer) -> list[tuple[tuple[Expr, ...], str]]:
    found: list[tuple[tuple[Expr, ...], str]] = []
    for node in walk(body):
        match node:
            case Load(b, indices) if b is buffer:
                found.append((indices, show(node)))
            case Store(b, indices, _) if b is buffer:
                found.append((indices, show(Load(b, indices))))
            case Accumulate(_, bs, indices, _) if buffer in bs:
                found.append((indices, show(Load(buffer, indices))))
            case _:
                pass
    return found


def _loop_ranges(phase: Phase) -> dict[Var, _Span]:
    loops = [*phase.threads.values(), *(s for s in walk_stmts(phase.body) if isinstance(s, For))]
    return {loop.var: _range(loop) for loop in loops}


def _outer_ranges(nodes: Sequence[Node]) -> dict[Var, _Span]:
    """The ranges of the loops that all threads go through together."""
    found: dict[Var, _Span] = {}
    for node in nodes:
        if isinstance(node, Loop):
            found[node.loop.var] = _range(node.loop)
            found |= _outer_ranges(node.body)
        elif isinstance(node, Branch):
            found |= _outer_ranges([*node.body, *node.orelse])
    return found


def _range(loop: For) -> _Span:
    start, extent = const_int(loop.start), const_int(loop.extent)
    if start is None or extent is None or extent <= 0:
        return None
    return start, start + extent - 1


def _terms(
    index: Expr,
    own: Mapping[Var, Digit],
    ranges: Mapping[Var, _Span],
    ask: _Ask,
) -> tuple[list[_Term], int]:
    """The terms of an index, and its constant; the thread's digits start at 0."""
    terms: list[_Term] = []
    const = 0
    for weight, atom in _sum(index, 1):
        if atom is None:
            const += weight
            continue
        digit = _digit(atom, own)
        if digit is not None:
            base, found = digit
            start = ranges.get(base)
            if start is not None and start[0] != 0:
                const += weight * start[0] if isinstance(atom, Var) else 0
                if not isinstance(atom, Var):
                    raise ask.refuse(f"{show(atom)} is no digit of a loop that starts at 0")
            terms.append(_Term(weight, atom, 0, found.extent - 1, found))
            continue
        if any(n in own for n in walk(atom)):
            raise ask.refuse(f"{show(atom)} is no digit of the thread's number")
        span = _span(atom, ranges)
        if span is None:
            raise ask.refuse(f"how large {show(atom)} gets is not known")
        terms.append(_Term(weight, atom, *span, None))
    return terms, const


def _span(atom: Expr, ranges: Mapping[Var, _Span]) -> _Span:
    match atom:
        case Var():
            return ranges.get(atom)
        case Binary(BinaryOp.MOD, _, Const(value, _)) if value > 0:
            return (0, int(value) - 1)
        case Binary(BinaryOp.FLOORDIV, a, Const(value, _)) if value > 0:
            inner = _span(a, ranges)
            return None if inner is None else (inner[0] // int(value), inner[1] // int(value))
        case _:
            return None


def _sum(index: Expr, weight: int) -> list[tuple[int, Expr | None]]:
    match index:
        case Const(value, _):
            return [(weight * int(value), None)]
        case Binary(BinaryOp.ADD, a, b):
            return _sum(a, weight) + _sum(b, weight)
        case Binary(BinaryOp.SUB, a, b):
            return _sum(a, weight) + _sum(b, -weight)
        case Unary(UnaryOp.NEG, a):
            return _sum(a, -weight)
        case Binary(BinaryOp.MUL, a, Const(value, _)) | Binary(BinaryOp.MUL, Const(value, _), a):
            return _sum(a, weight * int(value))
        case _:
            return [(weight, index)]


def _digit(atom: Expr, own: Mapping[Var, Digit]) -> tuple[Var, Digit] | None:
    """The thread variable that an atom is a digit of, and which."""
    match atom:
        case Var() if atom in own:
            return atom, own[atom]
        case Binary(BinaryOp.FLOORDIV, a, Const(value, _)):
            inner = _digit(a, own)
            if inner is None or inner[1].extent % int(value):
                return None
            var, digit = inner
            return var, Digit(digit.divisor * int(value), digit.extent // int(value))
        case Binary(BinaryOp.MOD, a, Const(value, _)):
            inner = _digit(a, own)
            if inner is None or inner[1].extent % int(value):
                return None
            return inner[0], Digit(inner[1].divisor, int(value))
        case _:
            return None


def _thread_digits(terms: Sequence[_Term]) -> _Digits:
    found = [(t.weight, t.digit) for t in terms if t.digit is not None and t.digit.extent > 1]
    return tuple(sorted(found, key=lambda d: -d[0]))


def _need_all(phase: Phase, own: Mapping[Var, Digit], digits: Sequence[_Digits], ask: _Ask) -> None:
    """Refuse an access that several threads of its phase share."""
    covered = prod(d.extent for dim in digits for _, d in dim)
    distinct = {d.divisor for dim in digits for _, d in dim}
    count = sum(len(dim) for dim in digits)
    if covered == phase.count and len(distinct) == count:
        return
    names = ", ".join(v.name for v in own) or "none"
    raise ask.refuse(
        f"its index does not tell the {phase.count} threads of this phase apart (thread loops: "
        f"{names})"
        if own
        else "it stands outside of the thread loops"
    )


def _own_size(size: int, digits: _Digits) -> int:
    """How many elements of a dimension of `size` a thread has."""
    for weight, digit in digits:
        step = weight * digit.extent
        size = -(-size // step) * weight
    return max(size, 1)


def _rewritten(phase: Phase, shares: Mapping[Buffer, _Share], outer: Mapping[Var, _Span]) -> Stmt:
    own, ranges = digits_of(phase), {**outer, **_loop_ranges(phase)}

    def index(buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        ask = _Ask(buffer, show(Load(buffer, indices)))
        parts = [_without(*_terms(i, own, ranges, ask), ask) for i in indices]
        return tuple(parts[d] for d in shares[buffer].kept)

    def rule(node: IRNode) -> IRNode | None:
        match node:
            case Load(b, indices) if b in shares:
                return Load(shares[b].mine, index(b, indices), loc=node.loc)
            case Store(b, indices, value) if b in shares:
                return Store(shares[b].mine, index(b, indices), value, loc=node.loc)
            case Accumulate(reducer, bs, indices, values) if any(b in shares for b in bs):
                if not all(b in shares for b in bs):
                    raise CompileError(
                        f"{', '.join(b.name for b in bs)} are folded together, and only some of "
                        "them are local; set_scope them alike"
                    )
                new = tuple(shares[b].mine for b in bs)
                return Accumulate(reducer, new, index(bs[0], indices), values, loc=node.loc)
            case _:
                return None

    return rewrite(phase.body, rule)


def _without(terms: Sequence[_Term], const: int, ask: _Ask) -> Expr:
    """The index without its thread digits, what is above each of them moved down.

    Sum of terms, where those below a digit stay below its weight, and those above are multiples of
    the weight above it.
    """
    digits = sorted(
        ((t.weight, t.digit.extent) for t in terms if t.digit is not None and t.digit.extent > 1),
        key=lambda d: d[0],
    )
    rest = [t for t in terms if t.digit is None]
    scale: dict[int, int] = {}
    for t in rest:
        shrink = 1
        for weight, extent in digits:
            if t.weight % (weight * extent) == 0:
                shrink *= extent
        scale[id(t)] = t.weight // shrink
    below_ok = _check_levels(rest, const, digits)
    if not below_ok:
        raise ask.refuse("the parts of its index overlap those of the threads")
    total: Expr = Const(_shrunk_const(const, digits))
    for t in rest:
        total = Binary(BinaryOp.ADD, total, Binary(BinaryOp.MUL, t.atom, Const(scale[id(t)])))
    return simplify(total)


def _check_levels(rest: Sequence[_Term], const: int, digits: Sequence[tuple[int, int]]) -> bool:
    """Whether, below each thread digit, the rest of the index stays below the digit's weight."""
    for weight, extent in digits:
        low = high = const % weight if weight > 0 else -1
        if weight <= 0 or const < 0 or (const // weight) % extent:
            return False
        for t in rest:
            if t.weight % (weight * extent) == 0:
                continue
            ends = (t.weight * t.low, t.weight * t.high)
            low, high = low + min(ends), high + max(ends)
        for other, size in digits:
            if other < weight:
                high += other * (size - 1)
        if low < 0 or high >= weight:
            return False
    return True


def _shrunk_const(const: int, digits: Sequence[tuple[int, int]]) -> int:
    for weight, extent in reversed(digits):
        high, low = divmod(const, weight * extent)
        const = high * weight + low % weight
    return const
