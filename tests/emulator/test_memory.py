"""Loads, stores, atomics, asynchronous copies and barriers in shared memory."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from emulator.harness import ORDERS, Tensor2D, built, run
from emulator.scalar import DTYPES
from tensorc.emulator import EmulatedModule, LaunchOptions

HEAD = ".version 8.0\n.target sm_90\n.address_size 64\n"
BOTH = [LaunchOptions(), LaunchOptions(checked=True), *ORDERS[1:]]


def move_kernel(kind: str, vector: int) -> str:
    """y[tid] = x[tid], a vector at a time, through shared memory."""
    size = np.dtype(DTYPES[kind]).itemsize
    register = {1: "b16", 2: "b16", 4: "b32", 8: "b64"}[size]
    register = kind if kind[0] == "f" else register
    names = ", ".join(f"%v{i}" for i in range(vector))
    operand = f"{{{names}}}" if vector > 1 else names
    suffix = f".v{vector}" if vector > 1 else ""
    total = size * vector
    return f"""
.visible .entry move_{kind}_{vector}(.param .u64 x, .param .u64 y)
{{
  .shared .align 16 .b8 box_{kind}_{vector}[{32 * total}];
  .reg .{register} %v<8>; .reg .b64 %q<8>; .reg .b32 %i<4>;
  mov.u32 %i0, %tid.x;
  ld.param.u64 %q0, [x];
  ld.param.u64 %q1, [y];
  mad.wide.u32 %q2, %i0, {total}, %q0;
  mad.wide.u32 %q3, %i0, {total}, %q1;
  mov.u32 %i1, box_{kind}_{vector};
  mad.lo.u32 %i2, %i0, {total}, %i1;
  ld.global.nc{suffix}.{kind} {operand}, [%q2];
  st.shared{suffix}.{kind} [%i2], {operand};
  bar.warp.sync -1;
  ld.shared{suffix}.{kind} {operand}, [%i2];
  st.global.cs{suffix}.{kind} [%q3], {operand};
  ret;
}}"""


FORMS = [(k, v) for k in ("u8", "s8", "b16", "s32", "f32", "b64", "f64") for v in (1, 2, 4)]
FORMS = [(k, v) for k, v in FORMS if v * np.dtype(DTYPES[k]).itemsize <= 16]


def test_every_width_and_vector_moves_through_shared_memory() -> None:
    module = EmulatedModule(HEAD + "".join(move_kernel(*form) for form in FORMS), checked=True)
    rng = np.random.default_rng(1)
    for kind, vector in FORMS:
        x = rng.integers(-100, 100, 32 * vector).astype(DTYPES[kind])
        y = np.zeros_like(x)
        options = LaunchOptions(checked=True)
        result = run(module, f"move_{kind}_{vector}", (1,), (32,), x, y, options=options)
        assert result.ok, result.describe()
        np.testing.assert_array_equal(x, y)


ATOMICS = """
#define ATOMIC(NAME, T, CALL) \\
  extern "C" __global__ void NAME(T* out, const T* x) { T v = x[threadIdx.x]; CALL; }
ATOMIC(add_i, int, atomicAdd(out, v))
ATOMIC(add_l, unsigned long long, atomicAdd(out, v))
ATOMIC(add_f, float, atomicAdd(out, v))
ATOMIC(add_d, double, atomicAdd(out, v))
ATOMIC(min_i, int, atomicMin(out, v))
ATOMIC(max_i, int, atomicMax(out, v))
ATOMIC(max_u, unsigned, atomicMax(out, v))
ATOMIC(and_u, unsigned, atomicAnd(out, v))
ATOMIC(or_u, unsigned, atomicOr(out, v))
ATOMIC(xor_u, unsigned, atomicXor(out, v))
ATOMIC(sub_i, int, atomicSub(out, v))
ATOMIC(inc_u, unsigned, atomicInc(out, 40u))
ATOMIC(dec_u, unsigned, atomicDec(out, 50u))
extern "C" __global__ void largest(float* out, const float* x) {  // By compare and swap.
  int* bits = (int*)out;
  int old = *(volatile int*)bits;
  while (x[threadIdx.x] > __int_as_float(old)) {
    int seen = atomicCAS(bits, old, __float_as_int(x[threadIdx.x]));
    if (seen == old) break;
    old = seen;
  }
}
extern "C" __global__ void last(int* out, const int* x) {
  out[1 + threadIdx.x] = atomicExch(out, x[threadIdx.x]);
}
"""
_U32 = np.uint32
ATOMIC_TABLE: dict[str, tuple[Any, Any]] = {
    "add_i": (np.int32, lambda a, x: a + x.sum()),
    "add_l": (np.uint64, lambda a, x: a + x.sum()),
    "add_f": (np.float32, lambda a, x: a + x.sum()),
    "add_d": (np.float64, lambda a, x: a + x.sum()),
    "min_i": (np.int32, lambda a, x: min(a, x.min())),
    "max_i": (np.int32, lambda a, x: max(a, x.max())),
    "max_u": (_U32, lambda a, x: max(a, x.max())),
    "and_u": (_U32, lambda a, x: a & np.bitwise_and.reduce(x)),
    "or_u": (_U32, lambda a, x: a | np.bitwise_or.reduce(x)),
    "xor_u": (_U32, lambda a, x: a ^ np.bitwise_xor.reduce(x)),
    "sub_i": (np.int32, lambda a, x: a - x.sum()),
    "inc_u": (_U32, lambda a, _: (int(a) + 96) % 41),
    "dec_u": (_U32, lambda a, _: (int(a) - 96) % 51),
    "largest": (np.float32, lambda a, x: max(a, x.max())),
}


@pytest.mark.parametrize("name", ATOMIC_TABLE)
def test_an_atomic_updates_once_for_each_thread(name: str) -> None:
    kind, reference = ATOMIC_TABLE[name]
    x = np.random.default_rng(2).integers(0, 200, 96).astype(kind)
    out = np.array([5], kind)
    expected = reference(out[0], x)
    for options in ORDERS:
        result = run(built(ATOMICS), name, (1,), (96,), fresh := out.copy(), x, options=options)
        assert result.ok, result.describe()
        assert fresh[0] == expected


def test_an_exchange_hands_each_value_on_once() -> None:
    x, out = np.arange(1, 65, dtype=np.int32), np.zeros(65, np.int32)
    for options in ORDERS:
        out[:] = 0
        assert run(built(ATOMICS), "last", (1,), (64,), out, x, options=options).ok
        assert sorted(out) == [0, *x]


HALF_ATOMICS = HEAD + "".join(
    f"""
.visible .entry add_{name}(.param .u64 out, .param .u64 x)
{{
  .reg .b64 %q<4>; .reg .b32 %i<4>; .reg .b16 %h<2>;
  mov.u32 %i0, %tid.x;
  ld.param.u64 %q0, [out];
  ld.param.u64 %q1, [x];
  mad.wide.u32 %q2, %i0, {size}, %q1;
  ld.global.b{8 * size} {register}, [%q2];
  red.global.add.noftz.{name} [%q0], {register};
  ret;
}}"""
    for name, size, register in (("f16", 2, "%h0"), ("bf16x2", 4, "%i1"))
)


def test_atomics_of_halves_round_to_nearest() -> None:
    module = EmulatedModule(HALF_ATOMICS)
    x, out = np.arange(32).astype(np.float16), np.zeros(1, np.float16)
    assert run(module, "add_f16", (1,), (32,), out, x).ok
    assert out[0] == 496
    y, pair = np.arange(16).astype(ml_dtypes.bfloat16), np.zeros(2, ml_dtypes.bfloat16)
    assert run(module, "add_bf16x2", (1,), (8,), pair, y).ok
    np.testing.assert_array_equal(pair.astype(np.float32), [56, 64])


COPIES = """
typedef unsigned u32;
__device__ __forceinline__ u32 at(const void* p) { return (u32)__cvta_generic_to_shared(p); }
extern "C" __global__ void sizes(const float* x, float* y) {
  __shared__ __align__(16) float box[32 * 4];
  int t = threadIdx.x;
  for (int i = 0; i < 4; ++i) box[t * 4 + i] = -1.0f;
  // A thread copies 16 bytes, of which (t % 5) * 4 come from memory and the others are zero.
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;"
               :: "r"(at(box + t * 4)), "l"(x + t * 4), "r"(t % 5 * 4) : "memory");
  asm volatile("cp.async.commit_group;" ::: "memory");
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  for (int i = 0; i < 4; ++i) y[t * 4 + i] = box[t * 4 + i];
}
extern "C" __global__ void ignored(const float* x, float* y) {
  __shared__ __align__(16) float box[32];
  int t = threadIdx.x;
  asm volatile("{ .reg .pred p; setp.gt.u32 p, %2, 15;"
               "cp.async.ca.shared.global [%0], [%1], 4, p; }"
               :: "r"(at(box + t)), "l"(x + t), "r"(t) : "memory");
  asm volatile("cp.async.wait_all;" ::: "memory");
  y[t] = box[t];
}
extern "C" __global__ void groups(const float* x, float* y) {
  __shared__ float box[3][32];
  int t = threadIdx.x;
  for (int g = 0; g < 3; ++g) {
    box[g][t] = -1.0f;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;"
                 :: "r"(at(&box[g][t])), "l"(x + g * 32 + t) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  asm volatile("cp.async.wait_group 1;" ::: "memory");
  for (int g = 0; g < 3; ++g) y[g * 32 + t] = *(volatile float*)&box[g][t];
  asm volatile("cp.async.wait_group 0;" ::: "memory");
}
extern "C" __global__ void bulk(const float* x, float* y) {
  __shared__ __align__(128) float box[256];
  __shared__ __align__(8) unsigned long long bar;
  if (threadIdx.x == 0) asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(at(&bar)));
  __syncthreads();
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], 1024;" :: "r"(at(&bar)));
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
                 " [%0], [%1], 1024, [%2];" :: "r"(at(box)), "l"(x), "r"(at(&bar)) : "memory");
  }
  asm volatile("{ .reg .pred p; again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], 0;"
               "@!p bra again; }" :: "r"(at(&bar)) : "memory");
  float v = box[threadIdx.x] * 2.0f;
  __syncthreads();
  box[threadIdx.x] = v;
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  if (threadIdx.x == 0) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], 1024;"
                 :: "l"(y), "r"(at(box)) : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
  }
}
extern "C" __global__ void phases(int* y) {  // A token of each arrival, and its phase.
  __shared__ __align__(8) unsigned long long bar;
  __shared__ int count;
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" :: "r"(at(&bar)), "r"(blockDim.x));
    count = 0;
  }
  __syncthreads();
  for (int i = 1; i <= 3; ++i) {
    atomicAdd(&count, 1);
    unsigned long long token;
    asm volatile("mbarrier.arrive.shared.b64 %0, [%1];" : "=l"(token) : "r"(at(&bar)) : "memory");
    asm volatile("{ .reg .pred p; again: mbarrier.test_wait.shared.b64 p, [%0], %1;"
                 "@!p bra again; }" :: "r"(at(&bar)), "l"(token) : "memory");
    y[threadIdx.x] += atomicAdd(&count, 0) >= i * blockDim.x;
  }
}
"""


@pytest.mark.parametrize("options", BOTH, ids=["fast", "checked", "reverse", "random"])
def test_an_asynchronous_copy_fills_with_zeros_what_it_does_not_read(
    options: LaunchOptions,
) -> None:
    module = built(COPIES, "compute_90", checked=options.checked)
    x, y = np.arange(1, 129, dtype=np.float32), np.zeros(128, np.float32)
    assert run(module, "sizes", (1,), (32,), x, y, options=options).ok
    kept = np.arange(4)[None] < np.arange(32)[:, None] % 5
    np.testing.assert_array_equal(y.reshape(32, 4), np.where(kept, x.reshape(32, 4), 0))
    assert run(module, "ignored", (1,), (32,), x, y, options=options).ok
    np.testing.assert_array_equal(y[:32], np.where(np.arange(32) > 15, 0, x[:32]))


def test_only_groups_that_were_waited_for_have_arrived() -> None:
    module = built(COPIES, "compute_90")
    x, y = np.arange(1, 97, dtype=np.float32), np.zeros(96, np.float32)
    assert run(module, "groups", (1,), (32,), x, y).ok
    np.testing.assert_array_equal(y[:64], x[:64])
    assert (y[64:] == -1).all()


@pytest.mark.parametrize("options", BOTH, ids=["fast", "checked", "reverse", "random"])
def test_bulk_copies_go_both_ways(options: LaunchOptions) -> None:
    module = built(COPIES, "compute_90", checked=options.checked)
    x, y = np.arange(256, dtype=np.float32), np.zeros(256, np.float32)
    result = run(module, "bulk", (1,), (256,), x, y, options=options)
    assert result.ok, result.describe()
    np.testing.assert_array_equal(y, 2 * x)


@pytest.mark.parametrize("options", ORDERS, ids=[options.order for options in ORDERS])
def test_a_token_waits_for_the_phase_of_its_arrival(options: LaunchOptions) -> None:
    y = np.zeros(96, np.int32)
    result = run(built(COPIES, "compute_90"), "phases", (1,), (96,), y, options=options)
    assert result.ok, result.describe()
    assert (y == 3).all()


TENSORS = """
typedef unsigned u32;
struct __align__(64) Map { unsigned long long opaque[16]; };
__device__ __forceinline__ u32 at(const void* p) { return (u32)__cvta_generic_to_shared(p); }
extern "C" __global__ void box(const __grid_constant__ Map from, const __grid_constant__ Map to,
                               int column, int row) {
  extern __shared__ __align__(1024) unsigned char tile[];
  __shared__ __align__(8) unsigned long long bar;
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(at(&bar)));
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :: "r"(at(&bar)), "r"(BYTES));
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile"
                 ".mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
                 :: "r"(at(tile)), "l"(&from), "r"(at(&bar)), "r"(column), "r"(row) : "memory");
    asm volatile("{ .reg .pred p; again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], 0;"
                 "@!p bra again; }" :: "r"(at(&bar)) : "memory");
    asm volatile("STORE [%0, {%2, %3}], [%1];"
                 :: "l"(&to), "r"(at(tile)), "r"(0), "r"(0) : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
  }
}
"""
_STORE = "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group"
_ADD = "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group"


@pytest.mark.parametrize("options", BOTH[:2], ids=["fast", "checked"])
@pytest.mark.parametrize("swizzle", [0, 1, 2, 3])
@pytest.mark.parametrize("corner", [(0, 0), (8, 3), (-4, -2), (36, 12)])
def test_a_box_of_a_tensor_is_padded_with_zeros(
    corner: tuple[int, int], swizzle: int, options: LaunchOptions
) -> None:
    rows, columns = 8, 8 << max(0, swizzle - 1)  # As wide as the swizzle pattern, at most.
    source = TENSORS.replace("BYTES", str(rows * columns * 4)).replace("STORE", _STORE)
    module = built(source, "compute_90", checked=options.checked)
    x = np.arange(16 * 40, dtype=np.float32).reshape(16, 40) + 1
    y = np.full((rows, columns), -1, np.float32)
    maps = [Tensor2D(array, (rows, columns), swizzle) for array in (x, y)]
    column, row = corner
    sizes = (np.int32(column), np.int32(row))
    result = run(module, "box", (1,), (32,), *maps, *sizes, shared=4096, options=options)
    assert result.ok, result.describe()
    padded = np.zeros((16 + 40, 40 + 80), np.float32)
    padded[16:32, 40:80] = x
    expected = padded[16 + row :, 40 + column :][:rows, :columns]
    np.testing.assert_array_equal(y, expected)


def test_a_tensor_store_can_add() -> None:
    source = TENSORS.replace("BYTES", "256").replace("STORE", _ADD)
    x, y = np.arange(64, dtype=np.float32).reshape(8, 8), np.ones((8, 8), np.float32)
    maps = [Tensor2D(array, (8, 8), 0, "f32") for array in (x, y)]
    module = built(source, "compute_90")
    result = run(module, "box", (1,), (32,), *maps, np.int32(0), np.int32(0), shared=4096)
    assert result.ok, result.describe()
    np.testing.assert_array_equal(y, x + 1)


BOUNDS = """
extern "C" __global__ void past(float* x, int n) { x[n] = 1.0f; }
extern "C" __global__ void shared_past(float* x, int n) {
  extern __shared__ float tile[];
  tile[n] = 1.0f;
  x[0] = tile[n];
}
extern "C" __global__ void deep(float* x, int n) {
  float a[64];
  for (int i = 0; i < 64; ++i) a[i] = x[i % 4];
  x[0] = a[n];
}
"""


def test_fast_mode_stops_at_guard_pages() -> None:
    module, x = built(BOUNDS), np.zeros(1024, np.float32)
    beyond = run(module, "past", (1,), (1,), x, np.int32(1024))
    assert beyond.error == (
        "the kernel touched an address of global memory that is not allocated "
        "(block 0,0,0 thread 0,0,0); a checked launch names the statement"
    )
    shared = run(module, "shared_past", (1,), (1,), x, np.int32(1024), shared=4096)
    assert shared.error == (
        "the kernel touched shared address 0x1000, where the block has 4096 bytes "
        "(block 0,0,0 thread 0,0,0); a checked launch names the statement"
    )
    assert run(module, "past", (1,), (1,), x, np.int32(1023)).ok  # And goes on after that.


def test_checked_mode_knows_the_bounds_of_local_memory() -> None:
    module, x = built(BOUNDS, checked=True), np.zeros(4, np.float32)
    options = LaunchOptions(checked=True)
    assert run(module, "deep", (1,), (1,), x, np.int32(63), options=options).ok
    result = run(module, "deep", (1,), (1,), x, np.int32(64), options=options)
    assert [f.buffer for f in result.findings] == ["a thread's local memory"]
