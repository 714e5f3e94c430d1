// Checks of what would corrupt memory, first lines of every device function; friendly messages live in Python.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <initializer_list>

namespace dssl {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline void check_cpu(const Tensor& tensor, const char* op, const char* name) {
  STD_TORCH_CHECK(tensor.device().type() == torch::headeronly::DeviceType::CPU, op, ": ", name, " must be a CPU tensor");
}

inline void check_dense(const Tensor& tensor, const char* op, const char* name, ScalarType dtype, int64_t dim) {
  check_cpu(tensor, op, name);
  STD_TORCH_CHECK(tensor.scalar_type() == dtype, op, ": ", name, " has the wrong dtype");
  STD_TORCH_CHECK(tensor.dim() == dim, op, ": ", name, " must have ", dim, " dimensions; got ", tensor.dim());
  STD_TORCH_CHECK(tensor.is_contiguous(), op, ": ", name, " must be contiguous");
}

}  // namespace dssl
