"""Arguments of another kind than a function takes: each is named, none ends in a traceback."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from tensorc import nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

lib: Any = tc  # What follows is mistyped on purpose.

A, B = lib.placeholder((4, 6), name="A"), lib.placeholder((4, 6), "bool", name="B")
V, IDX = lib.placeholder((6,), name="V"), lib.placeholder((4,), "int32", name="I")
X3 = lib.placeholder((2, 4, 6), name="X3")
JUNK: tuple[Any, ...] = (
    None,
    "x",
    -1,
    2.5,
    float("nan"),
    True,
    (),
    [],
    {},
    [1, "a"],
    (None, None),
    object(),
    A,
    V,
)
FITTING = {
    "cond": B,
    "weight": V,
    "mean": V,
    "var": V,
    "indices": IDX,
    "labels": IDX,
    "tensors": [A, A],
    "shape": (4, 6),
    "axis": 0,
    "axes": None,
    "query": X3,
    "key": X3,
    "value": X3,
    "window": 2,
    "dtype": "float32",
    "rate": 0.5,
    "subscripts": "ij->i",
    "scale": 2,
    "classes": 4,
    "rows": 3,
    "reps": 2,
    "repeats": 2,
    "seed": 1,
    "start": 0,
    "pad_width": 1,
    "index": 0,
    "axis1": 0,
    "axis2": 1,
    "source": 0,
    "destination": 1,
}


def product() -> Any:
    a, b = tc.placeholder((6, 4), name="A"), tc.placeholder((4, 5), name="B")
    k = tc.reduce_axis(4, name="k")
    c = tc.compute((6, 5), lambda i, j: tc.sum(a[i, k] * b[k, j], axis=k), name="C")
    return tc.Schedule(tc.compute((6, 5), lambda i, j: c[i, j] * 2.0, name="D"))


def spoilt(function: Callable[..., object], fitting: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Arguments of which one after the other is replaced by junk."""
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    whole = {p.name: fitting.get(p.name, A) for p in named if p.default is p.empty}
    for parameter in named:
        for junk in JUNK:
            yield {**whole, parameter.name: junk}


@pytest.mark.parametrize("name", tc.ops.__all__)
def test_an_operation_takes_junk_or_refuses_it(name: str) -> None:
    function = getattr(tc.ops, name)
    for arguments in spoilt(function, FITTING):
        with suppress(tc.TensorcError):
            function(**arguments)


STEPS = sorted(
    name
    for name, method in vars(tc.Schedule).items()
    if inspect.isfunction(method)
    and not name.startswith("_")
    and name not in ("check", "adopt", "restore", "apply", "save", "show")  # They take ours.
)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_takes_junk_or_refuses_it(name: str) -> None:
    s = product()
    i, j, k = s.loops("C")
    fitting = {
        **{"stage": "C", "buffer": "A", "scope": "local", "axis": "thread.x", "after": "C"},
        **{"i": i, "j": j, "outer": i, "inner": j, "first": i, "second": j, "loop": k},
        **{"factor": 2, "i_factor": 2, "j_factor": 2, "count": 1, "at": 1, "stages": 2, "dim": 0},
        **{"width": 4, "group": 2, "threads": 4, "intrinsic": "mma", "trace": s.trace},
        **{"key": "nontemporal", "value": 1, "name": "i"},
    }
    start, before = s.save(), str(s)
    for arguments in spoilt(getattr(s, name), fitting):
        try:
            getattr(s, name)(**arguments)
        except tc.TensorcError:
            assert str(s) == before, arguments
        s.restore(start)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (
            lambda: lib.reduce_axis(4, where=3, name="k"),
            "reduce_axis k: where must be a function of the axis, got 3",
        ),
        (
            lambda: lib.reducer(3, 0.0, name="r"),
            "reducer r: combine must be a function of two values, got 3",
        ),
        (
            lambda: nn.Parameter((2,), 3, 0, "float32"),  # type: ignore[arg-type]
            "a parameter's initializer must be a function of (shape, rng, dtype), got 3",
        ),
        (
            lambda: optim.Groups([0.1]),  # type: ignore[arg-type]
            "Groups: rules must be a dict of patterns and their rules, got [0.1]",
        ),
        (lambda: lib.ops.sum(A, keepdims="yes"), "sum: keepdims must be True or False, got 'yes'"),
        (lambda: lib.ops.huber(A, A, "1"), "huber: delta must be a number, got '1'"),
        (lambda: lib.ops.layer_norm(A, 3), "layer_norm: weight must be a tensor, got 3"),
        (lambda: lib.ops.repeat(A, 2.5, 0), "repeat: repeats must be an integer, got 2.5"),
        (lambda: lib.ops.transpose(A, 1), "transpose: axes must be a list of integers, got 1"),
        (
            lambda: lib.ops.tile(A, None),
            "tile: reps must be an integer or a list of integers, got None",
        ),
        (lambda: lib.ops.einsum(A, A), f"einsum: subscripts must be a string, got {A!r}"),
        (
            lambda: lib.ops.arange("4"),
            "arange: start must be a number or an expression of sizes, got '4'",
        ),
        (lambda: lib.ops.pad(A, (None, None)), "pad: widths (None, None) are no integers"),
        (
            lambda: lib.ops.pad(A, [1, 2, 3]),
            "pad: widths [1, 2, 3] do not fit A: float32[4, 6]: one pair of numbers >= 0 a "
            "dimension",
        ),
        (
            lambda: product().split(product().loops("C")[0], 2.5),
            "split: factor must be an integer, got 2.5",
        ),
        (
            lambda: product().split("i", 2),
            """split: loop must be a loop, as in s.loop("C", "i"), got 'i'""",
        ),
        (lambda: product().loops(A), f"loops: stage must be a name, got {A!r}"),
        (lambda: product()[A], f"there is no stage {A!r}; there are C, D"),
        (
            lambda: A.__setitem__((0, 0), 1.0),
            "A: elements are not assigned, a definition gives all of them, as in "
            "tc.compute(shape, lambda i: tc.where(i == 0, value, x[i]))",
        ),
        (
            lambda: lib.tensor([1.0]).__setitem__(0, 2.0),
            "elements of a tensor are not assigned; tc.where makes a new tensor, and "
            "x.data = array replaces what a given one holds",
        ),
        (lambda: lib.Schedule(3), "outputs must be tensors, got 3"),
        (
            lambda: lib.grad(lib.ops.sum(A), None),
            "grad: wrt must be a tensor or a list of them, got None",
        ),
        (
            lambda: lib.jvp(A, A, 1.0),
            "jvp: tangents must be a tensor or a list of them, got 1.0",
        ),
        (
            lambda: lib.scan((3,), 2.0),
            "scan: the step must be a function of the indices, got 2.0",
        ),
        (
            lambda: lib.reduce_axis((1, 2, 3)),
            "reduce_axis r: one size or a pair (first, end), got (1, 2, 3)",
        ),
        (
            lambda: lib.reducer(max, (0.0, 0.0), ("float32",)),
            "reducer fold: 2 identities, but 1 dtypes",
        ),
        (
            lambda: lib.compute((3,), lambda i: i, name=3),
            "3 cannot be a name: use letters, digits, _ and .",
        ),
        (
            lambda: lib.compile([], updates={A: A}),
            "updates: expected a list of pairs (placeholder, new value), got a dict",
        ),
        (lambda: lib.compile((None, A)), "compile: the outputs must be tensors, got a NoneType"),
        (
            lambda: lib.placeholder((3,), A),
            "dtype A: float32[4, 6] is not supported; there are bool, int8, int16, int32, int64, "
            "uint8, uint16, uint32, uint64, float16, bfloat16, float32, float64",
        ),
        (
            lambda: lib.nn.evaluation_step("m", nn.SoftmaxLoss(), 2),
            "evaluation_step: model must be an nn.Module, got 'm'",
        ),
        (
            lambda: (
                lib.nn.training_step(
                    model(), nn.SoftmaxLoss(), optim.SGD(0.1), 2, metrics=nn.accuracy
                ).name
            ),
            "metrics must be a dict, as in {'accuracy': nn.accuracy}, got <function accuracy at",
        ),
        (lambda: lib.nn.Parameter("3"), "a parameter cannot have the shape '3'"),
        (lambda: lib.optim.Adam(betas=0.9), "Adam: betas must be two numbers, got 0.9"),
        (
            lambda: lib.optim.SGD(0.1).bind(None),
            "bind: the parameters must be a list or a dict of tensors, got a NoneType",
        ),
        (
            lambda: lib.data.ArrayDataset(None),
            "ArrayDataset: give a tuple of arrays, as in (x, y), got a NoneType",
        ),
    ],
)
def test_an_argument_of_another_kind_is_named(fn: Callable[[], object], message: str) -> None:
    with pytest.raises(tc.TensorcError) as caught:
        fn()
    said = str(caught.value)
    assert said.split(" (test_arguments.py:")[0] == message or said.startswith(message + " 0x")


def test_integers_of_numpy_are_integers() -> None:
    two = np.int64(2)
    assert lib.ops.expand_dims(A, np.int64(0)).shape[0].value == 1
    assert [n.value for n in lib.ops.tile(A, two).shape] == [4, 12]
    assert [n.value for n in lib.ops.pad(A, two).shape] == [8, 10]
    assert [n.value for n in lib.ops.repeat(A, two, np.int64(1)).shape] == [4, 12]
    s = product()
    assert s.extent(s.split(s.loops("C")[0], two)[1]).value == 2
