"""Index patterns: the gradient of each against what scattering every read gives, and compiled.

A pattern is a shape, the sizes of its reduce axes, the size of what is read and the index that is
read, written once for integers and for expressions. Cotangents are small integers, so sums are
exact and any order gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from tensorc.te.reference import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.te.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Pattern:
    """`y[p] = sum(where(inside(p, r), a[index(p, r)], 0) * w[r], axis=r)`.

    `inside` may be left out, and so may the axes r; `labels` are the kinds that the gradient has.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]
    index: Callable[..., tuple[Any, ...]]
    window: tuple[int, ...] = ()
    inside: Callable[..., Any] | None = None
    kind: str = "gather"
    extra: tuple[Callable[..., tuple[Any, ...]], ...] = field(default=())


def both(*conds: Any) -> Any:
    result = conds[0]
    for cond in conds[1:]:
        result = result & cond
    return result


def within(i: Any, n: int) -> Any:
    return (i >= 0) & (i < n)


def reflect(i: Any, n: int) -> Any:
    return least(abs_of(i), 2 * n - 2 - abs_of(i))


def abs_of(i: Any) -> Any:
    return abs(i) if isinstance(i, int) else tc.maximum(i, -i)


def least(a: Any, b: Any) -> Any:
    return min(a, b) if isinstance(a, int) else tc.minimum(a, b)


def clamp(i: Any, n: int) -> Any:
    return max(0, min(i, n - 1)) if isinstance(i, int) else tc.minimum(tc.maximum(i, 0), n - 1)


STRIDED, SCATTER = "strided gather", "scatter"
PATTERNS: dict[str, Pattern] = {
    # Copies.
    "identity": Pattern((6,), (6,), lambda i: (i,)),
    "transpose": Pattern((3, 4), (4, 3), lambda i, j: (j, i)),
    "rotate axes": Pattern((2, 3, 4), (4, 2, 3), lambda i, j, k: (k, i, j)),
    "shift": Pattern((5,), (9,), lambda i: (i + 3,)),
    "slice with step": Pattern((4,), (9,), lambda i: (2 * i + 1,), kind=STRIDED),
    "slice in two axes": Pattern((2, 3), (7, 9), lambda i, j: (3 * i + 1, 2 * j), kind=STRIDED),
    "reversed": Pattern((6,), (6,), lambda i: (5 - i,)),
    "reversed with step": Pattern((4,), (9,), lambda i: (8 - 2 * i,), kind=STRIDED),
    "reversed in two axes": Pattern((3, 4), (3, 4), lambda i, j: (2 - i, 3 - j)),
    "broadcast first": Pattern((4, 3), (3,), lambda _i, j: (j,)),
    "broadcast last": Pattern((4, 3), (4,), lambda i, _j: (i,)),
    "broadcast one": Pattern((4, 3), (1, 3), lambda _i, j: (0, j)),
    "constant": Pattern((4,), (3,), lambda _i: (1,)),
    "constant in one axis": Pattern((4,), (4, 3), lambda i: (i, 2)),
    "one element": Pattern((1,), (1,), lambda i: (i,)),
    "empty result": Pattern((0,), (3,), lambda i: (i,)),
    "empty input": Pattern((0,), (0,), lambda i: (i,)),
    # Reshapes.
    "flatten": Pattern((12,), (3, 4), lambda f: (f // 4, f % 4), kind=STRIDED),
    "unflatten": Pattern((3, 4), (12,), lambda i, j: (4 * i + j,), kind=STRIDED),
    "split in three": Pattern(
        (2, 5, 2), (20,), lambda i, j, k: (10 * i + 2 * j + k,), kind=STRIDED
    ),
    "space to depth": Pattern(
        (2, 3, 2, 2), (4, 6), lambda i, j, a, b: (2 * i + a, 2 * j + b), kind=STRIDED
    ),
    "depth to space": Pattern(
        (4, 6), (2, 3, 4), lambda i, j: (i // 2, j // 2, i % 2 * 2 + j % 2), kind=STRIDED
    ),
    # Diagonals and triangles.
    "diagonal": Pattern((6,), (6, 6), lambda i: (i, i)),
    "diagonal of three": Pattern((3,), (3, 3, 3), lambda i: (i, i, i)),
    "upper diagonal": Pattern((5,), (6, 6), lambda i: (i, i + 1)),
    "antidiagonal": Pattern((4,), (4, 4), lambda i: (i, 3 - i)),
    "trace": Pattern((), (4, 4), lambda k: (k, k), (4,)),
    "batched diagonal": Pattern((2, 3), (2, 3, 3), lambda b, i: (b, i, i)),
    "lower triangle": Pattern((4, 4), (4, 4), lambda i, j: (i, j), (), lambda i, j: j <= i),
    "strict triangle sum": Pattern((4,), (4, 4), lambda i, k: (i, k), (4,), lambda i, k: k < i),
    "triangle by shift": Pattern((4,), (4,), lambda i, k: (i + k,), (4,), lambda i, k: i + k < 4),
    # Up- and downsampling, circular reads.
    "upsample by 2": Pattern((7,), (4,), lambda i: (i // 2,), kind=STRIDED),
    "upsample by 3 in two axes": Pattern(
        (6, 9), (2, 3), lambda i, j: (i // 3, j // 3), kind=STRIDED
    ),
    "upsample with offset": Pattern((8,), (5,), lambda i: ((i + 1) // 2,), kind=STRIDED),
    "tile": Pattern((11,), (4,), lambda i: (i % 4,), kind=STRIDED),
    "rotation": Pattern((5,), (5,), lambda i: ((i + 3) % 5,), kind=STRIDED),
    "rotation back": Pattern((7,), (7,), lambda i: ((i - 2) % 7,), kind=STRIDED),
    "circular window": Pattern((6,), (6,), lambda i, r: ((i + r) % 6,), (3,), kind=STRIDED),
    "stepped rotation": Pattern((7,), (7,), lambda i: (i * 3 % 7,), kind=STRIDED),
    "nested division": Pattern((12,), (2,), lambda i: (i // 2 // 3,), kind=STRIDED),
    "transposed reads by 2": Pattern((4, 4), (2, 2), lambda i, j: (j // 2, i // 2), kind=STRIDED),
    # Skewed reads.
    "sum of axes": Pattern((4, 3), (6, 3), lambda i, j: (i + j, j)),
    "Hankel": Pattern((4, 3), (6,), lambda i, j: (i + j,)),
    "Toeplitz": Pattern((4, 3), (6,), lambda i, j: (i - j + 2,)),
    "2i + 3j": Pattern((4, 3), (14,), lambda i, j: (2 * i + 3 * j,), kind=STRIDED),
    "2i + 4j": Pattern((4, 3), (15,), lambda i, j: (2 * i + 4 * j,), kind=STRIDED),
    "3i - 2j": Pattern((4, 3), (14,), lambda i, j: (3 * i - 2 * j + 4,), kind=STRIDED),
    "both sums": Pattern((3, 3), (5, 5), lambda i, j: (i + j, i - j + 2), kind=STRIDED),
    "three terms": Pattern((2, 3, 4), (8,), lambda i, j, k: (i + j + k,)),
    # Convolutions.
    "window": Pattern((6,), (8,), lambda i, r: (i + r,), (3,)),
    "window of stride 2": Pattern((4,), (9,), lambda i, r: (2 * i + r,), (3,), kind=STRIDED),
    "window of stride 3": Pattern((4,), (13,), lambda i, r: (3 * i + r,), (4,), kind=STRIDED),
    "disjoint windows": Pattern((4,), (12,), lambda i, r: (3 * i + r,), (3,), kind=STRIDED),
    "windows with gaps": Pattern((4,), (18,), lambda i, r: (5 * i + r,), (2,), kind=STRIDED),
    "dilation": Pattern((5,), (9,), lambda i, r: (i + 2 * r,), (3,)),
    "stride and dilation": Pattern((4,), (13,), lambda i, r: (2 * i + 3 * r,), (3,), kind=STRIDED),
    "even stride and dilation": Pattern(
        (4,), (13,), lambda i, r: (2 * i + 2 * r,), (4,), kind=STRIDED
    ),
    "flipped window": Pattern((5,), (7,), lambda i, r: (i - r + 2,), (3,)),
    "zero padding": Pattern(
        (7,), (7,), lambda i, r: (i + r - 1,), (3,), lambda i, r: within(i + r - 1, 7)
    ),
    "stride and padding": Pattern(
        (4,),
        (7,),
        lambda i, r: (2 * i + r - 1,),
        (3,),
        lambda i, r: within(2 * i + r - 1, 7),
        kind=STRIDED,
    ),
    "two axes of stride 2": Pattern(
        (4, 4), (9, 9), lambda i, j, r, s: (2 * i + r, 2 * j + s), (3, 3), kind=STRIDED
    ),
    "two axes with padding": Pattern(
        (4, 4),
        (4, 4),
        lambda i, j, r, s: (i + r - 1, j + s - 1),
        (3, 3),
        lambda i, j, r, s: both(within(i + r - 1, 4), within(j + s - 1, 4)),
    ),
    "groups": Pattern(
        (4, 5), (4, 7), lambda o, i, c, r: (o // 2 * 2 + c, i + r), (2, 3), kind=STRIDED
    ),
    "transposed convolution": Pattern(
        (9,),
        (4,),
        lambda p, r: ((p - r) // 2,),
        (3,),
        lambda p, r: both((p - r) % 2 == 0, within(p - r, 8)),
        kind=STRIDED,
    ),
    # Padding modes.
    "constant padding": Pattern((9,), (5,), lambda i: (i - 2,), (), lambda i: within(i - 2, 5)),
    "circular padding": Pattern((9,), (5,), lambda i: ((i - 2) % 5,), kind=STRIDED),
    "reflection": Pattern((9,), (5,), lambda i: (reflect(i - 2, 5),), kind=SCATTER),
    "edge padding": Pattern((9,), (5,), lambda i: (clamp(i - 2, 5),), kind=SCATTER),
    "square": Pattern((4,), (10,), lambda i: (i * i,), kind=SCATTER),
    "product of axes": Pattern((3, 4), (7,), lambda i, j: (i * j,), kind=SCATTER),
    # Several reads of one tensor.
    "neighbours": Pattern((5,), (6,), lambda i: (i,), extra=(lambda i: (i + 1,),)),
    "with its mirror": Pattern((6,), (6,), lambda i: (i,), extra=(lambda i: (5 - i,),)),
    "with its transpose": Pattern(
        (4, 4), (4, 4), lambda i, j: (i, j), extra=(lambda i, j: (j, i),)
    ),
    "stencil": Pattern(
        (4, 4),
        (6, 6),
        lambda i, j: (i + 1, j + 1),
        extra=(
            lambda i, j: (i, j + 1),
            lambda i, j: (i + 2, j + 1),
            lambda i, j: (i + 1, j),
            lambda i, j: (i + 1, j + 2),
        ),
    ),
    "even and odd": Pattern(
        (4,), (8,), lambda i: (2 * i,), extra=(lambda i: (2 * i + 1,),), kind=STRIDED
    ),
    "row and column": Pattern((4,), (4, 4), lambda i: (i, 0), extra=(lambda i: (0, i),)),
}


def defined(pattern: Pattern, tag: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """The pattern as a tensor, what it reads, and the weights of its window."""
    a = tc.placeholder(pattern.size, "float64", name=f"A{tag}")
    w = tc.placeholder(pattern.window or (1,), "float64", name=f"w{tag}")
    reduced = tuple(tc.reduce_axis(n, f"r{d}") for d, n in enumerate(pattern.window))

    def body(*point: Any) -> Any:
        at = (*point, *reduced)
        value = a[pattern.index(*at)]
        for k, more in enumerate(pattern.extra):
            value = value + (k + 2.0) * a[more(*at)]
        if pattern.inside is not None:
            value = tc.where(pattern.inside(*at), value, 0.0)
        value = value * w[reduced or (0,)]
        return tc.sum(value, axis=reduced) if reduced else value

    return tc.compute(pattern.shape, body, name=f"Y{tag}"), a, w


def scattered(pattern: Pattern, seed: Any, weights: Any) -> Any:
    """The cotangent of what is read, point by point."""
    total = np.zeros(pattern.size)
    for point in np.ndindex(*pattern.shape, *pattern.window):
        here, place = point[: len(pattern.shape)], point[len(pattern.shape) :]
        if pattern.inside is None or pattern.inside(*point):
            value = seed[here] * weights[place or (0,)]
            total[pattern.index(*point)] += value
            for k, more in enumerate(pattern.extra):
                total[more(*point)] += (k + 2.0) * value
    return total


@pytest.mark.parametrize("name", list(PATTERNS))
def test_a_pattern_has_the_gradient_that_scattering_gives(name: str) -> None:
    pattern = PATTERNS[name]
    y, a, w = defined(pattern)
    seed = tc.placeholder(pattern.shape, "float64", name="seed")
    rng = np.random.default_rng(0)
    cotangent = rng.integers(-4, 5, pattern.shape).astype(np.float64)
    weights = rng.integers(-4, 5, pattern.window or (1,)).astype(np.float64)
    gradient = tc.grad(y, a, seed)
    feeds = {seed: cotangent, w: weights}
    expected = scattered(pattern, cotangent, weights)
    np.testing.assert_array_equal(evaluate([gradient], feeds)[0], expected)
    # Once more for the gradient itself: y is linear in A, so <seed, J v> is <J' seed, v>.
    v = tc.placeholder(pattern.size, "float64", name="v")
    move = rng.integers(-4, 5, pattern.size).astype(np.float64)
    (moved,) = evaluate([tc.jvp(y, a, v)], {a: move, v: move, w: weights})
    assert np.sum(moved * cotangent) == np.sum(expected * move)
    kinds = {label.kind for label in tc.explain_grad(y, a, seed).labels}
    assert kinds == ({pattern.kind} if 0 not in pattern.shape else {"gather"})


COMPILED = [
    "2i + 3j",
    "circular window",
    "diagonal",
    "groups",
    "lower triangle",
    "reflection",
    "square",
    "stencil",
    "stride and padding",
    "transposed convolution",
    "two axes of stride 2",
    "upsample by 2",
]


def test_the_gradients_of_patterns_compile() -> None:
    """One program of a dozen gradients, since compiling is what takes time."""
    gradients, inputs, arrays, expected = [], [], [], []
    rng = np.random.default_rng(1)
    for k, name in enumerate(COMPILED):
        pattern = PATTERNS[name]
        y, a, w = defined(pattern, str(k))
        seed = tc.placeholder(pattern.shape, "float64", name=f"seed{k}")
        cotangent = rng.integers(-4, 5, pattern.shape).astype(np.float64)
        weights = rng.integers(-4, 5, pattern.window or (1,)).astype(np.float64)
        gradients.append(tc.grad(y, a, seed))
        inputs.extend([seed, w])
        arrays.extend([cotangent, weights])
        expected.append(scattered(pattern, cotangent, weights))
    f = tc.compile(gradients, inputs=inputs)
    for name, found, wanted in zip(COMPILED, f(*arrays), expected, strict=True):
        np.testing.assert_array_equal(found, wanted, err_msg=name)
