// One tile of the similarity matrix, rows [row, row_end) of x against columns [column, column_end) of y: made, used and
// forgotten while it lies in cache. Logits are cosines times `scale` = log2(e) / temperature, for 2^x costs less than
// e^x. Their largest possible value is `scale`: in float it is small enough (see kLowestFloatTemperature) to be every
// row's common reference, so one power serves the row and the column; in double each row has its own maximum.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "../common/rows.h"
#include "nt_xent.h"

namespace dssl::nt_xent {

// Below it float32 logits are too coarse for 2e-6 in the gradient (neighbours of 17, the logit of cosine 0.5, differ by
// 2e-6), and products are taken in double. 2^(-2 * scale) is then 2^-96, still far above float's smallest number.
constexpr double kLowestFloatTemperature = 0.03;
constexpr int64_t kDepth = 256;  // products summed in one run

// What all tiles share. positive[i] is the column of row i's positive, excluded[i] a column that takes no part (the row
// itself), or -1; the first `positives_only` columns are no negatives.
template <class T>
struct Similarity {
  const Panels<T>*x, *y;
  const int64_t *positive, *excluded;
  int64_t positives_only;
  double scale;

  bool symmetric() const { return x == y; }
};

template <class T>
class Tile {
 public:
  Tile(const Similarity<T>& of, int64_t row, int64_t row_end, int64_t column, int64_t column_end, T* memory)
      : of_(of),
        row_(row),
        rows_(row_end - row),
        column_(column),
        columns_(column_end - column),
        stride_(round_up(columns_, kPanel<T>)),
        s_(memory) {
    multiply();
    exclude();
  }

  // Largest cosine of each row and, when symmetric, of each column.
  void track_largest(double* largest_of_rows, double* largest_of_columns) const {
    T by_column[kLargestSide];
    std::fill_n(by_column, stride_, T(-1e30));
    for (int64_t i = 0; i < rows_; ++i) {
      Vector<T> row = broadcast(T(-1e30));
      for (int64_t j = 0; j < stride_; j += kLanes<T>) {
        const Vector<T> s = load(at(i, j));
        row = larger(row, s);
        store(by_column + j, larger(load(by_column + j), s));
      }
      largest_of_rows[row_ + i] = std::max<double>(largest_of_rows[row_ + i], largest_of(row));
    }
    if (!largest_of_columns) return;
    for (int64_t j = 0; j < columns_; ++j)
      largest_of_columns[column_ + j] = std::max<double>(largest_of_columns[column_ + j], by_column[j]);
  }

  // Adds the tile's powers to the sums of its rows and, unless null, to those of its columns.
  void add_to(PowerSum* of_rows, PowerSum* of_columns) const {
    T references[kLargestSide], sums[kLargestSide] = {};
    column_references(references, of_columns != nullptr);
    for (int64_t i = 0; i < rows_; ++i) {
      const T reference = row_reference(i);
      Vector<T> row = {};
      for (int64_t j = 0; j < stride_; j += kLanes<T>) {
        const Vector<T> power = exp2(load(at(i, j)) * T(of_.scale) - reference);
        row += power;
        if (!of_columns) continue;
        if constexpr (kCommonReference)
          store(sums + j, load(sums + j) + power);
        else
          store(sums + j, load(sums + j) + exp2(load(at(i, j)) * T(of_.scale) - load(references + j)));
      }
      of_rows[row_ + i].add(reference, sum_of(row));
    }
    if (!of_columns) return;
    for (int64_t j = 0; j < columns_; ++j)
      of_columns[column_ + j].add(kCommonReference ? T(of_.scale) : references[j], sums[j]);
  }

  // The cosines become d loss / d logit. A row adds weight * 2^(logit - denominator) to its entries; in float the two
  // factors that depend on the row alone are one, weight * 2^(scale - denominator). So does a column when symmetric.
  void to_slopes(const T* weights, const T* denominators, const double* positive_slopes) {
    for (int64_t i = 0; i < rows_; ++i)
      for (int64_t j = 0; j < stride_; j += kLanes<T>) {
        const Vector<T> logit = load(at(i, j)) * T(of_.scale);
        store(at(i, j), slopes(logit, row_ + i, column_ + j, weights, denominators));
      }
    for (int64_t i = 0; i < rows_; ++i) {
      const int64_t j = of_.positive[row_ + i] - column_;
      if (j < 0 || j >= columns_) continue;
      const double own = positive_slopes[row_ + i];
      *at(i, j) = static_cast<T>(of_.symmetric() ? own + positive_slopes[column_ + j] : own);
    }
  }

  // gradient of x += slopes * y, and gradient of y += slopes^T * x; both laid out as Panels::by_width.
  void add_row_gradients(T* gradient) const {
    const Panels<T>&x = *of_.x, &y = *of_.y;
    for (int64_t d = 0; d < x.padded_width; d += kPanel<T>)
      for (int64_t i = 0; i < rows_; i += kStrip)
        multiply_strip<true>(at(i, 0), stride_, 1, y.width_panel(d, column_), columns_,
                             gradient + d * x.padded_rows + (row_ + i) * kPanel<T>, kPanel<T>);
  }

  void add_column_gradients(T* gradient) const {
    const Panels<T>&x = *of_.x, &y = *of_.y;
    for (int64_t d = 0; d < x.padded_width; d += kPanel<T>)
      for (int64_t j = 0; j < columns_; j += kStrip)
        multiply_strip<true>(at(0, j), 1, stride_, x.width_panel(d, row_), rows_,
                             gradient + d * y.padded_rows + (column_ + j) * kPanel<T>, kPanel<T>);
  }

  static constexpr int64_t kLargestSide = 512;  // of columns
  static int64_t memory(int64_t rows, int64_t columns) { return round_up(rows, kStrip) * round_up(columns, kPanel<T>); }

 private:
  static constexpr bool kCommonReference = std::is_same_v<T, float>;

  T* at(int64_t i, int64_t j) const { return s_ + i * stride_ + j; }

  void multiply() {
    const Panels<T>&x = *of_.x, &y = *of_.y;
    for (int64_t i = 0; i < rows_; i += kStrip)
      for (int64_t j = 0; j < columns_; j += kPanel<T>) {
        const T *a = x.row_panel(row_ + i), *b = y.row_panel(column_ + j);
        multiply_strip<false>(a, 1, kPanel<T>, b, std::min(kDepth, x.width), at(i, j), stride_);
        for (int64_t d = kDepth; d < x.width; d += kDepth)
          multiply_strip<true>(a + d * kPanel<T>, 1, kPanel<T>, b + d * kPanel<T>, std::min(kDepth, x.width - d),
                               at(i, j), stride_);
      }
  }

  // The logit -1e30 of what takes no part: its power is exactly 0, and it is never the largest.
  void exclude() {
    const T never = static_cast<T>(-1e30 / std::min(1.0, of_.scale));
    const int64_t skipped = std::clamp<int64_t>(of_.positives_only - column_, 0, columns_);
    for (int64_t i = 0; i < rows_; ++i) {
      std::fill(at(i, 0), at(i, skipped), never);
      for (int64_t column : {of_.positive[row_ + i], of_.excluded[row_ + i]})
        if (column >= column_ && column < column_ + columns_) *at(i, column - column_) = never;
      std::fill(at(i, columns_), at(i, stride_), never);
    }
  }

  T row_reference(int64_t i) const {
    if constexpr (kCommonReference) return T(of_.scale);
    Vector<T> largest = broadcast(T(-1e29));
    for (int64_t j = 0; j < stride_; j += kLanes<T>) largest = larger(largest, load(at(i, j)) * T(of_.scale));
    return largest_of(largest);
  }

  void column_references(T* references, bool needed) const {
    if (kCommonReference || !needed) return;
    std::fill_n(references, stride_, T(-1e29));
    for (int64_t i = 0; i < rows_; ++i)
      for (int64_t j = 0; j < stride_; j += kLanes<T>)
        store(references + j, larger(load(references + j), load(at(i, j)) * T(of_.scale)));
  }

  Vector<T> slopes(Vector<T> logit, int64_t i, int64_t j, const T* weights, const T* denominators) const {
    if constexpr (kCommonReference) {
      const Vector<T> row = broadcast(weights[i]);
      return exp2(logit - T(of_.scale)) * (of_.symmetric() ? row + load(weights + j) : row);
    } else {
      const Vector<T> row = weights[i] * exp2(logit - denominators[i]);
      return of_.symmetric() ? row + load(weights + j) * exp2(logit - load(denominators + j)) : row;
    }
  }

  const Similarity<T>& of_;
  int64_t row_, rows_, column_, columns_, stride_;
  T* s_;
};

}  // namespace dssl::nt_xent
