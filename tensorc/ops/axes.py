"""Arguments of operations: axes as NumPy takes them, and tensors that are none."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

from tensorc.errors import ArgumentError, DTypeError, ShapeError
from tensorc.ir.expr import ExprBase, shorten
from tensorc.te import signatures
from tensorc.te.axis import IterVar
from tensorc.te.dispatch import imperative_among
from tensorc.te.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.ir.expr import Expr

P = ParamSpec("P")
R = TypeVar("R")
_KINDS = {
    **signatures.KINDS,
    "Expr": (lambda value: isinstance(value, ExprBase), "an expression of sizes"),
    "Tensor | None": (lambda value: value is None or isinstance(value, Tensor), "a tensor"),
}


def takes_tensors(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which refuses what is no tensor where its signature says `Tensor`.

    So it does what is no number, string... (`te.signatures`). Where an argument is a tensor that
    holds data the call is recorded (`te.dispatch`).
    """
    fits = signatures.checked(function, ArgumentError, _KINDS)
    annotations = list(function.__annotations__.items())  # Texts, in the order of parameters.
    singles = [name for name, kind in annotations if kind == "Tensor" and name != "return"]
    many = [name for name, kind in annotations if kind == "Sequence[Tensor]"]
    names = [name for name, _ in annotations]

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        found = imperative_among(args, kwargs)
        if found is not None:
            return found.apply(checked, args, kwargs)  # type: ignore[no-any-return]
        given = dict(zip(names, args, strict=False)) | kwargs
        for name in singles:
            if name in given and not isinstance(given[name], Tensor):
                raise _no_tensor(function.__name__, name, given[name])
        for name in many:
            items = given.get(name, ())
            if not isinstance(items, Sequence):
                raise DTypeError(
                    f"{function.__name__}: {name} must be a list of tensors, got {shorten(items)}"
                )
            for k, item in enumerate(items):
                if not isinstance(item, Tensor):
                    raise _no_tensor(function.__name__, f"{name}[{k}]", item)
        return fits(*args, **kwargs)

    return checked


def _no_tensor(function: str, name: str, value: object) -> DTypeError:
    hint = ""
    if isinstance(value, np.ndarray | list):
        hint = "; make it a tc.placeholder, and pass the values to the compiled function"
    return DTypeError(
        f"{function}: {name} must be a tensor, got {shorten(value)} of type "
        f"{type(value).__name__}{hint}"
    )


def _as_axis(axis: object) -> int:
    try:
        return operator.index(axis)  # type: ignore[arg-type]
    except TypeError:
        raise ShapeError(f"axis {shorten(axis)} is not an integer") from None


def normalize_axis(axis: int, ndim: int) -> int:
    """`axis` counted from the first dimension.

    Raises:
        ShapeError: there is no such dimension.
    """
    axis = _as_axis(axis)
    if not -ndim <= axis < ndim:
        raise ShapeError(f"axis {axis} is out of bounds for a tensor of {ndim} dimensions")
    return axis % ndim


def normalize_axes(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The dimensions that `axis` names, in order; None names all.

    Raises:
        ShapeError: there is no such dimension, or one is named twice.
    """
    if axis is None:
        return tuple(range(ndim))
    given = tuple(axis) if isinstance(axis, tuple | list) else (_as_axis(axis),)
    axes = tuple(sorted(normalize_axis(a, ndim) for a in given))
    if len(set(axes)) < len(axes):
        raise ShapeError(f"axis {tuple(given)} names a dimension twice")
    return axes


def spatial_axes(shape: Sequence[Expr]) -> tuple[IterVar, ...]:
    """An axis `i0`, `i1`... for each size."""
    return tuple(IterVar(f"i{d}", extent=size) for d, size in enumerate(shape))


def show_shape(tensor: Tensor) -> str:
    """The shape as NumPy writes it: (n, 3)."""
    sizes = ", ".join(map(str, tensor.shape))
    return f"({sizes},)" if tensor.ndim == 1 else f"({sizes})"
