// Kernels with one bug each, at the line marked BUG; tests/emulator/test_bugs.py sees each of them reported.
#include "common/launch.cuh"
#include "common/mma.cuh"

namespace {

using dssl::dynamic_shared;

__global__ void missing_barrier(float* x) {
  __shared__ float row[64];
  row[threadIdx.x] = x[threadIdx.x];
  x[threadIdx.x] = row[63 - threadIdx.x];  // BUG missing_barrier
}

__global__ void barrier_too_early(float* x) {
  __shared__ float row[64];
  for (int round = 0; round < 2; ++round) {
    row[threadIdx.x] = x[threadIdx.x];  // BUG barrier_too_early
    __syncthreads();
    x[threadIdx.x] = row[63 - threadIdx.x];  // BUG barrier_too_early
  }
}

__global__ void missing_warp_barrier(float* x) {
  __shared__ float row[32];
  if (threadIdx.x >= 32) return;
  row[threadIdx.x] = x[threadIdx.x];
  x[threadIdx.x] = row[31 - threadIdx.x];  // BUG missing_warp_barrier
}

__global__ void missing_warp_barrier_before_update(float* x) {
  __shared__ float row[32];
  if (threadIdx.x >= 32) return;
  row[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  if (threadIdx.x == 0)
    x[0] = row[1];  // BUG missing_warp_barrier_before_update
  else
    row[threadIdx.x] += 1;  // BUG missing_warp_barrier_before_update
}

__global__ void divergent_barrier(float* x) {
  if (threadIdx.x < 16) {
    __syncthreads();
    x[threadIdx.x] = 1;
  } else {
    x[threadIdx.x] = 2;
    __syncthreads();  // BUG divergent_barrier
  }
}

__global__ void barrier_after_return(float* x) {
  if (threadIdx.x == 5) return;
  __syncthreads();  // BUG barrier_after_return
  x[threadIdx.x] = 1;
}

__global__ void short_mask(float* x) {
  x[threadIdx.x] += __shfl_xor_sync(0x0000ffff, x[threadIdx.x], 1);  // BUG short_mask
}

__global__ void lanes_that_do_not_come(float* x) {
  if (threadIdx.x % 32 < 16) x[threadIdx.x] += __shfl_xor_sync(0xffffffff, 1.0f, 1);  // BUG lanes_that_do_not_come
  __syncthreads();
}

__global__ void lane_outside_the_mask(float* x) {
  if (threadIdx.x < 16) x[threadIdx.x] = __shfl_sync(0x0000ffff, 1.0f, 20);  // BUG lane_outside_the_mask
}

__global__ void diverging_lanes(float* x) {
  if (threadIdx.x % 2)
    x[threadIdx.x] = __shfl_sync(0xffffffff, 1.0f, 0);
  else
    x[threadIdx.x] = __shfl_sync(0xffffffff, 2.0f, 0);  // BUG diverging_lanes
}

__global__ void beyond_the_buffer(float* x) {
  x[2 * threadIdx.x] = 1;  // BUG beyond_the_buffer
}

__global__ void beyond_the_array(float* x) {
  __shared__ float row[64];
  row[threadIdx.x + 1] = 1;  // BUG beyond_the_array
  __syncthreads();
  x[threadIdx.x] = row[threadIdx.x];
}

__global__ void beyond_dynamic_shared(float* x) {
  float* row = dynamic_shared<float>();
  row[threadIdx.x + 1] = 1;  // BUG beyond_dynamic_shared
  __syncthreads();
  x[threadIdx.x] = row[threadIdx.x];
}

__global__ void unwritten_array(float* x) {
  __shared__ float row[65];
  row[threadIdx.x] = 1;
  __syncthreads();
  x[threadIdx.x] = row[threadIdx.x + 1];  // BUG unwritten_array
}

__global__ void unwritten_dynamic_shared(float* x) {
  x[threadIdx.x] = dynamic_shared<float>()[threadIdx.x];  // BUG unwritten_dynamic_shared
}

__global__ void unwritten_counter(float* x) {
  atomicAdd(dynamic_shared<float>() + threadIdx.x, 1.0f);  // BUG unwritten_counter
  x[threadIdx.x] = 1;
}

__global__ void misaligned_vector(float* x) {
  if (threadIdx.x) return;
  *reinterpret_cast<float4*>(x + 1) = float4{};  // BUG misaligned_vector
}

__global__ void blocks_write_one_place(float* x) {
  x[threadIdx.x] = blockIdx.x;  // BUG blocks_write_one_place
}

__global__ void block_reads_another(float* x) {
  if (blockIdx.x == 0)
    x[threadIdx.x] = 1;  // BUG block_reads_another
  else
    x[62 + threadIdx.x] = x[threadIdx.x];  // BUG block_reads_another
}

__global__ void unfenced_last_block(float* x) {
  if (threadIdx.x) return;
  x[blockIdx.x] = 1;
  if (atomicAdd(reinterpret_cast<unsigned*>(x + 100), 1u) == gridDim.x - 1)
    x[64] = x[gridDim.x - 1 - blockIdx.x];  // BUG unfenced_last_block
}

__global__ void copy_not_awaited(float* x) {
  __shared__ __align__(16) float row[256];
  dssl::copy_async(row + 4 * threadIdx.x, x);
  dssl::commit_copies();
  x[threadIdx.x + 8] = row[4 * threadIdx.x];  // BUG copy_not_awaited
}

__global__ void wide_shift(float* x) {
  x[threadIdx.x] = 1 << threadIdx.x;  // BUG wide_shift
}

__global__ void nothing(float*) {}

}  // namespace

#define LAUNCHED(name)                                           \
  extern "C" void launch_##name(float* x, cudaStream_t stream) { \
    dssl::launch(name, 2, 64, 64 * sizeof(float), stream, x);    \
  }
#define LAUNCHED_ONE_BLOCK(name)                                 \
  extern "C" void launch_##name(float* x, cudaStream_t stream) { \
    dssl::launch(name, 1, 64, 64 * sizeof(float), stream, x);    \
  }
LAUNCHED_ONE_BLOCK(missing_barrier)
LAUNCHED_ONE_BLOCK(barrier_too_early)
LAUNCHED_ONE_BLOCK(missing_warp_barrier)
LAUNCHED_ONE_BLOCK(missing_warp_barrier_before_update)
LAUNCHED_ONE_BLOCK(divergent_barrier)
LAUNCHED_ONE_BLOCK(barrier_after_return)
LAUNCHED_ONE_BLOCK(short_mask)
LAUNCHED_ONE_BLOCK(lanes_that_do_not_come)
LAUNCHED_ONE_BLOCK(lane_outside_the_mask)
LAUNCHED_ONE_BLOCK(diverging_lanes)
LAUNCHED_ONE_BLOCK(beyond_the_buffer)
LAUNCHED_ONE_BLOCK(beyond_the_array)
LAUNCHED_ONE_BLOCK(beyond_dynamic_shared)
LAUNCHED_ONE_BLOCK(unwritten_array)
LAUNCHED_ONE_BLOCK(unwritten_dynamic_shared)
LAUNCHED_ONE_BLOCK(unwritten_counter)
LAUNCHED_ONE_BLOCK(misaligned_vector)
LAUNCHED(blocks_write_one_place)
LAUNCHED(block_reads_another)
LAUNCHED(unfenced_last_block)
LAUNCHED_ONE_BLOCK(copy_not_awaited)
LAUNCHED_ONE_BLOCK(wide_shift)

extern "C" void launch_nothing(float* x, int grid_y, int block, int64_t shared_bytes, cudaStream_t stream) {
  dssl::launch(nothing, dim3(1, grid_y), block, shared_bytes, stream, x);
}
