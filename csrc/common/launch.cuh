// Starts kernels, the only way that rooms do. No <<<>>>: this same text also compiles where tests/emulator stands in
// for CUDA.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace dssl {

inline int device_attribute(cudaDeviceAttr attribute) {  // of the current device
  int device = 0, value = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&value, attribute, device);
  return value;
}

// What a block may ask for.
inline int64_t most_shared_bytes() { return device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin); }

// Queues kernel(arguments...) on the stream, with shared_bytes of dynamic shared memory in every block.
// Kernels that take more than 48 KiB of it have no static one. Raises RuntimeError when CUDA refuses the launch; waits
// for nothing.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
            Arguments... arguments) {
  constexpr size_t kPlainShared = 48 << 10;  // more has to be asked for
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  cudaError_t status = cudaSuccess;
  // All that there is, whatever this launch needs: another thread may launch the same kernel with more meanwhile.
  if (shared_bytes > kPlainShared)
    status = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(most_shared_bytes()));
  if (status == cudaSuccess) status = cudaLaunchKernelEx(&config, kernel, arguments...);
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next launch would report this error again
  throw std::runtime_error(std::string("dssl_ops: CUDA kernel launch failed: ") + cudaGetErrorString(status));
}

// The block's dynamic shared memory, 16-byte aligned.
template <class T>
__device__ T* dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ uint4 dssl_dynamic_shared[];
  return reinterpret_cast<T*>(dssl_dynamic_shared);
#else
  return static_cast<T*>(emulator::dynamic_shared());
#endif
}

}  // namespace dssl
