// Between the two halves of the CUDA side: augment_cuda.cpp knows torch, augment_cuda.cu knows kernels.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace dssl::augment {

// On the host: writes programs without faults as the kernel reads them, into 48 bytes for each image, 80 for each step
// and 8 for each value. images: (count, 4): the bytes from the first image on, height, width, whether channels come
// last. found: the bytes written, and those of the arena that a block needs for any of the images.
extern "C" void augment_lower(const int64_t* images, int64_t count, int64_t channels, const int32_t* opcodes,
                              const int64_t* step_offsets, const double* values, const int64_t* value_offsets,
                              void* lowered, int64_t* found);

// On the host: blocks whose arenas lie in global memory, `arena` bytes each; 0 where shared memory has room for one.
extern "C" void augment_blocks(int64_t count, int64_t arena, int64_t* blocks);

// Puts a message of a multiple of 8 bytes into device memory where its stream is being captured: see store.cuh.
extern "C" void augment_store(const void* message, int64_t bytes, void* to, cudaStream_t stream);

// Runs `lowered`, which is now on the device. out: (views, count, channels, height, width) of `element` bytes, through
// table (channels, 256) if not null. workspace: blocks * arena bytes.
extern "C" void augment_launch(const void* lowered, const uint8_t* images, int64_t count, int64_t arena,
                               const void* table, void* out, int64_t channels, int64_t height, int64_t width,
                               int64_t element, bool channels_last, uint8_t* workspace, int64_t blocks,
                               cudaStream_t stream);

}  // namespace dssl::augment
