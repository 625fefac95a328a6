"""Steps that no grid of blocks and threads can run, or that mistake whose memory is whose."""

from __future__ import annotations

from schedule.lists import EPILOGUE, MATMUL, Refused, program

LONG = program(
    "A: in float32[131072, 2], B: out float32[131072, 2]",
    """
for i in range(131072):
  for j in range(2):
    B[i, j] = A[i, j]""",
)
WIDE = program(
    "A: in float32[64, 64], B: out float32[64, 64]",
    """
for i in range(64):
  for j in range(64):
    B[i, j] = A[i, j]""",
)
SYMBOLIC = program(
    "A: in float32[4, n], B: out float32[4, n]",
    """
for i in range(4):
  for j in range(n):
    B[i, j] = A[i, j]
    B[i, j] = B[i, j] + A[i, j]""",
)
TWICE = program(
    "A: in float32[8], S: out float32[]",
    """
S[] = 0.0
for i in range(8):
  S[] += A[i]
  S[] += A[i] * A[i]""",
)
COUNTS = program(
    "A: in int64[8], S: inout float32[4]",
    """
for i in range(8):
  S[abs(A[i]) % 4] += 1.0""",
)
TRIANGLE = program(
    "A: in float32[8, 8], B: inout float32[8, 8]",
    """
for i in range(8):
  for j in range(i + 1):
    B[i, j] = A[i, j]""",
)
AGAIN = program(
    "A: in float32[8], S: out float32[]",
    """
for t in range(2):
  S[] = 0.0
  for i in range(8):
    S[] += A[i]""",
)
GRIDS = (
    Refused("a sum over the blocks of a grid", MATMUL, "", "bind C:k block.x"),
    Refused("a sum over the rows of a block's threads", MATMUL, "", "bind C:k thread.y"),
    Refused("a rounded sum over threads, in strict order", MATMUL, "", "bind C:k thread.x", True),
    Refused("a sum over threads into elements that data choose", COUNTS, "", "bind S:i thread.x"),
    Refused("two sums into one element over threads", TWICE, "", "bind S:i thread.x"),
    Refused(
        "an initialisation by each of the threads that fold",
        AGAIN,
        "",
        "bind S:t thread.x",
    ),
    Refused("threads of two loops", WIDE, "bind B:i thread.y", "bind B:j thread.x"),
    Refused("threads of a loop around others", WIDE, "bind B:j thread.x", "bind B:i thread.y"),
    Refused("a long axis of blocks", LONG, "", "bind B:i block.y"),
    Refused("a triangle of blocks", TRIANGLE, "bind B:i block.y", "bind B:j block.x"),
    Refused("blocks inside of threads", WIDE, "bind B:i thread.x", "bind B:j block.x"),
    Refused("threads around blocks", WIDE, "bind B:j block.x", "bind B:i thread.x"),
    Refused(
        "blocks inside of one block's memory",
        EPILOGUE,
        "set_scope C shared",
        "bind C:i block.x",
    ),
    Refused(
        "blocks inside of one thread's memory",
        EPILOGUE,
        "set_scope C local",
        "bind D:x block.y",
    ),
    Refused(
        "one block's memory around the blocks",
        EPILOGUE,
        "bind C:i block.x; bind D:x block.x",
        "set_scope C shared",
    ),
    Refused(
        "one block's copy around the blocks",
        MATMUL,
        "bind C:j block.x",
        "cache_read A C:i scope=shared",
    ),
    Refused(
        "one block's copy of any size",
        SYMBOLIC,
        "bind B:i block.x",
        "cache_read A B:i scope=shared",
    ),
)
