// Between the two halves of the CUDA side: directional_loss_cuda.cpp knows torch, directional_loss_cuda.cu knows
// kernels.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/dtype.h"

namespace dssl::directional_loss {

// What a graph may need of device memory.
inline int64_t table_bytes(int64_t V, int64_t W, int64_t E) { return 32 * (V + W) + 24 * E; }

// Losses and gradients of all rows. Arrays of pointers, strides and edges lie on the host, the rest on the device.
//   rows, strides: V predictions and W targets, (batch, width) of `dtype` with dense rows, and their rows' strides
//   gradients: V of (batch, width), contiguous, for float16 float32; or null
//   edges, edge_weights: E pairs (prediction, target) and what multiplies their cosine
//   weights: weights[e * edge_stride + row * row_stride] multiplies as well; or null
//   loss: float64 for float64, else float32: (batch,) if per_row, else one number, `factor` times the sum
//   row_sums, table: scratch of (batch,) unless per_row, and of table_bytes
extern "C" void directional_loss_launch(const void* const* rows, const int64_t* strides, int64_t V, int64_t W,
                                        void* const* gradients, const int64_t* edges, const double* edge_weights,
                                        int64_t E, const double* weights, int64_t edge_stride, int64_t row_stride,
                                        int64_t batch, int64_t width, int dtype, double* row_sums, void* loss,
                                        bool per_row, double factor, void* table, cudaStream_t stream);

// to[k] = from[k] * factor * upstream, for `count` matrices (batch, width) of `dtype`, into float16 where told so.
// upstream: (batch,) if per_row, else one number; float64 for float64, else float32.
extern "C" void directional_loss_scale_launch(const void* const* from, void* const* to, int64_t count, int64_t batch,
                                              int64_t width, int dtype, bool to_half, const void* upstream,
                                              bool per_row, double factor, cudaStream_t stream);

}  // namespace dssl::directional_loss
