// Checks of what would corrupt memory, first lines of every device function; friendly messages live in Python.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "ending.h"

namespace dssl {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// One part of an error message, a text or a number. Streams would cost every translation unit compile time.
struct Part {
  Part(const char* part) : text(part) {}
  Part(const std::string& part) : text(part.c_str()) {}
  Part(int part) : Part(static_cast<long>(part)) {}
  Part(long part) : text(nullptr), number(part) {}
  Part(unsigned long part) : Part(static_cast<long>(part)) {}

  const char* text;
  long number = 0;
};

// Raises RuntimeError with the parts as one line. torch's own check would add a function name and a path of this
// machine.
[[noreturn, gnu::cold]] inline void refuse_parts(std::initializer_list<Part> parts) {
  std::string line;
  for (const Part& part : parts) line += part.text ? std::string(part.text) : std::to_string(part.number);
  throw std::runtime_error(line);
}

template <class... Parts>
[[noreturn]] void refuse(Parts... parts) {
  refuse_parts({parts...});
}

template <class... Parts>
void require(bool holds, Parts... parts) {
  if (!holds) refuse_parts({parts...});
}

// boxed<&f> is f as the dispatcher calls it, arguments and results on a stack. TORCH_BOX does the same by way of tuples
// of everything, and takes the compiler half a second for each function.
template <auto function>
struct Boxed;

template <class Result, class... Arguments, Result (*function)(Arguments...)>
struct Boxed<function> {
  static void call(StableIValue* stack, uint64_t arguments, uint64_t) {
    require(arguments == sizeof...(Arguments), "a schema and its function differ in their arguments");
    apply(stack, std::index_sequence_for<Arguments...>());
    stay_if_ending();
  }

 private:
  template <size_t... I>
  static void apply(StableIValue* stack, std::index_sequence<I...>) {
    if constexpr (std::is_void_v<Result>)
      function(torch::stable::detail::to<Arguments>(stack[I])...);
    else
      put(stack, function(torch::stable::detail::to<Arguments>(stack[I])...));
  }
  static void put(StableIValue* stack, const Tensor& result) { stack[0] = torch::stable::detail::from(result); }
  template <class... Results>
  static void put(StableIValue* stack, const std::tuple<Results...>& results) {
    std::apply([&](const Results&... result) { ((*stack++ = torch::stable::detail::from(result)), ...); }, results);
  }
};

template <auto function>
constexpr auto boxed = Boxed<function>::call;

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
