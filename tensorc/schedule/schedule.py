"""`Schedule`: a program as it stands, and the trace of the steps that led there.

Every step is a function from program to program that proves itself legal or raises; then the
schedule is as it was. Loops and stages are addressed by handles or by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from tensorc.errors import ScheduleError
from tensorc.ir.facts import facts, nests
from tensorc.ir.printer import show
from tensorc.ir.stmt import For, Program
from tensorc.ir.swizzle import SHIFT
from tensorc.ir.walk import written_buffers
from tensorc.schedule import (
    check,
    composed,
    consumer,
    display,
    fusion,
    intrinsics,
    loops,
    memory,
    packing,
    padding,
    parallel,
    partial,
    pipeline,
    placement,
    reduction,
    tensorize,
)
from tensorc.schedule.arguments import checks_arguments
from tensorc.schedule.handles import Loop, Stage
from tensorc.schedule.names import told_apart
from tensorc.schedule.trace import LoopRef, Step, Trace, Value
from tensorc.schedule.tree import find_loop, sites, stage_sites
from tensorc.te.build import build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tensorc.ir.expr import Expr, Var
    from tensorc.ir.stmt import Hint
    from tensorc.te.tensor import Tensor

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Log(Generic[T]):
    """What happened last, and all before it: kept as it is at a moment for nothing."""

    before: _Log[T] | None
    entry: T

    @staticmethod
    def entries(last: _Log[T] | None) -> list[T]:
        """Everything, in order."""
        found: list[T] = []
        while last is not None:
            found.append(last.entry)
            last = last.before
        return found[::-1]


@dataclass(frozen=True, slots=True)
class Saved:
    """A schedule at one moment."""

    program: Program
    before: Program
    steps: _Log[Step] | None
    fate: _Log[tuple[Var, str]] | None


@checks_arguments
class Schedule:
    """A loop program under rewriting.

    Args:
        what: the output tensors (or one), or a program.
        args: the input tensors in the order of the call; all that are used, in order of first use,
            where it is left out.
        name: the name of the compiled function.
        strict: keep the order in which floats are summed, for results that are the same to the bit.
    """

    def __init__(
        self,
        what: Tensor | Sequence[Tensor] | Program,
        args: Sequence[Tensor] | None = None,
        name: str = "main",
        *,
        strict: bool = False,
    ) -> None:
        """Start from the plain program: one loop nest for each tensor, in order."""
        if not isinstance(what, Program):
            outputs: list[Any] = list(what) if isinstance(what, tuple | list) else [what]
            what = build(outputs, inputs=args, name=name)
        self.strict = strict
        self.plain = what
        self.program = what
        self._before = what  # As the program stood before the last step.
        self._group = ""  # The call of the composed primitive that runs.
        self._steps: _Log[Step] | None = None
        self._fate: _Log[tuple[Var, str]] | None = None  # What became of loops.
        self._renamed: dict[Var, Var] = {}
        self._intrinsics: dict[str, intrinsics.Intrinsic] = {}

    def __str__(self) -> str:
        return show(self.program)

    def show(self) -> str:
        """The program as it stands, the lines that the last step changed marked by `> `."""
        return display.as_text(self._before, self.program)

    def _repr_html_(self) -> str:
        """What Jupyter shows: as `show`, with the marked lines highlighted."""
        return display.as_html(self._before, self.program)

    @property
    def trace(self) -> Trace:
        """The steps taken so far."""
        return Trace(tuple(_Log.entries(self._steps)))

    # --- handles ---

    def __getitem__(self, name: str) -> Stage:
        if not isinstance(name, str) or not stage_sites(self.program, name):
            raise ScheduleError(f"there is no stage {name!r}; there are {', '.join(self.stages)}")
        return Stage(self, name)

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the buffers that the program computes, in order."""
        found = {b.name: None for n in nests(self.program.body) for b in facts(n).written}
        return tuple(found)

    def loops(self, stage: str) -> tuple[Loop, ...]:
        """The loops around the last statement that writes `stage`, outermost first."""
        self[stage]
        last = stage_sites(self.program, stage)[-1]
        return tuple(Loop(self, stage, x.var) for x in last.loops)

    def loop(self, stage: str, name: str) -> Loop:
        """The loop called `name` around any statement that writes `stage`."""
        self[stage]
        found: dict[str, Loop] = {}
        for site in stage_sites(self.program, stage):
            for x in site.loops:
                found[x.var.name] = Loop(self, stage, x.var)
        if name not in found:
            fate = dict(_Log.entries(self._fate))
            gone = next((f for v, f in fate.items() if v.name == name), None)
            raise ScheduleError(
                f"'{stage}' has no loop '{name}'{': it ' + gone if gone else ''}; "
                f"its loops are {', '.join(found)}"
            )
        return found[name]

    def extent(self, loop: Loop) -> Expr:
        """How many iterations a loop has, as it stands."""
        return self._find(loop).extent

    # --- steps ---

    def split(
        self,
        loop: Loop,
        factor: int,
        names: tuple[str, str] | None = None,
        tail: str = "guard",
    ) -> tuple[Loop, Loop]:
        """Split a loop in two: see `loops.split`. Returns (outer, inner).

        With `tail="peel"` the rest is the loop `i.tail`, which stands last: `loops` gives its nest.
        """
        result: list[loops.Split] = []

        def step(program: Program) -> Program:
            result.append(loops.split(program, self._find(loop), factor, names, tail))
            return result[0].program

        options: dict[str, Value] = {"names": names} if names else {}
        if tail != "guard":
            options["tail"] = tail
        self._take("split", (self._ref(loop), factor), step, options)
        made = result[0]
        self._became(loop, f"was split into {made.outer.name} and {made.inner.name}")
        return Loop(self, loop.stage, made.outer), Loop(self, loop.stage, made.inner)

    def tile(self, i: Loop, j: Loop, i_factor: int, j_factor: int) -> tuple[Loop, Loop, Loop, Loop]:
        """Split two loops and order the four: outer i, outer j, inner i, inner j."""
        return composed.tile(self, i, j, i_factor, j_factor)

    def reorder(self, *order: Loop) -> None:
        """Put loops in the given order, outermost first: see `loops.reorder`."""
        self._take(
            "reorder",
            tuple(self._ref(x) for x in order),
            lambda p: loops.reorder(p, [self._find(x) for x in order], self.strict),
        )

    def unroll(self, loop: Loop) -> None:
        """Write a loop's iterations out: see `parallel.unroll`."""
        self._take("unroll", (self._ref(loop),), lambda p: parallel.unroll(p, self._find(loop)))

    def vectorize(self, loop: Loop, width: int | None = None) -> Loop:
        """Run a loop's iterations as vector lanes: see `parallel.vectorize`.

        With `width` the loop is split by it first. Returns the loop of lanes.
        """
        if width is not None:
            _, loop = self.split(loop, width)
        lanes = loop
        self._take(
            "vectorize", (self._ref(lanes),), lambda p: parallel.vectorize(p, self._find(lanes))
        )
        return lanes

    def parallel(self, loop: Loop) -> None:
        """Run a loop's iterations on several threads: see `parallel.parallel`."""
        self._take("parallel", (self._ref(loop),), lambda p: parallel.parallel(p, self._find(loop)))

    def inline(self, stage: str) -> None:
        """Replace uses of an element-wise stage by its definition: see `placement.inline`."""
        self[stage]
        self._take("inline", (stage,), lambda p: placement.inline(p, stage, self.strict))

    def compute_at(self, stage: str, loop: Loop) -> None:
        """Compute a stage where it is used: see `placement.compute_at`."""
        self[stage]
        self._take(
            "compute_at",
            (stage, self._ref(loop)),
            lambda p: self._apart(placement.compute_at(p, stage, self._find(loop)), loop),
        )

    def cache_write(
        self,
        stage: str,
        loop: Loop,
        scope: str = "local",
        panel: int | None = None,
        *,
        order: Sequence[int] | None = None,
        fold: bool = False,
    ) -> None:
        """Collect what an iteration writes in a buffer of its own: see `memory.cache_write`.

        With `fold`, what it accumulates, to be folded in at its end: see `partial.cache_partial`.
        """
        self[stage]
        options: dict[str, Value] = {} if scope == "local" else {"scope": scope}
        if panel is not None:
            options["panel"] = panel
        if order is not None:
            options["order"] = tuple(order)
        if fold:
            options["fold"] = True

        def step(program: Program) -> Program:
            at = self._find(loop)
            if fold:
                return partial.cache_partial(program, stage, at, scope, panel, order, self.strict)
            return memory.cache_write(program, stage, at, scope, panel, order)

        self._take("cache_write", (stage, self._ref(loop)), step, options)

    def cache_read(
        self,
        buffer: str,
        loop: Loop,
        scope: str = "global",
        order: Sequence[int] | None = None,
        pad: float | None = None,
        panel: int | None = None,
    ) -> Stage:
        """Copy what an iteration reads to a buffer of its own: see `memory.cache_read`.

        Returns the stage of the copy.
        """
        options: dict[str, Value] = {} if scope == "global" else {"scope": scope}
        if order is not None:
            options["order"] = tuple(order)
        if pad is not None:
            options["pad"] = pad
        if panel is not None:
            options["panel"] = panel
        before = set(self.stages)
        self._take(
            "cache_read",
            (buffer, self._ref(loop)),
            lambda p: memory.cache_read(p, buffer, self._find(loop), scope, order, pad, panel),
            options,
        )
        return next(self[name] for name in self.stages if name not in before)

    def pack(
        self,
        stage: str,
        buffer: str,
        order: Sequence[int] | None = None,
        precision: str | None = None,
        dtype: str | None = None,
    ) -> Stage:
        """Store an operand of a stage anew, before its nest: see `packing.pack`.

        Returns the stage of the copy.
        """
        self[stage]
        order = None if order is None else tuple(order)
        given = {"order": order, "precision": precision, "dtype": dtype}
        options: dict[str, Value] = {k: v for k, v in given.items() if v is not None}
        before = set(self.stages)
        self._take(
            "pack",
            (stage, buffer),
            lambda p: packing.pack(p, stage, buffer, order, precision, dtype),
            options,
        )
        return next(self[name] for name in self.stages if name not in before)

    # Loops cut and joined.

    def fuse(self, outer: Loop, inner: Loop, *, name: str | None = None) -> Loop:
        """Run two nested loops as one over the product of their ranges: see `loops.fuse`."""
        made: list[loops.Fused] = []

        def step(program: Program) -> Program:
            made.append(loops.fuse(program, self._find(outer), self._find(inner), name))
            return made[0].program

        options: dict[str, Value] = {"name": name} if name else {}
        self._take("fuse", (self._ref(outer), self._ref(inner)), step, options)
        for loop in (outer, inner):
            self._became(loop, f"was fused into {made[0].var.name}")
        return Loop(self, inner.stage, made[0].var)

    def partition(self, loop: Loop, at: int) -> tuple[Loop, Loop]:
        """Cut a loop's range in two loops in order: see `loops.partition`."""
        return self._cut("partition", loop, at, (at,), "")

    def peel(self, loop: Loop, count: int = 1, side: str = "front") -> tuple[Loop, Loop]:
        """Give the first or last `count` iterations a loop of their own: see `loops.partition`.

        Returns (what was peeled, the rest), whichever `side` it is on: "front" or "back".
        """
        step = f"peel({loop.name}, {count}, {side!r})"
        if side not in ("front", "back") or count < 1:
            raise ScheduleError(
                f"{step}: peel at least 1 iteration from the side 'front' or 'back'"
            )
        at = count if side == "front" else -count
        first, second = self._cut("peel", loop, at, (count, side), step)
        return (first, second) if side == "front" else (second, first)

    def _cut(
        self, primitive: str, loop: Loop, at: int, args: tuple[Value, ...], called: str
    ) -> tuple[Loop, Loop]:
        made: list[loops.Parts] = []

        def step(program: Program) -> Program:
            made.append(loops.partition(program, self._find(loop), at, called))
            return made[0].program

        self._take(primitive, (self._ref(loop), *args), step)
        parts = made[0]
        return Loop(self, loop.stage, parts.first), Loop(self, loop.stage, parts.second)

    def fission(self, loop: Loop, after: str | int) -> tuple[Loop, Loop]:
        """Run the body of a loop in two loops, cut after a stage: see `fusion.fission`."""
        made: list[fusion.Fissioned] = []

        def step(program: Program) -> Program:
            made.append(fusion.fission(program, self._find(loop), after, self.strict))
            return made[0].program

        self._take("fission", (self._ref(loop), after), step)
        second = self._stage_of(made[0].var)
        return Loop(self, self._stage_of(loop.var), loop.var), Loop(self, second, made[0].var)

    def _stage_of(self, var: Var) -> str:
        """The stage that a loop runs last."""
        found = find_loop(self.program, var)
        assert found is not None, "a loop that was just made stands in the program"
        return [b.name for x in sites(found) for b in written_buffers(x.leaf)][-1]

    def fuse_with(self, first: Loop, second: Loop) -> Loop:
        """Run two loops of one range, one after the other, as one: see `fusion.fuse_with`."""
        self._take(
            "fuse_with",
            (self._ref(first), self._ref(second)),
            lambda p: self._apart(
                fusion.fuse_with(p, self._find(first), self._find(second), self.strict), first
            ),
        )
        self._became(second, f"was fused with {first.name}")
        return Loop(self, second.stage, first.var)

    def reverse_compute_at(self, stage: str, loop: Loop) -> None:
        """Compute a stage where what it reads is computed: see `consumer.reverse_compute_at`."""
        self[stage]
        self._take(
            "reverse_compute_at",
            (stage, self._ref(loop)),
            lambda p: self._apart(
                consumer.reverse_compute_at(p, stage, self._find(loop), self.strict), loop
            ),
        )

    # Reductions.

    def rfactor(self, loop: Loop, *, last: bool = False) -> Stage:
        """Give each iteration of a reduction loop a partial result: see `reduction.rfactor`.

        Returns the stage of the partial results.
        """
        made: list[reduction.Factored] = []

        def step(program: Program) -> Program:
            made.append(reduction.rfactor(program, self._find(loop), self.strict, last=last))
            return made[0].program

        self._take("rfactor", (self._ref(loop),), step, {"last": True} if last else {})
        return self[made[0].partials[0].name]

    def decompose_reduction(self, stage: str, loop: Loop) -> None:
        """Move a reduction's initialisation before a loop: see `reduction.decompose_reduction`."""
        self[stage]
        self._take(
            "decompose_reduction",
            (stage, self._ref(loop)),
            lambda p: reduction.decompose_reduction(p, stage, self._find(loop), self.strict),
        )

    # Storage, grids and hints.

    def set_scope(self, buffer: str, scope: str) -> None:
        """Keep a buffer in another kind of memory: see `memory.set_scope`."""
        self._take("set_scope", (buffer, scope), lambda p: memory.set_scope(p, buffer, scope))

    def storage_align(self, buffer: str, dim: int, factor: int, offset: int = 0) -> None:
        """Pad the stride of a buffer's dimension: see `memory.storage_align`."""
        self._take(
            "storage_align",
            (buffer, dim, factor, offset),
            lambda p: memory.storage_align(p, buffer, dim, factor, offset),
        )

    def swizzle(self, buffer: str, width: int, shift: int = SHIFT) -> None:
        """Permute the rows of a shared buffer, so that columns lie in other banks.

        See `memory.swizzle`.
        """
        self._take(
            "swizzle",
            (buffer, width, shift) if shift != SHIFT else (buffer, width),
            lambda p: memory.swizzle(p, buffer, width, shift),
        )

    def bind(self, loop: Loop, axis: str) -> None:
        """Give a loop's iterations to the blocks or threads of a grid: see `parallel.bind`."""
        self._take(
            "bind",
            (self._ref(loop), axis),
            lambda p: parallel.bind(p, self._find(loop), axis, self.strict),
        )

    def cooperative_fetch(self, stage: str, threads: int, lanes: int = 1) -> None:
        """Let the threads of a block share the work of a copy, as `cache_read` makes one.

            for B.in0 in range(16):               for B.in0.inner in thread.y(8):
              for B.in1 in range(128):              for B.in1.outer in thread.x(32):
                B.local[...] = B[...]    becomes      for B.in0.outer in unrolled(2):
                                                        for B.in1.inner in vectorized(4):
                                                          B.local[...] = B[...]

        of 256 threads and 4 lanes: neighbours go to neighbouring threads, so that a warp reads
        whole rows. Where the sides do not fit the threads, the loops are joined to one first. It is
        a sequence of `split`, `fuse`, `reorder`, `bind`, `unroll` and `vectorize`, and legal where
        they are.

        Raises:
            ScheduleError: the nest that computes `stage` is not of plain loops of constant size,
                with one statement; `lanes` does not divide its last loop; a step is refused.
        """
        self[stage]
        self.apply(composed.cooperative_fetch, stage, threads, lanes)

    def bulk_fetch(self, stage: str) -> None:
        """Let sm_90's copy engine do a copy: the hint `async: "tma"` on its outermost own loop.

        One thread issues it, for the whole box. Code generation refuses what is no such copy.
        """
        self[stage]
        self.apply(composed.bulk_fetch, stage)

    def bulk_store(self, stage: str) -> None:
        """Let sm_90's copy engine do a copy from shared to global memory: as `bulk_fetch`."""
        self[stage]
        self.apply(composed.bulk_store, stage)

    def rasterize(self, i: Loop, j: Loop, group: int) -> Loop:
        """Go through two nested loops by groups of `group` iterations of `i`, as one loop.

            for i in range(8):               for t in range(32):   # i // 4, then j, then i % 4
              for j in range(4):   becomes     body(t // 16 * 4 + t % 4, t % 16 // 4)
                body(i, j)

        of a group of 4. Blocks that run at the same time then share rows of one operand and columns
        of the other, which stay in the nearest cache: bind the loop to block.x. It is a sequence of
        `split`, `reorder` and `fuse`, and legal where they are. Returns the loop.

        Raises:
            ScheduleError: a step is refused.
        """
        return self.apply(composed.rasterize, i, j, group)

    def annotate(self, loop: Loop, key: str, value: Hint | None) -> None:
        """Leave a hint for a backend on a loop: see `parallel.annotate`."""
        self._take(
            "annotate",
            (self._ref(loop), key, value),
            lambda p: parallel.annotate(p, self._find(loop), key, value),
        )

    def specialize(
        self, loop: Loop, producer_registers: int = 40, consumer_registers: int = 232
    ) -> None:
        """Let a warp group of its own copy boxes for the others: see `parallel.specialize`."""
        counts = producer_registers, consumer_registers
        self._take(
            "specialize",
            (self._ref(loop), *counts),
            lambda p: parallel.specialize(p, self._find(loop), *counts),
        )

    # Padding and pipelines.

    def relax_guard(self, stage: str, loop: Loop) -> None:
        """Run what a guard leaves out, where only padding is written: see `padding.relax_guard`."""
        self[stage]
        self._take(
            "relax_guard",
            (stage, self._ref(loop)),
            lambda p: padding.relax_guard(p, stage, self._find(loop)),
        )

    def double_buffer(self, buffer: str, loop: Loop) -> None:
        """Fill a buffer one iteration ahead: see `pipeline.double_buffer`."""
        self._take(
            "double_buffer",
            (buffer, self._ref(loop)),
            lambda p: pipeline.double_buffer(p, buffer, self._find(loop)),
        )

    def pipeline(self, loop: Loop, stages: int) -> None:
        """Fill a loop's buffers some iterations ahead: see `pipeline.pipeline`."""
        self._take(
            "pipeline",
            (self._ref(loop), stages),
            lambda p: pipeline.pipeline(p, self._find(loop), stages),
        )

    # Intrinsics.

    def declare(self, intrinsic: intrinsics.Intrinsic) -> None:
        """Make an intrinsic known by its name, for `tensorize` and for traces that use it."""
        self._intrinsics[intrinsic.name] = intrinsic

    def tensorize(
        self,
        loop: Loop,
        intrinsic: intrinsics.Intrinsic | str,
        precision: str | None = None,
    ) -> None:
        """Replace a nest by an intrinsic of the same meaning: see `tensorize.tensorize`.

        By name, it is one that `intrinsics` lists, or one that was declared here.
        `precision="tf32"` rounds the operands of float32 products in the nest first.
        """
        if isinstance(intrinsic, str):
            chosen = self._intrinsic(intrinsic)
        else:
            chosen = intrinsic
            self.declare(chosen)
        self._take(
            "tensorize",
            (self._ref(loop), chosen.name),
            lambda p: tensorize.tensorize(p, self._find(loop), chosen, self.strict, precision),
            {} if precision is None else {"precision": precision},
        )
        self._became(loop, f"was replaced by the intrinsic {chosen.name}")

    def _intrinsic(self, name: str) -> intrinsics.Intrinsic:
        if name in self._intrinsics:
            return self._intrinsics[name]
        if not intrinsics.is_builtin(name):
            known = ", ".join((*intrinsics.NAMES, intrinsics.FAMILY, *self._intrinsics))
            raise ScheduleError(
                f"tensorize: there is no intrinsic '{name}'; there are {known}; declare() makes "
                "one known"
            )
        return intrinsics.builtin(name)

    # The trace.

    def apply(
        self, primitive: Callable[Concatenate[Schedule, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Take the steps of a function of a schedule as one: `primitive(self, *args, **kwargs)`.

        It is taken whole or not at all. Errors name its call first; the trace keeps the call with
        each of its steps, and prints it as a comment.

        Raises:
            ScheduleError: one of its steps was refused.
        """
        name = getattr(primitive, "__name__", type(primitive).__name__)
        given = [_shown(a) for a in args] + [f"{k}={_shown(v)}" for k, v in kwargs.items()]
        call = f"{name}({', '.join(given)})"
        saved, around = self.save(), self._group
        self._group = f"{around} > {call}" if around else call
        try:
            result = primitive(self, *args, **kwargs)
        except ScheduleError as error:
            self.restore(saved)
            raise ScheduleError(f"{call}: {error}") from error
        except BaseException:
            self.restore(saved)
            raise
        finally:
            self._group = around
        self._before = saved.program
        return result

    def check(
        self,
        sizes: Mapping[str, int] | None = None,
        arrays: Mapping[str, check.Array] | None = None,
    ) -> None:
        """Run this program and the plain one in the interpreter, and compare what they compute.

        Inputs are small integers, of which sums are exact: see `check.difference`.

        Raises:
            ScheduleError: an element differs; the message says which, and which step brought that
                in. Or the programs run too long to check, or refuse the inputs.
        """
        found = check.difference(self.plain, self.program, sizes, arrays)
        if found is None:
            return
        again = Schedule(self.plain, strict=self.strict)
        for number, step in enumerate(_Log.entries(self._steps), 1):
            again._replay_step(step)
            if check.difference(self.plain, again.program, sizes, arrays) is not None:
                raise ScheduleError(f"check: {found}; step {number}, {step}, brought it in")
        raise ScheduleError(f"check: {found}; no step of the trace brings it in")

    def replay(self, trace: Trace) -> None:
        """Take the steps of `trace`, by name, on this schedule.

        Raises:
            ScheduleError: a step does not fit here; the steps before it are undone too.
        """
        saved = self.save()
        for number, step in enumerate(trace.steps, 1):
            try:
                self._replay_step(step)
            except ScheduleError as error:
                self.restore(saved)
                raise ScheduleError(
                    f"replay: step {number}, {step}, does not fit: {error}"
                ) from error

    def _replay_step(self, step: Step) -> None:
        around, self._group = self._group, step.group or self._group
        try:
            self._replay_call(step)
        finally:
            self._group = around

    def _replay_call(self, step: Step) -> None:
        method = _PRIMITIVES.get(step.primitive)
        if method is None:
            raise ScheduleError(
                f"no primitive '{step.primitive}'; there are {', '.join(_PRIMITIVES)}"
            )
        args = [self.loop(a.stage, a.loop) if isinstance(a, LoopRef) else a for a in step.args]
        try:
            method(self, *args, **step.options)
        except TypeError as error:
            raise ScheduleError(f"{step.primitive}: wrong arguments: {error}") from error

    def save(self) -> Saved:
        """The schedule as it stands, for `restore`: to take several steps together or none."""
        return Saved(self.program, self._before, self._steps, self._fate)

    def restore(self, saved: Saved) -> None:
        """Go back to what `save` returned."""
        self.program, self._before = saved.program, saved.before
        self._steps, self._fate = saved.steps, saved.fate

    def adopt(self, program: Program, steps: Sequence[Step]) -> None:
        """Go on from `program`, to which `steps` lead from here: they were proved elsewhere.

        For what schedules an excerpt of the program and puts it back (`excerpt`).
        """
        self._before, self.program = self.program, program
        for step in steps:
            self._steps = _Log(self._steps, step)

    # --- how a step is taken ---

    def _find(self, loop: Loop) -> For:
        if not isinstance(loop, Loop) or loop.schedule is not self:
            raise ScheduleError(f"{loop!r} is not a loop of this schedule")
        var = loop.var
        found = find_loop(self.program, var)
        while found is None and var in self._renamed:
            var = self._renamed[var]
            found = find_loop(self.program, var)
        if found is None:
            known = dict(_Log.entries(self._fate))
            fate = known.get(loop.var, "is not in the program any more")
            raise ScheduleError(f"loop {loop.name} of '{loop.stage}' {fate}")
        return found

    def _became(self, loop: Loop, fate: str) -> None:
        self._fate = _Log(self._fate, (loop.var, fate))

    def _ref(self, loop: Loop) -> LoopRef:
        """The loop by name, under a stage that it runs now: caches move statements."""
        found = self._find(loop)
        inside = [b.name for x in sites(found) for b in written_buffers(x.leaf)]
        stage = loop.stage if loop.stage in inside or not inside else inside[0]
        return LoopRef(stage, found.var.name)

    def _apart(self, program: Program, loop: Loop) -> Program:
        """`program` once the loops moved into `loop` have names of their own."""
        new, renamed = told_apart(program, self._find(loop).var)
        self._renamed |= renamed
        return new

    def _take(
        self,
        primitive: str,
        args: tuple[LoopRef | Value, ...],
        step: Callable[[Program], Program],
        options: dict[str, Value] | None = None,
    ) -> None:
        before = self.program
        self.program = step(before)
        self._before = before
        self._steps = _Log(self._steps, Step(primitive, args, options or {}, group=self._group))


def _shown(value: object) -> str:
    """An argument of a composed primitive, in one line."""
    return value.name if isinstance(value, Loop | Stage) else " ".join(repr(value).split())


_PRIMITIVES: dict[str, Callable[..., object]] = {
    "split": Schedule.split,
    "reorder": Schedule.reorder,
    "fuse": Schedule.fuse,
    "partition": Schedule.partition,
    "peel": Schedule.peel,
    "fission": Schedule.fission,
    "fuse_with": Schedule.fuse_with,
    "reverse_compute_at": Schedule.reverse_compute_at,
    "unroll": Schedule.unroll,
    "vectorize": Schedule.vectorize,
    "parallel": Schedule.parallel,
    "inline": Schedule.inline,
    "compute_at": Schedule.compute_at,
    "cache_read": Schedule.cache_read,
    "cache_write": Schedule.cache_write,
    "pack": Schedule.pack,
    "rfactor": Schedule.rfactor,
    "decompose_reduction": Schedule.decompose_reduction,
    "set_scope": Schedule.set_scope,
    "storage_align": Schedule.storage_align,
    "swizzle": Schedule.swizzle,
    "bind": Schedule.bind,
    "annotate": Schedule.annotate,
    "specialize": Schedule.specialize,
    "relax_guard": Schedule.relax_guard,
    "double_buffer": Schedule.double_buffer,
    "pipeline": Schedule.pipeline,
    "tensorize": Schedule.tensorize,
}
