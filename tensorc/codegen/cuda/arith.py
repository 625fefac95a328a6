"""Operators and functions in C, with tensorc's meaning of each.

Floats are IEEE, operation by operation: the text is compiled without contraction. Integers wrap,
division floors and gives 0 for a divisor of 0; where the ranges of the operands show that C's own
operator does the same, it is used. An int64 index that fits 32 bits is computed in C's int.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.cuda.types import (
    ADD,
    AND,
    ATOM,
    BIT_AND,
    BIT_OR,
    BIT_XOR,
    EQUAL,
    MEMORY,
    MUL,
    OR,
    RELATION,
    SHIFT,
    UNARY,
    VALUE,
    Text,
    is_narrow,
    literal,
)
from tensorc.dtypes import DType, int64
from tensorc.ir.expr import BinaryOp, CompareOp, Const, Expr, UnaryOp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.codegen.cuda.expr import ExprEmitter

_LEVELS = {
    BinaryOp.ADD: ADD,
    BinaryOp.SUB: ADD,
    BinaryOp.MUL: MUL,
    BinaryOp.DIV: MUL,
    BinaryOp.AND: BIT_AND,
    BinaryOp.OR: BIT_OR,
    BinaryOp.XOR: BIT_XOR,
}
_WRAPPING = {
    BinaryOp.ADD: "wrapping_add",
    BinaryOp.SUB: "wrapping_sub",
    BinaryOp.MUL: "wrapping_mul",
}
_HELPER = {
    BinaryOp.FLOORDIV: "floor_div",
    BinaryOp.MOD: "floor_mod",
    BinaryOp.SHL: "shift_left",
    BinaryOp.SHR: "shift_right",
}


def from_memory(element: Text, dtype: DType) -> Text:
    """An element as a value: the narrow floats become floats."""
    if is_narrow(dtype):
        name = "half_to_float" if dtype.name == "float16" else "bfloat_to_float"
        return called(name, element.text, ctype="float")
    return Text(element.text, ATOM, VALUE[dtype.name])


def to_memory(value: Text, dtype: DType) -> str:
    """A value as what memory holds."""
    if is_narrow(dtype):
        # A value that was just rounded is the conversion back of the bits wanted here.
        for to, back in (("float_to_half", "round_half"), ("float_to_bfloat", "round_bfloat")):
            if back.endswith(_short(dtype)) and value.text.startswith(f"{back}("):
                return f"{to}({_argument(value.text)})"
        return called(f"float_to_{_short(dtype)}", value.text, ctype="unsigned short").text
    return value.text


def _argument(call: str) -> str:
    """The argument of a call that is all of the text, else the text itself."""
    depth = 0
    for position, char in enumerate(call):
        depth += (char == "(") - (char == ")")
        if char == ")" and depth == 0:
            return call[call.index("(") + 1 : -1] if position == len(call) - 1 else call
    return call


def _short(dtype: DType) -> str:
    return "half" if dtype.name == "float16" else "bfloat"


def called(helper: str, *args: str, ctype: str) -> Text:
    """A call of one of `helpers`."""
    return Text(f"{helper}({', '.join(args)})", ATOM, ctype)


def rounded(value: Text, dtype: DType) -> Text:
    """A float rounded to what `dtype` can hold; itself for the wider types."""
    if not is_narrow(dtype):
        return value
    return called(f"round_{_short(dtype)}", value.text, ctype="float")


def unary(e: ExprEmitter, op: UnaryOp, x: Expr, whole: Expr) -> Text:
    """Negation, or not."""
    value = e.value(x)
    if op is UnaryOp.NOT:
        sign = "!" if x.dtype.is_bool else "~"
        return _held(Text(f"{sign}{value.at(UNARY)}", UNARY, value.ctype), x.dtype)
    if x.dtype.is_int and not e.ranges.is_exact(whole):
        if x.dtype.kind == "i" and x.dtype.bits >= 32:
            ctype = VALUE[x.dtype.name]
            zero = "0" if x.dtype.bits == 32 else "0LL"
            return called("wrapping_sub", zero, e.integer(x, ctype).text, ctype=ctype)
        return _held(Text(f"-{value.at(UNARY)}", UNARY, value.ctype), x.dtype)
    text = value.at(UNARY)
    return Text(f"-({text})" if text.startswith("-") else f"-{text}", UNARY, value.ctype)


def _held(value: Text, dtype: DType) -> Text:
    """What C's promotion to int made of a narrow integer, back in its own type."""
    if dtype.is_int and dtype.bits < 32:
        return Text(f"({VALUE[dtype.name]}){value.at(UNARY)}", UNARY, VALUE[dtype.name])
    return value


def binary(e: ExprEmitter, op: BinaryOp, x: Expr, y: Expr, whole: Expr) -> Text:
    """`x op y`."""
    dtype = x.dtype
    if op in (BinaryOp.MIN, BinaryOp.MAX):
        return _extremum(e, op, x, y)
    if dtype.is_bool:
        return _logical(e, op, x, y)
    if dtype.is_float:
        level = _LEVELS[op]
        a, b = e.value(x), e.value(y)
        joined = Text(f"{a.at(level)} {op.value} {b.at(level + 1)}", level, a.ctype)
        return rounded(joined, dtype)
    if op in _HELPER:
        return _divided(e, op, x, y)
    if op in _WRAPPING and dtype.kind == "i" and dtype.bits >= 32 and not e.ranges.is_exact(whole):
        ctype = VALUE[dtype.name]
        args = (e.integer(x, ctype).text, e.integer(y, ctype).text)
        return called(_WRAPPING[op], *args, ctype=ctype)
    return _plain(e, op, x, y, whole)


def _plain(e: ExprEmitter, op: BinaryOp, x: Expr, y: Expr, whole: Expr) -> Text:
    """C's own operator on integers."""
    level, dtype = _LEVELS[op], x.dtype
    a, b = e.value(x), e.value(y)
    ctype = VALUE[dtype.name]
    if dtype == int64:
        ctype = e.index_type(whole)
        if a.ctype == b.ctype == "int" and ctype != "int":
            a = Text(f"(long long){a.at(UNARY)}", UNARY, ctype)
        elif "long long" in (a.ctype, b.ctype):
            ctype = "long long"
    if dtype.name == "uint16" and op is BinaryOp.MUL:  # C would multiply as int, and overflow.
        a = Text(f"(unsigned){a.at(UNARY)}", UNARY, "unsigned")
    # Integers that do not wrap may be added in any order.
    right = b.at(level if op is BinaryOp.ADD else level + 1)
    text = f"{a.at(level)} {op.value} {f'({right})' if right.startswith('-') else right}"
    return _held(Text(text, level, ctype), dtype)


def _logical(e: ExprEmitter, op: BinaryOp, x: Expr, y: Expr) -> Text:
    sign, level = {
        BinaryOp.AND: ("&&", AND),
        BinaryOp.OR: ("||", OR),
        BinaryOp.XOR: ("!=", EQUAL),
    }[op]
    a, b = e.value(x), e.value(y)
    if op is BinaryOp.XOR:  # C compares chains from the left: a != 0 != b.
        return Text(f"{a.at(level + 1)} {sign} {b.at(level + 1)}", level, "bool")
    # Parentheses between && and ||, which compilers ask for.
    texts = [
        v.at(BIT_OR) if v.level in (AND, OR) and v.level != level else v.at(level) for v in (a, b)
    ]
    return Text(f"{texts[0]} {sign} {texts[1]}", level, "bool")


def _extremum(e: ExprEmitter, op: BinaryOp, x: Expr, y: Expr) -> Text:
    dtype = x.dtype
    if dtype.is_bool:
        return _logical(e, BinaryOp.AND if op is BinaryOp.MIN else BinaryOp.OR, x, y)
    a, b = e.value(x), e.value(y)
    ctype = VALUE[dtype.name]
    if dtype == int64 and a.ctype == b.ctype == "int":
        ctype = "int"
    if dtype.is_int:
        args = (_as(a, ctype), _as(b, ctype))
        if dtype.bits >= 32:
            return Text(f"{op.value}({args[0]}, {args[1]})", ATOM, ctype)
        return called(f"{op.value}imum", *args, ctype=ctype)
    return called(f"{op.value}imum", a.text, b.text, ctype=ctype)


def _as(value: Text, ctype: str) -> str:
    return value.text if value.ctype == ctype else f"({ctype}){value.at(UNARY)}"


def _divided(e: ExprEmitter, op: BinaryOp, x: Expr, y: Expr) -> Text:
    """Division, modulo and shifts: C's own where its operands are known to be harmless."""
    dtype = x.dtype
    a, b = e.value(x), e.value(y)
    ctype = VALUE[dtype.name]
    if dtype == int64 and a.ctype == b.ctype == "int" and op is not BinaryOp.SHL:
        ctype = "int"
    divides = op in (BinaryOp.FLOORDIV, BinaryOp.MOD)
    fits = int(y.value) > 0 if divides and isinstance(y, Const) else False
    if divides and fits and e.ranges.of(x)[0] >= 0:
        sign = "/" if op is BinaryOp.FLOORDIV else "%"
        ctype = "int" if a.ctype == b.ctype == "int" else VALUE[dtype.name]
        return _held(Text(f"{a.at(MUL)} {sign} {b.at(UNARY)}", MUL, ctype), dtype)
    is_count = isinstance(y, Const) and 0 <= int(y.value) < dtype.bits
    if op is BinaryOp.SHR and is_count:
        return _held(Text(f"{a.at(SHIFT)} >> {b.at(SHIFT + 1)}", SHIFT, a.ctype), dtype)
    if op is BinaryOp.SHL and is_count and dtype.kind == "u" and dtype.bits >= 32:
        return Text(f"{a.at(SHIFT)} << {b.at(SHIFT + 1)}", SHIFT, a.ctype)
    name = f"{_HELPER[op]}<{ctype}>"
    return Text(f"{name}({a.text}, {b.text})", ATOM, ctype)


def compare(e: ExprEmitter, op: CompareOp, x: Expr, y: Expr) -> Text:
    """A comparison; with NaN all but `!=` are false, as in C."""
    level = EQUAL if op in (CompareOp.EQ, CompareOp.NE) else RELATION
    a, b = e.value(x), e.value(y)
    return Text(f"{a.at(level + 1)} {op.value} {b.at(level + 1)}", level, "bool")


def fused_multiply_add(e: ExprEmitter, x: Expr, y: Expr, z: Text) -> Text:
    """`x * y + z` rounded once."""
    name = "fma" if x.dtype.bits == 64 else "fmaf"
    ctype = VALUE[x.dtype.name]
    args = f"{e.value(x).text}, {e.value(y).text}, {z.text}"
    return rounded(Text(f"{name}({args})", ATOM, ctype), x.dtype)


def convert(e: ExprEmitter, x: Expr, dtype: DType) -> Text:
    """`x` as `dtype`: floats to integers toward zero, anything to bool by != 0."""
    value, source = e.value(x), x.dtype
    ctype = VALUE[dtype.name]
    if source == dtype:
        return value
    if dtype.is_bool:
        zero = literal(0, source)
        return Text(f"{value.at(EQUAL + 1)} != {zero.text}", EQUAL, "bool")
    if is_narrow(dtype):
        return _narrowed(value, source, dtype)
    if source.is_float and dtype.is_float and value.ctype == ctype:
        return value  # float16 and bfloat16 are floats already.
    if dtype == int64 and source.is_int and value.ctype == "int":
        return value
    if value.ctype == ctype:
        return value
    return Text(f"({ctype}){value.at(UNARY)}", UNARY, ctype)


def _narrowed(value: Text, source: DType, dtype: DType) -> Text:
    if source.bits == 64 and source.is_float and dtype.name == "float16":
        bits = called("double_to_half", value.text, ctype="unsigned short")
        return called("half_to_float", bits.text, ctype="float")
    single = value.text if value.ctype == "float" else f"(float){value.at(UNARY)}"
    if source == dtype:
        return value
    return rounded(Text(single, UNARY, "float"), dtype)


_SUFFIXED = {"sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "rint"}


def intrinsic(e: ExprEmitter, name: str, args: Sequence[Expr], dtype: DType) -> Text:
    """The value of a call; the transcendental ones never get here."""
    x = args[0]
    ctype = VALUE[dtype.name]
    if name == "stop_gradient":
        return e.value(x)
    if name == "bitcast":
        return _bitcast(e, x, dtype)
    if name == "fma":
        return fused_multiply_add(e, x, args[1], e.value(args[2]))
    value = e.value(x)
    single = x.dtype.bits < 64
    if name in _SUFFIXED:
        call = f"{_SUFFIXED[name]}{'f' if single else ''}({value.text})"
        return rounded(Text(call, ATOM, ctype), dtype)
    if name == "abs":
        if x.dtype.is_float:
            return Text(f"{'fabsf' if single else 'fabs'}({value.text})", ATOM, ctype)
        if x.dtype.kind == "u":
            return value
        return called("magnitude", _as(value, ctype), ctype=ctype)
    if name == "tf32":
        return called("round_tf32", value.text, ctype=ctype)
    if name == "sign":
        return called("sign", _as(value, ctype), ctype=ctype)
    if name == "isnan":
        named = value if value.text.isidentifier() else e.named("x", value)
        return Text(f"{named.text} != {named.text}", EQUAL, "bool")
    infinity = literal(float("inf"), x.dtype).text
    size = f"{'fabsf' if single else 'fabs'}({value.text})"
    if name == "isinf":
        return Text(f"{size} == {infinity}", EQUAL, "bool")
    assert name == "isfinite", f"{name} of {x.dtype} should have been expanded by lower.math"
    return Text(f"{size} < {infinity}", RELATION, "bool")


_BITS = {
    ("float", "int"): "__float_as_int",
    ("float", "unsigned"): "__float_as_uint",
    ("int", "float"): "__int_as_float",
    ("unsigned", "float"): "__uint_as_float",
    ("double", "long long"): "__double_as_longlong",
    ("double", "unsigned long long"): "(unsigned long long)__double_as_longlong",
    ("long long", "double"): "__longlong_as_double",
    ("unsigned long long", "double"): "__longlong_as_double",
}


def _bitcast(e: ExprEmitter, x: Expr, dtype: DType) -> Text:
    value = e.value(x)
    source, target = VALUE[x.dtype.name], VALUE[dtype.name]
    if is_narrow(x.dtype):
        bits = to_memory(value, x.dtype)
        value, source = Text(bits, ATOM, "unsigned short"), "unsigned short"
    if is_narrow(dtype):
        text = f"(unsigned short){value.at(UNARY)}" if source != "unsigned short" else value.text
        return from_memory(Text(text, UNARY, MEMORY[dtype.name]), dtype)
    if (source, target) in _BITS:
        text = value.text if value.ctype == source else f"({source}){value.at(UNARY)}"
        return Text(f"{_BITS[source, target]}({text})", ATOM, target)
    if source == target:
        return value
    return Text(f"({target}){value.at(UNARY)}", UNARY, target)
