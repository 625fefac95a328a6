"""What allows or forbids a schedule step: exact dependences, and the pair of iterations in the way.

A step is checked after the fact: the rewritten program is compared with the one before, leaf by
leaf. Two instances that touch one element, at least one of them writing, are dependent; a step
that runs a dependent pair in the other order, or both at once, is refused. Accesses that isl
cannot express are treated as touching any element, so a legal step may be refused, never an
illegal one accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from tensorc.dtypes import bool_
from tensorc.errors import ScheduleError
from tensorc.ir.affine import linear
from tensorc.ir.expr import Buffer
from tensorc.ir.facts import facts, leaf_loads
from tensorc.ir.printer import builtin_name, show
from tensorc.ir.sets import EMPTY, Encoder, sample
from tensorc.ir.stmt import Accumulate, Check, For, Leaf, Stmt
from tensorc.ir.walk import free_vars, loads, substitute, written_buffers
from tensorc.schedule.digits import tied_vars
from tensorc.schedule.tree import Site, Time, sites

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tensorc.ir.expr import Expr, Load, Reducer, Var


@dataclass(frozen=True, slots=True)
class Access:
    """One read or write of a buffer's element by a leaf; `updates` for an accumulation's own."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    writes: bool
    updates: bool = False


# What a check touches besides what it reads: whether the call goes on.
END = Access(Buffer("the call", (), bool_), (), True)


@dataclass(frozen=True, slots=True)
class Violation:
    """Two instances that a step must not swap, `first` before `second` as things stand.

    The values are None where the conflict has parts that numbers cannot show.
    """

    first: Site
    second: Site
    first_access: Access
    second_access: Access
    first_values: Mapping[Var, int] | None
    second_values: Mapping[Var, int] | None
    too_hard: bool = False
    rounds: bool = False  # The order matters for rounding alone, and the schedule is strict.

    @property
    def buffer(self) -> Buffer:
        """What both instances touch."""
        return self.first_access.buffer


@lru_cache(maxsize=1024)  # A step asks for each leaf many times.
def accesses(leaf: Leaf) -> tuple[Access, ...]:
    """Every access of a leaf: its loads, then its writes."""
    found = [Access(x.buffer, x.indices, False) for x in leaf_loads(leaf)]
    updates = isinstance(leaf, Accumulate)
    if not isinstance(leaf, Check):
        found += [Access(b, leaf.indices, True, updates) for b in written_buffers(leaf)]
    return tuple(found)


def control(site: Site) -> list[Access]:
    """What the guards and the loop ranges around a leaf read, each time as if for it alone."""
    bounds = [x for loop in site.loops for x in (loop.start, loop.extent)]
    found = [x for e in (*site.conds, *bounds) for x in _loads(e)]
    return [Access(x.buffer, x.indices, False) for x in found]


@lru_cache(maxsize=8192)  # One guard stands around many leaves, and most hold no load.
def _loads(expr: Expr) -> tuple[Load, ...]:
    return tuple(loads(expr))


@dataclass(frozen=True, slots=True)
class _Touched:
    """The buffers that a leaf and what is around it read, and those that it writes."""

    read: frozenset[Buffer]
    written: frozenset[Buffer]
    checks: bool

    @staticmethod
    def of(site: Site) -> _Touched:
        read = facts(site.leaf).read | {x.buffer for x in control(site)}
        return _Touched(read, frozenset(facts(site.leaf).written), isinstance(site.leaf, Check))

    def meets(self, other: _Touched) -> bool:
        """Whether the order of the two may matter; accumulations read what they write."""
        return (
            self.checks
            or other.checks
            or not self.written.isdisjoint(other.written)
            or not self.written.isdisjoint(other.read)
            or not other.written.isdisjoint(self.read)
        )


def reordered_pair(
    before: Sequence[Site],
    after: Sequence[Site],
    old_vars: Sequence[Mapping[Var, Expr]],
    given: Sequence[Expr],
    strict: bool = False,
) -> Violation | None:
    """A dependent pair that runs in the other order after a step, or None.

    `after[c]` is what became of `before[c]`, and `old_vars[c]` says what the old loop variables
    are in terms of the new ones (those it leaves out are unchanged). Both lists are rooted at the
    statement that the step rewrote, so loops around it are alike in both instances; `given` is
    what holds around it. `strict` keeps the order of accumulations that round.
    """
    times = [
        tuple(t if isinstance(t, int) else substitute(t, m) for t in site.time)
        for site, m in zip(before, old_vars, strict=True)
    ]
    count = len(after)
    moved = [d for d in range(count) if not _alike(times[d], after[d].time)]
    still = frozenset(range(count)).difference(moved)
    touched = [_Touched.of(site) for site in after]
    for a in range(count):
        for b in moved if a in still else range(count):
            if not touched[a].meets(touched[b]):
                continue
            if _same_order(times[a], times[b], after[a].time, after[b].time):
                continue
            found = _conflict(
                after[a], after[b], given, (times[a], times[b]), commute=True, strict=strict
            )
            if found is not None:
                first, second = (before[a], old_vars[a]), (before[b], old_vars[b])
                return replace(
                    found,
                    first=before[a],
                    second=before[b],
                    first_values=_as_before(found.first_values, *first),
                    second_values=_as_before(found.second_values, *second),
                )
    return None


def _as_before(
    values: Mapping[Var, int] | None, site: Site, old_vars: Mapping[Var, Expr]
) -> Mapping[Var, int] | None:
    """The values of the loop variables as they stood before the step, where those are affine."""
    if values is None:
        return None
    old: dict[Var, int] = {}
    for var in site.vars:
        form = linear(old_vars.get(var, var))
        if form is None or any(v not in values for v in form.coeffs):
            return values
        old[var] = form.const + sum(c * values[v] for v, c in form.coeffs.items())
    return old


def _same_order(old_a: Time, old_b: Time, new_a: Time, new_b: Time) -> bool:
    """Whether neither time changed, or static positions put all of one first, in both."""
    if _alike(old_a, new_a) and _alike(old_b, new_b):
        return True
    return _static(old_a, old_b) is not None and _static(old_a, old_b) == _static(new_a, new_b)


def _alike(old: Time, new: Time) -> bool:
    return len(old) == len(new) and all(
        s is t or (isinstance(s, int) and isinstance(t, int) and s == t)
        for s, t in zip(old, new, strict=True)
    )


def _static(a: Time, b: Time) -> int | None:
    if not a or not b or not isinstance(a[0], int) or not isinstance(b[0], int) or a[0] == b[0]:
        return None
    return -1 if a[0] < b[0] else 1


def carried_pair(
    loop: For, given: Sequence[Expr], *, folding: bool = False, strict: bool = False
) -> Violation | None:
    """A dependent pair in different iterations of `loop`, or None: what forbids parallel lanes.

    `given` is what holds around the loop. With `folding`, all iterations may fold into the same
    elements by one and the same accumulation, in any order; one that rounds not if `strict`.
    """
    inside = [(site, _Touched.of(site)) for site in sites(loop)]
    for a, one in inside:
        for b, other in inside:
            if not one.meets(other):
                continue
            own = folding and a.leaf is b.leaf and _is_fixed(a.leaf, loop.var)
            found = _conflict(a, b, given, None, commute=own, strict=strict, differ=loop.var)
            if found is not None:
                return found
    return None


def _is_fixed(leaf: Leaf, var: Var) -> bool:
    """Whether a leaf writes the same elements for each value of `var`."""
    if isinstance(leaf, Check):
        return True
    return all(v is not var for index in leaf.indices for v in free_vars(index))


def _conflict(
    a: Site,
    b: Site,
    given: Sequence[Expr],
    old: tuple[Time, Time] | None,
    *,
    commute: bool,
    strict: bool = False,
    differ: Var | None = None,
) -> Violation | None:
    """Instances of `a` and `b` that touch one element, in the order asked about.

    A check ends the call where it stands, so it has an order with every write and every check.
    """
    if isinstance(a.leaf, Check) or isinstance(b.leaf, Check):
        return _checked(a, b, given, old, differ)
    for x in (*accesses(a.leaf), *control(a)):
        for y in (*accesses(b.leaf), *control(b)):
            if x.buffer is not y.buffer or not (x.writes or y.writes):
                continue
            if x.buffer in a.private and x.buffer in b.private:
                continue
            swaps = commute and x.updates and y.updates and _commutes(a.leaf, b.leaf)
            rounds = swaps and strict and _rounds(a.leaf)
            if swaps and not rounds:
                continue
            found = _solve(a, b, x, y, given, old, differ)
            if found is not None:
                return replace(found, rounds=rounds)
    return None


def _checked(
    a: Site,
    b: Site,
    given: Sequence[Expr],
    old: tuple[Time, Time] | None,
    differ: Var | None,
) -> Violation | None:
    """Instances of a check and of another leaf, in the order asked about."""
    if a.leaf is b.leaf and differ is not None:
        return None  # Lanes and threads may find any one of the failing instances.
    return _solve(a, b, END, END, given, old, differ)


def _rounds(leaf: Leaf) -> bool:
    return isinstance(leaf, Accumulate) and not is_exact(leaf.reducer)


def is_exact(reducer: Reducer) -> bool:
    """Whether folding in another order gives the same bits, as far as `reducer` is associative.

    Sums and products of floats round; minima and maxima pick one of their operands. A reducer that
    a user wrote is not known to.
    """
    picks = builtin_name(reducer) in ("max", "min", "argmax", "argmin")
    return picks or not any(v.dtype.is_float for v in reducer.lhs)


def may_regroup(step: str, leaf: Accumulate, strict: bool) -> None:
    """Refuse to fold what `leaf` does in parts, where its reducer does not allow it."""
    reducer = leaf.reducer
    missing = [f for f in ("associative", "commutative") if not getattr(reducer, f)]
    if missing:
        raise ScheduleError(
            f"{step}: reducer {reducer.name} is declared non{missing[0]}, so partial results "
            f"cannot be folded in another order\n  {show(leaf).strip()}"
        )
    if strict and not is_exact(reducer):
        raise ScheduleError(
            f"{step}: partial results of '{leaf.buffers[0].name}' would be rounded in another "
            f"order\n  {show(leaf).strip()}\n{STRICT}"
        )


def _commutes(a: Leaf, b: Leaf) -> bool:
    return (
        isinstance(a, Accumulate)
        and isinstance(b, Accumulate)
        and a.reducer is b.reducer
        and a.reducer.associative
        and a.reducer.commutative
        and a.buffers == b.buffers
    )


class TwoInstances(Encoder):
    """An encoder in which the variables of `own` come in two copies, all others in one.

    `tied` maps variables of the second instance to those of the first that they equal.
    """

    def __init__(self, own: frozenset[Var], tied: Mapping[Var, Var] | None = None) -> None:
        """No variables yet."""
        super().__init__()
        self.own = own
        self.tied = tied or {}

    def var(self, var: Var, copy: int = 0) -> str:
        """The name of `var` in instance `copy`, where there are two of it."""
        if copy and var in self.tied:
            return super().var(self.tied[var])
        return super().var(var, copy if var in self.own else 0)


def _solve(
    a: Site,
    b: Site,
    x: Access,
    y: Access,
    given: Sequence[Expr],
    old: tuple[Time, Time] | None,
    differ: Var | None,
) -> Violation | None:
    own = frozenset(a.vars) | frozenset(b.vars)
    tied = tied_vars(a, b, x.indices, y.indices)
    encoder = TwoInstances(own, tied)
    for var in a.vars:
        encoder.var(var, 0)
    for var in b.vars:
        encoder.var(var, 1)
    first, second = partial(encoder.number, copy=0), partial(encoder.number, copy=1)
    order: list[str] = []
    if old is not None:
        was = _apart(old[0], first, old[1], second)
        now = _apart(b.time, second, a.time, first)
        if now.pairs == [(y, x) for x, y in was.pairs] and not (was.settled and now.settled):
            return None  # Both compare the same numbers in the same order: only one can hold.
        order += [was.text(), now.text()]
    if differ is not None:
        order.append(before_text((differ,), first, (differ,), second))
    if "false" in order:
        return None
    constraints = [encoder.condition(c) for c in given]
    constraints += [encoder.condition(c, True, 0) for c in a.domain()]
    constraints += [encoder.condition(c, True, 1) for c in b.domain()]
    for i, j in zip(x.indices, y.indices, strict=True):
        constraints.append(f"{encoder.number(i, 0)} = {encoder.number(j, 1)}")
    if "false" in constraints:
        return None
    point = sample(encoder.set_of(*dict.fromkeys((*constraints, *order))))
    if point == EMPTY:
        return None
    if point is None or not encoder.exact:
        return Violation(a, b, x, y, None, None, too_hard=point is None)
    values = encoder.read(point)
    return Violation(
        a,
        b,
        x,
        y,
        {v: values[v, 0] for v in a.vars},
        {v: values.get((v, 1), values.get((tied.get(v, v), 0), 0)) for v in b.vars},
    )


def before_text(
    a: Time, number_a: Callable[[Expr], str], b: Time, number_b: Callable[[Expr], str]
) -> str:
    """The isl text of: time `a` comes before time `b`, each encoded by its own function."""
    return _apart(a, number_a, b, number_b).text()


@dataclass(frozen=True, slots=True)
class _Apart:
    """What decides whether one time comes before another.

    The numbers of each pair are compared in order; where all are equal, it does if `settled`.
    """

    pairs: list[tuple[str, str]]
    settled: bool

    def text(self) -> str:
        """In isl's notation."""
        equal = [f"{x} = {y}" for x, y in self.pairs]
        cases = [" and ".join([*equal[:d], f"{x} < {y}"]) for d, (x, y) in enumerate(self.pairs)]
        if self.settled:
            cases.append(" and ".join(equal) or "true")
        return "(" + " or ".join(f"({c})" for c in cases) + ")" if cases else "false"


def _apart(
    a: Time, number_a: Callable[[Expr], str], b: Time, number_b: Callable[[Expr], str]
) -> _Apart:
    pairs: list[tuple[str, str]] = []
    for s, t in zip(a, b, strict=False):
        if isinstance(s, int) and isinstance(t, int):
            if s != t:
                return _Apart(pairs, s < t)
            continue
        x = str(s) if isinstance(s, int) else number_a(s)
        y = str(t) if isinstance(t, int) else number_b(t)
        if x != y:
            pairs.append((x, y))
    return _Apart(pairs, False)


STRICT = "  this schedule is strict: floats are folded in the order in which they stand"

# --- messages -------------------------------------------------------------------------------


def refuse(step: str, violation: Violation, root: Stmt, legal: str) -> ScheduleError:
    """The error for a step that `violation` forbids."""
    a, b, name = violation.first, violation.second, violation.buffer.name
    if violation.too_hard:
        head = f"{step}: whether it keeps the order of accesses to '{name}' is too hard to prove"
    elif violation.buffer is END.buffer and violation.first_values is None:
        head = f"{step}: a check, which ends the call where it stands, would change its place"
    elif violation.first_values is None or violation.second_values is None:
        head = (
            f"{step}: two iterations may touch one element of '{name}', since an index depends "
            "on data or is not affine"
        )
    else:
        first, second = _point(violation.first_values), _point(violation.second_values)
        head = (
            f"{step}: {_stage(b.leaf)}, {first or 'the first statement'} must run before "
            f"{second or 'the second'}, and would run after it or at the same time"
        )
    names = ", ".join(loop.var.name for loop in _loops_of(root))
    lines = [
        head,
        f"  {show(a.leaf).strip()}: {_why(violation)}",
        f"  loops, outermost first: {names}; {legal}",
    ]
    if b.leaf is not a.leaf:
        lines.insert(2, f"  {show(b.leaf).strip()}: the second")
    if violation.rounds:
        lines.append(STRICT)
    return ScheduleError("\n".join(lines))


def _why(violation: Violation) -> str:
    name = violation.buffer.name
    if violation.buffer is END.buffer:
        if isinstance(violation.first.leaf, Check):
            return "the second must not run where this check fails"
        return "it must have run where the second fails"
    if violation.first_access.writes and violation.second_access.writes:
        return f"both write one element of {name}"
    if violation.first_access.writes:
        return f"the second reads what the first writes to {name}"
    return f"the second writes what the first reads from {name}"


def _point(values: Mapping[Var, int]) -> str:
    text = ", ".join(f"{v.name}={n}" for v, n in values.items())
    return f"iteration {text}" if text else ""


def _stage(leaf: Leaf) -> str:
    written = written_buffers(leaf)
    return f"in '{written[0].name}'" if written else "at a check"


def _loops_of(root: Stmt) -> list[For]:
    seen: dict[For, None] = {}
    for site in sites(root):
        for loop in site.loops:
            seen[loop] = None
    return list(seen)


def refuse_checks(step: str, *stmts: Stmt) -> None:
    """Refuse to move anything past a check: what stands before one runs, what follows does not."""
    for stmt in stmts:
        for site in sites(stmt, lambda s: facts(s).checks):
            if isinstance(site.leaf, Check):
                raise ScheduleError(
                    f"{step}: a check stands in the way, which ends the call where it stands\n"
                    f"  {show(site.leaf).splitlines()[0].strip()}"
                )
