// Transpose by 32x32 tiles. The 33rd column shifts each row by one bank.
extern "C" __global__ void __launch_bounds__(256)
    transpose32(const float* __restrict__ x, float* __restrict__ y, int n) {
  __shared__ float tile[32][33];
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32;
  for (int r = ty; r < 32; r += 8) {
    tile[r][tx] = x[(blockIdx.y * 32 + r) * n + blockIdx.x * 32 + tx];
  }
  __syncthreads();
  for (int r = ty; r < 32; r += 8) {
    y[(blockIdx.x * 32 + r) * n + blockIdx.y * 32 + tx] = tile[tx][r];
  }
}
