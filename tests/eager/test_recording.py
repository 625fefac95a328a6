"""What is recorded, when it is computed, and under which structure it is found again."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import tensorc as tc
from tensorc.eager import evaluate, graph


def test_nothing_is_computed_before_a_value_is_asked_for(compiled: list[str]) -> None:
    x = tc.tensor([1.0, 2.0])
    y = (x * x + 1.0).sum()
    assert y.shape == ()
    assert not compiled
    assert float(y) == 7.0
    assert float(y) == 7.0
    assert len(compiled) == 1


def test_one_structure_is_compiled_once(compiled: list[str]) -> None:
    for k in range(5):
        x, y = tc.tensor([1.0 * k, 2.0]), tc.tensor([3.0, 4.0])
        assert float((x * y).sum()) == 3.0 * k + 8
    assert len(compiled) == 1
    x = tc.tensor([1.0, 2.0])
    assert float((x * x).sum()) == 5.0  # One input, not two that are equal.
    assert float((tc.tensor(np.ones(2)) * tc.tensor(np.ones(2))).sum()) == 2.0  # Another dtype.
    assert len(compiled) == 3


def test_values_that_are_held_are_computed_with_what_is_asked_for(compiled: list[str]) -> None:
    x = tc.tensor([1.0, 2.0])
    held = x * 3
    total = (held + x).sum()
    assert float(total) == 12.0
    assert held.tolist() == [3.0, 6.0]
    assert len(compiled) == 1


def test_a_number_that_varies_becomes_an_input(compiled: list[str]) -> None:
    x = tc.tensor([1.0, 2.0])
    counts = []
    for k in range(6):
        assert (x * (0.5 + k)).tolist() == [0.5 + k, 1.0 + 2 * k]
        counts.append(len(compiled))
    assert counts == [1, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "bool"])
@pytest.mark.parametrize("numbers", [(1.5, 2.5, 3.5), (2, 3, 4)])
def test_a_number_means_the_same_as_a_constant_and_as_an_input(dtype: str, numbers: Any) -> None:
    x = tc.tensor([0, 1], dtype)
    s = tc.placeholder(2, dtype, name="s")
    for number in numbers:
        made, wanted = x * number, tc.compile(s * number)(x.numpy())
        np.testing.assert_array_equal(made.numpy(), wanted, strict=True)


def test_a_number_that_does_not_fit_is_refused_each_time() -> None:
    x = tc.tensor([0, 1], "int8")
    for number in (300, 400):
        with pytest.raises(tc.DTypeError) as caught:
            x + number
        assert str(caught.value) == f"{number} does not fit int8 (-128 to 127)"


def test_signed_zeros_and_nan_are_constants_of_their_own() -> None:
    x = tc.tensor([1.0])
    assert [str((x**0.0 * zero).item()) for zero in (0.0, -0.0)] == ["0.0", "-0.0"]
    assert np.isnan((x + float("nan")).item())


def test_a_graph_dies_with_its_tensors() -> None:
    gc.disable()
    try:
        x = tc.tensor([1.0, 2.0], requires_grad=True)
        loss = (x * x).sum()
        refs = [weakref.ref(loss), weakref.ref(loss._value), weakref.ref(loss._value.call)]
        loss.backward()
        assert x.grad.tolist() == [2.0, 4.0]
        assert refs[2]() is None  # The call went with its last use, the value is there.
        del loss
        assert [ref() for ref in refs] == [None] * 3
    finally:
        gc.enable()


def test_what_was_computed_without_gradients_forgets_where_it_came_from() -> None:
    x = tc.tensor([1.0, 2.0])
    y = x * 2
    inner = weakref.ref(x._value)
    del x
    assert inner() is not None
    assert y.tolist() == [2.0, 4.0]
    assert inner() is None


def test_a_long_chain_is_computed_in_pieces(compiled: list[str]) -> None:
    x = tc.tensor(np.zeros(2, np.float32))
    for _ in range(1000):
        x = x + 1
    assert x.tolist() == [1000.0, 1000.0]
    assert len(compiled) <= 3


def test_the_tables_are_bounded(monkeypatch: pytest.MonkeyPatch, compiled: list[str]) -> None:
    monkeypatch.setattr(evaluate, "_MAX_PLANS", 2)
    monkeypatch.setattr(graph, "_MAX_SIGNATURES", 2)
    for n in (1, 2, 3, 1):
        assert float(tc.tensor(np.ones(n, np.float32)).sum()) == n
    assert len(evaluate._plans) == 2
    assert len(compiled) == 4


def test_identities_and_equal_results_are_values_too() -> None:
    x = tc.tensor([1.0, 2.0], requires_grad=True)
    same, flat = x.reshape(2), x.data
    doubled, again = same + flat, same + flat
    assert (same.tolist(), doubled.tolist(), again.tolist()) == ([1.0, 2.0], [2.0, 4.0], [2.0, 4.0])
    doubled.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
