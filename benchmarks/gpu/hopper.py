"""A product for sm_90a as steps of a schedule: warp groups, boxes, roles.

Each block has a tile of the result, 64 rows of it for each of its warp groups, whose accumulators
are in registers. Tiles of both operands, 64 steps of the sum deep, go through a ring of slots in
shared memory, in the pattern that the tensor cores read. A warp group of its own copies them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorc as tc

if TYPE_CHECKING:
    from tensorc.schedule.handles import Loop

ARCH = "sm_90a"
ROWS = 64  # Of the result, for each warp group.
DEPTH = 64  # Steps of the sum: rows of 128 bytes, the widest pattern.
GROUP = 8  # Rows of blocks that run together, and share columns of B in the cache.


def product_schedule(
    a: tc.Tensor,
    b: tc.Tensor,
    *,
    columns: int = 256,
    groups: int = 2,
    stages: int = 4,
    roles: bool = True,
) -> tc.Schedule:
    """A B^T of (m, k) and (n, k) in bfloat16 or float16, summed in float32.

    `64 * groups` divides m, `columns` n, and 64 k, which is at least `64 * stages`.

    Args:
        a: the first operand.
        b: the second, its rows along the sum too.
        columns: of a tile, and of the instruction.
        groups: warp groups of a block.
        stages: slots of the ring; 1 is none.
        roles: whether a warp group of its own copies.
    """
    (m, k), (n, _) = a.shape, b.shape
    r = tc.reduce_axis(k, name="k")

    def product(i: tc.Expr, j: tc.Expr) -> tc.Expr:
        return tc.sum(tc.cast(a[i, r], "float32") * tc.cast(b[j, r], "float32"), axis=r)

    summed = tc.compute((m, n), product, name="P")
    result = tc.compute((m, n), lambda i, j: tc.cast(summed[i, j], a.dtype), name="C")
    s = tc.Schedule([result], args=[a, b])
    i, j = s.loops("C")
    i_block, j_block, i_tile, j_tile = s.tile(i, j, ROWS * groups, columns)
    s.compute_at("P", j_block)
    s.set_scope("P", "local")
    rows, wide, depth = s.loops("P")[-3:]
    step, depth = s.split(depth, DEPTH)
    s.reorder(step, rows, wide, depth)  # The initialisation gets a nest of its own.
    _by_lanes(s, s["P"].loop("i.init"), s["P"].loop("j.init"))
    _by_lanes(s, i_tile, j_tile)
    for name in (a.name, b.name):
        copy = s.cache_read(name, step, scope="shared").name
        s.swizzle(copy, 2 * DEPTH)
        s.bulk_fetch(copy)
    group, rows = s.split(rows, ROWS)
    part, depth = s.split(depth, 16)
    s.reorder(part, group, rows, wide, depth)
    kind = "bf16" if a.dtype.name == "bfloat16" else "f16"
    s.tensorize(rows, f"wgmma.m64n{columns}k16.{kind}")
    s.bind(group, "thread.y")
    if stages > 1:
        s.pipeline(step, stages)
    if roles:
        s.specialize(step)
    s.bind(s.rasterize(i_block, j_block, GROUP), "block.x")
    return s


def _by_lanes(s: tc.Schedule, rows: Loop, columns: Loop) -> None:
    """Give the elements of a tile to warp groups and lanes as the instruction does."""
    group, rows = s.split(rows, ROWS)
    warp, rows = s.split(rows, 16)
    half, rows = s.split(rows, 8)
    eight, columns = s.split(columns, 8)
    four, pair = s.split(columns, 2)
    s.reorder(group, warp, rows, four, half, eight, pair)
    s.bind(s.fuse(s.fuse(warp, rows), four, name="lane"), "thread.x")
    s.bind(group, "thread.y")
    s.unroll(half)
    s.unroll(eight)
    s.vectorize(pair)
