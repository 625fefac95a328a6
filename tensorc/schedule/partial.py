"""Partial results of an iteration, folded into the whole one at its end: cache_write with fold."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Load
from tensorc.ir.printer import show
from tensorc.ir.stmt import Accumulate, If, Store
from tensorc.schedule.legality import accesses, control, may_regroup
from tensorc.schedule.memory import part_of, with_part
from tensorc.schedule.region import box_nest, is_covered, is_written_before
from tensorc.schedule.tree import sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Buffer, Expr
    from tensorc.ir.stmt import For, Program, Stmt
    from tensorc.schedule.region import Indices


def cache_partial(
    program: Program,
    name: str,
    loop: For,
    scope: str = "local",
    panel: int | None = None,
    order: Sequence[int] | None = None,
    strict: bool = False,
) -> Program:
    """Accumulate what one iteration of `loop` adds to `name` by itself, and fold it in at the end.

        for ko in range(m // 4):           for ko in range(m // 4):
          for ki in range(4):                alloc C.local: float32[1] local
            C[i] += A[i, ko * 4 + ki]          C.local[0] = 0.0
                                    becomes    for ki in range(4):
                                                 C.local[0] += A[i, ko * 4 + ki]
                                               C[i] += C.local[0]

    The part is that of `memory.cache_write`, in the same layout. It starts from the reducer's
    identity (loops `C.unit0`...) and not from what `name` holds, which is needed at the end alone
    (loops `C.fold0`...). Guards appear where the part may reach over the end of `name`.

    Legal where the loop touches `name` by accumulations of one reducer alone, and that is
    associative and commutative; sums and products of floats, which then round otherwise, not when
    `strict`.

    Raises:
        ScheduleError: `memory.cache_write` refuses; the loop reads `name`, or writes it otherwise
            than by one reducer, or the reducer does not allow it; an element of the part might be
            folded into that holds no value yet.
    """
    step = f"cache_write({name}, {loop.var.name}, fold=True)"
    part = part_of(program, step, name, loop, scope, panel, order)
    leaf = _accumulation(step, loop, part.buffer, strict)
    (unit,) = leaf.reducer.identity
    made: list[Accumulate] = []

    def start(_outside: Indices, here: Indices, _guard: Expr | None) -> Stmt:
        return Store(part.local, here, unit, loc=leaf.loc)

    def fold(outside: Indices, here: Indices, guard: Expr | None) -> Stmt:
        value = Load(part.local, here, loc=leaf.loc)
        made.append(replace(leaf, indices=outside, values=(value,)))
        return made[-1] if guard is None else If(guard, made[-1], loc=leaf.loc)

    nest = partial(
        box_nest, part.buffer, part.local, part.box, part.given, part.used, layout=part.layout
    )
    body = [nest(start, kind="unit", within=False), part.uses, nest(fold, kind="fold", within=True)]
    result = with_part(program, step, loop, part, body)
    (folding,) = made
    if not is_covered(loop.body, part.buffer, part.box, part.given) and not is_written_before(
        result, folding, part.buffer, folding.indices
    ):
        raise ScheduleError(
            f"{step}: an iteration may leave elements of its part of '{name}' alone, and they may "
            f"hold no value to fold a partial result into\n  {show(folding).strip()}\n"
            f"  initialise all of '{name}' first"
        )
    return result


def _accumulation(step: str, loop: For, buffer: Buffer, strict: bool) -> Accumulate:
    """The first accumulation into `buffer`, if the loop touches that by such alone."""
    found: list[Accumulate] = []
    for site in sites(loop.body):
        leaf = site.leaf
        own = [a for a in (*accesses(leaf), *control(site)) if a.buffer is buffer]
        if not own:
            continue
        if not isinstance(leaf, Accumulate) or not all(a.updates for a in own):
            begins = isinstance(leaf, Store) and leaf.buffer is buffer
            raise ScheduleError(
                f"{step}: loop {loop.var.name} does more with '{buffer.name}' than accumulate into "
                f"it\n  {show(leaf).strip()}"
                + "\n  decompose_reduction moves an initialisation out of it"
                * begins
            )
        may_regroup(step, leaf, strict)
        found.append(leaf)
    first = found[0]
    for leaf in found:
        if leaf.reducer is not first.reducer:
            raise ScheduleError(
                f"{step}: '{buffer.name}' is accumulated into in two ways\n"
                f"  {show(first).strip()}\n  {show(leaf).strip()}"
            )
    return first
