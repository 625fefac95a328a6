"""The plain program of some tensors: its text, its names, its parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from te.texts import assert_builds
from tensorc.errors import IRError
from tensorc.ir.expr import Let as LetNode
from tensorc.ir.expr import Var, call, where
from tensorc.ir.interp import run as interpret
from tensorc.ir.printer import show
from tensorc.te import reduce as te
from tensorc.te.build import build
from tensorc.te.reduce import reduce_axis
from tensorc.te.tensor import Tensor, compute, computes, dim, placeholder


def test_a_body_that_is_a_reduction_accumulates_in_its_own_buffer() -> None:
    n = dim("n")
    a, b = placeholder((n, 16), name="A"), placeholder((16, 8), name="B")
    k = reduce_axis(16, "k")
    c = compute((n, 8), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    expected = """
        program mul(A: in float32[n, 16], B: in float32[16, 8], C: out float32[n, 8]) dims(n >= 0):
          for i in range(n):
            for j in range(8):
              C[i, j] = 0.0
              for k in range(16):
                C[i, j] += A[i, k] * B[k, j]
    """
    assert_builds(expected, [c], name="mul")


def test_a_reduction_in_a_body_is_hoisted_over_the_axes_it_depends_on() -> None:
    a = placeholder((4, 3), name="A")
    k = reduce_axis(3, "k")

    def softmax(i: Var, j: Var) -> Any:
        top = te.max(a[i, k], k)
        return call("exp", a[i, j] - top) / te.sum(call("exp", a[i, k] - top), k)

    expected = """
        program main(A: in float32[4, 3], C: out float32[4, 3]):
          alloc C.max: float32[4]
          alloc C.sum: float32[4]
            for i in range(4):
              C.max[i] = float32(-inf)
              for k in range(3):
                C.max[i] max= A[i, k]
            for i in range(4):
              C.sum[i] = 0.0
              for k in range(3):
                C.sum[i] += exp(A[i, k] - C.max[i])
            for i in range(4):
              for j in range(3):
                C[i, j] = exp(A[i, j] - C.max[i]) / C.sum[i]
    """
    assert_builds(expected, [compute((4, 3), softmax, name="C")])


def test_equal_reductions_of_one_body_share_a_buffer() -> None:
    a = placeholder((3,), name="A")
    k = reduce_axis(3, "k")
    c = compute((), lambda: te.sum(a[k] * a[k], k) / (1.0 + te.sum(a[k] * a[k], k)), name="C")
    assert show(build([c])).count("alloc") == 1


def test_a_body_that_is_a_reduction_it_does_not_vary_with_is_hoisted() -> None:
    a = placeholder((2, 3), name="A")
    k = reduce_axis(3, "k")
    expected = """
        program main(A: in float32[2, 3], C: out float32[2, 4]):
          alloc C.sum: float32[2]
            for i in range(2):
              C.sum[i] = 0.0
              for k in range(3):
                C.sum[i] += A[i, k]
            for i in range(2):
              for _ in range(4):
                C[i, _] = C.sum[i]
    """
    assert_builds(expected, [compute((2, 4), lambda i, _: te.sum(a[i, k], k), name="C")])


def test_a_reduction_inside_a_reduction_is_stored_along_the_outer_axis() -> None:
    a = placeholder((4, 3), name="A")
    i, k = reduce_axis((1, 4), "i"), reduce_axis(3, "k")
    c = compute((), lambda: te.max(te.sum(a[i, k], k) * 2.0, i), name="C")
    expected = """
        program main(A: in float32[4, 3], C: out float32[]):
          alloc C.sum: float32[3]
            for i in range(1, 4):
              C.sum[i - 1] = 0.0
              for k in range(3):
                C.sum[i - 1] += A[i, k]
            C[] = float32(-inf)
            for i in range(1, 4):
              C[] max= C.sum[i - 1] * 2.0
    """
    assert_builds(expected, [c])


def test_a_hoisted_reduction_keeps_the_condition_that_its_loads_need() -> None:
    a = placeholder((4, 3), name="A")
    k = reduce_axis(3, "k")
    c = compute((5,), lambda i: where(i < 4, te.sum(a[i, k], k), 1.0), name="C")
    expected = """
        program main(A: in float32[4, 3], C: out float32[5]):
          alloc C.sum: float32[5]
            for i in range(5):
              C.sum[i] = 0.0
              for k in range(3):
                if i < 4:
                  C.sum[i] += A[i, k]
            for i in range(5):
              C[i] = where(i < 4, C.sum[i], 1.0)
    """
    assert_builds(expected, [c])


def test_a_hoisted_reduction_takes_the_let_that_it_uses_along() -> None:
    a = placeholder((4, 3), name="A")
    k = reduce_axis(3, "k")

    def body(i: Var) -> Any:
        v = Var("v", a.dtype)
        return LetNode(v, a[i, 0] * 2.0, te.sum(a[i, k] * v, k) + v)

    expected = """
        program main(A: in float32[4, 3], C: out float32[4]):
          alloc C.sum: float32[4]
            for i in range(4):
              C.sum[i] = 0.0
              for k in range(3):
                C.sum[i] += let v = A[i, 0] * 2.0 in A[i, k] * v
            for i in range(4):
              C[i] = let v = A[i, 0] * 2.0 in C.sum[i] + v
    """
    assert_builds(expected, [compute((4,), body, name="C")])


def test_a_pair_reduction_fills_both_results_in_one_nest() -> None:
    a = placeholder((4, 3), name="A")
    k = reduce_axis(3, "k")
    both = computes((4,), lambda i: te.max_with_index(a[i, k], k), names=["V", "I"])
    expected = """
        program main(A: in float32[4, 3], V: out float32[4], I: out int64[4]):
          for i in range(4):
            V[i] = float32(-inf)
            I[i] = 9223372036854775807
            for k in range(3):
              (V[i], I[i]) argmax= (A[i, k], k)
    """
    assert_builds(expected, both)


def test_a_lone_argmax_gets_a_temporary_for_its_value() -> None:
    a = placeholder((3,), name="A")
    k = reduce_axis(3, "k")
    expected = """
        program main(A: in float32[3], C: out int64[]):
          alloc C.argmax.0: float32[]
            C.argmax.0[] = float32(-inf)
            C[] = 9223372036854775807
            for k in range(3):
              (C.argmax.0[], C[]) argmax= (A[k], k)
    """
    assert_builds(expected, [compute((), lambda: te.argmax(a[k], k), name="C")])


def test_several_outputs_of_one_definition_share_a_nest() -> None:
    a = placeholder((3,), name="A")
    both = computes((3,), lambda i: (a[i] + 1.0, a[i] * 2.0), names=["P", "Q"])
    expected = """
        program main(A: in float32[3], P: out float32[3], Q: out float32[3]):
          for i in range(3):
            P[i] = A[i] + 1.0
            Q[i] = A[i] * 2.0
    """
    assert_builds(expected, both)
    assert [p.buffer.name for p in build([both[1]]).params] == ["A", "Q"]


def test_a_user_reducer_is_declared_and_folds_from_its_identity() -> None:
    a = placeholder((3,), name="A")
    k = reduce_axis((1, 3), "k", where=lambda k: k > 1)
    norm = te.reducer(lambda x, y: x * x + y, 0.0, name="norm", commutative=False)
    c = compute((), lambda: norm(a[k], axis=k), name="C")
    text = show(build([c]))
    assert text.startswith("reducer norm(")
    loops = "for k in range(1, 3):\n    if k > 1:\n      C[] norm= A[k]"
    assert text.rstrip().endswith(loops)


def test_a_range_may_depend_on_an_outer_axis() -> None:
    a = placeholder((4,), name="A")
    c = compute((4,), lambda i: te.sum(a[(k := reduce_axis(i + 1, "k"))], k), name="C")
    expected = """
        program main(A: in float32[4], C: out float32[4]):
          for i in range(4):
            C[i] = 0.0
            for k in range(i + 1):
              C[i] += A[k]
    """
    assert_builds(expected, [c])


def test_an_empty_symbolic_maximum_is_checked_first() -> None:
    n = dim("n")
    a = placeholder((n,), name="A")
    k = reduce_axis(n, "k")
    c = compute((), lambda: te.max(a[k], k), name="C")
    check = f'check n > 0, "max over axis k of C: an empty domain has no max ({c.op.loc})"'
    assert show(build([c])).splitlines()[1].strip() == check
    guarded = compute((), lambda: where(n > 0, te.max(a[k], k), 0.0), name="C")
    assert "check" not in show(build([guarded]))
    b = placeholder((dim("m", lower=1),), name="B")
    r = reduce_axis(b.shape[0], "r")
    assert "check" not in show(build([compute((), lambda: te.max(b[r], r), name="C")]))


def test_a_size_that_can_be_negative_is_checked_first() -> None:
    n = dim("n")
    a = placeholder((n,), name="A")
    expected = """
        program main(A: in float32[n], C: out float32[n - 2]) dims(n >= 0):
          check n - 2 >= 0, "C: size n - 2 of dimension 0 is {0}, below 0", (n - 2)
          for i in range(n - 2):
            C[i] = A[i] + A[i + 2]
    """
    assert_builds(expected, [compute((n - 2,), lambda i: a[i] + a[i + 2], name="C")])


# --- names ----------------------------------------------------------------------------------


def test_tensors_without_names_are_numbered() -> None:
    x, y = placeholder(3), placeholder(3)
    z = (x + y) * (x + y)
    expected = """
        program main(x: in float32[3], x_1: in float32[3], mul: out float32[3]):
          alloc add: float32[3]
          alloc add_1: float32[3]
            for i0 in range(3):
              add[i0] = x[i0] + x_1[i0]
            for i0 in range(3):
              add_1[i0] = x[i0] + x_1[i0]
            for i0 in range(3):
              mul[i0] = add[i0] * add_1[i0]
    """
    assert_builds(expected, [z])


def test_a_name_given_twice_is_refused_with_both_places() -> None:
    a = placeholder(3, name="A")
    b = compute((3,), lambda i: a[i] + 1.0, name="A")
    with pytest.raises(IRError) as e:
        build([b])
    first, second = a.op.loc, b.op.loc
    assert str(e.value) == (
        f"two tensors are named 'A': A: float32[3] ({first}) and A: float32[3] ({second}); "
        "give one of them another name"
    )


def test_loop_variables_are_named_apart_from_sizes_and_each_other() -> None:
    k = dim("k")
    a = placeholder((k, 3), name="A")
    r = reduce_axis(k, "i")
    c = compute((3,), lambda i: te.sum(a[r, i], r), name="C")
    expected = """
        program main(A: in float32[k, 3], C: out float32[3]) dims(k >= 0):
          for i in range(3):
            C[i] = 0.0
            for i_1 in range(k):
              C[i] += A[i_1, i]
    """
    assert_builds(expected, [c])


@pytest.mark.parametrize("name", ["a b", "1x", "", "é", "x..y"])
def test_a_name_that_text_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(IRError) as e:
        placeholder(3, name=name)
    assert str(e.value) == f"{name!r} cannot be a name: use letters, digits, _ and ."


# --- parameters -----------------------------------------------------------------------------


def pair() -> tuple[Tensor, Tensor]:
    return placeholder(3, name="A"), placeholder(3, name="B")


def test_inputs_follow_first_use_or_the_given_order() -> None:
    a, b = pair()
    assert [p.buffer.name for p in build([b - a]).params] == ["B", "A", "sub"]
    assert [p.buffer.name for p in build([b - a], [a, b]).params] == ["A", "B", "sub"]


def test_an_output_that_is_an_input_is_copied() -> None:
    a, _ = pair()
    program = build([a, a * 2.0])
    x = np.arange(3, dtype=np.float32)
    same, double = np.zeros_like(x), np.zeros_like(x)
    interpret(program, {"A": x, "A.copy": same, "mul": double})
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(double, 2 * x)


def refusal(make: Any) -> str:
    with pytest.raises(IRError) as e:
        make()
    return str(e.value)


def test_parameters_that_do_not_fit_are_refused() -> None:
    a, b = pair()
    c = a + 1.0
    assert refusal(lambda: build([c], [b, a])) == "inputs: no output depends on B; leave it out"
    assert refusal(lambda: build([c + b], [a])) == (
        "inputs: the outputs depend on B too; list every input"
    )
    assert refusal(lambda: build([c], [c])) == (
        "inputs: add is computed; only placeholders are inputs"
    )
    assert refusal(lambda: build([c], [a, a])) == "inputs: a placeholder is listed twice"
    assert refusal(lambda: build([c, c])) == "output add is listed twice"
    assert refusal(lambda: build([])) == (
        "build: no outputs and no updates, so there is nothing to compute"
    )


def test_sizes_that_no_input_states_are_refused() -> None:
    n, m = dim("n"), dim("m")
    a = placeholder((n * 2,), name="A")
    c = compute((n * 2,), lambda i: a[i] + 1.0)
    assert refusal(lambda: build([c])) == (
        "size n is not known at a call: no input has a dimension of exactly n"
    )
    b = placeholder((n,), name="B")
    assert "size m is not known" in refusal(lambda: build([compute((n,), lambda i: b[i] * m)]))
    assert refusal(lambda: build([placeholder((dim("n"),)) + 0.0, b + 0.0])).startswith(
        "two sizes are named 'n'"
    )


def test_the_same_tensors_give_the_same_text() -> None:
    def text() -> str:
        x = placeholder((4, 4))
        y = x
        for _ in range(5):
            y = (y + x) * y
        return show(build([y, x - y]))

    assert text() == text()
