// C = A B^T, bf16, as gemm_wgmma.cu, with a producer warp and a ring of two stages: `full` says
// that the tiles of a stage are there, `empty` that the consumers have read them.
typedef unsigned int u32;
typedef unsigned long long u64;

struct __align__(64) TensorMap {
  u64 opaque[16];
};

constexpr u32 kTileBytes = 64 * 64 * 2;

__device__ __forceinline__ u32 shared_address(const void* p) {
  return (u32)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ u64 descriptor(const void* p) {
  return (shared_address(p) & 0x3ffff) >> 4 | 1ull << 16 | (u64)(1024 >> 4) << 32 | 1ull << 62;
}

__device__ __forceinline__ void load_tile(void* to, const TensorMap* map, int column, int row,
                                          u64* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3,%4}], [%2];" ::"r"(shared_address(to)),
      "l"(map), "r"(shared_address(barrier)), "r"(column), "r"(row)
      : "memory");
}

__device__ __forceinline__ void init(u64* barrier, u32 count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(count));
}

__device__ __forceinline__ void expect_bytes(u64* barrier, u32 bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}

__device__ __forceinline__ void arrive(u64* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}

__device__ __forceinline__ void wait_phase(u64* barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

__device__ __forceinline__ void wgmma_64x16x16(float (&d)[8], u64 a, u64 b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7}, %8, %9, 1, 1, 1, 0, 0;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7])
      : "l"(a), "l"(b));
}

extern "C" __global__ void __launch_bounds__(256)
    gemm_pipeline(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map,
                  float* C, int N, int K) {
  extern __shared__ __align__(1024) unsigned char tiles[];
  __shared__ __align__(8) u64 full[2], empty[2];
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < 2; ++stage) {
      init(&full[stage], 1);
      init(&empty[stage], 128);
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();  // the barriers are made

  const int steps = K / 64;
  if (threadIdx.x >= 128) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == 128) {
      for (int i = 0; i < steps; ++i) {
        unsigned char* tile = tiles + (i % 2) * (kTileBytes + 2048);
        wait_phase(&empty[i % 2], (i / 2 & 1) ^ 1);  // the stage is free
        expect_bytes(&full[i % 2], kTileBytes + 2048);
        load_tile(tile, &a_map, i * 64, blockIdx.y * 64, &full[i % 2]);
        load_tile(tile + kTileBytes, &b_map, i * 64, blockIdx.x * 16, &full[i % 2]);
      }
    }
    return;
  }
  asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
  float d[8] = {};
  for (int i = 0; i < steps; ++i) {
    unsigned char* tile = tiles + (i % 2) * (kTileBytes + 2048);
    wait_phase(&full[i % 2], i / 2 & 1);  // the stage is full
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      wgmma_64x16x16(d, descriptor(tile + step * 32), descriptor(tile + kTileBytes + step * 32));
    }
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    arrive(&empty[i % 2]);  // the consumers have read it
  }
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    int row = blockIdx.y * 64 + warp * 16 + lane / 4;
    float* out = C + row * N + blockIdx.x * 16 + j * 8 + lane % 4 * 2;
    *reinterpret_cast<float2*>(out) = make_float2(d[j * 4], d[j * 4 + 1]);
    *reinterpret_cast<float2*>(out + 8 * N) = make_float2(d[j * 4 + 2], d[j * 4 + 3]);
  }
}
