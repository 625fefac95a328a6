"""The training step of a small transformer: embedding, causal attention, layer norm, GELU, Adam."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import tensorc as tc
from benchmarks.harness import Case, bench
from benchmarks.peers import installed, torch
from benchmarks.steps import Task, all_steps, jax_cross_entropy, torch_step
from benchmarks.train import compare, losses, pipelined
from tensorc import nn, ops, optim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tensorc import Tensor

HEADS, VOCABULARY, LAYERS, EPS = 4, 65, 2, 1e-5


@dataclass(frozen=True)
class Size:
    """Sequences, their length, and the width; as text it is the row's name."""

    batch: int
    length: int
    width: int

    def __str__(self) -> str:
        return f"{LAYERS} layers of {self.width}, {self.batch} x {self.length} tokens, adam"

    @property
    def flop(self) -> float:
        """Of the products, forward and backward; of all scores, masked or not."""
        tokens, width = self.batch * self.length, self.width
        weights = LAYERS * 12 * width**2 + width * VOCABULARY
        return 3.0 * (2 * tokens * weights + LAYERS * 4 * tokens * self.length * width)


class Block(nn.Module):
    """Attention and a perceptron, each beside what goes into it."""

    def __init__(self, width: int) -> None:
        """Make the layers."""
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.MultiHeadAttention(width, HEADS, causal=True)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        x = x + self.attend(self.before(x))
        return x + self.down(ops.gelu(self.up(self.between(x))))


class Transformer(nn.Module):
    """Tokens, with what each place adds, through the blocks to a score for each next token."""

    def __init__(self, size: Size) -> None:
        """Make the layers."""
        self.size = size
        self.tokens = nn.Embedding(VOCABULARY, size.width)
        self.places = nn.Embedding(size.length, size.width)
        self.blocks = nn.Sequential(*(Block(size.width) for _ in range(LAYERS)))
        self.last = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, VOCABULARY, bias=False)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(length,)."""
        return (self.size.length,)

    @property
    def input_dtype(self) -> tc.DType:
        """int32."""
        return tc.int32

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length) to (batch * length, vocabulary)."""
        h = self.tokens(x) + self.places(ops.arange(self.size.length, dtype="int32"))
        scores = self.head(self.last(self.blocks(h)))
        return ops.reshape(scores, (self.size.batch * self.size.length, VOCABULARY))


def _parts(parameters: Iterator[Any]) -> tuple[Any, ...]:
    return tuple(next(parameters) for _ in range(12))


def in_torch(size: Size) -> Any:
    """The same network's loss, of torch, its parameters in their order, x and y."""

    def loss(module: Any, parameters: Any, x: Any, y: Any) -> Any:
        use = module.nn.functional
        p = iter(parameters)
        h = next(p)[x] + next(p)
        for _ in range(LAYERS):
            s1, b1, s2, b2, w_in, b_in, w_out, b_out, w_up, b_up, w_down, b_down = _parts(p)
            a = use.layer_norm(h, (size.width,), s1, b1, EPS) @ w_in + b_in
            q, k, v = a.reshape(size.batch, size.length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            seen = use.scaled_dot_product_attention(q, k, v, is_causal=True)
            h = h + seen.transpose(1, 2).reshape(h.shape) @ w_out + b_out
            wide = use.gelu(use.layer_norm(h, (size.width,), s2, b2, EPS) @ w_up + b_up)
            h = h + wide @ w_down + b_down
        h = use.layer_norm(h, (size.width,), next(p), next(p), EPS)
        return use.cross_entropy((h @ next(p)).reshape(-1, VOCABULARY), y)

    return loss


def in_jax(size: Size) -> Any:
    """The same for JAX."""

    def norm(module: Any, h: Any, scale: Any, shift: Any) -> Any:
        centred = h - h.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        return centred * module.lax.rsqrt(variance + EPS) * scale + shift

    def loss(module: Any, parameters: Any, x: Any, y: Any) -> Any:
        numbers = module.numpy
        p = iter(parameters)
        h = next(p)[x] + next(p)
        sees = numbers.tril(numbers.ones((size.length, size.length), bool))
        for _ in range(LAYERS):
            s1, b1, s2, b2, w_in, b_in, w_out, b_out, w_up, b_up, w_down, b_down = _parts(p)
            a = norm(module, h, s1, b1) @ w_in + b_in
            a = a.reshape(size.batch, size.length, 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
            scores = a[0] @ a[1].swapaxes(2, 3) * (size.width // HEADS) ** -0.5
            weights = module.nn.softmax(numbers.where(sees, scores, -numbers.inf))
            seen = (weights @ a[2]).swapaxes(1, 2).reshape(h.shape)
            h = h + seen @ w_out + b_out
            wide = module.nn.gelu(norm(module, h, s2, b2) @ w_up + b_up, approximate=False)
            h = h + wide @ w_down + b_down
        h = norm(module, h, next(p), next(p))
        return jax_cross_entropy(module, (h @ next(p)).reshape(-1, VOCABULARY), y)

    return loss


@bench(sizes=[Size(8, 64, 128)])
def train_transformer(size: Size) -> Case:
    """A training step of a transformer; the reference is torch in float64."""
    model = Transformer(size)
    model.initialize(0)
    lr = 1e-3
    rng = np.random.default_rng(0)
    x = rng.integers(0, VOCABULARY, (size.batch, size.length)).astype(np.int32)
    y = rng.integers(0, VOCABULARY, size.batch * size.length).astype(np.int32)
    start = [parameter.value.copy() for parameter in model.parameters()]
    task = Task(start, "adam", lr, x, y, size.flop, in_torch(size), in_jax(size))
    step = nn.training_step(model, nn.SoftmaxLoss(), optim.Adam(lr), size.batch)
    loss = np.zeros((), np.float32)
    ours = tc.compile(step).bind(x, y, out=loss)
    others = all_steps(task)

    def check() -> None:
        steps = {"tensorc": lambda: (ours(), float(loss))[1], **others}
        if not installed("torch"):
            raise SystemExit("train_transformer: its reference is torch, which is not installed")
        torch()
        precise = replace(task, start=[p.astype(np.float64) for p in start])
        exact, rounded = (losses(torch_step(t)) for t in (precise, task))
        compare(steps, exact, rounded)

    return Case(ours, check, {**others, **pipelined(task)}, flop=task.flop)
