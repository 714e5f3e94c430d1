// The last step of a loss: one number out of many.
#pragma once

#include "pack.cuh"

namespace dssl {

constexpr int kReduceThreads = 1024;

// Sum of term(i), i < count, for thread 0 of a block of kReduceThreads, in an order that the count alone decides.
// Static, so that libraries loaded together have a `partial` of their own each.
template <class Term>
static __device__ double block_sum(int64_t count, const Term& term) {
  __shared__ double partial[32];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += term(i);
  sum = warp_sum(sum);
  __syncthreads();  // a sum before this one has been read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  return threadIdx.x < 32 ? warp_sum(partial[threadIdx.x]) : 0.0;
}

// total = factor * sum, by one block.
template <class T>
__global__ void __launch_bounds__(kReduceThreads)
    reduce_sum(const double* values, int64_t count, double factor, T* total) {
  const double sum = block_sum(count, [=](int64_t i) { return values[i]; });
  if (threadIdx.x == 0) *total = static_cast<T>(factor * sum);
}

}  // namespace dssl
