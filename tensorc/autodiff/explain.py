"""What a gradient is, as index notation: its definitions, and how each read was inverted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.autodiff.access import Kind
from tensorc.autodiff.grad import swept
from tensorc.autodiff.reverse import listed
from tensorc.ir.expr import Buffer, Expr, Load
from tensorc.ir.printer import show
from tensorc.ir.walk import rewrite
from tensorc.te.graph import graph_of, name_tensors
from tensorc.te.scan import Scan
from tensorc.te.tensor import Compute, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.autodiff.gather import Adjoint
    from tensorc.autodiff.reductions import Ties
    from tensorc.autodiff.reverse import Reverse
    from tensorc.ir.stmt import Node


@dataclass(frozen=True, slots=True)
class Label:
    """How the gradient through one access is found.

    Attributes:
        tensor: what is read.
        access: the read, as text, and `reader`, the definition that holds it.
        kind: "gather", "strided gather" or "scatter".
        reason: why it is of that kind.
        solution: the axes of the reader in terms of the element that is read.
    """

    tensor: str
    access: str
    reader: str
    kind: str
    reason: str
    solution: str

    def __str__(self) -> str:
        solution = f"\n        {self.solution}" if self.solution else ""
        return f"    {self.access} in {self.reader}: {self.kind}, since {self.reason}{solution}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A gradient as text.

    Attributes:
        labels: one for each access that a cotangent flows through, from the result backwards.
        definitions: what the gradient computes, in order: `name[axes] = expression`.
    """

    labels: tuple[Label, ...]
    definitions: tuple[str, ...]
    title: str

    def __str__(self) -> str:
        lines = [self.title, *(f"    {line}" for line in self.definitions)]
        tensors = dict.fromkeys(label.tensor for label in self.labels)
        for tensor in tensors:
            lines.append(f"reads of {tensor}")
            lines.extend(str(label) for label in self.labels if label.tensor == tensor)
        return "\n".join(lines)

    __repr__ = __str__


def explain_grad(
    y: Tensor,
    wrt: Tensor | Sequence[Tensor],
    seed: Tensor | None = None,
    *,
    ties: Ties = "split",
) -> Explanation:
    """The gradient that `grad` gives, as index notation, with the reason for each part's form.

    A *gather* computes each element of a cotangent from the places that read it: it tiles and runs
    in parallel as any forward kernel. A *strided gather* does so by remainders. A *scatter* adds
    up, in order, what goes where data says.

    Print it, or read its `labels`. Arguments and errors are those of `grad`.
    """
    wanted = listed("explain_grad", "wrt", wrt)
    sweep = swept("grad", [y], wanted, None if seed is None else [seed], ties)
    results = [sweep.tensor(w) for w in wanted]
    names = ", ".join(w.name for w in wanted)
    return Explanation(
        tuple(_label(t, a) for t, found in sweep.adjoints.items() for a in found),
        tuple(_definitions(results, sweep)),
        f"gradient of {y.name} with respect to {names}",
    )


def _label(tensor: Tensor, found: Adjoint) -> Label:
    solution = found.solution
    if found.kind is Kind.SCATTER:
        index = ", ".join(map(show, found.access.indices))
        solution = f"d.{tensor.name}[{index}] += ... for each iteration of {found.reader.name}"
    return Label(
        tensor.name,
        show(found.access),
        found.reader.name,
        found.kind.value,
        found.reason,
        solution,
    )


def _definitions(results: Sequence[Tensor], sweep: Reverse) -> list[str]:
    """The definitions behind `results` that the forward graph does not hold."""
    forward = set(sweep.view.order)
    graph = graph_of(results)
    made = [t for t in graph.tensors() if t not in forward]
    labels, _ = name_tensors([*graph.placeholders, *graph.tensors()], [])
    return [definition(t, labels) for t in made]


def definition(tensor: Tensor, labels: Mapping[Tensor, str]) -> str:
    """`name[axes] = expression`, with what a recurrence starts from."""
    op = tensor.op
    assert isinstance(op, Compute), "a placeholder has no definition"
    renamed = show(_relabelled(tensor, labels))
    axes = ", ".join(a.name for a in tensor.axes)
    text = f"{labels[tensor]}[{axes}] = {renamed}"
    if isinstance(op, Scan):
        way = "down" if op.reverse else "up"
        start = show(op.inits[tensor.component])
        text += f", {op.states[tensor.component].name} from {start} {way} {op.line.name}"
    return text


def _relabelled(tensor: Tensor, labels: Mapping[Tensor, str]) -> Expr:
    """The body, its loads under the names that tell tensors apart."""

    def rule(node: Node) -> Node | None:
        if isinstance(node, Load) and isinstance(node.buffer, Tensor):
            buffer = node.buffer
            if labels.get(buffer, buffer.name) != buffer.name:
                named = Buffer(labels[buffer], buffer.shape, buffer.dtype)
                return Load(named, node.indices, loc=node.loc)
        return None

    return rewrite(tensor.body, rule)
