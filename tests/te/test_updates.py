"""Placeholders updated in place: what is stored directly, what through a temporary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from te.texts import assert_builds
from tensorc.errors import CheckFailed, IRError
from tensorc.ir.interp import run as interpret
from tensorc.te import reduce as te
from tensorc.te.build import build
from tensorc.te.reduce import reduce_axis
from tensorc.te.reference import evaluate
from tensorc.te.tensor import Tensor, compute, placeholder


def state() -> tuple[Tensor, Tensor, Tensor]:
    return placeholder(4, name="W"), placeholder(4, name="V"), placeholder(4, name="G")


def test_a_step_with_momentum_runs_in_place() -> None:
    w, v, g = state()
    new_v = compute((4,), lambda i: v[i] * 0.9 + g[i], name="new_V")
    new_w = compute((4,), lambda i: w[i] - new_v[i] * 0.1, name="new_W")
    expected = """
        program step(W: inout float32[4], V: inout float32[4], G: in float32[4]):
          for i in range(4):
            V[i] = V[i] * 0.9 + G[i]
          for i in range(4):
            W[i] = W[i] - V[i] * 0.1
    """
    assert_builds(expected, [], [w, v, g], name="step", updates=[(w, new_w), (v, new_v)])


def test_readers_of_old_values_run_before_the_update() -> None:
    w, v, _ = state()
    new_w = compute((4,), lambda i: w[i] - v[i], name="new_W")
    new_v = compute((4,), lambda i: v[i] * w[i], name="new_V")
    total = compute((), lambda: te.sum(w[(k := reduce_axis(4, "k"))], k), name="total")
    expected = """
        program main(W: inout float32[4], V: inout float32[4], total: out float32[]):
          alloc new_W: float32[4]
            total[] = 0.0
            for k in range(4):
              total[] += W[k]
            for i in range(4):
              new_W[i] = W[i] - V[i]
            for i in range(4):
              V[i] = V[i] * W[i]
            for i0 in range(4):
              W[i0] = new_W[i0]
    """
    assert_builds(expected, [total], updates=[(w, new_w), (v, new_v)])


def test_a_new_value_that_reads_other_elements_goes_through_a_temporary() -> None:
    w, _, _ = state()
    flipped = compute((4,), lambda i: w[3 - i], name="flipped")
    expected = """
        program main(W: inout float32[4]):
          alloc flipped: float32[4]
            for i in range(4):
              flipped[i] = W[3 - i]
            for i0 in range(4):
              W[i0] = flipped[i0]
    """
    assert_builds(expected, [], updates=[(w, flipped)])


def test_a_new_value_that_is_an_output_is_copied() -> None:
    w, _, _ = state()
    double = compute((4,), lambda i: w[i] * 2.0, name="double")
    expected = """
        program main(W: inout float32[4], double: out float32[4]):
          for i in range(4):
            double[i] = W[i] * 2.0
          for i0 in range(4):
            W[i0] = double[i0]
    """
    assert_builds(expected, [double], updates=[(w, double)])


def test_a_failed_check_leaves_the_placeholders_as_they_were() -> None:
    w, v, _ = state()
    new_w = compute((4,), lambda i: w[i] * 2.0, name="new_W")
    index = compute((4,), lambda i: new_w[i].astype("int64"), name="index")
    new_v = compute((4,), lambda i: v[index[i]], name="new_V")
    program = build([], updates=[(w, new_w), (v, new_v)])
    weights = np.array([0, 1, 0, 2], np.float32)
    with pytest.raises(CheckFailed, match="the index of dimension 0 is 4, and its size is 4"):
        interpret(program, {"W": weights, "V": np.zeros(4, np.float32)})
    np.testing.assert_array_equal(weights, [0, 1, 0, 2])


MAKERS: list[Any] = [
    lambda x, y: compute((4,), lambda i: x[i] + y[i]),
    lambda x, y: compute((4,), lambda i: x[3 - i] * y[i]),
    lambda x, y: compute((4,), lambda i: x[i] - te.sum(y[(k := reduce_axis(4, "k"))], k)),
    lambda x, y: compute((4,), lambda i: te.max(x[(k := reduce_axis(i + 1, "k"))] + y[i], k)),
]


@settings(max_examples=60)
@given(data=st.data())
def test_updates_store_what_the_definitions_say(data: Any) -> None:
    olds = [placeholder(4, name=f"P{c}") for c in range(3)]
    pool = list(olds)
    for _ in range(data.draw(st.integers(1, 5))):
        x, y = (data.draw(st.sampled_from(range(len(pool)))) for _ in range(2))
        pool.append(data.draw(st.sampled_from(MAKERS))(pool[x], pool[y]))
    chosen = data.draw(st.permutations(range(3)))[: data.draw(st.integers(1, 3))]
    values = [pool[data.draw(st.integers(0, len(pool) - 1))] for _ in chosen]
    outputs = list({id(t): t for t in pool[3:] if data.draw(st.booleans())}.values())
    program = build(outputs, updates=[(olds[c], v) for c, v in zip(chosen, values, strict=True)])
    rng = np.random.default_rng(0)
    arrays = {t: rng.integers(-3, 4, 4).astype(np.float32) for t in olds}
    expected = evaluate([*outputs, *values], {t: a.copy() for t, a in arrays.items()})
    held = {p.buffer.name: np.zeros(4, np.float32) for p in program.params}
    for t, a in arrays.items():
        if t.name in held:
            held[t.name] = a.copy()
    interpret(program, held)
    results = [held[p.buffer.name] for p in program.params[len(program.params) - len(outputs) :]]
    results += [held[olds[c].name] for c in chosen]
    for found, want in zip(results, expected, strict=True):
        np.testing.assert_array_equal(found, want)


def test_updates_that_do_not_fit_are_refused() -> None:
    w, v, g = state()

    def refusal(*args: Any, **kwargs: Any) -> str:
        with pytest.raises(IRError) as e:
            build(*args, **kwargs)
        return str(e.value)

    c = compute((4,), lambda i: w[i] + g[i], name="C")
    assert refusal([], updates=[(c, w)]) == (
        "updates: C is no placeholder; only inputs can be updated in place"
    )
    assert refusal([], updates=[(w, c), (w, v)]) == "updates: a placeholder is listed twice"
    assert refusal([w], updates=[(w, c)]) == (
        "W is an output and is updated in place; its new values are in W itself after the call"
    )
    short = placeholder(3, name="S")
    assert refusal([], updates=[(w, short)]) == (
        "updates: the new value S: float32[3] does not fit W: float32[4]"
    )
    assert refusal([], [g], updates=[(w, c)]) == (
        "inputs: the outputs depend on W too; list every input"
    )
