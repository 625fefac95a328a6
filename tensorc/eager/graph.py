"""The recorded graph: values, and the calls of operations that make them.

It is light, since it is made anew in each step of a training loop: a call knows its operation by an
interned description, and no index expression is built before a value is asked for in a graph whose
structure is new.

References go from results to inputs only. What a user holds are handles (`EagerTensor`), to which
values point weakly: so the graph dies with the handles, and it is known which values are still
wanted.
"""

from __future__ import annotations

import itertools
import weakref
from contextlib import ContextDecorator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tensorc.dtypes import DType
    from tensorc.te.tensor import Tensor

_MAX_SIGNATURES = 1 << 16
_FEW_READERS = 64
_numbers = itertools.count()


class Signature:
    """A shape and a dtype; one object for each pair, so that it is hashed by identity."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: DType) -> None:
        """Made by `signature`."""
        self.shape = shape
        self.dtype = dtype

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


_signatures: dict[tuple[tuple[int, ...], DType], Signature] = {}


def signature(shape: tuple[int, ...], dtype: DType) -> Signature:
    """The one `Signature` of a shape and a dtype."""
    found = _signatures.get((shape, dtype))
    if found is None:
        if len(_signatures) >= _MAX_SIGNATURES:
            _signatures.clear()  # Then some structures look new and are compiled once more.
        found = _signatures.setdefault((shape, dtype), Signature(shape, dtype))
    return found


class Op:
    """An operation on inputs of certain signatures, with all that is not a tensor filled in.

    Attributes:
        number: what it is called in keys.
        build: from symbolic inputs to symbolic outputs.
        outputs: the signatures of the outputs.
        proved: for which inputs with gradients it has been differentiated.
        extras: of a module, which of its buffers the last outputs are the new values of.
        kind: None for one output, else the type of the sequence of them.
    """

    __slots__ = ("build", "extras", "kind", "number", "outputs", "proved")

    def __init__(
        self,
        build: Callable[[Sequence[Tensor]], Sequence[Tensor]],
        outputs: tuple[Signature, ...],
        kind: type | None,
    ) -> None:
        """Number it; `record.intern_op` and `gradient` make one for each structure."""
        self.number = next(_numbers)
        self.build = build
        self.outputs = outputs
        self.kind = kind
        self.proved: set[tuple[bool, ...]] = set()
        self.extras: tuple[int, ...] = ()


class Call:
    """One use of an operation.

    Attributes:
        inputs: the values that it reads.
        requires_grad: whether gradients flow through it.
        depth: how many calls without a value lie one above the other, this one included.
        freed: whether `backward` has gone through it for the last time.
        gradients: the calls that differentiate through this one.
        group: handles that are wanted when the call is run: of a gradient what was made of its
            results, of a module what its buffers become.
        values: of a call that is a gradient, its results.
    """

    __slots__ = (
        "__weakref__",
        "depth",
        "freed",
        "gradients",
        "group",
        "inputs",
        "op",
        "requires_grad",
        "values",
    )
    depth: int

    def __init__(self, op: Op, inputs: tuple[Value, ...], requires_grad: bool) -> None:
        """Put it above its inputs."""
        self.op = op
        self.inputs = inputs
        self.requires_grad = requires_grad
        self.freed = False
        self.gradients: list[weakref.ref[Call]] = []
        self.group: list[weakref.ref[Any]] = []
        self.values: tuple[weakref.ref[Value], ...] = ()
        depth = 0
        for value in inputs:
            if value.array is None:
                call = value.call
                if call is not None and call.depth > depth:
                    depth = call.depth
            elif value.readers is not None:
                value.add_reader(self)
        self.depth = depth + 1

    def waiting(self) -> list[Call]:
        """The gradients through this call that have not been computed yet."""
        found = [ref() for ref in self.gradients]
        return [c for c in found if c is not None and any(map(_is_missing, c.values))]


def _is_missing(ref: weakref.ref[Value]) -> bool:
    value = ref()
    return value is not None and value.array is None


class Value:
    """A tensor's value: data, or the call that will make it, or both where gradients need both.

    Attributes:
        call: what made it; None for data, and once nobody needs it any more.
        index: which output of the call it is.
        array: the data, or None as long as nobody asked.
        leaf: whether it was given rather than computed.
        requires_grad: whether gradients flow to it.
        handle: the user's tensor, if there still is one.
        into: what the value is to be stored in once it is there: a buffer's tensor.
        readers: of data that can be overwritten in place, the calls that read it.
        failure: the error that computing it ended with, where the call is gone.
    """

    __slots__ = (
        "__weakref__",
        "array",
        "call",
        "failure",
        "handle",
        "index",
        "into",
        "leaf",
        "readers",
        "requires_grad",
        "signature",
    )

    def __init__(
        self,
        signature: Signature,
        array: NDArray[Any] | None = None,
        call: Call | None = None,
        index: int = 0,
        requires_grad: bool = False,
    ) -> None:
        """Data, or an output of `call`."""
        self.signature = signature
        self.array = array
        self.call = call
        self.index = index
        self.requires_grad = requires_grad
        self.leaf = call is None
        self.handle: weakref.ref[Any] | None = None
        self.into: weakref.ref[Any] | None = None
        self.readers: list[weakref.ref[Call]] | None = None
        self.failure: Exception | None = None

    def add_reader(self, call: Call) -> None:
        """Remember who reads data that can be overwritten."""
        assert self.readers is not None, "data that is never overwritten needs no list"
        count = len(self.readers)
        if count >= _FEW_READERS and count & (count - 1) == 0:  # At each power of two.
            self.readers = [ref for ref in self.readers if ref() is not None]
        self.readers.append(weakref.ref(call))

    def is_cut(self) -> bool:
        """Whether a walk toward inputs ends here: at data, unless a gradient has to go on."""
        call = self.call
        return call is None or (self.array is not None and not (call.gradients and call.waiting()))

    def is_wanted(self) -> bool:
        """Whether a user holds it and it has no data yet."""
        return (
            self.array is None
            and self.handle is not None
            and self.handle() is not None
            and self.failure is None
        )

    def arrive(self, array: NDArray[Any]) -> None:
        """Take the data; a buffer that waits for it takes it too."""
        self.array = array
        if self.into is not None:
            waiting = self.into()
            self.into = None
            if waiting is not None:
                waiting.take(self)

    def release(self) -> None:
        """Forget the call that made the value, if no gradient can ask for it any more."""
        call = self.call
        if call is None or (call.gradients and call.waiting()):
            return
        if not self.requires_grad or call.freed:
            self.call = None


_enabled: ContextVar[bool] = ContextVar("tensorc_grad_enabled", default=True)
is_grad_enabled = _enabled.get


class no_grad(ContextDecorator):  # noqa: N801 - PyTorch's name.
    """Record what follows as constants: no gradient flows through it.

    >>> import tensorc as tc
    >>> x = tc.tensor([1.0, 2.0], requires_grad=True)
    >>> with tc.no_grad():
    ...     y = x * 2.0
    >>> y.requires_grad
    False
    """

    def __init__(self) -> None:
        """Not yet in force."""
        self._tokens: list[Any] = []

    def _recreate_cm(self) -> no_grad:
        return no_grad()  # Each call of a decorated function has its own, in its own thread.

    def __enter__(self) -> None:
        self._tokens.append(_enabled.set(False))

    def __exit__(self, *error: object) -> None:
        _enabled.reset(self._tokens.pop())
