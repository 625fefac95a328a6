"""The named functions of scalars, in one table: what each takes and means."""

from __future__ import annotations

from typing import NamedTuple


class Intrinsic(NamedTuple):
    """A row of `INTRINSICS`.

    `domain`: "float" (float operands only), "float32" or "int32" (that one), "number" (floats and
    integers) or "any"; `result`: "same" (the operands' dtype), "bool", or "given" (the call states
    it).
    """

    arity: int
    domain: str
    result: str
    meaning: str


INTRINSICS: dict[str, Intrinsic] = {
    "exp": Intrinsic(1, "float", "same", "e ** x"),
    "exp2": Intrinsic(1, "float", "same", "2 ** x"),
    "expm1": Intrinsic(1, "float", "same", "e ** x - 1, exact near 0"),
    "log": Intrinsic(1, "float", "same", "natural logarithm"),
    "log2": Intrinsic(1, "float", "same", "logarithm to base 2"),
    "log1p": Intrinsic(1, "float", "same", "log(1 + x), exact near 0"),
    "sqrt": Intrinsic(1, "float", "same", "square root, correctly rounded"),
    "rsqrt": Intrinsic(1, "float", "same", "1 / sqrt(x)"),
    "sin": Intrinsic(1, "float", "same", "sine of radians"),
    "cos": Intrinsic(1, "float", "same", "cosine of radians"),
    "tanh": Intrinsic(1, "float", "same", "hyperbolic tangent"),
    "sigmoid": Intrinsic(1, "float", "same", "1 / (1 + exp(-x))"),
    "erf": Intrinsic(1, "float", "same", "error function"),
    "pow": Intrinsic(2, "float", "same", "x ** y, as C's pow"),
    "abs": Intrinsic(1, "number", "same", "magnitude; the least integer wraps to itself"),
    "sign": Intrinsic(1, "number", "same", "-1, 0 or 1; NaN of NaN"),
    "floor": Intrinsic(1, "float", "same", "toward minus infinity"),
    "ceil": Intrinsic(1, "float", "same", "toward infinity"),
    "round": Intrinsic(1, "float", "same", "to nearest, ties to even"),
    "trunc": Intrinsic(1, "float", "same", "toward zero"),
    "tf32": Intrinsic(1, "float32", "same", "10 bits of fraction: to nearest, ties away from zero"),
    "isnan": Intrinsic(1, "float", "bool", "is not a number"),
    "isinf": Intrinsic(1, "float", "bool", "is plus or minus infinity"),
    "isfinite": Intrinsic(1, "float", "bool", "is neither NaN nor infinite"),
    "fma": Intrinsic(3, "float", "same", "x * y + z, rounded once"),
    "bitcast": Intrinsic(1, "any", "given", "the same bits read as another dtype of that size"),
    "eighths": Intrinsic(1, "int32", "same", "bits of 2 ** (x % 8 / 8) less x % 8 << 20"),
    "stop_gradient": Intrinsic(1, "any", "same", "x, whose derivative is taken as zero"),
}
