"""Tensors as lines of text, for the tests of what gradients look like."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

from tensorc.autodiff import grad
from tensorc.ir.printer import show
from tensorc.te.tensor import Compute, Tensor, placeholder

if TYPE_CHECKING:
    from collections.abc import Sequence


def line(tensor: Tensor) -> str:
    """`name[axes] = body`."""
    return f"{tensor.name}[{', '.join(a.name for a in tensor.axes)}] = {show(tensor.body)}"


def lines(tensors: Sequence[Tensor]) -> list[str]:
    """The definitions behind `tensors`, each after what it reads."""
    seen: dict[Tensor, None] = {}

    def visit(tensor: Tensor) -> None:
        if tensor not in seen and isinstance(tensor.op, Compute):
            for read in tensor.op.inputs:
                visit(read)
            seen[tensor] = None

    for tensor in tensors:
        visit(tensor)
    return [line(t) for t in seen]


def cotangent(y: Tensor) -> Tensor:
    """A placeholder for the cotangent of `y`, named `dy` after it."""
    return placeholder(y.shape, y.dtype, name=f"d{y.name}")


def assert_gradients(y: Tensor, wrt: Sequence[Tensor], expected: str) -> None:
    """The gradients of `y`, a line each, are exactly the lines of `expected`."""
    found = [line(g) for g in grad(y, wrt, cotangent(y))]
    assert found == dedent(expected).strip().splitlines()
