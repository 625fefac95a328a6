"""In which order definitions and updates run."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from te.texts import assert_builds
from tensorc.errors import CheckFailed
from tensorc.ir.interp import run as interpret
from tensorc.ir.walk import leaves, written_buffers
from tensorc.te import reduce as te
from tensorc.te.build import build
from tensorc.te.reduce import reduce_axis
from tensorc.te.tensor import Tensor, compute, placeholder

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program


def written(program: Program) -> list[str]:
    """What the program writes, in order, each name once in a row."""
    names: list[str] = []
    for leaf in leaves(program.body):
        names += [b.name for b in written_buffers(leaf) if [b.name] != names[-1:]]
    return names


def product(a: Tensor, b: Tensor, name: str) -> Tensor:
    """a^T b, of (k, m) and (k, n)."""
    k = reduce_axis(a.shape[0], "k")
    shape = (a.shape[1], b.shape[1])
    return compute(shape, lambda i, j: te.sum(a[k, i] * b[k, j], k), name=name)


def moved(old: Tensor, gradient: Tensor, name: str) -> Tensor:
    return compute(old.shape, lambda i, j: old[i, j] - gradient[i, j], name=name)


def test_an_update_runs_before_the_next_gradient() -> None:
    x, v, w = (placeholder((3, 3), name=name) for name in "XVW")
    first, second = product(x, x, "dV"), product(x, x, "dW")
    program = build([], updates=[(v, moved(v, first, "newV")), (w, moved(w, second, "newW"))])
    assert written(program) == ["dV", "V", "dW", "W"]


def layers(batch: int, *widths: int) -> Program:
    """The backward pass of layers without activations, and its updates."""
    inputs = [placeholder((batch, n), name=f"x{i}") for i, n in enumerate(widths[:-1])]
    weights = [
        placeholder(shape, name=f"w{i}") for i, shape in enumerate(itertools.pairwise(widths))
    ]
    above = placeholder((batch, widths[-1]), name="dy")
    updates = []
    for i in reversed(range(len(weights))):
        x, w, k = inputs[i], weights[i], reduce_axis(widths[i + 1], "k")
        kept = compute(x.shape, lambda b, j, x=x: x[b, j] * 2.0, name=f"kept{i}")
        updates.append((w, moved(w, product(kept, above, f"dw{i}"), f"new{i}")))
        below = (batch, widths[i])
        above = compute(
            below, lambda b, j, g=above, w=w, k=k: te.sum(g[b, k] * w[j, k], k), name=f"dx{i}"
        )
    return build([], updates=updates[::-1])


def test_gradients_smaller_than_what_they_are_made_from_are_used_up_first() -> None:
    order = [n for n in written(layers(64, 8, 8, 8, 8, 8)) if "kept" not in n]
    # An update waits for the cotangent that reads the old weight; its gradient frees what it read.
    assert order == ["dw3", "dx3", "w3", "dw2", "dx2", "w2", "dw1", "dx1", "w1", "dw0", "w0"]


def test_gradients_larger_than_what_they_are_made_from_wait_for_all_that_read_old_weights() -> None:
    order = [n for n in written(layers(8, 64, 64, 64)) if "kept" not in n]
    assert order == ["dx1", "dw0", "w0", "dw1", "w1"]


def test_numbers_come_first_and_a_moment_right_before_its_weight() -> None:
    w, m, p = (
        placeholder((4, 4), name="W"),
        placeholder((4, 4), name="M"),
        placeholder((), name="P"),
    )
    x = placeholder((3, 4), name="X")
    power = compute((), lambda: p[()] * 0.5, name="newP")
    new_m = moved(m, product(x, x, "dW"), "newM")
    new_w = compute((4, 4), lambda i, j: w[i, j] - new_m[i, j] * power[()], name="newW")
    total = compute((3,), lambda i: te.sum(w[i, (k := reduce_axis(4, "k"))], k), name="total")
    program = build([total], updates=[(w, new_w), (m, new_m), (p, power)])
    assert written(program) == ["P", "total", "dW", "M", "W"]


def test_without_updates_definitions_keep_the_order_of_the_walk() -> None:
    a = placeholder((), name="A")
    b = placeholder(2, name="B")
    c = compute((2,), lambda i: b[i] * 2.0, name="C")
    d = compute((), lambda: a[()] + 1.0, name="D")
    expected = """
        program main(B: in float32[2], A: in float32[], C: out float32[2], D: out float32[]):
          for i in range(2):
            C[i] = B[i] * 2.0
          D[] = A[] + 1.0
    """
    assert_builds(expected, [c, d])


@pytest.mark.parametrize("in_place", [True, False])
def test_no_value_is_stored_before_the_last_check(in_place: bool) -> None:
    w, v = placeholder(4, name="W"), placeholder(4, name="V")
    at = compute((4,), lambda i: (v[i] * 2.0).astype("int64"), name="at")
    new_w = compute((4,), lambda i: w[i] * 2.0, name="newW")
    picked = compute((4,), lambda i: w[at[i]], name="picked")
    values: Any = (lambda i: v[i] + w[at[i]]) if in_place else (lambda i: picked[i])
    new_v = compute((4,), values, name="newV")
    program = build([], updates=[(w, new_w), (v, new_v)])
    held = {"W": np.arange(4, dtype=np.float32), "V": np.array([0, 1, 0, 2], np.float32)}
    before = {name: array.copy() for name, array in held.items()}
    with pytest.raises(CheckFailed, match="is 4, and its size is 4"):
        interpret(program, held)
    for name, array in held.items():
        np.testing.assert_array_equal(array, before[name])
