// softmax: CUDA C by tensorc, for sm_80.

// The lesser value; NaN where either is.
template <typename T> __device__ __forceinline__ T minimum(T a, T b) {
  return a < b || a != a ? a : b;
}

// The greater value; NaN where either is.
template <typename T> __device__ __forceinline__ T maximum(T a, T b) {
  return a > b || a != a ? a : b;
}

// a << b; 0 where b is no bit's number.
template <typename T> __device__ __forceinline__ T shift_left(T a, T b) {
  return b < 0 || b >= T(8 * sizeof(T)) ? T(0) : T((unsigned long long)a << b);
}

// a - b modulo 2^32 or 2^64.
__device__ __forceinline__ int wrapping_sub(int a, int b) { return (int)((unsigned)a - (unsigned)b); }
__device__ __forceinline__ long long wrapping_sub(long long a, long long b) {
  return (long long)((unsigned long long)a - (unsigned long long)b);
}

// B[i, k * 256 + tid] = ...
extern "C" __global__ void __launch_bounds__(256)
softmax_B(const float* __restrict__ A, float* __restrict__ B, long long m) {
  const int tid = threadIdx.x;
  __shared__ float largest;
  __shared__ float total;
  __shared__ __align__(16) float largest_shares[8];
  __shared__ __align__(16) float total_shares[8];
  const int i = blockIdx.x;
  float row[4];
  float largest_part;
  float total_part;

  // largest[] = float32(-inf)
  // total[] = 0.0
  if (tid == 0) {
    largest = -__int_as_float(0x7f800000);
    total = 0.0f;
  }

  // row[k * 256 + tid] = where(k * 256 + tid < 1000, A[i, k * 256 + tid], float32(-inf))
  #pragma unroll
  for (int k = 0; k < 4; ++k) {
    row[k] = k * 256 + tid < 1000 ? A[(long long)i * 1000 + k * 256 + tid] : -__int_as_float(0x7f800000);
  }

  // largest.part[tid] = float32(-inf)
  largest_part = -__int_as_float(0x7f800000);

  #pragma unroll
  for (int k = 0; k < 4; ++k) {
    // largest.part[tid] max= row[k * 256 + tid]
    largest_part = maximum(largest_part, row[k]);
  }

  // largest[] max= largest.part[tid]
  float largest_share = largest_part;
  #pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const float largest_other = __shfl_down_sync(0xffffffffu, largest_share, offset);
    largest_share = maximum(largest_share, largest_other);
  }
  if (tid % 32 == 0) {
    largest_shares[tid / 32] = largest_share;
  }
  __syncthreads();
  if (tid < 32) {
    largest_share = tid % 32 < 8 ? largest_shares[tid % 32] : -__int_as_float(0x7f800000);
    #pragma unroll
    for (int offset = 4; offset > 0; offset /= 2) {
      const float largest_other = __shfl_down_sync(0xffffffffu, largest_share, offset, 8);
      largest_share = maximum(largest_share, largest_other);
    }
    if (tid == 0) {
      largest = maximum(largest, largest_share);
    }
  }

  __syncthreads();
  // total.part[tid] = 0.0
  total_part = 0.0f;

  #pragma unroll
  for (int k = 0; k < 4; ++k) {
    // total.part[tid] += ...
    const float x_0 = row[k] - largest;
    const float x_1 = minimum(maximum(x_0, -104.5f), 89.5f);
    const float shifted_2 = fmaf(x_1, 1.442695f, 1.2583166e+07f);
    const float k_3 = shifted_2 - 1.2583166e+07f;
    const int bits_4 = __float_as_int(shifted_2);
    const float r_5 = fmaf(k_3, 0.00021219444f, fmaf(k_3, -0.6933594f, x_1));
    const float t_6 = r_5 * r_5;
    const float t_7 = fmaf(0.16666573f, r_5, 0.5f);
    const float t_8 = fmaf(0.008363774f, r_5, 0.04166655f);
    const float t_9 = fmaf(t_6, fmaf(fmaf(0.0013926927f, t_6, t_8), t_6, t_7), r_5);
    const int half_10 = bits_4 >> 1;
    const float scale_11 = __int_as_float(shift_left<int>(half_10, 23));
    total_part += fmaf(t_9, scale_11, scale_11) * __int_as_float(shift_left<int>(wrapping_sub(bits_4, half_10), 23));
  }

  // total[] += total.part[tid]
  float total_share = total_part;
  #pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const float total_other = __shfl_down_sync(0xffffffffu, total_share, offset);
    total_share = total_share + total_other;
  }
  if (tid % 32 == 0) {
    total_shares[tid / 32] = total_share;
  }
  __syncthreads();
  if (tid < 32) {
    total_share = tid % 32 < 8 ? total_shares[tid % 32] : 0.0f;
    #pragma unroll
    for (int offset = 4; offset > 0; offset /= 2) {
      const float total_other = __shfl_down_sync(0xffffffffu, total_share, offset, 8);
      total_share = total_share + total_other;
    }
    if (tid == 0) {
      total = total + total_share;
    }
  }

  __syncthreads();
  // B[i, k * 256 + tid] = ...
  #pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (k * 256 + tid < 1000) {
      const float x_0 = row[k] - largest;
      const float x_1 = minimum(maximum(x_0, -104.5f), 89.5f);
      const float shifted_2 = fmaf(x_1, 1.442695f, 1.2583166e+07f);
      const float k_3 = shifted_2 - 1.2583166e+07f;
      const int bits_4 = __float_as_int(shifted_2);
      const float r_5 = fmaf(k_3, 0.00021219444f, fmaf(k_3, -0.6933594f, x_1));
      const float t_6 = r_5 * r_5;
      const float t_7 = fmaf(0.16666573f, r_5, 0.5f);
      const float t_8 = fmaf(0.008363774f, r_5, 0.04166655f);
      const float t_9 = fmaf(t_6, fmaf(fmaf(0.0013926927f, t_6, t_8), t_6, t_7), r_5);
      const int half_10 = bits_4 >> 1;
      const float scale_11 = __int_as_float(shift_left<int>(half_10, 23));
      B[(long long)i * 1000 + k * 256 + tid] = fmaf(t_9, scale_11, scale_11) * __int_as_float(shift_left<int>(wrapping_sub(bits_4, half_10), 23)) / total;
    }
  }
}

// Barriers, and what each is for:
// __syncthreads()
//   largest: largest[] = float32(-inf) before total.part[] += ..., in threads of the block
//   largest: largest[] = float32(-inf) before B[i, k * 256 + t] = ..., in threads of the block
//   total: total[] = 0.0 before B[i, k * 256 + t] = ..., in threads of the block
//   largest.shares: largest.shares: a share before largest.shares: shares, in threads of the block
// __syncthreads()
//   largest: largest[] = float32(-inf) before total.part[] += ..., in threads of the block
//   largest: largest[] = float32(-inf) before B[i, k * 256 + t] = ..., in threads of the block
//   total: total[] = 0.0 before B[i, k * 256 + t] = ..., in threads of the block
//   largest: largest[] max= largest.part[] before total.part[] += ..., in threads of the block
//   largest: largest[] max= largest.part[] before B[i, k * 256 + t] = ..., in threads of the block
// __syncthreads()
//   largest: largest[] = float32(-inf) before B[i, k * 256 + t] = ..., in threads of the block
//   total: total[] = 0.0 before B[i, k * 256 + t] = ..., in threads of the block
//   largest: largest[] max= largest.part[] before B[i, k * 256 + t] = ..., in threads of the block
//   total.shares: total.shares: a share before total.shares: shares, in threads of the block
// __syncthreads()
//   largest: largest[] = float32(-inf) before B[i, k * 256 + t] = ..., in threads of the block
//   total: total[] = 0.0 before B[i, k * 256 + t] = ..., in threads of the block
//   largest: largest[] max= largest.part[] before B[i, k * 256 + t] = ..., in threads of the block
//   total: total[] += total.part[] before B[i, k * 256 + t] = ..., in threads of the block
