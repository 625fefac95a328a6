"""Barriers stand where a dependence crosses threads, and nowhere else."""

from __future__ import annotations

from codegen.cuda.programs import ROW_SUMS, emitted, gemm


def body(nests: str, shared: str = "S: float32[64] shared") -> str:
    inner = "".join(f"      {line}\n" for line in nests.strip("\n").splitlines())
    return (
        "program p(A: in float32[64], B: out float32[64]):\n"
        f"  for b in block.x(1):\n    alloc {shared}\n{inner}"
    )


def calls(text: str) -> list[str]:
    """The barriers of a program, as lines of its source."""
    lines = [line.strip() for line in emitted(text).source.splitlines()]
    return [line for line in lines if line.startswith("__sync")]


def test_a_tiled_product_waits_twice_in_each_step() -> None:
    module = emitted(gemm())
    first, second = module.barriers["gemm_C"]
    assert not first.warp
    assert not second.warp
    assert {d.buffer for d in first.serves} == {"As", "Bs"}
    lines = [line.strip() for line in module.source.splitlines()]
    assert lines.index("for (int ko = 0; ko < 64; ++ko) {") + 1 == lines.index("__syncthreads();")
    assert lines.count("__syncthreads();") == 2
    again = emitted(gemm(), drop=1).source
    assert again.count("__syncthreads") == 1


def test_what_one_thread_writes_and_reads_needs_no_barrier() -> None:
    text = body("""
for t in thread.x(64):
  S[t] = A[t]
for t in thread.x(64):
  B[t] = S[t]
""")
    assert calls(text) == []


def test_threads_of_one_warp_need_the_warp_alone() -> None:
    text = body("""
for t in thread.x(64):
  S[t] = A[t]
for t in thread.x(64):
  B[t] = S[t // 32 * 32 + (31 - t % 32)]
""")
    assert calls(text) == ["__syncwarp();"]


def test_threads_of_different_warps_need_the_block() -> None:
    text = body("""
for t in thread.x(64):
  S[t] = A[t]
for t in thread.x(64):
  B[t] = S[63 - t]
""")
    assert calls(text) == ["__syncthreads();"]
    (barrier,) = emitted(text).barriers["p_B"]
    assert [str(d) for d in barrier.serves] == [
        "S: S[t] = A[t] before B[t] = S[63 - t], in threads of the block"
    ]


def test_two_slots_need_one_barrier_in_each_step() -> None:
    text = """program p(A: in float32[8, 64], B: out float32[8, 64]):
  for b in block.x(1):
    alloc S: float32[2, 64] shared
      for t in thread.x(64):
        S[0, t] = A[0, t]
      for i in range(8):
        if i + 1 < 8:
          for t in thread.x(64):
            S[(i + 1) % 2, t] = A[i + 1, t]
        for t in thread.x(64):
          B[i, t] = S[i % 2, 63 - t]
"""
    assert calls(text) == ["__syncthreads();"]
    lines = [line.strip() for line in emitted(text).source.splitlines()]
    assert lines[lines.index("for (int i = 0; i < 8; ++i) {") + 1] == "__syncthreads();"


def test_a_barrier_is_no_part_of_a_loop_where_it_need_not_be() -> None:
    text = body("""
for t in thread.x(64):
  S[t] = A[t]
for i in range(8):
  for t in thread.x(64):
    B[t] = S[63 - t] * float32(i)
""")
    source = emitted(text).source
    assert source.index("__syncthreads();") < source.index("for (int i")
    assert source.count("__syncthreads();") == 1


def test_a_row_sum_waits_once_for_its_warps() -> None:
    assert calls(ROW_SUMS) == ["__syncthreads();"]
