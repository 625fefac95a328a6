"""What a stranger may do wrong, through `tc.compile`: each a clear error, none a wrong number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from tensorc import nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.te.tensor import Tensor

# Most of what follows is mistyped on purpose.
lib: Any = tc

A34 = np.ones((3, 4), np.float32)
B4 = np.ones(4, np.float32)


def said(fn: Callable[[], object], error: type[Exception] = tc.TensorcError) -> str:
    with pytest.raises(error) as caught:
        fn()
    assert isinstance(caught.value, tc.TensorcError)
    return str(caught.value).split(" (test_bad_input.py:")[0]


@pytest.fixture(scope="module")
def add() -> tc.CompiledFunction:
    a, b = tc.placeholder((3, 4), name="A"), tc.placeholder((4,), name="B")
    return tc.compile(tc.compute((3, 4), lambda i, j: a[i, j] + b[j], name="C"), name="f")


class Foreign:
    """A tensor of another library."""

    def __init__(self, array: Any, device: Any = (1, 0), error: Exception | None = None) -> None:
        self.array, self.device, self.error = array, device, error

    def __dlpack_device__(self) -> Any:
        return self.device

    def __dlpack__(self, **options: Any) -> Any:
        if self.error is not None:
            raise self.error
        return self.array.__dlpack__(**options) if hasattr(self.array, "shape") else self.array


def read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


WANTED = "f: argument 'B' (2 of 2): expected float32 of shape (4,), got "


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (B4.astype("d"), WANTED + "float64 of shape (4,)"),
        (B4.astype(">f4"), WANTED + "float32 in foreign byte order of shape (4,)"),
        (B4.astype("F"), WANTED + "complex64 of shape (4,)"),
        (np.zeros(4, "M8[s]"), WANTED + "datetime64[s] of shape (4,)"),
        (B4[:3], WANTED + "float32 of shape (3,)"),
        (B4[None], WANTED + "float32 of shape (1, 4)"),
        (
            np.array([1, 2, 3, 4], object),
            WANTED
            + "object of shape (4,); an array of Python objects cannot be compiled code's input",
        ),
        (np.ma.masked_array(B4, B4 > 1), WANTED + "a masked array; fill it first"),
        ([1.0, 2.0, 3.0, 4.0], WANTED + "list; pass numpy.asarray of it"),
        (None, WANTED + "NoneType"),
        ("abcd", WANTED + "str"),
        (2.5, WANTED + "float"),
        (lib.placeholder((4,)), WANTED + "tensorc.te.tensor.Tensor"),
        (
            np.ones(8, np.float32)[::2],
            "f: argument 'B' (2 of 2): must be C-contiguous, got strides (8,) for shape (4,) of "
            "float32; pass numpy.ascontiguousarray of it",
        ),
        (
            np.frombuffer(bytearray(17), np.uint8)[1:].view(np.float32),
            "f: argument 'B' (2 of 2): its data must be aligned to 4 bytes; pass a copy",
        ),
        (
            Foreign(B4, device=(2, 0)),
            f"f: argument 'B' (2 of 2): this {__name__}.Foreign is on DLPack device (2, 0), "
            "not in CPU memory",
        ),
        (
            Foreign(B4, device=None),
            f"f: argument 'B' (2 of 2): this {__name__}.Foreign does not say where its DLPack "
            "memory is: 'NoneType' object is not iterable",
        ),
        (
            Foreign(B4, error=BufferError("it requires grad")),
            f"f: argument 'B' (2 of 2): this {__name__}.Foreign cannot be lent through DLPack: "
            "it requires grad",
        ),
        (
            Foreign(B4, error=TypeError("never")),
            f"f: argument 'B' (2 of 2): this {__name__}.Foreign cannot be lent through DLPack: "
            "never",
        ),
        (
            Foreign(3),
            f"f: argument 'B' (2 of 2): this {__name__}.Foreign gave no DLPack capsule",
        ),
    ],
    ids=lambda v: type(v).__name__ if not isinstance(v, str) else "",
)
def test_an_argument_that_does_not_fit_is_named(
    add: tc.CompiledFunction, value: Any, message: str
) -> None:
    assert said(lambda: add(A34, value), tc.ArgumentError) == message
    assert said(lambda: add.bind(A34, value), tc.ArgumentError) == message


def test_a_foreign_tensor_that_fits_is_taken(add: tc.CompiledFunction) -> None:
    out = np.zeros((3, 4), np.float32)
    assert add(Foreign(A34), Foreign(B4), out=Foreign(out)) is not None
    np.testing.assert_array_equal(out, A34 + B4)
    np.testing.assert_array_equal(np.from_dlpack(add(A34, B4)), A34 + B4)


def test_arguments_go_by_name_too(add: tc.CompiledFunction) -> None:
    np.testing.assert_array_equal(add(A34, B=B4), A34 + B4)
    np.testing.assert_array_equal(add(B=B4, A=A34), A34 + B4)
    np.testing.assert_array_equal(add.bind(B=B4, A=A34)(), A34 + B4)
    takes = "f: takes 2 arguments (A: float32[3, 4], B: float32[4])"
    assert said(lambda: add(A34)) == f"{takes}, got 1"
    assert said(lambda: add(A34, B4, B4)) == f"{takes}, got 3"
    assert said(lambda: add(B=B4)) == f"{takes}; 'A' is missing"
    assert said(lambda: add(A34, C=B4)) == "f: no argument 'C'; there are 'A', 'B', 'out'"
    assert said(lambda: add(A34, A=A34)) == "f: argument 'A' is given by position and by name"


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((3, 4)), "expected float32 of shape (3, 4), got float64 of shape (3, 4)"),
        (np.zeros((4, 3), "f"), "expected float32 of shape (3, 4), got float32 of shape (4, 3)"),
        (3, "expected float32 of shape (3, 4), got int"),
        ((None,), "expected float32 of shape (3, 4), got NoneType"),
        (read_only(np.zeros((3, 4), "f")), "is written, but the array is read-only; pass a copy"),
        (
            np.zeros((4, 3), "f").T,
            "must be C-contiguous, got strides (4, 12) for shape (3, 4) of float32; pass "
            "numpy.ascontiguousarray of it",
        ),
        (
            A34,
            "is written, and overlaps argument 'A' (1 of 2) in memory; pass a copy of one",
        ),
    ],
)
def test_an_output_that_does_not_fit_is_named(
    add: tc.CompiledFunction, out: Any, message: str
) -> None:
    found = said(lambda: add(A34, B4, out=out), tc.ArgumentError)
    assert found.replace("'C':", "'C'") == f"f: output 'C' {message}"


def test_the_number_of_outputs_is_checked(add: tc.CompiledFunction) -> None:
    assert said(lambda: add(A34, B4, out=[A34, A34])) == "f: out: expected 1 arrays (C), got 2"
    assert said(lambda: add(A34, B4, out={"D": A34})) == "f: out: no output 'D'; there is 'C'"


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("float32", True, "expected float32 of shape (), got bool"),
        ("float32", 1j, "expected float32 of shape (), got complex"),
        ("float32", np.float64(1), "expected float32 of shape (), got float64 of shape ()"),
        ("float32", 1e300, "1e+300 is out of range for float32"),
        ("float32", 10**400, "1000000000...0000000000 is out of range for float32"),
        ("int32", 1.5, "expected int32 of shape (), got float"),
        ("int32", 2**31, "2147483648 is out of range for int32"),
        ("uint8", -1, "-1 is out of range for uint8"),
        ("bool", 1, "expected bool of shape (), got int"),
    ],
)
def test_a_number_that_does_not_fit_is_named(dtype: str, value: Any, message: str) -> None:
    s = lib.placeholder((), dtype, name="s")
    f = lib.compile(lib.compute((1,), lambda _: s[()], name="out"), name="g")
    assert said(lambda: f(value), tc.ArgumentError) == f"g: argument 's' (1 of 1): {message}"


def test_a_number_that_fits_is_taken() -> None:
    s = lib.placeholder((), name="s")
    f = lib.compile(lib.compute((1,), lambda _: s[()] * 2.0, name="out"), name="g")
    assert [float(f(v)[0]) for v in (1, 1.5, np.float32(2), np.array(3, "f"))] == [2, 3, 4, 6]
    assert np.isnan(f(float("nan"))[0])


def test_symbolic_sizes_must_agree() -> None:
    n, m = lib.dim("n"), lib.dim("m")
    x, y = lib.placeholder((n, m), name="X"), lib.placeholder((m,), name="Y")
    f = lib.compile(lib.ops.matmul(x, y), name="mv")
    assert said(lambda: f(A34, B4[:3])) == (
        "mv: argument 'Y' (2 of 2): expected float32 of shape (m,) with m = 4 from argument 'X' "
        "(1 of 2), got float32 of shape (3,)"
    )
    assert f(A34[:0], B4).shape == (0,)
    np.testing.assert_array_equal(f(A34[:, :0].copy(), B4[:0]), np.zeros(3))
    z = lib.placeholder((n,), name="Z")
    g = lib.compile(lib.compute((n - 2,), lambda i: z[i + 2] * 1.0, name="S"))
    assert g(np.ones(2, "f")).shape == (0,)
    assert said(lambda: g(np.ones(1, "f"))) == (
        "S: output 'S': its size n - 2 is -1 with n = 1 from argument 'Z' (1 of 1)"
    )


def gathered() -> tuple[Tensor, Tensor]:
    n, m = lib.dim("n"), lib.dim("m")
    return lib.placeholder((n, m), name="X"), lib.placeholder((n,), "int32", name="idx")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda x, i: lib.compute(i.shape, lambda k: x[k, i[k]], name="G"),
            "X[k, idx[k]] leaves X: at k=2 the index of dimension 1 is 4, and its size m is 4",
        ),
        (
            lambda x, i: lib.ops.take(x, i, 1),
            "take: index idx[2] is 4, and must be at least 0 and below 4",
        ),
        (
            lambda x, i: lib.ops.take(x * 2.0, i + 0, 1),
            "take: index add[2] is 4, and must be at least 0 and below 4",
        ),
        (
            lambda x, i: lib.ops.take_along_axis(x, lib.ops.expand_dims(i, 1), 1),
            "take_along_axis: index expand_dims[2, 0] is 4, and must be at least 0 and below m",
        ),
        (
            lib.ops.softmax_cross_entropy,
            "softmax_cross_entropy: label idx[2] is 4, and must be at least 0 and below 4",
        ),
        (
            lambda x, i: lib.ops.cross_entropy(lib.ops.tanh(x), i),
            "softmax_cross_entropy: label idx[2] is 4, and must be at least 0 and below 4",
        ),
    ],
)
def test_an_index_in_data_that_leaves_is_named_and_nothing_is_written(
    make: Callable[[Tensor, Tensor], Tensor], message: str
) -> None:
    x, idx = gathered()
    result = make(x, idx)
    f = lib.compile(result, inputs=[x, idx], name="f")
    good, bad = np.array([0, 3, 1], "i"), np.array([0, 3, 4], "i")
    out = np.array(f(A34, good))
    out[...] = 99
    assert said(lambda: f(A34, bad, out=out), tc.CheckFailed) == f"f: {message}"
    assert (out == 99).all()


def test_a_failed_check_leaves_arguments_and_state_as_they_were() -> None:
    w, k = lib.placeholder((4,), name="W"), lib.placeholder((4,), "int32", name="K")
    twice = lib.compute((4,), lambda i: k[i] * 2, name="twice")  # Known only during the call.
    out = lib.compute((4,), lambda i: w[twice[i]], name="out")
    new = lib.compute((4,), lambda i: w[i] + 1.0, name="new")
    f = lib.compile([out], inputs=[w, k], updates=[(w, new)], name="f")
    weights, given = np.arange(4, dtype=np.float32), np.full(4, 99, np.float32)
    assert said(lambda: f(weights, np.array([0, 1, 2, 0], "i"), out=given)) == (
        "f: W[twice[i]] leaves W: at i=2 the index of dimension 0 is 4, and its size is 4"
    )
    np.testing.assert_array_equal(weights, [0, 1, 2, 3])
    np.testing.assert_array_equal(given, [99] * 4)
    model = nn.Sequential(nn.Linear(4, 3))
    step = lib.compile(lib.nn.training_step(model, nn.SoftmaxLoss(), optim.Adam(0.1), batch=2))
    before = {name: value.copy() for name, value in step.state.items()}
    for label in (3, -1):
        assert said(lambda: step(A34[:2], np.array([0, label], "i"))) == (  # noqa: B023
            f"step: softmax_cross_entropy: label y[1] is {label}, and must be at least 0 and "
            "below 3"
        )
    for name, value in step.state.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin", "softmax", "logsumexp"])
def test_an_empty_maximum_is_refused_and_no_maxima_are_not(name: str) -> None:
    op = getattr(tc.ops, name)
    fold = {"argmax": "argmax", "argmin": "argmin", "min": "min"}.get(name, "max")
    empty = lib.placeholder((3, 0), name="E")
    assert said(lambda: op(empty, axis=1), tc.ShapeError) == (
        f"{fold} over axis r1: an empty domain has no {fold}"
    )
    assert op(empty, axis=0).shape[-1].value == 0
    x = lib.placeholder((lib.dim("n"), lib.dim("m")), name="X")
    f = lib.compile(op(x, axis=1), name="f")
    message = said(lambda: f(A34[:, :0].copy()), tc.CheckFailed)
    assert message.startswith(f"f: {fold} over axis r1 of ")
    assert message.endswith(f": an empty domain has no {fold}")
    assert f(A34[:0]).size == 0


a, b = lib.placeholder((3,), name="A"), lib.placeholder((3,), name="B")
x, r = lib.placeholder((2, 3), name="X"), lib.reduce_axis(3, "r")


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (
            lambda: lib.compute((3,), lambda i: a[i + 1]),
            "A[i + 1] leaves A: at i=2 the index of dimension 0 is 3, and its size is 3",
        ),
        (
            lambda: lib.compute((3,), lambda _: a[-1]),
            "A[-1] leaves A: at _=0 the index of dimension 0 is -1, and its size is 3",
        ),
        (
            lambda: lib.ops.slice(lib.placeholder((lib.dim("n"),), name="Z"), 2),
            "Z[2] leaves Z: at n=2 the index of dimension 0 is 2, and its size n is 2; "
            "tc.dim('n', lower=3) rules that out",
        ),
        (
            lambda: lib.compute((2, 3), lambda i: a[i]),
            "compute: shape (2, 3) has 2 dimensions, but the body takes 1 indices (i)",
        ),
        (
            lambda: lib.compute((3,), lambda _: None),
            "compute: the body returned None; return an expression, or a tuple of them for "
            "several outputs",
        ),
        (
            lambda: lib.compute((3,), lambda i: [a[i], b[i]]),
            "compute: the body returned [<float32 A[i]>, <float32 B[i]>]; return an expression, "
            "or a tuple of them for several outputs",
        ),
        (lambda: lib.compute((3,), lambda _: ()), "compute: the body returned an empty tuple"),
        (
            lambda: lib.compute((3,), 3),
            "compute: the body must be a function of the indices, got 3",
        ),
        (
            lambda: lib.compute((3,), lambda _: a),
            "A has 1 dimensions: index it, as in A[i], or use tc.ops",
        ),
        (
            lambda: lib.compute((3,), lambda _: "x"),
            "cannot use 'x' of type str in an expression",
        ),
        (
            lambda: a + np.ones(3),
            "cannot use array([1., 1., 1.]) of type ndarray in an expression; make it a "
            "tc.placeholder, and pass the values to the compiled function",
        ),
        (
            lambda: lib.compute((3,), lambda i: 1.0 if a[i] > 0 else 0.0),
            "an expression has no truth value while it is built: A[i] > 0.0; use "
            "tc.where(cond, a, b), and & | ~ instead of and, or, not",
        ),
        (
            lambda: lib.compute((3,), lambda _: a[r]),
            "reduce axis r is used outside its scope in A[r]: reduce over it, as in "
            "tc.sum(..., axis=...)",
        ),
        (
            lambda: lib.compute((), lambda: lib.sum(a[r], axis=0)),
            "axis must be made by tc.reduce_axis, got 0",
        ),
        (lambda: lib.placeholder((-1, 3)), "negative size -1 in shape (-1, 3)"),
        (lambda: lib.placeholder((2.5, 3)), "shape (2.5, 3): 2.5 is not an integer size"),
        (
            lambda: lib.placeholder((3,), name="a b"),
            "'a b' cannot be a name: use letters, digits, _ and .",
        ),
        (
            lambda: lib.dim("lambda"),
            "'lambda' cannot name a size: formulas of sizes take plain identifiers that are no "
            "words of Python or of the programs' text",
        ),
        (lambda: lib.ops.sum(x, axis=2), "axis 2 is out of bounds for a tensor of 2 dimensions"),
        (lambda: lib.ops.sum(x, axis="rows"), "axis 'rows' is not an integer"),
        (
            lambda: lib.ops.mean(np.ones(3)),
            "mean: x must be a tensor, got array([1., 1., 1.]) of type ndarray; make it a "
            "tc.placeholder, and pass the values to the compiled function",
        ),
        (
            lambda: lib.ops.concatenate([a, 3]),
            "concatenate: tensors[1] must be a tensor, got 3 of type int",
        ),
        (
            lambda: lib.ops.concatenate(a),
            "concatenate: tensors must be a list of tensors, got <Tensor A: float32[3]>",
        ),
        (
            lambda: lib.ops.matmul(x, x),
            "matmul: shapes (2, 3) and (2, 3) do not fit: 3 columns meet 2 rows",
        ),
        (
            lambda: x + lib.placeholder((4,)),
            "cannot broadcast shapes (2, 3), (4): 3 and 4 in dimension -1",
        ),
        (lambda: lib.ops.arange(0, float("nan")), "arange: nan is not finite"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused(
    fn: Callable[[], object], message: str
) -> None:
    assert said(fn) == message


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (
            lambda: lib.compile([]),
            "build: no outputs and no updates, so there is nothing to compute",
        ),
        (
            lambda: lib.compile(None),
            "compile: expected tensors, a schedule, a program or a training step, got a NoneType",
        ),
        (
            lambda: lib.compile(a[0]),
            "compile: expected tensors, a schedule, a program or a training step, got a Load",
        ),
        (
            lambda: lib.compile(a + 1.0, inputs=[a, b]),
            "inputs: no output depends on B; leave it out",
        ),
        (
            lambda: lib.compile(a + b, inputs=[a]),
            "inputs: the outputs depend on B too; list every input",
        ),
        (
            lambda: lib.compile(a + b, inputs=a),
            "inputs: expected a list of placeholders, got <Tensor A: float32[3]>",
        ),
        (
            lambda: lib.compile([], updates=[(a, 3)]),
            "updates: expected pairs (placeholder, new value) of tensors, got "
            "(<Tensor A: float32[3]>, 3)",
        ),
        (
            lambda: lib.compile([], updates=[(a, x)]),
            "updates: the new value X: float32[2, 3] does not fit A: float32[3]",
        ),
        (
            lambda: lib.compile(a + 1.0, threads="two"),
            "compile: threads must be an integer, got 'two'",
        ),
        (
            lambda: lib.compile(a + 1.0, target="abacus"),
            "target 'abacus' is not known; there are 'cpu', 'cuda' and 'cuda-emu'",
        ),
    ],
)
def test_what_cannot_be_compiled_is_refused(fn: Callable[[], object], message: str) -> None:
    assert said(fn) == message


def test_two_tensors_of_one_name_are_refused() -> None:
    other = lib.placeholder((3,), name="A")
    assert said(lambda: lib.compile(a + other)).startswith(
        "two tensors are named 'A': A: float32[3]"
    )
    p, q = (lib.placeholder((lib.dim("n"),), name=name) for name in "PQ")
    assert said(lambda: lib.compile(lib.ops.outer(p, q))) == (
        "two sizes are named 'n': share one tc.dim where they are one size, else rename one"
    )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            {"cpu": "nonsense", "triple": "x86_64-unknown-linux-gnu"},
            "target: LLVM knows no processor 'nonsense' for x86_64-unknown-linux-gnu",
        ),
        (
            {"cpu": "pentium", "triple": "x86_64-unknown-linux-gnu"},
            "target: processor 'pentium' has no x86_64-unknown-linux-gnu code",
        ),
        (
            {"cpu": "x86-64", "features": "+magic", "triple": "x86_64-unknown-linux-gnu"},
            "target: LLVM knows no feature '+magic' for x86_64-unknown-linux-gnu",
        ),
    ],
)
def test_a_processor_that_llvm_does_not_know_is_refused(
    target: dict[str, str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert said(lambda: lib.compile(a + 1.0, target=lib.Target(**target))) == message
    assert capfd.readouterr().err == ""


def test_workspace_sizes_are_checked() -> None:
    f = lib.compile(lib.ops.softmax(gathered()[0]), name="f")
    assert f.workspace_bytes(n=3, m=4) >= 0
    assert said(lambda: f.workspace_bytes(n=3)) == "f: workspace_bytes needs the size m"
    assert said(lambda: f.workspace_bytes(n=3, m=-1)) == (
        "f: workspace_bytes: size m must be an integer of at least 0, got -1"
    )
    assert said(lambda: f.workspace_bytes(n=3, m=4, k=5)) == (
        "f: workspace_bytes: there is no size k"
    )


def test_a_loss_or_an_optimizer_that_is_none_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    assert (
        said(lambda: lib.nn.training_step(model, nn.SoftmaxLoss, optim.SGD(0.1), 2))
        == "training_step: loss must be an nn.Module, got the class SoftmaxLoss; make one of it"
    )
    assert (
        said(lambda: lib.nn.training_step(model, nn.SoftmaxLoss(), optim.SGD, 2))
        == "training_step: optimizer must have update(), got the class SGD; make one of it"
    )
    assert said(lambda: lib.optim.SGD("fast")) == "SGD: lr must be a number, got 'fast'"


def test_a_long_sum_in_one_body_is_compiled_and_an_endless_one_refused() -> None:
    def total(terms: int) -> Any:
        def body(i: Any) -> Any:
            result: Any = a[i]
            for _ in range(terms):
                result = result + a[i]
            return result

        return lib.compute((3,), body, name="total")

    np.testing.assert_array_equal(tc.compile(total(250))(np.ones(3, "f")), [251] * 3)
    assert said(lambda: total(20_000)) == (
        "compute: the body nests its operations too deeply; make a tensor of a part of it"
    )
