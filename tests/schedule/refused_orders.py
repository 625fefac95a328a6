"""Iterations and statements that must keep their order, and loops that cannot be joined or cut."""

from __future__ import annotations

from schedule.lists import CHECKED, DIAGONAL, MATMUL, STENCIL, TWO, Refused, program

ORDERS = (
    Refused(
        "a diagonal stencil in place, interchanged",
        DIAGONAL,
        "",
        "reorder W:j W:i",
    ),
    Refused(
        "a diagonal stencil in place, tiled",
        DIAGONAL,
        "split W:i 4; split W:j 4",
        "reorder W:i.outer W:j.outer W:i.inner W:j.inner",
    ),
    Refused(
        "time inside of space",
        STENCIL,
        "",
        "reorder W:x W:t",
    ),
    Refused(
        "a band of time steps over a tile of space",
        STENCIL,
        "split W:x 4",
        "reorder W:x.outer W:t W:x.inner",
    ),
    Refused(
        "a diagonal stencil of symbolic sizes",
        program(
            "W: inout float32[n, m]",
            """
for i in range(1, n):
  for j in range(m - 1):
    W[i, j] = W[i - 1, j + 1] * 0.5""",
        ),
        "",
        "reorder W:j W:i",
    ),
    Refused(
        "a running total that each step reads",
        program(
            "A: in float32[4, 5], T: inout float32[1], S: inout float32[4, 5]",
            """
for i in range(4):
  for j in range(5):
    T[0] += A[i, j]
    S[i, j] = T[0]""",
        ),
        "",
        "reorder S:j S:i",
    ),
    Refused(
        "a triangle whose rows would come first",
        program(
            "A: in float32[6, 6], B: inout float32[6, 6]",
            """
for i in range(6):
  for j in range(i, 6):
    B[i, j] = A[j, i]""",
        ),
        "",
        "reorder B:j B:i",
    ),
    Refused(
        "a float sum in another order, strictly",
        MATMUL,
        "decompose_reduction C C:i; split C:k 3",
        "reorder C:k.inner C:k.outer",
        strict=True,
    ),
    Refused(
        "a reducer that does not commute",
        program(
            "D: in int64[2, 3], N: inout int64[1]",
            """
for i in range(2):
  for j in range(3):
    N[0] join= D[i, j]""",
            "reducer join(a: int64, b: int64) identity (0) noncommutative = (a * 10 + b)",
        ),
        "",
        "reorder N:j N:i",
    ),
    Refused(
        "a sum and a maximum in one element",
        program(
            "A: in float32[4, 5], B: in float32[4, 5], C: inout float32[5]",
            """
for i in range(5):
  for k in range(4):
    C[i] += A[k, i]
    C[i] max= B[k, i]""",
        ),
        "",
        "fission C:k 1",
    ),
    Refused(
        "the second half of a body that feeds the first",
        program(
            "A: in float32[9], B: inout float32[9], C: inout float32[9]",
            """
for i in range(1, 9):
  B[i] = C[i - 1] + A[i]
  C[i] = B[i] * 2.0""",
        ),
        "",
        "fission C:i B",
    ),
    Refused(
        "the initialisation of a sum that each iteration begins anew",
        program(
            "A: in float32[4, 5], T: inout float32[1], D: out float32[4]",
            """
for i in range(4):
  T[0] = 0.0
  for k in range(5):
    T[0] += A[i, k]
  D[i] = T[0]""",
        ),
        "",
        "fission D:i 1",
    ),
    Refused(
        "the same initialisation moved out",
        program(
            "A: in float32[4, 5], T: inout float32[1], D: out float32[4]",
            """
for i in range(4):
  T[0] = 0.0
  for k in range(5):
    T[0] += A[i, k]
  D[i] = T[0]""",
        ),
        "",
        "decompose_reduction T D:i",
    ),
    Refused(
        "the initialisation of a blocked sum outside of where its buffer lives (TVM #17799)",
        MATMUL,
        "cache_write C C:j",
        "decompose_reduction C.local C.local:j",
    ),
    Refused(
        "the buffer of an iteration, in two loops",
        program(
            "A: in float32[8], B: out float32[8]",
            """
for i in range(8):
  alloc T: float32[1] local
    T[0] = A[i]
    B[i] = T[0] * 2.0""",
        ),
        "",
        "fission B:i 1",
    ),
    Refused(
        "a guard that the first part changes",
        program(
            "F: inout int32[8], B: inout float32[8]",
            """
for i in range(8):
  if F[i] > int32(0):
    F[i] = int32(0)
    B[i] = 1.0""",
        ),
        "",
        "fission B:i F",
    ),
    Refused(
        "a stencil's consumer, one element too early",
        TWO,
        "",
        "fuse_with B:i C:j",
    ),
    Refused(
        "a stencil's consumer of the same range",
        program(
            "A: in float32[9], B: inout float32[10], C: out float32[9]",
            """
for i in range(9):
  B[i] = A[i] * 2.0
for j in range(9):
  C[j] = B[j + 1]""",
        ),
        "",
        "fuse_with B:i C:j",
    ),
    Refused(
        "what is read behind, written too early",
        program(
            "W: inout float32[9], B: out float32[9]",
            """
for i in range(9):
  B[i] = where(i > 0, W[i - 1], 0.0)
for j in range(9):
  W[j] = 0.0""",
        ),
        "",
        "fuse_with B:i W:j",
    ),
    Refused(
        "a normalisation with the sum that it divides by",
        program(
            "X: in float32[8], S: inout float32[1], Y: out float32[8]",
            """
for i in range(8):
  S[0] += X[i]
for j in range(8):
  Y[j] = X[j] / S[0]""",
        ),
        "",
        "fuse_with S:i Y:j",
    ),
    Refused(
        "loops of different ranges",
        program(
            "A: in float32[n], B: out float32[n], C: inout float32[n]",
            """
for i in range(n):
  B[i] = A[i]
for j in range(n - 1):
  C[j] = B[j]""",
        ),
        "",
        "fuse_with B:i C:j",
    ),
    Refused(
        "columns before rows, past a check",
        CHECKED,
        "",
        "reorder B:j B:i",
    ),
    Refused(
        "a check apart from what it guards",
        CHECKED,
        "",
        "fission B:j 1",
    ),
    Refused(
        "what a check comes before, in one loop with it",
        program(
            "A: in float32[8], B: inout float32[8], C: inout float32[8]",
            """
for i in range(8):
  B[i] = A[i]
for j in range(8):
  check A[j] > -9.0, "too low"
  C[j] = A[j]""",
        ),
        "",
        "fuse_with B:i C:j",
    ),
    Refused(
        "a write kept back past a check",
        program(
            "A: in float32[4, 3], B: inout float32[4, 3]",
            """
for i in range(4):
  for j in range(3):
    B[i, j] = A[i, j]
    check A[i, j] > -9.0, "too low\"""",
        ),
        "",
        "cache_write B B:i",
    ),
    Refused(
        "a copy ahead of a check",
        program(
            "n: in int64[], A: in float32[6, 4], B: out float32[6, 4]",
            """
for i in range(6):
  check i < n[], "there is no row {0}", (i)
  alloc T: float32[4]
    for x in range(4):
      T[x] = A[i, x]
    for y in range(4):
      B[i, y] = T[y] + 1.0""",
        ),
        "",
        "pipeline B:i 2",
    ),
    Refused(
        "a copy ahead of the write that it reads",
        program(
            "W: inout float32[7, 4]",
            """
for i in range(6):
  alloc T: float32[4]
    for x in range(4):
      T[x] = W[i, x]
    for y in range(4):
      W[i + 1, y] = T[y] * 0.5""",
        ),
        "",
        "double_buffer T W:i",
    ),
    Refused(
        "a copy two iterations ahead, where one was free",
        program(
            "W: inout float32[8, 4]",
            """
for i in range(6):
  alloc T: float32[4]
    for x in range(4):
      T[x] = W[i, x]
    for y in range(4):
      W[i + 2, y] = T[y] * 0.5""",
        ),
        "",
        "pipeline W:i 3",
    ),
    Refused(
        "a sum that grows in its buffer, one iteration ahead",
        program(
            "A: in float32[6, 4], B: out float32[6]",
            """
for i in range(6):
  alloc T: float32[1]
    T[0] = 0.0
    for k in range(4):
      T[0] += A[i, k]
    B[i] = T[0]""",
        ),
        "",
        "double_buffer T B:i",
    ),
    Refused(
        "slots for triangular rows",
        program(
            "A: in float32[6, 6], B: inout float32[6, 6]",
            """
for i in range(6):
  alloc T: float32[i + 1]
    for x in range(i + 1):
      T[x] = A[i, x]
    for y in range(i + 1):
      B[i, y] = T[y]""",
        ),
        "",
        "pipeline B:i 2",
    ),
    Refused(
        "one range out of a triangle",
        program(
            "A: in float32[6, 6], B: inout float32[6, 6]",
            """
for i in range(6):
  for j in range(i + 1):
    B[i, j] = A[i, j]""",
        ),
        "",
        "fuse B:i B:j",
    ),
    Refused(
        "one loop over an initialisation and its sum",
        MATMUL,
        "",
        "fuse C:j C:k",
    ),
    Refused(
        "loops with a buffer between them",
        program(
            "A: in float32[4, 5], B: out float32[4, 5]",
            """
for i in range(4):
  alloc T: float32[1] local
    for j in range(5):
      T[0] = A[i, j]
      B[i, j] = T[0]""",
        ),
        "",
        "reorder B:j B:i",
    ),
    Refused(
        "a sum and what divides by it, interchanged",
        program(
            "X: in float32[3, 4], S: inout float32[3], Y: inout float32[3, 4]",
            """
for i in range(3):
  for j in range(4):
    S[i] += X[i, j]
    Y[i, j] = X[i, j] / S[0]""",
        ),
        "",
        "reorder Y:j Y:i",
    ),
)
