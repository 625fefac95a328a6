"""Recording: from a call with tensors that hold data to a node of the graph.

What does not depend on data (shapes and dtypes of the results, errors) is found by calling the
operation once with placeholders, and then known by the operation, its arguments and the shapes and
dtypes of its inputs.

A Python number beside a tensor is a constant of the compiled code. Where it is another one each
time, as a learning rate may be, compiling each time would be far too slow: from the second value on
arithmetic takes it as an input.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tensorc import ops
from tensorc.dtypes import DType, as_dtype, float32, int64
from tensorc.eager.graph import Call, Op, Signature, Value, is_grad_enabled, signature
from tensorc.errors import DTypeError, IRError, TensorcError
from tensorc.ir.expr import ExprBase, const_int, shorten
from tensorc.te.dispatch import Imperative
from tensorc.te.tensor import Tensor, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

Function: TypeAlias = "Callable[..., Any]"
_MAX_OPS = 1 << 14
_MAX_MET = 1 << 12
_HOLE = object()  # Stands for a tensor among the arguments that an `Op` keeps.
_ARITHMETIC: frozenset[Function] = frozenset(
    (
        operator.add,
        operator.sub,
        operator.mul,
        operator.truediv,
        ops.add,
        ops.subtract,
        ops.multiply,
        ops.divide,
        ops.maximum,
        ops.minimum,
    )
)

_ops: dict[tuple[Any, ...], Op] = {}
_dtypes: dict[np.dtype[Any], DType] = {}  # Those that were met; there are few.
_met: set[tuple[Any, ...]] = set()  # Arithmetic that has had a number as its constant.


def record(function: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    """The call of `function`, which builds tensors of tensors, as a node.

    Raises:
        TensorcError: what `function` raises of placeholders of these shapes and dtypes.
    """
    inputs: list[Value] = []
    parts: list[Any] = [function]
    for value in args:
        if isinstance(value, Imperative):
            found: Value = value._value  # type: ignore[attr-defined]
            inputs.append(found)
            parts.append(found.signature)
        else:
            parts.append(_part(value, inputs))
    for name, value in kwargs.items():
        parts.append(name)
        parts.append(_part(value, inputs))
    op = _ops.get(tuple(parts))
    if op is None:
        if len(args) == 2 and function in _ARITHMETIC:
            call = _with_number(function, args)
            if call is not None:
                return call
        op = _new_op(tuple(parts), function, args, kwargs, inputs)
    return make_call(op, tuple(inputs))


def make_call(op: Op, inputs: tuple[Value, ...]) -> Call:
    """A use of `op`, through which gradients flow if they are wanted and it has float results."""
    requires_grad = False
    if is_grad_enabled():
        for value in inputs:
            if value.requires_grad:
                requires_grad = True
                break
    return Call(op, inputs, requires_grad)


def results(call: Call) -> list[Value]:
    """The outputs of a call."""
    return [
        Value(s, None, call, k, call.requires_grad and s.dtype.is_float)
        for k, s in enumerate(call.op.outputs)
    ]


def data(array: NDArray[Any]) -> Value:
    """Data that nothing else holds on to; row-major."""
    dtype = _dtypes.get(array.dtype)
    if dtype is None:
        dtype = _dtypes[array.dtype] = as_dtype(array.dtype)
    return Value(signature(array.shape, dtype), array)


def as_array(values: Any, dtype: DType | str | None = None) -> NDArray[Any]:
    """A row-major array with a copy of `values`; Python's floats make float32.

    Raises:
        DTypeError: values that no dtype here holds.
    """
    if dtype is None and values.__class__ is np.ndarray and values.dtype in _dtypes:
        return values.copy()
    to = None if dtype is None else as_dtype(dtype).numpy
    try:
        array = np.array(values, order="C", ndmin=0)
    except ValueError as error:
        raise DTypeError(f"tensor: {shorten(values)} makes no array: {error}") from None
    if array.dtype.kind not in "biufV" or (array.dtype.kind == "V" and array.dtype.fields):
        raise DTypeError(
            f"tensor: {shorten(values)} holds values of {array.dtype}; numbers and bools are needed"
        )
    if to is None:
        given = getattr(values, "dtype", None)
        to = float32.numpy if given is None and array.dtype == np.float64 else array.dtype
    as_dtype(to)
    return array if array.dtype == to else array.astype(to)


# --- operations -----------------------------------------------------------------------------


def _part(value: Any, inputs: list[Value]) -> Any:
    """What an argument puts into the key of its operation; tensors in it go to `inputs`."""
    cls = value.__class__
    if cls is float:
        return cls, value.hex()  # Tells -0.0 from 0.0, and a NaN equals itself.
    if cls is int or cls is bool or cls is str or value is None:
        return cls, value
    if isinstance(value, Imperative):
        inputs.append(value._value)  # type: ignore[attr-defined]
        return inputs[-1].signature
    if isinstance(value, list | tuple):
        return (cls, *(_part(item, inputs) for item in value))
    if isinstance(value, slice):
        return (cls, *(_part(item, inputs) for item in (value.start, value.stop, value.step)))
    if isinstance(value, np.ndarray):
        inputs.append(data(as_array(value)))
        return inputs[-1].signature
    if isinstance(value, np.generic):
        return cls, repr(value)
    if isinstance(value, Tensor | ExprBase):
        what = f"{value}" if isinstance(value, Tensor) else f"the expression {value}"
        raise IRError(
            f"{what} is symbolic: it holds no data, and cannot be mixed with tensors that do; "
            "compile it with tc.compile, or make its inputs by tc.tensor"
        )
    try:
        hash(value)
    except TypeError:
        raise DTypeError(
            f"cannot use {shorten(value)} of type {cls.__name__} beside tensors that hold data"
        ) from None
    return value


def _new_op(
    key: tuple[Any, ...],
    function: Function,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    inputs: Sequence[Value],
) -> Op:
    skeleton = [_skeleton(value) for value in args]
    named = {name: _skeleton(value) for name, value in kwargs.items()}

    def call(tensors: Sequence[Tensor]) -> Any:
        rest = iter(tensors)
        filled = [_filled(part, rest) for part in skeleton]
        return function(*filled, **{name: _filled(part, rest) for name, part in named.items()})

    return intern_op(key, call, [v.signature for v in inputs], getattr(function, "__name__", "it"))


find_op: Callable[[tuple[Any, ...]], Op | None] = _ops.get  # By its key.


def intern_op(
    key: tuple[Any, ...],
    function: Callable[[Sequence[Tensor]], Any],
    inputs: Sequence[Signature],
    name: str,
) -> Op:
    """The operation that `function` of symbolic inputs is, kept under `key`.

    Raises:
        TensorcError: a result that is no tensor; whatever `function` raises.
    """
    known = _ops.get(key)
    if known is not None:
        return known
    given = symbols(inputs)
    made = function(given)
    kind = type(made) if isinstance(made, list | tuple) else None
    outputs = made if kind is not None else (made,)
    for tensor in outputs:
        if not isinstance(tensor, Tensor):
            raise IRError(
                f"{name}: of tensors that hold data it must give tensors, got {shorten(tensor)}"
            )

    def build(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        result = function(tensors)
        return result if kind is not None else (result,)

    if len(_ops) >= _MAX_OPS:
        _ops.clear()
    op = Op(build, tuple(signature_of(t) for t in outputs), kind)
    return _ops.setdefault(key, op)


def symbols(inputs: Sequence[Signature], names: Sequence[str] = ()) -> list[Tensor]:
    """A placeholder for each signature, named where a name is given."""
    if names:
        return [placeholder(s.shape, s.dtype, n) for s, n in zip(inputs, names, strict=True)]
    return [placeholder(s.shape, s.dtype) for s in inputs]


def signature_of(tensor: Tensor) -> Signature:
    """The signature of a symbolic tensor of fixed sizes."""
    sizes = tuple(const_int(size) for size in tensor.shape)
    if None in sizes:
        raise IRError(f"{tensor}: of tensors that hold data every size is a number")
    return signature(sizes, tensor.dtype)  # type: ignore[arg-type]


def _skeleton(value: Any) -> Any:
    if isinstance(value, Imperative | np.ndarray):
        return _HOLE
    if isinstance(value, list | tuple):
        return type(value)(_skeleton(item) for item in value)
    return value


def _filled(part: Any, tensors: Iterator[Tensor]) -> Any:
    if part is _HOLE:
        return next(tensors)
    if isinstance(part, list | tuple):
        return type(part)(_filled(item, tensors) for item in part)
    return part


# --- numbers that vary ------------------------------------------------------------------------


def _with_number(function: Function, args: Sequence[Any]) -> Call | None:
    """The call of arithmetic on a tensor and a number that was another one before, else None."""
    place = next((k for k, a in enumerate(args) if isinstance(a, int | float | np.generic)), None)
    if place is None or not isinstance(args[1 - place], Imperative):
        return None
    number, other = args[place], args[1 - place]
    array = _weak(number, other._value.signature.dtype)
    if array is None:
        return None
    key = (function, place, type(number), other._value.signature)
    if key not in _met:
        if len(_met) >= _MAX_MET:
            _met.clear()
        _met.add(key)
        return None
    parts = [other._value, other._value]
    parts[place] = data(array)
    shapes = tuple(value.signature for value in parts)
    key = (function, "number", *shapes)
    op = find_op(key) or intern_op(key, lambda t: function(*t), shapes, function.__name__)
    return make_call(op, tuple(parts))


def _weak(number: Any, dtype: DType) -> NDArray[Any] | None:
    """A number as it is taken beside `dtype` (`ir.expr.match_dtypes`); None where that refuses."""
    if isinstance(number, np.generic):
        try:
            return np.array(number, as_dtype(number.dtype).numpy)
        except TensorcError:
            return None
    if isinstance(number, bool):
        return None
    if isinstance(number, float):
        to = dtype if dtype.is_float else float32
        with np.errstate(over="ignore"):
            return np.array(number, np.float64).astype(to.numpy)
    to = int64 if dtype.is_bool else dtype
    if to.is_float:
        return np.array(number, np.float64).astype(to.numpy) if abs(number) < 2**63 else None
    return np.array(number, to.numpy) if to.min_value <= number <= to.max_value else None
