"""Which passes over rows ask for the rows that come next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import tensorc as tc
from tensorc.ir.stmt import For, ForKind
from tensorc.ir.walk import walk_stmts
from tensorc.schedule.auto import auto_schedule
from tensorc.target import Target
from tensorc.te.build import build

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor

AVX2 = Target(cpu="haswell", features="+avx2,+avx,+fma", triple="x86_64-unknown-linux-gnu")


def hints(*results: Tensor) -> list[tuple[str, int]]:
    """The loops with the hint, by name, and the bytes."""
    body = auto_schedule(build(list(results)), AVX2).program.body
    loops = [x for x in walk_stmts(body) if isinstance(x, For) and x.kind is ForKind.SERIAL]
    found = [(x.var.name, dict(x.annotations).get("prefetch")) for x in loops]
    return [(name, ahead) for name, ahead in found if isinstance(ahead, int)]


@pytest.mark.parametrize(
    ("rows", "columns", "ahead"),
    [(4096, 1000, 4000), (4096, 384, 3072), (512, 3000, 12000)],
    ids=["a row", "two rows", "a row of three pages"],
)
def test_the_last_pass_asks_for_a_row_at_least_half_a_page_on(
    rows: int, columns: int, ahead: int
) -> None:
    x = tc.placeholder((rows, columns), name="x")
    assert hints(tc.ops.softmax(x)) == [("i1.outer", ahead)]


@pytest.mark.parametrize(
    "shape", [(64, 1000), (4096, 5000), (40000, 32)], ids=["near", "long", "short"]
)
def test_rows_that_are_near_or_too_long_or_too_short_are_not_asked_for(
    shape: tuple[int, int],
) -> None:
    assert hints(tc.ops.softmax(tc.placeholder(shape, name="x"))) == []


def test_what_is_read_once_is_not_asked_for() -> None:
    x = tc.placeholder((4096, 1000), name="x")
    assert hints(tc.ops.sum(x, axis=1)) == hints(tc.ops.exp(x)) == []


def test_each_array_that_is_read_again_is_asked_for() -> None:
    x, y = (tc.placeholder((4096, 1024), name=name) for name in "xy")
    rows = x - tc.ops.sum(x * y, axis=1, keepdims=True) * y
    assert [ahead for _, ahead in hints(rows)] == [4096]
