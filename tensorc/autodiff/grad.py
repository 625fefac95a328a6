"""Reverse-mode derivatives as their users ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from tensorc.autodiff.access import Kind
from tensorc.autodiff.reductions import TIES, Ties
from tensorc.autodiff.reverse import Reverse, is_like, listed, shape_text
from tensorc.errors import GradientError
from tensorc.ir.expr import Const, shorten
from tensorc.ir.printer import show
from tensorc.te.dispatch import Imperative
from tensorc.te.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


@overload
def grad(
    y: Tensor,
    wrt: Tensor,
    seed: Tensor | None = None,
    *,
    ties: Ties = "split",
    require: Literal["gather"] | None = None,
) -> Tensor: ...
@overload
def grad(
    y: Tensor,
    wrt: Sequence[Tensor],
    seed: Tensor | None = None,
    *,
    ties: Ties = "split",
    require: Literal["gather"] | None = None,
) -> list[Tensor]: ...
@overload
def grad(
    y: Imperative,
    wrt: Any,
    seed: Any = None,
    *,
    ties: Ties = "split",
    require: Literal["gather"] | None = None,
) -> Any: ...
def grad(
    y: Any,
    wrt: Any,
    seed: Any = None,
    *,
    ties: Ties = "split",
    require: Literal["gather"] | None = None,
) -> Any:
    """The gradient of `y` with respect to each tensor of `wrt`, of that tensor's shape and dtype.

    `wrt` may name placeholders and intermediate tensors, for which everything above is held fixed.
    Where `y` does not depend on one, its gradient is zero. Conventions at points without a
    derivative are those of `rules` and `reductions`: `maximum` of two gives each half at a tie,
    relu and abs have 0 at 0.

    Args:
        y: one element; or any shape, with `seed`.
        wrt: a float tensor, or several.
        seed: the cotangent of `y`, of its shape and dtype: the result is then the
            vector-Jacobian product, the gradient of the sum of `seed * y`.
        ties: which of the points that reach the value of a `max` or `min` reduction get its
            gradient: the "first", "all" of them, or "split" for equal shares.
        require: "gather" refuses a gradient that has to be accumulated at places that data chooses.

    Raises:
        GradientError: an integer `y` or `wrt`, a missing or unfit seed, an operation that has
            no derivative (it is named), or an access whose adjoint is not as required.
    """
    if isinstance(y, Imperative):
        return y.gradients(wrt, seed, ties=ties, require=require)
    one = isinstance(wrt, Tensor)
    wanted = listed("grad", "wrt", wrt)
    sweep = swept("grad", [y], wanted, None if seed is None else [seed], ties)
    if require is not None:
        _require(y, sweep, require)
    results = {w: sweep.tensor(w) for w in wanted}
    return results[wanted[0]] if one else [results[w] for w in wanted]


@overload
def vjp(
    y: Tensor | Sequence[Tensor],
    wrt: Tensor,
    cotangents: Tensor | Sequence[Tensor],
    *,
    ties: Ties = "split",
) -> Tensor: ...
@overload
def vjp(
    y: Tensor | Sequence[Tensor],
    wrt: Sequence[Tensor],
    cotangents: Tensor | Sequence[Tensor],
    *,
    ties: Ties = "split",
) -> list[Tensor]: ...
def vjp(
    y: Tensor | Sequence[Tensor],
    wrt: Tensor | Sequence[Tensor],
    cotangents: Tensor | Sequence[Tensor],
    *,
    ties: Ties = "split",
) -> Tensor | list[Tensor]:
    """The vector-Jacobian product: the gradient of the sum of `cotangent * y` over all of `y`.

    Args:
        y: a float tensor, or several.
        wrt: as in `grad`.
        cotangents: one for each `y`, of its shape and dtype.
        ties: as in `grad`.

    Raises:
        GradientError: as `grad`; another number of cotangents than of results.
    """
    ys, given = listed("vjp", "y", y), listed("vjp", "cotangents", cotangents)
    if len(ys) != len(given):
        raise GradientError(f"vjp: {len(ys)} results, but {len(given)} cotangents")
    one = isinstance(wrt, Tensor)
    wanted = listed("vjp", "wrt", wrt)
    sweep = swept("vjp", ys, wanted, given, ties)
    results = [sweep.tensor(w) for w in wanted]
    return results[0] if one else results


def swept(
    what: str, ys: list[Tensor], wanted: list[Tensor], seeds: list[Tensor] | None, ties: Ties
) -> Reverse:
    """The reverse sweep from `ys`, each with its seed, to `wanted`, all of them checked."""
    for y in ys:
        check_value(what, y)
    for w in wanted:
        check_wanted(what, w)
    check_ties(what, ties)
    if seeds is None:
        (y,) = ys
        if not all(isinstance(s, Const) and s.value == 1 for s in y.shape):
            raise GradientError(
                f"grad of {y.name}, of shape {shape_text(y)}: reduce it to one number first, as in "
                "tc.ops.sum, or give a seed of that shape, the cotangent of each element"
            )
        return Reverse({y: None}, wanted, ties)
    if len(dict.fromkeys(ys)) < len(ys):
        raise GradientError(f"{what}: a result is listed twice")
    for y, seed in zip(ys, seeds, strict=True):
        check_direction(what, "seed" if what == "grad" else "cotangent", y, seed)
    return Reverse(dict(zip(ys, seeds, strict=True)), wanted, ties)


def check_value(what: str, y: Any) -> None:
    """Refuse what is no float tensor, as a result."""
    if not isinstance(y, Tensor):
        raise GradientError(f"{what} of {y!r}: a tensor is needed, got {type(y).__name__}")
    if not y.dtype.is_float:
        raise GradientError(f"{what} of {y.name}: it is {y.dtype}, and only floats have a gradient")


def check_wanted(what: str, w: Any) -> None:
    """Refuse what is no float tensor, as what is differentiated for."""
    if not isinstance(w, Tensor):
        raise GradientError(f"{what} with respect to {w!r}: a tensor is needed")
    if not w.dtype.is_float:
        raise GradientError(
            f"{what} with respect to {w.name}: it is {w.dtype}, and only floats have a gradient"
        )


def check_direction(what: str, role: str, y: Tensor, given: Any) -> None:
    """Refuse a seed, cotangent or tangent that does not fit its tensor."""
    if not isinstance(given, Tensor):
        raise GradientError(
            f"{what} of {y.name}: the {role} must be a tensor, got {type(given).__name__}"
        )
    if not is_like(given, y):
        raise GradientError(
            f"{what} of {y.name}: the {role} {given.name} is {given.dtype} of shape "
            f"{shape_text(given)}, and must be {y.dtype} of shape {shape_text(y)}"
        )


def check_ties(what: str, ties: Any) -> None:
    """Refuse a rule for ties that does not exist."""
    if ties not in TIES:
        raise GradientError(f"{what}: ties must be one of {', '.join(TIES)}, got {shorten(ties)}")


def _require(y: Tensor, sweep: Reverse, require: str) -> None:
    if require != "gather":
        raise GradientError(
            f"grad of {y.name}: require can be 'gather' or None, got {shorten(require)}"
        )
    for tensor, adjoints in sweep.adjoints.items():
        for found in adjoints:
            if found.kind is Kind.SCATTER:
                raise GradientError(
                    f"grad of {y.name}: a gather is required, and the gradient of {tensor.name} "
                    f"through {show(found.access)} in {found.reader.name} is a scatter: "
                    f"{found.reason}; without require='gather' it is accumulated in order, one "
                    "iteration after the other"
                )
