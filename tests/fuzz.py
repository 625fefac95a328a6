"""Random programs under random schedules, against the plain programs: `make fuzz`.

Each pair is a number: the program, the steps and the data follow from it. What is accepted must
compute the same numbers in the interpreter, its parallel loops forwards and backwards, and as
machine code; what is refused must leave all as it was; nothing else may be raised.

    python tests/fuzz.py --pairs 20000 --seed 0
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from codegen.harness import Kernel
from schedule.programs_random import SIZES, random_arrays, random_program
from schedule.steps_random import InternalError, scheduled_at_random, take
from tensorc.errors import CheckFailed, ScheduleError
from tensorc.ir import interp
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.stmt import Allocate, For, ForKind
from tensorc.ir.verify import verify
from tensorc.ir.walk import replace_buffers, rewrite, same, walk_stmts
from tensorc.lower.pipeline import lower
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace
from tensorc.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schedule.programs_random import Arrays
    from tensorc.ir.stmt import Node, Program
    from tensorc.schedule.trace import Step

MAX_LISTED = 5
PATIENCE = 300  # Seconds; a pair takes a tenth of one.
MAX_LINES = 40


@dataclass(frozen=True)
class Case:
    """What a number stands for: a program, steps to try on it, sizes, and the seed of its data."""

    number: tuple[int, int]
    plain: Program
    steps: tuple[Step, ...]
    sizes: tuple[dict[str, int], ...]
    strict: bool

    def python(self) -> str:
        """The case as Python that runs by itself, refused steps left out."""
        taken = _accepted(self)
        lines = [f"s.{line}" if not line.startswith("s.") else line for line in map(str, taken)]
        return "\n".join(
            [
                "from tensorc.ir.parser import parse",
                "from tensorc.schedule.schedule import Schedule",
                f'plain = parse("""{show(self.plain).rstrip()}\n""")',
                f"s = Schedule(plain{', strict=True' if self.strict else ''})",
                *lines,
                "print(s)",
                f"s.check(sizes={self.sizes[0] or None})",
            ]
        )


@dataclass(frozen=True)
class Failure:
    """A case that went wrong, and how."""

    case: Case
    problem: str


def pair(seed: int, number: int, *, compiled: bool = True) -> Failure | None:
    """Try pair `number` of `seed`; None where all is well."""
    rng = np.random.default_rng((seed, number))
    plain = random_program(rng)
    verify(plain)
    strict = bool(rng.random() < 0.1)
    names = [d.name for d in plain.dims]
    sizes = tuple(
        {name: int(rng.choice(SIZES)) for name in names} for _ in range(2 if names else 1)
    )
    case = Case((seed, number), plain, (), sizes, strict)
    try:
        taken = scheduled_at_random(plain, rng, strict=strict)
    except InternalError as error:
        case = replace(case, steps=error.taken.steps)
        return Failure(case, "".join(traceback.format_exception(error.__cause__)))
    case = replace(case, steps=taken.steps)
    problem = compare(case, taken.schedule, compiled=compiled)
    return None if problem is None else Failure(case, problem)


def problem_of(case: Case, *, compiled: bool = True) -> str | None:
    """What goes wrong with a case, if anything does; refused steps are passed over."""
    s = Schedule(case.plain, strict=case.strict)
    for step in case.steps:
        try:
            take(s, step)
        except ScheduleError:
            continue
        except Exception:
            return traceback.format_exc()
    return compare(case, s, compiled=compiled)


def compare(case: Case, s: Schedule, *, compiled: bool = True) -> str | None:
    """How what a schedule computes differs from the plain program, or None."""
    try:
        verify(s.program)
        assert same(parse(show(s.program)), s.program), "its text does not parse back to it"
        if case.number[1] % 8 == 0:
            again = Schedule(case.plain, strict=case.strict)
            again.replay(Trace.from_json(s.trace.to_json()))
            assert show(again.program) == show(s.program), "its trace leads to another program"
        opt_level = 3 if case.number[1] % 8 == 1 else 0  # LLVM takes ten times as long for 3.
        kernel = kernel_of(s.program, opt_level) if compiled else None
        for sizes in case.sizes:
            rng = np.random.default_rng(case.number)
            arrays = random_arrays(case.plain, sizes, rng, whole=not case.strict)
            expected, failed = interpreted(case.plain, arrays)
            orders: tuple[Literal["forward", "reverse"], ...] = ("forward", "reverse")
            for order in orders if _is_concurrent(s.program) else orders[:1]:
                got, fails = interpreted(s.program, arrays, order)
                _same(f"interpreted {order} with {sizes}", expected, got, failed, fails)
            if kernel is not None:
                got = {name: array.copy() for name, array in arrays.items()}
                code, _ = kernel(got, threads=2)
                _same(f"compiled with {sizes}", expected, got, failed, code != 0)
    except Exception:
        return traceback.format_exc()
    return None


def interpreted(
    program: Program, arrays: Arrays, order: Literal["forward", "reverse"] = "forward"
) -> tuple[Arrays, bool]:
    """The arrays after a run, and whether a check ended it."""
    found = {name: array.copy() for name, array in arrays.items()}
    try:
        with np.errstate(all="ignore"):
            interp.run(program, found, order=order)
    except CheckFailed:
        return found, True
    return found, False


def kernel_of(program: Program, opt_level: int) -> Kernel:
    """Machine code for a program, in memory; grids become threads of a CPU."""
    target = Target()
    return Kernel(lower(for_a_cpu(program), target), target, opt_level)


def for_a_cpu(program: Program) -> Program:
    """The program with parallel loops for blocks, plain ones for their threads, which may fold."""

    def rule(node: Node) -> Node | None:
        if isinstance(node, For) and node.axis is not None:
            parallel = node.axis.startswith("block")
            kind = ForKind.PARALLEL if parallel else ForKind.SERIAL
            return replace(node, kind=kind, axis=None)
        return None

    shared = {
        s.buffer: replace(s.buffer, scope="global")
        for s in walk_stmts(program.body)
        if isinstance(s, Allocate) and s.buffer.scope == "shared"
    }
    return replace(program, body=rewrite(replace_buffers(program.body, shared), rule))


def _is_concurrent(program: Program) -> bool:
    kinds = (ForKind.PARALLEL, ForKind.BOUND)
    return any(isinstance(s, For) and s.kind in kinds for s in walk_stmts(program.body))


def _same(what: str, expected: Arrays, got: Arrays, failed: bool, fails: bool) -> None:
    assert failed == fails, f"{what}: a check fails in one of the two programs alone"
    for name, want in expected.items():
        np.testing.assert_array_equal(got[name], want, err_msg=f"{what}: {name}")


def _accepted(case: Case) -> list[Step]:
    s = Schedule(case.plain, strict=case.strict)
    found: list[Step] = []
    for step in case.steps:
        try:
            take(s, step)
        except ScheduleError:
            continue
        except Exception:
            return [*found, step]
        found.append(step)
    return found


def minimal(failure: Failure) -> Failure:
    """The failure with as few steps and sizes as still go wrong in the same kind of way."""
    kind = _kind(failure.problem)
    case = replace(failure.case, steps=tuple(_accepted(failure.case)))
    best = failure
    for sizes in case.sizes:
        smaller = replace(case, sizes=(sizes,))
        problem = problem_of(smaller)
        if problem is not None and _kind(problem) == kind:
            case, best = smaller, Failure(smaller, problem)
            break
    position = len(case.steps) - 1
    while position >= 0:
        fewer = replace(case, steps=case.steps[:position] + case.steps[position + 1 :])
        problem = problem_of(fewer)
        if problem is not None and _kind(problem) == kind:
            case, best = fewer, Failure(fewer, problem)
        position -= 1
    return best


def _kind(problem: str) -> str:
    """The exception's type."""
    lines = [x for x in problem.splitlines() if x and not x[0].isspace() and ":" in x]
    return lines[-1].split(":")[0] if lines else problem


def _short(problem: str) -> str:
    """The problem without the middle of a long listing."""
    lines = problem.rstrip().splitlines()
    half = MAX_LINES // 2
    return "\n".join(lines if len(lines) <= MAX_LINES else [*lines[:half], "...", *lines[-half:]])


def _numbered(number: int, seed: int) -> tuple[int, Failure | None]:
    return number, pair(seed, number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run pairs over all cores; 1 where one of them goes wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first pair")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args(arguments)
    print(f"{options.pairs} pairs of seed {options.seed}, {options.jobs} at a time", flush=True)
    start, failures = time.monotonic(), 0
    numbers = range(options.first, options.first + options.pairs)
    pending = dict.fromkeys(numbers)
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        results = pool.imap_unordered(partial(_numbered, seed=options.seed), numbers)
        while pending:
            try:
                number, failure = results.next(timeout=PATIENCE)
            except multiprocessing.TimeoutError:
                least = ", ".join(map(str, list(pending)[: options.jobs]))
                print(f"\nnone has ended for {PATIENCE} s: one of the pairs {least} hangs")
                return 1
            del pending[number]
            if failure is not None:
                failures += 1
                print(f"\npair {number} of seed {options.seed} goes wrong")
                if failures <= MAX_LISTED:
                    small = minimal(failure)
                    print(f"{_short(small.problem)}\n\n{small.case.python()}\n", flush=True)
            count = options.pairs - len(pending)
            if count % 500 == 0 or not pending:
                spent = time.monotonic() - start
                print(f"{count} pairs, {failures} failures, {spent:.0f} s", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
