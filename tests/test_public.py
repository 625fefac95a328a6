"""The public names: they resolve, say what they are, and importing them costs little."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tensorc as tc
from tensorc import data, nn, ops, optim

ROOT = Path(__file__).resolve().parent.parent

ISSUE_OPS = """
abs add all any argmax argmin astype broadcast_to ceil clip concatenate cos cross_entropy divide
equal erf exp expm1 floor floor_divide greater less log log1p log_softmax logsumexp matmul max
maximum mean min minimum mod multiply one_hot pad power prod relu reshape round rsqrt sigmoid sin
slice softmax softmax_cross_entropy sqrt stack subtract sum take tanh transpose where
"""
ISSUE_NAMES = """
placeholder compute reduce_axis dim sum prod max min all any argmax argmin reducer exp log log1p
expm1 sqrt rsqrt tanh sigmoid erf sin cos pow abs floor ceil round minimum maximum where cast grad
check_grad compile Schedule Target ops nn optim data TensorcError
"""


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (tc, tc.__all__),
        (ops, ops.__all__),
        (nn, nn.__all__),
        (data, data.__all__),
        (optim, ("SGD", "Adam")),
        (ops, ISSUE_OPS.split()),
        (tc, ISSUE_NAMES.split()),
    ],
)
def test_every_public_name_is_there_and_has_a_docstring(module: object, names: list[str]) -> None:
    for name in names:
        assert getattr(module, name).__doc__, name
    assert set(names) <= set(dir(module))


def test_importing_tensorc_loads_no_compiler_and_no_optional_package() -> None:
    code = (
        "import sys, tensorc\n"
        "slow = ['sympy', 'cuda', 'llvmlite', 'islpy', 'matplotlib', 'rich', 'torch', 'jax']\n"
        "print([m for m in slow if m in sys.modules])\n"
        "t = tensorc.compute((4,), lambda i: tensorc.exp(tensorc.cast(i, 'float32')))\n"
        "print([m for m in slow if m in sys.modules])\n"
    )
    path = os.pathsep.join((str(ROOT), str(ROOT / "runtime")))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.stdout.splitlines() == ["[]", "[]"], done.stderr


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'tensorc' has no attribute 'nothing'$"):
        _ = tc.nothing
