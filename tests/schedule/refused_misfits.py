"""Steps that do not fit what stands there: conditions, buffers and nests of another form."""

from __future__ import annotations

from schedule.lists import MATMUL, TWO, Refused, program

CHOSEN = program(
    "F: in int32[4], A: in float32[4, 5], B: inout float32[4, 5]",
    """
for i in range(4):
  if F[i] > int32(0):
    for j in range(5):
      B[i, j] = A[i, j]""",
)
SIDES = program(
    "A: in float32[10], C: out float32[16], D: inout float32[16]",
    """
alloc T: float32[16]
  for i in range(16):
    if i < 10:
      T[i] = A[i]
    else:
      T[i] = 0.0
  for x in range(16):
    if x < 8:
      T[x] = T[x] + 1.0
      D[x] = 1.0
  for j in range(16):
    C[j] = T[j]""",
)
MISFITS = (
    Refused("loops that a condition on data separates", CHOSEN, "", "reorder B:j B:i"),
    Refused("a cache of what the loop does not write", TWO, "", "cache_write C B:i"),
    Refused("a copy of what the loop does not read", TWO, "", "cache_read A C:j"),
    Refused("a copy of nothing", TWO, "", "cache_read Q C:j"),
    Refused("a cache in memory that there is not", MATMUL, "", "cache_write C C:i scope=near"),
    Refused("a buffer in memory that there is not", TWO, "", "set_scope B shard"),
    Refused(
        "a copy of what is an iteration's own",
        program(
            "A: in float32[4], B: out float32[4]",
            """
for i in range(4):
  alloc T: float32[1]
    T[0] = A[i]
    B[i] = T[0]""",
        ),
        "",
        "cache_read T B:i",
    ),
    Refused(
        "a stride of rows of symbolic length",
        program(
            "A: in float32[n], C: out float32[2, 3, n]",
            """
alloc T: float32[2, 3, n]
  for i in range(2):
    for j in range(3):
      for k in range(n):
        T[i, j, k] = A[k]
  for x in range(2):
    for y in range(3):
      for z in range(n):
        C[x, y, z] = T[x, y, z]""",
        ),
        "",
        "storage_align T 0 8",
    ),
    Refused("a guard with another side to it", SIDES, "", "relax_guard T T:i"),
    Refused("a guard of something else too", SIDES, "", "relax_guard T T:x"),
    Refused(
        "a consumer in two nests",
        program(
            "A: in float32[8], C: inout float32[8], E: out float32[8]",
            """
for i in range(8):
  C[i] = A[i] * 2.0
for x in range(8):
  E[x] = C[x]
for y in range(8):
  E[y] = E[y] + C[y]""",
        ),
        "",
        "reverse_compute_at E C:i",
    ),
    Refused(
        "a consumer of elements that data choose",
        program(
            "F: in int64[8], A: in float32[8], C: inout float32[8], E: out float32[8]",
            """
for i in range(8):
  for k in range(F[i]):
    C[i] += A[k % 8]
for x in range(8):
  E[x] = C[x] + 1.0""",
        ),
        "",
        "reverse_compute_at E C:k",
    ),
    Refused(
        "a consumer in rows whose number is data",
        program(
            "F: in int64[1], A: in float32[8], C: inout float32[8], E: out float32[8]",
            """
for i in range(min(F[0], 8)):
  C[i] = A[i] * 2.0
for x in range(8):
  E[x] = C[x] + 1.0""",
        ),
        "",
        "reverse_compute_at E C:i",
    ),
    Refused(
        "a producer that nobody reads",
        program(
            "A: in float32[8], C: out float32[8]",
            """
alloc B: float32[8]
  for i in range(8):
    B[i] = A[i] * 2.0
  for j in range(8):
    C[j] = A[j]""",
        ),
        "",
        "compute_at B C:j",
    ),
    Refused(
        "one half of a pair in its consumer's loop",
        program(
            "A: in float32[3, 8], C: out float32[3]",
            """
alloc V: float32[3]
alloc P: int64[3]
  for i in range(3):
    V[i] = float32(-inf)
    P[i] = 9223372036854775807
    for k in range(8):
      (V[i], P[i]) argmax= (A[i, k], k)
  for j in range(3):
    C[j] = V[j]""",
        ),
        "",
        "compute_at V C:j",
    ),
    Refused(
        "slots for rows whose number is data",
        program(
            "N: in int64[], A: in float32[6, 4], B: inout float32[6, 4]",
            """
for i in range(min(N[], 6)):
  alloc T: float32[4]
    for x in range(4):
      T[x] = A[i, x]
    for y in range(4):
      B[i, y] = T[y]""",
        ),
        "",
        "pipeline B:i 2",
    ),
    Refused(
        "a copy that data may leave out",
        program(
            "F: in int32[6], A: in float32[6, 4], B: inout float32[6, 4]",
            """
for i in range(6):
  alloc T: float32[4]
    if F[i] > int32(0):
      for x in range(4):
        T[x] = A[i, x]
    if F[i] > int32(0):
      for y in range(4):
        B[i, y] = T[y]""",
        ),
        "",
        "pipeline B:i 2",
    ),
    Refused(
        "a copy of what the same iteration computes",
        program(
            "A: in float32[6, 4], B: out float32[6, 4]",
            """
for i in range(6):
  alloc S: float32[4]
  alloc T: float32[4]
    for w in range(4):
      S[w] = 0.0
      S[w] += A[i, w]
    for x in range(4):
      T[x] = S[3 - x]
    for y in range(4):
      B[i, y] = T[y]""",
        ),
        "",
        "double_buffer T B:i",
    ),
    Refused(
        "partial results in a range that is data",
        program(
            "L: in int64[4], A: in float32[4, 8], S: inout float32[4]",
            """
for i in range(4):
  for k in range(L[i]):
    S[i] += A[i, k]""",
        ),
        "",
        "rfactor S:k",
    ),
    Refused(
        "an initialisation that data may leave out",
        program(
            "F: in int32[4], A: in float32[4, 8], S: inout float32[4]",
            """
for i in range(4):
  if F[i] > int32(0):
    S[i] = 0.0
  for k in range(8):
    S[i] += A[i, k]""",
        ),
        "",
        "decompose_reduction S S:i",
    ),
    Refused("a loop that was split already", TWO, "split C:j 4", "unroll C:j"),
    Refused("a stage that is not there", TWO, "", "inline Q"),
)
