"""Tensors that hold data: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc

if TYPE_CHECKING:
    from collections.abc import Callable


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(tc.TensorcError) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        ([1, 2], "int64"),
        ([[True, False]], "bool"),
        ([1.0, 2], "float32"),
        (np.arange(3.0), "float64"),
        (np.float64(2.0), "float64"),
        (np.arange(6, dtype=np.int8).reshape(2, 3).T, "int8"),
        (np.zeros((2, 0), np.float16), "float16"),
    ],
)
def test_data_keeps_its_values_and_numbers_get_a_dtype(data: Any, dtype: str) -> None:
    made = tc.tensor(data)
    assert made.dtype == getattr(tc, "bool_" if dtype == "bool" else dtype)
    np.testing.assert_array_equal(made.numpy(), np.asarray(data))
    assert made.shape == np.shape(data)


def test_a_dtype_converts() -> None:
    assert tc.tensor([1.7, -1.7], "int32").tolist() == [1, -1]
    assert tc.tensor([1, 2], tc.bfloat16).tolist() == [1.0, 2.0]


def test_the_data_is_a_copy_on_the_way_in_and_out() -> None:
    array = np.ones(3, np.float32)
    made = tc.tensor(array)
    array[0] = 7
    made.numpy()[1] = 7
    assert made.tolist() == [1.0, 1.0, 1.0]


def test_memory_is_shared_where_that_is_asked_for() -> None:
    array = np.ones(3, np.float32)
    shared, turned = tc.tensor(array, copy=False), tc.tensor(array.reshape(3, 1).T, copy=False)
    assert np.shares_memory(np.asarray(shared), array)
    np.testing.assert_array_equal((shared + turned).numpy(), [[2.0, 2.0, 2.0]])
    assert not np.shares_memory(np.asarray(tc.tensor(array, "float64", copy=False)), array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("abc", "tensor: 'abc' holds values of <U3; numbers and bools are needed"),
        ([1j], "tensor: [1j] holds values of complex128; numbers and bools are needed"),
        (
            [[1], [1, 2]],
            "tensor: [[1], [1, 2]] makes no array: setting an array element with a sequence. The "
            "requested array has an inhomogeneous shape after 1 dimensions. The detected shape was "
            "(2,) + inhomogeneous part.",
        ),
        (None, "tensor: None holds values of object; numbers and bools are needed"),
    ],
)
def test_what_is_no_numbers_is_refused(data: Any, message: str) -> None:
    assert refusal(lambda: tc.tensor(data)) == message


def test_a_tensor_goes_wherever_python_wants_a_value() -> None:
    x = tc.tensor([[1.0, 2.0], [3.0, 4.0]])
    total = x.sum()
    assert float(total) == total.item() == 10.0
    assert int(total) == 10
    assert f"{total:.2f}" == "10.00"
    assert len(x) == 2
    assert ("big" if total > 9 else "small") == "big"
    assert [row.tolist() for row in x + 1] == [[2.0, 3.0], [4.0, 5.0]]
    assert [10, 20, 30][x.argmax() - 2] == 20
    np.testing.assert_array_equal(np.asarray(x), x.numpy())
    np.testing.assert_array_equal(np.from_dlpack(x), x.numpy())
    assert np.asarray(x, np.float64).dtype == np.float64
    assert not np.asarray(x).flags.writeable
    assert repr(x) == "tensor([[1., 2.],\n        [3., 4.]], dtype=float32)"
    assert (
        str(tc.tensor(1.5, requires_grad=True)) == "tensor(1.5, dtype=float32, requires_grad=True)"
    )


def test_a_compiled_function_takes_one() -> None:
    a = tc.placeholder(3, name="a")
    np.testing.assert_array_equal(tc.compile(a * 2.0)(tc.tensor([1.0, 2.0, 3.0])), [2.0, 4.0, 6.0])


def test_what_has_no_single_value_is_refused() -> None:
    x, empty = tc.tensor([1.0, 2.0]), tc.tensor(3.0)
    assert refusal(lambda: bool(x)) == "item: a tensor of shape (2,) is not one number"
    assert refusal(lambda: len(empty)) == "a tensor without dimensions has no length"
    assert refusal(lambda: iter(empty)) == "a tensor without dimensions cannot be iterated over"
    assert refusal(lambda: [0][empty]) == "a float32 is no index"


OPERATORS = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
]


def test_operators_are_those_of_numpy_with_tensors_arrays_and_numbers_on_either_side() -> None:
    a = np.array([[1.0, -2.0, 3.5]], np.float32)
    b = np.array([[0.5], [2.0]], np.float32)
    x, y = tc.tensor(a), tc.tensor(b)
    made = [(f(x, y), f(x, b), f(a, y), f(x, np.float32(2)), f(2.0, y), f(y, 2)) for f in OPERATORS]
    wanted = [
        (f(a, b), f(a, b), f(a, b), f(a, np.float32(2)), f(2.0, b), f(b, 2)) for f in OPERATORS
    ]
    for ours, theirs in zip(made, wanted, strict=True):
        for our, their in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(our.numpy(), their, strict=True)
    n = np.array([5, 3], np.int32)
    i = tc.tensor(n)
    bits = (i & 1, i | 8, i ^ 1, ~i, -i, abs(-i))
    for our, their in zip(bits, (n & 1, n | 8, n ^ 1, ~n, -n, n), strict=True):
        np.testing.assert_array_equal(our.numpy(), their, strict=True)


def test_methods_and_functions_are_those_of_ops() -> None:
    a = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
    x = tc.tensor(a)
    made = (
        x @ x.T,
        x.reshape(3, -1).T,
        x.sum(axis=0, keepdims=True),
        tc.maximum(x, 0.0),
        tc.where(x > 0, x, -x),
        tc.cast(x, "int32"),
        tc.ops.concatenate([x, x], axis=1),
        tc.ops.clip(x, low=-1.0, high=1.0),
        x.flatten().max(),
        a @ x.T,
    )
    wanted = (
        a @ a.T,
        a.reshape(3, -1).T,
        a.sum(axis=0, keepdims=True),
        np.maximum(a, 0),
        np.abs(a),
        a.astype(np.int32),
        np.concatenate([a, a], axis=1),
        np.clip(a, -1, 1),
        a.max(),
        a @ a.T,
    )
    for our, their in zip(made, wanted, strict=True):
        np.testing.assert_array_equal(our.numpy(), their, strict=True)


@pytest.mark.parametrize("computed", [False, True])
def test_indexing_is_that_of_numpy(computed: bool) -> None:
    a = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    x = tc.tensor(a, requires_grad=computed)
    rows = tc.tensor([1, 0, 1])
    made = (x[1], x[-1, 1:, ::2], x[..., 3], x[:, None, 2], x[rows], x[[1, 1]])
    wanted = (a[1], a[-1, 1:, ::2], a[..., 3], a[:, None, 2], a[[1, 0, 1]], a[[1, 1]])
    for our, their in zip(made, wanted, strict=True):
        np.testing.assert_array_equal(our.numpy(), their, strict=True)
        assert our.requires_grad == computed


def test_indices_that_make_no_sense_are_refused() -> None:
    x = tc.tensor([[1.0, 2.0]])
    assert refusal(lambda: x[3]) == (
        "index 3 is out of bounds for axis 0 with size 1, of a tensor of shape (1, 2)"
    )
    assert refusal(lambda: x[1.5]) == (
        "cannot index a tensor with 1.5: integers, ranges, ..., None and integer tensors can"
    )
    assert refusal(lambda: x[x > 1]) == "an index must be of integers, got bool"
    assert refusal(lambda: x[[0], 1]) == (
        "an index by a tensor stands alone; use tc.ops.take for more"
    )


def test_a_refused_operation_is_refused_at_once() -> None:
    x, y = tc.tensor(np.ones((2, 3))), tc.tensor(np.ones((4, 5)))
    assert refusal(lambda: x @ y) == (
        "matmul: shapes (2, 3) and (4, 5) do not fit: 3 columns meet 4 rows"
    )
    assert refusal(lambda: x + y) == (
        "cannot broadcast shapes (2, 3), (4, 5): 2 and 4 in dimension -2"
    )
    assert re.match(r"cannot use 'a' of type str", refusal(lambda: x + "a"))
    assert refusal(lambda: tc.ops.sum(x, axis=2)) == (
        "axis 2 is out of bounds for a tensor of 2 dimensions"
    )


def test_symbolic_tensors_do_not_mix() -> None:
    x, s = tc.tensor([1.0, 2.0]), tc.placeholder(2, name="s")
    wanted = (
        "s: float32[2] is symbolic: it holds no data, and cannot be mixed with tensors that do; "
        "compile it with tc.compile, or make its inputs by tc.tensor"
    )
    assert refusal(lambda: x + s) == wanted
    assert refusal(lambda: s + x) == wanted
    assert refusal(lambda: tc.ops.matmul(x, s)) == wanted
    assert refusal(lambda: tc.where(x > 1, s, 0.0)) == wanted


def test_an_operation_of_ones_own_takes_both() -> None:
    @tc.operation
    def doubled_and_summed(x: Any, times: int) -> Any:
        r = tc.reduce_axis(x.shape[0], "r")
        total = tc.compute((), lambda: tc.sum(x[r], axis=r))
        return tc.compute(x.shape, lambda i: x[i] * times), total

    x = tc.tensor([1.0, 2.0, 3.0], requires_grad=True)
    scaled, total = doubled_and_summed(x, 3)
    (scaled.sum() * total).backward()
    assert (scaled.tolist(), float(total)) == ([3.0, 6.0, 9.0], 6.0)
    assert x.grad.tolist() == [36.0, 36.0, 36.0]
    assert isinstance(doubled_and_summed(tc.placeholder(3), 2)[1], tc.Tensor)
