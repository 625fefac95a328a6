"""Steps: what a model does to one batch, as one program with state, ready to compile."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tensorc import ops
from tensorc.autodiff.grad import grad
from tensorc.dtypes import DType, int32
from tensorc.errors import ArgumentError
from tensorc.te.build import build
from tensorc.te.tensor import Tensor, compute, dim, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tensorc.ir.expr import Dim
    from tensorc.ir.stmt import Program
    from tensorc.nn.module import Module


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
        state: the arrays, live: those of the parameters are the model's own. Writing into one, such
            as `step.state["optimizer.lr"][...] = 1e-4`, takes effect at the next call.
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
    metrics: Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None = None,
    input_shape: Sequence[int] | None = None,
) -> Step:
    """Forward, backward and update of `model` as one step of (x, y), which returns the loss.

    x is (batch, *input_shape) of the parameters' dtype, y (batch,) int32. A `batch` of None is
    symbolic: one compiled function for every number of examples from 1. Each of `metrics` makes
    one more result, of its name, from (outputs of the model, y). `input_shape` is by default the
    model's own.

    Raises:
        ArgumentError: a batch below 1, a model without parameters, or one that takes any shape
            while `input_shape` is not given.
    """
    _check_made("model", model, callable(model), "be an nn.Module")
    _check_made("loss", loss, callable(loss), "be an nn.Module")
    _check_made("optimizer", optimizer, hasattr(optimizer, "update"), "have update()")
    parameters = _named(model, "training_step")
    x, y = _batch(model, batch, input_shape, "training_step")
    outputs = model(x)
    value = loss(outputs, y)
    tensors = [parameter.tensor for parameter in parameters.values()]
    new, kept = optimizer.update(list(zip(tensors, grad(value, tensors), strict=True)))
    changed = [(tensor, after) for tensor, after, _ in kept if after is not tensor]
    state = {name: parameter.value for name, parameter in parameters.items()}
    return Step(
        name,
        (x, y),
        (_called("loss", value), *(_called(n, m(outputs, y)) for n, m in (metrics or {}).items())),
        (*tensors, *(tensor for tensor, _, _ in kept)),
        (*zip(tensors, new, strict=True), *changed),
        state | {tensor.name: start for tensor, _, start in kept},
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
    output of each example. `batch` and `input_shape` are those of `training_step`.

    Raises:
        ArgumentError: as `training_step`.
    """
    parameters = _named(model, "inference_step")
    x, _ = _batch(model, batch, input_shape, "inference_step")
    outputs = model(x)
    result = _called("labels", ops.argmax(outputs, -1)) if labels else _called("outputs", outputs)
    tensors = tuple(parameter.tensor for parameter in parameters.values())
    state = {name: parameter.value for name, parameter in parameters.items()}
    return Step(name, (x,), (result,), tensors, (), state)


def _check_made(what: str, value: object, fits: bool, must: str) -> None:
    if isinstance(value, type):
        got = f"the class {value.__name__}; make one of it"
    elif fits:
        return
    else:
        got = repr(value)
    raise ArgumentError(f"training_step: {what} must {must}, got {got}")


def _named(model: Module, asked: str) -> Mapping[str, Any]:
    model.bind_names()
    parameters = dict(model.named_parameters())
    if not parameters:
        raise ArgumentError(f"{asked}: {model!r} has no parameters")
    for name in ("x", "y", "loss"):
        if name in parameters:
            raise ArgumentError(
                f"{asked}: a parameter is named {name}, as an argument of the step is; "
                "rename the attribute"
            )
    return parameters


def _called(name: str, tensor: Tensor) -> Tensor:
    """`tensor` under a name that callers of the compiled step see; the copy costs nothing."""
    return compute(tensor.shape, lambda *i: tensor[i], name)


def _batch(
    model: Module, batch: int | None, input_shape: Sequence[int] | None, asked: str
) -> tuple[Tensor, Tensor]:
    """The placeholders x and y."""
    shape = model.input_shape if input_shape is None else tuple(input_shape)
    if shape is None:
        raise ArgumentError(
            f"{asked}: {type(model).__name__} takes any input shape; give input_shape=, "
            "the shape of one example, or define the model's property input_shape"
        )
    size = _batch_size(batch, asked)
    return (
        placeholder((size, *shape), _dtype(model), name="x"),
        placeholder((size,), int32, name="y"),
    )


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


def _dtype(model: Module) -> DType:
    return model.parameters()[0].dtype
