// Rows of any floating-point type, read into and written from double, and their packing into panels.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "panels.h"

namespace dssl {

template <class S>
void widen(const void* from, int64_t count, double* to) {
  for (int64_t d = 0; d < count; ++d) to[d] = static_cast<double>(static_cast<const S*>(from)[d]);
}

template <class S>
void narrow(const double* from, int64_t count, void* to) {
  using Middle = std::conditional_t<sizeof(S) == 8, double, float>;  // half types round once more, from float
  for (int64_t d = 0; d < count; ++d) static_cast<S*>(to)[d] = static_cast<S>(static_cast<Middle>(from[d]));
}

// A matrix whose rows lie in several tensors of one type, one after the other.
struct Rows {
  struct Part {
    const char* data;
    int64_t first, stride;  // stride in bytes
  };
  std::vector<Part> parts;
  int64_t count = 0, width = 0, bytes = 0;  // bytes of an entry
  void (*widen)(const void*, int64_t, double*) = nullptr;

  void read(int64_t row, double* to) const { read(row, 0, width, to); }

  void read(int64_t row, int64_t first, int64_t count_, double* to) const {
    const Part* part = &parts[0];
    for (const Part& next : parts)
      if (next.first <= row) part = &next;
    widen(part->data + (row - part->first) * part->stride + first * bytes, count_, to);
  }
};

// Eight running sums: a fixed order that compilers vectorise.
inline double dot(const double* a, const double* b, int64_t count) {
  double sums[8] = {};
  int64_t d = 0;
  for (; d + 8 <= count; d += 8)
    for (int k = 0; k < 8; ++k) sums[k] += a[d + k] * b[d + k];
  for (; d < count; ++d) sums[0] += a[d] * b[d];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

// Divides the row by its length and returns one over that length; a zero row stays zero and returns 0.
inline double normalise(double* row, int64_t count) {
  double squares = dot(row, row, count), scale = 1;
  if (!(squares > 1e-280 && squares < 1e280)) {  // only float64 gets here, but for zero rows: scaled, nothing overflows
    double largest = 0;
    for (int64_t d = 0; d < count; ++d) largest = std::max(largest, std::fabs(row[d]));
    if (largest == 0) return 0;
    scale = 1 / largest;
    for (int64_t d = 0; d < count; ++d) row[d] *= scale;
    squares = dot(row, row, count);
  }
  const double inverse = 1 / std::sqrt(squares);
  for (int64_t d = 0; d < count; ++d) row[d] *= inverse;
  return inverse * scale;
}

// A matrix packed for products in T, padded with zeros: `by_row` as operand of products over the width, `by_width` of
// products over the rows.
template <class T>
struct Panels {
  int64_t rows, width, padded_rows, padded_width;
  Buffer<T> by_row, by_width;  // [row panel][width][kPanel] and [width panel][padded row][kPanel]

  Panels(int64_t rows_, int64_t width_, bool with_by_width)
      : rows(rows_),
        width(width_),
        padded_rows(round_up(rows_, kPanel<T>)),
        padded_width(round_up(width_, kPanel<T>)),
        by_row(padded_rows * width_),
        by_width(with_by_width ? padded_rows * padded_width : 0),
        with_by_width_(with_by_width) {}

  const T* row_panel(int64_t row) const {
    return by_row.data() + row / kPanel<T> * kPanel<T> * width + row % kPanel<T>;
  }
  const T* width_panel(int64_t d, int64_t row) const { return by_width.data() + d * padded_rows + row * kPanel<T>; }

  // Packs the kPanel rows from `first` on; `values` holds them one after the other.
  void pack(int64_t first, const double* values) {
    T* to = by_row.data() + first * width;
    for (int64_t d = 0; d < width; ++d)
      for (int lane = 0; lane < kPanel<T>; ++lane) *to++ = static_cast<T>(values[lane * width + d]);
    if (!with_by_width_) return;
    for (int64_t d = 0; d < padded_width; d += kPanel<T>)
      for (int row = 0; row < kPanel<T>; ++row) {
        T* line = by_width.data() + d * padded_rows + (first + row) * kPanel<T>;
        const int64_t count = std::min<int64_t>(kPanel<T>, width - d);
        for (int64_t lane = 0; lane < count; ++lane) line[lane] = static_cast<T>(values[row * width + d + lane]);
        for (int64_t lane = count; lane < kPanel<T>; ++lane) line[lane] = 0;
      }
  }

 private:
  bool with_by_width_;
};

// One row out of a matrix laid out as `by_width`.
template <class T>
void read_by_width(const T* matrix, int64_t padded_rows, int64_t row, int64_t width, double* to) {
  for (int64_t d = 0; d < width; d += kPanel<T>) {
    const T* line = matrix + d * padded_rows + row * kPanel<T>;
    const int64_t count = std::min<int64_t>(kPanel<T>, width - d);
    for (int64_t lane = 0; lane < count; ++lane) to[d + lane] = line[lane];
  }
}

}  // namespace dssl
