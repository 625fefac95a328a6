"""Convolutions against sums over NumPy's sliding windows."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.run import Array, Sizes, backends, gamma, normal, run
from tensorc import ops
from tensorc.autodiff import grad
from tensorc.errors import ShapeError
from tensorc.ir.printer import show
from tensorc.te.reference import evaluate
from tensorc.te.tensor import Tensor, dim, placeholder

Numbers = tuple[int, ...]


def convolved(
    x: Array, w: Array, stride: Numbers, pads: list[Numbers], dilation: Numbers, groups: int
) -> Array:
    """Channels first, any number of dimensions: every window of the padded images, by NumPy."""
    n = len(stride)
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, w.shape[2:], strict=True)]
    axes = tuple(range(2, 2 + n))
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, axes)
    at = [slice(None), slice(None), *(slice(None, None, s) for s in stride)]
    seen = seen[(*at, *(slice(None, None, d) for d in dilation))]
    parts = [
        np.tensordot(a, b, ([1, *range(2 + n, 2 + 2 * n)], [1, *axes]))
        for a, b in zip(np.split(seen, groups, 1), np.split(w, groups, 0), strict=True)
    ]
    return np.moveaxis(np.concatenate(parts, -1), -1, 1)


def last(a: Array) -> Array:
    """Channels last."""
    return np.ascontiguousarray(np.moveaxis(a, 1, -1))


def last_weight(w: Array) -> Array:
    """(out, in, window...) as (window..., in, out)."""
    return np.ascontiguousarray(np.moveaxis(w, (1, 0), (-2, -1)))


def wide(x: Array, w: Array) -> tuple[Array, Array]:
    return x.astype(np.float64), w.astype(np.float64)


@st.composite
def problems(draw: Any) -> dict[str, Any]:
    n = draw(st.sampled_from([1, 2, 2]))
    each = {name: tuple(draw(st.integers(*span)) for _ in range(n)) for name, span in {
        "size": (1, 3), "stride": (1, 3), "dilation": (1, 2), "more": (0, 3),
    }.items()}  # fmt: skip
    pads = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(n)]
    reach = [d * (k - 1) + 1 for d, k in zip(each["dilation"], each["size"], strict=True)]
    inner = [max(1, r - sum(p)) + m for r, p, m in zip(reach, pads, each.pop("more"), strict=True)]
    groups, own, out = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    return each | {
        "x": (draw(st.integers(1, 2)), groups * own, *inner),
        "w": (groups * out, own, *each["size"]),
        "pads": pads,
        "groups": groups,
    }


@backends
@settings(max_examples=12)
@given(p=problems(), channels_last=st.booleans(), symbolic=st.booleans())
def test_a_convolution_is_the_sum_over_its_windows(
    p: dict[str, Any], channels_last: bool, symbolic: bool, backend: str
) -> None:
    x, w = normal(p["x"], 1), normal(p["w"], 2)
    rest = p["stride"], p["pads"], p["dilation"], p["groups"]
    exact, size = convolved(*wide(x, w), *rest), convolved(*wide(abs(x), abs(w)), *rest)
    if channels_last:
        x, w, exact, size = last(x), last_weight(w), last(exact), last(size)
    known = Sizes(symbolic)
    # The number of channels is known: only what windows slide over, and the batch, are symbols.
    shape = [known.size(n) for n in x.shape]
    channel = x.ndim - 1 if channels_last else 1
    shape[channel] = Sizes(False).size(x.shape[channel])
    s, t = placeholder(shape), placeholder(w.shape)
    operation = ops.conv1d if x.ndim == 3 else ops.conv2d
    layout = "NHWC" if channels_last else "NCHW"
    y = operation(s, t, *rest, layout)  # type: ignore[arg-type]
    (found,) = run([y], {s: x, t: w}, backend)
    assert found.shape == exact.shape
    assert np.all(abs(found - exact) <= gamma(np.prod(p["w"][1:]) + 1) * size)


@backends
def test_the_same_padding_keeps_the_size(backend: str) -> None:
    x, w = normal((2, 3, 5, 6), 1), normal((4, 3, 3, 4), 2)
    s, t = placeholder(x.shape), placeholder(w.shape)
    (found,) = run([ops.conv2d(s, t, padding="same")], {s: x, t: w}, backend)
    exact = convolved(*wide(x, w), (1, 1), [(1, 1), (1, 2)], (1, 1), 1)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-4)
    assert found.shape == (2, 4, 5, 6)


@st.composite
def spread_problems(draw: Any) -> dict[str, Any]:
    n = draw(st.sampled_from([1, 2, 2]))
    stride, dilation = (tuple(draw(st.integers(1, 3)) for _ in range(n)) for _ in range(2))
    size = tuple(draw(st.integers(1, 4)) for _ in range(n))
    groups, own, out = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    return {
        "x": (2, groups * own, *(draw(st.integers(2, 4)) for _ in range(n))),
        "w": (groups * own, out, *size),
        "stride": stride,
        "padding": tuple(
            draw(st.integers(0, d * (k - 1) // 2)) for d, k in zip(dilation, size, strict=True)
        ),
        "more": tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        ),
        "dilation": dilation,
        "groups": groups,
    }


def spread(x: Array, w: Array, p: dict[str, Any]) -> Array:
    """What each element adds to the output of a transposed convolution, summed up."""
    n, groups = len(p["stride"]), p["groups"]
    reach = [d * (k - 1) + 1 for d, k in zip(p["dilation"], w.shape[2:], strict=True)]
    full = [
        (m - 1) * s + r + o
        for m, s, r, o in zip(x.shape[2:], p["stride"], reach, p["more"], strict=True)
    ]
    y = np.zeros((len(x), groups * w.shape[1], *full))
    for g in range(groups):
        ins = slice(g * len(w) // groups, (g + 1) * len(w) // groups)
        outs = slice(g * w.shape[1], (g + 1) * w.shape[1])
        for k in np.ndindex(*w.shape[2:]):
            at = tuple(
                slice(i * d, i * d + (m - 1) * s + 1, s)
                for i, d, m, s in zip(k, p["dilation"], x.shape[2:], p["stride"], strict=True)
            )
            y[(slice(None), outs, *at)] += np.moveaxis(
                np.tensordot(x[:, ins], w[(ins, slice(None), *k)], (1, 0)), -1, 1
            )
    cut = tuple(slice(q, m - q) for q, m in zip(p["padding"], full, strict=True))
    return y[(slice(None), slice(None), *cut[:n])]


def both_gradients(
    x: Array, w: Array, g: Array, stride: tuple[int, int], before: tuple[int, int]
) -> tuple[Array, Array]:
    """Of images and of weights: what each element of a window adds to them, one after the other."""
    after = [
        max(0, (n - 1) * s + k - p - e)
        for n, s, k, p, e in zip(g.shape[2:], stride, w.shape[2:], before, x.shape[2:], strict=True)
    ]
    wide = np.pad(x, ((0, 0), (0, 0), *zip(before, after, strict=True)))
    by_x, by_w = np.zeros_like(wide), np.zeros_like(w)
    for u, v in np.ndindex(*w.shape[2:]):
        rows, columns = (
            slice(d, d + s * (n - 1) + 1, s)
            for d, s, n in zip((u, v), stride, g.shape[2:], strict=True)
        )
        by_x[:, :, rows, columns] += np.einsum("bohw,oc->bchw", g, w[:, :, u, v])
        by_w[:, :, u, v] = np.einsum("bohw,bchw->oc", g, wide[:, :, rows, columns])
    inside = [slice(p, p + n) for p, n in zip(before, x.shape[2:], strict=True)]
    return by_x[:, :, inside[0], inside[1]], by_w


@settings(max_examples=60)
@given(data=st.data(), layout=st.sampled_from(["NCHW", "NHWC"]))
def test_the_gradients_of_a_convolution_add_up_its_windows(
    data: st.DataObject, layout: Literal["NCHW", "NHWC"]
) -> None:
    window = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)), "window")
    stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)), "stride")
    before = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)), "before")
    size = tuple(
        data.draw(st.integers(max(1, k - p), k + 3)) for k, p in zip(window, before, strict=True)
    )
    after = data.draw(st.integers(0, 2), "after")
    out = [
        (n + p + after - k) // s + 1
        for n, p, k, s in zip(size, before, window, stride, strict=True)
    ]
    rng = np.random.default_rng(0)
    x, w, g = (
        rng.integers(-4, 5, shape).astype(np.float32)
        for shape in ((2, 3, *size), (2, 3, *window), (2, 2, *out))
    )
    exact = both_gradients(x, w, g, stride, before)
    last = layout == "NHWC"
    images, filters = (0, 2, 3, 1), (2, 3, 1, 0)
    given = [
        a.transpose(o) if last else a
        for a, o in zip((x, w, g), (images, filters, images), strict=True)
    ]
    s, t, u = (placeholder(a.shape) for a in given)
    pads = [(p, after) for p in before]
    y = ops.conv2d(s, t, stride, pads, layout=layout)
    feeds = dict(zip((s, t, u), given, strict=True))
    found = evaluate(grad(y, [s, t], u), feeds)
    for got, want, order in zip(found, exact, (images, filters), strict=True):
        np.testing.assert_array_equal(got, want.transpose(order) if last else want)


def test_the_gradients_of_a_convolution_hold_no_condition() -> None:
    x, w = placeholder((2, 4, 6, 6), name="x"), placeholder((4, 4, 3, 3), name="w")
    g = placeholder((2, 4, 6, 6), name="g")
    by_x, by_w = grad(ops.conv2d(x, w, padding=1), [x, w], g)
    assert show(by_x.op.bodies[0]) == (  # type: ignore[union-attr]
        "sum(pad[i0, c, i2 - k0 + 2, i3 - k1 + 2] * w[c, i1, k0, k1], axis=(c, k0, k1))"
    )
    assert show(by_w.op.inputs[0].op.bodies[0]) == (  # type: ignore[union-attr]
        "sum(pad[r0, i2, r2 + i0, r3 + i1] * d.conv2d[r0, i3, r2, r3], axis=(r0, r2, r3))"
    )


@backends
@settings(max_examples=12)
@given(p=spread_problems(), channels_last=st.booleans())
def test_a_transposed_convolution_adds_a_window_for_each_element(
    p: dict[str, Any], channels_last: bool, backend: str
) -> None:
    x, w = normal(p["x"], 1), normal(p["w"], 2)
    exact, size = spread(*wide(x, w), p), spread(*wide(abs(x), abs(w)), p)
    if channels_last:
        x, w, exact, size = last(x), last_weight(w), last(exact), last(size)
    s, t = placeholder(x.shape), placeholder(w.shape)
    operation = ops.conv_transpose1d if x.ndim == 3 else ops.conv_transpose2d
    layout = "NHWC" if channels_last else "NCHW"
    y = operation(s, t, p["stride"], p["padding"], p["more"], p["dilation"], p["groups"], layout)  # type: ignore[arg-type]
    (found,) = run([y], {s: x, t: w}, backend)
    assert found.shape == exact.shape
    assert np.all(abs(found - exact) <= gamma(np.prod(p["w"]) + 1) * size)


X, W = placeholder((2, 4, 7, 7), name="x"), placeholder((6, 4, 3, 3), name="w")
F, N = placeholder((2, 7, 7, 4), name="f"), dim("n")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ops.conv2d(placeholder((2, 4, 7), name="x"), W),
            "conv2d: x must have dimensions (batch, channels, height, width), got x of shape "
            "(2, 4, 7)",
        ),
        (
            lambda: ops.conv1d(F, W, layout="NHWC"),
            "conv1d: x must have dimensions (batch, length, channels), got f of shape (2, 7, 7, 4)",
        ),
        (
            lambda: ops.conv2d(X, W, layout="CHWN"),  # type: ignore[arg-type]
            "conv2d: layout must be 'NCHW' or 'NHWC', got 'CHWN'",
        ),
        (
            lambda: ops.conv2d(X, placeholder((6, 4, 3), name="w")),
            "conv2d: weight must have 4 dimensions, got w of shape (6, 4, 3)",
        ),
        (
            lambda: ops.conv2d(X, placeholder((6, 4, 3, N), name="w")),
            "conv2d: the window must have fixed sizes of at least 1, got w of shape (6, 4, 3, n)",
        ),
        (
            lambda: ops.conv2d(X, W, groups=2),
            "conv2d: x of shape (2, 4, 7, 7) has 4 channels, and w of shape (6, 4, 3, 3) in 2 "
            "groups takes 8",
        ),
        (
            lambda: ops.conv2d(X, W, groups=4),
            "conv2d: the 6 channels in dimension 0 of w cannot be cut into 4 equal groups",
        ),
        (
            lambda: ops.conv2d(X, W, stride=0),
            "conv2d: stride must be an integer of at least 1, or 2 of them, got 0",
        ),
        (
            lambda: ops.conv2d(X, W, dilation=(1, 1, 1)),
            "conv2d: dilation must be an integer of at least 1, or 2 of them, got (1, 1, 1)",
        ),
        (
            lambda: ops.conv2d(X, W, padding="full"),  # type: ignore[arg-type]
            "conv2d: padding must be an integer of at least 0, 2 of them or of pairs (before, "
            "after), 'same' or 'valid', got 'full'",
        ),
        (
            lambda: ops.conv2d(X, W, stride=2, padding="same"),
            "conv2d: padding='same' takes stride 1, got (2, 2)",
        ),
        (
            lambda: ops.conv2d(X, W, dilation=(1, 4)),
            "conv2d: a window of 3 elements, 4 apart, does not fit into dimension 3 of x, 7 with a "
            "padding of 0 + 0",
        ),
        (
            lambda: ops.conv_transpose2d(X, W),
            "conv_transpose2d: x of shape (2, 4, 7, 7) has 4 channels, and w of shape (6, 4, 3, 3) "
            "takes 6",
        ),
        (
            lambda: ops.conv_transpose2d(X, placeholder((4, 2, 3, 3)), 2, output_padding=2),
            "conv_transpose2d: output_padding 2 must be less than the stride 2 or the dilation 1",
        ),
        (
            lambda: ops.conv_transpose2d(X, placeholder((4, 2, 1, 1)), padding=4),
            "conv_transpose2d: a padding of 4 leaves nothing of dimension 2, 7 in x",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ShapeError) as e:
        make()
    assert str(e.value) == message


def test_the_result_is_named_after_its_operation() -> None:
    y: Tensor = ops.conv2d(X, W, stride=2, padding=1)
    assert str(y) == "conv2d: float32[2, 6, 4, 4]"
