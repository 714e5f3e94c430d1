// One block a row of the batch. The row's predictions and targets are read once, into shared memory if they fit, where
// each thread keeps to the entries that it brought; their squares and products give the loss, and with the same entries
// the gradients. Sums are doubles, as on the CPU: the gradient of a cosine near 1 is a small difference of large terms.
#include "directional_loss_cuda.h"

#include <algorithm>

#include "../common/reduce.cuh"
#include "block.cuh"

namespace dssl::directional_loss {
namespace {

constexpr int64_t kBlocks = 4096;         // more rows: a block takes several
constexpr int64_t kRowMemory = 44 << 10;  // of a block's 48 KiB; a larger row is read again from global memory

template <class S, class G>
__global__ void __launch_bounds__(kThreads, 4) differentiate_rows(const __grid_constant__ Plan plan) {
  Block<S> block(plan);
  for (block.row = blockIdx.x; block.row < plan.batch; block.row += gridDim.x) {
    block.read();
    block.sum();
    if (sizeof(S) == 8 && block.needs_scales()) {
      block.find_scales();
      block.sum();
    }
    block.weigh_edges();
    block.write_loss();
    for (int i = 0; i < plan.predictions; ++i)
      if (plan.view(i).gradient) block.template write_gradient<G>(i);
    __syncthreads();  // the next row takes the same memory
  }
}

unsigned threads_for(int64_t packs) {
  return static_cast<unsigned>(std::clamp<int64_t>((packs + 31) / 32 * 32, 32, kThreads));
}

template <class S, class G>
void differentiate(Plan plan, cudaStream_t stream) {
  const int64_t packs = (plan.width + Pack<S>::kSize - 1) / Pack<S>::kSize;
  plan.cached = 16 * packs * plan.views <= kRowMemory;
  const int64_t bytes = Shared::bytes(plan.views, plan.edges) + (plan.cached ? 16 * packs * plan.views : 0);
  const unsigned blocks = static_cast<unsigned>(std::min(kBlocks, plan.batch));
  launch(differentiate_rows<S, G>, blocks, threads_for(packs), static_cast<size_t>(bytes), stream, plan);
}

constexpr int kMatrices = 64;  // that one launch scales

struct Matrices {
  const void* from[kMatrices];
  void* to[kMatrices];
};

// x: rows; y: matrices. G: what gradients were kept in, S: what they become, U: the upstream gradient's type.
template <class G, class S, class U>
__global__ void __launch_bounds__(kThreads) scale_rows(const __grid_constant__ Matrices matrices, int64_t batch,
                                                       int64_t width, const U* upstream, bool per_row, double factor) {
  constexpr int kSize = Pack<G>::kSize > Pack<S>::kSize ? Pack<G>::kSize : Pack<S>::kSize;
  const G* from = static_cast<const G*>(matrices.from[blockIdx.y]);
  S* to = static_cast<S*>(matrices.to[blockIdx.y]);
  for (int64_t row = blockIdx.x; row < batch; row += gridDim.x) {
    const double by = static_cast<U>(factor * upstream[per_row ? row : 0]);
    for (int64_t first = int64_t{threadIdx.x} * kSize; first < width; first += int64_t{blockDim.x} * kSize) {
      double values[kSize];
#pragma unroll
      for (int k = 0; k < kSize; ++k) {
        if (k % Pack<G>::kSize != 0) continue;
        const Pack<G> pack = load_pack(from + row * width, (first + k) / Pack<G>::kSize, width);
#pragma unroll
        for (int i = 0; i < Pack<G>::kSize; ++i) values[k + i] = pack[i] * by;
      }
      store_values(to + row * width, first, width, values);
    }
  }
}

template <class G, class S, class U>
void scale(const void* const* from, void* const* to, int64_t count, int64_t batch, int64_t width, const void* upstream,
           bool per_row, double factor, cudaStream_t stream) {
  for (int64_t first = 0; first < count; first += kMatrices) {
    Matrices matrices = {};
    const int64_t here = std::min<int64_t>(kMatrices, count - first);
    std::copy(from + first, from + first + here, matrices.from);
    std::copy(to + first, to + first + here, matrices.to);
    const dim3 grid(static_cast<unsigned>(std::min(kBlocks, batch)), static_cast<unsigned>(here));
    launch(scale_rows<G, S, U>, grid, threads_for(width / Pack<S>::kSize), 0, stream, matrices, batch, width,
           static_cast<const U*>(upstream), per_row, factor);
  }
}

}  // namespace

extern "C" void directional_loss_launch(const void* const* rows, const int64_t* strides, int64_t V, int64_t W,
                                        void* const* gradients, const int64_t* edges, const double* edge_weights,
                                        int64_t E, const double* weights, int64_t edge_stride, int64_t row_stride,
                                        int64_t batch, int64_t width, int dtype, double* row_sums, void* loss,
                                        bool per_row, double factor, void* table, cudaStream_t stream) {
  if (batch > 0) {
    Plan plan = make_plan(
        {rows, strides, V, W, gradients, edges, edge_weights, E, weights, edge_stride, row_stride, batch, width, table},
        stream);
    plan.row_sums = per_row ? nullptr : row_sums, plan.row_losses = loss;
    auto* run = dtype == kFloat32    ? differentiate<float, float>
                : dtype == kFloat64  ? differentiate<double, double>
                : dtype == kBFloat16 ? differentiate<__nv_bfloat16, __nv_bfloat16>
                                     : differentiate<__half, float>;
    run(plan, stream);
  }
  if (per_row) return;
  if (dtype == kFloat64)
    launch(reduce_sum<double>, 1, kReduceThreads, 0, stream, row_sums, batch, factor, static_cast<double*>(loss));
  else
    launch(reduce_sum<float>, 1, kReduceThreads, 0, stream, row_sums, batch, factor, static_cast<float*>(loss));
}

extern "C" void directional_loss_scale_launch(const void* const* from, void* const* to, int64_t count, int64_t batch,
                                              int64_t width, int dtype, bool to_half, const void* upstream,
                                              bool per_row, double factor, cudaStream_t stream) {
  if (batch == 0 || width == 0) return;
  auto* run = dtype == kFloat64    ? scale<double, double, double>
              : dtype == kBFloat16 ? scale<__nv_bfloat16, __nv_bfloat16, float>
              : to_half            ? scale<float, __half, float>
                                   : scale<float, float, float>;
  run(from, to, count, batch, width, upstream, per_row, factor, stream);
}

}  // namespace dssl::directional_loss
