"""Integer instructions against Python's integers, at the ends of their types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from emulator.exact import saturate, wrap
from emulator.scalar import Instruction, evaluate, grid_of, integers, module

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = ("u16", "s16", "u32", "s32", "u64", "s64")


def _bits(kind: str) -> int:
    return int(kind[1:])


def _trunc_div(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _div(a: int, b: int) -> int:
    return _trunc_div(a, b) if b else -1


def _rem(a: int, b: int) -> int:
    return a - b * _trunc_div(a, b) if b else a


def _shl(kind: str) -> Callable[..., int]:
    return lambda a, n: a << n if n < _bits(kind) else 0


def _shr(kind: str) -> Callable[..., int]:
    return lambda a, n: a >> min(n, _bits(kind))


def _bfe(kind: str) -> Callable[..., int]:
    def reference(a: int, start: int, length: int) -> int:
        start, length, bits = start & 255, length & 255, _bits(kind)
        if length == 0:
            return 0
        unsigned = a % (1 << bits)
        sign = unsigned >> min(start + length - 1, bits - 1) & 1 if kind[0] == "s" else 0
        result = 0
        for i in range(bits):
            taken = i < length and start + i < bits
            result |= (unsigned >> (start + i) & 1 if taken else sign) << i
        return result

    return reference


def _popc(kind: str) -> Callable[..., int]:
    return lambda a: (a % (1 << _bits(kind))).bit_count()


def _clz(kind: str) -> Callable[..., int]:
    return lambda a: _bits(kind) - (a % (1 << _bits(kind))).bit_length()


def _bfind(a: int) -> int:
    return (a if a >= 0 else ~a).bit_length() - 1


def _brev(kind: str) -> Callable[..., int]:
    return lambda a: int(f"{a:0{_bits(kind)}b}"[::-1], 2)


def _mul24(kind: str) -> Callable[..., int]:
    def low(a: int) -> int:
        a %= 1 << 24
        return a - (1 << 24) if kind[0] == "s" and a >> 23 else a

    return lambda a, b: low(a) * low(b)


# (instruction, type of the result, types of the operands, meaning)
_TABLE: list[tuple[str, str, tuple[str, ...], Callable[..., int]]] = []
for _kind in KINDS:
    _two, _three = (_kind, _kind), (_kind, _kind, _kind)
    _wide = f"{_kind[0]}{2 * _bits(_kind)}"
    _TABLE += [
        (f"add.{_kind} %d, %a, %b;", _kind, _two, lambda a, b: a + b),
        (f"sub.{_kind} %d, %a, %b;", _kind, _two, lambda a, b: a - b),
        (f"mul.lo.{_kind} %d, %a, %b;", _kind, _two, lambda a, b: a * b),
        (f"mul.hi.{_kind} %d, %a, %b;", _kind, _two, lambda a, b, k=_kind: a * b >> _bits(k)),
        (f"mad.lo.{_kind} %d, %a, %b, %c;", _kind, _three, lambda a, b, c: a * b + c),
        (
            f"mad.hi.{_kind} %d, %a, %b, %c;",
            *(_kind, _three, lambda a, b, c, k=_kind: (a * b >> _bits(k)) + c),
        ),
        (f"sad.{_kind} %d, %a, %b, %c;", _kind, _three, lambda a, b, c: abs(a - b) + c),
        (f"div.{_kind} %d, %a, %b;", _kind, _two, _div),
        (f"rem.{_kind} %d, %a, %b;", _kind, _two, _rem),
        (f"min.{_kind} %d, %a, %b;", _kind, _two, min),
        (f"max.{_kind} %d, %a, %b;", _kind, _two, max),
        (f"shr.{_kind} %d, %a, %b;", _kind, (_kind, "u32"), _shr(_kind)),
    ]
    if _bits(_kind) < 64:
        _TABLE.append((f"mul.wide.{_kind} %d, %a, %b;", _wide, _two, lambda a, b: a * b))
        _TABLE.append(
            (
                f"mad.wide.{_kind} %d, %a, %b, %c;",
                *(_wide, (_kind, _kind, _wide), lambda a, b, c: a * b + c),
            )
        )
    if _kind[0] == "s":
        _TABLE.append((f"neg.{_kind} %d, %a;", _kind, (_kind,), lambda a: -a))
        _TABLE.append((f"abs.{_kind} %d, %a;", _kind, (_kind,), abs))
    if _bits(_kind) > 16:
        _TABLE.append((f"bfe.{_kind} %d, %a, %b, %c;", _kind, (_kind, "u32", "u32"), _bfe(_kind)))
        _TABLE.append((f"bfind.{_kind} %d, %a;", "u32", (_kind,), _bfind))
for _kind in ("b16", "b32", "b64"):
    _two = (_kind, _kind)
    _TABLE += [
        (f"and.{_kind} %d, %a, %b;", _kind, _two, lambda a, b: a & b),
        (f"or.{_kind} %d, %a, %b;", _kind, _two, lambda a, b: a | b),
        (f"xor.{_kind} %d, %a, %b;", _kind, _two, lambda a, b: a ^ b),
        (f"not.{_kind} %d, %a;", _kind, (_kind,), lambda a: ~a),
        (f"cnot.{_kind} %d, %a;", _kind, (_kind,), lambda a: int(a == 0)),
        (f"shl.{_kind} %d, %a, %b;", _kind, (_kind, "u32"), _shl(_kind)),
    ]
    if _kind != "b16":
        _TABLE += [
            (f"popc.{_kind} %d, %a;", "u32", (_kind,), _popc(_kind)),
            (f"clz.{_kind} %d, %a;", "u32", (_kind,), _clz(_kind)),
            (f"brev.{_kind} %d, %a;", _kind, (_kind,), _brev(_kind)),
        ]
_TABLE += [
    ("add.sat.s32 %d, %a, %b;", "s32", ("s32",) * 2, lambda a, b: saturate(a + b, "s32")),
    ("sub.sat.s32 %d, %a, %b;", "s32", ("s32",) * 2, lambda a, b: saturate(a - b, "s32")),
    ("mul24.lo.s32 %d, %a, %b;", "s32", ("s32",) * 2, _mul24("s32")),
    ("mul24.lo.u32 %d, %a, %b;", "u32", ("u32",) * 2, _mul24("u32")),
    ("mul24.hi.u32 %d, %a, %b;", "u32", ("u32",) * 2, lambda a, b: _mul24("u32")(a, b) >> 16),
    ("bfind.shiftamt.u32 %d, %a;", "u32", ("u32",), lambda a: 32 - a.bit_length() if a else -1),
]


def _bfi(value: int, into: int, start: int, length: int) -> int:
    mask = (((1 << min(length, 32)) - 1) << start) % (1 << 32)
    return (into & ~mask) | ((value << start) & mask)


def _funnel(low: int, high: int, count: int, *, left: bool, wrap_count: bool) -> int:
    count = count % 32 if wrap_count else min(count, 32)
    both = high << 32 | low
    return both << count >> 32 if left else both >> count


def _prmt(a: int, b: int, selector: int) -> int:
    source = (b << 32 | a).to_bytes(8, "little")
    result = b""
    for i in range(4):
        nibble = selector >> (4 * i) & 15
        byte = source[nibble & 7]
        result += bytes([byte if nibble < 8 else 255 * (byte >> 7)])
    return int.from_bytes(result, "little")


def _lop3(table: int) -> Callable[..., int]:
    def reference(a: int, b: int, c: int) -> int:
        bits = (4 * (a >> i & 1) + 2 * (b >> i & 1) + (c >> i & 1) for i in range(32))
        return sum((table >> bit & 1) << i for i, bit in enumerate(bits))

    return reference


def _bytes(value: int, *, signed: bool) -> list[int]:
    return [int(b) for b in np.array([value], np.uint32).view(np.int8 if signed else np.uint8)]


def _dot(signed_a: bool, signed_b: bool) -> Callable[..., int]:
    def reference(a: int, b: int, c: int) -> int:
        pairs = zip(_bytes(a, signed=signed_a), _bytes(b, signed=signed_b), strict=True)
        return sum(x * y for x, y in pairs) + c

    return reference


_THREE = ("b32", "b32", "b32")
_TABLE += [
    ("bfi.b32 %d, %a, %b, %c, 7;", "b32", _THREE, lambda a, b, s: _bfi(a, b, s & 255, 7)),
    ("bfi.b32 %d, %a, %b, 3, %c;", "b32", _THREE, lambda a, b, n: _bfi(a, b, 3, n & 255)),
    ("prmt.b32 %d, %a, %b, %c;", "b32", _THREE, _prmt),
    ("dp4a.u32.u32 %d, %a, %b, %c;", "b32", _THREE, _dot(False, False)),
    ("dp4a.s32.u32 %d, %a, %b, %c;", "b32", _THREE, _dot(True, False)),
    ("dp4a.s32.s32 %d, %a, %b, %c;", "b32", _THREE, _dot(True, True)),
    *(
        (f"lop3.b32 %d, %a, %b, %c, {table};", "b32", _THREE, _lop3(table))
        for table in (0x00, 0x6C, 0x80, 0xCA, 0xE8, 0xFE, 0xFF)
    ),
    *(
        (
            f"shf.{side}.{mode}.b32 %d, %a, %b, %c;",
            *("b32", _THREE),
            lambda low, high, n, left=side == "l", wraps=mode == "wrap": _funnel(
                low, high, n, left=left, wrap_count=wraps
            ),
        )
        for side in "lr"
        for mode in ("clamp", "wrap")
    ),
]
INSTRUCTIONS = tuple(Instruction(text, to, sources) for text, to, sources, _ in _TABLE)


@pytest.mark.parametrize("index", range(len(_TABLE)), ids=[row[0] for row in _TABLE])
def test_an_instruction_gives_the_exact_integer_wrapped(index: int) -> None:
    _, to, sources, reference = _TABLE[index]
    columns = [grid_of(integers(kind, i), 1, kind)[0] for i, kind in enumerate(sources)]
    rng = np.random.default_rng(index)
    operands = [rng.choice(column, 300) for column in columns]
    unsigned = to.replace("b", "u")
    expected = [
        wrap(reference(*(int(v) for v in values)), unsigned)
        for values in zip(*operands, strict=True)
    ]
    actual = evaluate(module(INSTRUCTIONS), INSTRUCTIONS[index], operands)
    np.testing.assert_array_equal(actual, np.array(expected, actual.dtype))


def test_a_carry_goes_from_one_word_to_the_next() -> None:
    text = (
        "{ .reg .b32 %x<8>; mov.b64 {%x0, %x1}, %a; mov.b64 {%x2, %x3}, %b; "
        "add.cc.u32 %x4, %x0, %x2; addc.u32 %x5, %x1, %x3; mov.b64 %d, {%x4, %x5}; }"
    )
    add = Instruction(text, "u64", ("u64", "u64"))
    sub = Instruction(text.replace("add.cc", "sub.cc").replace("addc", "subc"), "u64", add.sources)
    operands = grid_of(integers("u64"), 2, "u64")
    for instruction, sign in ((add, 1), (sub, -1)):
        actual = evaluate(module((instruction,)), instruction, operands)
        with np.errstate(over="ignore"):
            expected = operands[0] + operands[1] if sign == 1 else operands[0] - operands[1]
        np.testing.assert_array_equal(actual, expected)
