"""The adjoint of an access map, as a gather.

For `Y[x] = f(..., A[g(x)], ...)` the cotangent of A is

    dA[p] = sum over the points x with g(x) == p of dY[x] * df/dA at x

and the points are found by solving `g(x) == p` for the axes, one dimension after the other:

    A[i, k]            i = p, k = q                     nothing is left to sum over
    A[i + k]           i = p - k                        a sum over k, where 0 <= p - k < extent
    A[2 * i]           i = p // 2                       where p % 2 == 0
    A[2 * i + k]       k = 2 * t + p % 2, i = p // 2 - t    a sum over t: it visits no point in vain
    A[i // 2]          i = 2 * p + t                    a sum over t, the remainder
    A[i % n]           i = n * t + p                    a sum over t, the quotient
    A[i, i]            i = p                            where p == q
    A[idx[i]]          i stays                          a sum over i, where idx[i] == p

An axis that nothing determines is summed over. A solved one must lie in its range, and what that
demands is a condition of the sum unless it is provable. The last row is a search; `te.scatter`
turns it round when programs are built, so that each point is visited once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from tensorc.autodiff.forms import (
    Form,
    Forms,
    common_factor,
    constant,
    divide,
    minus,
    plus,
    times,
    value_of,
)
from tensorc.dtypes import int64
from tensorc.ir.expr import Binary, BinaryOp, Compare, CompareOp, Expr, Var, is_const
from tensorc.te.axis import IterVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

ENDLESS = 1 << 60  # What a symbolic extent counts for where two are compared.


class Kind(Enum):
    """How the cotangent of what an access reads is found."""

    GATHER = "gather"
    STRIDED = "strided gather"
    SCATTER = "scatter"


@dataclass(frozen=True, slots=True)
class Inverse:
    """The points at which an access reads a given element.

    Attributes:
        axes: what to sum over.
        values: every axis of the definition in terms of the element's indices and `axes`.
        conds: what must hold at a point; conditions without loads come first.
        searched: the conditions that no axis could be solved from, for which points are searched.
        strides: by variable, what its remainder decides: which iterations reach an element.
        divides: whether division or a remainder stands in the solution.
    """

    axes: tuple[IterVar, ...]
    values: Mapping[Var, Form]
    conds: tuple[Expr, ...]
    searched: tuple[Expr, ...] = ()
    strides: Mapping[Var, int] = field(default_factory=dict)
    divides: bool = False

    @property
    def kind(self) -> Kind:
        """What the solution is."""
        if self.searched:
            return Kind.SCATTER
        return Kind.STRIDED if self.divides else Kind.GATHER


def invert(
    forms: Forms,
    indices: Sequence[Expr],
    targets: Sequence[Expr],
    axes: Sequence[IterVar],
    taken: Iterable[str] = (),
) -> Inverse | None:
    """Solve `indices == targets` for `axes`; None where no point can satisfy it.

    Args:
        forms: knows the ranges of the variables in `targets`.
        indices: of the load, over `axes`.
        targets: the element: the axes of the cotangent, or forms of them.
        axes: the spatial axes of the definition and those it reduces over.
        taken: names that no axis to sum over may have.
    """
    if any(is_const(axis.extent, 0) for axis in axes):
        return None
    solver = _Solver(forms)
    for axis in axes:
        solver.declare(axis, forms.of(axis.start), forms.of(axis.extent), is_range=True)
    for index, target in zip(indices, targets, strict=True):
        solver.require(minus(forms.of(index), forms.of(target)))
    solver.settle_single_points()
    solver.run()
    return solver.result(set(taken))


@dataclass(frozen=True, slots=True)
class _Unknown:
    """A variable to solve for: `low <= var < low + count`.

    `is_range` is False for a quotient: its range follows from those of the other variables.
    """

    var: IterVar
    low: Form
    count: Form
    is_range: bool

    @property
    def size(self) -> int:
        known = value_of(self.count)
        return ENDLESS if known is None else known


@dataclass(frozen=True, slots=True)
class _Step:
    """A way to get on with one equation; the one of least `rank` is taken."""

    rank: tuple[int, ...]
    equation: int
    act: Callable[[_Step], None]
    unknown: _Unknown
    coefficient: Form


@dataclass(slots=True)
class _Solver:
    forms: Forms
    unknowns: dict[Var, _Unknown] = field(default_factory=dict)
    equations: list[Form] = field(default_factory=list)  # Each is to be 0.
    values: dict[Var, Form] = field(default_factory=dict)
    conds: list[tuple[CompareOp, Form]] = field(default_factory=list)  # Compared with 0.
    parts: list[tuple[Form, Form, Form, Form]] = field(default_factory=list)
    strides: dict[Var, int] = field(default_factory=dict)
    divides: bool = False

    def declare(self, var: IterVar, low: Form, count: Form, *, is_range: bool) -> Form:
        self.unknowns[var] = _Unknown(var, low, count, is_range)
        self.forms.bound(var, low, count)
        return self.forms.of(var)

    def require(self, equation: Form) -> None:
        self.equations.append(self.split_divisions(equation))

    def split_divisions(self, form: Form) -> Form:
        """`form` with q for `x // c` and t for `x % c`, under the equation `x == c * q + t`."""
        for atom in self.forms.uses(form):
            match atom:
                case Binary(BinaryOp.FLOORDIV | BinaryOp.MOD as op, x, c):
                    parts = self.quotient_and_rest(self.forms.of(x), self.forms.of(c))
                    if parts is not None:
                        new = parts[0] if op is BinaryOp.FLOORDIV else parts[1]
                        form = self.replace_atom(form, atom, new)
                case _:
                    pass
        return form

    def replace_atom(self, form: Form, atom: Expr, new: Form) -> Form:
        quotient, rest = divide(form, self.forms.of(atom))
        return plus(times(quotient, new), rest)

    def quotient_and_rest(self, x: Form, c: Form) -> tuple[Form, Form] | None:
        forms = self.forms
        if not self.open(x) or self.open(c) or not forms.at_least(c, 1):
            return None
        x = self.split_divisions(x)
        for known_x, known_c, q, t in self.parts:
            if not minus(known_x, x) and not minus(known_c, c):
                return q, t
        span = forms.extent_of(x)
        if span is None:
            return None
        low, high = (forms.floordiv(end, c) for end in span)
        count = plus(high, times(low, -1), constant(1))
        q = self.declare(_variable("q"), low, count, is_range=False)
        t = self.declare(_variable("t"), {}, c, is_range=True)
        self.parts.append((x, c, q, t))
        self.divides = True
        self.equations.append(minus(x, plus(times(c, q), t)))
        return q, t

    def open(self, form: Form) -> list[Var]:
        """The unsolved variables in a form, in order of declaration."""
        used = self.forms.variables(form)
        return [v for v in self.unknowns if v in used]

    def settle_single_points(self) -> None:
        """An axis of extent 1 stands at its start."""
        for unknown in list(self.unknowns.values()):
            if unknown.is_range and value_of(unknown.count) == 1:
                self.take(unknown, unknown.low)

    # --- steps

    def run(self) -> None:
        while True:
            steps = [s for k, e in enumerate(self.equations) for s in self.steps(k, e)]
            if not steps:
                return
            step = min(steps, key=lambda s: s.rank)
            step.act(step)

    def steps(self, number: int, equation: Form) -> Iterable[_Step]:
        """What can be done with one equation."""
        unsolved = self.open(equation)
        slopes = {
            v: c
            for v in unsolved
            if (c := self.forms.coefficient(equation, v)) and not self.open(c)
        }
        stuck = len(unsolved) - len(slopes)
        units = [v for v, c in slopes.items() if value_of(c) in (1, -1)]
        for order, v in enumerate(units):
            u = self.unknowns[v]
            many = len(slopes) + stuck > 1
            rank = (3 if many else 0, len(slopes) + stuck, -u.size, order)
            yield _Step(rank, number, self.solve, u, slopes[v])
        if stuck or not slopes:
            return
        if len(units) == 1 and len(slopes) > 1:
            factor = self.factor([c for v, c in slopes.items() if v is not units[0]])
            if factor is not None and self.is_short(self.unknowns[units[0]], factor, slopes):
                yield _Step((2, number), number, self.residue, self.unknowns[units[0]], factor)
        if not units:
            factor = self.factor(list(slopes.values()))
            first = self.unknowns[next(iter(slopes))]
            if factor is not None:
                yield _Step(
                    (1 if len(slopes) == 1 else 2, number), number, self.divide, first, factor
                )
            else:
                yield from self.coprime(number, slopes)

    def coprime(self, number: int, slopes: Mapping[Var, Form]) -> Iterable[_Step]:
        """Of `3 * i + 2 * j`, the longest axis is solved for, where the division is exact."""
        known = [v for v, c in slopes.items() if value_of(c)]
        if known:
            v = max(known, key=lambda v: self.unknowns[v].size)
            yield _Step((4, number), number, self.solve, self.unknowns[v], slopes[v])

    def factor(self, slopes: list[Form]) -> Form | None:
        """What is above 1 and divides all `slopes`, if anything does."""
        if len(slopes) == 1:
            factor = slopes[0]
            if self.forms.at_least(times(factor, -1), 1):
                factor = times(factor, -1)
        else:
            factor = common_factor(slopes)
        return factor if value_of(factor) != 1 and self.forms.at_least(factor, 1) else None

    def is_short(self, unit: _Unknown, factor: Form, slopes: Mapping[Var, Form]) -> bool:
        """Whether stepping through a residue class beats looping over the other axes."""
        steps = self.class_size(unit, factor)
        return steps is not None and steps < max(
            self.unknowns[v].size for v in slopes if v is not unit.var
        )

    def class_size(self, unit: _Unknown, factor: Form) -> int | None:
        """How many values of an axis are equal modulo `factor`, at most."""
        if not minus(unit.count, factor):
            return 1
        count, step = value_of(unit.count), value_of(factor)
        return None if count is None or step is None else -(-count // step)

    def solve(self, step: _Step) -> None:
        """`c * v == total`: v is `total / c`, where that is whole."""
        v, c = step.unknown.var, step.coefficient
        equation = self.equations.pop(step.equation)
        total = minus(times(c, self.forms.of(v)), equation)
        sign = value_of(c)
        assert sign is not None, "a step solves for an axis with a constant factor"
        if sign < 0:
            total, sign = times(total, -1), -sign
        if sign > 1:
            self.steps_by(total, constant(sign))
            self.conds.append((CompareOp.EQ, self.forms.mod(total, constant(sign))))
            total = self.forms.floordiv(total, constant(sign))
        self.assign(step.unknown, total)

    def divide(self, step: _Step) -> None:
        """`c * rest == total` becomes `rest == total // c`, where `total % c == 0`."""
        c = step.coefficient
        equation = self.equations.pop(step.equation)
        inside, total = self.sides(equation)
        self.steps_by(total, c)
        self.conds.append((CompareOp.EQ, self.forms.mod(total, c)))
        quotient, rest = divide(inside, c)
        assert not rest, "the factor divides every unknown's"
        self.equations.append(minus(quotient, self.forms.floordiv(total, c)))

    def sides(self, equation: Form) -> tuple[Form, Form]:
        """`equation == 0` as (what holds unknowns, what that must be equal to)."""
        unknown = self.forms.with_variables(equation, set(self.unknowns))
        return unknown, minus(unknown, equation)

    def residue(self, step: _Step) -> None:
        """`w + c * rest == total`: w runs over a residue class, in steps of c.

        With x = total - low, w is `low + c * t + x % c`, and `rest + t == x // c` remains.
        """
        w, c = step.unknown, step.coefficient
        equation = self.equations.pop(step.equation)
        if value_of(self.forms.coefficient(equation, w.var) or {}) == -1:
            equation = times(equation, -1)
        inside, total = self.sides(equation)
        quotient, rest = divide(minus(inside, self.forms.of(w.var)), c)
        assert not rest, "the factor divides every other unknown's"
        x = minus(total, w.low)
        self.steps_by(x, c)
        first = self.forms.mod(x, c)
        steps = self.class_size(w, c)
        assert steps is not None, "only a short class is stepped through"
        known, count, by = value_of(first), value_of(w.count), value_of(c)
        exact = not (known is None or count is None or by is None)
        if known is not None and count is not None and by is not None:
            steps = max(0, -(-(count - known) // by))
        t: Form = {}
        if steps > 1:
            t = self.declare(_variable(w.var.name), {}, constant(steps), is_range=True)
        self.equations.append(minus(plus(quotient, t), self.forms.floordiv(x, c)))
        offset = plus(times(c, t), first)
        if not steps or (not exact and minus(w.count, times(c, constant(steps)))):
            # The last step may leave the axis; without a step, the first one does.
            self.conds.append((CompareOp.LT, minus(offset, w.count)))
        self.take(w, plus(w.low, offset))

    def steps_by(self, total: Form, c: Form) -> None:
        """Note that the remainder of `total`, divided by `c`, decides; that of one variable."""
        self.divides = self.divides or value_of(self.forms.mod(total, c)) is None
        step = value_of(c)
        used = self.forms.uses(total)
        if step is None or len(used) != 1 or not isinstance(used[0], Var) or self.open(total):
            return
        if value_of(self.forms.coefficient(total, used[0]) or {}) in (1, -1):
            self.strides[used[0]] = math.lcm(step, self.strides.get(used[0], 1))

    def assign(self, unknown: _Unknown, value: Form) -> None:
        """Solve for an unknown, and demand that `value` lies in its range."""
        if unknown.is_range:
            self.conds.append((CompareOp.GE, minus(value, unknown.low)))
            self.conds.append((CompareOp.LT, minus(value, plus(unknown.low, unknown.count))))
        self.take(unknown, value)

    def take(self, unknown: _Unknown, value: Form) -> None:
        """Put `value` in place of an unknown everywhere."""
        del self.unknowns[unknown.var]
        self.values[unknown.var] = value
        self.replace({unknown.var: value})

    def replace(self, new: Mapping[Var, Form]) -> None:
        sub = self.forms.substitute
        self.equations = [sub(e, new) for e in self.equations]
        self.values = {v: sub(f, new) for v, f in self.values.items()}
        self.conds = [(op, sub(f, new)) for op, f in self.conds]

    # --- the answer

    def result(self, taken: set[str]) -> Inverse | None:
        axes = []
        for u in list(self.unknowns.values()):
            start, extent = self.forms.expr(u.low), self.forms.expr(u.count)
            axis = IterVar(_unique(u.var.name, taken), int64, start, extent, reduce=True)
            axes.append(axis)
            self.forms.bound(axis, u.low, u.count)
            self.values[u.var] = self.forms.of(axis)
            self.replace({u.var: self.forms.of(axis)})
        conds: dict[Expr, None] = {}
        searched: list[Expr] = []
        equal = [(CompareOp.EQ, e) for e in self.equations]
        for number, (op, form) in enumerate((*self.conds, *equal)):
            cond = self.forms.compare(op, form)
            if cond is False:
                return None
            if not isinstance(cond, bool):
                if number >= len(self.conds) and self.forms.variables(form) & set(axes):
                    alone = self.alone(form)
                    cond = cond if alone is None else alone
                    searched.append(cond)
                conds[cond] = None
        divides = self.divides and not searched
        found = tuple(conds), tuple(searched), self.strides, divides
        return Inverse(tuple(axes), self.values, *found)

    def alone(self, form: Form) -> Expr | None:
        """`form == 0` with a variable of the element alone on the right."""
        for atom in self.forms.uses(form):
            slope = self.forms.coefficient(form, atom) if isinstance(atom, Var) else None
            sign = value_of(slope) if slope is not None else None
            if not isinstance(atom, IterVar) or atom.reduce or sign not in (1, -1):
                continue
            rest = plus(times(form, -sign), self.forms.of(atom))
            return self.forms.intern(Compare(CompareOp.EQ, self.forms.expr(rest), atom))
        return None


def _variable(name: str) -> IterVar:
    return IterVar(name, int64, reduce=True)


def _unique(name: str, taken: set[str]) -> str:
    count, candidate = 0, name
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate
