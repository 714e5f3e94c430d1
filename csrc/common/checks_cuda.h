// What the CUDA side of an op needs of torch beside checks.h. The .cu files see nothing of it.
#pragma once

#ifndef USE_CUDA
#define USE_CUDA  // torch's shim then declares aoti_torch_get_current_cuda_stream
#endif

#include "checks.h"
#include "dtype.h"

#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>

namespace dssl {

using torch::stable::accelerator::DeviceGuard;

inline void check_cuda(const Tensor& tensor, const char* op, const char* name) {
  require(tensor.is_cuda(), op, ": ", name, " must be a CUDA tensor");
}

inline void check_same_device(const Tensor& tensor, const Tensor& other, const char* op, const char* name) {
  check_cuda(tensor, op, name);
  require(tensor.get_device() == other.get_device(), op, ": ", name, " must be on cuda:", other.get_device(),
          "; got cuda:", tensor.get_device());
}

// The stream that torch queues work of this tensor's device on now; inside a CUDA graph capture, the capturing one.
inline cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device(), &stream));
  return static_cast<cudaStream_t>(stream);
}

// Raises where it is none of the types that losses take.
inline Dtype dtype_of(const Tensor& tensor, const char* op) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return kFloat32;
    case ScalarType::Double: return kFloat64;
    case ScalarType::BFloat16: return kBFloat16;
    case ScalarType::Half: return kFloat16;
    default: refuse(op, ": dtype must be float32, float64, bfloat16 or float16");
  }
}

}  // namespace dssl
