"""Reverse-mode derivatives: tensor expressions in, tensor expressions out.

grad        the sweep over tensors that adds up cotangents
sweep       the sweep over one scalar body
rules       the derivative of each operator and intrinsic, in one table
reductions  closed forms for sum, prod, max, min, argmax and argmin
access      the adjoint of an access map, as a gather
forms       index arithmetic in normal form
flatten     definitions whose bodies hold at most one reduction, at the top
check       analytic gradients against central differences
"""

from __future__ import annotations

from tensorc.autodiff.check import check_grad
from tensorc.autodiff.grad import grad

__all__ = ["check_grad", "grad"]
