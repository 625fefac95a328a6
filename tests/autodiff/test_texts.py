"""Gradients as a person would write them: no mask, axis or factor that is not needed."""

from __future__ import annotations

from autodiff.texts import assert_gradients, cotangent, line, lines
from tensorc.autodiff import grad
from tensorc.autodiff.flatten import reduce_axes
from tensorc.ir.expr import Let, Reduce, Var, call, maximum, where
from tensorc.te import reduce as te
from tensorc.te.reduce import reduce_axis
from tensorc.te.tensor import compute, computes, dim, placeholder


def test_matmul_gives_two_matmuls() -> None:
    n = dim("n")
    a, b, k = placeholder((n, 3), name="A"), placeholder((3, 5), name="B"), reduce_axis(3, "k")
    c = compute((n, 5), lambda i, j: te.sum(a[i, k] * b[k, j], k), name="C")
    assert_gradients(
        c,
        [a, b],
        """
        d.A[i, k] = sum(dC[i, j] * B[k, j], axis=j)
        d.B[k, j] = sum(A[i, k] * dC[i, j], axis=i)
        """,
    )


def test_a_change_of_shape_is_undone_before_sums_read_it() -> None:
    a, b, k = placeholder((4, 3), name="A"), placeholder((3, 12), name="B"), reduce_axis(3, "k")
    c = compute((4, 12), lambda i, j: te.sum(a[i, k] * b[k, j], k), name="C")
    parts = compute((2, 4, 6), lambda p, i, q: c[i, p * 6 + q], name="P")
    made = lines(grad(parts, [a, b], cotangent(parts)))
    assert made[-3:] == [
        "d.C[i, j] = dP[j // 6, i, j % 6]",
        "d.A[i, k] = sum(d.C[i, j] * B[k, j], axis=j)",
        "d.B[k, j] = sum(A[i, k] * d.C[i, j], axis=i)",
    ]


def test_a_transpose_is_transposed_back() -> None:
    a = placeholder((4, 3), name="A")
    t = compute((3, 4), lambda i, j: a[j, i], name="T")
    assert_gradients(t, [a], "d.A[j, i] = dT[i, j]")


def test_a_broadcast_bias_sums_over_rows() -> None:
    c, b = placeholder((4, 5), name="C"), placeholder((5,), name="b")
    y = compute((4, 5), lambda i, j: c[i, j] + b[j], name="Y")
    assert_gradients(
        y,
        [c, b],
        """
        d.C[i, j] = dY[i, j]
        d.b[j] = sum(dY[i, j], axis=i)
        """,
    )


def test_a_gathered_logit_needs_no_loop() -> None:
    z, labels = placeholder((4, 5), name="z"), placeholder((4,), "int64", name="y")
    y = compute((4,), lambda i: z[i, labels[i]], name="L")
    assert_gradients(y, [z], "d.z[i, i1] = where(y[i] == i1, dL[i], 0.0)")


def test_a_slice_is_guarded_on_both_sides() -> None:
    b = placeholder((5,), name="b")
    assert_gradients(
        compute((2,), lambda i: b[i + 1], name="S"),
        [b],
        "d.b[i0] = where(i0 >= 1 and i0 < 3, dS[i0 - 1], 0.0)",
    )


def test_concatenation_gives_slices() -> None:
    a, b = placeholder((5,), name="a"), placeholder((3,), name="b")
    assert_gradients(
        compute((8,), lambda i: where(i < 5, a[i], b[i - 5]), name="K"),
        [a, b],
        """
        d.a[i] = dK[i]
        d.b[i0] = dK[i0 + 5]
        """,
    )


def test_padding_gives_a_slice() -> None:
    b = placeholder((5,), name="b")
    assert_gradients(
        compute((9,), lambda i: where((i >= 2) & (i < 7), b[i - 2], 0.0), name="P"),
        [b],
        "d.b[i0] = dP[i0 + 2]",
    )


def test_a_diagonal_is_masked_and_not_summed() -> None:
    q = placeholder((5, 5), name="Q")
    assert_gradients(
        compute((5,), lambda i: q[i, i], name="D"),
        [q],
        "d.Q[i, i_1] = where(i == i_1, dD[i], 0.0)",
    )


def test_a_convolution_of_stride_1_sums_over_the_window() -> None:
    x, w, r = placeholder((20,), name="x"), placeholder((3,), name="w"), reduce_axis(3, "r")
    assert_gradients(
        compute((18,), lambda i: te.sum(x[i + r] * w[r], r), name="V"),
        [x, w],
        """
        d.x[i0] = sum(dV[i0 - r] * w[r], axis=r, where=i0 >= r and i0 < r + 18)
        d.w[r] = sum(x[r + i] * dV[i], axis=i)
        """,
    )


def test_a_stride_gives_a_dense_sum_for_each_residue_class() -> None:
    x, w, r = placeholder((20,), name="x"), placeholder((3,), name="w"), reduce_axis(3, "r")
    v = compute((9,), lambda i: te.sum(x[i * 2 + r] * w[r], r), name="V")
    assert lines(grad(v, [x], cotangent(v))) == [
        "d.x.0[i0] = sum(dV[i0 - r] * w[r * 2], axis=r, where=i0 >= r and i0 < r + 9)",
        "d.x.1[i0] = where(i0 < 9, dV[i0] * w[1], 0.0)",
        "d.x[i0] = where(i0 % 2 == 0, d.x.0[i0 // 2], d.x.1[i0 // 2])",
    ]


def test_a_short_axis_steps_through_a_residue_class_in_one_definition() -> None:
    x, w, r = placeholder((7,), name="x"), placeholder((3,), name="w"), reduce_axis(3, "r")
    v = compute((3,), lambda i: te.sum(x[i * 2 + r] * w[r], r), name="V")
    (gradient,) = grad(v, [x], cotangent(v))
    assert line(gradient) == (
        "d.x[i0] = sum(dV[i0 // 2 - r] * w[r * 2 + i0 % 2], axis=r, "
        "where=r * 2 + i0 % 2 < 3 and i0 // 2 >= r and i0 // 2 < r + 3)"
    )
    assert isinstance(gradient.body, Reduce)
    assert [str(axis.extent) for axis in reduce_axes(gradient.body)] == ["2"]


def test_windows_that_do_not_overlap_need_no_sum() -> None:
    x, w, r = placeholder((21,), name="x"), placeholder((3,), name="w"), reduce_axis(3, "r")
    v = compute((7,), lambda i: te.sum(x[i * 3 + r] * w[r], r), name="V")
    (gradient,) = grad(v, [x], cotangent(v))
    assert line(gradient) == "d.x[i0] = dV[i0 // 3] * w[i0 % 3]"


def test_upsampling_sums_over_the_copies() -> None:
    x = placeholder((20,), name="x")
    assert_gradients(
        compute((40,), lambda i: x[i // 2], name="U"), [x], "d.x[i0] = sum(dU[i0 * 2 + t], axis=t)"
    )


def test_a_rotation_is_rotated_back() -> None:
    x = placeholder((20,), name="x")
    assert_gradients(
        compute((20,), lambda i: x[(i + 7) % 20], name="U"), [x], "d.x[i0] = dU[(i0 + 13) % 20]"
    )


def test_reshapes_are_reshaped_back_for_symbolic_sizes_too() -> None:
    n, m = dim("n"), dim("m")
    flat, square = placeholder((n * m,), name="F"), placeholder((n, m), name="S")
    assert_gradients(
        compute((n, m), lambda i, j: flat[i * m + j], name="U"),
        [flat],
        "d.F[i0] = dU[i0 // m, i0 % m]",
    )
    assert_gradients(
        compute((n * m,), lambda i: square[i // m, i % m], name="U"),
        [square],
        "d.S[i0, i1] = dU[i0 * m + i1]",
    )


def test_nested_strides_come_apart() -> None:
    x = placeholder((20,), name="x")
    assert_gradients(
        compute((2, 5, 2), lambda i, j, k: x[i * 10 + j * 2 + k], name="U"),
        [x],
        "d.x[i0] = dU[i0 // 10, i0 // 2 % 5, i0 % 2]",
    )


def test_a_gather_by_data_sums_where_the_index_matches() -> None:
    b, idx = placeholder((5,), name="b"), placeholder((7,), "int64", name="idx")
    assert_gradients(
        compute((7,), lambda i: b[idx[i]], name="U"),
        [b],
        "d.b[i0] = sum(dU[i], axis=i, where=idx[i] == i0)",
    )


def test_a_constant_index_is_one_sum_for_one_element() -> None:
    b = placeholder((5,), name="b")
    assert_gradients(
        compute((5,), lambda _: b[2], name="U"),
        [b],
        "d.b[i0] = where(i0 == 2, sum(dU[_], axis=_), 0.0)",
    )


def test_two_reads_of_one_tensor_are_added_in_one_definition() -> None:
    b = placeholder((5,), name="b")
    assert_gradients(
        compute((4,), lambda i: b[i] * b[i + 1], name="U"),
        [b],
        "d.b[i] = where(i < 4, dU[i] * b[i + 1], 0.0) + where(i >= 1, b[i - 1] * dU[i - 1], 0.0)",
    )


def test_a_square_is_one_product_and_relu_one_choice() -> None:
    b = placeholder((5,), name="b")
    square = compute((5,), lambda i: b[i] * b[i], name="U")
    assert_gradients(square, [b], "d.b[i] = 2.0 * (dU[i] * b[i])")
    relu = compute((5,), lambda i: maximum(b[i], 0.0), name="U")
    assert_gradients(relu, [b], "d.b[i] = where(b[i] > 0.0, dU[i], 0.0)")
    kept = compute((5,), lambda i: b[i] * 2.0, name="K")
    relu = compute((5,), lambda i: maximum(kept[i], 0.0), name="U")
    assert_gradients(relu, [kept], "d.K[i] = where(U[i] > 0.0, dU[i], 0.0)")


def test_the_result_is_reused_where_the_derivative_is_in_terms_of_it() -> None:
    b = placeholder((5,), name="b")
    exp = compute((5,), lambda i: call("exp", b[i]), name="U")
    assert_gradients(exp, [b], "d.b[i] = dU[i] * U[i]")
    tanh = compute((5,), lambda i: call("tanh", b[i]), name="U")
    assert_gradients(tanh, [b], "d.b[i] = dU[i] * (1.0 - U[i] * U[i])")
    root = compute((5,), lambda i: call("sqrt", b[i]), name="U")
    assert_gradients(root, [b], "d.b[i] = 0.5 * dU[i] / U[i]")


def test_a_mean_has_no_seed_in_its_gradient() -> None:
    b, k = placeholder((5,), name="b"), reduce_axis(5, "k")
    total = compute((), lambda: te.sum(b[k] * b[k], k), name="S")
    mean = compute((), lambda: total[()] / 5.0, name="M")
    assert line(grad(mean, b)) == "d.b[k] = 0.4 * b[k]"


def test_a_sum_over_an_unused_axis_is_a_product() -> None:
    n = dim("n")
    b, i, j = placeholder((5,), name="b"), reduce_axis(n, "i"), reduce_axis(5, "j")
    total = compute((), lambda: te.sum(b[j], (i, j)), name="S")
    assert line(grad(total, b)) == "d.b[j] = float32(n)"


def test_a_let_is_seen_through() -> None:
    b = placeholder((5,), name="b")
    v = Var("v", b.dtype)
    y = compute((5,), lambda i: Let(v, call("exp", b[i]), v * v), name="U")
    assert_gradients(y, [b], "d.b[i] = 2.0 * (dU[i] * exp(b[i])) * exp(b[i])")


def test_the_side_not_taken_is_not_evaluated() -> None:
    b = placeholder((5,), name="b")
    y = compute((5,), lambda i: where(b[i] > 0.0, call("log", b[i]), b[i] * 3.0), name="U")
    assert_gradients(y, [b], "d.b[i] = where(b[i] > 0.0, dU[i] / b[i], 3.0 * dU[i])")


def test_a_maximum_shares_its_cotangent_among_ties() -> None:
    a, k = placeholder((4, 3), name="A"), reduce_axis(3, "k")
    y = compute((4,), lambda i: te.max(a[i, k], k), name="M")
    assert lines(grad(y, [a], cotangent(y))) == [
        "M[i] = max(A[i, k], axis=k)",
        "M.ties[i] = sum(where(A[i, k] == M[i], 1.0, 0.0), axis=k)",
        "M.share[i] = dM[i] / M.ties[i]",
        "d.A[i, k] = where(A[i, k] == M[i], M.share[i], 0.0)",
    ]


def test_what_one_factor_multiplies_is_summed_without_it() -> None:
    x, w, k = placeholder((4, 3), name="x"), placeholder(3, name="w"), reduce_axis(4, "k")
    m = placeholder(3, name="m")
    y = compute((4, 3), lambda i, j: (x[i, j] - m[j]) * w[j], name="Y")
    assert lines(grad(y, [m], cotangent(y))) == ["d.m[j] = -(w[j] * sum(dY[i, j], axis=i))"]
    part = compute((3,), lambda j: te.sum(m[j] * x[k, j], k, where=k < 3), name="P")
    assert lines(grad(part, [m], cotangent(part))) == [
        "d.m[j] = sum(dP[j] * x[k, j], axis=k, where=k < 3)"
    ]


def test_the_value_of_an_argmax_uses_the_index_beside_it() -> None:
    a, k = placeholder((4, 3), name="A"), reduce_axis(3, "k")
    value, index = computes((4,), lambda i: te.max_with_index(a[i, k], k), names=("V", "I"))
    y = compute((4,), lambda i: value[i] * index[i], name="Y")
    assert lines(grad(y, [a], cotangent(y)))[-2:] == [
        "d.V[i] = dY[i] * float32(I[i])",
        "d.A[i, k] = where(k == I[i], d.V[i], 0.0)",
    ]


def test_softmax_reads_its_own_result() -> None:
    x, k = placeholder((4, 5), name="x"), reduce_axis(5, "k")
    e = compute((4, 5), lambda i, j: call("exp", x[i, j]), name="E")
    s = compute((4,), lambda i: te.sum(e[i, k], k), name="S")
    p = compute((4, 5), lambda i, j: e[i, j] / s[i], name="P")
    assert lines(grad(p, [x], cotangent(p)))[3:] == [
        "d.S[i] = sum(-(dP[i, j] * P[i, j] / S[i]), axis=j)",
        "d.E[i, j] = dP[i, j] / S[i] + d.S[i]",
        "d.x[i, j] = d.E[i, j] * E[i, j]",
    ]


def test_a_body_with_a_reduction_inside_is_split() -> None:
    x, k = placeholder((4, 5), name="x"), reduce_axis(5, "k")
    y = compute((4, 5), lambda i, j: x[i, j] / te.sum(x[i, k], k), name="Y")
    assert lines(grad(y, [x], cotangent(y)))[0] == "Y.sum[i] = sum(x[i, k], axis=k)"


def test_a_second_derivative_is_a_gradient_of_a_gradient() -> None:
    b, k = placeholder((5,), name="b"), reduce_axis(5, "k")
    y = compute((), lambda: te.sum(b[k] * b[k] * b[k], k), name="S")
    first = grad(y, b)
    second = grad(first, b, cotangent(first))
    assert second.name == "d.b"
    assert line(second).startswith("d.b[k] = ")


def test_what_the_result_does_not_depend_on_has_a_zero_gradient() -> None:
    a, b = placeholder((4,), name="a"), placeholder((3, 2), name="b")
    y = compute((4,), lambda i: a[i] + call("stop_gradient", b[0, 0]), name="Y")
    assert_gradients(y, [b], "d.b[i0, i1] = 0.0")


def test_the_gradient_of_a_tensor_by_itself_is_its_seed() -> None:
    a = placeholder((), name="a")
    assert line(grad(a, a)) == "d.a[] = 1.0"
