// From the host into device memory as arguments of kernels: CUDA copies those when the launch is queued, or into the
// CUDA graph that captures it. A copy would be made again at every replay, from memory that is gone by then.
#pragma once

#include <algorithm>
#include <cstring>

#include "launch.cuh"

namespace dssl {

struct Words {
  static constexpr int kCount = 480;  // arguments are 4 KiB at most
  uint64_t words[kCount];
};

static __global__ void __launch_bounds__(128) store_words(const __grid_constant__ Words from, int count, uint64_t* to) {
  for (int k = threadIdx.x; k < count; k += blockDim.x) to[k] = from.words[k];
}

// Loads the kernel ahead of its first launch: a capture may come first, and must not have to.
inline void load_store() {
  cudaFuncAttributes attributes;
  cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(&store_words));
}

// `bytes` is a multiple of 8.
inline void store(const void* from, int64_t bytes, void* to, cudaStream_t stream) {
  for (int64_t first = 0; first < bytes / 8; first += Words::kCount) {
    Words part;
    const int count = static_cast<int>(std::min<int64_t>(Words::kCount, bytes / 8 - first));
    std::memcpy(part.words, static_cast<const uint64_t*>(from) + first, static_cast<size_t>(count) * 8);
    launch(store_words, 1, 128, 0, stream, part, count, static_cast<uint64_t*>(to) + first);
  }
}

}  // namespace dssl
