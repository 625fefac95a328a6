"""Derivatives of tensor expressions: tensor expressions in, tensor expressions out.

grad         reverse mode, as its users ask for it; forward, jacobian: the other modes
custom       stated derivatives, and boundaries behind which values are computed again
explain      a gradient as index notation, with the label of each read
reverse      the sweep over tensors that adds up cotangents
view         the graph that is differentiated, flat and in order
sweep        both sweeps over one scalar body
rules        the derivative of each operator and intrinsic, in one table
reductions   closed forms for sum, max, min, argmax and argmin
folds        any other fold, as a recurrence
recurrence   the derivatives of recurrences, which are recurrences
gather       what one read contributes to a cotangent
access       the inverse of an access map
layout       the form in which a cotangent is computed
forms        index arithmetic in normal form
flatten      definitions whose bodies hold at most one reduction, at the top
check        analytic gradients against central differences
"""

from __future__ import annotations

from tensorc.autodiff.check import check_grad
from tensorc.autodiff.custom import checkpoint, custom_vjp, recomputation
from tensorc.autodiff.explain import explain_grad
from tensorc.autodiff.forward import jvp
from tensorc.autodiff.grad import grad, vjp
from tensorc.autodiff.jacobian import hessian, hvp, jacfwd, jacrev

__all__ = [
    "check_grad",
    "checkpoint",
    "custom_vjp",
    "explain_grad",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacrev",
    "jvp",
    "recomputation",
    "vjp",
]
