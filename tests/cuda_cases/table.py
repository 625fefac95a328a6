"""Every operation, gradient, layer and training step of the package as a case: a plain program.

The tests of the automatic schedules run each case in the interpreter, those of the emulator run
what it is compiled to. Sizes are small and odd, so that every edge is met.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

import tensorc as tc
from tensorc import ops
from tensorc.te.build import build
from tensorc.te.tensor import Placeholder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.ir.stmt import Program
    from tensorc.te.tensor import Tensor

    Make = Callable[[str], list[Tensor]]

UNARY = (
    *("abs", "ceil", "cos", "elu", "erf", "exp", "exp2", "expm1", "floor", "gelu"),
    *("isfinite", "isinf", "isnan", "leaky_relu", "logical_not", "negative", "reciprocal", "relu"),
    *("round", "sigmoid", "sign", "silu", "sin", "softplus", "square", "tanh", "trunc"),
)
POSITIVE = ("log", "log1p", "log2", "rsqrt", "sqrt")
BINARY = (
    *("add", "divide", "equal", "floor_divide", "greater", "greater_equal", "less", "less_equal"),
    *("logical_and", "logical_or", "logical_xor", "maximum", "minimum", "mod", "multiply"),
    *("not_equal", "subtract"),
)
REDUCTIONS = ("max", "mean", "min", "prod", "std", "sum", "var", "logsumexp")


@cache
def x(dtype: str, *shape: int, name: str = "x") -> Tensor:
    """A placeholder, the same one for the same name, dtype and shape."""
    return tc.placeholder(shape, dtype=dtype, name=name)


def table() -> dict[str, Make]:
    """The cases by name: what is computed, of a dtype of floats."""
    return forward() | gradients()


def forward() -> dict[str, Make]:
    """The cases without gradients; many of them take other dtypes too."""
    found: dict[str, Make] = {}
    found |= {name: _unary(name) for name in UNARY}
    found |= {name: _positive(name) for name in POSITIVE}
    found |= {name: _binary(name) for name in BINARY}
    found |= {name: _reduction(name) for name in REDUCTIONS}
    return found | SHAPES | CONTRACTIONS | NETWORKS


SHAPES: dict[str, Make] = {
    "all and any": lambda d: [
        ops.all(x(d, 6, 40) > -1.0, axis=1),
        ops.any(x(d, 6, 40) > 2.0),
    ],
    "argmax and argmin": lambda d: [ops.argmax(x(d, 6, 33), axis=1), ops.argmin(x(d, 6, 33))],
    "astype": lambda d: [ops.astype(x(d, 5, 7), "int32"), ops.astype(x(d, 5, 7), "float16")],
    "arange": lambda _: [ops.arange(37)],
    "broadcast_to": lambda d: [ops.broadcast_to(x(d, 5, 1), (3, 5, 9))],
    "clip": lambda d: [ops.clip(x(d, 77), -0.5, 0.5)],
    "concatenate": lambda d: [ops.concatenate([x(d, 3, 5), x(d, 4, 5, name="y")], 0)],
    "expand_dims": lambda d: [ops.expand_dims(x(d, 5, 3), 1)],
    "eye and full": lambda _: [
        ops.eye(7),
        ops.full((3, 5), 2.5),
        ops.ones((4,)),
        ops.zeros((2, 3)),
    ],
    "flip": lambda d: [ops.flip(x(d, 9, 4), 0)],
    "invert": lambda _: [ops.invert(tc.placeholder((33,), dtype="int32", name="n"))],
    "like": lambda d: [ops.ones_like(x(d, 3, 4)) + x(d, 3, 4), ops.zeros_like(x(d, 3, 4))],
    "moveaxis": lambda d: [ops.moveaxis(x(d, 3, 4, 5), 0, 2)],
    "one_hot": lambda _: [ops.one_hot(tc.placeholder((9,), dtype="int64", name="n"), 5)],
    "pad": lambda d: [ops.pad(x(d, 5, 6), ((1, 2), (0, 3)))],
    "power": lambda d: [ops.power(ops.square(x(d, 5, 6)) + 0.1, x(d, 6, name="y"))],
    "repeat": lambda d: [ops.repeat(x(d, 5, 3), 3, axis=1)],
    "reshape": lambda d: [ops.reshape(x(d, 6, 10), (4, 15))],
    "slice": lambda d: [ops.slice(x(d, 12, 5), np.s_[1:11:3, ::-1])],
    "squeeze": lambda d: [ops.squeeze(x(d, 5, 1, 3), 1)],
    "stack": lambda d: [ops.stack([x(d, 3, 5), x(d, 3, 5, name="y")], 1)],
    "stop_gradient": lambda d: [ops.stop_gradient(x(d, 12))],
    "swapaxes": lambda d: [ops.swapaxes(x(d, 3, 4, 5), 0, 1)],
    "take": lambda d: [
        ops.take(x(d, 9, 5), tc.placeholder((4,), dtype="int64", name="n"), axis=0),
        ops.take(x(d, 9, 5), tc.placeholder((2, 3), dtype="int32", name="m"), axis=0),
    ],
    "take_along_axis": lambda d: [
        ops.take_along_axis(x(d, 9, 5), tc.placeholder((9, 2), dtype="int64", name="n"), axis=1)
    ],
    "tile": lambda d: [ops.tile(x(d, 3, 5), (2, 3))],
    "padded by what it has": lambda d: [
        ops.pad(x(d, 5, 6), ((1, 2), (2, 0)), "edge"),
        ops.pad(x(d, 5, 6), ((1, 2), (2, 1)), "reflect"),
        ops.pad(x(d, 5, 6), ((1, 2), (2, 0)), "wrap"),
    ],
    "transpose": lambda d: [ops.transpose(x(d, 33, 17)) * 2.0],
    "tril and triu": lambda d: [ops.tril(x(d, 7, 9)), ops.triu(x(d, 7, 9))],
    "where": lambda d: [ops.where(x(d, 5, 7) > 0.0, x(d, 5, 7), x(d, 7, name="y"))],
    "upsample": lambda d: [ops.upsample(x(d, 1, 2, 3, 4), 2)],
    "upsample linear": lambda d: [ops.upsample(x(d, 1, 2, 3, 4), 2, "linear")],
    "random": lambda _: [
        ops.random_uniform((5, 7), 3),
        ops.random_normal((5, 7), 3),
        ops.random_bits((9,), 4),
    ],
    "scans": lambda d: [ops.cumsum(x(d, 5, 37), 1), ops.cumprod(x(d, 9, 7, name="y"), 0)],
    "dropout": lambda d: [ops.dropout(x(d, 11, 13), 0.5, 7)],
}
CONTRACTIONS: dict[str, Make] = {
    "matmul": lambda d: [x(d, 18, 20) @ x(d, 20, 33, name="y")],
    "matmul of whole tiles": lambda d: [x(d, 16, 32) @ x(d, 32, 32, name="y")],
    "matmul of vectors": lambda d: [
        ops.matmul(x(d, 9, 33), x(d, 33, name="y")),
        ops.matmul(x(d, 9, name="z"), x(d, 9, 33)),
    ],
    "matmul of a batch": lambda d: [x(d, 2, 3, 9, 10) @ x(d, 3, 10, 12, name="y")],
    "matmul of transposes": lambda d: [
        ops.matmul(ops.transpose(x(d, 20, 17)), x(d, 20, 9, name="y")),
        ops.matmul(x(d, 20, 17), ops.transpose(x(d, 5, 17, name="z"))),
    ],
    "matmul of long rows": lambda d: [x(d, 5, 600) @ x(d, 600, 6, name="y")],
    "dot and outer": lambda d: [
        ops.dot(x(d, 77), x(d, 77, name="y")),
        ops.outer(x(d, 13, name="a"), x(d, 17, name="b")),
    ],
    "einsum": lambda d: [ops.einsum("bij,bkj->bik", x(d, 3, 9, 12), x(d, 3, 11, 12, name="y"))],
    "a layer": lambda d: [ops.relu(x(d, 9, 24) @ x(d, 24, 18, name="W") + x(d, 18, name="b"))],
    "conv1d": lambda d: [ops.conv1d(x(d, 2, 3, 17), x(d, 5, 3, 3, name="W"))],
    "conv2d": lambda d: [ops.conv2d(x(d, 1, 4, 6, 7), x(d, 9, 4, 3, 3, name="W"), padding=1)],
    "conv2d with a stride": lambda d: [
        ops.conv2d(x(d, 1, 3, 11, 9), x(d, 8, 3, 3, 3, name="W"), stride=2)
    ],
    "conv2d channels last": lambda d: [
        ops.conv2d(x(d, 1, 6, 7, 5), x(d, 3, 3, 5, 9, name="W"), padding=1, layout="NHWC")
    ],
    "conv2d of groups": lambda d: [
        ops.conv2d(x(d, 1, 4, 5, 9), x(d, 6, 2, 2, 3, name="W"), (2, 1), 1, (2, 1), groups=2)
    ],
    "conv2d of single channels": lambda d: [
        ops.conv2d(x(d, 1, 5, 4, 3), x(d, 2, 2, 1, 3, name="W"), groups=3, layout="NHWC")
    ],
    "conv_transpose": lambda d: [
        ops.conv_transpose2d(x(d, 1, 3, 5, 5), x(d, 3, 4, 3, 3, name="W"), stride=2),
        ops.conv_transpose1d(x(d, 1, 4, 7, name="y"), x(d, 4, 1, 3, name="w"), 3, 1, 0, 2, 2),
    ],
    "pools": lambda d: [ops.max_pool2d(x(d, 2, 3, 8, 9), 2), ops.avg_pool2d(x(d, 2, 3, 8, 9), 3)],
    "pools of overlapping windows": lambda d: [
        ops.max_pool1d(x(d, 2, 3, 11), 3, 2, 1),
        ops.avg_pool1d(x(d, 2, 3, 11), 3, 2, 1, count_padding=False),
    ],
    "attention": lambda d: [
        ops.attention(x(d, 2, 9, 8), x(d, 2, 11, 8, name="k"), x(d, 2, 11, 8, name="v"))
    ],
    "attention of the past": lambda d: [
        ops.attention(x(d, 9, 8), x(d, 9, 8, name="k"), x(d, 9, 8, name="v"), causal=True)
    ],
}
NETWORKS: dict[str, Make] = {
    "softmax": lambda d: [ops.softmax(x(d, 9, 70)), ops.softmax(x(d, 9, 70), 0)],
    "softmax of whole vectors": lambda d: [ops.softmax(x(d, 5, 256))],
    "log_softmax": lambda d: [ops.log_softmax(x(d, 2, 3, 40))],
    "layer_norm": lambda d: [ops.layer_norm(x(d, 7, 96))],
    "rms_norm": lambda d: [ops.rms_norm(x(d, 7, 50))],
    "batch_norm": lambda d: [
        ops.batch_norm(x(d, 6, 3, 4, 5), *ops.batch_moments(x(d, 6, 3, 4, 5)))
    ],
    "cross_entropy": lambda d: [
        ops.softmax_cross_entropy(x(d, 9, 11), x("int64", 9, name="n")),
        ops.cross_entropy(x(d, 9, 11), x("int64", 9, name="n"), 0.1),
    ],
    "losses": lambda d: [
        ops.mse(x(d, 9, 11), x(d, 9, 11, name="y")),
        ops.huber(x(d, 9, 11), x(d, 9, 11, name="y")),
        ops.bce_with_logits(x(d, 9, 11), ops.sigmoid(x(d, 9, 11, name="y"))),
    ],
}


# What has no gradient: it is constant but for jumps, or made of nothing.
CONSTANT = (
    *("ceil", "floor", "isfinite", "isinf", "isnan", "logical_not", "round", "sign", "trunc"),
    *("equal", "floor_divide", "greater", "greater_equal", "less", "less_equal", "not_equal"),
    *("logical_and", "logical_or", "logical_xor", "all and any", "argmax and argmin", "astype"),
    *("arange", "eye and full", "invert", "one_hot", "random", "stop_gradient"),
)


def gradients() -> dict[str, Make]:
    """Gradients of what is above, with regard to each of its floating inputs."""
    return {f"gradient of {n}": _gradient(m) for n, m in forward().items() if n not in CONSTANT}


def _unary(name: str) -> Make:
    return lambda d: [getattr(ops, name)(x(d, 5, 7))]


def _positive(name: str) -> Make:
    return lambda d: [getattr(ops, name)(ops.square(x(d, 3, 8)) + 0.5)]


def _binary(name: str) -> Make:
    return lambda d: [getattr(ops, name)(x(d, 5, 1, 3), x(d, 4, 3, name="y"))]


def _reduction(name: str) -> Make:
    op = getattr(ops, name)
    return lambda d: [op(x(d, 6, 21), axis=1), op(x(d, 6, 21), axis=0), op(x(d, 6, 21))]


def _gradient(make: Make) -> Make:
    def made(dtype: str) -> list[Tensor]:
        outputs = make(dtype)
        inputs = [p for p in _placeholders(outputs) if p.dtype.is_float]
        loss = sum((ops.sum(ops.square(o)) for o in outputs[1:]), ops.sum(ops.square(outputs[0])))
        return list(tc.grad(loss, inputs))

    return made


def _placeholders(outputs: list[Tensor]) -> list[Tensor]:
    """What the outputs are computed from, in order of first use."""
    found: dict[Tensor, None] = {}
    seen: set[Tensor] = set()

    def visit(tensor: Tensor) -> None:
        if tensor in seen:
            return
        seen.add(tensor)
        if isinstance(tensor.op, Placeholder):
            found[tensor] = None
        else:
            for source in tensor.op.inputs:
                visit(source)

    for output in outputs:
        visit(output)
    return list(found)


def program_of(make: Make, dtype: str) -> Program:
    """The plain program of a case."""
    return build(make(dtype))
