"""Loops that were cut, joined and fused, as machine code against the interpreter."""

from __future__ import annotations

from typing import Any

import pytest

from codegen.programs import check
from schedule.nests import matmul, scale
from schedule.test_consumer import SYMBOLIC, epilogue, tiled
from tensorc.schedule.schedule import Schedule


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize(("m", "n"), [(8, 16), (7, 19), (1, 1)])
def test_an_epilogue_runs_inside_register_tiles(m: int, n: int, symbolic: bool) -> None:
    s, (io, jo) = tiled(SYMBOLIC if symbolic else epilogue(m, n), 4, 8)
    s.reverse_compute_at("D", jo)
    for name in ("i.inner", "i.inner.init"):
        if any(x.name == name for x in s["C"].loops):
            s.unroll(s["C"].loop(name))
    s.vectorize(s["C"].loops[-1])
    s.unroll(s["D"].loop("x"))
    s.vectorize(s["D"].loop("y"))
    s.parallel(io)
    sizes: dict[str, Any] = {"m": m, "n": n, "p": 3} if symbolic else {}
    check(s.program, threads=2, **sizes)


@pytest.mark.parametrize("tail", ["guard", "peel", "mask"])
@pytest.mark.parametrize("n", [0, 3, 8, 21])
def test_every_tail_runs_in_vectors(tail: str, n: int) -> None:
    s = Schedule(scale("n"))
    outer, inner = s.split(s["B"].loop("i"), 8, tail=tail)
    s.vectorize(inner)
    s.parallel(outer)
    check(s.program, threads=2, n=n)


def test_fused_and_peeled_loops_run() -> None:
    s = Schedule(matmul(9, 5, 7))
    i, j, k = s.loops("C")
    s.peel(k, 2)
    s.peel(i, 2, side="back")
    s.parallel(s.fuse(i, j))
    check(s.program, threads=2)
