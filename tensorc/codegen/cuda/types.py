"""How values are held in C: types, literals, and pieces of text with their precedence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tensorc.dtypes import DType

# In registers: float16 and bfloat16 live as a float that the narrow type holds exactly.
VALUE = {
    "bool": "bool",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned",
    "uint64": "unsigned long long",
    "float16": "float",
    "bfloat16": "float",
    "float32": "float",
    "float64": "double",
}
# In memory: the two narrow floats are their bits.
MEMORY = VALUE | {"float16": "unsigned short", "bfloat16": "unsigned short"}

# How tightly C's operators bind.
ATOM, UNARY, MUL, ADD, SHIFT, RELATION, EQUAL = 16, 15, 13, 12, 11, 10, 9
BIT_AND, BIT_XOR, BIT_OR, AND, OR, CHOICE = 8, 7, 6, 5, 4, 3


@dataclass(frozen=True, slots=True)
class Text:
    """A C expression, how tightly its outermost operator binds, and its C type."""

    text: str
    level: int
    ctype: str

    def at(self, level: int) -> str:
        """The text, in parentheses where it binds less tightly than `level`."""
        return self.text if self.level >= level else f"({self.text})"


def is_narrow(dtype: DType) -> bool:
    """Whether a value of `dtype` is kept as a float in registers."""
    return dtype.is_float and dtype.bits == 16


def literal(value: int | float | bool, dtype: DType) -> Text:
    """A constant of `dtype`; of int64 the shorter of C's int and long long that holds it."""
    ctype = VALUE[dtype.name]
    if dtype.is_bool:
        return Text("true" if value else "false", ATOM, ctype)
    if dtype.is_int:
        return _integer(int(value), ctype)
    number = float(value)
    if number != number or number in (np.inf, -np.inf):
        return Text(_special(number, dtype), ATOM, ctype)
    text = _shortest(number, dtype)
    return Text(text, UNARY if text[0] == "-" else ATOM, ctype)


def _integer(value: int, ctype: str) -> Text:
    level = UNARY if value < 0 else ATOM
    if ctype == "long long":
        if -(2**31) < value < 2**31:
            return Text(str(value), level, "int")
        if value == -(2**63):
            return Text(f"(-{2**63 - 1}LL - 1)", ATOM, ctype)
        return Text(f"{value}LL", level, ctype)
    if ctype == "int":
        return Text(f"(-{2**31 - 1} - 1)", ATOM, ctype) if value == -(2**31) else _plain(value)
    if ctype in ("unsigned", "unsigned long long"):
        return Text(f"{value}{'u' if ctype == 'unsigned' else 'ull'}", ATOM, ctype)
    return Text(f"({ctype}){value}", UNARY, ctype)


def _plain(value: int) -> Text:
    return Text(str(value), UNARY if value < 0 else ATOM, "int")


def _special(number: float, dtype: DType) -> str:
    if dtype.bits == 64:
        bits = "7ff8000000000000" if number != number else "7ff0000000000000"
        text = f"__longlong_as_double(0x{bits}LL)"
    else:
        text = f"__int_as_float(0x{'7fc00000' if number != number else '7f800000'})"
    return f"-{text}" if number == -np.inf else text


def _shortest(number: float, dtype: DType) -> str:
    """The shortest decimal that C reads as `number`."""
    if dtype.bits == 64:
        text = repr(number)
        return text if any(mark in text for mark in ".e") else f"{text}.0"
    text = str(np.float32(number))
    if not any(mark in text for mark in ".e"):
        text += ".0"
    if np.float32(float(text)) != np.float32(number):
        text = number.hex()
    return f"{text}f"
