"""The reference evaluator of tensors: element by element, straight from the definitions.

It knows nothing of programs, so it is the oracle for what `build` makes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.errors import CheckFailed, ShapeError
from tensorc.ir import scalars
from tensorc.ir.expr import Binary, BinaryOp, Buffer, Dim, Expr, Reduce, Var
from tensorc.ir.interp import evaluator
from tensorc.ir.printer import builtin_name, show
from tensorc.ir.scalars import Scalar
from tensorc.te.graph import graph_of
from tensorc.te.scan import Scan

if TYPE_CHECKING:
    from tensorc.te.axis import IterVar
    from tensorc.te.tensor import Tensor

Array = np.ndarray[Any, Any]
Env = MutableMapping[Var, Scalar]


def evaluate(
    outputs: Sequence[Tensor],
    feeds: Mapping[Tensor, Array],
    dims: Mapping[Dim, int] | None = None,
) -> list[Array]:
    """The values of `outputs`, given an array for each placeholder they depend on.

    Symbolic sizes are read off the shapes of the arrays; `dims` adds others.

    Raises:
        ShapeError: an array that is missing, or of another dtype or shape than its placeholder.
        CheckFailed: an index read from data that leaves its tensor, a maximum of nothing.
    """
    return _Reference(feeds, dims or {}).run(outputs)


class _Reference:
    def __init__(self, feeds: Mapping[Tensor, Array], dims: Mapping[Dim, int]) -> None:
        self.arrays: dict[Buffer, Array] = {}
        self.env: dict[Var, Scalar] = {d: np.int64(v) for d, v in dims.items()}
        self.folds: dict[int, Callable[[Env], list[Scalar]]] = {}
        for tensor, array in feeds.items():
            self.arrays[tensor] = array
            for size, given in zip(tensor.shape, array.shape, strict=False):
                if isinstance(size, Dim):
                    self.env.setdefault(size, np.int64(given))

    def run(self, outputs: Sequence[Tensor]) -> list[Array]:
        graph = graph_of(outputs)
        with scalars.exact():
            for tensor in graph.placeholders:
                self._check_feed(tensor)
            for tensor in graph.tensors():
                if tensor in self.arrays:
                    continue
                if isinstance(tensor.op, Scan):
                    self._recur(tensor.op)
                else:
                    self.arrays[tensor] = self._compute(tensor)
        return [self.arrays[t] for t in outputs]

    def _check_feed(self, tensor: Tensor) -> None:
        array = self.arrays.get(tensor)
        shape = tuple(int(self._value(s)) for s in tensor.shape)
        if array is None or array.shape != shape or array.dtype != tensor.dtype.numpy:
            got = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
            raise ShapeError(f"{tensor.name}: expected {tensor.dtype}{list(shape)}, got {got}")

    def _value(self, expr: Expr) -> Scalar:
        return evaluator(expr)(dict(self.env))

    def _compute(self, tensor: Tensor) -> Array:
        shape = tuple(int(self._value(s)) for s in tensor.shape)
        result = np.empty(shape, tensor.dtype.numpy)
        body = evaluator(tensor.body, self._read, self._fold)
        for point in product(*map(range, shape)):
            env = dict(self.env)
            env.update(zip(tensor.axes, map(np.int64, point), strict=True))
            result[point] = body(env)
        return result

    def _recur(self, op: Scan) -> None:
        """Compute all tensors of a recurrence, line by line."""
        shape = tuple(int(self._value(s)) for s in op.tensors[0].shape)
        for tensor in op.tensors:
            self.arrays[tensor] = np.empty(shape, tensor.dtype.numpy)
        bodies = [evaluator(b, self._read, self._fold) for b in op.bodies]
        inits = [evaluator(i, self._read, self._fold) for i in op.inits]
        order = range(shape[op.axis])[:: -1 if op.reverse else 1]
        for point in product(*map(range, (*shape[: op.axis], *shape[op.axis + 1 :]))):
            env = dict(self.env)
            states: list[Scalar] = []
            for t in order:
                at = (*point[: op.axis], t, *point[op.axis :])
                env.update(zip(op.axes, map(np.int64, at), strict=True))
                states = states or [i(env) for i in inits]
                env.update(zip(op.states, states, strict=True))
                states = [b(env) for b in bodies]
                for tensor, value in zip(op.tensors, states, strict=True):
                    self.arrays[tensor][at] = value

    def _read(self, buffer: Buffer, index: tuple[int, ...]) -> Scalar:
        array = self.arrays[buffer]
        for d, (i, size) in enumerate(zip(index, array.shape, strict=True)):
            if not 0 <= i < size:
                raise CheckFailed(
                    f"{buffer.name}: index {i} of dimension {d} is outside 0 .. {size - 1}"
                )
        return array[index]

    def _fold(self, node: Reduce, env: Env) -> Scalar:
        fold = self.folds.get(id(node))
        if fold is None:  # The definitions that hold the node outlive this evaluator.
            fold = self.folds[id(node)] = self._folder(node)
        return fold(env)[node.index]

    def _folder(self, node: Reduce) -> Callable[[Env], list[Scalar]]:
        reducer = node.reducer
        axes: tuple[IterVar, ...] = node.axes  # type: ignore[assignment]
        ranges = [(evaluator(a.start), evaluator(a.extent)) for a in axes]
        where = None if node.where is None else evaluator(node.where, self._read, self._fold)
        values = [evaluator(v, self._read, self._fold) for v in _factors(node)]
        identity = [evaluator(u) for u in reducer.identity]
        results = [evaluator(r) for r in reducer.result]

        def join(total: list[Scalar], new: list[Scalar]) -> list[Scalar]:
            if len(values) > reducer.arity:  # A sum of products: each step rounds once.
                return [scalars.fma(new[0], new[1], total[0])]
            table = dict(zip((*reducer.lhs, *reducer.rhs), (*total, *new), strict=True))
            return [r(dict(table)) for r in results]

        def fold(outer: Env) -> list[Scalar]:
            env = dict(outer)  # An outer fold may run over the same axis.
            total = [u(env) for u in identity]

            def loop(depth: int) -> None:
                nonlocal total
                if depth == len(axes):
                    if where is None or where(env):
                        total = join(total, [v(env) for v in values])
                    return
                start, extent = (int(e(env)) for e in ranges[depth])
                if extent <= 0 and not reducer.empty:
                    raise CheckFailed(f"{show(node)}: an empty domain has no {reducer.name}")
                for i in range(start, start + extent):
                    env[axes[depth]] = np.int64(i)
                    loop(depth + 1)

            loop(0)
            return total

        return fold


def _factors(node: Reduce) -> tuple[Expr, ...]:
    """The values to fold; the two factors of a float product that a built-in sum adds up."""
    value = node.values[0]
    product_ = isinstance(value, Binary) and value.op is BinaryOp.MUL and value.dtype.is_float
    if product_ and builtin_name(node.reducer) == "sum":
        assert isinstance(value, Binary), "a product is binary"
        return (value.lhs, value.rhs)
    return node.values
