# %% [markdown]
# # A first kernel: from an index expression to machine code
#
# A compiler for tensors takes what you mean, "this element is the sum of those products", and
# decides how a machine should do it. This page follows one small definition through every stage of
# tensorc, and prints each. Run it whole, or cell by cell in an editor that knows `# %%`.
"""Follow one definition from an index expression through its gradient to machine code."""

import tempfile
import timeit
from pathlib import Path

import numpy as np

import tensorc as tc
import tensorc_runtime
from tensorc.driver import CompiledFunction


def title(text: str) -> None:
    print(f"\n{'=' * 80}\n{text}\n{'=' * 80}")


# %% [markdown]
# ## 1. Say what, by index
# A tensor is a function of its indices. `A` and `B` are inputs; `C[i, j]` is a sum over `k`, a
# matrix product; `D` keeps what is positive. Nothing is computed yet, and nothing says in which
# order anything will run.
# %%
title("1. index expressions")
M, K, N = 144, 160, 192
A = tc.placeholder((M, K), name="A")
B = tc.placeholder((K, N), name="B")
k = tc.reduce_axis(K, name="k")
C = tc.compute((M, N), lambda i, j: tc.sum(A[i, k] * B[k, j], axis=k), name="C")
D = tc.compute((M, N), lambda i, j: tc.maximum(C[i, j], 0.0), name="D")
for tensor in (A, B, C, D):
    print(tensor)
print("C[i, j] =", C.body)
print("D[i, j] =", D.body)

# %% [markdown]
# Each access is proved to stay within its tensor when it is written. One that does not is refused,
# with the index that leaves.
# %%
try:
    tc.compute((M, N), lambda i, j: A[i, j + 1], name="bad")
except tc.BoundsError as refusal:
    print("\nrefused:", refusal)
else:
    raise AssertionError("an access out of bounds was not refused")

# %% [markdown]
# ## 2. Run it
# `tc.compile` makes a function of NumPy arrays. The compiler chose the loops by itself; the rest of
# this page does that by hand.
# %%
title("2. compiled and called")
rng = np.random.default_rng(0)
a = rng.normal(size=(M, K)).astype(np.float32)
b = rng.normal(size=(K, N)).astype(np.float32)
exact = np.maximum(a.astype(np.float64) @ b, 0)
# A sum of K products, in whatever order, is within K u / (1 - K u) of the sum of their sizes.
bound = K * 2.0**-24 / (1 - K * 2.0**-24) * (np.abs(a).astype(np.float64) @ np.abs(b))
f = tc.compile([D], inputs=[A, B])
out = f(a, b)
assert np.all(np.abs(out - exact) <= bound)
print(out[:2, :4], "as NumPy says, within the bound on rounding")

# %% [markdown]
# ## 3. Its gradient
# The gradient of a definition is a definition too: another index expression, which can be printed,
# compiled, scheduled, and differentiated again. Here the loss is the mean of D squared.
# %%
title("3. the gradient by A")
loss = tc.ops.mean(D * D)
(grad_a,) = tc.grad(loss, [A])
print(tc.Schedule([grad_a], args=[A, B]))
gradient = tc.compile([grad_a], inputs=[A, B])(a, b)
by_hand = (2 * exact / exact.size) @ b.astype(np.float64).T
assert np.allclose(gradient, by_hand, rtol=1e-4, atol=1e-6)
print("\nequal to 2 / (m n) D B^T, the formula by hand")

# %% [markdown]
# ## 4. Loops
# The plain program has one loop nest for each definition, in order. This text is the compiler's
# own form: it parses back to the same program.
# %%
title("4. the plain program")
s = tc.Schedule([D], args=[A, B], name="gemm_relu")
print(s)
assert "C[i, j] += A[i, k] * B[k, j]" in str(s)
plain = tc.compile(s, threads=1)

# %% [markdown]
# ## 5. A schedule
# A schedule rewrites these loops step by step. The plan: sums that stay in vector registers. Split
# the loops of `D` into tiles of 6 rows by two vectors of columns: that makes 12 registers of sums,
# and leaves a few of the 16 or more that a processor has for what is multiplied. Compute `C` tile
# by tile, inside these loops. In each tile put the sum's loop outside, run the columns as vector
# lanes, and write out the rows. The rows of tiles run on several threads.
# %%
title("5. the scheduled program")
lanes = tc.Target().vector_bytes // 4
i, j = s.loops("D")
io, jo, ii, ji = s.tile(i, j, 6, 2 * lanes)
s.compute_at("C", jo)
*_, ci, cj, ck = s.loops("C")
s.reorder(ck, ci, cj)
s.unroll(ci)
s.vectorize(cj)
s.unroll(s.loop("C", "i.init"))
s.vectorize(s.loop("C", "j.init"))
s.unroll(ii)
s.vectorize(ji)
s.parallel(io)
print(s)
print("\nthe steps taken:")
print(s.trace)

# %% [markdown]
# Every step is proved to keep the meaning, or refused. Adding up the terms of one sum on several
# threads at once would be a race; the schedule says so, and stays as it was.
# %%
before = str(s)
try:
    s.parallel(ck)
except tc.ScheduleError as refusal:
    print("\nrefused:", refusal)
else:
    raise AssertionError("a race was not refused")
assert str(s) == before

# %% [markdown]
# ## 6. Machine code
# The loops become LLVM's typed instructions, and these become the processor's own. Vectors have
# several lanes (as in `<16 x float>`), and each step of a sum is one fused multiply-add.
# %%
title("6. LLVM IR and assembly")
fast = tc.compile(s)
llvm, assembly = fast.inspect("llvm"), fast.inspect("asm")


def excerpt(text: str, word: str, lines: int) -> str:
    """The lines around the middle one of those that hold `word`."""
    every = text.splitlines()
    places = [number for number, line in enumerate(every) if word in line]
    middle = places[len(places) // 2]
    return "\n".join(every[max(0, middle - lines // 2) : middle + lines // 2])


print(excerpt(llvm, "llvm.fma.", 12))
print("...\n\nand in assembly:\n...")
multiply_add = next((word for word in ("vfmadd", "fmla", "fmadd", "fma") if word in assembly), "")
if multiply_add:
    print(excerpt(assembly, multiply_add, 16))
assert "x float>" in llvm

# %% [markdown]
# ## 7. Does it matter?
# The result is the same, within rounding; the time is not. Both run on one thread here, so that the
# difference is that of the loops.
# %%
title("7. timings")
assert np.all(np.abs(fast(a, b) - exact) <= bound)
assert np.all(np.abs(plain(a, b) - exact) <= bound)


def seconds(kernel: CompiledFunction) -> float:
    return min(timeit.repeat(lambda: kernel(a, b, out=out), number=5, repeat=5)) / 5


slow_time, fast_time = seconds(plain), seconds(tc.compile(s, threads=1))
flop = 2 * M * N * K
for name, time in (("plain loops", slow_time), ("scheduled", fast_time)):
    print(f"{name:12} {1e6 * time:8.1f} us  {flop / time / 1e9:6.1f} GFLOP/s")
assert fast_time < slow_time / 2, "the schedule should be worth more than a factor of 2"

# %% [markdown]
# ## 8. Ship it
# The same function as a C library. `tensorc_runtime` calls it with NumPy and nothing else; so can
# any C program.
# %%
title("8. exported")
with tempfile.TemporaryDirectory() as folder:
    fast.export(folder)
    for path in sorted(Path(folder).iterdir()):
        print(f"{path.name:20} {path.stat().st_size:8} bytes")
    shipped = tensorc_runtime.load(folder, "gemm_relu")
    assert np.array_equal(shipped(a, b), fast(a, b))
print("the library gives the same bits")
