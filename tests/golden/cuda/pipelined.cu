// p: CUDA C by tensorc, for sm_80.

// 16 bytes at once; both addresses are multiples of 16.
template <typename T> __device__ __forceinline__ void copy16(T* to, const T* from) {
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
}

// Issue a copy of 16 bytes from global to shared memory.
__device__ __forceinline__ void cp_async16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
               :
               : "r"((unsigned)__cvta_generic_to_shared(to)), "l"(__cvta_generic_to_global(from))
               : "memory");
}

// End a group of issued copies.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Wait until at most `left` groups are still on their way.
template <int left> __device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}

// B[i, tid * 4 + v] = S[i % 3, 252 - tid * 4 + v]
extern "C" __global__ void __launch_bounds__(64)
p_B(const float* __restrict__ A, float* __restrict__ B) {
  const int tid = threadIdx.x;
  __shared__ __align__(16) float S[3][256];

  for (int a = 0; a < 2; ++a) {
    // S[a, tid * 4 + v] = A[a, tid * 4 + v]
    cp_async16(&S[a][tid * 4], &A[a * 256 + tid * 4]);
    cp_async_commit();
  }

  #pragma unroll 1
  for (int i = 0; i < 8; ++i) {
    cp_async_wait<1>();
    __syncthreads();
    if (i + 2 < 8) {
      // S[(i + 2) % 3, tid * 4 + v] = A[i + 2, tid * 4 + v]
      cp_async16(&S[(i + 2) % 3][tid * 4], &A[(i + 2) * 256 + tid * 4]);
    }
    cp_async_commit();

    // B[i, tid * 4 + v] = S[i % 3, 252 - tid * 4 + v]
    copy16(&B[i * 256 + tid * 4], &S[i % 3][-(tid * 4) + 252]);
  }
}

// Barriers, and what each is for:
// __syncthreads()
//   S: S[a, t * 4 + v] = A[a, t * 4 + v] before B[i, t * 4 + v] = S[i % 3, 252 - t * 4 + v], in threads of the block
//   S: S[(i + 2) % 3, t * 4 + v] = A[i + 2, t * 4 + v] before B[i, t * 4 + v] = S[i % 3, 252 - t * 4 + v], around i, in threads of the block
//   S: B[i, t * 4 + v] = S[i % 3, 252 - t * 4 + v] before S[(i + 2) % 3, t * 4 + v] = A[i + 2, t * 4 + v], around i, in threads of the block
