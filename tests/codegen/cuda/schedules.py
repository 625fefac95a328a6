"""A product on tensor cores as steps of a schedule, from its definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorc as tc

if TYPE_CHECKING:
    from tensorc.schedule.handles import Loop
    from tensorc.schedule.schedule import Schedule


def tensor_core_schedule(n: int = 128, stages: int = 1, *, swizzled: bool = False) -> Schedule:
    """Tiles of 64x64 results by four warps of 32x32; operands fetched `stages - 1` steps ahead.

    Rows of the operands' tiles, 32 and 128 bytes, are padded or swizzled.
    """
    a, b = (tc.placeholder((n, n), "bfloat16", name=name) for name in "AB")
    r = tc.reduce_axis(n, name="k")

    def product(i: tc.Expr, j: tc.Expr) -> tc.Expr:
        return tc.sum(a[i, r].astype("float32") * b[r, j].astype("float32"), axis=r)

    s = tc.Schedule([tc.compute((n, n), product, name="C")], args=[a, b])
    i, j, k = s.loops("C")
    i_block, j_block, i_tile, j_tile = s.tile(i, j, 64, 64)
    step, k_tile = s.split(k, 16)
    s.reorder(step, i_tile, j_tile, k_tile)
    s.cache_write("C", j_block)
    fetched = [s.cache_read(name, step, scope="shared").name for name in "AB"]
    for name, width in zip(fetched, (32, 128), strict=True):
        if swizzled:
            s.swizzle(name, width)
        else:
            s.storage_align(name, 0, 16, 8)  # Rows start in different banks, on 16 bytes.
        s.cooperative_fetch(name, 128, 8)
        s.annotate(s.loops(name)[-1], "async", True)

    def warps(row: Loop, column: Loop, *inner: Loop) -> tuple[Loop, Loop]:
        """Give 32x32 elements to each warp, in tiles of 16x8."""
        warp_row, row = s.split(row, 32)
        warp_column, column = s.split(column, 32)
        row_tile, row = s.split(row, 16)
        column_tile, column = s.split(column, 8)
        s.reorder(warp_row, warp_column, row_tile, column_tile, row, column, *inner)
        s.bind(warp_row, "thread.z")
        s.bind(warp_column, "thread.y")
        return row, column

    row, _ = warps(i_tile, j_tile, k_tile)
    s.tensorize(row, "mma.m16n8k16.bf16")
    for stage, names in (
        ("C.local", ("i.inner.init", "j.inner.init")),
        ("C", ("C.out0", "C.out1")),
    ):
        row, column = warps(*(s[stage].loop(x) for x in names))
        half, row = s.split(row, 8)
        four, pair = s.split(column, 2)
        s.reorder(row, four, half, pair)
        s.bind(s.fuse(row, four), "thread.x")
        s.unroll(half)
        s.vectorize(pair)
    if stages > 1:
        s.pipeline(step, stages)
    s.bind(i_block, "block.y")
    s.bind(j_block, "block.x")
    return s
