"""Counter-based random numbers: the published bits, their distribution, and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ops.run import Array, backends, normal, run
from tensorc import ops
from tensorc.autodiff import grad
from tensorc.dtypes import uint32
from tensorc.errors import ArgumentError, DTypeError, ShapeError
from tensorc.ir.expr import Const
from tensorc.ir.interp import evaluate
from tensorc.ops.random import threefry
from tensorc.te.tensor import placeholder

# The known answers of Random123 1.14, tests/kat_vectors: counter, key, result of threefry2x32 20.
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def rotate(x: Array, by: int) -> Array:
    return (x << np.uint32(by)) | (x >> np.uint32(32 - by))


def reference(places: Array, seed: int, step: int) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds, by NumPy."""
    k = [np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)]
    k.append(k[0] ^ k[1] ^ np.uint32(0x1BD11BDA))
    with np.errstate(over="ignore"):
        x, y = places.astype(np.uint32) + k[0], np.full(places.shape, step, np.uint32) + k[1]
        for i in range(20):
            x = x + y
            y = rotate(y, (13, 15, 26, 6, 17, 29, 16, 24)[i % 8]) ^ x
            if i % 4 == 3:
                n = i // 4 + 1
                x, y = x + k[n % 3], y + k[(n + 1) % 3] + np.uint32(n)
    return x, y


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_threefry_gives_the_published_bits(counter: Any, key: Any, expected: Any) -> None:
    pairs = [tuple(Const(n, uint32) for n in pair) for pair in (key, counter)]
    found = [int(evaluate(threefry(pairs[0], pairs[1], word), {})) for word in (0, 1)]  # type: ignore[arg-type]
    assert tuple(found) == expected


@backends
@pytest.mark.parametrize("seed", [0, 7, 2**63 + 5])
def test_the_bits_follow_from_seed_step_and_place(seed: int, backend: str) -> None:
    s, t = placeholder((), "uint64", name="seed"), placeholder((), "int64", name="step")
    outs = [ops.random_bits((3, 5), s, t), ops.random_bits((3, 5), seed, 9)]
    feeds = {s: np.array(seed, np.uint64), t: np.array(9, np.int64)}
    expected, _ = reference(np.arange(15).reshape(3, 5), seed, 9)
    for found in run(outs, feeds, backend):
        assert found.dtype == np.uint32
        np.testing.assert_array_equal(found, expected)


@backends
def test_uniform_numbers_are_the_upper_bits(backend: str) -> None:
    t = placeholder((), "int32", name="step")
    outs = [ops.random_uniform(64, 3, t), ops.random_uniform(64, 3, t, "float64")]
    single, double = run(outs, {t: np.array(2, np.int32)}, backend)
    x, y = reference(np.arange(64), 3, 2)
    np.testing.assert_array_equal(single, (x >> 8) * np.float32(2.0**-24))
    wide = (x.astype(np.uint64) << np.uint64(32) | y) >> np.uint64(11)
    np.testing.assert_array_equal(double, wide * 2.0**-53)


def test_numbers_are_distributed_as_they_say() -> None:
    n = 40_000
    t = placeholder((), "int64", name="step")
    outs = [ops.random_uniform(n, 1, t), ops.random_normal(n, 1, t)]
    uniform, gauss = run(outs, {t: np.array(0)}, "llvm")
    # Five standard errors of each moment.
    assert abs(uniform.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n)
    assert abs(gauss.mean()) < 5 / np.sqrt(n)
    assert abs(gauss.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((gauss**4).mean() - 3) < 5 * np.sqrt(96 / n)
    assert abs((uniform[1:] * uniform[:-1]).mean() - 0.25) < 5 * np.sqrt(7 / 144 / n)
    assert np.isfinite(gauss).all()


@backends
@pytest.mark.parametrize("rate", [0.3, 0.999])
def test_dropout_keeps_what_the_bits_say(rate: float, backend: str) -> None:
    x = normal((6, 8), 1)
    t, step = placeholder(x.shape), placeholder((), "int64", name="step")
    y = ops.dropout(t, rate, 5, step)
    found, slope = run([y, grad(ops.sum(y * t), t)], {t: x, step: np.array(3)}, backend)
    bits, _ = reference(np.arange(48).reshape(6, 8), 5, 3)
    scale = np.where(bits >= rate * 2**32, 1 / (1 - rate), 0)
    np.testing.assert_allclose(found, x * scale, rtol=2**-23)
    np.testing.assert_allclose(slope, 2 * x * scale, rtol=2**-22)


def test_a_rate_of_zero_leaves_everything() -> None:
    x = placeholder(3)
    assert ops.dropout(x, 0.0, 1) is x


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda x: ops.dropout(x, 1.0, 0),
            ArgumentError,
            "dropout: rate must be at least 0 and below 1, got 1.0",
        ),
        (
            lambda x: ops.dropout(x, 0.5, -1),
            ArgumentError,
            "seed must be an integer of at least 0, got -1",
        ),
        (
            lambda x: ops.dropout(x, 0.5, 0, x),
            DTypeError,
            "step must be an integer, got x: float32[3]",
        ),
        (
            lambda _: ops.random_bits(3, placeholder((2,), "int32", name="s")),
            ShapeError,
            "seed must have no dimensions, got s of shape (2,)",
        ),
        (
            lambda _: ops.random_normal(3, 0, dtype="float16"),
            DTypeError,
            "random_normal: dtype must be float32 or float64, got float16; cast the result",
        ),
        (
            lambda _: ops.dropout(placeholder(3, "int32", name="y"), 0.5, 0),
            DTypeError,
            "dropout: y: int32[3] must be of a float dtype",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as e:
        make(placeholder(3, name="x"))
    assert str(e.value) == message
