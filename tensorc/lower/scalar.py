"""What the expansions of `lower.math` are written with: named values, and bits of floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.dtypes import DType, float32, int32, int64
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Call,
    Cast,
    Const,
    Expr,
    Let,
    Select,
    Var,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Work:
    """Values of one float dtype, each computed once.

    `w(expr)` names a value and gives the variable that stands for it; `w.done(result)` puts the
    Lets around the result. With `fused`, `mad` is a fused multiply-add; the expansions keep
    their bounds without. With `table`, `eighths` is one instruction.
    """

    def __init__(self, dtype: DType, fused: bool, table: bool = False) -> None:
        """Start with no value."""
        self.dtype = dtype
        self.fused = fused
        self.table = table and dtype == float32
        single = dtype == float32
        self.ints = int32 if single else int64
        self.mantissa, self.bias = (23, 127) if single else (52, 1023)
        self.lets: list[tuple[Var, Expr]] = []

    def __call__(self, value: Expr, name: str = "t") -> Expr:
        """Name a value, so that it is computed once."""
        if isinstance(value, Const | Var):
            return value
        var = Var(f"{name}.{len(self.lets)}", value.dtype)
        self.lets.append((var, value))
        return var

    def done(self, result: Expr) -> Expr:
        """`result` inside the Lets of all named values."""
        for var, value in reversed(self.lets):
            result = Let(var, value, result)
        return result

    def const(self, value: float) -> Const:
        """A constant of the float dtype."""
        return Const(value, self.dtype)

    def int(self, value: int) -> Const:
        """A constant of the integers with as many bits."""
        return Const(value, self.ints)

    def mad(self, a: Expr | float, b: Expr | float, c: Expr | float) -> Expr:
        """`a * b + c`, rounded once where the target can, else twice."""
        x, y, z = (self.const(v) if isinstance(v, float) else v for v in (a, b, c))
        if self.fused:
            return Call("fma", (x, y, z), self.dtype)
        return Binary(BinaryOp.ADD, Binary(BinaryOp.MUL, x, y), z)

    def horner(self, x: Expr, coefficients: Sequence[float]) -> Expr:
        """The polynomial at x, lowest power first."""
        result: Expr = self.const(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            result = self.mad(result, x, c)
        return result

    def halves(self, x: Expr, square: Expr, coefficients: Sequence[float]) -> Expr:
        """The polynomial at x, of pairs of terms in powers of x**2: a chain half as long."""
        pairs = [coefficients[i : i + 2] for i in range(0, len(coefficients), 2)]
        terms = [self(self.mad(p[1], x, p[0])) if len(p) == 2 else self.const(p[0]) for p in pairs]
        result: Expr = terms[-1]
        for term in reversed(terms[:-1]):
            result = self.mad(result, square, term)
        return result

    def select(self, cond: Expr, a: Expr | float, b: Expr | float) -> Expr:
        """`a` where `cond` holds, else `b`."""
        x = self.const(a) if isinstance(a, float) else a
        y = self.const(b) if isinstance(b, float) else b
        return Select(cond, x, y)

    def bits(self, x: Expr) -> Expr:
        """The bits of a float as an integer."""
        return Call("bitcast", (x,), self.ints)

    def from_bits(self, x: Expr) -> Expr:
        """The float that has these bits."""
        return Call("bitcast", (x,), self.dtype)

    def power_of_two(self, n: Expr) -> Expr:
        """2**n for an integer n in the range of normal numbers."""
        return self.from_bits((n + self.int(self.bias)) << self.int(self.mantissa))

    def scaled(self, x: Expr, bits: Expr) -> Expr:
        """`(1 + x) * 2**n` with n as `nearest` left it in `bits`, the scaling rounded once.

        n may leave the range of exponents by as much again, so it is applied in halves: both are
        in the low bits of `bits // 2` and of what that leaves, and already have their bias.
        """
        place = self.int(self.mantissa)
        half = self(bits >> self.int(1), "half")
        first = self(self.from_bits(half << place), "scale")
        return self.mad(x, first, first) * self.from_bits((bits - half) << place)

    def scale(self, bits: Expr) -> Expr:
        """2**n for an n in the range of exponents that `nearest` left with one bias in `bits`."""
        return self(self.from_bits(bits << self.int(self.mantissa)), "scale")

    def nearest(self, x: Expr, by: float, biases: float = 2, lift: float = 0) -> tuple[Expr, Expr]:
        """Round x * by to the nearest integer n: as a float, and as bits of which n is a part.

        Adding 1.5 * 2**(p - 1) + biases * bias + lift leaves n, with so many times the bias of
        exponents and `lift` more, in the low bits of the sum; |x * by| must be below 2**(p - 3).
        """
        magic = self.const(1.5 * 2.0**self.mantissa + biases * self.bias + lift)
        shifted = self(self.mad(x, by, magic), "shifted")
        return self(shifted - magic, "k"), self(self.bits(shifted), "bits")

    def eighths(self, bits: Expr) -> Expr:
        """The bits of 2**(n / 8), for an n that `nearest` left in `bits`, in float32."""
        return Call("eighths", (bits,), self.ints) + (bits << self.int(self.mantissa - 3))

    def whole(self, bits: Expr) -> Expr:
        """The integer that `nearest` left in `bits`."""
        return self(bits - self.int(magic_bits(self)), "n")

    def copysign(self, magnitude: Expr, sign: Expr) -> Expr:
        """`magnitude`, which is not negative, with the sign of `sign`."""
        top = self.int(-(1 << (self.ints.bits - 1)))
        return self.from_bits(self.bits(magnitude) | (self.bits(sign) & top))

    def magnitude(self, x: Expr) -> Expr:
        """The absolute value."""
        return Call("abs", (x,), self.dtype)

    def cast(self, x: Expr) -> Expr:
        """An integer as a float."""
        return Cast(x, self.dtype)


def magic_bits(w: Work) -> int:
    """The bits of 1.5 * 2**(p - 1) + 2 * bias."""
    return ((w.bias + w.mantissa) << w.mantissa | 1 << (w.mantissa - 1)) + 2 * w.bias


class Pair:
    """The unevaluated sum of two floats, twice the precision.

    T. J. Dekker, "A floating-point technique for extending the available precision", Numer. Math.
    18 (1971); products by fused multiply-add where there is one.
    """

    def __init__(self, w: Work, high: Expr, low: Expr) -> None:
        """`high` holds the sum rounded, `low` the rest."""
        self.w, self.high, self.low = w, high, low

    @staticmethod
    def of_sum(w: Work, a: Expr, b: Expr) -> Pair:
        """The sum of a and b, exactly."""
        s = w(a + b)
        v = w(s - a)
        return Pair(w, s, w((a - (s - v)) + (b - v)))

    @staticmethod
    def of_product(w: Work, a: Expr, b: Expr) -> Pair:
        """The product of a and b, exactly."""
        p = w(a * b)
        if w.fused:
            return Pair(w, p, w(w.mad(a, b, -p)))
        (a1, a2), (b1, b2) = _split(w, a), _split(w, b)
        return Pair(w, p, w(((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2))

    def __add__(self, other: Pair) -> Pair:
        s = Pair.of_sum(self.w, self.high, other.high)
        return s.plus(self.low + other.low)

    def plus(self, small: Expr) -> Pair:
        """With a small number added to the low part, normalized."""
        w = self.w
        low = w(self.low + small)
        high = w(self.high + low)
        return Pair(w, high, w(low - (high - self.high)))

    def __mul__(self, other: Pair) -> Pair:
        p = Pair.of_product(self.w, self.high, other.high)
        return p.plus(self.high * other.low + self.low * other.high)


def _split(w: Work, a: Expr) -> tuple[Expr, Expr]:
    half = 2.0 ** ((w.mantissa + 2) // 2) + 1.0
    c = w(a * half)
    high = w(c - (c - a))
    return high, w(a - high)
