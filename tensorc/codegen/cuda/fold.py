"""Phases that fold a value of each thread into one: shuffles, and a table in shared memory.

The order is fixed by the number of threads alone, so results repeat bit for bit.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.arith import from_memory, to_memory
from tensorc.codegen.cuda.private import digits_of
from tensorc.codegen.cuda.types import ATOM, BIT_OR, MEMORY, VALUE, Text
from tensorc.ir.expr import Binary, BinaryOp, const_int
from tensorc.ir.stmt import If
from tensorc.ir.walk import free_vars
from tensorc.lower.cooperative import only_leaf
from tensorc.target import WARP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.codegen.cuda.kernel import Fold, Phase
    from tensorc.codegen.cuda.stmt import StmtEmitter
    from tensorc.dtypes import DType
    from tensorc.ir.expr import Expr
    from tensorc.ir.stmt import Accumulate

_MASK = "0xffffffffu"
# What shuffles take as it is; the other types travel as an int.
_SHUFFLED = ("int", "unsigned", "long long", "unsigned long long", "float", "double")


class FoldEmitter:
    """Writes one folding phase; the shares live in variables of their own between its steps."""

    def __init__(self, e: StmtEmitter, threads: int) -> None:
        """For a kernel whose blocks have so many threads."""
        self.e, self.threads = e, threads
        self.shares: list[Text] = []

    def emit(self, phase: Phase) -> None:
        """Write the phase, or the step of it that `phase` is."""
        found, fold = only_leaf(phase.body), phase.fold
        assert found is not None, "a folding phase is one accumulation"
        assert fold is not None, "a folding phase says how"
        path, leaf = found
        conds = [s.cond for s in path if isinstance(s, If)]
        if not phase.combines:
            self._share(phase, leaf, conds)
        if fold.method == "shuffle":
            self._shuffle(leaf, self.shares, fold.width)
            self._update(phase, leaf, conds)
        elif fold.method == "warps":
            self._warps(phase, fold, leaf, conds)
        else:
            self._table(phase, fold, leaf, conds)

    # --- the value of each thread -------------------------------------------------------------

    def _share(self, phase: Phase, leaf: Accumulate, conds: Sequence[Expr]) -> None:
        """`float share = 0.0f; if (tid < n) share = value;`."""
        e = self.e
        self.shares = []
        test = self._inside(phase, conds)
        for buffer, unit, value in zip(
            leaf.buffers, leaf.reducer.identity, leaf.values, strict=True
        ):
            ctype = VALUE[buffer.dtype.name]
            name = e.names.fresh(f"{buffer.name}.share")
            if test:
                with e.statement(unit):
                    e.out.line(f"{ctype} {name} = {e.value(unit).text};")
            else:
                with e.statement(value):
                    e.out.line(f"{ctype} {name} = {e.value(value).text};")
            self.shares.append(Text(name, ATOM, ctype))
        if test:
            with e.region(), e.scope(), e.out.inside(f"if ({test})"), e.statement(*leaf.values):
                for share, value in zip(self.shares, leaf.values, strict=True):
                    e.out.line(f"{share.text} = {e.value(value).text};")

    def _inside(self, phase: Phase, conds: Sequence[Expr]) -> str:
        e = self.e
        tests = [f"tid < {phase.count}"] if phase.count < self.threads else []
        with e.statement(*conds):
            tests += [e.value(c).at(BIT_OR if tests or len(conds) > 1 else 0) for c in conds]
        return " && ".join(tests)

    # --- folding ------------------------------------------------------------------------------

    def _shuffle(self, leaf: Accumulate, values: Sequence[Text], width: int) -> None:
        """Fold over groups of `width` lanes; the first lane of each has the result."""
        e = self.e
        if width == 1:
            return
        e.out.line("#pragma unroll")
        head = f"for (int offset = {width // 2}; offset > 0; offset /= 2)"
        with e.region(), e.scope(), e.out.inside(head):
            others = []
            for value, buffer in zip(values, leaf.buffers, strict=True):
                ctype = value.ctype
                text = value.text if ctype in _SHUFFLED else f"(int){value.text}"
                part = "" if width == WARP else f", {width}"
                call = f"__shfl_down_sync({_MASK}, {text}, offset{part})"
                call = call if ctype in _SHUFFLED else f"({ctype}){call}"
                others.append(e.named(f"{buffer.name}.other", Text(call, ATOM, ctype)))
            self._assign(leaf, values, others)

    def _assign(self, leaf: Accumulate, values: Sequence[Text], others: Sequence[Text]) -> None:
        e = self.e
        results = e.combine(leaf, values, others)
        if len(results) > 1:
            results = [e.named("t", r) for r in results]
        for value, result in zip(values, results, strict=True):
            e.out.line(f"{value.text} = {result.text};")

    def _warps(self, phase: Phase, fold: Fold, leaf: Accumulate, conds: Sequence[Expr]) -> None:
        e = self.e
        tables = [e.places[b].name for b in fold.scratch]
        if not phase.combines:
            self._shuffle(leaf, self.shares, WARP)
            inside = "" if fold.rounded >= self.threads else f" && tid < {fold.rounded}"
            with e.out.inside(f"if (tid % {WARP} == 0{inside})"):
                for table, share, dtype in self._each(fold, tables):
                    e.out.line(f"{table}[tid / {WARP}] = {_stored(share, dtype)};")
            return
        size = fold.warps * WARP
        first = f"tid < {WARP}" if size == fold.rounded else f"tid % {size} < {WARP}"
        if size != fold.rounded and fold.rounded < self.threads:
            first = f"tid < {fold.rounded} && {first}"
        lane = f"tid % {WARP} < {fold.warps}" if fold.warps < WARP else ""
        row = f"tid / {size} * {fold.warps} + " if size != fold.rounded else ""
        with e.region(), e.scope(), e.out.inside(f"if ({first})"):
            for (table, share, dtype), unit in zip(
                self._each(fold, tables), leaf.reducer.identity, strict=True
            ):
                read = _loaded(f"{table}[{row}tid % {WARP}]", dtype)
                with e.statement(unit):
                    other = e.value(unit).text
                e.out.line(f"{share.text} = {f'{lane} ? {read} : {other}' if lane else read};")
            width = 1
            while width < fold.warps:
                width *= 2
            self._shuffle(leaf, self.shares, width)
            self._update(phase, leaf, conds)

    def _table(self, phase: Phase, fold: Fold, leaf: Accumulate, conds: Sequence[Expr]) -> None:
        """One thread of each group goes through the values of its group, in order."""
        e = self.e
        tables = [e.places[b].name for b in fold.scratch]
        if not phase.combines:
            with contextlib.ExitStack() as stack:
                if phase.count < self.threads:
                    stack.enter_context(e.out.inside(f"if (tid < {phase.count})"))
                for table, share, dtype in self._each(fold, tables):
                    e.out.line(f"{table}[tid] = {_stored(share, dtype)};")
            return
        digits = digits_of(phase)
        with e.region(), e.scope(), e.out.inside(f"if ({self._leader(phase, conds)})"):
            for (_, share, _), unit in zip(
                self._each(fold, tables), leaf.reducer.identity, strict=True
            ):
                with e.statement(unit):
                    e.out.line(f"{share.text} = {e.value(unit).text};")
            steps = []
            depth = 0
            for loop in reversed(phase.folded):
                name = e.names.fresh("other")
                extent, scale = const_int(loop.extent), digits[loop.var].divisor
                e.out.line(f"for (int {name} = 0; {name} < {extent}; ++{name}) {{")
                e.out.depth += 1
                depth += 1
                steps.append(f" + {name}" + (f" * {scale}" if scale > 1 else ""))
            others = [
                e.named(
                    "value",
                    Text(_loaded(f"{table}[tid{''.join(steps)}]", dtype), ATOM, share.ctype),
                )
                for table, share, dtype in self._each(fold, tables)
            ]
            self._assign(leaf, self.shares, others)
            for _ in range(depth):
                e.out.depth -= 1
                e.out.line("}")
            self._store(leaf)

    def _each(self, fold: Fold, tables: Sequence[str]) -> list[tuple[str, Text, DType]]:
        dtypes = [b.dtype for b in fold.scratch]
        return list(zip(tables, self.shares, dtypes, strict=True))

    # --- the result ---------------------------------------------------------------------------

    def _leader(self, phase: Phase, conds: Sequence[Expr]) -> str:
        """The test for the first thread of a group whose element is there."""
        e = self.e
        digits = digits_of(phase)
        tests = [f"tid < {phase.count}"] if phase.count < self.threads else []
        for loop in phase.folded:
            digit = digits[loop.var]
            if digit.extent == phase.count:
                tests = ["tid == 0"]
                continue
            text = f"tid / {digit.divisor}" if digit.divisor > 1 else "tid"
            if digit.divisor * digit.extent < phase.count:
                text += f" % {digit.extent}"
            tests.append(f"{text} == 0")
        folded = {t.var for t in phase.folded}
        fixed = [a for c in conds for a in _atoms(c) if not folded & set(free_vars(a))]
        with e.statement(*fixed):
            tests += [e.value(a).at(BIT_OR) for a in fixed]
        return " && ".join(tests)

    def _update(self, phase: Phase, leaf: Accumulate, conds: Sequence[Expr]) -> None:
        e = self.e
        with e.region(), e.scope(), e.out.inside(f"if ({self._leader(phase, conds)})"):
            self._store(leaf)

    def _store(self, leaf: Accumulate) -> None:
        """Fold the group's value into the element."""
        e = self.e
        with e.statement(*leaf.indices):
            old = [e.load(b, leaf.indices) for b in leaf.buffers]
            results = e.combine(leaf, old, self.shares)
            if len(results) > 1:
                results = [e.named("t", r) for r in results]
            for buffer, result in zip(leaf.buffers, results, strict=True):
                e.store(buffer, leaf.indices, result)


def _atoms(cond: Expr) -> list[Expr]:
    match cond:
        case Binary(BinaryOp.AND, a, b):
            return [*_atoms(a), *_atoms(b)]
        case _:
            return [cond]


def _stored(share: Text, dtype: DType) -> str:
    return to_memory(share, dtype)


def _loaded(element: str, dtype: DType) -> str:
    return from_memory(Text(element, ATOM, MEMORY[dtype.name]), dtype).text
