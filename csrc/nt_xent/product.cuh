// The two products of a warp, from shared memory into registers: a chunk of similarities, and slopes times rows. Exact
// ones use fused multiply-adds; on tensor cores sums are float32 and inputs what the rows hold.
#pragma once

#include "operands.cuh"

namespace dssl::nt_xent {

struct Place {  // of a thread in its block
  int lane, warp_row, warp_column, g, t;

  __device__ Place()
      : lane(threadIdx.x % 32),
        warp_row(threadIdx.x / 64),
        warp_column(threadIdx.x / 32 % 2),
        g(lane / 4),
        t(lane % 4) {}
};

template <class T>
__device__ constexpr bool runs_on_tensor_cores() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  return std::is_same_v<T, __half>;  // 7.5 has neither bfloat16 nor tf32: exact products there
#else
  return true;
#endif
}

template <class T>
__device__ inline void tensor_product(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<T, float>)
    mma_16x8x8_tf32(c, a, b);
  else
    mma_16x8x16<T>(c, a, b);
}

template <class T>
__device__ inline Pack<T> shared_pack(const T* from) {
  Pack<T> pack;
  *reinterpret_cast<uint4*>(pack.values) = *reinterpret_cast<const uint4*>(from);
  return pack;
}

// sums[m][n] += x y^T: rows x of the warp, 32 of them, and y, 8 N of them, kStride apart, over one chunk.
template <bool kTensor, int N, class T, class A>
__device__ inline void multiply_rows(A (&sums)[2][N][4], const T* x, const T* y, const Place& at) {
  using S = Shape<T>;
  if constexpr (kTensor && runs_on_tensor_cores<T>()) {
    constexpr int kUnit = 16 / sizeof(T);
    const T* a_row = x + at.lane % 16 * S::kStride + at.lane / 16 * kUnit;
    const T* b_row = y + (at.lane % 8 + at.lane / 16 * 8) * S::kStride + at.lane / 8 % 2 * kUnit;
#pragma unroll
    for (int k = 0; k < S::kChunk; k += 2 * kUnit) {
      uint32_t a[2][4];
      for (int m = 0; m < 2; ++m) load_matrices(a[m], a_row + m * 16 * S::kStride + k);
#pragma unroll
      for (int n = 0; n < N; n += 2) {
        uint32_t units[4];
        load_matrices(units, b_row + n * 8 * S::kStride + k);
        const uint32_t b[2][2] = {{units[0], units[1]}, {units[2], units[3]}};
#pragma unroll
        for (int half = 0; half < 2; ++half)
          for (int m = 0; m < 2; ++m) tensor_product<T>(sums[m][n + half], a[m], b[half]);
      }
    }
  } else {
    constexpr int kSize = Pack<T>::kSize;
#pragma unroll 1
    for (int k = 0; k < S::kChunk; k += kSize) {
      Pack<T> a[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) a[r] = shared_pack(x + (8 * r + at.g) * S::kStride + k);
#pragma unroll
      for (int c = 0; c < 2 * N; ++c) {
        const Pack<T> b = shared_pack(y + (c / 2 * 8 + 2 * at.t + c % 2) * S::kStride + k);
#pragma unroll
        for (int r = 0; r < 4; ++r)
#pragma unroll
          for (int i = 0; i < kSize; ++i) {
            A& sum = sums[r / 2][c / 2][r % 2 * 2 + c % 2];
            sum = fma(static_cast<A>(a[r].values[i]), static_cast<A>(b.values[i]), sum);
          }
      }
    }
  }
}

// sums[m][n] += p y: p, 32 rows of the warp, p_stride apart, of kOther entries; y, kOther rows, kStride apart, from the
// warp's first column on.
template <bool kTensor, int N, class T, class A>
__device__ inline void multiply_columns(A (&sums)[2][N][4], const T* p, int p_stride, const T* y, const Place& at) {
  using S = Shape<T>;
  constexpr int kUnit = 16 / sizeof(T);
  if constexpr (kTensor && runs_on_tensor_cores<T>()) {
    const T* a_row = p + at.lane % 16 * p_stride + at.lane / 16 * kUnit;
#pragma unroll
    for (int k = 0; k < S::kOther; k += 2 * kUnit) {
      uint32_t a[2][4], b[N][2];
      for (int m = 0; m < 2; ++m) load_matrices(a[m], a_row + m * 16 * p_stride + k);
      if constexpr (sizeof(T) == 2) {
#pragma unroll
        for (int n = 0; n < N; n += 2) {
          uint32_t units[4];
          load_matrices_transposed(units, y + (k + at.lane % 16) * S::kStride + n * 8 + at.lane / 16 * 8);
          for (int i = 0; i < 4; ++i) b[n + i / 2][i % 2] = units[i];
        }
      } else {
#pragma unroll
        for (int n = 0; n < N; ++n)
          for (int i = 0; i < 2; ++i) b[n][i] = __float_as_uint(y[(k + at.t + 4 * i) * S::kStride + n * 8 + at.g]);
      }
#pragma unroll
      for (int n = 0; n < N; ++n)
        for (int m = 0; m < 2; ++m) tensor_product<T>(sums[m][n], a[m], b[n]);
    }
  } else {
#pragma unroll 1
    for (int k = 0; k < S::kOther; k += kUnit) {
      Pack<T> a[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) a[r] = shared_pack(p + (8 * r + at.g) * p_stride + k);
#pragma unroll
      for (int i = 0; i < kUnit; ++i)
#pragma unroll
        for (int c = 0; c < 2 * N; ++c) {
          const A b = static_cast<A>(y[(k + i) * S::kStride + c / 2 * 8 + 2 * at.t + c % 2]);
#pragma unroll
          for (int r = 0; r < 4; ++r) {
            A& sum = sums[r / 2][c / 2][r % 2 * 2 + c % 2];
            sum = fma(static_cast<A>(a[r].values[i]), b, sum);
          }
        }
    }
  }
}

// Queues the copy of a chunk of `rows` rows into shared memory.
template <class T>
__device__ inline void copy_chunk(T* to, const T* from, int64_t width, int rows) {
  constexpr int kUnit = 16 / sizeof(T);
  for (int i = threadIdx.x; i < rows * 8; i += Shape<T>::kThreads)
    copy_async(to + i / 8 * Shape<T>::kStride + i % 8 * kUnit, from + i / 8 * width + i % 8 * kUnit);
}

__device__ inline float power(float x) { return exp2f(x); }
__device__ inline double power(double x) { return exp2(x); }

}  // namespace dssl::nt_xent
