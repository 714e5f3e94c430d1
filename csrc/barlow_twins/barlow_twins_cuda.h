// Between the two halves of the CUDA side: barlow_twins_cuda.cpp knows torch and makes the matrix products with it,
// barlow_twins_cuda.cu knows kernels. All pointers are the device's; A is float64 for float64, else float32.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/dtype.h"

namespace dssl::barlow_twins {

constexpr int64_t kPartials = 256;

// Standardised views x and y, A (rows, width), and the five rows of `features`: mean and 1 / sqrt(variance + eps) of
// either view, and the diagonal of C. a, b: (rows, width) of `dtype` with dense rows a_stride and b_stride apart.
// With negative eps the features are read instead.
extern "C" void barlow_twins_standardise_launch(const void* a, int64_t a_stride, const void* b, int64_t b_stride,
                                                int64_t rows, int64_t width, int dtype, double eps, void* x, void* y,
                                                double* features, cudaStream_t stream);

// The loss, A. matrices: x x^T and y y^T where through_rows(rows, width), else x^T y, whose diagonal becomes 0.
// partials: kPartials of scratch.
extern "C" void barlow_twins_loss_launch(void* matrices, int64_t rows, int64_t width, int dtype, const double* features,
                                         double lambd, double scale, double* partials, void* loss, cudaStream_t stream);

// The gradients, (rows, width) of `dtype`. of_x, of_y: A (rows, width), y y^T x and x x^T y, or y C^T and x C.
extern "C" void barlow_twins_backward_launch(const void* of_x, const void* of_y, const void* x, const void* y,
                                             const double* features, const double* upstream, int64_t rows,
                                             int64_t width, int dtype, double lambd, double scale, void* of_a,
                                             void* of_b, cudaStream_t stream);

}  // namespace dssl::barlow_twins
