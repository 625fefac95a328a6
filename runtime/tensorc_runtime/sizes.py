"""Sizes in the shape of a parameter: numbers, or small formulas over symbolic sizes.

A formula has names, integers, `+ - * // %`, `min` and `max`, and parentheses: `"2 * n + 1"`.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeAlias

Size: TypeAlias = int | str
Dims: TypeAlias = Mapping[str, int]

_BINARY: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    # A division by zero gives 0 here too, as it does in compiled code.
    ast.FloorDiv: lambda a, b: a // b if b else 0,
    ast.Mod: lambda a, b: a % b if b else 0,
}
_CALLS: dict[str, Callable[[int, int], int]] = {"min": min, "max": max}


def evaluate(size: Size, dims: Dims) -> int:
    """The value of a size.

    >>> evaluate("2 * n + 1", {"n": 4})
    9

    Raises:
        ValueError: the text is not such a formula, or names a size that `dims` has not.
    """
    return size if isinstance(size, int) else _parse(size)(dims)


@cache
def names(size: Size) -> tuple[str, ...]:
    """The symbolic sizes in a size, in order."""
    if isinstance(size, int):
        return ()
    tree = _tree(size)
    called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called]
    return tuple(dict.fromkeys(n.id for n in sorted(found, key=lambda n: n.col_offset)))


def _tree(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"size {text!r} is not a formula") from error


@cache
def _parse(text: str) -> Callable[[Dims], int]:
    return _closure(_tree(text), text)


def _closure(node: ast.expr, text: str) -> Callable[[Dims], int]:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return lambda _: value
        case ast.Name(id=name):
            return lambda dims: _lookup(dims, name, text)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            operand = _closure(inner, text)
            return lambda dims: -operand(dims)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            apply = _BINARY[type(op)]
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if name in _CALLS:
            apply = _CALLS[name]
        case _:
            raise ValueError(
                f"size {text!r} has {ast.unparse(node)!r}; there are names, integers, "
                "+ - * // %, min and max"
            )
    a, b = _closure(left, text), _closure(right, text)
    return lambda dims: apply(a(dims), b(dims))


def _lookup(dims: Dims, name: str, text: str) -> int:
    if name not in dims:
        raise ValueError(f"size {text!r} names {name!r}, which is not known here")
    return dims[name]
