"""The tensor that holds data: operators and methods as of NumPy and PyTorch, gradients as there."""

from __future__ import annotations

import math
import weakref
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tensorc import ops
from tensorc.eager import modules, optimize
from tensorc.eager.evaluate import bound_depth, evaluate
from tensorc.eager.gradient import differentiate, join_group, reach
from tensorc.eager.graph import Call, Value, is_grad_enabled, no_grad
from tensorc.eager.operators import Operators
from tensorc.eager.record import as_array, data, record, results
from tensorc.errors import ArgumentError, DTypeError, GradientError, ShapeError
from tensorc.ir.expr import shorten
from tensorc.nn.parameter import Parameter, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tensorc.dtypes import DType


class EagerTensor(Operators):
    """A tensor that holds data, or the record of how to compute it; `tensorc.tensor` makes one.

    Operators, methods and all of `tc.ops` record. A value is computed when it is asked for, with
    all that leads to it, by compiled code that is kept for the next graph of the same structure.
    Shapes and dtypes are known, and refused, at once.

    A recorded value never changes. What is in a tensor changes only where `data` is set, or where
    an optimizer updates it, and what was recorded before that keeps what it read.
    """

    __slots__ = ("__weakref__", "_grad", "_next", "_value")
    __array_ufunc__ = None  # NumPy then leaves `array * tensor` to us.
    __hash__ = object.__hash__

    def __init__(self, value: Value) -> None:
        """Made by `tensorc.tensor` and by operations."""
        self._value = value
        self._grad: EagerTensor | None = None
        self._next: EagerTensor | None = None  # What a buffer becomes, where that is recorded.
        value.handle = weakref.ref(self)

    # --- what it is ---------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return self._value.signature.shape

    @property
    def dtype(self) -> DType:
        """The type of the elements."""
        return self._value.signature.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self._value.signature.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self._value.signature.shape)

    @property
    def is_leaf(self) -> bool:
        """Whether its data was given, not computed by something that gradients flow through."""
        return self._value.leaf or not self._value.requires_grad

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor; of a leaf it can be set."""
        return self._value.requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        value = self._value
        if bool(wanted) == value.requires_grad:
            return
        if not self.is_leaf:
            raise GradientError(
                "requires_grad of a result follows from its operands; detach() gives a tensor "
                "without gradients"
            )
        self._set_value(_leaf(self.numpy(), bool(wanted)))

    # --- its data -----------------------------------------------------------------------------

    def _array(self) -> NDArray[Any]:
        """The data, computed if need be; not to be written to."""
        array = self._value.array
        if array is None:
            evaluate([self._value])
            array = self._value.array
            assert array is not None, "an evaluated tensor has data"
        return array

    def numpy(self) -> NDArray[Any]:
        """A copy of the data as a NumPy array.

        Raises:
            CheckFailed: a value that led here is not allowed (a label that is no class...).
        """
        return self._array().copy()

    def item(self) -> int | float | bool:
        """The one element as a Python number.

        Raises:
            ShapeError: there are more or fewer.
        """
        if self.size != 1:
            raise ShapeError(f"item: a tensor of shape {self.shape} is not one number")
        return self._array().item()  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        """The data as nested lists of Python numbers."""
        return self._array().tolist()

    @property
    def data(self) -> Any:
        """The tensor as it is now, without gradients. Setting it overwrites the data.

        What is set may be a tensor, an array or a number of the same shape; it is converted to the
        tensor's dtype. What was recorded before keeps the values that it read.

        Raises:
            GradientError: set, of a tensor that is computed.
            ShapeError: set to another shape.
        """
        return self.detach()

    @data.setter
    def data(self, new: Any) -> None:
        if not self.is_leaf:
            raise GradientError("data of a result cannot be set: it is computed from its operands")
        array = new._array() if isinstance(new, EagerTensor) else as_array(new)
        if array.shape != self.shape:
            raise ShapeError(f"data: a tensor of shape {self.shape} cannot take {array.shape}")
        with np.errstate(all="ignore"):
            array = array.astype(self.dtype.numpy)
        if self._value.readers is None:
            self._set_value(_leaf(array, False))
        else:
            self.before_write()
            assert self._value.array is not None, "a leaf has data"
            self._value.array[...] = array

    def before_write(self) -> None:
        """Keep the present data for what was recorded with it: it is about to be overwritten."""
        old = self._value
        readers, old.readers = old.readers, []
        if readers and any(ref() is not None for ref in readers):
            assert old.array is not None, "a leaf has data"
            self._value = _leaf(old.array, old.requires_grad)
            self._value.handle, self._value.readers = old.handle, []
            old.array = old.array.copy()
            old.readers = None

    def expose(self) -> None:
        """Let others see and write the data: what is recorded comes first, and keeps what it read.

        Only of a tensor that shares the array of a parameter or buffer.
        """
        if self._next is not None:
            self._next._array()
        self.before_write()

    def will_be(self, new: EagerTensor) -> None:
        """Become `new`, which is recorded, once that is computed."""
        self._next = new
        new._value.into = weakref.ref(self)

    def take(self, value: Value) -> None:
        """Store what `will_be` announced."""
        if self._next is not None and self._next._value is value:
            self._next = None
            self.before_write()
            assert self._value.array is not None, "a buffer has data"
            self._value.array[...] = value.array

    def _set_value(self, value: Value) -> None:
        self._value = value
        value.handle = weakref.ref(self)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """A copy or a pickle holds the data, and nothing of how they were computed."""
        return tensor, (self.numpy(), None, self.is_leaf and self.requires_grad)

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise ArgumentError(
            "elements of a tensor are not assigned; tc.where makes a new tensor, and x.data = "
            "array replaces what a given one holds"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self._array()
        if dtype is not None and np.dtype(dtype) != array.dtype:
            if copy is False:
                raise ValueError(f"a tensor of {self.dtype} is no array of {dtype} without a copy")
            return array.astype(dtype)
        if copy:
            return array.copy()
        view = array.view()
        view.flags.writeable = False
        return view

    def __dlpack__(self, **options: Any) -> Any:
        return self.numpy().__dlpack__(**options)  # A copy: the taker may write into it.

    def __dlpack_device__(self) -> Any:
        return self._array().__dlpack_device__()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.is_float:
            raise DTypeError(f"a {self.dtype} is no index")
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.ndim == 0 else format(str(self), spec)

    def __repr__(self) -> str:
        text = np.array2string(self._array(), separator=", ", prefix="tensor(")
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"tensor({text}, dtype={self.dtype}{grad})"

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("a tensor without dimensions has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[EagerTensor]:
        if not self.shape:
            raise ShapeError("a tensor without dimensions cannot be iterated over")
        if not self.requires_grad:
            self._array()  # Then each item is a piece of it, and nothing is compiled for it.
        return (self[i] for i in range(self.shape[0]))

    # --- gradients ----------------------------------------------------------------------------

    @property
    def grad(self) -> EagerTensor | None:
        """What `backward` has summed up here since the last `zero_grad`, None for nothing.

        Raises:
            GradientError: of the result of an operation: only leaves keep a gradient.
        """
        if not self.is_leaf:
            raise GradientError(
                "grad of the result of an operation: only tensors made by "
                "tc.tensor(..., requires_grad=True) and parameters keep one; tc.grad(y, x) gives "
                "the gradient with respect to any x"
            )
        return self._grad

    @grad.setter
    def grad(self, new: EagerTensor | None) -> None:
        if new is not None and (not isinstance(new, EagerTensor) or new.shape != self.shape):
            raise GradientError(
                f"grad of a tensor of shape {self.shape} must be a tensor of that shape or None, "
                f"got {shorten(new)}"
            )
        self._grad = new

    def zero_grad(self) -> None:
        """Forget the gradient; the next `backward` starts anew."""
        self._grad = None

    def detach(self) -> Any:
        """The same values, as constants to which no gradient flows."""
        with no_grad():
            return self.apply(ops.stop_gradient, (self,), {}) if self.dtype.is_float else self

    def backward(
        self,
        gradient: EagerTensor | None = None,
        retain_graph: bool = False,
        create_graph: bool = False,
    ) -> None:
        """Add the gradient of this tensor to `grad` of every leaf that it depends on.

        Args:
            gradient: of a tensor that is not one number, the cotangent of each element.
            retain_graph: let another `backward` go through the same graph.
            create_graph: record the gradients such that they can be differentiated again; this
                retains the graph too.

        Raises:
            GradientError: the tensor depends on no leaf that requires a gradient, is not one
                number, or its graph was freed; or an operation has no derivative.
        """
        seed = self._seed("backward", gradient)
        calls, leaves = reach(self._value)
        targets = [(v, v.handle()) for v in leaves if v.handle is not None]
        wanted = [(v, handle) for v, handle in targets if handle is not None]
        if not wanted:
            return
        waiting = [h._grad._value for _, h in wanted if h._grad is not None]
        waiting = [v for v in waiting if v.array is None]
        if waiting:
            evaluate(waiting)
        found = differentiate(self._value, seed, [v for v, _ in wanted], calls, create_graph)
        for (_, handle), value in zip(wanted, found, strict=True):
            new = EagerTensor(value)
            if handle._grad is not None:
                with nullcontext() if create_graph else no_grad():
                    new = handle._grad + new
            handle._grad = new
        join_group(found, [handle._grad for _, handle in wanted])
        if not (retain_graph or create_graph):
            for call in calls:
                call.freed = True

    def gradients(
        self,
        wrt: EagerTensor | Sequence[EagerTensor],
        seed: EagerTensor | None = None,
        **options: Any,
    ) -> Any:
        """What `tc.grad` gives of tensors that hold data: it can be differentiated again."""
        one = isinstance(wrt, EagerTensor)
        wanted = [wrt] if isinstance(wrt, EagerTensor) else list(wrt)
        for w in wanted:
            if not isinstance(w, EagerTensor) or not w.requires_grad:
                raise GradientError(
                    f"grad with respect to {shorten(w)}: a tensor with requires_grad=True is needed"
                )
        values = list(dict.fromkeys(w._value for w in wanted))
        calls, _ = reach(self._value) if self.requires_grad else ([], [])
        found = differentiate(self._value, self._seed("grad", seed), values, calls, True, **options)
        handles = {v: EagerTensor(g) for v, g in zip(values, found, strict=True)}
        join_group(found, list(handles.values()))
        return handles[wanted[0]._value] if one else [handles[w._value] for w in wanted]

    def _seed(self, asked: str, gradient: Any) -> Value | None:
        if not self.dtype.is_float:
            raise GradientError(f"{asked} of a tensor of {self.dtype}: only floats have a gradient")
        if not self.requires_grad:
            raise GradientError(
                f"{asked} of a tensor that depends on none with requires_grad=True, or was "
                "recorded under no_grad"
            )
        if gradient is None:
            if self.size != 1:
                raise GradientError(
                    f"{asked} of a tensor of shape {self.shape}: reduce it to one number first, as "
                    "in x.sum(), or give the gradient of each element"
                )
            return None
        given = gradient if isinstance(gradient, EagerTensor) else tensor(gradient, self.dtype)
        if given.shape != self.shape or given.dtype != self.dtype:
            raise GradientError(
                f"{asked}: the gradient is {given.dtype} of shape {given.shape}, and must be "
                f"{self.dtype} of shape {self.shape}"
            )
        return given._value

    # --- recording ----------------------------------------------------------------------------

    def apply(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Record `function`, an operation that has this tensor among its arguments."""
        return wrap(record(function, args, kwargs))

    def apply_module(self, module: Any, inputs: Sequence[Any]) -> Any:
        """Record `module`: as a whole where all of it is ours, else by its operations."""
        found = modules.record_module(module, inputs, current_of)
        if found is not None:
            call, changed = found
            if not changed:
                return wrap(call)
            bound_depth(call)
            made = [EagerTensor(value) for value in results(call)]
            new = made[len(made) - len(changed) :]
            call.group = [weakref.ref(handle) for handle in new]
            for buffer, handle in zip(changed, new, strict=True):
                leaf_of(buffer).will_be(handle)
            made = made[: len(made) - len(changed)]
            return made[0] if call.op.kind is None else call.op.kind(made)
        with modules.computing(current_of):
            result = module.forward(*inputs)
        for buffer in module.buffers():
            if isinstance(buffer.updated, EagerTensor):
                leaf_of(buffer).will_be(buffer.updated)
                buffer.forget()
        return result

    def update(
        self,
        rule: Any,
        leaves: Mapping[str, EagerTensor],
        state: dict[str, NDArray[Any]],
        zero_grad: bool,
    ) -> None:
        """One step of an optimizer, in place; this tensor is one of the gradients."""
        optimize.update(rule, leaves, state, zero_grad)

    def __getitem__(self, index: Any) -> Any:
        items = index if isinstance(index, tuple) else (index,)
        plain = [int(i) if isinstance(i, np.integer) else i for i in items]
        if any(isinstance(i, EagerTensor | np.ndarray | list) for i in plain):
            if len(plain) != 1:
                raise ShapeError("an index by a tensor stands alone; use tc.ops.take for more")
            return self.apply(ops.take, (self, _indices(plain[0]), 0), {})
        for i in plain:
            if isinstance(i, bool) or not (i is None or i is ... or isinstance(i, int | slice)):
                raise ShapeError(
                    f"cannot index a tensor with {shorten(i)}: integers, ranges, ..., None and "
                    "integer tensors can"
                )
        if self._value.array is not None and not (self.requires_grad and is_grad_enabled()):
            try:
                part = self._value.array[tuple(plain)]
            except IndexError as error:
                raise ShapeError(f"{error}, of a tensor of shape {self.shape}") from None
            return EagerTensor(data(np.array(part, order="C")))
        return self.apply(ops.slice, (self, tuple(plain)), {})


# --- making tensors -------------------------------------------------------------------------


def tensor(
    data: Any,
    dtype: DType | str | None = None,
    requires_grad: bool = False,
    *,
    copy: bool = True,
) -> Any:
    """A tensor that holds a copy of `data`; what is done with it is recorded, and computed lazily.

    Args:
        data: numbers, nested lists of them, an array, anything with DLPack; or an `nn.Parameter`
            or buffer, of which it gives the one tensor that shares the array.
        dtype: what to convert to; by default arrays keep theirs, Python's floats make float32,
            integers int64.
        requires_grad: whether `backward` fills `grad`; for floats only.
        copy: False takes the memory of a row-major array as it is: for arrays that nobody writes to
            any more, as a data loader gives them.

    Raises:
        DTypeError: data that no dtype here holds; integers with `requires_grad`.

    To type checkers it is `Any`: it goes wherever a symbolic tensor does.

    >>> import tensorc as tc
    >>> x = tc.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> y, x.grad
    (tensor(14., dtype=float32, requires_grad=True), tensor([2., 4., 6.], dtype=float32))
    """
    if data.__class__ is not np.ndarray:
        if isinstance(data, Stored) and dtype is None:
            return current_of(data)
        if isinstance(data, EagerTensor):
            data = data._array()
        elif not isinstance(data, np.ndarray | np.generic) and hasattr(data, "__dlpack__"):
            data = np.from_dlpack(data)
    elif not copy and dtype is None and data.flags.c_contiguous and data.flags.aligned:
        return EagerTensor(_leaf(data, requires_grad))
    return EagerTensor(_leaf(as_array(data, dtype), requires_grad))


def leaf_of(stored: Stored) -> EagerTensor:
    """The tensor that stands for a parameter or a buffer of `nn`, and shares its array."""
    found = stored.leaf
    if found is None:
        found = stored.leaf = EagerTensor(_leaf(stored.value, isinstance(stored, Parameter)))
        found._value.readers = []
    return found  # type: ignore[no-any-return]


def current_of(stored: Stored) -> EagerTensor:
    """The same, or what a recorded forward pass leaves in a buffer."""
    leaf = leaf_of(stored)
    return leaf if leaf._next is None else leaf._next


def wrap(call: Call) -> Any:
    """The results of a call as a user gets them."""
    bound_depth(call)
    made = [EagerTensor(value) for value in results(call)]
    return made[0] if call.op.kind is None else call.op.kind(made)


def _leaf(array: NDArray[Any], requires_grad: bool) -> Value:
    value = data(array)
    if requires_grad:
        if not value.signature.dtype.is_float:
            raise DTypeError(
                f"a tensor of {value.signature.dtype} cannot require a gradient; "
                "only floats have one"
            )
        value.requires_grad = True
        value.readers = []  # Its data will be overwritten.
    return value


def _indices(index: Any) -> EagerTensor:
    found = index if isinstance(index, EagerTensor) else tensor(index)
    if not found.dtype.is_int:
        raise DTypeError(f"an index must be of integers, got {found.dtype}")
    return found
