// The gradient of each own row's unit vector: sum_j slope_ij u_j. A block owns kOwn rows and a slab of the width; tile
// by tile it makes the similarities again, turns them into slopes, and adds the slopes times the other side's rows to
// sums that it keeps in registers. Nothing is shared between blocks, so nothing is added atomically.
#pragma once

#include "../common/reduce.cuh"
#include "forward.cuh"

namespace dssl::nt_xent {

// Rows of the loss may be this side's, the other's, or both (the symmetric case).
template <class A>
struct Slopes {
  A *weight, *denominator, *positive;  // of rows: slope = weight * 2^(logit - denominator); of the positive
  unsigned* peak;                      // largest |weight| or |positive|, as bits of a float
  bool own_rows, other_rows;
};

// Below this temperature float powers of (reference - denominator) could overflow, see below.
constexpr double kLowestCommonTemperature = 0.03;

// Products of slopes are taken in the operands' type: float16 holds them between 2^-24 and 2^13.
template <class T>
constexpr float kPeak = std::is_same_v<T, __half> ? 4096.0f : 1.0f;

// A power of two, so that dividing by it loses nothing. Not below 2^-100, where kPeak / peak would overflow: float16
// holds no gradient of slopes that small, and the other types need no larger ones.
__device__ inline float peak_of(const unsigned* bits) {
  const float peak = __uint_as_float(*bits & 0xff800000u);
  return peak > 0x1p-100f ? peak : 0x1p-100f;
}

// One thread a row. No logit exceeds 1 / temperature: where its power is a float, it is the common reference of all
// rows, and one power serves a row and a column.
template <class A>
__global__ void __launch_bounds__(kPackThreads)
    weigh_rows(const double* positives, const double* negatives, const double* upstream, bool per_row, double factor,
               bool decoupled, int64_t count, int64_t total, const double* temperature, Slopes<A> to) {
  const int64_t row = int64_t{blockIdx.x} * kPackThreads + threadIdx.x;
  double weight = 0, denominator = 0, positive = 0;
  if (row < count) {
    const Row of = {positives[row], negatives[row], decoupled};
    weight = factor * upstream[per_row ? row : 0];
    positive = weight * of.positive_slope();
    atomicMax(to.peak, __float_as_uint(static_cast<float>(fabs(weight))));
    const double log2_denominator = of.log_denominator() * kLog2E;
    if (isinf(of.negatives)) {
      weight = 0;  // no negative
    } else if (sizeof(A) == 4 && *temperature >= kLowestCommonTemperature) {
      denominator = kLog2E / *temperature;
      weight *= exp2(denominator - log2_denominator);
    } else {
      denominator = log2_denominator;
    }
  }
  if (row >= total) return;
  to.weight[row] = static_cast<A>(weight);
  to.denominator[row] = static_cast<A>(denominator);
  to.positive[row] = static_cast<A>(positive);
}

template <class T>
struct SlopeTile {
  using S = Shape<T>;
  using A = typename S::A;
  const Sides<T>& of;
  const Slopes<A>& slopes;
  const Place& at;
  bool common;
  A by;  // what every slope is multiplied with

  // One entry's share through the row that it belongs to.
  __device__ A through(int row, int column, A logit, int positive, int excluded) const {
    if (column == positive) return slopes.positive[row];
    if (column == excluded || column < of.positives_only) return A(0);
    return slopes.weight[row] * power(logit - slopes.denominator[row]);
  }

  // Tile of cosines -> slopes * by * inverse of the other row, in shared memory, kOther + 16 bytes a row.
  template <int N>
  __device__ void write(int tile, const A (&cosines)[2][N][4], T* to, int stride, bool tf32) const {
    const A log2_scale = static_cast<A>(of.log2_scale());
#pragma unroll 1
    for (int r = 0; r < 4; ++r) {
      const int in_block = at.warp_row * 32 + 8 * r + at.g;
      const int own = static_cast<int>(blockIdx.x) * S::kOwn + in_block;
      const A own_scale = of.own.inverse[own] * log2_scale;
      const int own_positive = slopes.own_rows ? of.pairing.positive[own] : -1;
      const int own_excluded = slopes.own_rows ? of.pairing.excluded[own] : -1;
      const A own_weight = slopes.own_rows ? slopes.weight[own] : A(0);
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int in_tile = at.warp_column * 8 * N + 8 * n + 2 * at.t + c, other = tile * S::kOther + in_tile;
          const A inverse = of.other.inverse[other];
          const A logit = select(cosines, r, n, c) * own_scale * inverse;
          to[in_block * stride + in_tile] =
              rounded(by * inverse * slope(own, other, logit, own_positive, own_excluded, own_weight), tf32);
        }
    }
  }

 private:
  // Registers cannot be indexed by a variable: four selections do it.
  template <int N>
  __device__ static A select(const A (&cosines)[2][N][4], int r, int n, int c) {
    const A low = r % 2 ? cosines[0][n][2 + c] : cosines[0][n][c];
    const A high = r % 2 ? cosines[1][n][2 + c] : cosines[1][n][c];
    return r / 2 ? high : low;
  }

  __device__ static T rounded(A value, bool tf32) {
    if constexpr (std::is_same_v<T, float>)
      if (tf32) return __uint_as_float(to_tf32(value));
    return static_cast<T>(value);
  }

  __device__ A slope(int own, int other, A logit, int own_positive, int own_excluded, A own_weight) const {
    if (common && slopes.own_rows && slopes.other_rows && other != own_positive && other != own_excluded)
      return (own_weight + slopes.weight[other]) * power(logit - slopes.denominator[own]);
    A sum = 0;
    if (slopes.own_rows) sum += through(own, other, logit, own_positive, own_excluded);
    if (slopes.other_rows) sum += through(other, own, logit, of.pairing.positive[other], of.pairing.excluded[other]);
    return sum;
  }
};

template <class T>
struct Slab {  // of the width, that a block sums: in pieces of one chunk each
  static constexpr int kPieces = sizeof(T) == 2 ? 2 : 4;
  static constexpr int kTilesN = Shape<T>::kChunk / 16;  // 8 columns each, of a warp in a piece
  static constexpr int kStride = Shape<T>::kOther + 16 / static_cast<int>(sizeof(T));
  static constexpr int64_t kSlopeBytes = int64_t{Shape<T>::kOwn} * kStride * sizeof(T);
  static_assert(kSlopeBytes <= 2 * Stage<T>::kOwnChunk * static_cast<int64_t>(sizeof(T)));
};

// partial: (shares, padded own rows, padded width). Slopes have memory of their own where the own rows stay in theirs.
template <class T, bool kTensor>
__global__ void __launch_bounds__(Shape<T>::kThreads, sizeof(T) == 8 ? 2 : 1)
    sum_gradients(const __grid_constant__ Sides<T> of, const __grid_constant__ Slopes<typename Shape<T>::A> slopes,
                  bool tf32, typename Shape<T>::A* partial) {
  using S = Shape<T>;
  using A = typename S::A;
  using Of = Slab<T>;
  T* memory = dynamic_shared<T>();
  const Place at;
  const Stage<T> stage(of, memory);
  T* slope_memory = of.keeps_own ? memory + Stage<T>::kBytes / sizeof(T) : stage.own;
  const int chunks = stage.chunks, first_piece = static_cast<int>(blockIdx.z) * Of::kPieces;
  const bool common = sizeof(A) == 4 && *of.temperature >= kLowestCommonTemperature;
  const A by = sizeof(A) == 8 ? A(1) : static_cast<A>(kPeak<T> / peak_of(slopes.peak));
  const SlopeTile<T> slope_tile = {of, slopes, at, common, by};
  A sums[Of::kPieces][2][Of::kTilesN][4] = {};
  for (int tile = 0; tile < of.last_tile() - of.first_tile(); ++tile) {
    A cosines[2][S::kTilesN][4] = {};
    stage.fetch(tile * chunks);
    commit_copies();
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int step = tile * chunks + chunk;
      if (chunk + 1 < chunks) stage.fetch(step + 1);
      commit_copies();
      wait_for_copies<1>();
      __syncthreads();
      stage.template multiply<kTensor>(cosines, step, at);
      __syncthreads();
    }
    slope_tile.write(of.first_tile() + tile, cosines, slope_memory, Of::kStride, tf32);
#pragma unroll
    for (int piece = 0; piece < Of::kPieces; ++piece) {
      const int chunk = first_piece + piece, step = tile * chunks + chunk;
      if (chunk >= chunks) break;
      if (chunks > 2) {  // else both chunks are there
        copy_chunk(stage.other_place(step),
                   of.other.entries + int64_t{of.first_tile() + tile} * S::kOther * of.other.width + chunk * S::kChunk,
                   of.other.width, S::kOther);
        commit_copies();
        wait_for_copies<0>();
      }
      __syncthreads();
      multiply_columns<kTensor>(sums[piece], slope_memory + at.warp_row * 32 * Of::kStride, Of::kStride,
                                stage.other_place(step) + at.warp_column * 8 * Of::kTilesN, at);
    }
    __syncthreads();  // the next tile takes the same memory
  }
#pragma unroll
  for (int piece = 0; piece < Of::kPieces; ++piece) {
    if (first_piece + piece >= chunks) break;
    for (int r = 0; r < 4; ++r)
      for (int c = 0; c < 2 * Of::kTilesN; ++c) {
        const int64_t row = blockIdx.y * of.own.rows + stage.own_row + at.warp_row * 32 + 8 * r + at.g;
        const int64_t column =
            (first_piece + piece) * S::kChunk + at.warp_column * 8 * Of::kTilesN + c / 2 * 8 + 2 * at.t + c % 2;
        partial[row * of.own.width + column] = sums[piece][r / 2][c / 2][r % 2 * 2 + c % 2];
      }
  }
}

// One warp a row: all shares, through temperature and normalisation, into the row of the tensor that it came from.
// along[row] = u . d loss / d u.
template <class T>
__global__ void __launch_bounds__(kPackThreads)
    finish_gradients(const __grid_constant__ Operand<T> own, const typename Shape<T>::A* partial, int shares,
                     const unsigned* peak, const double* temperature, int64_t first, int64_t count, int64_t width,
                     T* out, double* along) {
  const int64_t row = (int64_t{blockIdx.x} * kPackThreads + threadIdx.x) / 32, lane = threadIdx.x % 32;
  if (row >= count) return;
  const double by = (sizeof(T) == 8 ? 1.0 : static_cast<double>(peak_of(peak)) / kPeak<T>) / *temperature;
  const auto gradient = [&](int64_t d) {
    double sum = 0;
    for (int share = 0; share < shares; ++share) sum += partial[(share * own.rows + first + row) * own.width + d];
    return sum * by;
  };
  const auto unit = [&](int64_t d) {
    return static_cast<typename Shape<T>::A>(own.entries[(first + row) * own.width + d]) *
           own.exact_inverse[first + row];
  };
  double sum = 0;
  for (int64_t d = lane; d < width; d += 32) sum = fma(gradient(d), unit(d), sum);
  sum = warp_sum(sum);
  for (int64_t d = lane; d < width; d += 32)
    out[row * width + d] = narrow<T>(through_normalisation(gradient(d), sum, unit(d), own.length_inverse[first + row]));
  if (lane == 0 && along) along[first + row] = sum;
}

// The loss depends on u and the temperature through u_i . u_j / temperature alone. In the symmetric case each pair
// shows up in the gradients of both its rows: `share` is then 1/2. One block.
static __global__ void __launch_bounds__(kReduceThreads)
    differentiate_temperature(const double* along, int64_t count, double share, const double* temperature,
                              double* out) {
  const double sum = block_sum(count, [=](int64_t i) { return along[i]; });
  if (threadIdx.x == 0) *out = -sum * share / *temperature;
}

}  // namespace dssl::nt_xent
