"""The graph behind some tensors: its definitions in dependence order, their names and sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tensorc.errors import IRError
from tensorc.ir.expr import Dim, Expr
from tensorc.ir.walk import free_vars
from tensorc.te.tensor import Compute, Placeholder, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass
class Graph:
    """What the wanted tensors are made from.

    Attributes:
        placeholders: in order of first use.
        computes: each definition after those it reads, with the tensors of it that are wanted,
            by component.
        readers: the definitions that read a tensor.
    """

    placeholders: list[Tensor] = field(default_factory=list)
    computes: dict[Compute, dict[int, Tensor]] = field(default_factory=dict)
    readers: dict[Tensor, list[Compute]] = field(default_factory=dict)

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor that is computed, in dependence order."""
        for wanted in self.computes.values():
            yield from (wanted[c] for c in sorted(wanted))


def graph_of(wanted: Iterable[Tensor]) -> Graph:
    """The graph of `wanted`: a depth-first walk from them, so the same tensors give one order."""
    graph = Graph()
    inputs: dict[Compute, tuple[Tensor, ...]] = {}
    for root in wanted:
        stack: list[tuple[Tensor, bool]] = [(root, False)]
        while stack:
            tensor, ready = stack.pop()
            op = tensor.op
            if isinstance(op, Placeholder):
                if tensor not in graph.readers:
                    graph.readers[tensor] = []
                    graph.placeholders.append(tensor)
                continue
            if ready:
                if op not in graph.computes:
                    graph.computes[op] = {}
                    for read in inputs[op]:
                        graph.readers[read].append(op)
                graph.computes[op][tensor.component] = tensor
                graph.readers.setdefault(tensor, [])
            elif tensor not in graph.readers:
                if op not in inputs:
                    inputs[op] = tuple(dict.fromkeys((*op.after, *op.inputs)))
                stack.append((tensor, True))
                stack.extend((t, False) for t in reversed(inputs[op]))
    return graph


class Names:
    """Names that are taken, and fresh ones made from a wish."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        """Start with the names in `taken`."""
        self.taken = set(taken)

    def fresh(self, wish: str) -> str:
        """`wish`, or `wish_1`, `wish_2`... where it is taken."""
        name, count = wish, 0
        while name in self.taken:
            count += 1
            name = f"{wish}_{count}"
        self.taken.add(name)
        return name


def name_tensors(tensors: Sequence[Tensor], dims: Sequence[Dim]) -> tuple[dict[Tensor, str], Names]:
    """A name for each tensor: the one its user gave, or a numbered one.

    Raises:
        IRError: two tensors, or a tensor and a size, were given one name.
    """
    given: dict[str, Tensor] = {}
    for tensor in tensors:
        if tensor.given_name:
            other = given.setdefault(tensor.name, tensor)
            if other is not tensor:
                raise IRError(
                    f"two tensors are named {tensor.name!r}: {_place(other)} and "
                    f"{_place(tensor)}; give one of them another name"
                )
    sizes: dict[str, Dim] = {}
    for dim in dims:
        if sizes.setdefault(dim.name, dim) is not dim:
            raise IRError(
                f"two sizes are named {dim.name!r}: share one tc.dim where they are one size, "
                "else rename one"
            )
        if dim.name in given:
            raise IRError(
                f"a size and a tensor are both named {dim.name!r}: {_place(given[dim.name])}; "
                "rename one"
            )
    names = Names((*given, *sizes))
    return {t: t.name if t.given_name else names.fresh(t.name) for t in tensors}, names


def _place(tensor: Tensor) -> str:
    loc = tensor.op.loc
    return f"{tensor} ({loc})" if loc is not None else str(tensor)


def dims_in(exprs: Iterable[Expr]) -> dict[Dim, None]:
    """The symbolic sizes in `exprs`, in order of first use."""
    found: dict[Dim, None] = {}
    for expr in exprs:
        for var in free_vars(expr):
            if isinstance(var, Dim):
                found[var] = None
    return found
