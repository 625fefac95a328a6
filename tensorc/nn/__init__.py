"""Neural networks: modules that build tensor expressions, and the compiled steps made of them."""

from tensorc.nn import init
from tensorc.nn.activation import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from tensorc.nn.attention import MultiHeadAttention
from tensorc.nn.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from tensorc.nn.conv import AvgPool2d, Conv2d, MaxPool2d
from tensorc.nn.dropout import Dropout
from tensorc.nn.fit import History, accuracy, fit
from tensorc.nn.layers import Embedding, Flatten, Identity, Linear, Residual, Sequential
from tensorc.nn.loss import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    Loss,
    MSELoss,
    SoftmaxLoss,
)
from tensorc.nn.module import Module
from tensorc.nn.normalization import BatchNorm1d, BatchNorm2d, LayerNorm, RMSNorm
from tensorc.nn.parameter import Buffer, Parameter
from tensorc.nn.penalty import L1, L2
from tensorc.nn.step import Optimizer, Step, evaluation_step, inference_step, training_step

__all__ = [
    "GELU",
    "L1",
    "L2",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "History",
    "HuberLoss",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "MultiHeadAttention",
    "Optimizer",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SoftmaxLoss",
    "Step",
    "Tanh",
    "accuracy",
    "evaluation_step",
    "fit",
    "inference_step",
    "init",
    "load_checkpoint",
    "read_checkpoint",
    "save_checkpoint",
    "training_step",
]
