// Between the two halves of the CUDA side: directional_loss_cuda.cpp knows torch, directional_loss_cuda.cu knows
// kernels.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/dtype.h"

namespace dssl::directional_loss {

// What a graph may need of device memory.
inline int64_t table_bytes(int64_t V, int64_t W, int64_t E) { return 24 * (V + W + E); }

// Losses of all rows. Arrays of pointers, strides and edges lie on the host, the rest on the device.
//   rows, strides: V predictions and W targets, (batch, width) of `dtype` with dense rows, and their rows' strides
//   edges, edge_weights: E pairs (prediction, target) and what multiplies their cosine
//   weights: weights[e * edge_stride + row * row_stride] multiplies as well; or null
//   loss: float64 for float64, else float32: (batch,) if per_row, else one number, `factor` times the sum
//   coefficients: (batch, 2 V + W + E), which backward wants
//   row_sums, table: scratch of (batch,) unless per_row, and of table_bytes
extern "C" void directional_loss_launch(const void* const* rows, const int64_t* strides, int64_t V, int64_t W,
                                        const int64_t* edges, const double* edge_weights, int64_t E,
                                        const double* weights, int64_t edge_stride, int64_t row_stride, int64_t batch,
                                        int64_t width, int dtype, double* row_sums, void* loss, bool per_row,
                                        double factor, double* coefficients, void* table, cudaStream_t stream);

// out: (V, batch, width), the gradients of the predictions. upstream: (batch,) if per_row, else one number.
extern "C" void directional_loss_backward_launch(const void* const* rows, const int64_t* strides, int64_t V, int64_t W,
                                                 const int64_t* edges, int64_t E, int64_t batch, int64_t width,
                                                 int dtype, double* coefficients, const double* upstream, bool per_row,
                                                 double factor, void* out, void* table, cudaStream_t stream);

}  // namespace dssl::directional_loss
