"""Forward and reverse mode, Jacobians, Hessians and their products, interpreted and compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import tensorc as tc
from autodiff.directions import Array, assert_derivatives
from tensorc.te.reference import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.ir.expr import Expr
    from tensorc.te.tensor import Tensor


def matvec(a: Tensor, x: Tensor) -> Tensor:
    k = tc.reduce_axis(x.shape[0], "k")
    return tc.compute((a.shape[0],), lambda i: tc.sum(a[i, k] * x[k], axis=k), name="Ax")


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": matvec,
    "elementwise": lambda a, x: tc.ops.tanh(a * x) + tc.ops.exp(a) / (x + 3.0),
    "power": lambda a, x: a**x,
    "softmax": lambda a, x: tc.ops.softmax(a * x),
    "log softmax": lambda a, x: tc.ops.log_softmax(a + x, axis=0),
    "largest": lambda a, x: tc.ops.max(a * x, axis=1),
    "smallest": lambda a, x: tc.ops.min(a, axis=0) * x,
    "product of all": lambda a, x: tc.ops.prod(a * x, axis=1),
    "two axes": lambda a, x: tc.ops.prod(a * x),
    "variance": lambda a, x: tc.ops.var(a, axis=0) * x,
    "halves": lambda a, x: tc.ops.maximum(a, x) * tc.ops.minimum(a * a, x),
    "branches": lambda a, x: tc.ops.where(a > x, tc.ops.sqrt(a), x * x),
    "running sum": lambda a, x: tc.cumsum(a * x, axis=0),
    "running product": lambda a, x: tc.cumprod(a * x, axis=1, reverse=True),
    "logsumexp": lambda a, x: tc.ops.logsumexp(a * x, axis=1),
}


def problem(shape: tuple[int, int] = (3, 4)) -> tuple[Tensor, Tensor, dict[Tensor, Array]]:
    a = tc.placeholder(shape, "float64", name="a")
    x = tc.placeholder(shape[1:], "float64", name="x")
    rng = np.random.default_rng(3)
    return a, x, {a: rng.uniform(0.5, 2.0, shape), x: rng.uniform(0.5, 2.0, shape[1:])}


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_every_mode_agrees_with_differences(name: str) -> None:
    a, x, feeds = problem()
    assert_derivatives(FUNCTIONS[name](a, x), [a, x], feeds)


@pytest.mark.parametrize("name", ["product", "softmax", "two axes", "running product", "branches"])
def test_jacobians_of_both_modes_are_equal_and_compile(name: str) -> None:
    a, x, feeds = problem()
    y = FUNCTIONS[name](a, x)
    ours = [*tc.jacrev(y, [a, x]), *tc.jacfwd(y, [a, x])]
    reverse_a, reverse_x, forward_a, forward_x = evaluate(ours, feeds)
    shape = tuple(int(str(n)) for n in y.shape)
    assert reverse_a.shape == (*shape, 3, 4)
    assert reverse_x.shape == (*shape, 4)
    # Both sum at most 12 terms of order 10, in another order.
    np.testing.assert_allclose(reverse_a, forward_a, rtol=0, atol=1e-12)
    np.testing.assert_allclose(reverse_x, forward_x, rtol=0, atol=1e-12)
    compiled = tc.compile(ours, inputs=[a, x])(feeds[a], feeds[x])
    for found, expected in zip(compiled, (reverse_a, reverse_x, forward_a, forward_x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_a_jacobian_row_is_the_gradient_of_an_element() -> None:
    a, x, feeds = problem()
    y = FUNCTIONS["softmax"](a, x)
    element = tc.compute((), lambda: y[1, 2], name="e")
    row, whole = evaluate([tc.grad(element, a), tc.jacrev(y, a)], feeds)
    np.testing.assert_allclose(whole[1, 2], row, rtol=0, atol=1e-15)


def test_a_jacobian_of_what_does_not_depend_is_zero() -> None:
    a, x, feeds = problem()
    y = tc.ops.exp(a)
    for found in evaluate([tc.jacrev(y, x), tc.jacfwd(y, x)], feeds):
        assert found.shape == (3, 4, 4)
        assert not found.any()


def test_a_jacobian_of_a_linear_map_is_its_matrix() -> None:
    n = tc.dim("n")
    a, x = tc.placeholder((n, 4), "float64", name="a"), tc.placeholder((4,), "float64", name="x")
    values = np.random.default_rng(0).standard_normal((5, 4))
    for jacobian in (tc.jacrev(matvec(a, x), x), tc.jacfwd(matvec(a, x), x)):
        f = tc.compile(jacobian, inputs=[a])
        np.testing.assert_array_equal(f(values), values)


def energy(x: Tensor) -> Tensor:
    """Rosenbrock's function, a sum of coupled terms of the fourth order."""
    k = tc.reduce_axis(x.shape[0] - 1, "k")

    def term(i: Expr) -> Expr:
        bend = x[i + 1] - x[i] * x[i]
        return 100.0 * (bend * bend) + (1.0 - x[i]) * (1.0 - x[i])

    return tc.compute((), lambda: tc.sum(term(k), axis=k), name="E")


def rosenbrock_hessian(x: Array) -> Array:
    h = np.zeros((len(x), len(x)))
    for i in range(len(x) - 1):
        h[i, i] += 1200 * x[i] ** 2 - 400 * x[i + 1] + 2
        h[i, i + 1] -= 400 * x[i]
        h[i + 1, i] -= 400 * x[i]
        h[i + 1, i + 1] += 200
    return h


def test_a_hessian_is_the_known_one_and_its_product_too() -> None:
    x, v = (tc.placeholder((6,), "float64", name=n) for n in "xv")
    f = tc.compile([tc.hessian(energy(x), x), tc.hvp(energy(x), x, v)], inputs=[x, v])
    rng = np.random.default_rng(1)
    at, direction = rng.standard_normal(6), rng.standard_normal(6)
    expected = rosenbrock_hessian(at)
    whole, product = f(at, direction)
    # A few roundings of terms up to 1200 x**2.
    np.testing.assert_allclose(whole, expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(product, expected @ direction, rtol=0, atol=1e-11)


def test_a_hessian_of_two_tensors_has_four_blocks() -> None:
    a, x, feeds = problem((2, 3))
    y = tc.ops.sum(tc.ops.exp(FUNCTIONS["product"](a, x)))
    blocks = tc.hessian(y, [a, x])
    (aa, ax), (xa, xx) = ([evaluate([b], feeds)[0] for b in row] for row in blocks)
    assert (aa.shape, xx.shape) == ((2, 3, 2, 3), (3, 3))
    scale = np.abs(aa).max()
    np.testing.assert_allclose(ax, np.moveaxis(xa, 0, -1), rtol=0, atol=1e-14 * scale)
    np.testing.assert_allclose(xx, xx.T, rtol=0, atol=1e-14 * scale)
    slope = np.exp(feeds[a] @ feeds[x])
    np.testing.assert_allclose(xx, (feeds[a].T * slope) @ feeds[a], rtol=0, atol=1e-14 * scale)


def test_several_results_have_one_cotangent_each() -> None:
    a, x, feeds = problem()
    first, second = matvec(a, x), tc.ops.exp(x)
    s, t = (tc.placeholder(y.shape, "float64", name=n) for y, n in ((first, "s"), (second, "t")))
    rng = np.random.default_rng(2)
    feeds[s], feeds[t] = rng.standard_normal(3), rng.standard_normal(4)
    both = tc.vjp([first, second], x, [s, t])
    found, one, other = evaluate([both, tc.grad(first, x, s), tc.grad(second, x, t)], feeds)
    np.testing.assert_allclose(found, one + other, rtol=0, atol=1e-14)


def test_one_result_may_read_another() -> None:
    x = tc.placeholder((3,), "float64", name="x")
    y = tc.compute((3,), lambda i: x[i] * x[i], name="y")
    z = tc.compute((3,), lambda i: y[i] * 3.0, name="z")
    s, t = (tc.placeholder((3,), "float64", name=n) for n in "st")
    feeds = {x: np.array([1.0, 2.0, 3.0]), s: np.ones(3), t: np.ones(3)}
    (found,) = evaluate([tc.vjp([y, z], x, [s, t])], feeds)
    np.testing.assert_array_equal(found, 2 * feeds[x] * 4)


def test_a_branch_not_taken_leaks_nothing_forward() -> None:
    x = tc.placeholder((2,), "float64", name="x")
    y = tc.compute((2,), lambda i: tc.where(x[i] > 0.0, tc.sqrt(x[i]), 0.0), name="y")
    one = tc.placeholder((2,), "float64", name="one")
    second = tc.jvp(tc.grad(y, x, one), x, one)
    feeds = {x: np.array([0.0, 4.0]), one: np.ones(2)}
    first, curve = evaluate([tc.jvp(y, x, one), second], feeds)
    np.testing.assert_array_equal(first, [0.0, 0.25])
    np.testing.assert_array_equal(curve, [0.0, -0.25 * 4.0**-1.5])


def test_the_tangent_of_an_intermediate_moves_it_alone() -> None:
    x = tc.placeholder((3,), "float64", name="x")
    y = tc.compute((3,), lambda i: x[i] * x[i], name="y")
    z = tc.compute((3,), lambda i: y[i] * x[i], name="z")
    v = tc.placeholder((3,), "float64", name="v")
    feeds = {x: np.array([1.0, 2.0, 3.0]), v: np.ones(3)}
    (found,) = evaluate([tc.jvp(z, y, v)], feeds)
    np.testing.assert_array_equal(found, feeds[x])


TIES = {"split": [0.0, 0.5, 0.5, 0.0], "all": [0.0, 1.0, 1.0, 0.0], "first": [0.0, 1.0, 0.0, 0.0]}


@pytest.mark.parametrize("ties", list(TIES))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_caller_says_who_wins_a_tie(ties: str, sign: float) -> None:
    x, k = tc.placeholder((4,), "float64", name="x"), tc.reduce_axis(4, "k")
    fold = tc.max if sign > 0 else tc.min
    y = tc.compute((), lambda: fold(x[k], axis=k), name="y")
    v = tc.placeholder((4,), "float64", name="v")
    at, move = sign * np.array([1.0, 5.0, 5.0, 2.0]), np.array([1.0, 10.0, 20.0, 100.0])
    outputs = [tc.grad(y, x, ties=ties), tc.jvp(y, x, v, ties=ties)]  # type: ignore[call-overload]
    gradient, tangent = evaluate(outputs, {x: at, v: move})
    np.testing.assert_array_equal(gradient, TIES[ties])
    assert tangent == gradient @ move


def test_the_first_of_a_window_wins_in_the_order_of_its_axes() -> None:
    x = tc.placeholder((3, 3), "float64", name="x")
    r, s = tc.reduce_axis(2, "r"), tc.reduce_axis(2, "s")
    y = tc.compute((2, 2), lambda i, j: tc.max(x[i + r, j + s], axis=(r, s)), name="y")
    seed = tc.placeholder((2, 2), "float64", name="seed")
    feeds = {x: np.ones((3, 3)), seed: np.ones((2, 2))}
    (found,) = evaluate([tc.grad(y, x, seed, ties="first")], feeds)
    np.testing.assert_array_equal(found, [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_a_product_of_zeros_is_right_to_the_third_order() -> None:
    x, v = (tc.placeholder((4,), "float64", name=n) for n in "xv")
    y = tc.ops.prod(x)
    first = tc.grad(y, x)
    second = tc.hvp(y, x, v)
    third = tc.jvp(second, x, v)
    at, move = np.array([0.0, 2.0, 0.0, 5.0]), np.array([1.0, 3.0, 7.0, 2.0])
    slope, curve, more = evaluate([first, second, third], {x: at, v: move})
    np.testing.assert_array_equal(slope, [0, 0, 0, 0])
    # d/dx_i of sum_jk, all different, of the product of the two others times v_j.
    np.testing.assert_array_equal(curve, [70.0, 0.0, 10.0, 0.0])
    np.testing.assert_array_equal(more, third_of_product(at, move))


def third_of_product(x: Array, v: Array) -> Array:
    """The gradient of the second derivative along v of x0 x1 x2 x3."""
    result = np.zeros(4)
    for i in range(4):
        for j in range(4):
            for k in range(4):
                if len({i, j, k}) == 3:
                    (rest,) = {0, 1, 2, 3} - {i, j, k}
                    result[i] += v[j] * v[k] * x[rest]
    return result
