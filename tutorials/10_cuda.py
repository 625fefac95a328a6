# %% [markdown]
# # A matrix product on a GPU: from a thread for each element to tensor cores
#
# A GPU runs blocks of threads. What makes a product fast on it is how often a number is used again
# after it was fetched: from global memory by a whole block, from shared memory by all multiply-adds
# of a thread. Here the same definition is scheduled again and again, each time with one more idea,
# and after each the CUDA source and the memory profile show what it brought.
#
# No GPU is needed: the emulator runs the very PTX that NVRTC makes of the source, on the CPU,
# counts each access to memory, and looks for races. It says nothing about time.
"""Take a matrix product from one thread an element to tiles, vectors and tensor cores."""

import sys

import ml_dtypes
import numpy as np

import tensorc as tc

N = int(sys.argv[1]) if len(sys.argv) > 1 else 64
TILE = 32  # rows and columns of a block's part of the result
DEPTH = 16  # steps of the sum for which operands are fetched at a time
FLOAT = 4  # bytes

A = tc.placeholder((N, N), name="A")
B = tc.placeholder((N, N), name="B")
r = tc.reduce_axis(N, name="k")
C = tc.compute((N, N), lambda i, j: tc.sum(A[i, r] * B[r, j], axis=r), name="C")

rng = np.random.default_rng(0)
a = rng.integers(-4, 5, (N, N)).astype(np.float32)
b = rng.integers(-4, 5, (N, N)).astype(np.float32)
exact = a @ b  # Small integers: every order of summing gives the same float32 numbers.


# %% [markdown]
# A profile counts transactions: 32-byte sectors of global memory, passes over shared memory. Beside
# them stands the fewest that would do for so many bytes; their ratio is 1.00 where neighbouring
# threads touch neighbouring addresses. What matters more is the sum: the bytes that leave a memory.
# %%
def measured(title: str, s: tc.Schedule, dtype=np.float32) -> tuple[int, int, float]:
    """Compile a schedule for the emulator, check its answer, print its source and its profile.

    Returns the sectors of global memory, the passes over shared memory, and the worst ratio.
    """
    f = tc.compile(s, target="cuda-emu")
    operands = a.astype(dtype), b.astype(dtype)
    assert np.array_equal(f(*operands), exact)
    report = f.check(*operands)
    assert report.ok, str(report)
    profile = f.profile_memory(*operands)
    sectors, passes = (
        sum(x.transactions for x in profile.accesses if x.space == space)
        for space in ("global", "shared")
    )
    print(f"\n=== {title} ===\n")
    print(f.inspect("cuda"))
    print(profile)
    print(f"\n{sectors} sectors of global memory, {passes} passes over shared memory")
    return sectors, passes, max(x.ratio for x in profile.accesses)


# %% [markdown]
# ## 1. A thread for each element
# The two loops over the result become blocks and threads; each thread runs the sum by itself. First
# with the threads of a warp down a column: they read and write addresses that are a row apart.
# %%
s = tc.Schedule([C], args=[A, B])
i, j = s.loops("C")[:2]
i_block, i_thread = s.split(i, TILE)
s.reorder(i_block, j, i_thread)
s.bind(i_thread, "thread.x")
s.bind(i_block, "block.x")
s.bind(j, "block.y")
columns, _, scattered = measured("a thread for each element, neighbours down a column", s)

# %% [markdown]
# Then along a row. That is one line of the schedule: which loop is the threads'.
# %%
s = tc.Schedule([C], args=[A, B])
i, j = s.loops("C")[:2]
j_block, j_thread = s.split(j, TILE)
s.bind(j_thread, "thread.x")
s.bind(j_block, "block.x")
s.bind(i, "block.y")
rows, _, together = measured("a thread for each element, neighbours along a row", s)
assert scattered >= 8, "each lane reads and writes a sector of its own"
assert together == 1.0, "a warp touches whole sectors"
assert rows * 4 < columns

# %% [markdown]
# A reduction is a race for threads, and the schedule says which two iterations meet. Only
# `thread.x` may fold: then the block's threads add up what each of them has, in a fixed order.
# %%
try:
    s.bind(s.loops("C")[-1], "block.z")
except tc.ScheduleError as refusal:
    print(f"\nrefused: {refusal}")
else:
    raise AssertionError("blocks that write one element at the same time are a race")

# %% [markdown]
# ## 2. Tiles in shared memory
# A block computes a tile of the result. For a few steps of the sum at a time it copies the parts of
# A and B that it needs to shared memory, all threads together, and every one of them is then read
# `TILE` times from there. Inside of a block the nests follow each other as phases; where one needs
# what other threads wrote in the one before, the compiler places a barrier, and nowhere else.
# %%


def blocked(fetch_lanes: int) -> tuple[tc.Schedule, tuple]:
    """The product by tiles, both operands in shared memory, the result's tile in registers."""
    s = tc.Schedule([C], args=[A, B])
    i, j, k = s.loops("C")
    i_block, j_block, i_tile, j_tile = s.tile(i, j, TILE, TILE)
    step, k_tile = s.split(k, DEPTH)
    s.reorder(step, i_tile, j_tile, k_tile)  # The initialisation gets a nest of its own.
    s.cache_write("C", j_block)
    a_tile = s.cache_read("A", step, scope="shared", order=(1, 0) if fetch_lanes > 1 else None)
    b_tile = s.cache_read("B", step, scope="shared")
    return s, (i_block, j_block, step, i_tile, j_tile, k_tile, a_tile, b_tile)


s, (i_block, j_block, step, i_tile, j_tile, k_tile, a_tile, b_tile) = blocked(1)
ROWS = 8  # of threads: each computes TILE / ROWS elements of a column
for copy in (a_tile, b_tile):
    s.cooperative_fetch(copy.name, TILE * ROWS)
nests = [
    (s["C.local"].loop("i.inner.init"), s["C.local"].loop("j.inner.init"), []),
    (i_tile, j_tile, [k_tile]),
    (s["C"].loop("C.out0"), s["C"].loop("C.out1"), []),
]
for row, column, inner in nests:
    part, thread = s.split(row, ROWS)
    s.reorder(thread, column, *inner, part)
    s.unroll(part)
    s.bind(thread, "thread.y")
    s.bind(column, "thread.x")
s.bind(j_block, "block.x")
s.bind(i_block, "block.y")
print(s)
tiled, passes, _ = measured("tiles in shared memory", s)
print(f"{rows / tiled:.1f} times fewer sectors of global memory than before")
assert tiled * 4 < rows

# %% [markdown]
# ## 3. Tiles in registers, and vectors
# Each thread now computes 4 x 4 elements, so that a number which it reads from shared memory serves
# four multiply-adds. The tile of A is stored transposed, its rows padded by four numbers: then a
# thread's four rows lie side by side and are one load of 16 bytes, and threads that store a column
# meet in few banks. Copies and the result move as vectors too.
# %%
s, (i_block, j_block, step, i_tile, j_tile, k_tile, a_tile, b_tile) = blocked(4)
REGS = 4
THREADS = (TILE // REGS) ** 2
s.storage_align(a_tile.name, 0, TILE, 4)
for copy in (a_tile, b_tile):
    s.cooperative_fetch(copy.name, THREADS, 4)
nests = [
    (s["C.local"].loop("i.inner.init"), s["C.local"].loop("j.inner.init"), []),
    (i_tile, j_tile, [k_tile]),
    (s["C"].loop("C.out0"), s["C"].loop("C.out1"), []),
]
for row, column, inner in nests:
    row_thread, row_part = s.split(row, REGS)
    column_thread, column_part = s.split(column, REGS)
    s.reorder(row_thread, column_thread, *inner, row_part, column_part)
    s.unroll(row_part)
    if inner:
        s.unroll(column_part)
    else:
        s.vectorize(column_part)
    s.bind(row_thread, "thread.y")
    s.bind(column_thread, "thread.x")
s.bind(j_block, "block.x")
s.bind(i_block, "block.y")
wide, fewer, _ = measured("tiles in registers, vectors of 16 bytes", s)
print(f"{passes / fewer:.1f} times fewer passes over shared memory than before")
assert wide <= tiled
assert fewer * 2 < passes

# %% [markdown]
# ## 4. Tensor cores
# With operands of 16 bits a warp can multiply 16 x 16 by 16 x 8 numbers in one instruction. Which
# lane then holds which element of the result is part of the instruction's meaning; `tensorize` puts
# it in place of three loops that mean the same, and the other nests divide the result among the
# lanes in the same way: lane t has rows t // 4 and 8 more, columns t % 4 * 2 and the next.
# %%
WARP_TILE = 32  # rows and columns of the result that a warp computes
WIDE = 2 * WARP_TILE  # of a block, which has 2 x 2 warps
A16, B16 = (tc.placeholder((N, N), dtype="bfloat16", name=name) for name in "AB")
product = tc.compute(
    (N, N),
    lambda i, j: tc.sum(tc.cast(A16[i, r], "float32") * tc.cast(B16[r, j], "float32"), axis=r),
    name="C",
)
s = tc.Schedule([product], args=[A16, B16])
i_block, j_block, i_tile, j_tile = s.tile(*s.loops("C")[:2], WIDE, WIDE)
step, k_tile = s.split(s.loops("C")[-1], 16)
s.reorder(step, i_tile, j_tile, k_tile)
s.cache_write("C", j_block)
for name in "AB":
    copy = s.cache_read(name, step, scope="shared")
    s.storage_align(copy.name, 0, 16, 8)  # Rows of a matrix that is loaded lie in other banks.
    s.cooperative_fetch(copy.name, 4 * 32, 8)


def by_warps(row, column) -> tuple:
    """The warps' loops, the tiles of a warp, and 16 rows and 8 columns."""
    row_warp, row = s.split(row, WARP_TILE)
    column_warp, column = s.split(column, WARP_TILE)
    return row_warp, column_warp, *s.split(row, 16), *s.split(column, 8)


for row, column, store in (
    (s["C.local"].loop("i.inner.init"), s["C.local"].loop("j.inner.init"), False),
    (s["C"].loop("C.out0"), s["C"].loop("C.out1"), True),
):
    row_warp, column_warp, row_part, row, column_part, column = by_warps(row, column)
    half, row = s.split(row, 8)
    column, pair = s.split(column, 2)
    s.reorder(row_warp, column_warp, row_part, column_part, row, column, half, pair)
    s.unroll(half)
    if store:
        s.vectorize(pair)
    else:
        s.unroll(pair)
    s.bind(s.fuse(row, column, name="lane"), "thread.x")
    s.bind(column_warp, "thread.y")
    s.bind(row_warp, "thread.z")
row_warp, column_warp, row_part, row, column_part, column = by_warps(i_tile, j_tile)
s.reorder(row_warp, column_warp, row_part, column_part, row, column, k_tile)
s.tensorize(row, "mma.m16n8k16.bf16")
s.bind(column_warp, "thread.y")
s.bind(row_warp, "thread.z")
s.bind(j_block, "block.x")
s.bind(i_block, "block.y")
narrow, fewest, _ = measured("tensor cores", s, ml_dtypes.bfloat16)
print(f"{fewer / fewest:.1f} times fewer passes over shared memory than before")
assert fewest * 4 < fewer
assert narrow < wide

# %% [markdown]
# ## 5. What the automatic schedule does
# It takes the same steps by rule, with tiles for the size and for the architecture; its trace
# prints as Python, to be edited. What is computed from the result element by element moves into the
# tile.
# %%
bias = tc.placeholder((N,), name="bias")
out = tc.ops.relu(C + bias)
f = tc.compile([out], inputs=[A, B, bias], target="cuda-emu")
c = rng.integers(-4, 5, N).astype(np.float32)
assert np.array_equal(f(a, b, c), np.maximum(exact + c, 0))
assert f.check(a, b, c).ok
print("\n=== the automatic schedule, with a bias and an activation ===\n")
print(f.inspect("trace"))
print(f.inspect("plan"))
assert f.inspect("cuda").count("__global__") == 1, "one kernel does it all"

# %% [markdown]
# ## 6. Hopper: warp groups, boxes, roles
# From sm_90 on, a copy engine moves whole boxes: one thread asks for them, and an mbarrier counts
# the bytes that arrive. sm_90a multiplies by warp groups of 128 threads, with operands that its
# tensor cores read from shared memory themselves, in rows whose chunks are swizzled. And warp
# groups may have roles: one copies ahead through a ring of slots, the others compute. In the
# schedule that is a `bulk_fetch` in place of each `cooperative_fetch`, another intrinsic,
# `pipeline` and `specialize`.
# Both operands have the sum along their rows here, so B is transposed.
# %%
STEP = 32  # of the sum at a time: rows of 64 bytes
T16 = tc.placeholder((N, N), dtype="bfloat16", name="T")
product = tc.compute(
    (N, N),
    lambda i, j: tc.sum(tc.cast(A16[i, r], "float32") * tc.cast(T16[j, r], "float32"), axis=r),
    name="C",
)
s = tc.Schedule([product], args=[A16, T16])
i_block, j_block, i_tile, j_tile = s.tile(*s.loops("C")[:2], WIDE, WIDE)
step, k_tile = s.split(s.loops("C")[-1], STEP)
s.reorder(step, i_tile, j_tile, k_tile)
s.cache_write("C", j_block)
for name in "AT":
    copy = s.cache_read(name, step, scope="shared")
    s.swizzle(copy.name, 2 * STEP)
    s.bulk_fetch(copy.name)
part, k_tile = s.split(k_tile, 16)
s.reorder(part, i_tile, j_tile, k_tile)
s.tensorize(i_tile, "wgmma.m64n64k16.bf16")
for row, column, store in (
    (s["C.local"].loop("i.inner.init"), s["C.local"].loop("j.inner.init"), False),
    (s["C"].loop("C.out0"), s["C"].loop("C.out1"), True),
):
    warp, row = s.split(row, 16)  # Warp w has rows 16w to 16w + 15, its lanes as before.
    half, row = s.split(row, 8)
    eight, column = s.split(column, 8)
    column, pair = s.split(column, 2)
    s.reorder(warp, row, column, half, eight, pair)
    s.bind(s.fuse(s.fuse(warp, row), column, name="lane"), "thread.x")
    for loop in (half, eight) if store else (half, eight, pair):
        s.unroll(loop)
    if store:
        s.vectorize(pair)
s.pipeline(step, 2)
s.specialize(step)
s.bind(j_block, "block.x")
s.bind(i_block, "block.y")
f = tc.compile(s, target=tc.Target("cuda-emu", arch="sm_90a"))
operands = a.astype(ml_dtypes.bfloat16), np.ascontiguousarray(b.T).astype(ml_dtypes.bfloat16)
assert np.array_equal(f(*operands), exact)
assert f.check(*operands).ok
print("\n=== warp groups, boxes and roles ===\n")
print(f.inspect("cuda"))
print(f.inspect("barriers"))

# %% [markdown]
# What each wait and each arrival is for stands in the last print. The emulator found no race and no
# wait for nothing; drop any of them, and it does.

# %% [markdown]
# `tc.compile(s, target="cuda")` runs the same kernels on a GPU; `tc.Target("cuda", arch="sm_90")`
# compiles for one that is not here.
