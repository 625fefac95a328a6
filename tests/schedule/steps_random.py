"""Random schedule steps by seed: single ones, and short sequences that lead somewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorc.dtypes import float32
from tensorc.errors import ScheduleError
from tensorc.ir.printer import builtin_name, show
from tensorc.ir.stmt import GRID_AXES, Accumulate, Block
from tensorc.schedule.legality import accesses
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import LoopRef, Step, Trace
from tensorc.schedule.tree import sites, stage_sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tensorc.ir.stmt import Program

# What takes a loop alone.
PLAIN = ("vectorize", "unroll", "parallel", "rfactor")
KINDS = (
    *("split", "split", "split", "fuse", "partition", "peel", "fission", "fuse_with", "fuse_with"),
    *("reorder", "reorder", "reorder", "inline", "compute_at", "compute_at", "reverse_compute_at"),
    *("reverse_compute_at", "cache_write", "cache_write", "cache_read", "cache_read", "vectorize"),
    *("unroll", "parallel", "parallel", "rfactor", "rfactor", "decompose_reduction", "relax_guard"),
    *(
        "set_scope",
        "storage_align",
        "swizzle",
        "double_buffer",
        "pipeline",
        "bind",
        "annotate",
        "specialize",
        "tensorize",
        "pack",
    ),
)
PLACEMENTS = ("inline", "compute_at", "reverse_compute_at", "fuse_with")
FOLDS = ("fission", "rfactor", "decompose_reduction")
PLANS = ("tile", "pad", "fold", "fetch ahead", "lanes", "intrinsic")


@dataclass(frozen=True)
class Taken:
    """A schedule and every step that was tried on it, the refused ones too."""

    schedule: Schedule
    steps: tuple[Step, ...]


class Chooser:
    """Draws steps that fit the names of a schedule; whether they are legal is another matter."""

    def __init__(self, schedule: Schedule, rng: np.random.Generator) -> None:
        self.s = schedule
        self.rng = rng

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def loops(self, stage: str) -> list[LoopRef]:
        return [LoopRef(stage, x.name) for x in self.s.loops(stage)]

    def any_loop(self) -> LoopRef | None:
        every = [x for stage in self.s.stages for x in self.loops(stage)]
        return self.pick(every) if every else None

    def buffer(self) -> str:
        params = [p.buffer.name for p in self.s.program.params]
        return str(self.pick([*params, *self.s.stages]))

    def reads(self, stage: str) -> list[str]:
        """The buffers that the statements of a stage read."""
        found = [
            a.buffer.name for x in stage_sites(self.s.program, stage) for a in accesses(x.leaf)
        ]
        return [name for name in dict.fromkeys(found) if name != stage]

    def placement(self, kind: str) -> Step | None:
        """A stage, and a loop of another one that it feeds, or that feeds it."""
        stages = list(self.s.stages)
        given = {p.buffer.name for p in self.s.program.params}
        own = kind in ("compute_at", "inline")  # It takes temporaries alone.
        pairs = [
            (a, b)
            for d, b in enumerate(stages)
            for a in self.reads(b)
            if a in stages[:d] and not (own and a in given)
        ]
        if not pairs:
            return None
        first, second = self.pick(pairs)
        if kind == "inline":
            return Step(kind, (first,))
        loops = self.loops(second if kind == "compute_at" else first)
        others = self.loops(second)
        if not loops or not others:
            return None
        if kind == "fuse_with":
            if loops[0].loop == others[0].loop:
                return None
            return Step(kind, (loops[0], others[0]))
        return Step(kind, (first if kind == "compute_at" else second, self.pick(loops)))

    def inside(self, kind: str) -> Step | None:
        """A reduction's loop, or one with several statements in it."""
        if kind == "fission":
            found = [
                (LoopRef(x.leaf.buffers[0].name, outer.var.name), 1)
                for x in sites(self.s.program.body)
                if isinstance(x.leaf, Accumulate)
                for outer in x.loops
                if isinstance(outer.body, Block)
            ]
            return Step(kind, self.pick(found)) if found else None
        folds = [x for x in sites(self.s.program.body) if isinstance(x.leaf, Accumulate)]
        if not folds:
            return None
        site = self.pick(folds)
        assert isinstance(site.leaf, Accumulate)
        stage = site.leaf.buffers[0].name
        loops = [LoopRef(stage, x.var.name) for x in site.loops]
        if not loops:
            return None
        if kind == "rfactor":
            return Step(kind, (loops[-1],), {"last": True} if self.rng.random() < 0.3 else {})
        return Step(kind, (stage, self.pick(loops)))

    def steps(self) -> list[Step]:
        """One step, or a few that belong together."""
        if not self.s.stages:
            return []
        stage = self.pick(self.s.stages)
        loops, other = self.loops(stage), self.any_loop()
        if not loops or other is None:
            return [Step("inline", (stage,))]
        if self.rng.random() < 0.25:
            return self.plan(self.pick(PLANS), stage, loops)
        kind = self.pick(KINDS)
        if kind in PLACEMENTS and self.rng.random() < 0.8:
            placed = self.placement(kind)
            return [] if placed is None else [placed]
        if kind in FOLDS and self.rng.random() < 0.8:
            placed = self.inside(kind)
            return [] if placed is None else [placed]
        return [self.step(kind, stage, loops, other)]

    def step(self, kind: str, stage: str, loops: list[LoopRef], other: LoopRef) -> Step:
        loop = self.pick(loops)
        number = int(self.rng.integers(1, 6))
        match kind:
            case "split":
                return Step(kind, (loop, number), {"tail": self.pick(("guard", "peel", "mask"))})
            case "fuse":
                at = int(self.rng.integers(len(loops)))
                return Step(kind, (loops[at - 1] if at else loop, loops[at]))
            case "partition":
                return Step(kind, (loop, self.pick((-3, -2, -1, 0, 1, 2, 3))))
            case "peel":
                return Step(kind, (loop, number, self.pick(("front", "back"))))
            case "fission":
                return Step(kind, (loop, self.pick((1, 2, *self.s.stages))))
            case "fuse_with":
                return Step(kind, (loop, other))
            case "reorder":
                return Step(kind, tuple(loops[d] for d in self.rng.permutation(len(loops))))
            case "inline":
                return Step(kind, (stage,))
            case "compute_at" | "reverse_compute_at" | "double_buffer":
                return Step(kind, (stage, other))
            case "cache_write":
                return self.cache_write(stage, loop)
            case "decompose_reduction" | "relax_guard":
                return Step(kind, (stage, loop))
            case "cache_read":
                return self.cache_read(other)
            case "set_scope":
                return Step(kind, (stage, self.pick(("local", "global", "shared"))))
            case "storage_align":
                return Step(kind, (stage, self.pick((0, 1)), number, self.pick((0, 1))))
            case "swizzle":
                return Step(kind, (stage, self.pick((0, 32, 64))))
            case "pipeline":
                return Step(kind, (other, self.pick((2, 3, 4))))
            case "bind":
                return Step(kind, (loop, self.pick(GRID_AXES)))
            case "annotate":
                return Step(kind, (loop, "hint", self.pick((1, True, "x", None))))
            case "specialize":
                return Step(kind, (loop, self.pick((24, 40, 41)), 232))
            case "pack":
                copy = self.cache_read(loop, pad=False)
                options = {k: v for k, v in copy.options.items() if k == "order"}
                if self.rng.random() < 0.3:
                    options["dtype"] = "float64"
                return Step(kind, (stage, copy.args[0]), options)
            case "tensorize":
                return Step(kind, (loop, self.pick(("fma.4", "dot4.int8"))))
            case _:
                return Step(kind, (loop,))

    def cache_write(self, stage: str, loop: LoopRef) -> Step:
        options: dict[str, Any] = {}
        if self.rng.random() < 0.3:
            options["panel"] = self.pick((1, 2, 3))
        if self.rng.random() < 0.3:
            options["order"] = self.order(stage)
        if self.rng.random() < 0.4:
            options["fold"] = True
        return Step("cache_write", (stage, loop), options)

    def cache_read(self, loop: LoopRef, pad: bool | None = None) -> Step:
        read = self.reads(loop.stage)
        name = self.pick(read) if read and self.rng.random() < 0.8 else self.buffer()
        options: dict[str, Any] = {}
        if pad or (pad is None and self.rng.random() < 0.4):
            options["pad"] = self.pick((0, 1))
        if self.rng.random() < 0.3:
            options["order"] = self.order(name)
        if self.rng.random() < 0.3:
            options["scope"] = "local"
        if self.rng.random() < 0.25:
            options["panel"] = self.pick((1, 2, 3, 4))
        return Step("cache_read", (name, loop), options)

    def order(self, name: str) -> tuple[int, ...]:
        """An order of a parameter's dimensions, or of two."""
        ranks = [p.buffer.ndim for p in self.s.program.params if p.buffer.name == name]
        return tuple(int(d) for d in self.rng.permutation(ranks[0] if ranks else 2))

    def plan(self, kind: str, stage: str, loops: list[LoopRef]) -> list[Step]:
        """Steps that are likely to be legal one after the other."""
        loop, size = self.pick(loops), int(self.rng.integers(2, 5))

        def part(of: LoopRef, which: str) -> LoopRef:
            return LoopRef(stage, f"{of.loop}.{which}")

        match kind:
            case "tile" if len(loops) > 1:
                i, j = loops[0], loops[1]
                order = (part(i, "outer"), part(j, "outer"), part(i, "inner"), part(j, "inner"))
                last = self.pick(("parallel", "unroll", "rfactor"))
                return [
                    *(Step("split", (i, size)), Step("split", (j, size)), Step("reorder", order)),
                    Step(last, (self.pick(order),)),
                ]
            case "pad":
                outer, local = part(loop, "outer"), f"{stage}.local"
                return [
                    Step("split", (loop, size)),
                    self.cache_read(outer, pad=True),
                    Step("cache_write", (stage, outer)),
                    Step("relax_guard", (local, LoopRef(local, f"{loop.loop}.inner"))),
                ]
            case "fold":
                return [
                    Step("split", (loop, size)),
                    Step("decompose_reduction", (stage, part(loop, "outer"))),
                    Step("cache_write", (stage, part(loop, "outer")), {"fold": True}),
                ]
            case "fetch ahead":
                read = self.cache_read(loop)
                slots = Step("double_buffer", (f"{read.args[0]}.local", loop))
                return [read, self.pick((slots, Step("pipeline", (loop, self.pick((2, 3))))))]
            case "lanes":
                tail = {"tail": self.pick(("guard", "peel", "mask"))}
                inner = part(loop, "inner")
                how = self.pick(("vectorize", "rfactor"))
                return [Step("split", (loop, size), tail), Step(how, (inner,))]
            case "intrinsic":
                return self.intrinsic()
            case _:
                return [Step(self.pick(PLAIN), (loop,))]

    def intrinsic(self) -> list[Step]:
        """A product of float32, split and turned until four of its lanes are an intrinsic."""
        for site in sites(self.s.program.body):
            leaf = site.leaf
            if not isinstance(leaf, Accumulate) or len(site.loops) < 2:
                continue
            if builtin_name(leaf.reducer) == "sum" and leaf.buffers[0].dtype == float32:
                stage = leaf.buffers[0].name
                j, k = (LoopRef(stage, x.var.name) for x in site.loops[-2:])
                inner = LoopRef(stage, f"{j.loop}.inner")
                return [
                    Step("split", (j, 4), {"tail": "peel"}),
                    Step("reorder", (k, inner)),
                    Step("tensorize", (inner, "fma.4")),
                ]
        return []


def scheduled_at_random(
    plain: Program, rng: np.random.Generator, count: int = 7, *, strict: bool = False
) -> Taken:
    """`plain` with up to `count` random steps, or short plans, tried on it.

    A refusal is a `ScheduleError`, and leaves the schedule as it was.
    """
    s = Schedule(plain, strict=strict)
    tried: list[Step] = []
    for _ in range(int(rng.integers(1, count + 1))):
        for step in Chooser(s, rng).steps():
            tried.append(step)
            try:
                take(s, step)
            except ScheduleError:
                pass
            except Exception as error:
                error.add_note("\n".join(map(str, tried)))
                raise InternalError(Taken(s, tuple(tried))) from error
    return Taken(s, tuple(tried))


class InternalError(Exception):
    """A step ended with something else than a `ScheduleError`."""

    def __init__(self, taken: Taken) -> None:
        """Keep what was tried: the step that failed is the last one."""
        super().__init__(str(taken.steps[-1]))
        self.taken = taken


def take(s: Schedule, step: Step) -> None:
    """Take one step by name. A refusal must leave the schedule as it was."""
    before, count = show(s.program), len(s.trace)
    try:
        s.replay(Trace((step,)))
    except ScheduleError:
        assert show(s.program) == before, f"{step} was refused, and changed the program"
        assert len(s.trace) == count, f"{step} was refused, and left a trace"
        raise
