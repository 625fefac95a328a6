// gemm: CUDA C by tensorc, for sm_80.

// 16 bytes at once; both addresses are multiples of 16.
template <typename T> __device__ __forceinline__ void copy16(T* to, const T* from) {
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
}

// 8 bytes at once; both addresses are multiples of 8.
template <typename T> __device__ __forceinline__ void copy8(T* to, const T* from) {
  *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(from);
}

// 4 matrices of 8x8 elements of 16 bits for a warp.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}

// 2 matrices of 8x8 elements of 16 bits for a warp, transposed.
__device__ __forceinline__ void ldmatrix_x2_trans(unsigned (&to)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(to[0]), "=r"(to[1])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}

// c += a * b on tensor cores, 16x16 and 16x8 elements of bf16.
__device__ __forceinline__ void mma_m16n8k16_bf16(float& c0, float& c1, float& c2, float& c3,
                                                  const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// C[bi * 64 + wm * 32 + mi * 16 + lane // 4 + h * 8, bj * 64 + wn * 32 + ni * 8 + lane % 4
//     * 2 + c] = acc[wm * 32 + mi * 16 + lane // 4 + h * 8, wn * 32 + ni * 8 + lane % 4 *
//     2 + c]
extern "C" __global__ void __launch_bounds__(128)
gemm_C(const unsigned short* __restrict__ A,
    const unsigned short* __restrict__ B,
    float* __restrict__ C) {
  const int tid = threadIdx.x;
  __shared__ __align__(16) unsigned short As[64][24];
  __shared__ __align__(16) unsigned short Bs[16][72];
  const int bj = blockIdx.x;
  const int bi = blockIdx.y;
  const int lane = tid % 32;
  const int wn = tid / 32 % 2;
  const int wm = tid / 64;
  float acc[4][8];

  #pragma unroll
  for (int mi = 0; mi < 2; ++mi) {
    #pragma unroll
    for (int ni = 0; ni < 4; ++ni) {
      // acc[wm * 32 + mi * 16 + lane // 4 + h * 8, wn * 32 + ni * 8 + lane % 4 * 2 + c] = 0.0
      #pragma unroll
      for (int h = 0; h < 2; ++h) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          acc[mi * 2 + h][ni * 2 + c] = 0.0f;
        }
      }
    }
  }

  #pragma unroll 1
  for (int ko = 0; ko < 64; ++ko) {
    __syncthreads();
    // As[tid // 2, tid % 2 * 8 + v] = A[bi * 64 + tid // 2, ko * 16 + tid % 2 * 8 + v]
    copy16(&As[tid / 2][tid % 2 * 8], &A[(bi * 64 + tid / 2) * 1024 + ko * 16 + tid % 2 * 8]);

    // Bs[tid // 8, tid % 8 * 8 + v] = B[ko * 16 + tid // 8, bj * 64 + tid % 8 * 8 + v]
    copy16(&Bs[tid / 8][tid % 8 * 8], &B[(ko * 16 + tid / 8) * 1024 + bj * 64 + tid % 8 * 8]);

    __syncthreads();
    // acc[wm * 32 + mi * 16 + lane // 4 + h * 8, wn * 32 + ni * 8 + lane % 4 * 2 + c] +=
    //     float32(As[wm * 32 + mi * 16 + lane // 4 + h * 8, k]) * float32(Bs[k, wn * 32 + ni *
    //     8 + lane % 4 * 2 + c])
    {
      unsigned As_fragment[2][4];
      #pragma unroll
      for (int mi = 0; mi < 2; ++mi) {
        ldmatrix_x4(As_fragment[mi], &As[wm * 32 + mi * 16 + lane % 8 + lane / 8 % 2 * 8][lane / 16 * 8]);
      }
      unsigned Bs_fragment[4][2];
      #pragma unroll
      for (int ni = 0; ni < 4; ++ni) {
        ldmatrix_x2_trans(Bs_fragment[ni], &Bs[lane % 16][wn * 32 + ni * 8]);
      }
      #pragma unroll
      for (int mi = 0; mi < 2; ++mi) {
        #pragma unroll
        for (int ni = 0; ni < 4; ++ni) {
          mma_m16n8k16_bf16(acc[mi * 2][ni * 2], acc[mi * 2][ni * 2 + 1], acc[mi * 2 + 1][ni * 2], acc[mi * 2 + 1][ni * 2 + 1], As_fragment[mi], Bs_fragment[ni]);
        }
      }
    }
  }

  #pragma unroll
  for (int mi = 0; mi < 2; ++mi) {
    #pragma unroll
    for (int ni = 0; ni < 4; ++ni) {
      // C[bi * 64 + wm * 32 + mi * 16 + lane // 4 + h * 8, bj * 64 + wn * 32 + ni * 8 + lane % 4
      //     * 2 + c] = acc[wm * 32 + mi * 16 + lane // 4 + h * 8, wn * 32 + ni * 8 + lane % 4 *
      //     2 + c]
      #pragma unroll
      for (int h = 0; h < 2; ++h) {
        __align__(8) float C_lanes[2];
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          C_lanes[c] = acc[mi * 2 + h][ni * 2 + c];
        }
        copy8(&C[(bi * 64 + wm * 32 + mi * 16 + lane / 4 + h * 8) * 1024 + bj * 64 + wn * 32 + ni * 8 + lane % 4 * 2], &C_lanes[0]);
      }
    }
  }
}

// Barriers, and what each is for:
// __syncthreads()
//   As: As[t // 2, t % 2 * 8 + v] = A[bi * 64 + t // 2, ko * 16 + t % 2 * 8 + v] before acc[mi * 2 + h, ni * 2 + c] += float32(As[wm * 32 + mi * 16 + (lane // 4 + h * 8), k]) * flo ..., around ko, in threads of the block
//   Bs: Bs[t // 8, t % 8 * 8 + v] = B[ko * 16 + t // 8, bj * 64 + t % 8 * 8 + v] before acc[mi * 2 + h, ni * 2 + c] += float32(As[wm * 32 + mi * 16 + (lane // 4 + h * 8), k]) * flo ..., around ko, in threads of the block
//   As: acc[mi * 2 + h, ni * 2 + c] += float32(As[wm * 32 + mi * 16 + (lane // 4 + h * 8), k]) * flo ... before As[t // 2, t % 2 * 8 + v] = A[bi * 64 + t // 2, ko * 16 + t % 2 * 8 + v], around ko, in threads of the block
//   Bs: acc[mi * 2 + h, ni * 2 + c] += float32(As[wm * 32 + mi * 16 + (lane // 4 + h * 8), k]) * flo ... before Bs[t // 8, t % 8 * 8 + v] = B[ko * 16 + t // 8, bj * 64 + t % 8 * 8 + v], around ko, in threads of the block
// __syncthreads()
//   As: As[t // 2, t % 2 * 8 + v] = A[bi * 64 + t // 2, ko * 16 + t % 2 * 8 + v] before acc[mi * 2 + h, ni * 2 + c] += float32(As[wm * 32 + mi * 16 + (lane // 4 + h * 8), k]) * flo ..., in threads of the block
//   As: As[t // 2, t % 2 * 8 + v] = A[bi * 64 + t // 2, ko * 16 + t % 2 * 8 + v] before acc[mi * 2 + h, ni * 2 + c] += float32(As[wm * 32 + mi * 16 + (lane // 4 + h * 8), k]) * flo ..., around ko, in threads of the block
//   Bs: Bs[t // 8, t % 8 * 8 + v] = B[ko * 16 + t // 8, bj * 64 + t % 8 * 8 + v] before acc[mi * 2 + h, ni * 2 + c] += float32(As[wm * 32 + mi * 16 + (lane // 4 + h * 8), k]) * flo ..., in threads of the block
//   Bs: Bs[t // 8, t % 8 * 8 + v] = B[ko * 16 + t // 8, bj * 64 + t % 8 * 8 + v] before acc[mi * 2 + h, ni * 2 + c] += float32(As[wm * 32 + mi * 16 + (lane // 4 + h * 8), k]) * flo ..., around ko, in threads of the block
