"""What cannot be differentiated, and gradients asked for in a wrong way: the whole message."""

from __future__ import annotations

import numpy as np
import pytest

from tensorc.autodiff import check_grad, grad
from tensorc.autodiff.check import check_grad as check
from tensorc.dtypes import float32
from tensorc.errors import GradientError
from tensorc.ir.expr import Call, call
from tensorc.te import reduce as te
from tensorc.te.reduce import reduce_axis
from tensorc.te.tensor import Tensor, compute, placeholder


def refusal(y: Tensor, wrt: Tensor | list[Tensor], seed: Tensor | None = None) -> str:
    with pytest.raises(GradientError) as error:
        grad(y, wrt, seed)
    return str(error.value)


def test_a_tensor_of_many_elements_needs_a_seed() -> None:
    a = placeholder((3, 4), name="a")
    assert refusal(a, a) == (
        "grad of a, of shape (3, 4): reduce it to one number first, as in tc.ops.sum, or give a "
        "seed of that shape, the cotangent of each element"
    )


def test_one_element_in_several_dimensions_needs_none() -> None:
    a = placeholder((1, 1), name="a")
    assert grad(a, a).ndim == 2


def test_a_seed_must_fit() -> None:
    a = placeholder((3,), name="a")
    assert refusal(a, a, placeholder((4,), name="s")) == (
        "grad of a: the seed s is float32 of shape (4), and must be float32 of shape (3)"
    )
    assert refusal(a, a, placeholder((3,), "float64", name="s")) == (
        "grad of a: the seed s is float64 of shape (3), and must be float32 of shape (3)"
    )


def test_integers_have_no_gradient() -> None:
    a, i = placeholder((), name="a"), placeholder((), "int32", name="i")
    assert refusal(a, i) == ("grad with respect to i: it is int32, and only floats have a gradient")
    assert refusal(i, a) == "grad of i: it is int32, and only floats have a gradient"


def test_a_bitcast_is_named() -> None:
    a = placeholder((3,), name="a")
    same = compute((3,), lambda i: Call("bitcast", (a[i],), float32), name="B")
    assert refusal(same, a, placeholder((3,), name="s")) == (
        "B: bitcast(float32, a[i]) has no derivative: bitcast reads bits; where zero is meant, "
        "wrap it in stop_gradient"
    )


def test_a_stopped_reducer_is_not_refused() -> None:
    a, k = placeholder((3,), name="a"), reduce_axis(3, "k")
    fold = te.reducer(lambda x, y: x * y + x + y, 0.0, name="mix")
    folded = compute((), lambda: fold(call("stop_gradient", a[k]), axis=k), name="F")
    y = compute((), lambda: folded[()] * a[0], name="Y")
    assert grad(y, a).name == "d.a"


def test_check_grad_wants_float64() -> None:
    a = placeholder((3,), name="a")
    y = compute((3,), lambda i: a[i] * 2.0, name="Y")
    with pytest.raises(GradientError) as error:
        check_grad(y, a, {a: np.ones(3, np.float32)})
    assert str(error.value) == (
        "check_grad needs float64, and a is float32: build the graph from placeholders of "
        'dtype="float64"'
    )


def test_check_grad_wants_placeholders() -> None:
    a = placeholder((3,), "float64", name="a")
    y = compute((3,), lambda i: a[i] * 2.0, name="Y")
    with pytest.raises(GradientError) as error:
        check_grad(y, y, {a: np.ones(3)})
    assert str(error.value) == ("check_grad: Y must be a placeholder that feeds gives a value for")


def test_check_grad_reports_a_gradient_that_is_wrong() -> None:
    a = placeholder((3,), "float64", name="a")
    y = compute((3,), lambda i: a[i] * call("stop_gradient", a[i]), name="Y")
    with pytest.raises(
        GradientError, match=r"the gradient of Y with respect to a is -?[0-9.]+ along"
    ):
        check(y, a, {a: np.ones(3)})
