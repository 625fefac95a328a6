"""Whole Jacobians and Hessians, and products with a Hessian.

A Jacobian is one derivative along each unit vector. The derivative along a direction is a graph of
tensors; given all directions at once, each tensor in it that depends on them gets their axes in
front. So the result is one definition after the other again, to be scheduled and differentiated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from tensorc.autodiff.arith import select
from tensorc.autodiff.forward import jvp
from tensorc.autodiff.grad import check_value, check_wanted, grad, vjp
from tensorc.autodiff.reverse import listed
from tensorc.dtypes import int64
from tensorc.ir.expr import Compare, CompareOp, Const, Expr, Load, all_of
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.rebuild import rebuilt
from tensorc.te.tensor import Tensor, define, placeholder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.autodiff.reductions import Ties


@overload
def jacrev(y: Tensor, wrt: Tensor, *, ties: Ties = "split") -> Tensor: ...
@overload
def jacrev(y: Tensor, wrt: Sequence[Tensor], *, ties: Ties = "split") -> list[Tensor]: ...
def jacrev(
    y: Tensor, wrt: Tensor | Sequence[Tensor], *, ties: Ties = "split"
) -> Tensor | list[Tensor]:
    """The Jacobian of `y`, by reverse mode: one sweep for each element of `y`, in one graph.

    Returns:
        A tensor of shape `(*y.shape, *wrt.shape)`, for each `wrt`.

    Raises:
        GradientError: as `grad`.
    """
    check_value("jacrev", y)
    wanted = listed("jacrev", "wrt", wrt)
    for w in wanted:
        check_wanted("jacrev", w)
    seed = placeholder(y.shape, y.dtype)
    found = vjp(y, wanted, seed, ties=ties)
    new = rebuilt(found, {seed: _units(y)}, batch=y.shape)
    results = [new[g] if g in new else _repeated(g, y.shape) for g in found]
    return results[0] if isinstance(wrt, Tensor) else results


@overload
def jacfwd(y: Tensor, wrt: Tensor, *, ties: Ties = "split") -> Tensor: ...
@overload
def jacfwd(y: Tensor, wrt: Sequence[Tensor], *, ties: Ties = "split") -> list[Tensor]: ...
def jacfwd(
    y: Tensor, wrt: Tensor | Sequence[Tensor], *, ties: Ties = "split"
) -> Tensor | list[Tensor]:
    """The Jacobian of `y`, by forward mode: one sweep for each element of `wrt`, in one graph.

    Returns:
        A tensor of shape `(*y.shape, *wrt.shape)`, for each `wrt`.

    Raises:
        GradientError: as `grad`.
    """
    check_value("jacfwd", y)
    wanted = listed("jacfwd", "wrt", wrt)
    results = []
    for w in wanted:
        check_wanted("jacfwd", w)
        direction = placeholder(w.shape, w.dtype)
        found = jvp(y, w, direction, ties=ties)
        new = rebuilt([found], {direction: _units(w)}, batch=w.shape)
        columns = new[found] if found in new else _repeated(found, w.shape)
        results.append(_turned(columns, w.ndim, f"J.{y.name}"))
    return results[0] if isinstance(wrt, Tensor) else results


@overload
def hessian(y: Tensor, wrt: Tensor, *, ties: Ties = "split") -> Tensor: ...
@overload
def hessian(y: Tensor, wrt: Sequence[Tensor], *, ties: Ties = "split") -> list[list[Tensor]]: ...
def hessian(
    y: Tensor, wrt: Tensor | Sequence[Tensor], *, ties: Ties = "split"
) -> Tensor | list[list[Tensor]]:
    """The second derivatives of the number `y`: the Jacobian of its gradient.

    Returns:
        A tensor of shape `(*wrt.shape, *wrt.shape)`; of several `wrt` a list of lists, block (i, j)
        of shape `(*wrt[i].shape, *wrt[j].shape)`.

    Raises:
        GradientError: as `grad`.
    """
    if isinstance(wrt, Tensor):
        return jacfwd(grad(y, wrt, ties=ties), wrt, ties=ties)
    wanted = listed("hessian", "wrt", wrt)
    return [jacfwd(g, wanted, ties=ties) for g in grad(y, wanted, ties=ties)]


@overload
def hvp(y: Tensor, wrt: Tensor, vectors: Tensor, *, ties: Ties = "split") -> Tensor: ...
@overload
def hvp(
    y: Tensor, wrt: Sequence[Tensor], vectors: Sequence[Tensor], *, ties: Ties = "split"
) -> list[Tensor]: ...
def hvp(
    y: Tensor,
    wrt: Tensor | Sequence[Tensor],
    vectors: Tensor | Sequence[Tensor],
    *,
    ties: Ties = "split",
) -> Tensor | list[Tensor]:
    """The Hessian of the number `y` times `vectors`: the gradient's derivative along them.

    It costs a small multiple of the gradient, whatever the size of `wrt`.

    Raises:
        GradientError: as `grad` and `jvp`.
    """
    wanted, given = listed("hvp", "wrt", wrt), listed("hvp", "vectors", vectors)
    results = jvp(grad(y, wanted, ties=ties), wanted, given, ties=ties)
    return results[0] if isinstance(wrt, Tensor) else results


def _units(tensor: Tensor) -> Tensor:
    """All unit vectors of the shape of `tensor`: 1 where the front indices equal the others."""
    front, own = (
        tuple(IterVar(f"{name}{d}", int64, ZERO, n) for d, n in enumerate(tensor.shape))
        for name in "bi"
    )
    same = all_of([Compare(CompareOp.EQ, a, b) for a, b in zip(front, own, strict=True)])
    one, nothing = Const(1.0, tensor.dtype), Const(0.0, tensor.dtype)
    body: Expr = one if same is None else select(same, one, nothing)
    return define((*front, *own), (body,), default_name="unit")[0]


def _repeated(tensor: Tensor, batch: Sequence[Expr]) -> Tensor:
    """`tensor`, which depends on no direction, for each of them."""
    front = tuple(IterVar(f"b{d}", int64, ZERO, n) for d, n in enumerate(batch))
    own = tuple(IterVar(f"i{d}", int64, ZERO, n) for d, n in enumerate(tensor.shape))
    return define((*front, *own), (Load(tensor, own),), default_name=tensor.name)[0]


def _turned(tensor: Tensor, count: int, name: str) -> Tensor:
    """`tensor` with its first `count` axes last."""
    axes = tuple(IterVar(f"i{d}", int64, ZERO, n) for d, n in enumerate(tensor.shape))
    order = (*axes[count:], *axes[:count])
    return define(order, (Load(tensor, axes),), default_name=name)[0]
