"""Iterations that must not run together, and limits of lanes, threads and grids."""

from __future__ import annotations

from schedule.lists import CHECKED, MATMUL, PREFIX, STENCIL, Refused, program

RACES = (
    Refused(
        "a sum over threads (TVM #7420)",
        MATMUL,
        "",
        "parallel C:k",
    ),
    Refused(
        "a sum over lanes (TVM #1795)",
        MATMUL,
        "split C:k 2",
        "vectorize C:k.inner",
    ),
    Refused(
        "a prefix sum of any length over threads",
        PREFIX,
        "",
        "parallel S:i",
    ),
    Refused(
        "a prefix sum over lanes",
        PREFIX,
        "split S:i 4",
        "vectorize S:i.inner",
    ),
    Refused(
        "a suffix sum, running backwards",
        program(
            "A: in float32[8], S: inout float32[9]",
            """
for i in range(8):
  S[7 - i] = S[8 - i] + A[7 - i]""",
        ),
        "",
        "parallel S:i",
    ),
    Refused(
        "a stencil in place over threads",
        STENCIL,
        "",
        "parallel W:x",
    ),
    Refused(
        "the time steps of a stencil",
        STENCIL,
        "",
        "parallel W:t",
    ),
    Refused(
        "an element that the next iteration overwrites",
        program(
            "W: inout float32[9]",
            """
for i in range(8):
  W[i] = W[i + 1] * 2.0""",
        ),
        "",
        "parallel W:i",
    ),
    Refused(
        "a histogram",
        program(
            "idx: in int32[16], H: inout int32[8]",
            """
for i in range(16):
  H[int64(idx[i])] += int32(1)""",
        ),
        "",
        "parallel H:i",
    ),
    Refused(
        "a scatter over lanes",
        program(
            "idx: in int64[16], A: in float32[16], B: inout float32[32]",
            """
for i in range(16):
  B[abs(idx[i]) % 32] = A[i]""",
        ),
        "split B:i 8",
        "vectorize B:i.inner",
    ),
    Refused(
        "a temporary that all iterations share",
        program(
            "A: in float32[8], B: out float32[8]",
            """
alloc T: float32[1]
  for i in range(8):
    T[0] = A[i] * 2.0
    B[i] = T[0] + 1.0""",
        ),
        "",
        "parallel B:i",
    ),
    Refused(
        "a total in one element",
        program(
            "A: in float64[n], T: inout float64[]",
            """
for i in range(n):
  T[] += A[i]""",
        ),
        "",
        "parallel T:i",
    ),
    Refused(
        "a maximum over threads, which would not even round",
        program(
            "A: in float32[8], M: inout float32[1]",
            """
for i in range(8):
  M[0] max= A[i]""",
        ),
        "",
        "parallel M:i",
    ),
    Refused(
        "an argmax over threads",
        program(
            "A: in float32[8], V: inout float32[1], P: inout int64[1]",
            """
for i in range(8):
  (V[0], P[0]) argmax= (A[i], i)""",
        ),
        "",
        "parallel V:i",
    ),
    Refused(
        "pairs of iterations that write one element",
        program(
            "A: in float32[10], B: inout float32[5]",
            """
for i in range(10):
  B[i // 2] = A[i]""",
        ),
        "",
        "parallel B:i",
    ),
    Refused(
        "iterations that meet again after four",
        program(
            "A: in float32[10], B: inout float32[4]",
            """
for i in range(10):
  B[i % 4] = A[i]""",
        ),
        "",
        "parallel B:i",
    ),
    Refused(
        "windows that overlap",
        program(
            "A: in float32[6, 3], B: inout float32[8]",
            """
for i in range(6):
  for j in range(3):
    B[i + j] += A[i, j]""",
        ),
        "",
        "parallel B:i",
    ),
    Refused(
        "even elements by one store, all by another",
        program(
            "A: in float32[8], B: inout float32[16]",
            """
for i in range(8):
  B[2 * i] = A[i]
  B[i] = A[i] + 1.0""",
        ),
        "",
        "parallel B:i",
    ),
    Refused(
        "the wavefronts of a skewed stencil",
        program(
            "W: inout float32[6, 6]",
            """
for d in range(2, 11):
  for i in range(max(1, d - 5), min(6, d)):
    W[i, d - i] = W[i - 1, d - i] + W[i, d - i - 1]""",
        ),
        "",
        "parallel W:d",
    ),
    Refused(
        "one colour of a stencil that reads its own colour",
        program(
            "W: inout float32[12]",
            """
for i in range(2, 10):
  if i % 2 == 0:
    W[i] = W[i - 2] + W[i + 2]""",
        ),
        "",
        "parallel W:i",
    ),
    Refused(
        "the rows of a running total over columns",
        program(
            "A: in float32[4, 7], S: inout float32[4, 7]",
            """
for i in range(1, 4):
  for j in range(7):
    S[i, j] = S[i - 1, j] + A[i, j]""",
        ),
        "",
        "parallel S:i",
    ),
    Refused(
        "forward substitution",
        program(
            "L: in float32[6, 6], X: inout float32[6]",
            """
for i in range(6):
  for j in range(i):
    X[i] += L[i, j] * X[j]""",
        ),
        "",
        "parallel X:i",
    ),
    Refused(
        "a transposition in place of the whole square",
        program(
            "W: inout float32[6, 6]",
            """
for i in range(6):
  for j in range(6):
    alloc T: float32[1] local
      T[0] = W[i, j]
      W[i, j] = W[j, i]
      W[j, i] = T[0]""",
        ),
        "",
        "parallel W:i",
    ),
    Refused(
        "a copy within one buffer, by a distance that nobody knows",
        program(
            "A: inout float32[n, m], s: in int64[]",
            """
for i in range(n):
  for j in range(m):
    A[i, j] = A[(i + s[]) % n, j]""",
        ),
        "",
        "parallel A:i",
    ),
    Refused(
        "rows between data-dependent ends",
        program(
            "ends: in int64[9], B: inout float32[32]",
            """
for i in range(8):
  for j in range(ends[i], ends[i + 1]):
    B[j] = float32(i)""",
        ),
        "",
        "parallel B:i",
    ),
    Refused(
        "a guard that reads what an earlier iteration writes",
        program(
            "F: inout int32[1], B: inout float32[8]",
            """
for i in range(8):
  if F[0] == int32(0):
    B[i] = 1.0
  F[0] = int32(i)""",
        ),
        "",
        "parallel B:i",
    ),
    Refused(
        "a range that an earlier iteration writes",
        program(
            "L: inout int64[9], B: inout float32[9]",
            """
for i in range(8):
  for k in range(L[i]):
    B[i] += 1.0
  L[i + 1] = L[i] + 1""",
        ),
        "",
        "parallel B:i",
    ),
    Refused(
        "copies of overlapping parts in parallel iterations",
        program(
            "A: in float32[4, 2], B: inout float32[8]",
            """
for i in range(4):
  for k in range(2):
    B[i + 4 * k] = A[i, k]""",
        ),
        "parallel B:i",
        "cache_write B B:i",
    ),
    Refused(
        "a store that a failing check must not be followed by",
        CHECKED,
        "",
        "parallel B:i",
    ),
    Refused(
        "lanes beyond a check",
        CHECKED,
        "",
        "vectorize B:j",
    ),
    Refused(
        "lanes of a loop of symbolic length",
        PREFIX,
        "",
        "vectorize S:i",
    ),
    Refused(
        "symbolic iterations written out",
        PREFIX,
        "",
        "unroll S:i",
    ),
    Refused(
        "an axis of the grid for two loops",
        MATMUL,
        "bind C:i thread.x",
        "bind C:j thread.x",
    ),
    Refused(
        "more threads than a block has",
        program(
            "A: in float32[4096], B: out float32[4096]",
            """
for i in range(4096):
  B[i] = A[i]""",
        ),
        "",
        "bind B:i thread.x",
    ),
    Refused(
        "a parallel loop split afterwards",
        MATMUL,
        "parallel C:i",
        "split C:i 4",
    ),
)
