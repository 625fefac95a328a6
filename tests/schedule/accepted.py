"""Legal schedules that are hard to prove: iterations, places, buffers."""

from __future__ import annotations

from schedule.lists import EPILOGUE, MATMUL, ROWMAX, TWO, Accepted, program

SKEWED = program(
    "W: inout float32[6, 6]",
    """
for d in range(2, 11):
  for i in range(max(1, d - 5), min(6, d)):
    W[i, d - i] = W[i - 1, d - i] + W[i, d - i - 1]""",
)
ANY_MATMUL = program(
    "A: in float32[n, m], B: in float32[m, 7], C: out float32[n, 7]",
    """
for i in range(n):
  for j in range(7):
    C[i, j] = 0.0
    for k in range(m):
      C[i, j] += A[i, k] * B[k, j]""",
)
BLUR = program(
    "A: in float32[13], D: out float32[9]",
    """
alloc B: float32[12]
alloc C: float32[10]
  for i in range(12):
    B[i] = A[i] + A[i + 1]
  for j in range(10):
    C[j] = B[j] + B[j + 2]
  for k in range(9):
    D[k] = C[k] * C[k + 1]""",
)
COPY = program(
    "A: in float32[n, m], B: out float32[n, m]",
    """
for i in range(n):
  for j in range(m):
    B[i, j] = A[i, j] + 1.0""",
)
LOOPS = (
    Accepted("a skewed wavefront, its points over threads", SKEWED, "parallel W:i"),
    Accepted(
        "time skewed against space, its tiles interchanged",
        program(
            "W: inout float32[12]",
            """
for t in range(4):
  for s in range(t, t + 8):
    W[s - t + 1] = W[s - t + 1] + W[s - t + 2]""",
        ),
        "split W:t 2; split W:s 3",
    ),
    Accepted(
        "a skewed stencil over a rectangle, in bands",
        program(
            "W: inout float32[10, 6]",
            """
for i in range(1, 10):
  for j in range(i, i + 6):
    W[i, j - i] = W[i, j - i] + W[i - 1, j - i]""",
        ),
        "split W:i 3; parallel W:j",
    ),
    Accepted(
        "tiles that do not divide, guarded",
        ANY_MATMUL,
        "split C:i 3; split C:j 4; reorder C:i.outer C:j.outer C:i.inner C:j.inner C:k",
    ),
    Accepted(
        "tiles that do not divide, peeled",
        ANY_MATMUL,
        "split C:i 3 tail=peel; split C:j 4 tail=peel; parallel C:i.tail",
    ),
    Accepted(
        "tiles that do not divide, masked",
        ANY_MATMUL,
        "split C:j 4 tail=mask; reorder C:j.outer C:k C:j.inner; vectorize C:j.inner",
    ),
    Accepted(
        "a fused loop split again",
        program(
            "A: in float32[n, 6], B: out float32[n, 6]",
            """
for i in range(n):
  for j in range(6):
    B[i, j] = A[i, j] + 1.0""",
        ),
        "fuse B:i B:j; split B:i.j 5; parallel B:i.j.outer; vectorize B:i.j.inner",
    ),
    Accepted(
        "a fused loop of constant sizes over threads",
        MATMUL,
        "fuse C:i C:j; parallel C:i.j",
    ),
    Accepted(
        "parts of two splits fused across a reorder",
        MATMUL,
        "split C:i 3; split C:j 4; reorder C:i.outer C:j.outer C:i.inner C:j.inner; "
        "fuse C:i.outer C:j.outer; parallel C:i.outer.j.outer",
    ),
    Accepted(
        "a split loop fused back", COPY, "split B:j 4; fuse B:j.outer B:j.inner; parallel B:i"
    ),
    Accepted(
        "lanes after a fusion and a split that cross rows",
        program(
            "A: in float32[5, 6], B: out float32[5, 6]",
            """
for i in range(5):
  for j in range(6):
    B[i, j] = A[i, j] * 2.0""",
        ),
        "fuse B:i B:j; split B:i.j 4; vectorize B:i.j.inner",
    ),
    Accepted(
        "symbolic limits by min and max, over threads",
        program(
            "A: in float32[n], B: inout float32[n]",
            """
for i in range(max(n - 3, 0), min(n, n + 2)):
  B[i] = A[i] * 2.0""",
        ),
        "parallel B:i",
    ),
    Accepted(
        "a guard that keeps symbolic halves apart",
        program(
            "B: inout float32[n]",
            """
for i in range(n):
  if 2 * i + 1 < n:
    B[i] = B[n - 1 - i]""",
        ),
        "parallel B:i",
    ),
    Accepted(
        "reversed writes over threads",
        program(
            "A: in float32[n], B: out float32[n]",
            """
for i in range(n):
  B[n - 1 - i] = A[i]""",
        ),
        "parallel B:i",
    ),
    Accepted(
        "strided writes between which others are read",
        program(
            "W: inout float32[16]",
            """
for i in range(8):
  W[2 * i] = W[2 * i + 1] + 1.0""",
        ),
        "vectorize W:i 4",
    ),
    Accepted(
        "the red points of a stencil, then the black ones",
        program(
            "W: inout float32[14]",
            """
for i in range(1, 13):
  if i % 2 == 0:
    W[i] = W[i - 1] + W[i + 1]
for j in range(1, 13):
  if j % 2 == 1:
    W[j] = W[j - 1] + W[j + 1]""",
        ),
        "parallel W:j; parallel W:i",
    ),
    Accepted(
        "red points of a plane over threads, by both indices",
        program(
            "W: inout float32[8, 8]",
            """
for i in range(1, 7):
  for j in range(1, 7):
    if (i + j) % 2 == 0:
      W[i, j] = W[i - 1, j] + W[i + 1, j] + W[i, j - 1] + W[i, j + 1]""",
        ),
        "reorder W:j W:i; parallel W:j",
    ),
    Accepted(
        "writes interleaved by a remainder",
        program(
            "A: in float32[12], B: out float32[12]",
            """
for i in range(3):
  for j in range(4):
    B[j * 3 + i] = A[i * 4 + j]""",
        ),
        "parallel B:i; vectorize B:j",
    ),
    Accepted(
        "quotient and remainder as two indices",
        program(
            "A: in float32[24], B: out float32[4, 6]",
            """
for i in range(24):
  B[i // 6, i % 6] = A[i]""",
        ),
        "parallel B:i",
    ),
    Accepted(
        "diagonal elements over threads (the gradient of Halide #7385)",
        program(
            "G: in float32[n], D: inout float32[n, n]",
            """
for i in range(n):
  D[i, i] += G[i]""",
        ),
        "parallel D:i",
    ),
    Accepted(
        "blocks on the diagonal",
        program(
            "A: in float32[12], B: inout float32[12, 12]",
            """
for b in range(4):
  for i in range(3):
    for j in range(3):
      B[3 * b + i, 3 * b + j] = A[3 * b + i] + A[3 * b + j]""",
        ),
        "parallel B:b; reorder B:j B:i; vectorize B:i",
    ),
    Accepted(
        "a scan along rows, its columns over threads",
        program(
            "A: in float32[n, m], S: inout float32[n, m]",
            """
for i in range(1, n):
  for j in range(m):
    S[i, j] = S[i - 1, j] + A[i, j]""",
        ),
        "reorder S:j S:i; parallel S:j",
    ),
    Accepted(
        "the upper triangle, transposed in place over threads",
        program(
            "W: inout float32[6, 6]",
            """
for i in range(6):
  for j in range(i + 1, 6):
    alloc T: float32[1] local
      T[0] = W[i, j]
      W[i, j] = W[j, i]
      W[j, i] = T[0]""",
        ),
        "parallel W:i",
    ),
    Accepted(
        "a triangle under a guard, interchanged",
        program(
            "A: in float32[n, n], B: inout float32[n, n]",
            """
for i in range(n):
  for j in range(n):
    if i <= j:
      B[i, j] += A[j, i]""",
        ),
        "reorder B:j B:i; parallel B:j",
    ),
    Accepted(
        "reads ahead of the write, in one iteration",
        program(
            "W: inout float32[n]",
            """
for i in range(n):
  W[i] = W[i] * W[i] + 1.0""",
        ),
        "split W:i 4; vectorize W:i.inner; parallel W:i.outer",
    ),
    Accepted(
        "sums into overlapping windows, turned",
        program(
            "A: in float32[6, 3], B: inout float32[8]",
            """
for i in range(6):
  for j in range(3):
    B[i + j] += A[i, j]""",
        ),
        "reorder B:j B:i; vectorize B:i",
    ),
    Accepted(
        "a histogram's sums in another order",
        program(
            "idx: in int32[n, m], H: inout int32[8]",
            """
for i in range(n):
  for j in range(m):
    H[abs(int64(idx[i, j])) % 8] += int32(1)""",
        ),
        "reorder H:j H:i",
    ),
    Accepted(
        "guards of every kind over lanes",
        program(
            "F: in int32[n], A: in float32[n], B: inout float32[n]",
            """
for i in range(n):
  if F[i] > int32(0) and i % 3 != 1:
    B[i] = A[i]""",
        ),
        "vectorize B:i 8",
    ),
    Accepted(
        "checks that nothing comes after, over threads",
        program(
            "A: in float32[8], B: out float32[8]",
            """
for i in range(8):
  check A[i] > -9.0, "too low"
for j in range(8):
  B[j] = A[j]""",
        ),
        "parallel B:j",
    ),
)
PLACES = (
    Accepted("a halo in tiles", TWO, "split C:j 4; compute_at B C:j.outer; parallel C:j.outer"),
    Accepted(
        "halos of two levels",
        BLUR,
        "split D:k 4; compute_at C D:k.outer; compute_at B D:k.outer; parallel D:k.outer",
    ),
    Accepted(
        "a halo of a halo, one level inside of the other",
        BLUR,
        "split D:k 4; compute_at C D:k.outer; compute_at B C:j",
    ),
    Accepted(
        "a window of symbolic length",
        program(
            "A: in float32[n], C: out float32[n]",
            """
alloc B: float32[n]
  for i in range(n):
    B[i] = A[i] * 2.0
  for j in range(n):
    C[j] = where(j >= 1, B[j - 1], 0.0) + where(j + 1 < n, B[j + 1], 0.0)""",
        ),
        "split C:j 4; compute_at B C:j.outer; parallel C:j.outer",
    ),
    Accepted(
        "a product in the tiles of its epilogue",
        EPILOGUE,
        "split D:x 3; split D:y 4; reorder D:x.outer D:y.outer D:x.inner D:y.inner; "
        "compute_at C D:y.outer; parallel D:x.outer",
    ),
    Accepted(
        "an epilogue in the tiles of its product",
        EPILOGUE,
        "split C:i 3; split C:j 4; reorder C:i.outer C:j.outer C:i.inner C:j.inner C:k; "
        "reverse_compute_at D C:j.outer; parallel C:i.outer",
    ),
    Accepted(
        "a consumer that lags behind by one element",
        program(
            "A: in float32[9], C: inout float32[9], E: out float32[8]",
            """
for i in range(9):
  C[i] = A[i] * 2.0
for x in range(8):
  E[x] = C[x] + C[x + 1]""",
        ),
        "split C:i 3; reverse_compute_at E C:i.outer",
    ),
    Accepted(
        "a chain of three of any length, the last in the middle's tiles (TVM #15911)",
        program(
            "A: in float32[n], B: in float32[n], E: out float32[n]",
            """
alloc C: float32[n]
alloc D: float32[n]
  for c in range(n):
    C[c] = A[c] + B[c]
  for d in range(n):
    D[d] = C[d] + C[d]
  for e in range(n):
    E[e] = D[e] + A[e]""",
        ),
        "split D:d 32; reverse_compute_at E D:d.outer; parallel D:d.outer",
    ),
    Accepted(
        "a sum over blocks between its rows and columns, cached (TVM #17799)",
        program(
            "X: in float32[6, 8, 5], Y: out float32[6, 5]",
            """
for i in range(6):
  for j in range(5):
    Y[i, j] = 0.0
    for k in range(8):
      Y[i, j] += X[i, k, j]""",
        ),
        "split Y:i 4; split Y:k 3; split Y:j 4; "
        "reorder Y:i.outer Y:k.outer Y:j.outer Y:i.inner Y:k.inner Y:j.inner; "
        "cache_write Y Y:j.outer",
    ),
    Accepted(
        "a producer that a guard of its consumer reads",
        program(
            "A: in float32[4], C: inout float32[3]",
            """
alloc B: float32[4]
  for i in range(4):
    B[i] = A[i] * 2.0
  for j in range(3):
    if B[j + 1] > 0.0:
      C[j] = B[j]""",
        ),
        "compute_at B C:j; parallel C:j",
    ),
    Accepted(
        "a value read through quotients and remainders",
        program(
            "A: in float32[4, 6], C: out float32[24]",
            """
alloc B: float32[4, 6]
  for i in range(4):
    for j in range(6):
      B[i, j] = A[i, 5 - j] * 2.0
  for k in range(24):
    C[k] = B[k // 6, k % 6]""",
        ),
        "inline B; split C:k 5; parallel C:k.outer",
    ),
    Accepted(
        "an update of the element that it was made from",
        program(
            "W: inout float32[n], G: in float32[n]",
            """
alloc D: float32[n]
  for i in range(n):
    D[i] = W[i] * 0.5 + G[i]
  for j in range(n):
    W[j] = W[j] - D[j]""",
        ),
        "inline D; vectorize W:j 4",
    ),
    Accepted(
        "independent halves of a body",
        program(
            "A: in float32[n], B: inout float32[n], C: out float32[n]",
            """
for i in range(n):
  B[i] += A[i]
  C[i] = A[i] * 2.0""",
        ),
        "fission B:i B; parallel B:i; vectorize C:i.rest 4",
    ),
    Accepted(
        "a body whose second half lags behind the first",
        program(
            "A: in float32[9], B: inout float32[9], C: inout float32[9]",
            """
for i in range(1, 9):
  B[i] = A[i] * 2.0
  C[i] = B[i - 1] + 1.0""",
        ),
        "fission B:i B; parallel B:i; parallel C:i.rest",
    ),
    Accepted(
        "a consumer of a triangle, element by element",
        program(
            "A: in float32[4, 4], W: inout float32[4, 4]",
            """
alloc B: float32[4, 4]
  for y in range(4):
    for i in range(4):
      B[y, i] = A[y, i] * 2.0
  for j in range(4):
    for k in range(j, 4):
      W[j, k] += B[j, k]""",
        ),
        "reverse_compute_at W B:i",
    ),
    Accepted(
        "a consumer fused where it reads behind",
        program(
            "A: in float32[n], B: out float32[n], C: out float32[n]",
            """
for i in range(n):
  B[i] = A[i] * 2.0
for j in range(n):
  C[j] = where(j > 1, B[j - 2], 0.0)""",
        ),
        "fuse_with B:i C:j",
    ),
    Accepted(
        "loops over different numbers, of which one range is another way to write the other",
        program(
            "A: in float32[n], B: out float32[n], C: out float32[n]",
            """
for i in range(n):
  B[i] = A[i] * 2.0
for j in range(max(n, 0)):
  C[j] = B[j] + 1.0""",
        ),
        "fuse_with B:i C:j; parallel B:i",
    ),
)
MEMORY = (
    Accepted(
        "partial sums of blocks, on lanes",
        MATMUL,
        "decompose_reduction C C:i; split C:k 4; rfactor C:k.inner; vectorize C.rf:k.inner",
    ),
    Accepted(
        "partial sums of ragged blocks, folded in over threads",
        MATMUL,
        "decompose_reduction C C:i; split C:k 4; reorder C:k.outer C:i C:j C:k.inner; "
        "cache_write C C:j fold=True; parallel C:i",
    ),
    Accepted(
        "partial maxima of a ragged row, folded in",
        ROWMAX,
        "decompose_reduction M M:i; split M:k 4; reorder M:k.outer M:i; "
        "cache_write M M:i fold=True",
    ),
    Accepted(
        "partial sums of symbolic blocks, over threads",
        program(
            "A: in float32[n], S: inout float32[1]",
            """
for k in range(n):
  S[0] += A[k]""",
        ),
        "split S:k 4; rfactor S:k.outer; parallel S.rf:k.outer",
    ),
    Accepted(
        "partial maxima of a ragged row",
        ROWMAX,
        "decompose_reduction M M:i; split M:k 4; rfactor M:k.inner; vectorize M.rf:k.inner",
    ),
    Accepted(
        "partial argmax pairs over threads",
        program(
            "A: in float32[3, 10], V: inout float32[3], P: inout int64[3]",
            """
for i in range(3):
  for k in range(10):
    (V[i], P[i]) argmax= (A[i, k], k)""",
        ),
        "split V:k 4; rfactor V:k.outer; parallel V.rf:k.outer",
    ),
    Accepted(
        "a temporary of each iteration, over threads",
        program(
            "A: in float32[n, m], B: out float32[n, m]",
            """
for i in range(n):
  alloc T: float32[m]
    for j in range(m):
      T[j] = A[i, j] * 2.0
    for k in range(m):
      B[i, k] = T[m - 1 - k]""",
        ),
        "parallel B:i",
    ),
    Accepted(
        "panels of a matrix, transposed and padded",
        MATMUL,
        "split C:j 4; cache_read B C:j.outer order=(1,0) pad=0.0; parallel C:i",
    ),
    Accepted(
        "full tiles of a padded product",
        MATMUL,
        "split C:j 4; reorder C:j.outer C:i C:j.inner; cache_read B C:j.outer pad=0.0; "
        "cache_write C C:j.outer; decompose_reduction C.local C.local:j.inner; "
        "relax_guard C.local C.local:j.inner.init; relax_guard C.local C.local:j.inner; "
        "reorder C.local:k C.local:j.inner; vectorize C.local:j.inner",
    ),
    Accepted(
        "a padded copy of a part that was not all written",
        program(
            "A: in float32[n, m], B: out float32[n]",
            """
for i in range(n):
  B[i] = 0.0
  for k in range(m):
    if k <= i:
      B[i] += A[i, k]""",
        ),
        "split B:i 3; cache_write B B:i.outer; split B:B.out0 2; "
        "cache_read B.local B:B.out0.outer pad=0.0",
    ),
    Accepted(
        "a copy for a guard that reads the next element",
        program(
            "A: in float32[5], B: inout float32[4]",
            """
for i in range(4):
  for j in range(1):
    if A[i + 1] > 0.0:
      B[i] = A[i]""",
        ),
        "cache_read A B:i",
    ),
    Accepted(
        "a part that is written, and whose neighbour a guard reads",
        program(
            "A: in float32[5], B: inout float32[5]",
            """
for i in range(4):
  for j in range(1):
    if B[i + 1] > 0.0:
      B[i] = A[i]""",
        ),
        "cache_write B B:i",
    ),
    Accepted(
        "rows fetched one iteration ahead",
        MATMUL,
        "cache_read A C:i; double_buffer A.local C:i",
    ),
    Accepted(
        "tiles fetched three iterations ahead",
        ANY_MATMUL,
        "split C:i 2; cache_read A C:i.outer pad=0.0; pipeline C:i.outer 4",
    ),
    Accepted(
        "a copy ahead of writes that never reach it",
        program(
            "W: inout float32[9, 4]",
            """
for i in range(6):
  alloc T: float32[4]
    for x in range(4):
      T[x] = W[i, x]
    for y in range(4):
      W[i + 3, y] = T[y] * 0.5""",
        ),
        "pipeline W:i 3",
    ),
    Accepted(
        "what an iteration adds, collected and copied back",
        program(
            "A: in float32[6, 3], B: inout float32[8]",
            """
for i in range(6):
  for j in range(3):
    B[i + j] += A[i, j]""",
        ),
        "split B:i 2; cache_write B B:i.outer",
    ),
    Accepted(
        "an intrinsic on the full tiles, its tail peeled",
        program(
            "A: in float32[n, 5], B: in float32[5, 10], C: inout float32[n, 10]",
            """
for i in range(n):
  for k in range(5):
    for j in range(10):
      C[i, j] += A[i, k] * B[k, j]""",
        ),
        "split C:j 4 tail=peel; tensorize C:j.inner fma.4; parallel C:i",
    ),
    Accepted(
        "padded rows of a buffer, in lanes down its columns",
        program(
            "A: in float32[8, 6], C: out float32[6, 8]",
            """
alloc T: float32[8, 6]
  for i in range(8):
    for j in range(6):
      T[i, j] = A[i, j]
  for x in range(6):
    for y in range(8):
      C[x, y] = T[y, x]""",
        ),
        "storage_align T 0 8 1; vectorize C:y; parallel C:x; vectorize T:j",
    ),
)
