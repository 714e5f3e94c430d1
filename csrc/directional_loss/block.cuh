// One row of the batch in the hands of one block.
#pragma once

#include <cfloat>

#include "../common/pack.cuh"
#include "directional_loss.h"
#include "plan.cuh"

namespace dssl::directional_loss {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kBatch = 32;  // sums that the block makes between two barriers

// A block's shared memory: per view its sum of squares and scale, per edge its product, which becomes its loss, and one
// coefficient; the warps' partial sums; the rows.
struct Shared {
  double *squares, *scales, *products, *of_prediction, *partial;
  uint4* rows;

  DSSL_HD Shared(double* memory, int64_t views, int64_t edges)
      : squares(memory),
        scales(squares + views),
        products(scales + views),
        of_prediction(products + edges),
        partial(of_prediction + edges),
        rows(reinterpret_cast<uint4*>(partial + kBatch * kWarps)) {}

  static int64_t bytes(int64_t views, int64_t edges) { return 8 * (2 * (views + edges) + kBatch * kWarps); }
};

template <class S>
struct Block {
  const Plan& plan;
  const Shared shared;
  int64_t row, packs;

  __device__ Block(const Plan& plan_)
      : plan(plan_),
        shared(dynamic_shared<double>(), plan_.views, plan_.edges),
        packs((plan_.width + Pack<S>::kSize - 1) / Pack<S>::kSize) {}

  __device__ Pack<S> global(int k, int64_t c) const {
    const View view = plan.view(k);
    return load_pack(static_cast<const S*>(view.data) + row * view.stride, c, plan.width);
  }

  __device__ Pack<S> pack(int k, int64_t c) const {
    if (!plan.cached) return global(k, c);
    Pack<S> pack;
    *reinterpret_cast<uint4*>(pack.values) = shared.rows[k * packs + c];
    return pack;
  }

  // Only squares of float64 leave the range of a double: the others need no scale.
  __device__ double scale(int k) const { return sizeof(S) == 8 ? shared.scales[k] : 1.0; }

  __device__ void read() const {
    if (plan.cached)
      for (int k = 0; k < plan.views; ++k)
#pragma unroll 4
        for (int64_t c = threadIdx.x; c < packs; c += blockDim.x) {
          const Pack<S> read = global(k, c);
          shared.rows[k * packs + c] = *reinterpret_cast<const uint4*>(read.values);
        }
    if (sizeof(S) == 8)
      for (int k = threadIdx.x; k < plan.views; k += blockDim.x) shared.scales[k] = 1;
    __syncthreads();
  }

  // The thread's part of the product of two views.
  __device__ double product(int a, int b) const {
    double sum = 0;
    const double s = scale(a), t = scale(b);
    for (int64_t c = threadIdx.x; c < packs; c += blockDim.x) {
      const Pack<S> x = pack(a, c), y = pack(b, c);
#pragma unroll
      for (int k = 0; k < Pack<S>::kSize; ++k) sum = fma(s * x[k], t * y[k], sum);
    }
    return sum;
  }

  // All sums of squares and products; every sum runs in an order that the width alone decides.
  __device__ void sum() const {
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32, quantities = plan.views + plan.edges;
    for (int first = 0; first < quantities; first += kBatch) {
      const int count = min(kBatch, quantities - first);
      for (int q = first; q < first + count; ++q) {
        const bool square = q < plan.views;
        const int a = square ? q : plan.edge(q - plan.views).prediction;
        const double sum = warp_sum(product(a, square ? q : plan.edge(q - plan.views).target));
        if (threadIdx.x % 32 == 0) shared.partial[(q - first) * kWarps + warp] = sum;
      }
      __syncthreads();
      for (int q = threadIdx.x; q < count; q += blockDim.x) {
        double sum = 0;
        for (int w = 0; w < warps; ++w) sum += shared.partial[q * kWarps + w];
        (first + q < plan.views ? shared.squares[first + q] : shared.products[first + q - plan.views]) = sum;
      }
      __syncthreads();
    }
  }

  __device__ bool needs_scales() const {
    bool needs = false;
    for (int k = 0; k < plan.views; ++k) needs |= needs_rescaling(shared.squares[k]);
    return needs;
  }

  // 1 / the largest entry of each view, 1 for a row of zeros. Finite, though the inverse of a subnormal number is not.
  __device__ void find_scales() const {
    for (int k = 0; k < plan.views; ++k) {
      double largest = 0;
      for (int64_t c = threadIdx.x; c < packs; c += blockDim.x) {
        const Pack<S> x = pack(k, c);
#pragma unroll
        for (int i = 0; i < Pack<S>::kSize; ++i) largest = fabs(x[i]) > largest ? fabs(x[i]) : largest;
      }
      largest = warp_max(largest);
      if (threadIdx.x % 32 == 0) shared.partial[threadIdx.x / 32] = largest;
      __syncthreads();
      for (int w = 0; w < blockDim.x / 32; ++w) largest = fmax(largest, shared.partial[w]);
      if (threadIdx.x == 0 && largest > 0) shared.scales[k] = fmin(1 / largest, DBL_MAX);
      __syncthreads();
    }
  }

  // Edge by edge: its loss and coefficients. The latter are kept for the gradient, as Problem::coefficients in sample.h
  // has them: the scale of every view, of_prediction summed for every prediction, of_target of every edge.
  __device__ void weigh_edges() const {
    double* scales = plan.coefficients + row * plan.coefficient_count();
    double *of_prediction = scales + plan.views, *of_target = of_prediction + plan.predictions;
    for (int e = threadIdx.x; e < plan.edges; e += blockDim.x) {
      const GraphEdge of = plan.edge(e);
      const Edge edge(plan.weight(of, row), shared.products[e], inverse_norm(shared.squares[of.prediction]),
                      inverse_norm(shared.squares[of.target]), scale(of.prediction));
      shared.products[e] = edge.loss();
      shared.of_prediction[e] = edge.of_prediction;
      of_target[of.number] = edge.of_target;
    }
    __syncthreads();
    for (int k = threadIdx.x; k < plan.views; k += blockDim.x) scales[k] = scale(k);
    for (int i = threadIdx.x; i < plan.predictions; i += blockDim.x) {
      const View view = plan.view(i);
      double sum = 0;
      for (int e = view.first_edge; e < view.last_edge; ++e) sum += shared.of_prediction[e];
      of_prediction[i] = sum;
    }
  }

  // For thread 0.
  __device__ double loss() const {
    double loss = 0;
    for (int e = 0; threadIdx.x == 0 && e < plan.edges; ++e) loss += shared.products[e];
    return loss;
  }

  __device__ void take_scales() const {
    const double* scales = plan.coefficients + row * plan.coefficient_count();
    for (int k = threadIdx.x; sizeof(S) == 8 && k < plan.views; k += blockDim.x) shared.scales[k] = scales[k];
    __syncthreads();
  }

  // The gradient of prediction i, from the coefficients.
  __device__ void write_gradient(int i, double upstream, S* gradient) const {
    constexpr int kSize = Pack<S>::kSize;
    const View view = plan.view(i);
    const double* of_prediction = plan.coefficients + row * plan.coefficient_count() + plan.views;
    const double *of_target = of_prediction + plan.predictions, own = upstream * of_prediction[i];
    for (int64_t c = threadIdx.x; c < packs; c += blockDim.x) {
      double values[kSize];
      const Pack<S> x = pack(i, c);
#pragma unroll
      for (int k = 0; k < kSize; ++k) values[k] = own * (scale(i) * x[k]);
      for (int e = view.first_edge; e < view.last_edge; ++e) {
        const GraphEdge edge = plan.edge(e);
        const Pack<S> y = pack(edge.target, c);
        const double by = upstream * of_target[edge.number], t = scale(edge.target);
#pragma unroll
        for (int k = 0; k < kSize; ++k) values[k] = fma(by, t * y[k], values[k]);
      }
      store_values(gradient, c * kSize, plan.width, values);
    }
  }
};

}  // namespace dssl::directional_loss
