// Rows of any floating-point type, read into and written from double, and their packing into panels.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
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
    if (count_ == 0) return;  // a tensor without entries has no address to count from
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

// Divides the row by its length and returns one over that length; a zero row stays zero and returns 0, a row with an
// entry that is not finite gives NaN.
inline double normalise(double* row, int64_t count) {
  double squares = dot(row, row, count), scale = 1;
  if (!(squares > 1e-280 && squares < 1e280)) {  // only float64 gets here, but for zero rows: scaled, nothing overflows
    double largest = 0;
    for (int64_t d = 0; d < count; ++d) largest = std::max(largest, std::fabs(row[d]));
    if (largest == 0 && squares == 0) return 0;                         // the largest of NaN alone is 0, too
    scale = std::min(1 / largest, std::numeric_limits<double>::max());  // of a subnormal number it would be infinite
    for (int64_t d = 0; d < count; ++d) row[d] *= scale;
    squares = dot(row, row, count);
  }
  const double inverse = 1 / std::sqrt(squares);
  for (int64_t d = 0; d < count; ++d) row[d] *= inverse;
  return inverse * scale;
}

// Multiplies the row by the power of two that brings its length into [1, 2), exactly, and returns one over that length;
// 0 for a zero row, NaN for one with an entry that is not finite.
inline double scale_exactly(double* row, int64_t count) {
  const double length = std::sqrt(dot(row, row, count));
  if (length == 0) return 0;
  if (!std::isfinite(length)) return std::numeric_limits<double>::quiet_NaN();
  const double power = std::ldexp(1.0, -std::ilogb(length));
  for (int64_t d = 0; d < count; ++d) row[d] *= power;
  return 1 / (length * power);
}

// A matrix packed for products of E, padded with zeros: `by_row` as operand of products over the width, `by_width` of
// products over the rows. Elements of type Pair hold two neighbours of the width in `by_row`, and rows r and
// r + kPanel / 2 of a panel in `by_width`: two vectors of a matrix then make a vector of pairs lane by lane.
template <class E>
struct Panels {
  static constexpr bool kPairs = std::is_same_v<E, Pair>;
  int64_t rows, width, depth, padded_rows, padded_width;
  Buffer<E> by_row, by_width;  // [row panel][depth][kPanel] and [width panel][padded row or pair of rows][kPanel]

  Panels(int64_t rows_, int64_t width_, bool with_by_width)
      : rows(rows_),
        width(width_),
        depth(kPairs ? (width_ + 1) / 2 : width_),
        padded_rows(round_up(rows_, kPanel<E>)),
        padded_width(round_up(width_, kPanel<E>)),
        by_row(padded_rows * depth),
        by_width(with_by_width ? padded_rows * padded_width / (kPairs ? 2 : 1) : 0),
        with_by_width_(with_by_width) {}

  const E* row_panel(int64_t row) const {
    return by_row.data() + row / kPanel<E> * kPanel<E> * depth + row % kPanel<E>;
  }
  // Of pairs, the panel from `row` on, a multiple of kPanel.
  const E* width_panel(int64_t d, int64_t row) const {
    return by_width.data() + (d * padded_rows + row * kPanel<E>) / (kPairs ? 2 : 1);
  }

  // kPanel entries of one row, from the panel of column d.
  void read_line(int64_t d, int64_t row, Sum<E>* to) const {
    if constexpr (kPairs) {
      const int64_t half = row % kPanel<E> / kLanes<E>, first = row / kPanel<E> * kPanel<E>;
      const E* line = width_panel(d, first) + row % kLanes<E> * kPanel<E>;
      for (int lane = 0; lane < kPanel<E>; ++lane)
        to[lane] = std::bit_cast<float>(half ? line[lane] & 0xffff0000u : line[lane] << 16);
    } else {
      std::copy_n(width_panel(d, row), kPanel<E>, to);
    }
  }

  // Packs the kPanel rows from `first` on; `values` holds them one after the other.
  void pack(int64_t first, const double* values) {
    E* to = by_row.data() + first * depth;
    for (int64_t d = 0; d < depth; ++d)
      for (int lane = 0; lane < kPanel<E>; ++lane) {
        const double* row = values + lane * width;
        *to++ = kPairs ? element(row[2 * d], 2 * d + 1 < width ? row[2 * d + 1] : 0) : element(row[d], 0);
      }
    if (!with_by_width_) return;
    constexpr int kLines = kPairs ? kPanel<E> / 2 : kPanel<E>;
    for (int64_t d = 0; d < padded_width; d += kPanel<E>) {
      to = by_width.data() + (d * padded_rows + first * kPanel<E>) / (kPairs ? 2 : 1);
      const int64_t count = std::min<int64_t>(kPanel<E>, width - d);
      for (int line = 0; line < kLines; ++line, to += kPanel<E>) {
        const double *row = values + line * width + d, *partner = row + kLines * width;
        for (int64_t lane = 0; lane < count; ++lane) to[lane] = element(row[lane], kPairs ? partner[lane] : 0);
        std::fill(to + count, to + kPanel<E>, E(0));
      }
    }
  }

 private:
  // Of pairs, both values must be bfloat16 already.
  static E element(double low, double high) {
    if constexpr (kPairs)
      return std::bit_cast<Pair>(static_cast<float>(low)) >> 16 |
             (std::bit_cast<Pair>(static_cast<float>(high)) & 0xffff0000u);
    else
      return static_cast<E>(low);
  }

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
