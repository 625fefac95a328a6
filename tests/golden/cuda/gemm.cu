// gemm: CUDA C by tensorc, for sm_80.

// 16 bytes at once; both addresses are multiples of 16.
template <typename T> __device__ __forceinline__ void copy16(T* to, const T* from) {
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
}

// C[bi * 128 + ty * 8 + i, bj * 128 + tx * 8 + j] = acc[ty * 8 + i, tx * 8 + j]
extern "C" __global__ void __launch_bounds__(256)
gemm_C(const float* __restrict__ A, const float* __restrict__ B, float* __restrict__ C) {
  const int tid = threadIdx.x;
  __shared__ __align__(16) float As[16][128];
  __shared__ __align__(16) float Bs[16][128];
  const int bj = blockIdx.x;
  const int bi = blockIdx.y;
  const int tx = tid % 16;
  const int ty = tid / 16;
  float acc[8][8];

  // acc[ty * 8 + i, tx * 8 + j] = 0.0
  #pragma unroll
  for (int i = 0; i < 8; ++i) {
    #pragma unroll
    for (int j = 0; j < 8; ++j) {
      acc[i][j] = 0.0f;
    }
  }

  #pragma unroll 1
  for (int ko = 0; ko < 64; ++ko) {
    __syncthreads();
    // As[tid % 2 * 8 + v, tid // 2] = A[bi * 128 + tid // 2, ko * 16 + tid % 2 * 8 + v]
    {
      __align__(16) float A_lanes[8];
      copy16(&A_lanes[0], &A[(bi * 128 + tid / 2) * 1024 + ko * 16 + tid % 2 * 8]);
      copy16(&A_lanes[4], &A[(bi * 128 + tid / 2) * 1024 + ko * 16 + tid % 2 * 8 + 4]);
      #pragma unroll
      for (int v = 0; v < 8; ++v) {
        As[tid % 2 * 8 + v][tid / 2] = A_lanes[v];
      }
    }

    // Bs[tid // 16, tid % 16 * 8 + v] = B[ko * 16 + tid // 16, bj * 128 + tid % 16 * 8 + v]
    copy16(&Bs[tid / 16][tid % 16 * 8], &B[(ko * 16 + tid / 16) * 1024 + bj * 128 + tid % 16 * 8]);
    copy16(&Bs[tid / 16][tid % 16 * 8 + 4], &B[(ko * 16 + tid / 16) * 1024 + bj * 128 + tid % 16 * 8 + 4]);

    __syncthreads();
    // acc[ty * 8 + i, tx * 8 + j] += As[k, ty * 8 + i] * Bs[k, tx * 8 + j]
    for (int k = 0; k < 16; ++k) {
      #pragma unroll
      for (int i = 0; i < 8; ++i) {
        #pragma unroll
        for (int j = 0; j < 8; ++j) {
          acc[i][j] = fmaf(As[k][ty * 8 + i], Bs[k][tx * 8 + j], acc[i][j]);
        }
      }
    }
  }

  // C[bi * 128 + ty * 8 + i, bj * 128 + tx * 8 + j] = acc[ty * 8 + i, tx * 8 + j]
  #pragma unroll
  for (int i = 0; i < 8; ++i) {
    __align__(16) float C_lanes[8];
    #pragma unroll
    for (int j = 0; j < 8; ++j) {
      C_lanes[j] = acc[i][j];
    }
    copy16(&C[(bi * 128 + ty * 8 + i) * 1024 + bj * 128 + tx * 8], &C_lanes[0]);
    copy16(&C[(bi * 128 + ty * 8 + i) * 1024 + bj * 128 + tx * 8 + 4], &C_lanes[4]);
  }
}

// Barriers, and what each is for:
// __syncthreads()
//   As: As[t % 2 * 8 + v, t // 2] = A[bi * 128 + t // 2, ko * 16 + t % 2 * 8 + v] before acc[i, j] += As[k, ty * 8 + i] * Bs[k, tx * 8 + j], around ko, in threads of one warp
//   Bs: Bs[t // 16, t % 16 * 8 + v] = B[ko * 16 + t // 16, bj * 128 + t % 16 * 8 + v] before acc[i, j] += As[k, ty * 8 + i] * Bs[k, tx * 8 + j], around ko, in threads of the block
//   As: acc[i, j] += As[k, ty * 8 + i] * Bs[k, tx * 8 + j] before As[t % 2 * 8 + v, t // 2] = A[bi * 128 + t // 2, ko * 16 + t % 2 * 8 + v], around ko, in threads of one warp
//   Bs: acc[i, j] += As[k, ty * 8 + i] * Bs[k, tx * 8 + j] before Bs[t // 16, t % 16 * 8 + v] = B[ko * 16 + t // 16, bj * 128 + t % 16 * 8 + v], around ko, in threads of the block
// __syncthreads()
//   As: As[t % 2 * 8 + v, t // 2] = A[bi * 128 + t // 2, ko * 16 + t % 2 * 8 + v] before acc[i, j] += As[k, ty * 8 + i] * Bs[k, tx * 8 + j], in threads of one warp
//   As: As[t % 2 * 8 + v, t // 2] = A[bi * 128 + t // 2, ko * 16 + t % 2 * 8 + v] before acc[i, j] += As[k, ty * 8 + i] * Bs[k, tx * 8 + j], around ko, in threads of one warp
//   Bs: Bs[t // 16, t % 16 * 8 + v] = B[ko * 16 + t // 16, bj * 128 + t % 16 * 8 + v] before acc[i, j] += As[k, ty * 8 + i] * Bs[k, tx * 8 + j], in threads of the block
//   Bs: Bs[t // 16, t % 16 * 8 + v] = B[ko * 16 + t // 16, bj * 128 + t % 16 * 8 + v] before acc[i, j] += As[k, ty * 8 + i] * Bs[k, tx * 8 + j], around ko, in threads of the block
