# %% [markdown]
# # Scheduling a matrix product: from three loops to nine tenths of the machine
#
# The definition of a product says what each element is. The order in which a machine should do the
# work is another matter, and here it is written by hand: ten steps, each a call that rewrites the
# loops, proves that it changes nothing, and prints. After each, the kernel is compiled, its answer
# checked, and its speed set against what the processor's multiply-add units can do at most.
#
# `python tutorials/02_schedule_gemm.py 512` runs it at another size.
"""Take a matrix product from its plain loops to a packed, register-blocked, parallel kernel."""

import sys
import time

import numpy as np

import tensorc as tc

N = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
TARGET = tc.Target()
LANES = TARGET.vector_bytes // 4  # float32 numbers in one vector register
ROWS, VECTORS = (12, 2) if TARGET.vector_registers >= 32 else (6, 2)
COLUMNS = VECTORS * LANES  # of a tile of the result
BLOCK = 4 * COLUMNS  # columns that one thread works on at a time
LINE = 64 // 4  # float32 numbers in a line of the cache
BUDGET = 0.5  # seconds of measuring at each step


def seconds(run) -> float:
    """The median time of a run that has run before, over as many as fit the budget."""
    samples = []
    while not samples or (sum(samples) < BUDGET and len(samples) < 50):
        start = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start)
    return sorted(samples)[len(samples) // 2]


# %% [markdown]
# ## What the machine can do
# Twelve running sums, each a register full, and nothing else: no memory, only multiply-adds. A loop
# program can be written as text as well; this one is the ceiling for all that follows.
# %%
STEPS = 100_000
ceiling = tc.parse(f"""program ceiling(A: in float32[2, {LANES}], C: out float32[12, {LANES}]):
  alloc sums: float32[12, {LANES}] local
    for i in unrolled(12):
      for l in vectorized({LANES}):
        sums[i, l] = 0.0
    for step in range({STEPS}):
      for i_1 in unrolled(12):
        for l_1 in vectorized({LANES}):
          sums[i_1, l_1] += A[0, l_1] * A[1, l_1]
    for i_2 in unrolled(12):
      for l_2 in vectorized({LANES}):
        C[i_2, l_2] = sums[i_2, l_2]
""")
burn = tc.compile(ceiling, threads=1).bind(np.full((2, LANES), 0.5, np.float32))
burn()
PEAK = 2 * 12 * LANES * STEPS / seconds(burn) / 1e9
print(f"one core multiplies and adds at most {PEAK:.0f} GFLOP/s in float32")

# %% [markdown]
# ## The definition, and its plain loops
# %%
A = tc.placeholder((N, N), name="A")
B = tc.placeholder((N, N), name="B")
r = tc.reduce_axis(N, name="k")
C = tc.compute((N, N), lambda i, j: tc.sum(A[i, r] * B[r, j], axis=r), name="C")

rng = np.random.default_rng(0)
a = rng.integers(-4, 5, (N, N)).astype(np.float32)
b = rng.integers(-4, 5, (N, N)).astype(np.float32)
exact = a @ b  # Small integers: every order of summing gives the same float32 numbers.

s = tc.Schedule([C], args=[A, B])
speeds: dict[str, float] = {}
taken = 0.0  # seconds spent in schedule steps


def measure(what: str, threads: int = 1) -> None:
    """Compile the schedule as it stands, check its answer, time it, and print all three."""
    kernel = tc.compile(s, threads=threads)
    out = np.empty((N, N), np.float32)
    run = kernel.bind(a, b, out=out)
    run()
    assert np.array_equal(out, exact), what
    speeds[what] = 2 * N**3 / seconds(run) / 1e9
    print(f"\n{'=' * 80}\n{what}: {speeds[what]:.1f} GFLOP/s, {speeds[what] / PEAK:.0%} of a core")
    print(f"{'=' * 80}\n{s}")


measure("0. three loops, as defined")

# %% [markdown]
# ## 1 to 3. Cut the result in tiles
# A tile of the result, 6 rows of 16 numbers with 256-bit registers, is what fits the register file
# beside its operands. Four tiles side by side make a block of columns: what a block reads of B is
# small enough to stay in the second-level cache while all rows of A pass by, and a row of A, once
# fetched, serves four tiles. `split` cuts a loop in two, `reorder` puts loops in order; the guards
# that appear keep the ragged last tile inside. The lanes of a vector are the innermost loop.
# %%
start = time.perf_counter()
i, j, k = s.loops("C")
i_tile, row = s.split(i, ROWS, names=("i_tile", "row"))
j_block, rest = s.split(j, BLOCK, names=("j_block", "rest"))
j_tile, column = s.split(rest, COLUMNS, names=("j_tile", "column"))
vector, lane = s.split(column, LANES, names=("vector", "lane"))
s.reorder(j_block, i_tile, j_tile, row, vector, lane)
taken += time.perf_counter() - start
measure("1-3. loops over tiles")

# %% [markdown]
# ## 4. The sum outside of the tile
# Each number of the tile had its own sum over k. Moving k outside of the tile makes one step of k
# update all of it, from 6 numbers of A and 16 of B. The initialisation moves out by itself. Float
# sums may be done in another order, but not at all in a wrong one: try `s.parallel(k)`.
# %%
start = time.perf_counter()
s.reorder(k, row, vector, lane)
try:
    s.parallel(k)
except tc.ScheduleError as error:
    print(f"\nrefused: {error}")
taken += time.perf_counter() - start
measure("4. the sum outside of the tile")

# %% [markdown]
# ## 5. Keep the tile in registers
# `cache_write` gives what one iteration writes storage of its own: here the tile, which is written
# back once, when the sum is complete.
# %%
start = time.perf_counter()
s.cache_write("C", j_tile)
taken += time.perf_counter() - start
measure("5. the tile has its own storage")

# %% [markdown]
# ## 6 and 7. Lanes, and straight code
# The innermost loop runs as vector lanes, the loops over rows and registers are written out. Only
# now can the compiler see that the tile is 12 registers, and it keeps them there.
# %%
start = time.perf_counter()
for stage, names in (
    ("C.local", ("lane.init", "vector.init", "row.init")),
    ("C.local", ("lane", "vector", "row")),
):
    lanes, registers, rows = (s[stage].loop(name) for name in names)
    s.vectorize(lanes)
    s.unroll(registers)
    s.unroll(rows)
registers, lanes = s.split(s["C"].loop("C.out1"), LANES, names=("out_vector", "out_lane"))
s.vectorize(lanes)
s.unroll(registers)
s.unroll(s["C"].loop("C.out0"))
taken += time.perf_counter() - start
measure("6-7. lanes and straight code")

# %% [markdown]
# ## 8 and 9. Pack the block of B
# Each step of k reads 16 neighbours of B, then jumps a whole row ahead: to another page, whose
# address must be translated, and at a power of two to the same few sets of the cache, where lines
# drive each other out. `cache_read` copies the block that all rows of tiles share to storage of its
# own; `storage_align` pads its rows to an odd number of cache lines, which spreads them over all
# sets.
# %%
start = time.perf_counter()
packed = s.cache_read("B", j_block)
s.vectorize(packed.loop("B.in1"), LANES)
s.storage_align(packed.name, 0, 2 * LINE, LINE)
taken += time.perf_counter() - start
measure("8-9. B packed in blocks")

# %% [markdown]
# ## 10. All cores
# %%
start = time.perf_counter()
s.parallel(j_block)
taken += time.perf_counter() - start
threads = TARGET.resolved().threads
measure("10. on all cores", threads)

# %% [markdown]
# ## What came of it
# The steps are a trace: Python that takes them again, on another size if you like.
# %%
print(f"\nthe trace, {len(s.trace)} steps, took {taken:.2f} s:\n{s.trace}\n")
for what, speed in speeds.items():
    print(f"{what:36} {speed:8.1f} GFLOP/s")

other = tc.Schedule(
    tc.compute((50, 70), lambda i, j: tc.sum(A[i, r] * B[r, j], axis=r), name="C"), args=[A, B]
)
other.replay(s.trace)
assert np.array_equal(tc.compile(other)(a, b), exact[:50, :70])
print("\nthe same trace gives the same numbers on 50 x 70")
assert taken < 1.0, f"ten steps took {taken:.2f} s"
assert speeds["8-9. B packed in blocks"] > 5 * speeds["0. three loops, as defined"]
