"""Transcendental functions as plain arithmetic, the same for every backend.

`expand_math` replaces each call of exp, exp2, expm1, log, log2, log1p, tanh, sigmoid, erf, sin,
cos, pow and rsqrt by Lets, multiply-adds, selects and moves of bits: no branch, no call of a
library, no table but one of eight numbers that fills a register, so it runs in the lanes of a
vector as it stands. float16 and bfloat16 go through
float32. Results at infinities, NaN, zeros and at the edges of overflow and underflow are those of
C99's Annex F (the sign of a NaN aside), subnormal numbers included.

`ULP_BOUND` states the largest error in units of the last place, which the tests check over random
bit patterns of the whole range. sin and cos keep theirs for |x| <= 2**20, after which the reduced
argument loses bits: they stay within [-1, 1]. Without fused multiply-add instructions the errors
may be up to one unit larger (`ULP_BOUND_UNFUSED`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tensorc.dtypes import DType, float32, float64, int32
from tensorc.ir.expr import Binary, BinaryOp, Call, Cast, Expr, Reducer, Select
from tensorc.ir.stmt import Accumulate
from tensorc.ir.walk import rewrite
from tensorc.lower.features import features
from tensorc.lower.polynomials import (
    COS,
    ERF,
    ERF_SPLIT,
    ERFC_ROOT,
    EXP,
    EXP_EIGHTHS,
    LOG,
    LOG_TAIL,
    POW_EXP,
    POW_LOG,
    SIN,
)
from tensorc.lower.scalar import Pair, Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.ir.stmt import Node, Program
    from tensorc.lower.features import Features
    from tensorc.target import Target

__all__ = ["ULP_BOUND", "ULP_BOUND_UNFUSED", "expand_math"]

INF, NAN = float("inf"), float("nan")


def expand_math(program: Program, target: Target) -> Program:
    """Write out every transcendental call.

    B[i] = rsqrt(A[i])    becomes    B[i] = float32(1.0) / sqrt(A[i])
    """
    able = features(target)
    reducers: dict[Reducer, Reducer] = {}

    def written_out(reducer: Reducer) -> Reducer:
        """The same reducer with the calls in its combination written out."""
        if reducer not in reducers:
            result = tuple(rewrite(r, rule) for r in reducer.result)
            changed = any(a is not b for a, b in zip(result, reducer.result, strict=True))
            reducers[reducer] = replace(reducer, result=result) if changed else reducer
        return reducers[reducer]

    def rule(node: Node) -> Node | None:
        match node:
            case Call(name, args, dtype) if name in EXPANSIONS:
                return expand(name, args, dtype, able)
            case Accumulate(reducer, _, _, _) if written_out(reducer) is not reducer:
                return replace(node, reducer=written_out(reducer))
            case _:
                return None

    return replace(program, body=rewrite(program.body, rule))


def expand(name: str, args: tuple[Expr, ...], dtype: DType, able: Features) -> Expr:
    """One call, written out."""
    if dtype.bits == 16:
        wide = tuple(Cast(a, float32) for a in args)
        return Cast(expand(name, wide, float32, able), dtype)
    w = Work(dtype, able.fma, able.table > 0)
    return w.done(EXPANSIONS[name](w, *(w(a, "x") for a in args)))


# --- exponentials ----------------------------------------------------------------------------

# log(2) in two parts, the first of so few bits that its product with an exponent is exact.
_LN2 = {
    float32: (0.693359375, -0.00021219444),
    float64: (float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")),
}
_LOG2_E = {float32: 1.442695, float64: float.fromhex("0x1.71547652b82fep+0")}
_LOG2_E_LOW = {float32: 1.925963e-08, float64: float.fromhex("0x1.777d0ffda0d24p-56")}
_LN2_WHOLE = {float32: 0.6931472, float64: 0.6931471805599453}
_LN2_LOW = {float32: -1.9046542e-09, float64: 2.3190468138462996e-17}

# Beyond these e^x is infinite or 0, and 2^x likewise.
_EXP_RANGE = {float32: (-104.5, 89.5), float64: (-746.0, 710.5)}
_EXP2_RANGE = {float32: (-151.0, 128.5), float64: (-1076.0, 1025.0)}
_LIFT = 60  # Powers of two that keep the scale of a sigmoid's exponential normal.
_EXPM1_LEAST = {float32: -18.0, float64: -38.0}


def _clamp(w: Work, x: Expr, least: float, most: float) -> Expr:
    low = Binary(BinaryOp.MAX, x, w.const(least))  # NaN passes through both.
    return w(Binary(BinaryOp.MIN, low, w.const(most)), "x")


def _reduce_exp(w: Work, x: Expr, biases: int = 2, lift: int = 0) -> tuple[Expr, Expr]:
    """Find r and n with x = n log(2) + r (W. J. Cody and W. Waite, "Software Manual", 1980).

    n is left in bits, as `Work.nearest` does.
    """
    k, bits = w.nearest(x, _LOG2_E[w.dtype], biases, lift)
    high, low = _LN2[w.dtype]
    return w(w.mad(k, -low, w.mad(k, -high, x)), "r"), bits


def _exp_minus_one(w: Work, r: Expr) -> Expr:
    """The exponential of a reduced r, less 1."""
    square = w(r * r)
    return w.mad(square, w.halves(r, square, EXP[w.dtype]), r)


def _by_eighths(w: Work, x: Expr, biases: int = 8, lift: int = 0) -> tuple[Expr, Expr]:
    """Find r and n with x = n log(2) / 8 + r, |r| <= log(2) / 16; n is left in bits."""
    k, bits = w.nearest(x, 8 * _LOG2_E[w.dtype], biases, 8 * lift)
    high, low = _LN2[w.dtype]
    return w(w.mad(k, -low / 8, w.mad(k, -high / 8, x)), "r"), bits


def _times_exp(w: Work, root: Expr, r: Expr) -> Expr:
    """The product of `root` and the exponential of an r of at most log(2) / 16."""
    return w.mad(w.horner(r, (1.0, *EXP_EIGHTHS)), root * r, root)


def _scaled_twice(w: Work, x: Expr, r: Expr, bits: Expr) -> Expr:
    """The exponential of r, times 2**(n / 8) with n in `bits`, biased: n has the sign of x.

    2**(n / 8) may leave the range of exponents, so a power of two is taken out of it and put back.
    """
    negative = w.bits(x) < w.int(0)
    out = w(Select(negative, w.int((127 - 64) << 23), w.int((127 + 64) << 23)), "out")
    root = w(w.from_bits(w.eighths(bits) - out), "root")
    return _times_exp(w, root, r) * w.from_bits(out)


def _exp(w: Work, x: Expr) -> Expr:
    x = _clamp(w, x, *_EXP_RANGE[w.dtype])
    if w.table:
        return _scaled_twice(w, x, *_by_eighths(w, x))
    r, bits = _reduce_exp(w, x)
    return w.scaled(w(_exp_minus_one(w, r)), bits)


def _exp2(w: Work, x: Expr) -> Expr:
    x = _clamp(w, x, *_EXP2_RANGE[w.dtype])
    if w.table:
        k, bits = w.nearest(x, 8.0, 8)
        r = w(w.mad(k, -0.125, x) * w.const(_LN2_WHOLE[w.dtype]), "r")
        return _scaled_twice(w, x, r, bits)
    k, bits = w.nearest(x, 1.0)
    fraction = w(x - k)
    r = w(w.mad(fraction, _LN2_WHOLE[w.dtype], fraction * w.const(_LN2_LOW[w.dtype])), "r")
    return w.scaled(w(_exp_minus_one(w, r)), bits)


def _expm1(w: Work, x: Expr) -> Expr:
    clamped = _clamp(w, x, _EXPM1_LEAST[w.dtype], _EXP_RANGE[w.dtype][1])
    r, bits = _reduce_exp(w, clamped)
    n = w.whole(bits)
    half = w(n >> w.int(1), "half")
    first, second = w(w.power_of_two(half)), w(w.power_of_two(n - half))
    inverse = w.power_of_two(half - n)
    result = w.mad(_exp_minus_one(w, r), first, first - inverse) * second
    return w.select(_equal(x, w.const(0)), x, w(result))  # -0.0 stays.


def _sigmoid(w: Work, x: Expr) -> Expr:
    """Use e / (1 + e) with e = e^x; past the upper clamp it rounds to 1.

    The range of e is then short enough for one scale, lifted so that it is a normal number.
    """
    x = _clamp(w, x, _EXP_RANGE[w.dtype][0], 40.0)
    if w.table:
        r, bits = _by_eighths(w, x, 0, _LIFT)
        lifted = _times_exp(w, w(w.from_bits(w.eighths(bits)), "root"), r)
    else:
        r, bits = _reduce_exp(w, x, 1, _LIFT)
        scale = w.scale(bits)
        lifted = w.mad(_exp_minus_one(w, r), scale, scale)
    e = w(lifted * w.const(2.0**-_LIFT), "e")
    return e / (w.const(1) + e)


def _tanh(w: Work, x: Expr) -> Expr:
    """Use t / (t + 2) with t = e^2|x| - 1; past the clamp it rounds to 1."""
    most = 10.0 if w.dtype == float32 else 20.0
    a = w(Binary(BinaryOp.MIN, w.magnitude(x), w.const(most)), "a")
    r, bits = _reduce_exp(w, w(a + a), 1)
    scale = w.scale(bits)
    t = w(w.mad(_exp_minus_one(w, r), scale, scale - w.const(1)), "t")
    return w.copysign(t / (t + w.const(2)), x)


# --- logarithms ------------------------------------------------------------------------------


def _split_exponent(w: Work, x: Expr) -> tuple[Expr, Expr, Expr]:
    """Find e and m with x = 2**e m, sqrt(1/2) <= m < sqrt(2), for positive x; m - 1 is third."""
    tiny = x < w.const(2.0 ** (1 - w.bias))
    lift = w.mantissa + 1
    bits = w(w.bits(Select(tiny, x * w.const(2.0**lift), x)), "bits")
    root = 0x3F3504F3 if w.dtype == float32 else 0x3FE6A09E667F3BCD
    base = w(bits - w.int(root))
    lowered = Select(tiny, w.int(-lift), w.int(0))
    e = w((base >> w.int(w.mantissa)) + lowered, "e")
    m = w(w.from_bits((base & w.int((1 << w.mantissa) - 1)) + w.int(root)), "m")
    return e, m, w(m - w.const(1), "f")


def _log_parts(w: Work, f: Expr) -> Expr:
    """Compute log(1 + f) - f, for 1 + f from sqrt(1/2) to sqrt(2).

    With s = f / (2 + f), log(1 + f) = 2 atanh(s) = f - (f^2/2 - s (f^2/2 + R(s^2))): the form
    of fdlibm's e_log.c, which keeps f as it is.
    """
    s = w(f / (f + w.const(2)), "s")
    z = w(s * s, "z")
    half_square = w(f * f * w.const(0.5))
    rest = w.mad(z, w.horner(z, LOG[w.dtype]), half_square)
    return w(w.mad(s, rest, -half_square))


def _log_of(w: Work, e: Expr, f: Expr) -> Expr:
    """The logarithm of 2**e (1 + f)."""
    k = w(w.cast(e), "k")
    high, low = _LN2[w.dtype]
    return w.mad(k, high, f + w.mad(k, low, _log_parts(w, f)))


def _equal(x: Expr, y: Expr) -> Expr:
    return x == y


def _log_edges(w: Work, x: Expr, result: Expr) -> Expr:
    """Of 0, of negative numbers, of infinity and of NaN."""
    result = w.select(x < w.const(INF), result, x)  # Infinity and NaN are themselves.
    result = w.select(x < w.const(0), NAN, result)
    return w.select(_equal(x, w.const(0)), -INF, result)


def _log(w: Work, x: Expr) -> Expr:
    e, _, f = _split_exponent(w, x)
    return _log_edges(w, x, w(_log_of(w, e, f)))


def _log2(w: Work, x: Expr) -> Expr:
    e, _, f = _split_exponent(w, x)
    tail = _log_parts(w, f)
    total = w(f + tail)
    low = w((f - total) + tail)
    scale, scale_low = _LOG2_E[w.dtype], _LOG2_E_LOW[w.dtype]
    product = Pair.of_product(w, total, w.const(scale))
    small = w(w.mad(total, scale_low, w.mad(low, scale, product.low)))
    return _log_edges(w, x, w(w.cast(e) + product.high + small))


def _log1p(w: Work, x: Expr) -> Expr:
    """Use log(u) with u = 1 + x, what the rounding of u lost put back into f."""
    one = w.const(1)
    u = w(one + x, "u")
    lost = w(w.select(x > one, one - (u - x), x - (u - one)), "lost")
    e, _, f = _split_exponent(w, u)
    inverse = w.power_of_two(w(Binary(BinaryOp.MAX, -e, w.int(1 - w.bias))))
    f = w(w.mad(lost, inverse, f), "f")
    result = _log_edges(w, u, w(_log_of(w, e, f)))
    return w.select(_equal(x, w.const(0)), x, w(result))


# --- error function --------------------------------------------------------------------------


def _erf(w: Work, x: Expr) -> Expr:
    """Near 0 x + x P(x^2); beyond, 1 - Q(|x|)^4: the fourth root of erfc is nearly a polynomial."""
    split, center, most = ERF_SPLIT[w.dtype]
    a = w(w.magnitude(x), "a")
    z = w(x * x, "z")
    near = w(w.mad(a, w.halves(z, w(z * z), ERF[w.dtype]), a))
    t = w(Binary(BinaryOp.MIN, a, w.const(most)) - w.const(center), "t")
    root = w(w.halves(t, w(t * t), ERFC_ROOT[w.dtype]), "root")
    square = w(root * root)
    far = w(w.mad(-square, square, 1.0))
    return w.copysign(w(Select(a < w.const(split), near, far)), x)


# --- circular functions ----------------------------------------------------------------------

# pi/2 in three parts, the first two of 33 bits, so that products with k < 2**20 are exact.
_HALF_PI = tuple(
    map(float.fromhex, ("0x1.921fb544p+0", "0x1.0b4611a6p-34", "0x1.3198a2e037073p-69"))
)
_TWO_OVER_PI = 0.6366197723675814


def _reduce_angle(w: Work, x: Expr) -> tuple[Expr, Expr]:
    """Find r in w's dtype and the quadrant (an integer) with x = quadrant pi/2 + r; in float64."""
    d = Work(float64, w.fused)
    d.lets = w.lets
    wide = d(Cast(x, float64) if w.dtype == float32 else x)
    k, bits = d.nearest(wide, _TWO_OVER_PI)
    n = d.whole(bits)
    r: Expr = wide
    for part in _HALF_PI:
        r = d.mad(k, -part, r)
    if w.dtype == float32:
        return w(Cast(r, float32), "r"), w(Cast(n, int32), "n")
    return w(r, "r"), n


def _quadrant(w: Work, r: Expr, n: Expr) -> Expr:
    """The sine of r + n pi/2."""
    z = w(r * r, "z")
    sine = w(w.mad(r * z, w.horner(z, SIN[w.dtype]), r))
    tail = w.mad(z * z, w.horner(z, COS[w.dtype]), 0.0)
    near_one = w(w.const(1) - w.const(0.5) * z)
    lost = (w.const(1) - near_one) - w.const(0.5) * z
    cosine = w(near_one + (lost + tail))
    odd = _equal(n & w.int(1), w.int(1))
    value = w(Select(odd, cosine, sine))
    flip = (n & w.int(2)) << w.int(w.ints.bits - 2)
    return w.from_bits(w.bits(value) ^ flip)


def _sin(w: Work, x: Expr) -> Expr:
    r, n = _reduce_angle(w, x)
    result = w(_bounded(w, x, _quadrant(w, r, n)))
    return w.select(_equal(x, w.const(0)), x, result)


def _cos(w: Work, x: Expr) -> Expr:
    r, n = _reduce_angle(w, x)
    return _bounded(w, x, _quadrant(w, r, w(n + w.int(1))))


def _bounded(w: Work, x: Expr, result: Expr) -> Expr:
    """Within [-1, 1] however bad the reduction was; NaN of NaN and of infinities."""
    low = Binary(BinaryOp.MAX, result, w.const(-1))
    inside = Binary(BinaryOp.MIN, low, w.const(1))
    known = w.magnitude(x) < w.const(INF)
    return Select(known, _no_nan(w, inside), w.const(NAN))


def _no_nan(w: Work, x: Expr) -> Expr:
    """0 for a NaN that a huge angle's reduction made."""
    named = w(x)
    return Select(_equal(named, named), named, w.const(0))


# --- powers ----------------------------------------------------------------------------------


def _log2_pair(w: Work, x: Expr) -> Pair:
    """The base 2 logarithm of a positive float64 to about 2**-65.

    2 atanh(s) = 2 s + 2/3 s^3 + s^5 T(s^2), the first two terms in twice the precision.
    """
    e, m, f = _split_exponent(w, x)
    del m
    two = w.const(2)
    below = Pair.of_sum(w, f, two)
    s = w(f / below.high)
    back = Pair.of_product(w, s, below.high)
    s_low = w(((f - back.high) - back.low - s * below.low) / below.high)
    root = Pair(w, s, s_low)
    square = root * root
    cube = square * root
    third = float.fromhex("0x1.5555555555555p-1"), float.fromhex("0x1.5555555555555p-55")
    second = cube * Pair(w, w.const(third[0]), w.const(third[1]))
    rest = w(cube.high * square.high * w.horner(square.high, LOG_TAIL))
    log = Pair(w, w(s + s), w(s_low + s_low)) + second.plus(rest)
    scale = Pair(w, w.const(_LOG2_E[float64]), w.const(_LOG2_E_LOW[float64]))
    return Pair(w, w(w.cast(e)), w.const(0)) + log * scale


def _pow_double(w: Work, x: Expr, y: Expr) -> Expr:
    """The power x ** y of a positive, finite x, in float64."""
    exponent = _clamp(w, y, -(2.0**70), 2.0**70)  # Beyond, the power is 0, 1 or infinite.
    log = _log2_pair(w, x)
    product = Pair.of_product(w, exponent, log.high)
    low = w(product.low + exponent * log.low)
    high = _clamp(w, product.high, -1100.0, 1100.0)
    k, bits = w.nearest(high, 1.0)
    ln2 = _LN2_WHOLE[float64]
    small = w(Select(_equal(high, product.high), low, w.const(0)))
    fraction = w((high - k) + small)
    r = w(w.mad(fraction, ln2, fraction * w.const(_LN2_LOW[float64])), "r")
    return w(w.scaled(w(_exp_minus_one(w, r)), bits))


def _pow_single(w: Work, x: Expr, y: Expr) -> Expr:
    """The power x ** y of a positive, finite x, in float32.

    It is computed in float64, in which its error of 3e-10 leaves the rounding to float32 alone.
    """
    d = Work(float64, w.fused)
    d.lets = w.lets
    exponent, _, fraction = _split_exponent(w, x)
    e, f = (d(Cast(v, float64)) for v in (exponent, fraction))
    s = d(f / (f + d.const(2)), "s")
    z = d(s * s, "z")
    log = d.mad(s * z, d.horner(z, POW_LOG), s + s)
    log2 = d.mad(log, _LOG2_E[float64], e)
    product = _clamp(d, d(log2 * Cast(y, float64)), -1000.0, 1000.0)
    k, bits = d.nearest(product, 1.0, 1)
    r = d((product - k) * d.const(_LN2_WHOLE[float64]), "r")
    square = d(r * r)
    scale = d.scale(bits)
    grown = d.mad(square, d.halves(r, square, POW_EXP), r)
    return w(Cast(d.mad(grown, scale, scale), float32))


def _pow(w: Work, x: Expr, y: Expr) -> Expr:
    """2 ** (y log2|x|), its sign and its exceptions as in C."""
    zero, one = w.const(0), w.const(1)
    a = w(w.magnitude(x), "a")
    usual = w(Select((a > zero) & (a < w.const(INF)), a, one))
    result = (_pow_single if w.dtype == float32 else _pow_double)(w, usual, y)
    grows = w(y > zero, "grows")
    result = Select(_equal(a, zero), w.select(grows, 0.0, INF), result)
    result = w(Select(_equal(a, w.const(INF)), w.select(grows, INF, 0.0), result))
    whole = w(Call("floor", (y,), w.dtype))
    is_int = w(_equal(whole, y) & (w.magnitude(y) < w.const(INF)), "whole")
    half = w(y * w.const(0.5))
    odd = w(is_int & (Call("floor", (half,), w.dtype) != half), "odd")
    negative = _sign_bit(w, x)
    signed = w(Select(negative & odd, -result, result))
    finite = (x < zero) & (a < w.const(INF)) & (w.magnitude(y) < w.const(INF))
    undefined = finite & ~is_int
    result = w.select(undefined, NAN, signed)
    result = w.select((x != x) | (y != y), NAN, w(result))
    return w.select(_equal(x, one) | _equal(y, zero) | _minus_one(w, x, y), 1.0, result)


def _minus_one(w: Work, x: Expr, y: Expr) -> Expr:
    """(-1) ** infinity, which C makes 1."""
    return _equal(x, w.const(-1)) & _equal(w.magnitude(y), w.const(INF))


def _sign_bit(w: Work, x: Expr) -> Expr:
    return w(w.bits(x) < w.int(0), "negative")


def _rsqrt(w: Work, x: Expr) -> Expr:
    return w.const(1) / Call("sqrt", (x,), w.dtype)


EXPANSIONS: dict[str, Callable[..., Expr]] = {
    "exp": _exp,
    "exp2": _exp2,
    "expm1": _expm1,
    "log": _log,
    "log2": _log2,
    "log1p": _log1p,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "erf": _erf,
    "sin": _sin,
    "cos": _cos,
    "pow": _pow,
    "rsqrt": _rsqrt,
}

_WIDER = {"tanh": 3.0, "erf": 3.0, "sigmoid": 3.0}
ULP_BOUND: dict[tuple[str, DType], float] = {
    (name, dtype): _WIDER.get(name, 2.0) for name in EXPANSIONS for dtype in (float32, float64)
}
ULP_BOUND_UNFUSED = {key: bound + 1 for key, bound in ULP_BOUND.items()}
