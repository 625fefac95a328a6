"""Neural networks: modules that build tensor expressions, and the compiled steps made of them."""

from tensorc.nn import init
from tensorc.nn.layers import Linear, ReLU, Sequential
from tensorc.nn.loss import SoftmaxLoss
from tensorc.nn.module import Module
from tensorc.nn.parameter import Parameter
from tensorc.nn.step import Optimizer, Step, inference_step, training_step

__all__ = [
    "Linear",
    "Module",
    "Optimizer",
    "Parameter",
    "ReLU",
    "Sequential",
    "SoftmaxLoss",
    "Step",
    "inference_step",
    "init",
    "training_step",
]
