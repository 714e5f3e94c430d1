// One block a row of the batch. The row's predictions and targets are read once, into shared memory if they fit, where
// each thread keeps to the entries that it brought; their squares and products give the loss and the coefficients of
// the gradient, for which backward reads them again. Sums are doubles, as on the CPU: the gradient of a cosine near 1
// is a small difference of large terms.
#include "directional_loss_cuda.h"

#include <algorithm>

#include "../common/reduce.cuh"
#include "block.cuh"

namespace dssl::directional_loss {
namespace {

constexpr int64_t kBlocks = 4096;         // more rows: a block takes several
constexpr int64_t kRowMemory = 44 << 10;  // of a block's 48 KiB; a larger row is read again from global memory

// Loss and coefficients. row_sums or row_losses is null.
template <class S>
__global__ void __launch_bounds__(kThreads, 4)
    sum_rows(const __grid_constant__ Plan plan, double* row_sums, void* row_losses) {
  Block<S> block(plan);
  for (block.row = blockIdx.x; block.row < plan.batch; block.row += gridDim.x) {
    block.read();
    block.sum();
    if (sizeof(S) == 8 && block.needs_scales()) {
      block.find_scales();
      block.sum();
    }
    block.weigh_edges();
    const double loss = block.loss();
    if (threadIdx.x == 0) {
      if (row_sums)
        row_sums[block.row] = loss;
      else if (sizeof(S) == 8)
        static_cast<double*>(row_losses)[block.row] = loss;
      else
        static_cast<float*>(row_losses)[block.row] = static_cast<float>(loss);
    }
    __syncthreads();  // the next row takes the same memory
  }
}

// out: (predictions, batch, width).
template <class S>
__global__ void __launch_bounds__(kThreads, 4)
    differentiate_rows(const __grid_constant__ Plan plan, const double* upstream, bool per_row, double factor, S* out) {
  Block<S> block(plan);
  for (block.row = blockIdx.x; block.row < plan.batch; block.row += gridDim.x) {
    block.read();
    block.take_scales();
    for (int i = 0; i < plan.predictions; ++i)
      block.write_gradient(i, factor * upstream[per_row ? block.row : 0],
                           out + (i * plan.batch + block.row) * plan.width);
    __syncthreads();
  }
}

template <class S, class... Parameters, class... Arguments>
void start(void (*kernel)(Plan, Parameters...), Plan plan, cudaStream_t stream, Arguments... arguments) {
  const int64_t packs = (plan.width + Pack<S>::kSize - 1) / Pack<S>::kSize, rows = 16 * packs * plan.views;
  plan.cached = rows <= kRowMemory;
  const int64_t bytes = Shared::bytes(plan.views, plan.edges) + (plan.cached ? rows : 0);
  const unsigned threads = static_cast<unsigned>(std::clamp<int64_t>((packs + 31) / 32 * 32, 32, kThreads));
  launch(kernel, static_cast<unsigned>(std::min(kBlocks, plan.batch)), threads, static_cast<size_t>(bytes), stream,
         plan, arguments...);
}

}  // namespace

extern "C" void directional_loss_launch(const Inputs& of, double* row_sums, void* loss, bool per_row, double factor,
                                        cudaStream_t stream) {
  if (of.batch > 0) {
    const Plan plan = make_plan(of, stream);
    with_type(of.dtype, [&](auto s) {
      using S = decltype(s);
      start<S>(sum_rows<S>, plan, stream, per_row ? nullptr : row_sums, loss);
    });
  }
  if (per_row) return;
  if (of.dtype == kFloat64)
    launch(reduce_sum<double>, 1, kReduceThreads, 0, stream, row_sums, of.batch, factor, static_cast<double*>(loss));
  else
    launch(reduce_sum<float>, 1, kReduceThreads, 0, stream, row_sums, of.batch, factor, static_cast<float*>(loss));
}

extern "C" void directional_loss_backward_launch(const Inputs& of, const double* upstream, bool per_row, double factor,
                                                 void* out, cudaStream_t stream) {
  if (of.batch == 0 || of.width == 0) return;
  const Plan plan = make_plan(of, stream);
  with_type(of.dtype, [&](auto s) {
    using S = decltype(s);
    start<S>(differentiate_rows<S>, plan, stream, upstream, per_row, factor, static_cast<S*>(out));
  });
}

}  // namespace dssl::directional_loss
