"""Derivatives that their author states, and values that are computed again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from autodiff.directions import Array, assert_derivatives
from tensorc.errors import GradientError
from tensorc.te.graph import graph_of
from tensorc.te.reference import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.te.tensor import Tensor


def vector(name: str, size: int = 3) -> Tensor:
    return tc.placeholder((size,), "float64", name=name)


def total(x: Tensor) -> Tensor:
    return tc.ops.sum(x)


def test_a_stated_derivative_is_used() -> None:
    x = vector("x")
    tripled = tc.custom_vjp(lambda x: x * x, lambda g, _y, x: g * x * 3.0)
    y = tripled(x)
    at = np.array([1.0, -2.0, 3.0])
    value, slope = evaluate([y, tc.grad(total(y * 2.0), x)], {x: at})
    np.testing.assert_array_equal(value, at * at)
    np.testing.assert_array_equal(slope, 6 * at)


def test_a_true_rule_serves_every_mode_and_order() -> None:
    def softplus(a: Tensor, b: Tensor) -> Tensor:
        return tc.ops.log1p(tc.ops.exp(a * b))

    def rule(g: Tensor, _y: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        s = g * tc.ops.sigmoid(a * b)
        return s * b, s * a

    a, b = vector("a"), vector("b")
    stated = tc.custom_vjp(softplus, rule)(a, b)
    rng = np.random.default_rng(0)
    feeds = {a: rng.standard_normal(3), b: rng.standard_normal(3)}
    assert_derivatives(stated * a, [a, b], feeds)


def test_a_rule_for_several_results() -> None:
    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        return x * x, x * 3.0

    x = vector("x")
    f = tc.custom_vjp(both, lambda g, y, x: g[0] * x * 2.0 + g[1] * 3.0 + y[0] * 0.0)
    square, triple = f(x)
    assert_derivatives(square * triple, [x], {x: np.array([1.0, -2.0, 0.5])}, second=False)


def test_none_is_a_zero_cotangent() -> None:
    x, m = vector("x"), vector("m")
    masked = tc.custom_vjp(lambda x, m: x * m, lambda g, _y, _x, m: (g * m, None))(x, m)
    feeds = {x: np.arange(3.0), m: np.array([1.0, 0.0, 1.0])}
    by_x, by_m = evaluate(tc.grad(total(masked), [x, m]), feeds)
    np.testing.assert_array_equal(by_x, feeds[m])
    np.testing.assert_array_equal(by_m, np.zeros(3))


def refusals() -> dict[str, tuple[Callable[[], object], str]]:
    x, w = vector("x"), vector("w")

    def identity(x: Tensor) -> Tensor:
        return x * 1.0

    def closes(x: Tensor) -> Tensor:
        return x * w

    def stated(rule: Any, function: Any = identity) -> Any:
        return tc.custom_vjp(function, rule)(x)

    return {
        "count": (
            lambda: tc.grad(total(stated(lambda g, _y, _x: (g, g))), x),
            "custom_vjp(identity): its rule gives 2 cotangents for the 1 arguments",
        ),
        "shape": (
            lambda: tc.grad(total(stated(lambda g, _y, _x: total(g))), x),
            "custom_vjp(identity): its rule gives sum: float64[] as the cotangent of x, and that "
            "must be float64 of shape (3)",
        ),
        "closure": (
            lambda: tc.grad(total(stated(lambda g, _y, _x: g, closes)), w),
            "custom_vjp(closes): its function reads w, which is no argument of it, so that its "
            "rule gives w no derivative; pass w as an argument",
        ),
        "not linear": (
            lambda: tc.jvp(total(stated(lambda g, _y, _x: g * g)), x, vector("v")),
            "custom_vjp(identity): its rule is not linear in the cotangents, so it says nothing "
            "about tangents; only reverse mode can use it",
        ),
        "argument": (
            lambda: tc.custom_vjp(identity, identity)(2.0),
            "custom_vjp(identity): its arguments are tensors, got 2.0",
        ),
        "result": (
            lambda: tc.checkpoint(lambda x: [x])(x),
            "checkpoint(<lambda>): it must return tensors, got [<Tensor x: float64[3]>]",
        ),
        "nothing": (
            lambda: tc.checkpoint(lambda: x)(),
            "checkpoint(<lambda>): it takes at least one tensor",
        ),
    }


@pytest.mark.parametrize("name", list(refusals()))
def test_what_is_no_rule_is_refused(name: str) -> None:
    ask, message = refusals()[name]
    with pytest.raises(GradientError) as error:
        ask()
    assert str(error.value) == message


# --- recomputation --------------------------------------------------------------------------


def network(depth: int, size: int, *, again: bool) -> tuple[Tensor, list[Tensor]]:
    """Blocks of two layers each, and everything that it reads."""
    x = tc.placeholder((size, size), "float64", name="x")
    weights = [tc.placeholder((size, size), "float64", name=f"W{k}") for k in range(2 * depth)]
    h = x
    for k in range(depth):

        def block(h: Tensor, one: Tensor = weights[2 * k], two: Tensor = weights[2 * k + 1]) -> Any:
            return tc.ops.tanh(tc.ops.matmul(tc.ops.tanh(tc.ops.matmul(h, one)), two))

        h = tc.checkpoint(lambda h, f=block: f(h))(h) if again else block(h)
    return total(h * h), [x, *weights]


def values(tensors: list[Tensor]) -> list[Array]:
    rng = np.random.default_rng(0)
    return [0.3 * rng.standard_normal([int(str(n)) for n in t.shape]) for t in tensors]


def test_a_checkpoint_changes_no_bit_and_saves_memory() -> None:
    depth, size = 6, 32
    peaks, results = [], []
    for again in (False, True):
        loss, inputs = network(depth, size, again=again)
        target = tc.Target("cpu", threads=1)
        last_first = tc.grad(loss, inputs)[::-1]  # In the order in which they come to be.
        f = tc.compile([loss, *last_first], inputs=inputs, target=target)
        results.append(f(*values(inputs)))
        peaks.append(f.workspace_bytes())
    for plain, recomputed in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, recomputed)
    # Of two values a block one is kept; beside them lives what one block computes again.
    assert peaks[1] <= 0.8 * peaks[0]


def test_what_is_computed_again_is_counted() -> None:
    loss, inputs = network(2, 4, again=True)
    report = tc.recomputation(tc.grad(loss, inputs))
    assert [name for name, _ in report.again] == ["again.matmul", "again.tanh"] * 4
    assert str(report).splitlines()[0] == "8 tensors are computed again, 1024 bytes not stored"
    assert str(tc.recomputation(loss)) == "nothing is computed again"
    plain, inputs = network(2, 4, again=False)
    assert str(tc.recomputation(tc.grad(plain, inputs))) == "nothing is computed again"


def test_what_is_computed_again_waits_for_the_cotangent() -> None:
    loss, inputs = network(3, 4, again=True)
    order = [t.name for t in graph_of([loss, *tc.grad(loss, inputs)]).tensors()]
    assert order.index("again.matmul") > order.index("sum")
    starts = [k for k, name in enumerate(order) if name == "again.matmul"][::2]
    arrived = [k for k, name in enumerate(order) if name == "d.tanh"]
    # A block starts again once the cotangent of its result is there, and not before.
    assert len(starts) == len(arrived) == 3
    assert all(c < s for c, s in zip(arrived, starts, strict=True))
    assert all(s < c for s, c in zip(starts, arrived[1:], strict=False))


def test_a_checkpoint_has_the_derivatives_of_its_function() -> None:
    loss, inputs = network(1, 3, again=True)
    assert_derivatives(loss, inputs, dict(zip(inputs, values(inputs), strict=True)))


def test_a_checkpoint_in_a_checkpoint() -> None:
    x = vector("x")
    inner = tc.checkpoint(lambda x: tc.ops.sin(tc.ops.exp(x)))
    outer = tc.checkpoint(lambda x: tc.ops.tanh(inner(x)) * x)
    y = outer(x)
    assert_derivatives(y, [x], {x: np.array([0.1, -0.4, 0.7])})


def test_what_is_asked_for_inside_is_found() -> None:
    x, seen = vector("x"), []

    def function(x: Tensor) -> Tensor:
        seen.append(tc.ops.exp(x))
        return seen[0] * x

    y = tc.checkpoint(function)(x)
    at = np.array([1.0, 2.0, 3.0])
    (found,) = evaluate([tc.grad(total(y), seen[0])], {x: at})
    np.testing.assert_array_equal(found, at)


def test_a_recurrence_may_stand_behind_a_boundary() -> None:
    x = vector("x", 5)
    y = tc.checkpoint(lambda x: tc.cumsum(tc.ops.exp(x)))(x)
    assert_derivatives(y, [x], {x: np.linspace(-1.0, 1.0, 5)})
