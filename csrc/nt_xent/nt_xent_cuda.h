// Between the two halves of the CUDA side: nt_xent_cuda.cpp knows torch, nt_xent_cuda.cu knows kernels.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/dtype.h"

namespace dssl::nt_xent {

// Scratch that both launches need, in bytes; `columns` is 0 when the rows are the columns, `owned` the number of
// columns that get a gradient.
extern "C" void nt_xent_workspace(int64_t rows, int64_t columns, int64_t owned, int64_t width, int dtype,
                                  int64_t* bytes);

// Arrays of pointers, counts and strides lie on the host, the rest on the device. Rows and columns are the concatenated
// parts: (count, width) of `dtype` with dense rows. Without columns the rows are pairs, z_a and z_b, and the columns.
//   positive, excluded: a column for each row, -1: none; null without columns
//   positives_only: that many first columns are no negatives
//   tf32: products of float32 on tensor cores
//   positives, negatives, nearest (or null), row_losses: (rows,); nearest: largest logit of the negatives; loss:
//   (rows,) if per_row, else one number
extern "C" void nt_xent_launch(const void* const* rows, const int64_t* row_counts, const int64_t* row_strides,
                               int64_t row_parts, const void* const* columns, const int64_t* column_counts,
                               const int64_t* column_strides, int64_t column_parts, const int64_t* positive,
                               const int64_t* excluded, int64_t positives_only, int64_t width, int dtype, bool tf32,
                               const double* temperature, bool decoupled, double* positives, double* negatives,
                               double* nearest, double* row_losses, void* loss, bool per_row, double factor,
                               void* workspace, cudaStream_t stream);

// of_rows, of_columns: the gradients, contiguous, for every part; of_columns for the first `owned_parts` ones.
// upstream: (rows,) if per_row, else one number; `factor` multiplies it. of_temperature: one number.
extern "C" void nt_xent_backward_launch(const void* const* rows, const int64_t* row_counts, const int64_t* row_strides,
                                        int64_t row_parts, const void* const* columns, const int64_t* column_counts,
                                        const int64_t* column_strides, int64_t column_parts, const int64_t* positive,
                                        const int64_t* excluded, int64_t positives_only, int64_t width, int dtype,
                                        bool tf32, const double* temperature, bool decoupled, const double* positives,
                                        const double* negatives, const double* upstream, bool per_row, double factor,
                                        void* const* of_rows, void* const* of_columns, int64_t owned_parts,
                                        double* of_temperature, void* workspace, cudaStream_t stream);

}  // namespace dssl::nt_xent
