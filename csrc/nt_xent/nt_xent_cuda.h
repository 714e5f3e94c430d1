// Between the two halves of the CUDA side: nt_xent_cuda.cpp knows torch, nt_xent_cuda.cu knows kernels.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/dtype.h"

namespace dssl::nt_xent {

// Scratch that both launches need, in bytes; `columns` is -1 when the rows are the columns, `owned` the number of
// columns that get a gradient.
extern "C" void nt_xent_workspace(int64_t rows, int64_t columns, int64_t owned, int64_t width, int dtype,
                                  int64_t* bytes);

// The concatenated parts of a side, (count, width) with dense rows. The arrays lie on the host, the parts on the
// device.
struct Source {
  const void* const* data;
  const int64_t *counts, *strides;
  int64_t parts;
};

// What both launches take; pointers are the device's.
struct Inputs {
  Source rows, columns;                // without columns the rows are pairs, z_a and z_b, and the columns
  const int64_t *positive, *excluded;  // a column for each row, -1: none; null without columns
  int64_t positives_only;              // that many first columns are no negatives
  int64_t width;
  int dtype;
  bool tf32;  // products of float32 on tensor cores
  const double* temperature;
  bool decoupled;
  void* workspace;
};

// positives, negatives, nearest (or null), row_losses: (rows,); nearest: largest logit of the negatives; loss: (rows,)
// if per_row, else one number.
extern "C" void nt_xent_launch(const Inputs& of, double* positives, double* negatives, double* nearest,
                               double* row_losses, void* loss, bool per_row, double factor, cudaStream_t stream);

// of_rows, of_columns: the gradients, contiguous, for every part; of_columns for the first `owned_parts` ones.
// upstream: (rows,) if per_row, else one number; `factor` multiplies it. of_temperature: one number.
extern "C" void nt_xent_backward_launch(const Inputs& of, const double* positives, const double* negatives,
                                        const double* upstream, bool per_row, double factor, void* const* of_rows,
                                        void* const* of_columns, int64_t owned_parts, double* of_temperature,
                                        cudaStream_t stream);

}  // namespace dssl::nt_xent
