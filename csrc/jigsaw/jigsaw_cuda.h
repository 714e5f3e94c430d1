// Between the two halves of the CUDA side: jigsaw_cuda.cpp knows torch, jigsaw_cuda.cu knows kernels.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace dssl::jigsaw {

// Moves tiles of `batch` images of `planes` planes of height x width pixels of `pixel` bytes, on the stream.
// permutation: (batch, grid * grid). batch * planes * grid, width * grid, height * grid and width * pixel below 2^31. A
// tile that cannot go where it is sent stops the kernel (trap).
extern "C" void jigsaw_launch(const void* from, void* to, const int64_t* permutation, int64_t batch, int64_t planes,
                              int64_t height, int64_t width, int64_t pixel, int64_t grid, cudaStream_t stream);

}  // namespace dssl::jigsaw
