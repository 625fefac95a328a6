"""Activations against their formulas in float64."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ops.run import Array, backends, run
from tensorc import ops
from tensorc.autodiff import grad
from tensorc.errors import ArgumentError
from tensorc.te.tensor import Tensor, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable

# A few operations and functions of 2 ulp, none of which cancel beyond a few bits.
RTOL, ATOL = 1e-6, 1e-7
X = np.array([-90, -3, -0.5, -1e-3, 0, 1e-3, 0.5, 3, 90], np.float32)
erf = np.vectorize(math.erf)

CASES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Array], Array]]] = {
    "relu": (ops.relu, lambda x: np.maximum(x, 0)),
    "leaky_relu": (lambda t: ops.leaky_relu(t, 0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
    "elu": (lambda t: ops.elu(t, 0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    "gelu": (ops.gelu, lambda x: x * (1 + erf(x / math.sqrt(2))) / 2),
    "gelu_tanh": (
        lambda t: ops.gelu(t, "tanh"),
        lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    ),
    "silu": (ops.silu, lambda x: x / (1 + np.exp(-x))),
    "softplus": (ops.softplus, lambda x: np.logaddexp(0, x)),
}


@backends
@pytest.mark.parametrize("name", CASES)
def test_an_activation_is_its_formula(name: str, backend: str) -> None:
    build, formula = CASES[name]
    t = placeholder(X.shape)
    (found,) = run([build(t)], {t: X}, backend)
    np.testing.assert_allclose(found, formula(X.astype(np.float64)), RTOL, ATOL)


@backends
def test_softplus_has_the_sigmoid_as_its_derivative_at_zero_too(backend: str) -> None:
    t = placeholder(X.shape)
    y = ops.softplus(t)
    first = grad(ops.sum(y), t)
    second = grad(ops.sum(first), t)
    found = run([first, second], {t: X}, backend)
    s = 1 / (1 + np.exp(-X.astype(np.float64)))
    np.testing.assert_allclose(found[0], s, RTOL, ATOL)
    np.testing.assert_allclose(found[1], s * (1 - s), RTOL, ATOL)


def test_gelu_names_its_two_forms() -> None:
    with pytest.raises(ArgumentError) as e:
        ops.gelu(placeholder(3), "exact")  # type: ignore[arg-type]
    assert str(e.value) == "gelu: approximate must be 'none' or 'tanh', got 'exact'"
