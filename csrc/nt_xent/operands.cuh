// What the tiles are made of: rows scaled by powers of two (which loses nothing) to a largest entry in [1, 2), padded
// with zeros to whole tiles, in the type that the products take; one over their lengths; each row's columns.
#pragma once

#include "../common/launch.cuh"
#include "../common/mma.cuh"
#include "../common/pack.cuh"

namespace dssl::nt_xent {

constexpr int kPackThreads = 128;

// A block computes kOwn rows of one side against kOther of the other at a time, over chunks of 128 bytes of the width.
// Each warp has 32 rows and 8 kTilesN columns; the lanes hold them as the fragments of mma.cuh do, tensor cores or not.
template <class T>
struct Shape {
  using A = std::conditional_t<sizeof(T) == 8, double, float>;               // sums
  static constexpr int kChunk = 128 / sizeof(T), kStride = 144 / sizeof(T);  // 144: no two rows in one bank
  static constexpr int kWarpRows = sizeof(T) == 8 ? 2 : 4, kTilesN = sizeof(T) == 8 ? 2 : 4;
  static constexpr int kOwn = 32 * kWarpRows, kOther = 16 * kTilesN, kThreads = 64 * kWarpRows;
};

constexpr int64_t kPadding = 128;  // rows are padded to a multiple of every kOwn and kOther

inline int64_t padded(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

template <class T>
struct Operand {
  using A = typename Shape<T>::A;
  T* entries;                  // (padded rows, padded width)
  A* inverse;                  // 1 / length of the scaled row, 0 for zero rows and padding
  double* exact_inverse;       // the same
  double* length_inverse;      // 1 / length of the row as it came
  int64_t count, rows, width;  // rows: with padding
};

// Columns of each row; -1: none, kWrong: none that there is.
constexpr int32_t kWrong = -2;

struct Pairing {
  int32_t *positive, *excluded;
};

template <class T>
__device__ inline T as_operand(double value, bool tf32) {
  if constexpr (std::is_same_v<T, float>)
    if (tf32) return __uint_as_float(to_tf32(static_cast<float>(value)));
  return narrow<T>(value);
}

// One warp a row: rows [first, first + total) of the operand, those from `count` on padding.
template <class T>
__global__ void __launch_bounds__(kPackThreads) pack_rows(const T* from, int64_t stride, int64_t count, int64_t total,
                                                          int64_t width, int64_t first, Operand<T> to, bool tf32) {
  const int lane = threadIdx.x % 32;
  const int64_t row = (int64_t{blockIdx.x} * kPackThreads + threadIdx.x) / 32;
  if (row >= total) return;
  const bool real = row < count;
  double largest = 0;
  for (int64_t d = lane; real && d < width; d += 32) {
    const double size = fabs(static_cast<double>(static_cast<typename Shape<T>::A>(from[row * stride + d])));
    largest = size > largest ? size : largest;
  }
  largest = warp_max(largest);
  const double scale = largest > 0 ? ldexp(1.0, min(1000, -ilogb(largest))) : 1.0;
  double squares = 0;
  for (int64_t d = lane; d < to.width; d += 32) {
    const double value = real && d < width ? scale * static_cast<typename Shape<T>::A>(from[row * stride + d]) : 0.0;
    squares = fma(value, value, squares);
    to.entries[(first + row) * to.width + d] = as_operand<T>(value, tf32);
  }
  squares = warp_sum(squares);
  if (lane != 0) return;
  const double inverse = squares == 0 ? 0 : 1 / sqrt(squares);
  to.inverse[first + row] = static_cast<typename Shape<T>::A>(inverse);
  to.exact_inverse[first + row] = inverse;
  to.length_inverse[first + row] = inverse * scale;
}

// Without columns: row i of 2 N is positive with its partner and excluded from itself. `peak` is set to 0.
static __global__ void __launch_bounds__(kPackThreads)
    pair_rows(const int64_t* positive, const int64_t* excluded, int64_t count, int64_t total, int64_t columns,
              Pairing to, unsigned* peak) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i == 0) *peak = 0;
  if (i >= total) return;
  int64_t with = -1, without = -1;
  if (i < count) {
    with = positive ? positive[i] : (i + count / 2) % count;
    without = positive ? excluded[i] : i;
  }
  to.positive[i] = with >= -1 && with < columns ? static_cast<int32_t>(with) : kWrong;
  to.excluded[i] = static_cast<int32_t>(without >= 0 && without < columns ? without : -1);
}

}  // namespace dssl::nt_xent
