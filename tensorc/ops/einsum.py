"""Sums of products by Einstein's convention, with NumPy's notation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from tensorc.errors import DTypeError, ShapeError
from tensorc.ir.expr import const_int, shorten
from tensorc.ops.axes import show_shape
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.reduce import reduce_axis
from tensorc.te.tensor import Tensor, define, same_size, sum_of_products

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.ir.expr import Expr

# A tensor and a name for each of its dimensions; those of an ellipsis are "...0", from the last.
_Named: TypeAlias = tuple[Tensor, list[str]]


def einsum(subscripts: str, *operands: Tensor) -> Tensor:
    """The sum of products that `subscripts` says, as `numpy.einsum`.

    Each operand has its letters, one for each dimension; a letter that is not in the result is
    summed over, one that an operand has twice takes its diagonal, `...` stands for dimensions that
    broadcast. Without `->` the result has, in order of the alphabet, the letters that stand once.
    More than two operands are multiplied from the left, two at a time.

        >>> import tensorc as tc
        >>> x, y = tc.placeholder((2, 3)), tc.placeholder((4, 3))
        >>> [str(size) for size in einsum("ik,jk->ij", x, y).shape]
        ['2', '4']

    Raises:
        ShapeError: subscripts that do not fit the operands, or sizes that differ.
    """
    parts, result = _parse(subscripts, operands)
    named = list(zip(operands, parts, strict=True))
    sizes = _sizes(subscripts, named)
    while len(named) > 2:
        first, second, *rest = named
        needed = {name for _, names in rest for name in names} | set(result)
        kept = [n for n in dict.fromkeys((*first[1], *second[1])) if n in needed]
        named = [(_contract([first, second], kept, sizes), kept), *rest]
    return _contract(named, result, sizes)


def _parse(subscripts: str, operands: Sequence[Tensor]) -> tuple[list[list[str]], list[str]]:
    text = subscripts.replace(" ", "")
    if not re.fullmatch(r"[A-Za-z.,]*(->[A-Za-z.]*)?", text):
        raise ShapeError(f"einsum: {subscripts!r} is not of the form 'ij,jk->ik'")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ShapeError(
            f"einsum: {subscripts!r} names {len(terms)} operands, and {len(operands)} are given"
        )
    for k, x in enumerate(operands):
        if not isinstance(x, Tensor):
            raise DTypeError(f"einsum: operand {k} must be a tensor, got {shorten(x)}")
    parts = [_names(subscripts, term, x) for term, x in zip(terms, operands, strict=True)]
    dots = sorted({n for names in parts for n in names if n[0] == "."}, reverse=True)
    if arrow:
        result = _result(subscripts, right, dots)
    else:
        letters = left.replace(",", "").replace(".", "")
        result = [*dots, *sorted(c for c in set(letters) if letters.count(c) == 1)]
    known = {n for names in parts for n in names}
    for name in result:
        if name not in known or result.count(name) > 1:
            raise ShapeError(
                f"einsum: {name!r} must be in the result of {subscripts!r} once, and in an operand"
            )
    return parts, result


def _names(subscripts: str, term: str, x: Tensor) -> list[str]:
    before, dots, after = term.partition("...")
    letters = len(before) + len(after)
    if "." in before + after or letters > x.ndim or (not dots and letters != x.ndim):
        raise ShapeError(
            f"einsum: {term!r} in {subscripts!r} does not fit the dimensions of {x.name}, of shape "
            f"{show_shape(x)}"
        )
    rest = x.ndim - letters
    return [*before, *(f"...{d}" for d in reversed(range(rest))), *after]


def _result(subscripts: str, term: str, dots: Sequence[str]) -> list[str]:
    before, found, after = term.partition("...")
    if "." in before + after or (dots and not found):
        raise ShapeError(
            f"einsum: the result of {subscripts!r} must hold the '...' of the operands"
        )
    return [*before, *dots, *after]


def _sizes(subscripts: str, named: Sequence[_Named]) -> dict[str, Expr]:
    """The size of each name; 1 gives way to another."""
    sizes: dict[str, Expr] = {}
    for x, names in named:
        for name, size in zip(names, x.shape, strict=True):
            known = sizes.setdefault(name, size)
            if const_int(known) == 1:
                sizes[name] = size
            elif const_int(size) != 1 and not same_size(known, size):
                raise ShapeError(
                    f"einsum: {name!r} of {subscripts!r} is {known} and, in {x.name} of shape "
                    f"{show_shape(x)}, {size}"
                )
    return sizes


def _contract(named: Sequence[_Named], result: Sequence[str], sizes: Mapping[str, Expr]) -> Tensor:
    axes = {n: IterVar(f"i{d}", extent=sizes[n]) for d, n in enumerate(result)}
    present = dict.fromkeys(n for _, names in named for n in names)
    inner = {
        n: reduce_axis(sizes[n], n if n.isalpha() else f"r{n[3:]}")
        for n in present
        if n not in axes
    }
    points = axes | inner
    factors = [
        x[
            tuple(
                ZERO if const_int(size) == 1 else points[n]
                for n, size in zip(names, x.shape, strict=True)
            )
        ]
        for x, names in named
    ]
    body = sum_of_products(factors, list(inner.values()))
    return define(tuple(axes.values()), (body,), default_name="einsum")[0]
