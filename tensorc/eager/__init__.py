"""Imperative use: tensors that hold data; what is done with them is recorded and compiled."""

from tensorc.eager.graph import no_grad
from tensorc.eager.handle import EagerTensor, tensor

__all__ = ["EagerTensor", "no_grad", "tensor"]
