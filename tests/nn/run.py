"""Runs a module on arrays by the reference evaluator, for the tests of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.te.reference import evaluate
from tensorc.te.tensor import placeholder

if TYPE_CHECKING:
    from tensorc import nn

Array = np.ndarray[Any, Any]


def apply(module: nn.Module, *arrays: Array) -> Array:
    """The outputs of `module`; its buffers are left as the forward pass leaves them."""
    module.bind_names()
    inputs = [placeholder(a.shape, a.dtype.name, name=f"in{k}") for k, a in enumerate(arrays)]
    outputs = module(*inputs)
    changed = [b for b in module.buffers() if b.updated is not None]
    feeds = dict(zip(inputs, arrays, strict=True))
    feeds |= {stored.tensor: stored.value for _, stored in module.named_state()}
    wanted = [outputs, *(b.latest for b in changed)]
    first, *rest = evaluate(wanted, feeds)
    for buffer, value in zip(changed, rest, strict=True):
        buffer.value = value
        buffer.forget()
    return np.asarray(first)
