"""What PTX's instructions mean, on Python's integers and fractions: slow and obvious."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction


def wrap(value: int, kind: str) -> int:
    """An integer modulo the width of a type, with its sign."""
    bits = int(kind[1:])
    value %= 1 << bits
    return value - (1 << bits) if kind[0] == "s" and value >> (bits - 1) else value


def saturate(value: int, kind: str) -> int:
    bits = int(kind[1:])
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind[0] == "s" else (0, 2**bits - 1)
    return min(max(value, low), high)


@dataclass(frozen=True)
class Format:
    """A float format: significant bits, and exponents of normal numbers."""

    digits: int
    emin: int
    emax: int

    @property
    def largest(self) -> Fraction:
        return (2 - Fraction(2) ** (1 - self.digits)) * Fraction(2) ** self.emax

    @property
    def smallest_normal(self) -> Fraction:
        return Fraction(2) ** self.emin


FORMATS = {
    "f16": Format(11, -14, 15),
    "bf16": Format(8, -126, 127),
    "tf32": Format(11, -126, 127),
    "f32": Format(24, -126, 127),
    "f64": Format(53, -1022, 1023),
}


def round_fraction(value: Fraction, form: Format, mode: str, sign: float = 1.0) -> float:
    """A rational number in a format; `sign` is that of an exact zero.

    Args:
        value: what to round.
        form: the format.
        mode: rn, rz, rm, rp, or rna for ties away from zero.
        sign: of the result where `value` is 0.
    """
    if value == 0:
        return math.copysign(0.0, sign)
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    while Fraction(2) ** exponent > magnitude:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= magnitude:
        exponent += 1
    unit = Fraction(2) ** (max(exponent, form.emin) - form.digits + 1)
    rounded = to_integer(value / unit, mode) * unit
    if abs(rounded) > form.largest:
        stays = mode == "rz" or (mode == "rm" and value > 0) or (mode == "rp" and value < 0)
        return math.copysign(float(form.largest) if stays else math.inf, 1 if value > 0 else -1)
    return math.copysign(float(rounded), 1 if value > 0 else -1)


def to_integer(value: Fraction, mode: str) -> int:
    """A rational number to a whole one."""
    floor = value.numerator // value.denominator
    rest = value - floor
    if mode == "rz":
        return floor if value >= 0 or rest == 0 else floor + 1
    if mode == "rm":
        return floor
    if mode == "rp":
        return floor + (rest > 0)
    half = Fraction(1, 2)
    if rest == half and mode == "rna":
        return floor + 1 if value > 0 else floor
    return floor + (rest > half or (rest == half and floor % 2 == 1))


def round_float(value: float, form: Format, mode: str) -> float:
    """A float64 in another format."""
    if math.isnan(value) or math.isinf(value):
        return value
    return round_fraction(Fraction(value), form, mode, math.copysign(1.0, value))


def arithmetic(name: str, operands: list[float], form: Format, mode: str) -> float:
    """add, sub, mul, div, fma, rcp or sqrt, rounded once."""
    a, b, c = (*operands, 0.0, 0.0, 0.0)[:3]
    if name == "rcp":
        name, a, b = "div", 1.0, a
    if name == "sub":
        name, b = "add", -b
    if any(math.isnan(value) for value in operands):
        return math.nan
    if name == "sqrt":
        return _sqrt(a, form, mode)
    if name == "div":
        return _div(a, b, form, mode)
    if name == "add":
        return _sum(a, b, form, mode)
    product = _product(a, b)
    if name == "mul":
        if not isinstance(product, Fraction):
            return product
        return round_fraction(product, form, mode, math.copysign(1, a) * math.copysign(1, b))
    if not isinstance(product, Fraction):
        return math.nan if math.isinf(c) and c != product else product
    if math.isinf(c):
        return c
    sign = math.copysign(1, a) * math.copysign(1, b)
    return _rounded_sum(product, Fraction(c), sign, math.copysign(1, c), form, mode)


def _product(a: float, b: float) -> Fraction | float:
    if math.isinf(a) or math.isinf(b):
        return math.nan if a == 0 or b == 0 else a * b
    return Fraction(a) * Fraction(b)


def _sum(a: float, b: float, form: Format, mode: str) -> float:
    if math.isinf(a) or math.isinf(b):
        return a + b
    signs = math.copysign(1, a), math.copysign(1, b)
    return _rounded_sum(Fraction(a), Fraction(b), *signs, form, mode)


def _rounded_sum(
    a: Fraction, b: Fraction, sign_a: float, sign_b: float, form: Format, mode: str
) -> float:
    """x - x is +0, and -0 where it is rounded down; -0 - 0 keeps its sign."""
    zero = sign_a if a == 0 and b == 0 and sign_a == sign_b else (-1.0 if mode == "rm" else 1.0)
    return round_fraction(a + b, form, mode, zero)


def _div(a: float, b: float, form: Format, mode: str) -> float:
    sign = math.copysign(1, a) * math.copysign(1, b)
    if math.isinf(a) or b == 0:
        nan = (math.isinf(a) and math.isinf(b)) or (a == 0 and b == 0)
        return math.nan if nan else sign * math.inf
    if math.isinf(b):
        return sign * 0.0
    return round_fraction(Fraction(a) / Fraction(b), form, mode, sign)


def _sqrt(a: float, form: Format, mode: str) -> float:
    if a < 0:
        return math.nan
    if a == 0 or math.isinf(a):
        return a
    exact = Fraction(a)
    shift = 4 * form.digits + 2 * form.digits  # Far more digits than the format has.
    scaled = exact * Fraction(2) ** (2 * (shift + 600))
    root = math.isqrt(scaled.numerator // scaled.denominator)
    inexact = root * root != scaled
    value = Fraction(2 * root + (1 if inexact else 0)) / Fraction(2) ** (shift + 601)
    return round_fraction(value, form, mode)
