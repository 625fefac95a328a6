"""Steps: what a model does to one batch, as one program with state, ready to compile."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from tensorc import ops
from tensorc.autodiff.grad import grad
from tensorc.dtypes import int32
from tensorc.errors import ArgumentError
from tensorc.ir.expr import as_shape, shorten
from tensorc.nn.loss import Loss
from tensorc.nn.module import Module
from tensorc.te.build import build
from tensorc.te.graph import graph_of
from tensorc.te.tensor import Tensor, compute, dim, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tensorc.ir.expr import Dim
    from tensorc.ir.stmt import Program
    from tensorc.nn.parameter import Parameter

# Results beside the loss: one of each name, from the model's outputs and y.
Metrics: TypeAlias = "Mapping[str, Callable[[Tensor, Tensor], Tensor]]"
# A term of the loss, from the parameters by their full names.
Penalty: TypeAlias = "Callable[[Mapping[str, Tensor]], Tensor]"


class Optimizer(Protocol):
    """A rule that turns gradients into new parameters; `tensorc.optim` has the usual ones."""

    def update(
        self, parameters: Sequence[tuple[Tensor, Tensor]]
    ) -> tuple[list[Tensor], list[tuple[Tensor, Tensor, NDArray[Any]]]]:
        """The new values of (parameter, gradient) pairs, and the state that the rule keeps.

        Each piece of state is its placeholder, its value after a step (the placeholder itself where
        a step only reads it), and the array that it starts from.
        """


@dataclass(slots=True, eq=False)
class Step:
    """A program over a batch and a state: `tensorc.compile` makes it a function of the batch.

    Attributes:
        name: of the program, and of the exported C function.
        inputs: the placeholders that come with each call.
        outputs: what a call returns, in order.
        state_tensors: the placeholder of each piece of state.
        updates: which of them a call replaces in place, and by what.
        state: the arrays, live: those of parameters and buffers are the model's own. Writing into
            one, such as `step.state["optimizer.lr"][...] = 1e-4`, takes effect at the next call.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    state_tensors: tuple[Tensor, ...]
    updates: tuple[tuple[Tensor, Tensor], ...]
    state: dict[str, NDArray[Any]]

    def lower_to_program(self) -> Program:
        """The plain program: the batch's parameters first, the state's after them."""
        return build(
            self.outputs,
            inputs=(*self.inputs, *self.state_tensors),
            updates=self.updates,
            name=self.name,
        )


def training_step(
    model: Module,
    loss: Module,
    optimizer: Optimizer,
    batch: int | None,
    *,
    name: str = "step",
    metrics: Metrics | None = None,
    input_shape: Sequence[int] | None = None,
    penalty: Penalty | None = None,
) -> Step:
    """Forward, backward and update of `model` as one step of (x, y), which returns the loss.

    x is (batch, *input_shape) of the model's `input_dtype`, y what the loss's `target` says: of a
    loss that has none (batch,) int32. A `batch` of None is symbolic: one compiled function for
    every number of examples from 1. Each of `metrics` makes one more result, of its name, from
    (outputs of the model, y). `input_shape` is by default the model's own. `penalty`, such as
    `nn.L2(1e-4)`, makes a term of the loss from the parameters by their names. Modules are built
    as their `training` says; buffers that `forward` updates are state of the step.

    Raises:
        ArgumentError: a batch below 1, a model without parameters, or one that takes any shape
            while `input_shape` is not given.
    """
    _check_made("loss", loss, callable(loss), "be an nn.Module")
    _check_made("optimizer", optimizer, hasattr(optimizer, "update"), "have update()")
    parameters = _named(model, "training_step")
    x = _input(model, batch, input_shape, "training_step")
    outputs, buffers = _forward(model, x)
    y = _target(loss, outputs)
    tensors = {name: parameter.tensor for name, parameter in parameters.items()}
    value = loss(outputs, y)
    if penalty is not None:
        _check_made("penalty", penalty, callable(penalty), "be as nn.L2(1e-4)")
        value = value + penalty(tensors)
    gradients = grad(value, list(tensors.values()))
    new, kept = optimizer.update(list(zip(tensors.values(), gradients, strict=True)))
    results = (_called("loss", value), *_metrics(metrics, outputs, y))
    changed = [
        *zip(tensors.values(), new, strict=True),
        *((b.tensor, b.after) for b in buffers if b.after is not None),
        *((tensor, after) for tensor, after, _ in kept if after is not tensor),
    ]
    read = _read_by([*results, *(after for _, after in changed)])
    held = [b for b in buffers if b.after is not None or b.tensor in read]
    return Step(
        name,
        (x, y),
        results,
        (*tensors.values(), *(b.tensor for b in held), *(tensor for tensor, _, _ in kept)),
        tuple(changed),
        {name: parameter.value for name, parameter in parameters.items()}
        | {b.tensor.name: b.value for b in held}
        | {tensor.name: start for tensor, _, start in kept},
    )


def inference_step(
    model: Module,
    batch: int | None,
    *,
    name: str = "infer",
    labels: bool = False,
    input_shape: Sequence[int] | None = None,
) -> Step:
    """The forward pass of `model` as a step of x, which reads the parameters as they are at a call.

    It returns the model's outputs or, with `labels`, (batch,) int64: the index of the greatest
    output of each example. Modules are built for inference, whatever their `training` says.
    `batch` and `input_shape` are those of `training_step`.

    Raises:
        ArgumentError: as `training_step`.
    """
    _named(model, "inference_step")
    x = _input(model, batch, input_shape, "inference_step")
    outputs, _ = _forward(model, x, training=False)
    result = _called("labels", ops.argmax(outputs, -1)) if labels else _called("outputs", outputs)
    return _reading(name, model, (x,), (result,))


def evaluation_step(
    model: Module,
    loss: Module,
    batch: int | None,
    *,
    name: str = "evaluate",
    metrics: Metrics | None = None,
    input_shape: Sequence[int] | None = None,
) -> Step:
    """The loss and the metrics of `model` on a batch, as a step of (x, y) that changes nothing.

    Modules are built for inference, whatever their `training` says; the arguments are those of
    `training_step`.

    Raises:
        ArgumentError: as `training_step`.
    """
    _check_made("loss", loss, callable(loss), "be an nn.Module", "evaluation_step")
    _named(model, "evaluation_step")
    x = _input(model, batch, input_shape, "evaluation_step")
    outputs, _ = _forward(model, x, training=False)
    y = _target(loss, outputs)
    results = (_called("loss", loss(outputs, y)), *_metrics(metrics, outputs, y))
    return _reading(name, model, (x, y), results)


def _reading(
    name: str, model: Module, inputs: tuple[Tensor, ...], results: tuple[Tensor, ...]
) -> Step:
    """A step that reads what its results need of the model's state, and changes nothing."""
    read = _read_by(results)
    stored = [(n, s) for n, s in model.named_state() if s.tensor in read]
    tensors = tuple(s.tensor for _, s in stored)
    return Step(name, inputs, results, tensors, (), {n: s.value for n, s in stored})


@dataclass(frozen=True, slots=True)
class _Buffer:
    """A buffer as a forward pass left it: `after` is None where it did not change."""

    tensor: Tensor
    value: NDArray[Any]
    after: Tensor | None


def _forward(
    model: Module, x: Tensor, training: bool | None = None
) -> tuple[Tensor, list[_Buffer]]:
    """The outputs, and the buffers after; with `training` all modules are built for that."""
    buffers = model.buffers()
    modes = [(module, module.training) for module in model.modules()]
    for buffer in buffers:
        buffer.forget()
    try:
        if training is not None:
            model.train(training)
        outputs = model(x)
        return outputs, [_Buffer(b.tensor, b.value, b.updated) for b in buffers]
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer in buffers:
            buffer.forget()


def _target(loss: Module, outputs: Tensor) -> Tensor:
    if isinstance(loss, Loss):
        return loss.target(outputs)
    return placeholder(outputs.shape[:1], int32, name="y")


def _metrics(metrics: Metrics | None, outputs: Tensor, y: Tensor) -> list[Tensor]:
    if metrics is not None and not isinstance(metrics, Mapping):
        raise ArgumentError(
            f"metrics must be a dict, as in {{'accuracy': nn.accuracy}}, got {shorten(metrics)}"
        )
    return [_called(name, metric(outputs, y)) for name, metric in (metrics or {}).items()]


def _read_by(tensors: Sequence[Tensor]) -> set[Tensor]:
    return set(graph_of(tensors).placeholders)


def _check_made(
    what: str, value: object, fits: bool, must: str, asked: str = "training_step"
) -> None:
    if isinstance(value, type):
        got = f"the class {value.__name__}; make one of it"
    elif fits:
        return
    else:
        got = repr(value)
    raise ArgumentError(f"{asked}: {what} must {must}, got {got}")


def _named(model: Module, asked: str) -> Mapping[str, Parameter]:
    _check_made("model", model, isinstance(model, Module), "be an nn.Module", asked)
    model.bind_names()
    parameters = dict(model.named_parameters())
    if not parameters:
        raise ArgumentError(f"{asked}: {model!r} has no parameters")
    for name, stored in model.named_state():
        if name in ("x", "y", "loss"):
            raise ArgumentError(
                f"{asked}: a {stored.kind} is named {name}, as an argument of the step is; "
                "rename the attribute"
            )
    return parameters


def _called(name: str, tensor: Tensor) -> Tensor:
    """`tensor` under a name that callers of the compiled step see; the copy costs nothing."""
    return compute(tensor.shape, lambda *i: tensor[i], name)


def _input(
    model: Module, batch: int | None, input_shape: Sequence[int] | None, asked: str
) -> Tensor:
    """The placeholder x."""
    shape = model.input_shape if input_shape is None else input_shape
    if shape is None:
        raise ArgumentError(
            f"{asked}: {type(model).__name__} takes any input shape; give input_shape=, "
            "the shape of one example, or define the model's property input_shape"
        )
    dtype = model.input_dtype or model.parameters()[0].dtype
    return placeholder((_batch_size(batch, asked), *as_shape(shape)), dtype, name="x")


def _batch_size(batch: int | None, asked: str) -> int | Dim:
    if batch is None:
        return dim("batch", lower=1)
    try:
        size = operator.index(batch)
    except TypeError:
        raise ArgumentError(
            f"{asked}: batch must be an integer, or None for any, got {batch!r}"
        ) from None
    if size < 1:
        raise ArgumentError(f"{asked}: batch must be at least 1, got {size}")
    return size
