"""Computations that cannot stand, and buffers that cannot lie, where they were to go."""

from __future__ import annotations

from schedule.lists import EPILOGUE, MATMUL, ROWMAX, STENCIL, TILE, TWO, UPDATE, Refused, program

PLACES = (
    Refused(
        "a consumer inside of the reduction that it reads",
        EPILOGUE,
        "",
        "reverse_compute_at D C:k",
    ),
    Refused(
        "a consumer inside of a block of the reduction",
        EPILOGUE,
        "split C:k 2",
        "reverse_compute_at D C:k.outer",
    ),
    Refused(
        "a consumer of more than its producer computes (TVM #15911)",
        program(
            "A: in float32[8], C: inout float32[12], E: out float32[12]",
            """
for i in range(8):
  C[i] = A[i] * 2.0
for x in range(12):
  E[x] = C[x] + 1.0""",
        ),
        "split C:i 4",
        "reverse_compute_at E C:i.outer",
    ),
    Refused(
        "the same of symbolic sizes",
        program(
            "A: in float32[n], C: inout float32[m], E: out float32[m]",
            """
for i in range(n):
  C[min(i, m - 1)] = A[i] * 2.0
for x in range(m):
  E[x] = C[x] + 1.0""",
        ),
        "",
        "reverse_compute_at E C:i",
    ),
    Refused(
        "a consumer once for each of the tiles that overlap",
        program(
            "A: in float32[4, 3], C: inout float32[9], E: out float32[9]",
            """
for i in range(4):
  for r in range(3):
    C[2 * i + r] += A[i, r]
for x in range(9):
  E[x] = C[x] + 1.0""",
        ),
        "",
        "reverse_compute_at E C:i",
    ),
    Refused(
        "a consumer of an element that comes later",
        program(
            "A: in float32[9], C: inout float32[9], E: out float32[8]",
            """
for i in range(9):
  C[i] = A[i] * 2.0
for x in range(8):
  E[x] = C[x] + C[8 - x]""",
        ),
        "split C:i 3",
        "reverse_compute_at E C:i.outer",
    ),
    Refused(
        "a consumer that reads through data",
        program(
            "A: in float32[8], idx: in int64[8], C: inout float32[8], E: out float32[8]",
            """
for i in range(8):
  C[i] = A[i] * 2.0
for x in range(8):
  E[x] = C[abs(idx[x]) % 8]""",
        ),
        "",
        "reverse_compute_at E C:i",
    ),
    Refused(
        "a row's sum inside of a tile of the row",
        program(
            "A: in float32[4, 8], C: inout float32[4, 8], S: out float32[4]",
            """
for i in range(4):
  for j in range(8):
    C[i, j] = A[i, j] * 2.0
for x in range(4):
  S[x] = 0.0
  for k in range(8):
    S[x] += C[x, k]""",
        ),
        "split C:j 4",
        "reverse_compute_at S C:j.outer",
    ),
    Refused(
        "a producer that is used after the loop too",
        program(
            "A: in float32[8], C: out float32[8], D: out float32[8]",
            """
alloc B: float32[8]
  for i in range(8):
    B[i] = A[i] * 2.0
  for j in range(8):
    C[j] = B[j]
  for k in range(8):
    D[k] = B[7 - k]""",
        ),
        "",
        "compute_at B C:j",
    ),
    Refused(
        "a producer that a guard reads after the loop",
        program(
            "A: in float32[8], C: out float32[8], D: inout float32[8]",
            """
alloc B: float32[8]
  for i in range(8):
    B[i] = A[i] * 2.0
  for j in range(8):
    C[j] = B[j]
  for k in range(8):
    if B[k] > 0.0:
      D[k] = 1.0""",
        ),
        "",
        "compute_at B C:j",
    ),
    Refused(
        "a producer whose source the loop overwrites",
        program(
            "W: inout float32[9], C: out float32[8]",
            """
alloc B: float32[9]
  for i in range(9):
    B[i] = W[i] * 2.0
  for j in range(8):
    C[j] = B[j] + B[j + 1]
    W[j + 1] = C[j]""",
        ),
        "",
        "compute_at B C:j",
    ),
    Refused(
        "a producer whose guard the loop overwrites",
        program(
            "F: inout int32[8], A: in float32[8], C: out float32[8]",
            """
alloc B: float32[8]
  for i in range(8):
    B[i] = 0.0
    if F[i] > int32(0):
      B[i] = A[i]
  for j in range(8):
    F[7 - j] = int32(1)
    C[j] = B[j]""",
        ),
        "",
        "compute_at B C:j",
    ),
    Refused(
        "a producer whose source is overwritten before its last part",
        program(
            "W: inout float32[8], A: in float32[8], C: out float32[8]",
            """
alloc B: float32[8]
  for i in range(8):
    B[i] = W[i] * 2.0
  for k in range(8):
    W[k] = 0.0
  for l in range(8):
    B[l] += A[l]
  for j in range(8):
    C[j] = B[j]""",
        ),
        "",
        "compute_at B C:j",
    ),
    Refused(
        "a producer in a loop that comes before it",
        TWO,
        "",
        "compute_at B B:i",
    ),
    Refused(
        "an output in the loop of another",
        program(
            "A: in float32[8], B: out float32[8], C: out float32[8]",
            """
for i in range(8):
  B[i] = A[i] * 2.0
for j in range(8):
  C[j] = B[j] + 1.0""",
        ),
        "",
        "compute_at B C:j",
    ),
    Refused(
        "a producer in tiles of its own",
        TWO,
        "split B:i 4; split C:j 4",
        "compute_at B C:j.outer",
    ),
    Refused(
        "a reduction in place of its use",
        EPILOGUE,
        "",
        "inline C",
    ),
    Refused(
        "a value whose source is overwritten before its use",
        program(
            "W: inout float32[4], C: out float32[4]",
            """
alloc B: float32[4]
  for i in range(4):
    B[i] = W[i] * 2.0
  for k in range(4):
    W[k] = 0.0
  for j in range(4):
    C[j] = B[j]""",
        ),
        "",
        "inline B",
    ),
    Refused(
        "a value used once more after the element that it comes from is updated",
        UPDATE,
        "",
        "inline D",
    ),
    Refused(
        "an update that is taken twice",
        program(
            "W: inout float32[4], G: in float32[4]",
            """
alloc D: float32[4]
  for i in range(4):
    D[i] = W[i] * 0.5 + G[i]
  for k in range(2):
    for j in range(4):
      W[j] = W[j] - D[j]""",
        ),
        "",
        "inline D",
    ),
    Refused(
        "an update that is taken twice, placed",
        program(
            "W: inout float32[4], G: in float32[4]",
            """
alloc D: float32[4]
  for i in range(4):
    D[i] = W[i] * 0.5 + G[i]
  for k in range(2):
    for j in range(4):
      W[j] = W[j] - D[j]""",
        ),
        "",
        "compute_at D W:j",
    ),
    Refused(
        "an update of the mirrored element",
        program(
            "W: inout float32[4]",
            """
alloc D: float32[4]
  for i in range(4):
    D[i] = W[i] * 0.5
  for j in range(4):
    W[j] = W[j] - D[3 - j]""",
        ),
        "",
        "inline D",
    ),
    Refused(
        "a value that only some elements have",
        program(
            "A: in float32[8], C: out float32[8]",
            """
alloc B: float32[8]
  for i in range(8):
    if i > 0:
      B[i] = A[i - 1]
  for j in range(8):
    C[j] = where(j > 0, B[j], 0.0)""",
        ),
        "",
        "inline B",
    ),
    Refused(
        "a product inside of a strict sum, where it would be fused",
        program(
            "A: in float32[4, 5], S: out float32[4]",
            """
alloc B: float32[4, 5]
  for i in range(4):
    for j in range(5):
      B[i, j] = A[i, j] * A[i, j]
  for x in range(4):
    S[x] = 0.0
    for k in range(5):
      S[x] += B[x, k]""",
        ),
        "",
        "inline B",
        strict=True,
    ),
    Refused(
        "a copy of what the loop writes",
        STENCIL,
        "",
        "cache_read W W:t",
    ),
    Refused(
        "a copy in an order of three dimensions",
        MATMUL,
        "",
        "cache_read B C:i order=(0,1,2)",
    ),
    Refused("a part in panels of nothing", MATMUL, "", "cache_write C C:i panel=0"),
    Refused(
        "partial sums of a loop that also begins them", MATMUL, "", "cache_write C C:j fold=True"
    ),
    Refused(
        "partial sums of what the loop reads",
        program(
            "A: in float32[9], S: inout float32[9]",
            """
for i in range(8):
  S[i + 1] += A[i] * S[i]""",
        ),
        "",
        "cache_write S S:i fold=True",
    ),
    Refused("an operand stored anew that is not read", MATMUL, "", "pack C Q"),
    Refused("an operand stored anew that the nest writes", STENCIL, "", "pack W W"),
    Refused("an operand stored anew in another order", MATMUL, "", "pack C B order=(0,0)"),
    Refused("an operand stored anew in half", MATMUL, "", "pack C B precision=half"),
    Refused(
        "an operand stored anew that is the nest's own",
        MATMUL,
        "cache_read B C:i",
        "pack C B.local",
    ),
    Refused(
        "whole numbers padded by halves",
        program(
            "A: in int32[10], B: out int32[10]",
            """
for i in range(10):
  B[i] = A[i]""",
        ),
        "split B:i 4",
        "cache_read A B:i.outer pad=0.5",
    ),
    Refused(
        "one half of a pair in a cache",
        program(
            "A: in float32[3, 8], V: inout float32[3], P: inout int64[3]",
            """
for i in range(3):
  for k in range(8):
    (V[i], P[i]) argmax= (A[i, k], k)""",
        ),
        "",
        "cache_write V V:i",
    ),
    Refused(
        "a row of symbolic length on the stack",
        program(
            "A: in float32[n, m], B: out float32[n, m]",
            """
for i in range(n):
  for j in range(m):
    B[i, j] = A[i, j]""",
        ),
        "",
        "cache_write B B:i",
    ),
    Refused(
        "an argument in another memory",
        MATMUL,
        "",
        "set_scope C local",
    ),
    Refused(
        "a symbolic buffer on the stack",
        program(
            "A: in float32[n], C: out float32[n]",
            """
alloc B: float32[n]
  for i in range(n):
    B[i] = A[i]
  for j in range(n):
    C[j] = B[n - 1 - j]""",
        ),
        "",
        "set_scope B local",
    ),
    Refused(
        "lanes beyond the end of an argument",
        program(
            "P: in float32[10], C: out float32[10]",
            """
for i in range(10):
  C[i] = P[i] * 2.0""",
        ),
        "split C:i 4",
        "relax_guard C C:i.inner",
    ),
    Refused(
        "lanes that write what is read",
        program(
            "P: in float32[10], C: out float32[16]",
            """
alloc T: float32[16]
  for z in range(16):
    T[z] = 0.0
  for i in range(16):
    if i < 10:
      T[i] = P[i % 10] * 2.0
  for j in range(16):
    C[j] = T[j]""",
        ),
        "",
        "relax_guard T T:i",
    ),
    Refused(
        "lanes that write what a guard reads",
        program(
            "P: in float32[10], C: inout float32[16]",
            """
alloc T: float32[16]
  for z in range(16):
    T[z] = 0.0
  for i in range(16):
    if i < 10:
      T[i] = P[i % 10] * 2.0
  for j in range(16):
    if T[j] > 0.0:
      C[j] = 1.0""",
        ),
        "",
        "relax_guard T T:i",
    ),
    Refused(
        "a maximum over a tail that is padded with zeros",
        ROWMAX,
        "split M:k 4; cache_read A M:k.outer pad=0.0; cache_write M M:i",
        "relax_guard M.local M.local:k.inner",
    ),
    Refused(
        "an intrinsic over a ragged tail",
        program(
            "A: in float32[4], B: in float32[10], C: inout float32[10]",
            """
for k in range(4):
  for j in range(10):
    C[j] += A[k] * B[j]""",
        ),
        "split C:j 4 tail=mask",
        "tensorize C:j.inner fma.4",
    ),
    Refused(
        "an intrinsic for a nest with one index the other way round",
        program(
            "A: in float32[4], B: in float32[8], C: inout float32[8]",
            """
for k in range(4):
  for j in range(8):
    C[j] += A[k] * B[7 - j]""",
        ),
        "",
        "tensorize C:j fma.8",
    ),
    Refused(
        "an intrinsic for a sum in place of a product",
        program(
            "A: in float32[4], B: in float32[8], C: inout float32[8]",
            """
for k in range(4):
  for j in range(8):
    C[j] += A[k] + B[j]""",
        ),
        "",
        "tensorize C:j fma.8",
    ),
    Refused(
        "an intrinsic for another dtype",
        program(
            "A: in float64[4], B: in float64[8], C: inout float64[8]",
            """
for k in range(4):
  for j in range(8):
    C[j] += A[k] * B[j]""",
        ),
        "",
        "tensorize C:j fma.8",
    ),
    Refused(
        "an intrinsic whose operand is what it writes",
        program(
            "A: in float32[4], C: inout float32[16]",
            """
for k in range(4):
  for j in range(8):
    C[j] += A[k] * C[8 + j]""",
        ),
        "",
        "tensorize C:j fma.8",
    ),
    Refused(
        "partial results of a reducer that is not associative",
        program(
            "A: in float32[4, 8], N: inout float32[4]",
            """
for i in range(4):
  for k in range(8):
    N[i] norm= A[i, k]""",
            "reducer norm(a: float32, b: float32) identity (0.0) nonassociative = (a - b)",
        ),
        "",
        "rfactor N:k",
    ),
    Refused(
        "partial results of a float sum, strictly",
        MATMUL,
        "decompose_reduction C C:i",
        "rfactor C:k",
        strict=True,
    ),
    Refused(
        "partial results of what reads the result",
        program(
            "A: in float32[8], S: inout float32[8]",
            """
for i in range(8):
  for k in range(4):
    S[i] += A[k] * S[(i + 1) % 8]""",
        ),
        "",
        "rfactor S:k",
    ),
    Refused(
        "partial results of each element",
        TILE,
        "",
        "rfactor C:j",
    ),
    Refused(
        "partial results in the rows of a triangle",
        program(
            "A: in float32[6, 6], S: inout float32[1]",
            """
for i in range(6):
  for k in range(i + 1):
    S[0] += A[i, k]""",
        ),
        "",
        "rfactor S:k",
    ),
    Refused(
        "a stride that no padding gives",
        program(
            "A: in float32[4, 5, 6], C: out float32[4, 5, 6]",
            """
alloc T: float32[4, 5, 6]
  for i in range(4):
    for j in range(5):
      for k in range(6):
        T[i, j, k] = A[i, j, k]
  for x in range(4):
    for y in range(5):
      for z in range(6):
        C[x, y, z] = T[x, y, z]""",
        ),
        "",
        "storage_align T 0 4 1",
    ),
    Refused(
        "more iterations peeled than there are",
        TWO,
        "",
        "peel C:j 9",
    ),
)
