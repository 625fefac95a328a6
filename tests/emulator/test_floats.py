"""Float instructions against exact fractions, rounded once in the instruction's own mode."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.exact import FORMATS, arithmetic, round_float, round_fraction, saturate
from emulator.scalar import DTYPES, Array, Instruction, evaluate, integers, module

SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0, math.inf, -math.inf, math.nan, 1 / 3, -1e-3, 7e4]
LIMITS = {
    "f32": [3.4028234663852886e38, -3.4028234663852886e38, 1.1754943508222875e-38, 1e-45, -1e-40],
    "f64": [1.7976931348623157e308, -1e300, 2.2250738585072014e-308, 5e-324, 1e16 + 2],
    "f16": [65504.0, -65504.0, 6.103515625e-05, 5.960464477539063e-08, 1024.5, 2049.0],
    "bf16": [3.3895313892515355e38, 1.1754943508222875e-38, 1e-40, 257.0, 1.00390625],
}
NARROW = {"f16": np.float16, "bf16": ml_dtypes.bfloat16}
WIDTH = {"f16": "b16", "bf16": "b16", "f32": "f32", "f64": "f64"}


def values_of(kind: str, count: int, seed: int) -> Array:
    """Special numbers, limits, and numbers of all sizes, as float64 that the format holds."""
    rng = np.random.default_rng(seed)
    spread = rng.standard_normal(200) * 2.0 ** rng.integers(-20, 14, 200)
    pool = np.array([*SPECIAL, *LIMITS[kind], *spread])
    form = FORMATS[kind]
    pool = np.array([round_float(float(v), form, "rn") for v in pool])
    return rng.choice(pool, count)


def encode(values: Array, kind: str) -> Array:
    with np.errstate(over="ignore"):
        if kind in NARROW:
            return values.astype(NARROW[kind]).view(np.uint16)
        return values.astype(DTYPES[kind])


def decode(values: Array, kind: str) -> Array:
    wide: Array = values.view(NARROW[kind]) if kind in NARROW else values
    with np.errstate(invalid="ignore"):  # Signaling NaNs.
        return wide.astype(np.float64)


def assert_same(actual: Array, expected: Any, rows: Any) -> None:
    """Equal, with signs of zero, and any NaN equal to any."""
    expected = np.asarray(expected, np.float64)
    both_nan = np.isnan(actual) & np.isnan(expected)
    same = (actual == expected) & (np.signbit(actual) == np.signbit(expected))
    wrong = np.nonzero(~(same | both_nan))[0]
    shown = [(tuple(row[i] for row in rows), actual[i], expected[i]) for i in wrong[:5]]
    assert not len(wrong), shown


_ARITHMETIC = [
    (f"{name}.{mode}.{kind} %d, %a{', %b' * (arity > 1)}{', %c' * (arity > 2)};", name, mode, kind)
    for kind in ("f32", "f64")
    for mode in ("rn", "rz", "rm", "rp")
    for name, arity in (("add", 2), ("sub", 2), ("mul", 2), ("fma", 3), ("div", 2), ("rcp", 1))
] + [
    (f"sqrt.{mode}.{kind} %d, %a;", "sqrt", mode, kind)
    for kind in ("f32", "f64")
    for mode in ("rn", "rz", "rm", "rp")
]
_ARITHMETIC += [
    (f"{name}.rn.{kind} %d, %a, %b{', %c' * (name == 'fma')};", name, "rn", kind)
    for kind in ("f16", "bf16")
    for name in ("add", "sub", "mul", "fma")
]


def _instruction(text: str, kind: str) -> Instruction:
    arity = 1 + text.count("%b") + text.count("%c")
    return Instruction(text, WIDTH[kind], (WIDTH[kind],) * arity)


INSTRUCTIONS = tuple(_instruction(text, kind) for text, _, _, kind in _ARITHMETIC)


@pytest.mark.parametrize("index", range(len(_ARITHMETIC)), ids=[r[0] for r in _ARITHMETIC])
def test_arithmetic_rounds_the_exact_result_once(index: int) -> None:
    _, name, mode, kind = _ARITHMETIC[index]
    instruction = INSTRUCTIONS[index]
    rows = [values_of(kind, 400, 10 * index + i) for i in range(len(instruction.sources))]
    expected = [
        arithmetic(name, [float(v) for v in row], FORMATS[kind], mode)
        for row in zip(*rows, strict=True)
    ]
    built = module(INSTRUCTIONS)
    actual = evaluate(built, instruction, [encode(row, kind) for row in rows])
    assert_same(decode(actual, kind), expected, rows)


_MINMAX = tuple(
    _instruction(f"{name}{nan}.{kind} %d, %a, %b;", kind)
    for name in ("min", "max")
    for nan in ("", ".NaN")
    for kind in ("f32", "f64", "f16", "bf16")
    if not (nan and kind == "f64")
)


@pytest.mark.parametrize("instruction", _MINMAX, ids=lambda i: i.text)
def test_min_and_max_order_zeros_and_treat_nan_as_they_say(instruction: Instruction) -> None:
    kind = instruction.text.split()[0].split(".")[-1]
    rows = [values_of(kind, 500, seed) for seed in (1, 2)]
    largest, keeps_nan = instruction.text.startswith("max"), ".NaN" in instruction.text

    def reference(a: float, b: float) -> float:
        if math.isnan(a) or math.isnan(b):
            return (
                math.nan
                if keeps_nan or (math.isnan(a) and math.isnan(b))
                else (b if math.isnan(a) else a)
            )
        pair = sorted((a, b), key=lambda v: (v, math.copysign(1, v)))
        return pair[1] if largest else pair[0]

    expected = [reference(float(a), float(b)) for a, b in zip(*rows, strict=True)]
    actual = evaluate(module(_MINMAX), instruction, [encode(row, kind) for row in rows])
    assert_same(decode(actual, kind), expected, rows)


def _flushed(value: float) -> float:
    return math.copysign(0.0, value) if abs(value) < 2.0**-126 else value


_OTHER: dict[str, Any] = {
    "add.ftz.f32 %d, %a, %b;": lambda a, b: _flushed(
        arithmetic("add", [_flushed(a), _flushed(b)], FORMATS["f32"], "rn")
    ),
    "mul.ftz.f32 %d, %a, %b;": lambda a, b: _flushed(
        arithmetic("mul", [_flushed(a), _flushed(b)], FORMATS["f32"], "rn")
    ),
    "add.sat.f32 %d, %a, %b;": lambda a, b: _unit(arithmetic("add", [a, b], FORMATS["f32"], "rn")),
    "neg.f32 %d, %a;": lambda a: -a,
    "abs.f32 %d, %a;": abs,
    "copysign.f32 %d, %a, %b;": lambda a, b: math.copysign(b, a),
    "min.xorsign.abs.f32 %d, %a, %b;": lambda a, b: _xorsign(a, b),
}


def _unit(value: float) -> float:
    return 0.0 if math.isnan(value) or value <= 0 else min(value, 1.0)


def _xorsign(a: float, b: float) -> float:
    magnitude = b if math.isnan(a) else a if math.isnan(b) else min(abs(a), abs(b))
    return math.copysign(magnitude, math.copysign(1, a) * math.copysign(1, b))


_OTHERS = tuple(_instruction(text, "f32") for text in _OTHER)


@pytest.mark.parametrize("instruction", _OTHERS, ids=lambda i: i.text)
def test_modifiers_of_float32_mean_what_the_manual_says(instruction: Instruction) -> None:
    rows = [values_of("f32", 400, seed) for seed in range(3, 3 + len(instruction.sources))]
    reference = _OTHER[instruction.text]
    expected = [reference(*(float(v) for v in row)) for row in zip(*rows, strict=True)]
    actual = evaluate(module(_OTHERS), instruction, [encode(row, "f32") for row in rows])
    assert_same(actual.astype(np.float64), expected, rows)


_APPROXIMATE: dict[str, Any] = {
    "ex2.approx.f32": (np.exp2, -120, 120, 2e-7),
    "lg2.approx.f32": (np.log2, 1e-3, 1e3, 3e-7),
    "sin.approx.f32": (np.sin, -3, 3, 1e-6),
    "cos.approx.f32": (np.cos, -3, 3, 1e-6),
    "tanh.approx.f32": (np.tanh, -5, 5, 1e-6),
    "rsqrt.approx.f32": (lambda x: 1 / np.sqrt(x), 1e-3, 1e3, 2e-7),
    "rcp.approx.ftz.f32": (lambda x: 1 / x, 1e-3, 1e3, 2e-7),
    "sqrt.approx.f32": (np.sqrt, 0, 1e3, 2e-7),
}
_APPROX = tuple(Instruction(f"{name} %d, %a;", "f32", ("f32",)) for name in _APPROXIMATE)


@pytest.mark.parametrize("instruction", _APPROX, ids=lambda i: i.text)
def test_approximations_are_at_least_as_good_as_hardware(instruction: Instruction) -> None:
    reference, low, high, bound = _APPROXIMATE[instruction.text.split()[0]]
    x = np.random.default_rng(0).uniform(low, high, 1000).astype(np.float32)
    actual = evaluate(module(_APPROX), instruction, [x]).astype(np.float64)
    expected = reference(x.astype(np.float64))
    assert np.all(np.abs(actual - expected) <= bound * np.maximum(np.abs(expected), 1e-2))


_PAIRS = tuple(
    Instruction(f"{name}.{kind}x2 %d, %a, %b{', %c' * (name == 'fma.rn')};", "b32", ("b32",) * n)
    for kind in ("f16", "bf16")
    for name, n in (("add.rn", 2), ("mul.rn", 2), ("fma.rn", 3), ("min", 2), ("max.NaN", 2))
)


@pytest.mark.parametrize("instruction", _PAIRS, ids=lambda i: i.text)
def test_pairs_of_halves_are_two_halves(instruction: Instruction) -> None:
    kind = instruction.text.split()[0].split(".")[-1][:-2]
    single = _instruction(instruction.text.replace("x2", ""), kind)
    rows = [values_of(kind, 600, seed) for seed in range(len(instruction.sources))]
    halves = [encode(row, kind) for row in rows]
    pairs = [half.view(np.uint32) for half in halves]
    actual = evaluate(module(_PAIRS), instruction, pairs).view(np.uint16)
    expected = evaluate(module((single,)), single, halves)
    np.testing.assert_array_equal(actual, expected)


_TWO = tuple(
    Instruction(f"{name}.f32x2 %d, %a, %b{', %c' * (n == 3)};", "b64", ("b64",) * n)
    for name, n in (("add.rn", 2), ("sub.rz", 2), ("mul.rn.ftz", 2), ("fma.rn", 3))
)


@pytest.mark.parametrize("instruction", _TWO, ids=lambda i: i.text)
def test_two_floats_in_64_bits_are_two_floats(instruction: Instruction) -> None:
    text = instruction.text.replace(".f32x2", ".f32")
    single = Instruction(text, "f32", ("f32",) * len(instruction.sources))
    rows = [values_of("f32", 600, seed).astype(np.float32) for seed in range(len(single.sources))]
    actual = evaluate(module(_TWO), instruction, [row.view(np.uint64) for row in rows])
    expected = evaluate(module((single,)), single, rows)
    np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))


# ---- Conversions


_NARROWING = [
    (f"cvt.{mode}.{to}.{source} %d, %a;", mode, to, source)
    for to, source, modes in (
        ("f32", "f64", ("rn", "rz", "rm", "rp")),
        ("f16", "f32", ("rn", "rz", "rm", "rp")),
        ("bf16", "f32", ("rn", "rz")),
        ("f16", "f64", ("rn", "rz")),
        ("tf32", "f32", ("rna", "rn")),
    )
    for mode in modes
]


@pytest.mark.parametrize("row", _NARROWING, ids=lambda row: row[0])
def test_a_narrowing_conversion_rounds_in_its_mode(row: tuple[str, str, str, str]) -> None:
    text, mode, to, source = row
    instruction = Instruction(text, "b32" if to == "tf32" else WIDTH[to], (source,))
    near = values_of(to if to in LIMITS else "f32", 400, 2)
    values = np.concatenate([values_of(source, 400, 1), near])
    values = encode(values, source).astype(np.float64)
    expected = [round_float(float(v), FORMATS[to], mode) for v in values]
    actual = evaluate(_narrowing(), instruction, [encode(values, source)])
    decoded = actual.view(np.float32).astype(np.float64) if to == "tf32" else decode(actual, to)
    assert_same(decoded, expected, [values])


def _narrowing() -> Any:
    return module(
        tuple(
            Instruction(text, "b32" if to == "tf32" else WIDTH[to], (source,))
            for text, _, to, source in _NARROWING
        )
    )


_TO_INTEGER = [
    (f"cvt.{mode}.{to}.{source} %d, %a;", mode, to, source)
    for source in ("f32", "f64", "f16")
    for to in ("s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64")
    for mode in (("rzi", "rni", "rmi", "rpi") if to[1:] == "32" else ("rzi",))
]
_TO_INTEGERS = tuple(Instruction(t, to, (WIDTH[s],)) for t, _, to, s in _TO_INTEGER)


@pytest.mark.parametrize("index", range(len(_TO_INTEGER)), ids=[r[0] for r in _TO_INTEGER])
def test_a_float_becomes_the_nearest_integer_that_fits(index: int) -> None:
    from_float: dict[str, Any] = {
        "rzi": math.trunc,
        "rni": round,
        "rmi": math.floor,
        "rpi": math.ceil,
    }
    _, mode, to, source = _TO_INTEGER[index]
    values = values_of(source, 400, index)

    def reference(value: float) -> int:
        if math.isnan(value):
            return 0
        if math.isinf(value):
            return saturate(2**80 if value > 0 else -(2**80), to)
        return saturate(from_float[mode](value), to)

    expected = [reference(float(value)) for value in values]
    actual = evaluate(module(_TO_INTEGERS), _TO_INTEGERS[index], [encode(values, source)])
    np.testing.assert_array_equal(actual, np.array(expected, actual.dtype))


_FROM_INTEGER = [
    (f"cvt.{mode}.{to}.{source} %d, %a;", mode, to, source)
    for source in ("s32", "u32", "s64", "u64", "s16", "u8")
    for to in ("f32", "f64", "f16")
    for mode in (("rn", "rz", "rm", "rp") if to == "f32" else ("rn",))
]
_FROM_INTEGERS = tuple(Instruction(t, WIDTH[to], (s,)) for t, _, to, s in _FROM_INTEGER)


@pytest.mark.parametrize("index", range(len(_FROM_INTEGER)), ids=[r[0] for r in _FROM_INTEGER])
def test_an_integer_becomes_a_float_rounded_in_its_mode(index: int) -> None:
    _, mode, to, source = _FROM_INTEGER[index]
    values = np.array(integers(source, index) * 4, DTYPES[source])
    expected = [round_fraction(Fraction(int(v)), FORMATS[to], mode) for v in values]
    actual = evaluate(module(_FROM_INTEGERS), _FROM_INTEGERS[index], [values])
    assert_same(decode(actual, to), expected, [values])


_WHOLE = tuple(
    Instruction(f"cvt.{mode}.f32.f32 %d, %a;", "f32", ("f32",))
    for mode in ("rni", "rzi", "rmi", "rpi")
)
_WIDEN = tuple(
    Instruction(text, to, (source,))
    for text, to, source in (
        ("cvt.f32.f16 %d, %a;", "f32", "b16"),
        ("cvt.f32.bf16 %d, %a;", "f32", "b16"),
        ("cvt.f64.f32 %d, %a;", "f64", "f32"),
        ("cvt.f64.f16 %d, %a;", "f64", "b16"),
        ("cvt.sat.f32.f32 %d, %a;", "f32", "f32"),
        ("cvt.s64.s32 %d, %a;", "s64", "s32"),
        ("cvt.u64.u32 %d, %a;", "u64", "u32"),
        ("cvt.s32.s8 %d, %a;", "s32", "s8"),
        ("cvt.u16.u32 %d, %a;", "u16", "u32"),
        ("cvt.sat.s8.s32 %d, %a;", "s8", "s32"),
        ("cvt.sat.u8.s32 %d, %a;", "u8", "s32"),
    )
)


@pytest.mark.parametrize("instruction", _WHOLE, ids=lambda i: i.text)
def test_rounding_to_whole_numbers_keeps_the_float(instruction: Instruction) -> None:
    functions = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
    x = np.concatenate([values_of("f32", 300, 4), np.arange(-4, 4, 0.25)]).astype(np.float32)
    expected = functions[instruction.text.split(".")[1]](x.astype(np.float64))
    assert_same(evaluate(module(_WHOLE), instruction, [x]).astype(np.float64), expected, [x])


def test_widening_is_exact_and_saturation_clamps() -> None:
    built = module(_WIDEN)
    halves = np.arange(65536, dtype=np.uint16)
    by_text = {i.text.split()[0]: i for i in _WIDEN}

    def result(name: str, values: Array) -> Array:
        return evaluate(built, by_text[name], [values])

    for name, kind in (("cvt.f32.f16", "f16"), ("cvt.f32.bf16", "bf16"), ("cvt.f64.f16", "f16")):
        wide = result(name, halves)
        np.testing.assert_array_equal(decode(wide, "f64"), decode(halves, kind))
    x = values_of("f32", 300, 9).astype(np.float32)
    np.testing.assert_array_equal(result("cvt.f64.f32", x), x.astype(np.float64))
    assert_same(result("cvt.sat.f32.f32", x).astype(np.float64), [_unit(float(v)) for v in x], [x])
    s = np.array(integers("s32"), np.int32)
    np.testing.assert_array_equal(result("cvt.s64.s32", s), s)
    np.testing.assert_array_equal(result("cvt.sat.s8.s32", s), np.clip(s, -128, 127))
    np.testing.assert_array_equal(result("cvt.sat.u8.s32", s), np.clip(s, 0, 255))
    u = np.array(integers("u32"), np.uint32)
    np.testing.assert_array_equal(result("cvt.u64.u32", u), u)
    np.testing.assert_array_equal(result("cvt.u16.u32", u), u.astype(np.uint16))
    b = np.array(integers("s8"), np.int8)
    np.testing.assert_array_equal(result("cvt.s32.s8", b), b)


_PACK = Instruction("cvt.rn.f16x2.f32 %d, %a, %b;", "b32", ("f32", "f32"))
_RELU = Instruction("cvt.rn.relu.bf16x2.f32 %d, %a, %b;", "b32", ("f32", "f32"))


@given(st.lists(st.tuples(*[st.floats(width=32)] * 2), min_size=1, max_size=40))
def test_the_first_operand_of_a_packing_conversion_goes_on_top(
    pairs: list[tuple[float, float]],
) -> None:
    a, b = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    with np.errstate(over="ignore"):
        packed = evaluate(module((_PACK, _RELU)), _PACK, [a, b]).view(np.float16)
        assert_same(packed[1::2].astype(np.float64), a.astype(np.float16).astype(np.float64), [a])
        assert_same(packed[0::2].astype(np.float64), b.astype(np.float16).astype(np.float64), [b])
    relu = evaluate(module((_PACK, _RELU)), _RELU, [a, b]).view(ml_dtypes.bfloat16)
    expected = np.where(np.isnan(a), a, np.maximum(a, np.float32(0)))
    with np.errstate(over="ignore"):
        wide = expected.astype(ml_dtypes.bfloat16).astype(np.float64)
    np.testing.assert_array_equal(relu[1::2].astype(np.float64), wide)


# ---- Comparisons

_COMPARE: dict[str, Any] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a < b or a > b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
_SETP = tuple(
    Instruction(f"setp.{name}{unordered}.{kind} %d, %a, %b;", "pred", (WIDTH[kind],) * 2)
    for kind in ("f32", "f64", "f16", "bf16")
    for name in _COMPARE
    for unordered in ("", "u")
) + tuple(
    Instruction(f"setp.{name}.f32 %d, %a, %b;", "pred", ("f32", "f32")) for name in ("num", "nan")
)


@pytest.mark.parametrize("instruction", _SETP, ids=lambda i: i.text)
def test_a_comparison_with_nan_is_false_unless_it_is_unordered(instruction: Instruction) -> None:
    _, name, kind = instruction.text.split()[0].split(".")
    rows = [values_of(kind, 400, seed) for seed in (5, 6)]

    def reference(a: float, b: float) -> bool:
        unordered = math.isnan(a) or math.isnan(b)
        if name in ("num", "nan"):
            return unordered == (name == "nan")
        if unordered:
            return name.endswith("u")
        return bool(_COMPARE[name.removesuffix("u") if name not in _COMPARE else name](a, b))

    expected = [reference(float(a), float(b)) for a, b in zip(*rows, strict=True)]
    actual = evaluate(module(_SETP), instruction, [encode(row, kind) for row in rows])
    np.testing.assert_array_equal(actual, expected)


def test_predicates_combine_and_select() -> None:
    two = ("s32", "s32")
    both = "setp.lt.s32 %p3, %a, 3; setp.gt.and.s32 %p1|%p2, %a, %b, %p3; "
    combined = Instruction(f"{both} selp.s32 %d, 7, 9, %p1;", "s32", two)
    other = Instruction(f"{both} selp.s32 %d, 7, 9, %p2;", "s32", two)
    either = "setp.lt.s32 %p3, %a, 3; setp.gt.or.s32 %d, %a, %b, !%p3;"
    negated = Instruction(either, "pred", two)
    setting = Instruction("set.lt.u32.f32 %d, %a, %b;", "u32", ("f32", "f32"))
    to_float = Instruction("set.lt.f32.f32 %d, %a, %b;", "f32", ("f32", "f32"))
    choosing = Instruction("slct.s32.s32 %d, %a, %b, %c;", "s32", ("s32",) * 3)
    built = module((combined, other, negated, setting, to_float, choosing))
    a, b = np.arange(-5, 5, dtype=np.int32), np.zeros(10, np.int32)
    taken = (a > 0) & (a < 3)
    np.testing.assert_array_equal(evaluate(built, combined, [a, b]), np.where(taken, 7, 9))
    taken = ~(a > 0) & (a < 3)
    np.testing.assert_array_equal(evaluate(built, other, [a, b]), np.where(taken, 7, 9))
    np.testing.assert_array_equal(evaluate(built, negated, [a, b]), (a > 0) | (a >= 3))
    np.testing.assert_array_equal(evaluate(built, setting, [a, b]), np.where(a < 0, 2**32 - 1, 0))
    np.testing.assert_array_equal(evaluate(built, to_float, [a, b]), (a < 0).astype(np.float32))
    np.testing.assert_array_equal(evaluate(built, choosing, [b + 1, b + 2, a]), 1 + (a < 0))
