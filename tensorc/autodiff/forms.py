"""Index arithmetic in normal form: polynomials over variables and opaque terms.

`n * p + j - p * n` is `j`, with symbolic sizes too. A term that is no sum or product (a load,
`x // c`, `x % c`) is an atom, like a variable; equal terms are one atom. Within known ranges of
the variables, `lower` bounds a form from below for every value of the sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from tensorc.autodiff import arith
from tensorc.dtypes import bool_, int64
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Cast,
    Compare,
    CompareOp,
    Const,
    Dim,
    Expr,
    Load,
    Unary,
    UnaryOp,
    Var,
    Where,
    cast,
)
from tensorc.ir.walk import rewrite, walk

if TYPE_CHECKING:
    from tensorc.autodiff.intern import Interner
    from tensorc.ir.stmt import Node

Monomial: TypeAlias = tuple[int, ...]  # The numbers of its atoms in order; () is the constant.
Form: TypeAlias = Mapping[Monomial, int]  # No coefficient is 0.


def constant(value: int) -> Form:
    """The form of a number."""
    return {(): value} if value else {}


def value_of(form: Form) -> int | None:
    """The number that a form is, if it is one."""
    if not form:
        return 0
    return form[()] if len(form) == 1 and () in form else None


def plus(*forms: Form) -> Form:
    """The sum."""
    total: dict[Monomial, int] = {}
    for form in forms:
        for m, c in form.items():
            total[m] = total.get(m, 0) + c
    return {m: c for m, c in total.items() if c}


def times(a: Form, b: Form | int) -> Form:
    """The product."""
    other = constant(b) if isinstance(b, int) else b
    total: dict[Monomial, int] = {}
    for m, c in a.items():
        for n, d in other.items():
            key = tuple(sorted((*m, *n)))
            total[key] = total.get(key, 0) + c * d
    return {m: c for m, c in total.items() if c}


def minus(a: Form, b: Form) -> Form:
    """The difference."""
    return plus(a, times(b, -1))


def divide(form: Form, by: Form) -> tuple[Form, Form]:
    """(q, r) with `form == by * q + r`, r as far as it is visible without the multiples of `by`.

    `by` is one term, such as 4 or n or 2 * n; of a sum nothing is split off but itself.
    """
    if len(by) != 1:
        return (constant(1), {}) if dict(form) == dict(by) else ({}, form)
    ((factor, c),) = by.items()
    quotient: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for m, value in form.items():
        left = _without(m, factor)
        q, r = divmod(value, c)
        if left is None or (r and m):
            rest[m] = value
            continue
        if q:
            quotient[left] = q
        if r:
            rest[m] = r
    return quotient, rest


def _without(m: Monomial, factor: Monomial) -> Monomial | None:
    rest = list(m)
    for atom in factor:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


class Forms:
    """The atoms of one problem, their ranges, and the way between expressions and forms."""

    def __init__(self, intern: Interner) -> None:
        """Start without atoms; `intern` makes equal terms one."""
        self.intern = intern
        self.atoms: list[Expr] = []
        self._numbers: dict[Expr, int] = {}
        self._ranges: dict[int, tuple[Form, Form]] = {}  # Both ends belong to the range.
        self._at_least: dict[int, int] = {}

    # --- expressions and forms

    def of(self, expr: Expr) -> Form:
        """The form of an integer expression."""
        match expr:
            case Const(value):
                return constant(int(value))
            case Unary(UnaryOp.NEG, x) if expr.dtype == int64:
                return times(self.of(x), -1)
            case Binary(op, a, b) if expr.dtype == int64:
                return self._binary(op, a, b)
            case _:
                return self.atom(expr)

    def _binary(self, op: BinaryOp, a: Expr, b: Expr) -> Form:
        match op:
            case BinaryOp.ADD:
                return plus(self.of(a), self.of(b))
            case BinaryOp.SUB:
                return minus(self.of(a), self.of(b))
            case BinaryOp.MUL:
                return times(self.of(a), self.of(b))
            case BinaryOp.FLOORDIV:
                return self.floordiv(self.of(a), self.of(b))
            case BinaryOp.MOD:
                return self.mod(self.of(a), self.of(b))
            case _:
                return self.atom(Binary(op, self.tidy(a), self.tidy(b)))

    def atom(self, expr: Expr) -> Form:
        """The form of a term that stays whole; of another integer type, it is converted."""
        if isinstance(expr, Load):
            expr = Load(expr.buffer, tuple(map(self.tidy, expr.indices)), loc=expr.loc)
        elif isinstance(expr, Cast) and isinstance(expr.operand, Load):
            expr = Cast(self.tidy(expr.operand), expr.dtype, loc=expr.loc)
        expr = self.intern(cast(expr, int64))
        number = self._numbers.get(expr)
        if number is None:
            number = self._numbers[expr] = len(self.atoms)
            self.atoms.append(expr)
        return {(number,): 1}

    def tidy(self, expr: Expr) -> Expr:
        """An integer expression in normal form; one of another type than int64 stays."""
        if isinstance(expr, Load) and expr.dtype != int64:
            return self.intern(Load(expr.buffer, tuple(map(self.tidy, expr.indices)), loc=expr.loc))
        return self.expr(self.of(expr)) if expr.dtype == int64 else expr

    def expr(self, form: Form) -> Expr:
        """The expression of a form: what is added, by falling factor, then the rest."""
        terms = sorted(
            (m for m in form if m), key=lambda m: (form[m] < 0, -len(m), -abs(form[m]), m)
        )
        result: Expr | None = None
        for m in terms:
            term = self._product(m, abs(form[m]))
            if result is None:
                result = term if form[m] > 0 else Unary(UnaryOp.NEG, term)
            else:
                result = Binary(BinaryOp.ADD if form[m] > 0 else BinaryOp.SUB, result, term)
        rest = form.get((), 0)
        if result is None:
            return self.intern(Const(rest, int64))
        if rest > 0 and isinstance(result, Unary):  # `3 - i` for `-i + 3`.
            result = Binary(BinaryOp.SUB, Const(rest, int64), result.operand)
        elif rest:
            op = BinaryOp.ADD if rest > 0 else BinaryOp.SUB
            result = Binary(op, result, Const(abs(rest), int64))
        return self.intern(result)

    def _product(self, m: Monomial, c: int) -> Expr:
        """Variables before sizes before the number, as in `i * n * 4`."""
        factors = sorted((self.atoms[a] for a in m), key=lambda e: isinstance(e, Dim))
        if c != 1:
            factors.append(Const(c, int64))
        result = factors[0]
        for factor in factors[1:]:
            result = Binary(BinaryOp.MUL, result, factor)
        return result

    # --- structure

    def uses(self, form: Form) -> list[Expr]:
        """The atoms of a form."""
        return [self.atoms[a] for a in dict.fromkeys(a for m in form for a in m)]

    def variables(self, form: Form) -> set[Var]:
        """The variables in a form, those inside its opaque terms included."""
        return {n for atom in self.uses(form) for n in walk(atom) if isinstance(n, Var)}

    def with_variables(self, form: Form, variables: set[Var]) -> Form:
        """The terms of `form` that hold any of `variables`."""
        return {m: c for m, c in form.items() if m and self.variables({m: c}) & variables}

    def coefficient(self, form: Form, var: Var) -> Form | None:
        """What `var` is multiplied with; None where `form` is not affine in it."""
        number = self._numbers.get(var)
        result: dict[Monomial, int] = {}
        for m, c in form.items():
            if number is not None and number in m:
                rest = _without(m, (number,))
                assert rest is not None, "the atom is in it"
                if number in rest:
                    return None
                result[rest] = c
            if any(a != number and self._holds(a, var) for a in m):
                return None
        return result

    def _holds(self, atom: int, var: Var) -> bool:
        return any(n is var for n in walk(self.atoms[atom]))

    def substitute(self, form: Form, values: Mapping[Var, Form]) -> Form:
        """`form` with forms in place of variables."""
        if not any(v in values for v in self.variables(form)):
            return form
        total: Form = {}
        for m, c in form.items():
            term = constant(c)
            for a in m:
                term = times(term, self._replace(a, values))
            total = plus(total, term)
        return total

    def _replace(self, number: int, values: Mapping[Var, Form]) -> Form:
        atom = self.atoms[number]
        if isinstance(atom, Var):
            return values.get(atom, {(number,): 1})
        if not any(isinstance(n, Var) and n in values for n in walk(atom)):
            return {(number,): 1}
        return self.of(self.replace(atom, values))

    def replace(self, expr: Expr, values: Mapping[Var, Form]) -> Expr:
        """`expr` with forms in place of variables, its index arithmetic in normal form."""
        exprs = {v: self.expr(f) for v, f in values.items()}

        def rule(node: Node) -> Node | None:
            match node:
                case Var():
                    return exprs.get(node)
                case Load(buffer, indices):
                    return Load(buffer, tuple(map(self.tidy, indices)), loc=node.loc)
                case Unary() | Binary() if node.dtype == int64:
                    return self.tidy(node)
                case Compare(op, a, b) if a.dtype == int64:
                    decided = self.compare(op, minus(self.of(a), self.of(b)))
                    return Const(decided, bool_) if isinstance(decided, bool) else decided
                case Unary(UnaryOp.NOT, x) if node.dtype.is_bool:
                    return arith.negate(x)
                case Binary(BinaryOp.AND, a, b) if node.dtype.is_bool:
                    return arith.both(a, b)
                case Binary(BinaryOp.OR, a, b) if node.dtype.is_bool:
                    return arith.either(a, b)
                case Where(cond, a, b):
                    return arith.where(cond, a, b)
                case _:
                    return None

        return self.intern(rewrite(expr, rule))

    # --- division

    def floordiv(self, a: Form, b: Form) -> Form:
        """`a // b`, the visible multiples of a positive `b` taken out."""
        if value_of(b) == 0:
            return {}
        if self.at_least(b, 1):
            whole, rest = divide(a, b)
            if self.at_least(rest, 0) and self.at_least(minus(b, rest), 1):
                return whole
            if self.at_least(times(rest, -1), 1) and self.at_least(plus(rest, b), 0):
                return plus(whole, constant(-1))
            return plus(whole, self._quotient(rest, b))
        return self.atom(Binary(BinaryOp.FLOORDIV, self.expr(a), self.expr(b)))

    def _quotient(self, a: Form, b: Form) -> Form:
        """`(x // c) // b` is `x // (c * b)`."""
        if len(a) == 1 and list(a.values()) == [1] and len(next(iter(a))) == 1:
            inner = self.atoms[next(iter(a))[0]]
            if isinstance(inner, Binary) and inner.op is BinaryOp.FLOORDIV:
                c = self.of(inner.rhs)
                if self.at_least(c, 1):
                    return self.floordiv(self.of(inner.lhs), times(c, b))
        return self.atom(Binary(BinaryOp.FLOORDIV, self.expr(a), self.expr(b)))

    def mod(self, a: Form, b: Form) -> Form:
        """`a % b`, the visible multiples of a positive `b` left out."""
        if value_of(b) == 0:
            return {}
        if self.at_least(b, 1):
            _, rest = divide(a, b)
            if self.at_least(rest, 0) and self.at_least(minus(b, rest), 1):
                return rest
            return self.atom(Binary(BinaryOp.MOD, self.expr(rest), self.expr(b)))
        return self.atom(Binary(BinaryOp.MOD, self.expr(a), self.expr(b)))

    # --- ranges

    def bound(self, var: Var, low: Form, count: Form) -> None:
        """State that `low <= var < low + count`."""
        number = next(iter(self.of(var)))[0]
        self._ranges[number] = (low, plus(low, count, constant(-1)))

    def assume_positive(self, size: Form) -> None:
        """State that a size is at least 1, and with it each of its factors."""
        if len(size) == 1:
            ((m, _),) = size.items()
            for a in m:
                if isinstance(self.atoms[a], Dim):
                    self._at_least[a] = 1

    def at_least(self, form: Form, limit: int) -> bool:
        """Whether `form >= limit` is provable."""
        low = self.lower(form)
        return low is not None and low >= limit

    def lower(self, form: Form) -> int | None:
        """A number that `form` is never below."""
        least = self._extreme(form, lowest=True)
        return None if least is None else self._lower_of_sizes(least)

    def _lower_of_sizes(self, form: Form) -> int | None:
        """Each size is its least value plus something that is not negative."""
        total: Form = {}
        for m, c in form.items():
            term: Form = constant(c)
            for a in m:
                size = self.atoms[a]
                if not isinstance(size, Dim):
                    return None
                least = max(size.lower, self._at_least.get(a, 0))
                term = times(term, plus({(a,): 1}, constant(least)))
            total = plus(total, term)
        return total.get((), 0) if all(c >= 0 for m, c in total.items() if m) else None

    def extent_of(self, form: Form) -> tuple[Form, Form] | None:
        """The least and the greatest value of `form`, over sizes alone, where both are known."""
        low, high = self._extreme(form, lowest=True), self._extreme(form, lowest=False)
        return None if low is None or high is None else (low, high)

    def _extreme(self, form: Form, *, lowest: bool) -> Form | None:
        """The least (greatest) value of `form` over the ranges of its atoms, over sizes alone."""
        for _ in range(16):
            atom = next((a for m in form for a in m if not isinstance(self.atoms[a], Dim)), None)
            if atom is None:
                return form
            ends = self._range(atom)
            slope = {rest: c for m, c in form.items() if (rest := _without(m, (atom,))) is not None}
            if ends is None or any(atom in m for m in slope):
                return None
            if self._sign(slope) is None:
                return None
            at = ends[0] if (self._sign(slope) == 1) == lowest else ends[1]
            form = plus({m: c for m, c in form.items() if atom not in m}, times(slope, at))
        return None

    def _sign(self, slope: Form) -> int | None:
        if self.at_least(slope, 0):
            return 1
        return -1 if self.at_least(times(slope, -1), 0) else None

    def _range(self, number: int) -> tuple[Form, Form] | None:
        if number in self._ranges:
            return self._ranges[number]
        match self.atoms[number]:
            case Binary(BinaryOp.MOD, _, b):
                size = self.of(b)
                return (constant(0), plus(size, constant(-1))) if self.at_least(size, 1) else None
            case Binary(BinaryOp.FLOORDIV, a, b):
                size = self.of(b)
                if not self.at_least(size, 1):
                    return None
                ends = self.extent_of(self.of(a))
                if ends is None:
                    return None
                return self.floordiv(ends[0], size), self.floordiv(ends[1], size)
            case _:
                return None

    # --- conditions

    def compare(self, op: CompareOp, difference: Form) -> Expr | bool:
        """`difference op 0`, decided where provable, else written with positive terms."""
        decided = self._decide(op, difference)
        if decided is not None:
            return decided
        left: Form = {m: c for m, c in difference.items() if c > 0 and m}
        right: Form = {m: -c for m, c in difference.items() if c < 0 and m}
        rest = difference.get((), 0)
        if not left:  # `-i + 3 >= 0` reads `3 >= i`, and then `i <= 3`.
            left, right, op, rest = right, {}, _MIRRORED[op], -rest
        if right and op is CompareOp.GT and rest == 1:  # `a + 1 > b` reads `a >= b`.
            op, rest = CompareOp.GE, 0
        if right and rest > 0:
            left = plus(left, constant(rest))
        else:
            right = plus(right, constant(-rest))
        return self.intern(Compare(op, self.expr(left), self.expr(right)))

    def _decide(self, op: CompareOp, d: Form) -> bool | None:
        match op:
            case CompareOp.GE:
                return self._truth(d, 0)
            case CompareOp.GT:
                return self._truth(d, 1)
            case CompareOp.LT:
                return _not(self._truth(d, 0))
            case CompareOp.LE:
                return _not(self._truth(d, 1))
            case CompareOp.EQ | CompareOp.NE:
                zero = self.at_least(d, 0) and self.at_least(times(d, -1), 0)
                equal = True if zero else None
                if self.at_least(d, 1) or self.at_least(times(d, -1), 1) or _never_zero(d):
                    equal = False
                return equal if op is CompareOp.EQ else _not(equal)

    def _truth(self, d: Form, limit: int) -> bool | None:
        """Whether `d >= limit`, if that is known."""
        if self.at_least(d, limit):
            return True
        return False if self.at_least(times(d, -1), 1 - limit) else None


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _never_zero(d: Form) -> bool:
    """Whether the constant is no multiple of what divides all else."""
    divisor = math.gcd(*(c for m, c in d.items() if m))
    return divisor > 1 and d.get((), 0) % divisor != 0


def common_factor(forms: Iterable[Form]) -> Form:
    """The greatest term that visibly divides every one of `forms`."""
    terms = [(m, c) for form in forms for m, c in form.items()]
    number = math.gcd(*(c for _, c in terms))
    shared = list(terms[0][0]) if terms else []
    for m, _ in terms:
        rest = list(m)
        shared = [a for a in shared if a in rest and not rest.remove(a)]  # type: ignore[func-returns-value]
    return {tuple(shared): number} if number else {}


_MIRRORED = {
    CompareOp.EQ: CompareOp.EQ,
    CompareOp.NE: CompareOp.NE,
    CompareOp.LT: CompareOp.GT,
    CompareOp.LE: CompareOp.GE,
    CompareOp.GT: CompareOp.LT,
    CompareOp.GE: CompareOp.LE,
}
