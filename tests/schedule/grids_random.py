"""Random schedules bound to blocks and threads, by seed, and many programs as one.

The programs are those of `programs_random`, without checks: a failed one ends all that follows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from schedule.programs_random import random_program
from schedule.steps_random import Chooser
from tensorc.ir.expr import Dim
from tensorc.ir.facts import nests
from tensorc.ir.stmt import Accumulate, Allocate, Check, For, ForKind, Param, Program, block
from tensorc.ir.walk import replace_buffers, substitute, walk_stmts, written_buffers
from tensorc.schedule.auto import auto_schedule
from tensorc.schedule.auto.cuda.grid import bind_all, is_bound
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.handles import Loop
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace
from tensorc.schedule.tree import find_buffer, find_loop, loops_on, path_to, sites
from tensorc.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import numpy as np

    from tensorc.ir.expr import Buffer, Expr, Var
    from tensorc.ir.stmt import Stmt

SCOPES = ("shared", "shared", "local")
SMS = (1, 4, 108)


def random_plain(rng: np.random.Generator) -> Program:
    """A random program without checks."""
    while True:
        program = random_program(rng)
        if not any(isinstance(s, Check) for s in walk_stmts(program.body)):
            return program


class Grids:
    """Puts a program on a grid by random steps; those that are refused are passed over."""

    def __init__(self, plain: Program, rng: np.random.Generator) -> None:
        self.s = Schedule(plain)
        self.rng = rng

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def run(self) -> Schedule:
        """Some steps of any kind, then a plan for each nest."""
        for _ in range(int(self.rng.integers(0, 4))):
            steps = [x for x in Chooser(self.s, self.rng).steps() if x.primitive != "parallel"]
            for step in steps:
                self.attempt(partial(self.s.replay, Trace((step,))))
        plans: tuple[Callable[[For], None], ...] = (self.flat, self.rows, self.cached, self.folded)
        for nest in list(nests(self.s.program.body)):
            if isinstance(nest, For) and self.stands(nest):
                self.attempt(partial(self.pick(plans), nest))
        bind_all(self.s, Target("cuda", sms=self.pick(SMS)))
        self.place()
        return self.s

    def attempt(self, steps: Callable[[], object]) -> bool:
        return attempt(self.s, steps)

    def stands(self, nest: For) -> bool:
        return any(x is nest for x in nests(self.s.program.body)) and not is_bound(nest)

    def loop(self, x: For) -> Loop:
        return Loop(self.s, written_buffers(sites(x)[-1].leaf)[-1].name, x.var)

    # --- plans -----------------------------------------------------------------------------------

    def flat(self, nest: For) -> None:
        """Blocks and threads of the outer loop."""
        blocks, threads = self.s.split(self.loop(nest), self.pick((2, 3, 4)))
        self.s.bind(threads, "thread.x")
        self.s.bind(blocks, "block.x")

    def rows(self, nest: For) -> None:
        """A block for each outer iteration, threads for what is inside."""
        outer = self.loop(nest)
        self.inside(outer)
        self.s.bind(outer, "block.x")

    def cached(self, nest: For) -> None:
        """As `rows`, with copies of what is read or written in a block's or its threads' memory."""
        outer = self.loop(nest)
        stage = self.pick([b.name for x in sites(nest) for b in written_buffers(x.leaf)])
        if self.chance(0.5):
            self.attempt(partial(self.s.cache_write, stage, outer, scope=self.pick(SCOPES)))
        for name in Chooser(self.s, self.rng).reads(stage)[:2]:
            self.attempt(partial(self.copied, name, outer))
        self.inside(outer)
        self.s.bind(outer, "block.x")

    def copied(self, name: str, outer: Loop) -> None:
        pad = self.pick((None, None, 0))
        stage = self.s.cache_read(name, outer, scope=self.pick(SCOPES), pad=pad)
        if self.chance(0.6):
            threads, lanes = self.pick((2, 4, 8, 40)), self.pick((1, 1, 2))
            self.attempt(partial(self.s.cooperative_fetch, stage.name, threads, lanes))

    def folded(self, nest: For) -> None:
        """The threads of a block share the last reduced loop."""
        found = [x for x in sites(nest) if isinstance(x.leaf, Accumulate)]
        site = self.pick(found) if found else None
        if site is None:
            return
        stage = written_buffers(site.leaf)[0].name
        last = Loop(self.s, stage, site.loops[-1].var)
        if self.chance(0.7):
            before, last = self.s.split(last, self.pick((2, 4, 32)))
            self.s.reorder(last, before)
        self.s.bind(last, "thread.x")
        if len(site.loops) > 1:
            self.attempt(partial(self.s.bind, Loop(self.s, stage, site.loops[0].var), "block.x"))

    def inside(self, outer: Loop) -> None:
        """Threads for the nests inside of a loop."""
        found = find_loop(self.s.program, outer.var)
        assert found is not None, "the loop stands in the program"
        for nest in list(nests(found.body)):
            plain = [x for x in walk_stmts(nest) if isinstance(x, For)]
            plain = [x for x in plain if x.kind is ForKind.SERIAL]
            if not plain or is_bound(nest):
                continue
            for axis in self.pick((("thread.x",), ("thread.x",), ("thread.y", "thread.x"))):
                self.attempt(partial(self.threads, self.pick(plain), axis))

    def threads(self, x: For, axis: str) -> None:
        loop = self.loop(x)
        if self.chance(0.5):
            loop = self.s.split(loop, self.pick((2, 4)))[self.pick((0, 1, 1))]
        self.s.bind(loop, axis)

    def place(self) -> None:
        """Kernels have no global memory of their own; a thread has nothing that others share."""
        for site in sites(self.s.program.body):
            bound = [x.axis for x in site.loops if x.axis is not None]
            for name in sorted(b.name for b in site.private) if bound else ():
                buffer = find_buffer(self.s.program, name)
                assert buffer is not None, "what is allocated stands in the program"
                path = path_to(self.s.program.body, buffer)
                assert path is not None, "what is allocated stands in the program"
                axes = [x.axis for x in loops_on(path) if x.axis is not None]
                scope = "local" if any(a.startswith("thread") for a in axes) else self.pick(SCOPES)
                if buffer.scope != scope and (buffer.scope == "global" or scope == "local"):
                    self.attempt(partial(self.s.set_scope, buffer.name, scope))


def shared_at_last(s: Schedule) -> None:
    """Share what each thread was to keep a part of: where nobody can tell whose the parts are."""
    for name in [x.buffer.name for x in walk_stmts(s.program.body) if isinstance(x, Allocate)]:
        buffer = find_buffer(s.program, name)
        assert buffer is not None, "what is allocated stands in the program"
        path = path_to(s.program.body, buffer)
        assert path is not None, "what is allocated stands in the program"
        axes = [x.axis for x in loops_on(path) if x.axis is not None]
        if buffer.scope == "local" and not any(a.startswith("thread") for a in axes):
            attempt(s, partial(s.set_scope, name, "shared"))


def on_a_grid(plain: Program, rng: np.random.Generator) -> Schedule:
    """`plain` under a random schedule for a GPU, now and then the automatic one."""
    if rng.random() < 0.3:
        return auto_schedule(plain, Target("cuda", sms=int(rng.choice(SMS))))
    return Grids(plain, rng).run()


# --- many programs as one -------------------------------------------------------------------------


@dataclass(frozen=True)
class Together:
    """Programs one after the other, and what the buffers of each are called."""

    program: Program
    prefixes: tuple[str, ...]


def together(programs: Sequence[Program]) -> Together:
    """One program of many: buffers and sizes of the first are called p0_A, p0_n..."""
    params: list[Param] = []
    dims: list[Dim] = []
    bodies: list[Stmt] = []
    prefixes = tuple(f"p{d}_" for d in range(len(programs)))
    for prefix, program in zip(prefixes, programs, strict=True):
        sizes: dict[Var, Expr] = {d: Dim(f"{prefix}{d.name}", lower=d.lower) for d in program.dims}
        dims += [d for d in sizes.values() if isinstance(d, Dim)]
        made = [s.buffer for s in walk_stmts(program.body) if isinstance(s, Allocate)]
        new: dict[Buffer, Buffer] = {
            b: replace(
                b, name=f"{prefix}{b.name}", shape=tuple(substitute(n, sizes) for n in b.shape)
            )
            for b in (*(p.buffer for p in program.params), *made)
        }
        params += [Param(new[p.buffer], p.role) for p in program.params]
        bodies.append(substitute(replace_buffers(program.body, new), sizes))
    return Together(Program("main", tuple(params), tuple(dims), block(bodies)), prefixes)
