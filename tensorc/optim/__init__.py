"""Optimizers: from gradients to new parameters, as tensor expressions.

An optimizer holds numbers only. Its state (moments, learning rate, the powers that bias corrections
need) belongs to the step that it is used in, under names that begin with `optimizer.`. Single
numbers are 0-d float64 arrays there, whatever the dtype of the parameters: 1 - 0.999**t, computed
in float32, would be wrong by 1.3e-5 of itself at first. A learning rate is such a number, so a
schedule writes it between calls, and nothing is compiled again.
"""

from tensorc.optim.adam import Adam, AdamW
from tensorc.optim.bound import Bound
from tensorc.optim.clip import ClipNorm, ClipValue
from tensorc.optim.groups import Groups
from tensorc.optim.newton import NewtonCG
from tensorc.optim.rule import Rule
from tensorc.optim.schedules import Cosine, Exponential, StepDecay, WarmUp
from tensorc.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Bound",
    "ClipNorm",
    "ClipValue",
    "Cosine",
    "Exponential",
    "Groups",
    "NewtonCG",
    "Rule",
    "StepDecay",
    "WarmUp",
]
