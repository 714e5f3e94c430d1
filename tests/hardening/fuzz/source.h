// Fuzzers' bytes turned into tensors and numbers that are nearly right: what is wholly wrong, the first check refuses.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <cmath>
#include <limits>
#include <vector>

#include "standalone.h"

namespace hardening {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct Source : FuzzedDataProvider {
  using FuzzedDataProvider::FuzzedDataProvider;

  int64_t number(int64_t low, int64_t high) { return ConsumeIntegralInRange<int64_t>(low, high); }
  bool one_in(int n) { return number(1, n) == n; }

  double real() {
    constexpr double kLimit = std::numeric_limits<double>::infinity();
    constexpr double kOdd[] = {
        0,     -0.0,  0.5,       1,   -1,     2,    3,     12,     13,      45,
        90,    180,   270,       360, 1e-320, 1e-9, 255,   256,    32767,   32768,
        32769, 65536, 999999999, 1e9, -1e9,   1e18, 1e300, kLimit, -kLimit, std::numeric_limits<double>::quiet_NaN()};
    switch (number(0, 3)) {
      case 0: return static_cast<double>(number(-4, 40));
      case 1: return kOdd[number(0, std::size(kOdd) - 1)];
      case 2: return ConsumeFloatingPointInRange<double>(-2, 400);
      default: return ConsumeFloatingPoint<double>();
    }
  }

  template <class T>
  Tensor of(const std::vector<T>& values, ScalarType dtype) {
    Tensor tensor({static_cast<int64_t>(values.size())}, dtype);
    if (!values.empty()) std::memcpy(tensor.mutable_data_ptr(), values.data(), values.size() * sizeof(T));
    return tensor;
  }

  // Bytes of which the first few are the fuzzer's and the rest follow from them.
  Tensor filled(const std::vector<int64_t>& sizes, ScalarType dtype, bool channels_last = false) {
    Tensor tensor(sizes, dtype, channels_last);
    uint8_t* to = tensor.mutable_data_ptr<uint8_t>();
    uint32_t state = ConsumeIntegral<uint32_t>();
    for (size_t i = 0; i < tensor.numel() * tensor.element_size(); ++i, state = state * 1664525 + 1013904223)
      to[i] = static_cast<uint8_t>(state >> 24);
    return tensor;
  }
};

// Runs f with `out` filled by two different bytes: whatever f leaves unwritten or reads unset differs.
template <class F>
void same_twice(const Tensor& out, const F& f) {
  const size_t bytes = out.numel() * out.element_size();
  std::vector<uint8_t> first(bytes);
  for (const int fill : {0xAB, 0x54}) {
    if (bytes) std::memset(out.mutable_data_ptr(), fill, bytes);
    try {
      f();
    } catch (const std::exception&) {  // a refusal, which is what most inputs deserve
      return;
    }
    if (fill == 0xAB && bytes) std::memcpy(first.data(), out.mutable_data_ptr(), bytes);
  }
  if (bytes && std::memcmp(first.data(), out.mutable_data_ptr(), bytes)) std::abort();
}

}  // namespace hardening
