// Log-sum-exp of each row's negatives: a block owns kOwn rows and walks over tiles of columns; every thread keeps a
// running maximum and sum of the entries it sees, and the block's threads put theirs together at the end.
#pragma once

#include "nt_xent.h"
#include "product.cuh"

namespace dssl::nt_xent {

// One side's rows against the other's. The grid's y takes a share of the tiles, `tiles_each` of `tiles`.
template <class T>
struct Sides {
  Operand<T> own, other;
  Pairing pairing;  // of rows
  int64_t positives_only;
  const double* temperature;
  int tiles, tiles_each;
  bool keeps_own;  // rows of two chunks or less stay in shared memory; else they come again with every tile

  __device__ int first_tile() const { return static_cast<int>(blockIdx.y) * tiles_each; }
  __device__ int last_tile() const { return min(tiles, first_tile() + tiles_each); }
  __device__ int chunks() const { return static_cast<int>(own.width / Shape<T>::kChunk); }
  __device__ double log2_scale() const { return kLog2E / *temperature; }
};

// Chunks of both sides on their way into shared memory: two places for each.
template <class T>
struct Stage {
  using S = Shape<T>;
  static constexpr int kOwnChunk = S::kOwn * S::kStride, kOtherChunk = S::kOther * S::kStride;
  static constexpr int64_t kBytes = 2 * (kOwnChunk + kOtherChunk) * static_cast<int64_t>(sizeof(T));

  const Sides<T>& of;
  T *own, *other;
  int64_t own_row;
  int chunks;

  __device__ Stage(const Sides<T>& sides, T* memory)
      : of(sides),
        own(memory),
        other(memory + 2 * kOwnChunk),
        own_row(int64_t{blockIdx.x} * S::kOwn),
        chunks(sides.chunks()) {}

  __device__ T* own_place(int step) const { return own + (of.keeps_own ? step % chunks : step % 2) * kOwnChunk; }
  __device__ T* other_place(int step) const { return other + step % 2 * kOtherChunk; }

  // Step s is chunk s % chunks of the block's tile s / chunks.
  __device__ void fetch(int step) const {
    const int64_t chunk = step % chunks * S::kChunk;
    const int64_t other_row = int64_t{of.first_tile() + step / chunks} * S::kOther;
    if (!of.keeps_own || step < chunks)
      copy_chunk(own_place(step), of.own.entries + own_row * of.own.width + chunk, of.own.width, S::kOwn);
    copy_chunk(other_place(step), of.other.entries + other_row * of.other.width + chunk, of.other.width, S::kOther);
  }

  template <bool kTensor, int N, class A>
  __device__ void multiply(A (&sums)[2][N][4], int step, const Place& at) const {
    multiply_rows<kTensor>(sums, own_place(step) + at.warp_row * 32 * S::kStride,
                           other_place(step) + at.warp_column * 8 * N * S::kStride, at);
  }
};

// Sum of 2^x as sum * 2^maximum, for a row of one thread.
template <class A>
struct RunningSum {
  A maximum = A(-1e30), sum = A(0);

  __device__ void add(A other_maximum, A other_sum) {
    const A largest = other_maximum > maximum ? other_maximum : maximum;
    sum = sum * power(maximum - largest) + other_sum * power(other_maximum - largest);
    maximum = largest;
  }
};

template <class T>
struct Row4 {  // what a thread knows of its four rows
  using A = typename Shape<T>::A;
  A scale[4];
  int positive[4], excluded[4];

  __device__ Row4(const Sides<T>& of, const Place& at) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int64_t row = int64_t{blockIdx.x} * Shape<T>::kOwn + at.warp_row * 32 + 8 * r + at.g;
      scale[r] = of.own.inverse[row] * static_cast<A>(of.log2_scale());
      positive[r] = of.pairing.positive[row], excluded[r] = of.pairing.excluded[row];
    }
  }

  __device__ bool concerns(int column, int count) const {
    bool any = false;
#pragma unroll
    for (int r = 0; r < 4; ++r)
      any |= static_cast<unsigned>(positive[r] - column) < static_cast<unsigned>(count) ||
             static_cast<unsigned>(excluded[r] - column) < static_cast<unsigned>(count);
    return any;
  }
};

template <class T, int N>
__device__ inline void add_tile(const Sides<T>& of, const Row4<T>& rows, int tile,
                                typename Shape<T>::A (&cosines)[2][N][4], const Place& at,
                                RunningSum<typename Shape<T>::A> (&sums)[4]) {
  using A = typename Shape<T>::A;
  const int first = tile * Shape<T>::kOther + at.warp_column * 8 * N;
  const bool plain = first + 8 * N <= of.other.count && first >= of.positives_only && !rows.concerns(first, 8 * N);
  A inverse[N][2];
#pragma unroll
  for (int n = 0; n < N; ++n)
    for (int c = 0; c < 2; ++c) inverse[n][c] = of.other.inverse[first + 8 * n + 2 * at.t + c];
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    A largest = sums[r].maximum;
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        A& logit = cosines[r / 2][n][r % 2 * 2 + c];
        logit *= rows.scale[r] * inverse[n][c];
        if (!plain) {
          const int column = first + 8 * n + 2 * at.t + c;
          const bool counts = column < of.other.count && column >= of.positives_only && column != rows.positive[r] &&
                              column != rows.excluded[r];
          logit = counts ? logit : A(-INFINITY);
        }
        largest = logit > largest ? logit : largest;
      }
    A sum = sums[r].sum * power(sums[r].maximum - largest);
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) sum += power(cosines[r / 2][n][r % 2 * 2 + c] - largest);
    sums[r].maximum = largest, sums[r].sum = sum;
  }
}

// The four lanes of a row, then its two warps.
template <class T>
__device__ inline void write_sums(const Sides<T>& of, RunningSum<typename Shape<T>::A> (&sums)[4], const Place& at,
                                  typename Shape<T>::A* memory, typename Shape<T>::A* maxima,
                                  typename Shape<T>::A* totals) {
  using A = typename Shape<T>::A;
  constexpr int kOwn = Shape<T>::kOwn;
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    for (int lanes = 1; lanes < 4; lanes *= 2) {
      const A maximum = __shfl_xor_sync(kAllLanes, sums[r].maximum, lanes);
      sums[r].add(maximum, __shfl_xor_sync(kAllLanes, sums[r].sum, lanes));
    }
    const int row = at.warp_row * 32 + 8 * r + at.g;
    if (at.t == 0) memory[2 * (2 * row + at.warp_column)] = sums[r].maximum;
    if (at.t == 0) memory[2 * (2 * row + at.warp_column) + 1] = sums[r].sum;
  }
  __syncthreads();
  for (int row = threadIdx.x; row < kOwn; row += blockDim.x) {
    RunningSum<A> sum = {memory[4 * row], memory[4 * row + 1]};
    sum.add(memory[4 * row + 2], memory[4 * row + 3]);
    const int64_t to = blockIdx.y * of.own.rows + int64_t{blockIdx.x} * kOwn + row;
    maxima[to] = sum.maximum, totals[to] = sum.sum;
  }
}

// maxima, totals: (shares, padded rows).
template <class T, bool kTensor>
__global__ void __launch_bounds__(Shape<T>::kThreads)
    sum_negatives(const __grid_constant__ Sides<T> of, typename Shape<T>::A* maxima, typename Shape<T>::A* totals) {
  using A = typename Shape<T>::A;
  constexpr int N = Shape<T>::kTilesN;
  T* memory = dynamic_shared<T>();
  const Place at;
  const Stage<T> stage(of, memory);
  const Row4<T> rows(of, at);
  RunningSum<A> sums[4];
  const int first = of.first_tile(), last = of.last_tile();
  stage.fetch(0);
  commit_copies();
  for (int tile = first, step = 0; tile < last; ++tile) {
    A cosines[2][N][4] = {};
    for (int chunk = 0; chunk < stage.chunks; ++chunk, ++step) {
      if (step + 1 < (last - first) * stage.chunks) stage.fetch(step + 1);
      commit_copies();
      wait_for_copies<1>();
      __syncthreads();
      stage.template multiply<kTensor>(cosines, step, at);
      __syncthreads();
    }
    add_tile<T, N>(of, rows, tile, cosines, at, sums);
  }
  write_sums(of, sums, at, reinterpret_cast<A*>(memory), maxima, totals);
}

struct RowOutputs {
  double *positives, *negatives, *nearest, *losses;
  void* wide_losses;  // (rows,) in the loss's type, or null
};

// One warp a row: its positive, all shares of its negatives, its loss.
template <class T>
__global__ void __launch_bounds__(kPackThreads)
    finish_rows(const __grid_constant__ Sides<T> of, const typename Shape<T>::A* maxima,
                const typename Shape<T>::A* totals, int shares, bool decoupled,
                const __grid_constant__ RowOutputs out) {
  const int64_t row = (int64_t{blockIdx.x} * kPackThreads + threadIdx.x) / 32;
  if (row >= of.own.count) return;
  const int64_t positive = of.pairing.positive[row];
  double product = 0;
  for (int64_t d = threadIdx.x % 32; positive >= 0 && d < of.own.width; d += 32)
    product = fma(static_cast<double>(static_cast<typename Shape<T>::A>(of.own.entries[row * of.own.width + d])),
                  static_cast<double>(static_cast<typename Shape<T>::A>(of.other.entries[positive * of.own.width + d])),
                  product);
  product = warp_sum(product);
  if (threadIdx.x % 32 != 0) return;
  PowerSum negatives;
  for (int share = 0; share < shares; ++share)
    negatives.add(maxima[share * of.own.rows + row], totals[share * of.own.rows + row]);
  const double cosine = positive >= 0        ? product * of.own.exact_inverse[row] * of.other.exact_inverse[positive]
                        : positive == kWrong ? NAN
                                             : -INFINITY;
  const Row of_row = {cosine / *of.temperature, negatives.log(), decoupled};
  out.positives[row] = of_row.positive, out.negatives[row] = of_row.negatives;
  if (out.nearest) out.nearest[row] = negatives.maximum / kLog2E;
  if (!out.wide_losses)
    out.losses[row] = of_row.loss();
  else if (sizeof(T) == 8)
    static_cast<double*>(out.wide_losses)[row] = of_row.loss();
  else
    static_cast<float*>(out.wide_losses)[row] = static_cast<float>(of_row.loss());
}

}  // namespace dssl::nt_xent
