// p: CUDA C by tensorc, for sm_90a.

// 8 bytes at once; both addresses are multiples of 8.
template <typename T> __device__ __forceinline__ void copy8(T* to, const T* from) {
  *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(from);
}

// How the copy engine sees an array; the driver makes it.
struct __align__(64) TensorMap {
  unsigned long long opaque[16];
};

// Issue a copy of a box to shared memory; `barrier` counts its bytes.
__device__ __forceinline__ void tma_load_2d(
    void* to, const TensorMap& map, int c0, int c1, long long* barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier"
               "::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
               :
               : "r"((unsigned)__cvta_generic_to_shared(to)), "l"(&map),
                 "r"((unsigned)__cvta_generic_to_shared(barrier)), "r"(c0), "r"(c1)
               : "memory");
}

// Make a barrier: so many arrivals, and all bytes expected, end a phase.
__device__ __forceinline__ void mbarrier_init(long long* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
               :
               : "r"((unsigned)__cvta_generic_to_shared(barrier)), "r"(arrivals)
               : "memory");
}

// Let the copy engine see barriers that were made.
__device__ __forceinline__ void mbarrier_publish() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Arrive, and expect so many bytes in this phase.
__device__ __forceinline__ void mbarrier_expect(long long* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :
               : "r"((unsigned)__cvta_generic_to_shared(barrier)), "r"(bytes)
               : "memory");
}

// Arrive once for a warp, when all of its threads have come here.
__device__ __forceinline__ void mbarrier_arrive_warp(long long* barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];"
                 :
                 : "r"((unsigned)__cvta_generic_to_shared(barrier))
                 : "memory");
  }
}

// Wait for a slot's next phase; its bit of `phases` says which.
__device__ __forceinline__ void ring_wait(long long* barriers, int slot, unsigned& phases) {
  const unsigned barrier = (unsigned)__cvta_generic_to_shared(barriers + slot);
  unsigned done;
  do {
    asm volatile("{\n"
                 ".reg .pred over;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, over;\n"
                 "}"
                 : "=r"(done)
                 : "r"(barrier), "r"(phases >> slot & 1)
                 : "memory");
  } while (!done);
  phases ^= 1u << slot;
}

// What tensor cores read: swizzled rows of `width` bytes, panels of them.
template <int width, int panel = 16>
__device__ __forceinline__ unsigned long long descriptor(const void* tile) {
  const unsigned long long at = ((unsigned)__cvta_generic_to_shared(tile) & 0x3ffff) >> 4;
  const unsigned long long mode = width == 128 ? 1 : width == 64 ? 2 : 3;
  const unsigned long long eight = 8 * width >> 4;
  return at | (unsigned long long)(panel >> 4) << 16 | eight << 32 | mode << 62;
}

// Registers are as they should be when the next wgmma begins.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// End a group of wgmma.
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Wait until at most `left` groups of wgmma are still at work.
template <int left> __device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
}

// Keep `count` registers in each thread of the warp group, and no more.
template <int count> __device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}

// Wait until each thread of the warp group may have `count` registers.
template <int count> __device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}

// d += a * b by a warp group, of 64x16 by 16x128 bf16.
template <int pitch, int a_trans, int b_trans>
__device__ __forceinline__ void wgmma_m64n128k16_bf16(
    float* d, unsigned long long a, unsigned long long b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
               "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
               "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31,"
               "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47,"
               "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
               "%64, %65, 1, 1, 1, %66, %67;"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[pitch + 0]), "+f"(d[pitch + 1]),
                 "+f"(d[2]), "+f"(d[3]), "+f"(d[pitch + 2]), "+f"(d[pitch + 3]),
                 "+f"(d[4]), "+f"(d[5]), "+f"(d[pitch + 4]), "+f"(d[pitch + 5]),
                 "+f"(d[6]), "+f"(d[7]), "+f"(d[pitch + 6]), "+f"(d[pitch + 7]),
                 "+f"(d[8]), "+f"(d[9]), "+f"(d[pitch + 8]), "+f"(d[pitch + 9]),
                 "+f"(d[10]), "+f"(d[11]), "+f"(d[pitch + 10]), "+f"(d[pitch + 11]),
                 "+f"(d[12]), "+f"(d[13]), "+f"(d[pitch + 12]), "+f"(d[pitch + 13]),
                 "+f"(d[14]), "+f"(d[15]), "+f"(d[pitch + 14]), "+f"(d[pitch + 15]),
                 "+f"(d[16]), "+f"(d[17]), "+f"(d[pitch + 16]), "+f"(d[pitch + 17]),
                 "+f"(d[18]), "+f"(d[19]), "+f"(d[pitch + 18]), "+f"(d[pitch + 19]),
                 "+f"(d[20]), "+f"(d[21]), "+f"(d[pitch + 20]), "+f"(d[pitch + 21]),
                 "+f"(d[22]), "+f"(d[23]), "+f"(d[pitch + 22]), "+f"(d[pitch + 23]),
                 "+f"(d[24]), "+f"(d[25]), "+f"(d[pitch + 24]), "+f"(d[pitch + 25]),
                 "+f"(d[26]), "+f"(d[27]), "+f"(d[pitch + 26]), "+f"(d[pitch + 27]),
                 "+f"(d[28]), "+f"(d[29]), "+f"(d[pitch + 28]), "+f"(d[pitch + 29]),
                 "+f"(d[30]), "+f"(d[31]), "+f"(d[pitch + 30]), "+f"(d[pitch + 31])
               : "l"(a), "l"(b), "n"(a_trans), "n"(b_trans));
}

// C[w * 64 + lane // 32 * 16 + lane % 32 // 4 + h * 8, j * 8 + lane % 4 * 2 + c] = acc[w *
//     64 + lane // 32 * 16 + lane % 32 // 4 + h * 8, j * 8 + lane % 4 * 2 + c]
extern "C" __global__ void __launch_bounds__(384, 1)
p_C(float* __restrict__ C,
    const __grid_constant__ TensorMap A_map,
    const __grid_constant__ TensorMap B_map) {
  const int tid = threadIdx.x;
  extern __shared__ __align__(1024) unsigned char smem[];
  unsigned short (&As)[3][128][64] = *reinterpret_cast<unsigned short (*)[3][128][64]>(smem);
  unsigned short (&Bs)[3][128][64] = *reinterpret_cast<unsigned short (*)[3][128][64]>(smem + 49152);
  long long (&As_full)[3] = *reinterpret_cast<long long (*)[3]>(smem + 98304);
  long long (&As_empty)[3] = *reinterpret_cast<long long (*)[3]>(smem + 98336);
  const int lane = tid % 128;
  const int w = tid / 128;
  unsigned As_full_phases = 0;
  unsigned As_empty_phases = ~0u;
  if (threadIdx.x == 0) {
    mbarrier_init(&As_full[0], 2);
    mbarrier_init(&As_full[1], 2);
    mbarrier_init(&As_full[2], 2);
    mbarrier_init(&As_empty[0], 8);
    mbarrier_init(&As_empty[1], 8);
    mbarrier_init(&As_empty[2], 8);
    mbarrier_publish();
  }
  __syncthreads();
  if (tid >= 256) {
    give_registers<40>();
    if (tid == 256) {
      #pragma unroll 1
      for (int a = 0; a < 2; ++a) {
        // As[a, r, c] = A[r, a * 64 + c]
        ring_wait(As_empty, a, As_empty_phases);
        mbarrier_expect(&As_full[a], 16384);
        tma_load_2d(&As[a][0][0], A_map, a * 64, 0, &As_full[a]);

        // Bs[a, r, c] = B[r, a * 64 + c]
        mbarrier_expect(&As_full[a], 16384);
        tma_load_2d(&Bs[a][0][0], B_map, a * 64, 0, &As_full[a]);
      }

      #pragma unroll 1
      for (int k = 0; k < 8; ++k) {
        if (k + 2 < 8) {
          // As[(k + 2) % 3, r, c] = A[r, (k + 2) * 64 + c]
          ring_wait(As_empty, (k + 2) % 3, As_empty_phases);
          mbarrier_expect(&As_full[(k + 2) % 3], 16384);
          tma_load_2d(&As[(k + 2) % 3][0][0], A_map, (k + 2) * 64, 0, &As_full[(k + 2) % 3]);

          // Bs[(k + 2) % 3, r, c] = B[r, (k + 2) * 64 + c]
          mbarrier_expect(&As_full[(k + 2) % 3], 16384);
          tma_load_2d(&Bs[(k + 2) % 3][0][0], B_map, (k + 2) * 64, 0, &As_full[(k + 2) % 3]);
        }
      }
    }
  }
  else {
    take_registers<232>();
    float acc[2][32];

    // acc[w * 64 + lane // 32 * 16 + lane % 32 // 4 + h * 8, j * 8 + lane % 4 * 2 + c] = 0.0
    #pragma unroll
    for (int h = 0; h < 2; ++h) {
      #pragma unroll
      for (int j = 0; j < 16; ++j) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          acc[h][j * 2 + c] = 0.0f;
        }
      }
    }

    #pragma unroll 1
    for (int k = 0; k < 8; ++k) {
      ring_wait(As_full, k % 3, As_full_phases);
      // acc[w * 64 + lane // 32 * 16 + lane % 32 // 4 + h * 8, j * 8 + lane % 4 * 2 + c] +=
      //     float32(As[k % 3, w * 64 + lane // 32 * 16 + lane % 32 // 4 + h * 8, kk * 16 + s]) *
      //     float32(Bs[k % 3, j * 8 + lane % 4 * 2 + c, kk * 16 + s])
      wgmma_fence();
      #pragma unroll
      for (int kk = 0; kk < 4; ++kk) {
        wgmma_m64n128k16_bf16<32, 0, 0>(
            &acc[0][0], descriptor<128>(&As[k % 3][w * 64][kk * 16]), descriptor<128>(&Bs[k % 3][0][kk * 16]));
      }
      wgmma_commit();
      wgmma_wait<1>();
      if (k > 0) mbarrier_arrive_warp(&As_empty[(k % 3 + 2) % 3]);
    }
    wgmma_wait<0>();

    // C[w * 64 + lane // 32 * 16 + lane % 32 // 4 + h * 8, j * 8 + lane % 4 * 2 + c] = acc[w *
    //     64 + lane // 32 * 16 + lane % 32 // 4 + h * 8, j * 8 + lane % 4 * 2 + c]
    #pragma unroll
    for (int h = 0; h < 2; ++h) {
      #pragma unroll
      for (int j = 0; j < 16; ++j) {
        __align__(8) float C_lanes[2];
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          C_lanes[c] = acc[h][j * 2 + c];
        }
        copy8(&C[(w * 64 + lane / 32 * 16 + lane % 32 / 4 + h * 8) * 128 + j * 8 + lane % 4 * 2], &C_lanes[0]);
      }
    }
  }
}

// Barriers, and what each is for:
// __syncthreads()
//   the barriers are made before they are used
// ring_wait(As_empty)
//   As, Bs: uses of a slot before slot a is copied to
// ring_wait(As_empty)
//   As, Bs: uses of a slot before slot (k + 2) % 3 is copied to
// ring_wait(As_full)
//   As, Bs: copies before their uses
// wgmma_wait<1>()
//   the products of acc before uses of the slot are over
// mbarrier_arrive_warp(As_empty)
//   As, Bs: uses before the next copy to the slot
// wgmma_wait<0>()
//   the products of acc before what follows
