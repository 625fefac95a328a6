"""Operations of a warp and of a block, against what the PTX manual says of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from emulator.harness import ORDERS, built, run
from tensorc.emulator import LaunchOptions

Array = np.ndarray[Any, Any]

SHUFFLES = """
#define SHUFFLE(NAME, CALL) \\
  extern "C" __global__ void NAME(const int* x, int* y, int b, int width) { \\
    int v = x[threadIdx.x]; y[threadIdx.x] = CALL; }
SHUFFLE(up, __shfl_up_sync(~0u, v, b, width))
SHUFFLE(down, __shfl_down_sync(~0u, v, b, width))
SHUFFLE(bfly, __shfl_xor_sync(~0u, v, b, width))
SHUFFLE(idx, __shfl_sync(~0u, v, b, width))
"""


def shuffled(name: str, lane: int, b: int, width: int) -> int:
    """The lane that a lane reads, by CUDA's documentation of __shfl_*_sync."""
    first = lane // width * width
    if name == "up":
        return lane - b if lane - b >= first else lane
    if name == "down":
        return lane + b if lane + b < first + width else lane
    if name == "bfly":
        return lane ^ b if lane ^ b < first + width else lane
    return first + b % width


@pytest.mark.parametrize("name", ["up", "down", "bfly", "idx"])
def test_a_shuffle_reads_the_lane_that_cuda_documents(name: str) -> None:
    module = built(SHUFFLES)
    x = np.arange(100, 164, dtype=np.int32)
    for width in (4, 8, 32):
        for b in (0, 1, 3, 5, 16, 31):
            y = np.zeros_like(x)
            options = ORDERS[(b + width) % 3]
            result = run(
                module, name, (1,), (64,), x, y, np.int32(b), np.int32(width), options=options
            )
            assert result.ok, result.describe()
            lanes = [i // 32 * 32 + shuffled(name, i % 32, b, width) for i in range(64)]
            np.testing.assert_array_equal(y, x[lanes])


VOTES = """
extern "C" __global__ void votes(const int* x, unsigned* y) {
  int lane = threadIdx.x % 32, v = x[threadIdx.x];
  unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  unsigned* out = y + threadIdx.x * 12;
  out[0] = __ballot_sync(~0u, v > 2);
  out[1] = __any_sync(half, v > 6);
  out[2] = __all_sync(half, v >= 0);
  out[3] = __match_any_sync(half, v);
  int same; out[4] = __match_all_sync(half, v / 100, &same); out[5] = same;
  out[6] = __reduce_add_sync(half, (unsigned)v);
  out[7] = __reduce_min_sync(half, v - 4);
  out[8] = __reduce_max_sync(half, (unsigned)(v - 4));
  out[9] = __reduce_xor_sync(half, (unsigned)v);
  out[10] = __syncthreads_count(v > 2);
  out[11] = __syncthreads_or(v == 9) * 2 + __syncthreads_and(v >= 0);
}
"""


@pytest.mark.parametrize("options", ORDERS, ids=[options.order for options in ORDERS])
def test_votes_matches_and_reductions_see_the_lanes_of_their_mask(options: LaunchOptions) -> None:
    x = np.random.default_rng(3).integers(0, 9, 64).astype(np.int32)
    y = np.zeros((64, 12), np.uint32)
    result = run(built(VOTES), "votes", (1,), (64,), x, y, options=options)
    assert result.ok, result.describe()
    for thread in range(64):
        warp, first = x[thread // 32 * 32 :][:32], thread % 32 // 16 * 16
        half = warp[first : first + 16]
        ones = 0xFFFF << first

        def bits(condition: Array, start: int = first) -> int:
            return int(sum(1 << (start + i) for i, set_ in enumerate(condition) if set_))

        expected = [
            bits(warp > 2, 0),
            (half > 6).any(),
            1,
            bits(half == x[thread]),
            ones,
            1,
            half.sum(),
            int((half - 4).min()) % 2**32,
            ((half - 4).astype(np.int64) % 2**32).max(),
            np.bitwise_xor.reduce(half),
            (x > 2).sum(),
            1,
        ]
        np.testing.assert_array_equal(y[thread], np.array(expected, np.int64))


SPIN = """
extern "C" __global__ void spin(int* out) {
  __shared__ volatile int flag;
  if (threadIdx.x == 0) flag = 0;
  __syncthreads();
  if (threadIdx.x == 0) while (flag == 0);
  else if (threadIdx.x == 63) flag = 1;
  __syncthreads();
  out[threadIdx.x] = flag;
}
extern "C" __global__ void forever(int* out) { while (atomicAdd(out, 0) == 0); }
extern "C" __global__ void two(int* out) {
  if (threadIdx.x < 32) __syncthreads(); else { out[0] = 1; __syncthreads(); }
}
extern "C" __global__ void left(int* out) {
  if (threadIdx.x == 5) return;
  out[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = 2;
}
extern "C" __global__ void half(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(~0u, threadIdx.x, 0);
}
extern "C" __global__ void outside(int* out) {
  if (threadIdx.x >= 16) out[threadIdx.x] = __shfl_sync(0xffffu, threadIdx.x, 0);
}
"""


def test_a_thread_that_spins_on_a_flag_lets_the_others_run() -> None:
    out = np.zeros(64, np.int32)
    result = run(built(SPIN), "spin", (1,), (64,), out)
    assert result.ok, result.describe()
    assert (out == 1).all()


def test_a_kernel_that_never_ends_meets_its_limits() -> None:
    out = np.zeros(1, np.int32)
    steps = run(built(SPIN), "forever", (1,), (1,), out, options=LaunchOptions(steps=10**6))
    assert steps.error.startswith("the launch took more than 1000000 loop iterations, its limit")
    time = run(built(SPIN), "forever", (1,), (1,), out, options=LaunchOptions(seconds=0.05))
    assert time.error.startswith(
        "the launch took more than 0.05 seconds of processor time, its limit"
    )


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("two", "threads of one block wait at different __syncthreads (block 0,0,0 thread"),
        ("left", "63 of 64 threads reached barrier 0; 1 threads have left (block 0)"),
        ("half", "a warp operation for lanes 0xffffffff waits for lanes 0xffff0000 of warp 0"),
        ("outside", "the lane that calls a warp operation is not in its mask 0xffff"),
    ],
)
def test_divergence_is_explained(kernel: str, message: str) -> None:
    result = run(built(SPIN), kernel, (1,), (64,), np.zeros(64, np.int32))
    assert not result.ok
    assert result.error.startswith(message), result.error


TALK = """
extern "C" __global__ void talk(int n, long long big, double x) {
  printf("%d of %s: %lld %5.2f %%\\n", n, "two", big, x);
  printf("%08x %c %u\\n", 48879, 'z', 4000000000u);
}
extern "C" __global__ void deny(int n) { assert(n == 3); }
extern "C" __global__ void slow(const float* x, float* y) {
  y[threadIdx.x] = sinf(x[threadIdx.x]);
}
extern "C" __global__ void pick(const int* x, int* y) {
  int r;
  switch (x[threadIdx.x]) {
    case 0: r = 7; break;
    case 1: r = x[0] + 1; break;
    case 2: r = x[1] * 5; break;
    case 3: r = x[2] - 9; break;
    case 4: r = x[3] ^ 3; break;
    case 5: r = x[4] << 2; break;
    default: r = -1;
  }
  y[threadIdx.x] = r;
}
"""


def test_printf_prints_as_c_does() -> None:
    result = run(*(built(TALK), "talk", (1,), (1,), np.int32(-3), np.int64(2**40), np.float64(2.5)))
    assert result.printed == "-3 of two: 1099511627776  2.50 %\n0000beef z 4000000000\n"


def test_an_assertion_that_fails_says_where() -> None:
    assert run(built(TALK), "deny", (1,), (1,), np.int32(3)).ok
    result = run(built(TALK), "deny", (1,), (1,), np.int32(4))
    assert "kernel.cu:6" in result.error
    assert "assertion `n == 3` failed" in result.error


def test_the_slow_path_of_sine_uses_local_memory() -> None:
    x = np.array([0.5, 1e5, 2e6, -3e30, np.inf], np.float32)
    y = np.zeros_like(x)
    for checked in (False, True):
        options = LaunchOptions(checked=checked)
        result = run(built(TALK, checked=checked), "slow", (1,), (5,), x, y, options=options)
        assert result.ok, result.describe()
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(y, np.sin(x.astype(np.float64)), rtol=3e-7)


def test_a_switch_jumps_by_a_table() -> None:
    x = np.arange(8, dtype=np.int32)
    y = np.zeros_like(x)
    result = run(built(TALK), "pick", (1,), (8,), x, y)
    assert result.ok, result.describe()
    np.testing.assert_array_equal(y, [7, 1, 5, -7, 0, 16, -1, -1])
