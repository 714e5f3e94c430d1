// Checks of what would corrupt memory, first lines of every device function; friendly messages live in Python.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <sstream>
#include <stdexcept>

namespace dssl {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Raises RuntimeError with the parts as one line. torch's own check would add a function name and a path of this
// machine.
template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream line;
  (line << ... << parts);
  throw std::runtime_error(line.str());
}

template <class... Parts>
void require(bool holds, const Parts&... parts) {
  if (!holds) refuse(parts...);
}

inline void check_cpu(const Tensor& tensor, const char* op, const char* name) {
  require(tensor.device().type() == torch::headeronly::DeviceType::CPU, op, ": ", name, " must be a CPU tensor");
}

inline void check_dense(const Tensor& tensor, const char* op, const char* name, ScalarType dtype, int64_t dim) {
  check_cpu(tensor, op, name);
  require(tensor.scalar_type() == dtype, op, ": ", name, " has the wrong dtype");
  require(tensor.dim() == dim, op, ": ", name, " must have ", dim, " dimensions; got ", tensor.dim());
  require(tensor.is_contiguous(), op, ": ", name, " must be contiguous");
}

// Whether (..., C, H, W) lies in memory as (..., H, W, C); as torch has it, the stride of a side of 1 means nothing.
inline bool is_channels_last(const Tensor& images) {
  const int64_t channel = images.dim() - 3;
  int64_t dense = 1;
  const auto follows = [&](int64_t dim) {
    const bool fits = images.size(dim) == 1 || images.stride(dim) == dense;
    dense *= images.size(dim);
    return fits;
  };
  bool all = follows(channel) && follows(channel + 2) && follows(channel + 1);
  for (int64_t dim = channel - 1; dim >= 0; --dim) all = all && follows(dim);
  return all || images.numel() == 0;
}

}  // namespace dssl
