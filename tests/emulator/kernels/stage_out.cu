// y = 2 x, by boxes of 128 that a bulk copy stores from shared memory. Compile for sm_90.
extern "C" __global__ void __launch_bounds__(128) stage_out(const float* x, float* y, int n) {
  __shared__ __align__(128) float box[128];
  for (int i = 0; i < n; i += 128) {
    box[threadIdx.x] = 2.0f * x[i + threadIdx.x];
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();  // the box is full
    if (threadIdx.x == 0) {
      asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], 512;" ::"l"(y + i),
                   "r"((unsigned)__cvta_generic_to_shared(box))
                   : "memory");
      asm volatile("cp.async.bulk.commit_group;" ::: "memory");
      asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
    }
    __syncthreads();  // the box is free
  }
}
