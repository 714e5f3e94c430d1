// How the losses of the rows become the loss: the numbers that the ops take as `reduction`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "checks.h"

namespace dssl {

enum Reduction { kNone, kSum, kMean };

// What the sum over the rows is multiplied by, and so is what comes back to each of them.
inline double factor_of(const char* op, int64_t reduction, int64_t rows) {
  require(reduction >= kNone && reduction <= kMean, op, ": reduction must be 0, 1 or 2; got ", reduction);
  return reduction == kMean ? 1.0 / static_cast<double>(std::max<int64_t>(1, rows)) : 1.0;
}

// On the CPU: (rows,) or a number, float64 or float32.
inline Tensor reduced(const std::vector<double>& losses, int64_t reduction, bool wide) {
  const int64_t rows = static_cast<int64_t>(losses.size());
  std::vector<double> total(1, 0.0);
  for (double loss : losses) total[0] += loss;
  if (reduction == kMean) total[0] /= static_cast<double>(std::max<int64_t>(1, rows));
  const std::vector<double>& values = reduction == kNone ? losses : total;
  const std::vector<int64_t> shape(reduction == kNone ? 1 : 0, rows);
  Tensor out = torch::stable::empty(shape, wide ? ScalarType::Double : ScalarType::Float);
  if (wide)
    std::copy(values.begin(), values.end(), out.mutable_data_ptr<double>());
  else
    std::transform(values.begin(), values.end(), out.mutable_data_ptr<float>(), [](double x) { return float(x); });
  return out;
}

}  // namespace dssl
