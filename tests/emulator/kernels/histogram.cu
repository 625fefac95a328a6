// Counts of 256 values: each block counts in shared memory, then adds to the result.
extern "C" __global__ void __launch_bounds__(128)
    histogram(const unsigned char* __restrict__ x, int* counts, int n) {
  __shared__ int bins[256];
  for (int b = threadIdx.x; b < 256; b += 128) bins[b] = 0;
  __syncthreads();  // all bins are zero
  for (int i = blockIdx.x * 128 + threadIdx.x; i < n; i += gridDim.x * 128) {
    atomicAdd(&bins[x[i]], 1);
  }
  __syncthreads();  // all is counted
  for (int b = threadIdx.x; b < 256; b += 128) {
    atomicAdd(&counts[b], bins[b]);
  }
}
