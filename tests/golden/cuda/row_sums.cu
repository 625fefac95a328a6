// rows: CUDA C by tensorc, for sm_80.

// S[i] = 0.0
// S[i] += S.part[tid]
extern "C" __global__ void __launch_bounds__(256)
rows_S(float* S, const float* __restrict__ A) {
  const int tid = threadIdx.x;
  __shared__ __align__(16) float S_shares[8];
  const int i = blockIdx.x;
  float S_part;

  // S[i] = 0.0
  if (tid == 0) {
    S[i] = 0.0f;
  }

  // S.part[tid] = 0.0
  S_part = 0.0f;

  for (int k = 0; k < 4; ++k) {
    // S.part[tid] += A[i, k * 256 + tid]
    if (k * 256 + tid < 1000) {
      S_part += A[i * 1000 + k * 256 + tid];
    }
  }

  // S[i] += S.part[tid]
  float S_share = S_part;
  #pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const float S_other = __shfl_down_sync(0xffffffffu, S_share, offset);
    S_share = S_share + S_other;
  }
  if (tid % 32 == 0) {
    S_shares[tid / 32] = S_share;
  }
  __syncthreads();
  if (tid < 32) {
    S_share = tid % 32 < 8 ? S_shares[tid % 32] : 0.0f;
    #pragma unroll
    for (int offset = 4; offset > 0; offset /= 2) {
      const float S_other = __shfl_down_sync(0xffffffffu, S_share, offset, 8);
      S_share = S_share + S_other;
    }
    if (tid == 0) {
      S[i] = S[i] + S_share;
    }
  }
}

// Barriers, and what each is for:
// __syncthreads()
//   S.shares: S.shares: a share before S.shares: shares, in threads of the block
