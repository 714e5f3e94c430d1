// Rows of any floating-point type in CUDA kernels: 16 bytes at a time where a row is aligned, and sums over a warp.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "dtype.h"

namespace dssl {

// Calls use(a value of the type that `dtype` names).
template <class Use>
void with_type(int dtype, const Use& use) {
  switch (dtype) {
    case kFloat32: return use(float());
    case kFloat64: return use(double());
    case kBFloat16: return use(__nv_bfloat16());
    default: use(__half());
  }
}

constexpr unsigned kAllLanes = 0xffffffffu;

template <class S>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(S);
  S values[kSize];

  __device__ double operator[](int k) const {
    if constexpr (sizeof(S) >= 4) return values[k];
    return static_cast<float>(values[k]);
  }
};

template <class S>
__device__ inline bool is_aligned(const S* row) {
  return reinterpret_cast<uintptr_t>(row) % 16 == 0;
}

// Pack number `c` of a row; past the end of the row it holds zeros.
template <class S>
__device__ inline Pack<S> load_pack(const S* row, int64_t c, int64_t width) {
  constexpr int kSize = Pack<S>::kSize;
  const S* from = row + c * kSize;
  Pack<S> pack;
  if ((c + 1) * kSize <= width && is_aligned(row)) {
    *reinterpret_cast<uint4*>(pack.values) = *reinterpret_cast<const uint4*>(from);
  } else {
    for (int k = 0; k < kSize; ++k) pack.values[k] = c * kSize + k < width ? from[k] : S(0.0f);
  }
  return pack;
}

// Half types round once more, from float, as on the CPU.
template <class S>
__device__ inline S narrow(double value) {
  if constexpr (sizeof(S) == 8) return value;
  return static_cast<S>(static_cast<float>(value));
}

// Writes `count` values, a multiple of what 16 bytes hold, from entry `first` of a row on, as far as the row goes.
template <int count, class S>
__device__ inline void store_values(S* row, int64_t first, int64_t width, const double (&values)[count]) {
  constexpr int kSize = Pack<S>::kSize;
  static_assert(count % kSize == 0);
  Pack<S> packs[count / kSize];
#pragma unroll
  for (int k = 0; k < count; ++k) packs[k / kSize].values[k % kSize] = narrow<S>(values[k]);
  if (first + count <= width && is_aligned(row)) {
#pragma unroll
    for (int k = 0; k < count / kSize; ++k)
      *reinterpret_cast<uint4*>(row + first + k * kSize) = *reinterpret_cast<const uint4*>(packs[k].values);
  } else {
#pragma unroll
    for (int k = 0; k < count; ++k)
      if (first + k < width) row[first + k] = packs[k / kSize].values[k % kSize];
  }
}

template <class T>
__device__ inline T warp_sum(T value) {
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(kAllLanes, value, lanes);
  return value;
}

template <class T>
__device__ inline T warp_max(T value) {
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, value, lanes);
    value = other > value ? other : value;
  }
  return value;
}

}  // namespace dssl
