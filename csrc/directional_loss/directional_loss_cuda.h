// Between the two halves of the CUDA side: directional_loss_cuda.cpp knows torch, directional_loss_cuda.cu knows
// kernels.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/dtype.h"

namespace dssl::directional_loss {

// What a graph may need of device memory.
inline int64_t table_bytes(int64_t V, int64_t W, int64_t E) { return 24 * (V + W + E); }

// What both launches take. Arrays lie on the host, what they point to on the device.
struct Inputs {
  const void* const* rows;  // V predictions and W targets, (batch, width) of `dtype` with dense rows
  const int64_t* strides;   // of their rows
  int64_t V, W;
  const int64_t* edges;        // E pairs (prediction, target)
  const double* edge_weights;  // what multiplies their cosine; null in backward, whose coefficients have it
  int64_t E;
  const double* weights;  // weights[e * edge_stride + row * row_stride] multiplies as well; or null
  int64_t edge_stride, row_stride;
  int64_t batch, width;
  int dtype;
  double* coefficients;  // (batch, 2 V + W + E): forward writes what backward wants
  void* table;           // scratch of table_bytes
};

// Losses of all rows. loss: float64 for float64, else float32: (batch,) if per_row, else one number, `factor` times the
// sum. row_sums: scratch of (batch,) unless per_row.
extern "C" void directional_loss_launch(const Inputs& of, double* row_sums, void* loss, bool per_row, double factor,
                                        cudaStream_t stream);

// out: (V, batch, width), the gradients of the predictions. upstream: (batch,) if per_row, else one number.
extern "C" void directional_loss_backward_launch(const Inputs& of, const double* upstream, bool per_row, double factor,
                                                 void* out, cudaStream_t stream);

}  // namespace dssl::directional_loss
