// What CUDA's functions give, lane by lane; tests/emulator/test_semantics.py knows it.
#include "common/launch.cuh"

namespace {

__global__ void warp_functions(const int* in, int* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const int value = in[i];
  const unsigned all = 0xffffffff;
  int row = 0;
  const auto put = [&](int result) { out[row++ * n + i] = result; };
  put(__shfl_sync(all, value, 5));
  put(__shfl_sync(all, value, threadIdx.x + 3, 8));
  put(__shfl_up_sync(all, value, 3));
  put(__shfl_down_sync(all, value, 2, 16));
  put(__shfl_xor_sync(all, value, 12));
  put(__ballot_sync(all, value > 0));
  put(__any_sync(all, value > 90));
  put(__all_sync(all, value > -100));
  put(__match_any_sync(all, value & 3));
  put(__reduce_add_sync(all, value));
  put(__reduce_min_sync(all, value));
  put(__reduce_max_sync(all, value));
  put(__reduce_xor_sync(all, value));
  if (threadIdx.x & 1)
    put(__shfl_xor_sync(0xaaaaaaaa, value, 2));
  else
    put(__popc(__ballot_sync(0x55555555, value > 0)));
}

__global__ void block_functions(const int* in, int* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = __syncthreads_count(in[i] > 0);
  out[n + i] = __syncthreads_or(in[i] > 95);
  out[2 * n + i] = __syncthreads_and(in[i] > -95);
}

// Static and dynamic shared memory, several barriers: the block's values backwards, and their running sum.
__global__ void shared_memory(const int* in, int* out, int n) {
  __shared__ int backwards[96];
  int* sums = dssl::dynamic_shared<int>();
  const int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
  backwards[blockDim.x - 1 - t] = sums[t] = in[i];
  __syncthreads();
  out[i] = backwards[t];
  for (unsigned step = 1; step < blockDim.x; step *= 2) {
    const int before = t >= int(step) ? sums[t - step] : 0;
    __syncthreads();
    sums[t] += before;
    __syncthreads();
  }
  out[n + i] = sums[t];
}

__global__ void atomics(const int* in, int* out, float* sum) {
  const int value = in[blockIdx.x * blockDim.x + threadIdx.x];
  atomicAdd(&out[0], value);
  atomicMin(&out[1], value);
  atomicMax(&out[2], value);
  atomicXor(&out[3], value);
  atomicAdd(sum, static_cast<float>(value));
}

// Atomics on shared memory that plain stores have cleared: how many of the block's values end in each three bits.
__global__ void shared_atomics(const int* in, int* counts) {
  __shared__ int fixed[8];
  int* dynamic = dssl::dynamic_shared<int>();
  const int t = threadIdx.x, low_bits = in[blockIdx.x * blockDim.x + t] & 7;
  if (t < 8) fixed[t] = dynamic[t] = 0;
  __syncthreads();
  atomicAdd(&fixed[low_bits], 1);
  atomicAdd(&dynamic[low_bits], 1);
  __syncthreads();
  if (t < 8) counts[blockIdx.x * 16 + t] = fixed[t], counts[blockIdx.x * 16 + 8 + t] = dynamic[t];
}

// The block that comes last adds what the others have left behind a fence.
__global__ void last_block(const int* in, int* sums, unsigned* arrived, int* total) {
  __shared__ bool last;
  const int sum = __reduce_add_sync(0xffffffff, in[blockIdx.x * blockDim.x + threadIdx.x]);
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = sum;
    __threadfence();
    last = atomicAdd(arrived, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  int all = 0;
  for (unsigned block = threadIdx.x; block < gridDim.x; block += blockDim.x) all += sums[block];
  all = __reduce_add_sync(0xffffffff, all);
  if (threadIdx.x == 0) *total = all;
}

}  // namespace

extern "C" void launch_warp_functions(const int* in, int* out, int n, cudaStream_t stream) {
  dssl::launch(warp_functions, n / 64, 64, 0, stream, in, out, n);
}
extern "C" void launch_block_functions(const int* in, int* out, int n, cudaStream_t stream) {
  dssl::launch(block_functions, n / 64, 64, 0, stream, in, out, n);
}
extern "C" void launch_shared_memory(const int* in, int* out, int n, cudaStream_t stream) {
  dssl::launch(shared_memory, n / 96, dim3(96), 96 * sizeof(int), stream, in, out, n);
}
extern "C" void launch_atomics(const int* in, int* out, float* sum, int n, cudaStream_t stream) {
  dssl::launch(atomics, n / 64, 64, 0, stream, in, out, sum);
}
extern "C" void launch_shared_atomics(const int* in, int* counts, int n, cudaStream_t stream) {
  dssl::launch(shared_atomics, n / 64, 64, 8 * sizeof(int), stream, in, counts);
}
extern "C" void launch_last_block(const int* in, int* sums, unsigned* arrived, int* total, int n, cudaStream_t stream) {
  dssl::launch(last_block, n / 32, 32, 0, stream, in, sums, arrived, total);
}
