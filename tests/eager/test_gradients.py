"""Gradients of tensors that hold data: where they go, how often, and when there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from tensorc.ir.expr import call

if TYPE_CHECKING:
    from collections.abc import Callable


def leaf(*values: float) -> Any:
    return tc.tensor(list(map(float, values)), requires_grad=True)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(tc.GradientError) as caught:
        action()
    return str(caught.value)


def test_backward_adds_to_the_gradient_of_every_leaf() -> None:
    x, y, constant = leaf(1, 2), leaf(3, 4), tc.tensor([5.0, 6.0])
    loss = (x * y * constant).sum()
    loss.backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([15.0, 24.0], [5.0, 12.0])
    (x * x).sum().backward()
    assert x.grad.tolist() == [17.0, 28.0]
    x.zero_grad()
    assert x.grad is None
    assert constant.grad is None


def test_a_gradient_can_be_computed_with() -> None:
    x = leaf(3, 4)
    (x * x).sum().backward()
    norm = tc.sqrt((x.grad * x.grad).sum())
    assert float(norm) == 10.0
    assert not norm.requires_grad


def test_a_tensor_of_any_shape_takes_the_gradient_of_each_element() -> None:
    x = leaf(1, 2, 3)
    (x * x).backward(tc.tensor([1.0, 0.0, 10.0]))
    assert x.grad.tolist() == [2.0, 0.0, 60.0]


def test_the_value_and_every_gradient_are_computed_together(compiled: list[str]) -> None:
    x, y = leaf(1, 2), leaf(3, 4)
    middle = x * y
    loss = middle.sum()
    loss.backward()
    assert x.grad.tolist() == [3.0, 4.0]
    assert (y.grad.tolist(), middle.tolist(), float(loss)) == ([1.0, 2.0], [3.0, 8.0], 11.0)
    assert len(compiled) == 1


def test_asking_for_a_value_first_changes_no_gradient() -> None:
    x = leaf(0.5, 2)
    middle = tc.exp(x)
    loss = (middle * x).sum()
    assert float(loss) > 0
    assert len(middle.tolist()) == 2
    loss.backward()
    wanted = np.exp(x.numpy()) * (1 + x.numpy())
    # Two roundings of products and one of exp, each of at most 2 ulp.
    np.testing.assert_allclose(x.grad.numpy(), wanted, rtol=6 * 2**-23)


def test_no_gradient_flows_through_what_is_detached_or_recorded_without() -> None:
    x = leaf(1, 2)
    with tc.no_grad():
        constant = x * 3
    (x * constant + x.detach() * x + x.data).sum().backward()
    assert x.grad.tolist() == [4.0, 8.0]

    @tc.no_grad()
    def doubled(x: Any) -> Any:
        return x * 2

    assert not doubled(x).requires_grad
    assert (x * 2).requires_grad


def test_a_leaf_that_requires_a_gradient_later_takes_none_of_what_was_before() -> None:
    x = tc.tensor([1.0, 2.0])
    before = x * 10
    x.requires_grad = True
    (before * x).sum().backward()
    assert x.grad.tolist() == [10.0, 20.0]


def test_gradients_of_gradients() -> None:
    x = leaf(1, 2)
    (first,) = tc.grad((x * x * x).sum(), [x])
    assert first.tolist() == [3.0, 12.0]
    second = tc.grad(first.sum(), x)
    assert second.tolist() == [6.0, 12.0]
    assert tc.grad(second.sum(), x).tolist() == [6.0, 6.0]
    assert x.grad is None

    y = leaf(1, 2)
    (y * y * y).sum().backward(create_graph=True)
    (y.grad * y.grad).sum().backward()
    # The derivative of 9 y**4 comes on top of that of y**3.
    assert y.grad.tolist() == [3.0 + 36.0, 12.0 + 288.0]


def test_a_gradient_whose_sibling_was_dropped_is_still_right() -> None:
    x, y = leaf(1, 2), leaf(3, 4)
    by_x, by_y = tc.grad((x * y).sum(), [x, y])
    doubled = by_y * 2
    del by_y
    assert by_x.tolist() == [3.0, 4.0]
    assert doubled.tolist() == [2.0, 4.0]


def test_a_gradient_with_respect_to_an_intermediate_result() -> None:
    x = leaf(1, 2)
    middle = x * 3
    assert tc.grad((middle * middle).sum(), middle).tolist() == [6.0, 12.0]


def test_options_of_grad() -> None:
    x = leaf(2, 1, 2)
    assert tc.grad(x.max(), x).tolist() == [0.5, 0.0, 0.5]
    assert tc.grad(x.max(), x, ties="first").tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(tc.GradientError):
        tc.grad(x[[0, 0]].sum(), x, require="gather")
    assert tc.grad(x[[0, 0]].sum(), x).tolist() == [2.0, 0.0, 0.0]


def test_two_losses_of_one_graph() -> None:
    x = leaf(1, 2)
    shared = x * x
    shared.sum().backward(retain_graph=True)
    assert x.grad.tolist() == [2.0, 4.0]
    (shared * 2).sum().backward()
    assert x.grad.tolist() == [6.0, 12.0]
    assert refusal(lambda: shared.sum().backward()) == (
        "backward goes through a graph that an earlier backward has freed; give that one "
        "retain_graph=True, or compute the values anew"
    )


def test_what_has_no_gradient_says_why() -> None:
    x = leaf(1, 2)
    assert refusal(lambda: (x * 2).backward()) == (
        "backward of a tensor of shape (2,): reduce it to one number first, as in x.sum(), or give "
        "the gradient of each element"
    )
    assert refusal(lambda: (x * 2).backward(tc.tensor(1.0))) == (
        "backward: the gradient is float32 of shape (), and must be float32 of shape (2,)"
    )
    assert refusal(lambda: tc.tensor(1.0).backward()) == (
        "backward of a tensor that depends on none with requires_grad=True, or was recorded under "
        "no_grad"
    )
    assert refusal(lambda: x.argmax().backward()) == (
        "backward of a tensor of int64: only floats have a gradient"
    )
    assert refusal(lambda: (x * 2).grad) == (
        "grad of the result of an operation: only tensors made by tc.tensor(..., "
        "requires_grad=True) and parameters keep one; tc.grad(y, x) gives the gradient with "
        "respect to any x"
    )
    assert refusal(lambda: tc.grad(x.sum(), [tc.tensor(1.0)])) == (
        "grad with respect to tensor(1., dtype=float32): a tensor with requires_grad=True is needed"
    )

    def set_flag() -> None:
        (x * 2).requires_grad = False

    assert refusal(set_flag) == (
        "requires_grad of a result follows from its operands; detach() gives a tensor without "
        "gradients"
    )
    with pytest.raises(tc.DTypeError) as caught:
        tc.tensor([1, 2], requires_grad=True)
    assert str(caught.value) == (
        "a tensor of int64 cannot require a gradient; only floats have one"
    )


def test_an_operation_without_a_derivative_is_refused_by_backward() -> None:
    @tc.operation
    def same_bits(x: Any) -> Any:
        return tc.compute(x.shape, lambda i: call("bitcast", x[i]))

    x = leaf(5, 7)
    y = same_bits(x).sum()
    assert refusal(y.backward) == (
        "t: bitcast(float32, x[i]) has no derivative: bitcast reads bits; where zero is meant, "
        "wrap it in stop_gradient"
    )
