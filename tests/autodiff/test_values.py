"""Gradients against central differences in float64, and closed forms where those are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autodiff.texts import cotangent
from tensorc.autodiff import check_grad, grad
from tensorc.dtypes import float64
from tensorc.ir.expr import Expr, call, cast, const_int, maximum, minimum, where
from tensorc.ir.interp import run
from tensorc.te import reduce as te
from tensorc.te.build import build
from tensorc.te.graph import graph_of
from tensorc.te.reduce import reduce_axis
from tensorc.te.reference import evaluate
from tensorc.te.tensor import Tensor, compute, computes, dim, placeholder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

sizes = st.integers(0, 4)


def tensor(name: str, *shape: Any) -> Tensor:
    return placeholder(shape, float64, name=name)


def values(*shape: int, seed: int = 0, low: float = 0.5, high: float = 2.0) -> Array:
    return np.random.default_rng(seed).uniform(low, high, shape)


def check_twice(y: Tensor, wrt: Sequence[Tensor], feeds: Mapping[Tensor, Array]) -> None:
    """Check the gradient, and the gradient of each gradient."""
    check_grad(y, list(wrt), feeds)
    (base,) = evaluate([y], feeds)
    seed = placeholder(y.shape, float64, name="s")
    more = {**feeds, seed: np.asarray(np.random.default_rng(1).standard_normal(base.shape))}
    for gradient in grad(y, list(wrt), seed):
        check_grad(gradient, [*wrt, seed], more)


def matmul(a: Tensor, b: Tensor, name: str = "C") -> Tensor:
    k = reduce_axis(a.shape[1], "k")
    return compute((a.shape[0], b.shape[1]), lambda i, j: te.sum(a[i, k] * b[k, j], k), name=name)


def softmax_loss(z: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of rows of logits, the shift marked as having no gradient."""
    rows, columns = z.shape
    k, m, i = reduce_axis(columns, "k"), reduce_axis(columns, "m"), reduce_axis(rows, "i")
    top = compute((rows,), lambda i: te.max(z[i, k], k), name="top")
    total = compute(
        (rows,), lambda i: te.sum(call("exp", z[i, m] - call("stop_gradient", top[i])), m), name="Z"
    )
    loss = compute(
        (rows,),
        lambda i: call("log", total[i]) + call("stop_gradient", top[i]) - z[i, labels[i]],
        name="ell",
    )
    return compute((), lambda: te.sum(loss[i], i) / cast(rows, float64), name="loss")


@settings(max_examples=15)
@given(n=sizes, k=sizes, m=sizes)
def test_matmul_of_every_size(n: int, k: int, m: int) -> None:
    a, b = tensor("A", n, k), tensor("B", k, m)
    check_twice(matmul(a, b), [a, b], {a: values(n, k), b: values(k, m, seed=1)})


@settings(max_examples=10)
@given(n=sizes, m=sizes)
def test_a_symbolic_size_serves_every_call(n: int, m: int) -> None:
    rows = dim("n")
    a, b = tensor("A", rows, 3), tensor("B", 3, m)
    check_grad(matmul(a, b), [a, b], {a: values(n, 3), b: values(3, m, seed=1)})


@settings(max_examples=8)
@given(
    size=st.integers(3, 7),
    window=st.integers(1, 3),
    stride=st.integers(1, 4),
    gap=st.integers(1, 2),
)
def test_convolution_of_two_dimensions(size: int, window: int, stride: int, gap: int) -> None:
    pad = 1
    out = (size + 2 * pad - gap * (window - 1) - 1) // stride + 1
    if out < 1:
        return
    x, w = tensor("x", size, size), tensor("w", window, window)
    r, s = reduce_axis(window, "r"), reduce_axis(window, "s")

    def padded(i: Expr, j: Expr) -> Expr:
        inside = (i >= 0) & (i < size) & (j >= 0) & (j < size)
        return where(inside, x[i, j], 0.0)

    y = compute(
        (out, out),
        lambda i, j: te.sum(
            padded(i * stride + r * gap - pad, j * stride + s * gap - pad) * w[r, s], (r, s)
        ),
        name="Y",
    )
    check_grad(y, [x, w], {x: values(size, size), w: values(window, window, seed=1)})


@settings(max_examples=10)
@given(n=st.integers(1, 4), m=st.integers(1, 4), seed=st.integers(0, 99))
def test_cross_entropy_is_softmax_minus_one_hot(n: int, m: int, seed: int) -> None:
    z, labels = tensor("z", n, m), placeholder((n,), "int32", name="y")
    loss = softmax_loss(z, labels)
    rng = np.random.default_rng(seed)
    feeds: dict[Tensor, Array] = {
        z: rng.standard_normal((n, m)) * 3,
        labels: rng.integers(0, m, n).astype(np.int32),
    }
    check_grad(loss, z, feeds)
    (found,) = evaluate([grad(loss, z)], feeds)
    p = np.exp(feeds[z] - feeds[z].max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(n), feeds[labels]] -= 1
    np.testing.assert_allclose(found, p / n, atol=8 * n * m * 2.0**-53)


def test_the_cross_entropy_of_huge_logits_has_a_finite_gradient() -> None:
    z, labels = tensor("z", 1, 2), placeholder((1,), "int32", name="y")
    feeds = {z: np.array([[1e4, -1e4]]), labels: np.array([1], np.int32)}
    (found,) = evaluate([grad(softmax_loss(z, labels), z)], feeds)
    np.testing.assert_array_equal(found, [[1.0, -1.0]])


def test_softmax_in_one_body_and_its_second_derivative() -> None:
    z, k = tensor("z", 2, 3), reduce_axis(3, "k")
    y = compute(
        (2, 3), lambda i, j: call("exp", z[i, j]) / te.sum(call("exp", z[i, k]), k), name="P"
    )
    check_twice(y, [z], {z: values(2, 3)})


UNARY = ["exp", "log", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid", "erf", "log1p", "expm1"]


@pytest.mark.parametrize("name", UNARY)
def test_an_intrinsic_and_its_second_derivative(name: str) -> None:
    x = tensor("x", 3)
    check_twice(compute((3,), lambda i: call(name, x[i] * x[i]), name="Y"), [x], {x: values(3)})


@settings(max_examples=25)
@given(data=st.data())
def test_any_expression_of_three_variables(data: st.DataObject) -> None:
    x, k = tensor("x", 4), reduce_axis(4, "k")

    def body(i: Expr) -> Expr:
        pool = [x[i], x[3 - i], te.sum(x[k] * 0.5, k)]
        for _ in range(data.draw(st.integers(2, 6))):
            a, b = (pool[data.draw(st.integers(0, len(pool) - 1))] for _ in range(2))
            match data.draw(st.sampled_from(["+", "-", "*", "/", "min", "max", "where", "tanh"])):
                case "+":
                    new = a + b
                case "-":
                    new = a - b * 0.25
                case "*":
                    new = a * b * 0.5
                case "/":
                    new = a / (b * b + 1.0)
                case "min":
                    new = minimum(a, b * 1.5)
                case "max":
                    new = maximum(a, b * 0.75)
                case "where":
                    new = where(a > b, a * 2.0, call("sin", b))
                case _:
                    new = call("tanh", a)
            pool.append(new)
        return pool[-1]

    y = compute((4,), body, name="Y")
    check_grad(y, x, {x: values(4, seed=data.draw(st.integers(0, 9)))}, rtol=1e-5)


@settings(max_examples=20)
@given(row=st.lists(st.sampled_from([0.0, 1.5, -2.0, 0.5]), min_size=1, max_size=5))
def test_a_product_is_right_with_any_number_of_zeros(row: list[float]) -> None:
    x, k = tensor("x", len(row)), reduce_axis(len(row), "k")
    y = compute((), lambda: te.prod(x[k], k), name="P")
    (found,) = evaluate([grad(y, x)], {x: np.array(row)})
    others = [np.prod(row[:i] + row[i + 1 :]) for i in range(len(row))]
    np.testing.assert_allclose(found, others, rtol=4 * len(row) * 2.0**-53)


def test_reductions_and_their_second_derivatives() -> None:
    x = tensor("x", 3, 4)
    for fold in (te.sum, te.prod, te.max, te.min):
        k = reduce_axis(4, "k", where=lambda k: k != 1)
        y = compute((3,), lambda i, fold=fold, k=k: fold(x[i, k] * x[i, k], k), name="Y")
        check_twice(y, [x], {x: values(3, 4)})


@settings(max_examples=20)
@given(row=st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_ties_of_a_maximum_share_equally_and_of_an_argmax_go_first(row: list[int]) -> None:
    x, k, m = tensor("x", len(row)), reduce_axis(len(row), "k"), reduce_axis(len(row), "m")
    data = np.array(row, dtype=np.float64)
    best = data == data.max()
    shared = compute((), lambda: te.max(x[k], k), name="M")
    (found,) = evaluate([grad(shared, x)], {x: data})
    np.testing.assert_array_equal(found, best / best.sum())
    first = compute((), lambda: te.max_with_index(x[m], m)[0], name="V")
    (found,) = evaluate([grad(first, x)], {x: data})
    np.testing.assert_array_equal(found, np.arange(len(row)) == data.argmax())


def test_a_maximum_without_a_where_point_has_no_gradient() -> None:
    x, k = tensor("x", 3), reduce_axis(3, "k", where=lambda k: k > 5)
    y = compute((), lambda: te.max(x[k], k), name="M")
    (found,) = evaluate([grad(y, x)], {x: values(3)})
    np.testing.assert_array_equal(found, np.zeros(3))


def test_a_condition_on_data_limits_a_sum() -> None:
    x, k = tensor("x", 5), reduce_axis(5, "k")
    y = compute((), lambda: te.sum(call("log", x[k]), k, where=x[k] > 0.0), name="S")
    data = np.array([0.0, 2.0, -1.0, 4.0, 0.0])
    (found,) = evaluate([grad(y, x)], {x: data})
    np.testing.assert_array_equal(found, [0.0, 0.5, 0.0, 0.25, 0.0])


def test_a_reduction_under_a_guard_stays_inside_its_buffer() -> None:
    x, w = tensor("x", 4, 3), tensor("w", 5)
    k = reduce_axis(3, "k")
    y = compute((5,), lambda i: where(i >= 1, te.sum(x[i - 1, k] * w[i], k), w[i]) * w[i], name="Y")
    check_twice(y, [x, w], {x: values(4, 3), w: values(5)})


def test_a_reduction_inside_a_reduction() -> None:
    x = tensor("x", 3, 4)
    i, j = reduce_axis((1, 3), "i"), reduce_axis((1, 4), "j")
    y = compute((), lambda: te.sum(te.sum(x[i, j], j) * te.sum(x[i, j], j), i), name="Y")
    check_twice(y, [x], {x: values(3, 4)})


def test_every_output_of_one_definition_counts() -> None:
    x = tensor("x", 4)
    a, b = computes((4,), lambda i: (x[i] * x[i], call("exp", x[i])), names=("a", "b"))
    y = compute((4,), lambda i: a[i] * b[3 - i] + a[i], name="Y")
    check_twice(y, [x], {x: values(4)})


def test_an_intermediate_tensor_has_a_gradient_with_the_rest_held_fixed() -> None:
    x = tensor("x", 4)
    h = compute((4,), lambda i: x[i] * 3.0, name="H")
    y = compute((4,), lambda i: h[i] * h[i] + x[i], name="Y")
    seed = cotangent(y)
    by_h, by_x = grad(y, [h, x], seed)
    feeds = {x: values(4), seed: np.ones(4)}
    found = evaluate([by_h, by_x], feeds)
    np.testing.assert_allclose(found[0], 6 * feeds[x], rtol=1e-15)
    np.testing.assert_allclose(found[1], 18 * feeds[x] + 1, rtol=1e-15)


def test_a_hessian_vector_product_is_a_gradient_of_a_gradient() -> None:
    x, v = tensor("x", 3), tensor("v", 3)
    k, m = reduce_axis(3, "k"), reduce_axis(3, "m")
    f = compute((), lambda: te.prod(x[k], k), name="f")
    g = grad(f, x)
    dot = compute((), lambda: te.sum(g[m] * v[m], m), name="gv")
    p, q = values(3), values(3, seed=2)
    (found,) = evaluate([grad(dot, x)], {x: p, v: q})
    hessian = np.prod(p) / np.outer(p, p) * (1 - np.eye(3))
    np.testing.assert_allclose(found, hessian @ q, rtol=32 * 2.0**-53)


def test_half_precision_gradients_accumulate_in_float32() -> None:
    x, k = placeholder((4, 300), "float16", name="x"), reduce_axis(300, "k")
    w = placeholder((300,), "float16", name="w")
    y = compute((4,), lambda i: te.sum(x[i, k] * w[k], k), name="Y")
    seed = cotangent(y)
    by_x, by_w = grad(y, [x, w], seed)
    assert (by_x.dtype.name, by_w.dtype.name) == ("float16", "float16")
    feeds = {
        x: values(4, 300).astype(np.float16),
        w: values(300).astype(np.float16),
        seed: np.ones(4, np.float16),
    }
    found = evaluate([by_x, by_w], feeds)
    np.testing.assert_array_equal(found[0], np.broadcast_to(feeds[w], (4, 300)))
    exact = feeds[x].astype(np.float64).sum(axis=0)
    np.testing.assert_allclose(found[1].astype(np.float64), exact, rtol=2.0**-10)


def test_no_gradient_passes_an_integer() -> None:
    x = tensor("x", 4)
    y = compute((4,), lambda i: cast(cast(x[i] * 3.0, "int32"), float64) * x[i], name="Y")
    seed = cotangent(y)
    feeds = {x: np.array([0.5, 1.0, 1.5, 2.0]), seed: np.ones(4)}
    (found,) = evaluate([grad(y, x, seed)], feeds)
    np.testing.assert_array_equal(found, [1.0, 3.0, 4.0, 6.0])


def test_the_gradient_program_gives_what_the_definition_says() -> None:
    a, b = tensor("A", 4, 3), tensor("B", 3, 5)
    z, labels = matmul(a, b), placeholder((4,), "int32", name="y")
    outputs = grad(softmax_loss(z, labels), [a, b])
    feeds = {a: values(4, 3), b: values(3, 5, seed=1), labels: np.array([0, 4, 2, 2], np.int32)}
    program = build(outputs)
    arrays = {t.name: v for t, v in feeds.items()}
    for param in program.params:
        if param.buffer.name not in arrays:
            shape = [const_int(s) or 0 for s in param.buffer.shape]
            arrays[param.buffer.name] = np.zeros(shape)
    run(program, arrays)
    expected = evaluate(outputs, feeds)
    made = [p.buffer.name for p in program.params if p.buffer.name not in {t.name for t in feeds}]
    for name, wanted in zip(made, expected, strict=True):
        np.testing.assert_allclose(arrays[name], wanted, rtol=64 * 2.0**-53, atol=1e-15)


def test_the_same_gradient_has_the_same_text_each_time() -> None:
    def text() -> list[str]:
        a, b = tensor("A", 4, 3), tensor("B", 3, 5)
        z, labels = matmul(a, b), placeholder((4,), "int32", name="y")
        return [str(g.body) for g in grad(softmax_loss(z, labels), [a, b])]

    assert text() == text()


def test_a_deep_chain_stays_linear() -> None:
    x = tensor("x", 2)
    y = x
    for _ in range(200):
        y = compute((2,), lambda i, y=y: y[i] * y[i] * 0.5, name="y")
    assert len(graph_of([grad(y, x, cotangent(y))]).computes) == 2 * 200 - 1


@pytest.mark.parametrize("row", [[2.0, 3.0, 5.0], [0.0, 3.0, 5.0], [0.0, 0.0, 5.0]])
def test_second_derivatives_of_a_product_are_right_at_zeros(row: list[float]) -> None:
    x, k = placeholder((3,), "float64", name="x"), te.reduce_axis(3, "k")
    (dx,) = grad(compute((), lambda: te.prod(x[k], k), name="P"), [x])
    weights = placeholder((3,), "float64", name="w")
    product = grad(dx, x, seed=weights)
    w = np.array([1.0, -2.0, 0.5])
    (found,) = evaluate([product], {x: np.array(row), weights: w})
    hessian = np.array([[0.0 if i == j else row[3 - i - j] for j in range(3)] for i in range(3)])
    np.testing.assert_allclose(found, hessian @ w)
