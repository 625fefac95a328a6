r"""Expressions as LaTeX, in index notation.

    sum(A[i, k] * B[k, j], axis=k)      \sum_{0 \le k < n} A_{i,k} B_{k,j}

The cotangent `d.x` of a tensor is written as x with a bar, a tangent `t.x` as x with a dot.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tensorc.ir.affine import linear
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Call,
    Cast,
    Compare,
    CompareOp,
    Const,
    Expr,
    Let,
    Load,
    Reduce,
    Select,
    Unary,
    UnaryOp,
    Var,
    Where,
    is_const,
)
from tensorc.ir.printer import builtin_name
from tensorc.ir.walk import substitute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# How tightly an expression holds together: a part that holds less tightly gets parentheses.
_CONDITION, _SUM, _TERM, _PRODUCT, _UNARY, _ATOM = range(6)


def latex(expr: Expr) -> str:
    """`expr` as LaTeX for math mode."""
    return _show(expr, _CONDITION)


def equation(name: str, axes: Sequence[Expr], body: Expr) -> str:
    """The definition `name[axes] = body`."""
    return f"{element(name, axes)} = {latex(body)}"


def element(name: str, indices: Sequence[Expr]) -> str:
    """A tensor's element: the indices as subscripts."""
    base = symbol(name)
    return f"{{{base}}}_{{{','.join(map(latex, indices))}}}" if indices else base


def symbol(name: str) -> str:
    """A name: one letter in italics, several upright; `d.x` with a bar, `t.x` with a dot."""
    for prefix, accent in (("d.", "bar"), ("t.", "dot")):
        if name.startswith(prefix) and len(name) > len(prefix):
            return f"\\{accent}{{{symbol(name[len(prefix) :])}}}"
    found = re.fullmatch(r"([A-Za-z])_?([0-9]*)", name)
    if found is not None:
        letter, number = found.groups()
        return f"{letter}_{{{number}}}" if number else letter
    escaped = name.replace("_", "\\_")
    return f"\\mathrm{{{escaped}}}"


def _show(expr: Expr, least: int) -> str:
    text, tight = _written(expr)
    return text if tight >= least else f"\\left({text}\\right)"


def _written(expr: Expr) -> tuple[str, int]:
    """An expression, and how tightly it holds together."""
    match expr:
        case Const(value, dtype):
            return _number(str(dtype.numpy.type(value)))
        case Var(name):
            return symbol(name), _ATOM
        case Unary(op, x):
            if op is UnaryOp.NEG:
                return f"-{_show(x, _TERM)}", _SUM
            return f"\\lnot {_show(x, _UNARY)}", _UNARY
        case Binary(op, a, b):
            return _binary(op, a, b)
        case Compare(op, a, b):
            return f"{_show(a, _SUM)} {_COMPARE[op]} {_show(b, _SUM)}", _CONDITION
        case Cast(x, dtype):
            if dtype.is_float or linear(x) is not None:
                return _written(x)
            return f"\\mathrm{{{dtype.name}}}\\left({latex(x)}\\right)", _ATOM
        case Call(name, args):
            return _call(name, args)
        case Load(buffer, indices):
            return element(buffer.name, indices), _ATOM
        case Select(cond, a, b) | Where(cond, a, b):
            rows = f"{latex(a)} & {latex(cond)} \\\\ {latex(b)} & \\text{{otherwise}}"
            return f"\\begin{{cases}} {rows} \\end{{cases}}", _ATOM
        case Let(var, value, body):
            return _written(substitute(body, {var: value}))
        case Reduce():
            return _reduce(expr)


def _number(text: str) -> tuple[str, int]:
    """A number as NumPy writes it."""
    if text in ("inf", "-inf", "nan"):
        return {"inf": "\\infty", "-inf": "-\\infty", "nan": "\\mathrm{NaN}"}[text], _ATOM
    text = text.removesuffix(".0")
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa} \\cdot 10^{{{int(exponent)}}}", _TERM
    return text, _SUM if text.startswith("-") else _ATOM


def _binary(op: BinaryOp, a: Expr, b: Expr) -> tuple[str, int]:
    match op:
        case BinaryOp.ADD:
            return f"{_show(a, _SUM)} + {_show(b, _TERM)}", _SUM
        case BinaryOp.SUB:
            return f"{_show(a, _SUM)} - {_show(b, _PRODUCT)}", _SUM
        case BinaryOp.MUL:
            dot = " \\cdot " if isinstance(b, Const) else " "
            return f"{_show(a, _TERM)}{dot}{_show(b, _PRODUCT)}", _TERM
        case BinaryOp.DIV:
            return f"\\frac{{{latex(a)}}}{{{latex(b)}}}", _PRODUCT
        case BinaryOp.FLOORDIV:
            return f"\\left\\lfloor \\frac{{{latex(a)}}}{{{latex(b)}}} \\right\\rfloor", _ATOM
        case BinaryOp.MOD:
            return f"{_show(a, _PRODUCT)} \\bmod {_show(b, _PRODUCT)}", _TERM
        case BinaryOp.MIN | BinaryOp.MAX:
            return f"\\{op.name.lower()}\\left({latex(a)}, {latex(b)}\\right)", _ATOM
        case _:
            return f"{_show(a, _SUM)} {_LOGIC[op]} {_show(b, _SUM)}", _CONDITION


def _call(name: str, args: Sequence[Expr]) -> tuple[str, int]:
    shown = ", ".join(map(latex, args))
    match name:
        case "sqrt":
            return f"\\sqrt{{{shown}}}", _ATOM
        case "rsqrt":
            return f"\\frac{{1}}{{\\sqrt{{{shown}}}}}", _PRODUCT
        case "abs":
            return f"\\left|{shown}\\right|", _ATOM
        case "exp" | "exp2":
            return f"{'e' if name == 'exp' else '2'}^{{{shown}}}", _ATOM
        case "pow":
            return f"{_show(args[0], _ATOM)}^{{{latex(args[1])}}}", _PRODUCT
        case "stop_gradient":
            return _written(args[0])
        case _:
            known = _CALLS.get(name, f"\\operatorname{{{name}}}")
            return f"{known}\\left({shown}\\right)", _ATOM


def _reduce(node: Reduce) -> tuple[str, int]:
    value = node.values[0] if len(node.values) == 1 else None
    inside = _show(value, _TERM) if value is not None else _several(node.values)
    ranges = []
    for axis in node.axes:
        start, extent = getattr(axis, "start", None), getattr(axis, "extent", None)
        assert start is not None, "a reduce axis has a range"
        assert extent is not None, "a reduce axis has a range"
        stop = extent if is_const(start, 0) else start + extent
        ranges.append((axis, latex(start), latex(stop)))
    name = builtin_name(node.reducer)
    sign = _FOLDS.get(name or "", f"\\operatorname*{{{node.reducer.name}}}")
    *outer, last = [f"{start} \\le {symbol(v.name)} < {stop}" for v, start, stop in ranges]
    below = [*outer, last] if node.where is None else [*outer, last, latex(node.where)]
    lines = " \\\\ ".join(below)
    under = lines if len(below) == 1 else f"\\substack{{{lines}}}"
    component = f"_{{({node.index})}}" if len(node.values) > 1 else ""
    return f"{sign}_{{{under}}} {inside}{component}", _TERM


def _several(values: Sequence[Expr]) -> str:
    return f"\\left({', '.join(map(latex, values))}\\right)"


_COMPARE: Mapping[CompareOp, str] = {
    CompareOp.EQ: "=",
    CompareOp.NE: "\\ne",
    CompareOp.LT: "<",
    CompareOp.LE: "\\le",
    CompareOp.GT: ">",
    CompareOp.GE: "\\ge",
}
_LOGIC: Mapping[BinaryOp, str] = {
    BinaryOp.AND: "\\land",
    BinaryOp.OR: "\\lor",
    BinaryOp.XOR: "\\oplus",
    BinaryOp.SHL: "\\ll",
    BinaryOp.SHR: "\\gg",
}
_CALLS: Mapping[str, str] = {
    "log": "\\log",
    "sin": "\\sin",
    "cos": "\\cos",
    "tanh": "\\tanh",
    "sigmoid": "\\sigma",
}
_FOLDS: Mapping[str, str] = {
    "sum": "\\sum",
    "prod": "\\prod",
    "max": "\\max",
    "min": "\\min",
    "all": "\\bigwedge",
    "any": "\\bigvee",
}
