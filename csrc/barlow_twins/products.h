// The matrix products of both forms on packed operands. `parallel(count, f)` calls f(i) for i < count on several
// threads; each entry of a product is made by one call in a fixed order, so the bits do not depend on the threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../common/rows.h"
#include "barlow_twins.h"

namespace dssl::barlow_twins {

constexpr int64_t kDepth = 512;  // products summed in one run

template <class T>
void multiply(const T* a, int64_t a_row, int64_t a_step, const T* b, int64_t depth, T* c, int64_t c_row) {
  multiply_strip<false>(a, a_row, a_step, b, std::min(kDepth, depth), c, c_row);
  for (int64_t k = kDepth; k < depth; k += kDepth)
    multiply_strip<true>(a + k * a_step, a_row, a_step, b + k * kPanel<T>, std::min(kDepth, depth - k), c, c_row);
}

// x x^T, (padded rows)^2. Row panels are taken from both ends: then all tasks of the triangle weigh the same.
template <class T, class Parallel>
void gram(const Panels<T>& x, const Parallel& parallel, T* out) {
  const int64_t size = x.padded_rows, panels = size / kPanel<T>;
  const auto row_panel = [&](int64_t first) {
    for (int64_t column = first; column < size; column += kPanel<T>)
      for (int64_t row = first; row < first + kPanel<T>; row += kStrip)
        multiply(x.row_panel(row), 1, kPanel<T>, x.row_panel(column), x.width, out + row * size + column, size);
  };
  parallel((panels + 1) / 2, [&](int64_t i) {
    row_panel(i * kPanel<T>);
    if (panels - 1 - i != i) row_panel((panels - 1 - i) * kPanel<T>);
  });
  parallel(panels, [&](int64_t i) {
    for (int64_t row = i * kPanel<T>; row < (i + 1) * kPanel<T>; ++row)
      for (int64_t column = 0; column < i * kPanel<T>; ++column) out[row * size + column] = out[column * size + row];
  });
}

// x^T y in panels of columns, see Cross.
template <class T, class Parallel>
void cross(const Panels<T>& x, const Panels<T>& y, const Parallel& parallel, T* out) {
  const int64_t size = x.padded_width;
  parallel(size / kPanel<T>, [&](int64_t panel) {
    for (int64_t row = 0; row < size; row += kStrip)
      multiply(x.width_panel(row / kPanel<T> * kPanel<T>, 0) + row % kPanel<T>, 1, kPanel<T>,
               y.width_panel(panel * kPanel<T>, 0), x.rows, out + panel * kPanel<T> * size + row * kPanel<T>,
               int64_t{kPanel<T>});
  });
}

// N C in panels of columns, [column panel][padded width][kPanel].
template <class T>
struct Cross {
  T* panels;
  int64_t size;  // padded width

  T* panel(int64_t column) const { return panels + column * size; }
  T& at(int64_t i, int64_t j) const { return panel(j / kPanel<T> * kPanel<T>)[i * kPanel<T> + j % kPanel<T>]; }
  // The panel of C^T, [row of C^T][kPanel], that starts at column `first`.
  void transposed_panel(int64_t first, T* to) const {
    for (int64_t j = 0; j < size; ++j)
      for (int64_t lane = 0; lane < kPanel<T>; ++lane) to[j * kPanel<T> + lane] = at(first + lane, j);
  }
};

// What standardisation learnt of each feature, and the diagonal of C: five rows of D.
struct Features {
  double *mean_a, *inverse_a, *mean_b, *inverse_b, *diagonal;

  Features(double* data, int64_t width)
      : mean_a(data),
        inverse_a(data + width),
        mean_b(data + 2 * width),
        inverse_b(data + 3 * width),
        diagonal(data + 4 * width) {}
};

// Mean and 1 / sqrt(variance + eps) of the features [first, first + count).
inline void measure(const Rows& x, double eps, int64_t first, int64_t count, double* mean, double* inverse) {
  std::vector<double> row(count);
  std::fill_n(mean + first, count, 0.0), std::fill_n(inverse + first, count, 0.0);
  for (int64_t n = 0; n < x.count; ++n) {
    x.read(n, first, count, row.data());
    for (int64_t d = 0; d < count; ++d) mean[first + d] += row[d];
  }
  for (int64_t d = 0; d < count; ++d) mean[first + d] /= x.count;
  for (int64_t n = 0; n < x.count; ++n) {
    x.read(n, first, count, row.data());
    for (int64_t d = 0; d < count; ++d) inverse[first + d] += (row[d] - mean[first + d]) * (row[d] - mean[first + d]);
  }
  for (int64_t d = 0; d < count; ++d) inverse[first + d] = 1 / std::sqrt(inverse[first + d] / x.count + eps);
}

template <class T, class Parallel>
Panels<T> standardise(const Rows& x, const double* mean, const double* inverse, const Parallel& parallel) {
  Panels<T> panels(x.count, x.width, true);
  parallel(panels.padded_rows / kPanel<T>, [&](int64_t panel) {
    std::vector<double> values(kPanel<T> * x.width);
    const int64_t first = panel * kPanel<T>, count = std::min<int64_t>(kPanel<T>, x.count - first);
    for (int64_t n = 0; n < count; ++n) {
      double* row = values.data() + n * x.width;
      x.read(first + n, row);
      for (int64_t d = 0; d < x.width; ++d) row[d] = (row[d] - mean[d]) * inverse[d];
    }
    panels.pack(first, values.data());
  });
  return panels;
}

// panel[n][kPanel] = rows of `left`, (padded rows)^2, times a panel of x's features: the gradient through rows.
template <class T>
void times_features(const T* left, const Panels<T>& x, int64_t first, T* panel) {
  for (int64_t n = 0; n < x.padded_rows; n += kStrip)
    multiply(left + n * x.padded_rows, x.padded_rows, int64_t{1}, x.width_panel(first, 0), x.rows,
             panel + n * kPanel<T>, int64_t{kPanel<T>});
}

// panel[n][kPanel] = rows of y times a panel of C or C^T: the gradient through features.
template <class T>
void times_panel(const Panels<T>& y, const T* right, T* panel) {
  for (int64_t n = 0; n < y.padded_rows; n += kStrip)
    multiply(y.row_panel(n), int64_t{1}, int64_t{kPanel<T>}, right, y.width, panel + n * kPanel<T>, int64_t{kPanel<T>});
}

}  // namespace dssl::barlow_twins
