"""Layers, optimizers and training runs against torch, in float64. Skipped without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from tensorc import nn, optim
from tensorc.te.reference import evaluate
from tensorc.te.tensor import placeholder

torch = pytest.importorskip("torch", reason="torch is not installed: make test-peers")

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIMIZERS: list[tuple[optim.Rule, Callable[[Any], Any]]] = [
    (optim.SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
    (
        optim.SGD(0.1, 0.9, 0.01),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    ),
    (
        optim.SGD(0.1, 0.9, 0.01, nesterov=True),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    ),
    (
        optim.SGD(0.1, 0.9, form="mean"),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, dampening=0.9),
    ),
    (optim.Adam(0.02), lambda p: torch.optim.Adam(p, 0.02)),
    (
        optim.Adam(0.02, (0.8, 0.99), 1e-4, 0.1),
        lambda p: torch.optim.Adam(p, 0.02, (0.8, 0.99), 1e-4, 0.1),
    ),
    (optim.AdamW(0.02, weight_decay=0.1), lambda p: torch.optim.AdamW(p, 0.02, weight_decay=0.1)),
]


@pytest.mark.parametrize(("ours", "theirs"), OPTIMIZERS)
def test_twenty_updates_are_torchs(ours: optim.Rule, theirs: Callable[[Any], Any]) -> None:
    rng = np.random.default_rng(0)
    p, g = (placeholder((3, 2), "float64", name=n) for n in ("p", "g"))
    (new,), kept = ours.update([(p, g)])
    value = rng.normal(size=(3, 2))
    leaf = torch.tensor(value, requires_grad=True)
    peer = theirs([leaf])
    state = {tensor: start for tensor, _, start in kept}
    if isinstance(ours, optim.SGD) and ours.form == "mean":
        # torch's first velocity is the gradient as it is; ours starts from 0.
        peer.state[leaf]["momentum_buffer"] = torch.zeros_like(leaf)
    for _ in range(20):
        gradient = rng.normal(size=(3, 2))
        value, *after = evaluate([new, *(a for _, a, _ in kept)], {p: value, g: gradient, **state})
        state = dict(zip(state, after, strict=True))
        leaf.grad = torch.tensor(gradient)
        peer.step()
        np.testing.assert_allclose(value, leaf.detach().numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("limit", [0.5, 50.0])
def test_clipping_by_norm_is_torchs(limit: float) -> None:
    rng = np.random.default_rng(0)
    shapes = {"a": (3, 2), "b": (4,)}
    arrays = {n: rng.normal(size=s) for n, s in shapes.items()}
    leaves = [torch.zeros(s, dtype=torch.float64, requires_grad=True) for s in shapes.values()]
    for leaf, array in zip(leaves, arrays.values(), strict=True):
        leaf.grad = torch.tensor(array)
    torch.nn.utils.clip_grad_norm_(leaves, limit)
    pairs = [
        (placeholder(s, "float64", name=n), placeholder(s, "float64", name=f"d{n}"))
        for n, s in shapes.items()
    ]
    new, kept = optim.ClipNorm(optim.SGD(1.0), limit).update(pairs)
    feeds = {g: arrays[p.name] for p, g in pairs} | {p: np.zeros(shapes[p.name]) for p, _ in pairs}
    found = evaluate(new, feeds | {tensor: start for tensor, _, start in kept})
    for value, leaf in zip(found, leaves, strict=True):
        np.testing.assert_allclose(-value, leaf.grad.numpy(), rtol=1e-12)


def torch_model() -> Any:
    t = torch.nn
    return t.Sequential(
        t.Conv2d(2, 4, 3, stride=2, padding=1),
        t.BatchNorm2d(4),
        t.ReLU(),
        t.MaxPool2d(2, stride=1),
        t.Conv2d(4, 4, (2, 1), groups=2, bias=False),
        t.GELU(),
        t.AvgPool2d(2),
        t.Flatten(),
        t.Linear(4, 6),
        t.BatchNorm1d(6),
        t.SiLU(),
        t.LayerNorm(6),
        t.Linear(6, 3),
    ).double()


def our_model() -> nn.Sequential:
    kind: Any = {"dtype": "float64"}
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, **kind),
        nn.BatchNorm2d(4, **kind),
        nn.ReLU(),
        nn.MaxPool2d(2, stride=1),
        nn.Conv2d(4, 4, (2, 1), groups=2, bias=False, **kind),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4, 6, **kind),
        nn.BatchNorm1d(6, **kind),
        nn.SiLU(),
        nn.LayerNorm(6, **kind),
        nn.Linear(6, 3, **kind),
    )


def from_torch(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Its state under our names: linear weights are (in, out) here."""
    state = {}
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        array = value.numpy()
        part = model.get_submodule(name.rpartition(".")[0])
        turned = isinstance(part, torch.nn.Linear) and name.endswith("weight")
        state[f"layer{name}"] = array.T.copy() if turned else array.copy()
    return state


def test_a_run_of_a_network_of_many_layers_is_torchs() -> None:
    torch.manual_seed(0)
    theirs, ours = torch_model(), our_model()
    ours.load_state_dict(from_torch(theirs))
    peer = torch.optim.AdamW(theirs.parameters(), 1e-2, weight_decay=0.1)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    train = tc.compile(
        nn.training_step(
            ours,
            nn.CrossEntropyLoss(0.1),
            optim.AdamW(1e-2, weight_decay=0.1),
            8,
            input_shape=(2, 9, 8),
        )
    )
    infer = tc.compile(nn.inference_step(ours, 8, input_shape=(2, 9, 8)))
    rng = np.random.default_rng(0)
    for _ in range(8):
        x, y = rng.normal(size=(8, 2, 9, 8)), rng.integers(0, 3, 8).astype(np.int32)
        peer.zero_grad()
        expected = loss(theirs(torch.tensor(x)), torch.tensor(y).long())
        expected.backward()
        peer.step()
        # Adam divides by the root of a square: rounding is amplified where gradients are small.
        assert float(train(x, y)) == pytest.approx(expected.item(), rel=1e-8)
    state = ours.state_dict()
    for name, value in from_torch(theirs).items():
        np.testing.assert_allclose(state[name], value, rtol=1e-6, atol=1e-8, err_msg=name)
    theirs.eval()
    with torch.no_grad():
        outputs = theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(infer(x), outputs, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("causal", "masked"), [(False, False), (True, False), (False, True)])
def test_attention_in_heads_learns_as_torchs(causal: bool, masked: bool) -> None:
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True).double()
    ours = nn.MultiHeadAttention(12, 3, causal=causal, dtype="float64")
    given = {k: v.detach().numpy() for k, v in theirs.state_dict().items()}
    names = {"enter.weight": "in_proj_weight", "enter.bias": "in_proj_bias"}
    names |= {"leave.weight": "out_proj.weight", "leave.bias": "out_proj.bias"}
    ours.load_state_dict({name: given[source].T for name, source in names.items()})
    rng = np.random.default_rng(0)
    seen = np.tril(np.ones((5, 5), bool)) if causal else np.ones((5, 5), bool)
    if masked:
        seen = rng.random((5, 5)) < 0.6
        np.fill_diagonal(seen, True)
    x = tc.placeholder((2, 5, 12), "float64", name="x")
    mask = tc.placeholder((5, 5), "bool", name="mask")
    y = ours(x, mask) if masked else ours(x)
    parameters = [p.tensor for p in ours.parameters()]
    inputs = [x, *parameters, *([mask] if masked else [])]
    run = tc.compile([y, *tc.grad(tc.ops.sum(y * y), [x, *parameters])], inputs=inputs)
    values = rng.normal(size=(2, 5, 12))
    found = run(values, *(p.value for p in ours.parameters()), *([seen] if masked else []))
    there = torch.tensor(values, requires_grad=True)
    expected, _ = theirs(there, there, there, attn_mask=torch.tensor(~seen), need_weights=False)
    (expected**2).sum().backward()
    slopes = {k: v.grad.numpy().T for k, v in theirs.named_parameters()}
    wanted = [there.grad.numpy(), *(slopes[names[n]] for n, _ in ours.named_parameters())]
    for got, want in zip(found, [expected.detach().numpy(), *wanted], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)


def test_an_embedding_learns_as_torchs() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(
        torch.nn.Embedding(7, 4), torch.nn.Flatten(), torch.nn.Linear(12, 2)
    ).double()
    ours = nn.Sequential(
        nn.Embedding(7, 4, dtype="float64"), nn.Flatten(), nn.Linear(12, 2, dtype="float64")
    )
    ours.load_state_dict(from_torch(theirs))
    peer = torch.optim.SGD(theirs.parameters(), 0.5)
    train = tc.compile(
        nn.training_step(ours, nn.SoftmaxLoss(), optim.SGD(0.5), 5, input_shape=(3,))
    )
    rng = np.random.default_rng(0)
    for _ in range(5):
        x = rng.integers(0, 7, (5, 3)).astype(np.int32)
        y = rng.integers(0, 2, 5).astype(np.int32)
        peer.zero_grad()
        expected = torch.nn.functional.cross_entropy(
            theirs(torch.tensor(x)), torch.tensor(y).long()
        )
        expected.backward()
        peer.step()
        assert float(train(x, y)) == pytest.approx(expected.item(), rel=1e-11)
    for name, value in from_torch(theirs).items():
        np.testing.assert_allclose(ours.state_dict()[name], value, rtol=1e-10, atol=1e-12)
