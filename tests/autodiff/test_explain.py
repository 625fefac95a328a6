"""Gradients as index notation, and the label of every read that a gradient flows through."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

import tensorc as tc
from tensorc.errors import GradientError
from tensorc.te.tensor import placeholder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.te.tensor import Tensor


def explained(y: Tensor, *wrt: Tensor) -> str:
    seed = placeholder(y.shape, y.dtype, name="g")
    return str(tc.explain_grad(y, list(wrt), seed))


def test_a_convolution_is_explained() -> None:
    x, w, r = placeholder((20,), name="x"), placeholder((3,), name="w"), tc.reduce_axis(3, "r")
    y = tc.compute((9,), lambda i: tc.sum(x[i * 2 + r] * w[r], axis=r), name="y")
    assert explained(y, x, w) == dedent("""\
        gradient of y with respect to x, w
            d.x.0[i0] = sum(g[i0 - r] * w[r * 2], axis=r, where=i0 >= r and i0 < r + 9)
            d.x.1[i0] = where(i0 < 9, g[i0] * w[1], 0.0)
            d.x[i0] = where(i0 % 2 == 0, d.x.0[i0 // 2], d.x.1[i0 // 2])
            d.w[r] = sum(x[i * 2 + r] * g[i], axis=i)
        reads of w
            w[r] in y: gather, since every index is solved for an axis
        reads of x
            x[i * 2 + r] in y: strided gather, since i0 % 2 decides which iterations read an element
                i = i0 // 2 - r, r = r * 2 + i0 % 2""")


def test_a_gather_by_data_is_explained_as_a_scatter() -> None:
    x, idx = placeholder((5, 4), name="x"), placeholder((7,), "int64", name="idx")
    y = tc.compute((7, 4), lambda i, j: tc.exp(x[idx[i], j]), name="y")
    assert explained(y, x) == dedent("""\
        gradient of y with respect to x
            d.x[i0, j] = sum(g[i, j] * y[i, j], axis=i, where=idx[i] == i0)
        reads of x
            x[idx[i], j] in y: scatter, since idx[i] is read from data, and any iteration may give \
any element
                d.x[idx[i], j] += ... for each iteration of y""")


def test_a_recurrence_is_explained() -> None:
    x = placeholder((6,), name="x")
    s = tc.scan((6,), lambda s, t: s * 0.5 + x[t], name="s")
    assert explained(s, x) == dedent("""\
        gradient of s with respect to x
            d.s[t] = g[t] + where(t == 5, 0.0, 0.5 * after), after from 0.0 down t
            d.x[t] = d.s[t]
        reads of x
            x[t] in s: gather, since every index is solved for an axis""")


def test_what_is_no_gather_is_refused_where_one_is_required() -> None:
    x, idx = placeholder((5,), name="x"), placeholder((7,), "int64", name="idx")
    y = tc.compute((), lambda: x[2] * 3.0, name="y")
    assert tc.grad(y, x, require="gather").name == "d.x"
    i = tc.reduce_axis(7, "i")
    z = tc.compute((), lambda: tc.sum(x[idx[i]], axis=i), name="z")
    with pytest.raises(GradientError) as error:
        tc.grad(z, x, require="gather")
    assert str(error.value) == (
        "grad of z: a gather is required, and the gradient of x through x[idx[i]] in z is a "
        "scatter: idx[i] is read from data, and any iteration may give any element; without "
        "require='gather' it is accumulated in order, one iteration after the other"
    )
    q = tc.compute((3,), lambda i: x[i * i], name="q")
    with pytest.raises(GradientError) as error:
        tc.grad(q, x, placeholder((3,), name="g"), require="gather")
    assert str(error.value) == (
        "grad of q: a gather is required, and the gradient of x through x[i * i] in q is a "
        "scatter: i * i == i0 has no solution in sums, // and %; without require='gather' it is "
        "accumulated in order, one iteration after the other"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"require": "speed"}, "grad of y: require can be 'gather' or None, got 'speed'"),
        ({"ties": "last"}, "grad: ties must be one of first, split, all, got 'last'"),
    ],
)
def test_a_wish_that_is_not_understood_is_refused(arguments: dict[str, str], message: str) -> None:
    x = placeholder((), name="x")
    y = tc.compute((), lambda: x[()] * 3.0, name="y")
    with pytest.raises(GradientError) as error:
        tc.grad(y, x, **arguments)  # type: ignore[call-overload]
    assert str(error.value) == message


def image(channels: int = 4, size: int = 8) -> Tensor:
    return placeholder((2, channels, size, size), name="x")


def conv(**options: Any) -> Callable[[], tuple[Tensor, list[Tensor]]]:
    def made() -> tuple[Tensor, list[Tensor]]:
        x = image()
        w = placeholder((6, 4 // options.get("groups", 1), 3, 3), name="w")
        return tc.ops.conv2d(x, w, **options), [x, w]

    return made


def of_image(function: Callable[[Tensor], Tensor]) -> Callable[[], tuple[Tensor, list[Tensor]]]:
    def made() -> tuple[Tensor, list[Tensor]]:
        x = image()
        return function(x), [x]

    return made


def transposed_conv() -> tuple[Tensor, list[Tensor]]:
    x, w = image(), placeholder((4, 6, 3, 3), name="w")
    return tc.ops.conv_transpose2d(x, w, stride=2, padding=1), [x, w]


def product() -> tuple[Tensor, list[Tensor]]:
    a, b = placeholder((5, 6), name="a"), placeholder((6, 7), name="b")
    return tc.ops.matmul(a, b), [a, b]


def attention() -> tuple[Tensor, list[Tensor]]:
    q, k, v = (placeholder((2, 5, 4), name=n) for n in "qkv")
    return tc.ops.attention(q, k, v), [q, k, v]


def layer_norm() -> tuple[Tensor, list[Tensor]]:
    x, w, b = (
        placeholder((3, 6), name="x"),
        placeholder((6,), name="w"),
        placeholder((6,), name="b"),
    )
    return tc.ops.layer_norm(x, weight=w, bias=b), [x, w, b]


GATHERS: dict[str, Callable[[], tuple[Tensor, list[Tensor]]]] = {
    "matmul": product,
    "conv": conv(),
    "conv of stride 2": conv(stride=2),
    "conv with padding": conv(padding=1),
    "conv with dilation": conv(dilation=2),
    "conv of groups": conv(groups=2),
    "conv of all": conv(stride=2, padding=2, dilation=2, groups=2),
    "transposed conv": transposed_conv,
    "max pool": of_image(lambda x: tc.ops.max_pool2d(x, 2)),
    "overlapping max pool": of_image(lambda x: tc.ops.max_pool2d(x, 3, stride=2, padding=1)),
    "average pool": of_image(lambda x: tc.ops.avg_pool2d(x, 3, stride=2)),
    "softmax": of_image(lambda x: tc.ops.softmax(x, axis=1)),
    "log softmax": of_image(lambda x: tc.ops.log_softmax(x)),
    "layer norm": layer_norm,
    "attention": attention,
}


@pytest.mark.parametrize("name", list(GATHERS))
def test_the_gradients_of_networks_scatter_nothing(name: str) -> None:
    y, wrt = GATHERS[name]()
    labels = tc.explain_grad(y, wrt, placeholder(y.shape, y.dtype, name="g")).labels
    assert labels
    assert {label.kind for label in labels} <= {"gather", "strided gather"}
