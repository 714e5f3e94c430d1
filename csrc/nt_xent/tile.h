// One tile of the similarity matrix, rows [row, row_end) of x against columns [column, column_end) of y: made, used and
// forgotten while it lies in cache. Logits are cosines times `scale` = log2(e) / temperature, for 2^x costs less than
// e^x. Their largest possible value is `scale`: in float it is small enough (see kLowestFloatTemperature) to be every
// row's common reference, so one power serves the row and the column; in double each row has its own maximum.
//
// Elements of the products are float, double, or pairs of bfloat16. Rows of bfloat16 need no rounding for that: their
// lengths come in afterwards, and cosines are as good as in float. Only the slopes are rounded to bfloat16 when they
// become an operand, each by at most 2^-9 of itself; those of the positives never are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "../common/rows.h"
#include "nt_xent.h"

namespace dssl::nt_xent {

// Below it float32 logits are too coarse for 2e-6 in the gradients (neighbours of 10, the logit of cosine 0.5, differ
// by 1e-6), and products are taken in double. 2^(-2 * scale) is then 2^-58, still far above float's smallest number.
constexpr double kLowestFloatTemperature = 0.05;

// Rows packed for products. Unit rows are the packed ones times `to_unit`, which only pairs have.
template <class E>
struct Side {
  Panels<E> panels;
  Buffer<float> to_unit;
  std::vector<uint8_t> broken;  // whether a row has an entry that is not finite

  Side(int64_t rows, int64_t width, bool with_by_width)
      : panels(rows, width, with_by_width), to_unit(Panels<E>::kPairs ? panels.padded_rows : 0), broken(rows) {}
};

// What all tiles share. positive[i] is the column of row i's positive, excluded[i] a column that takes no part (the row
// itself), or -1; the first `positives_only` columns are no negatives.
template <class E>
struct Similarity {
  const Side<E>*x, *y;
  const int64_t *positive, *excluded;
  int64_t positives_only;
  double scale;

  bool symmetric() const { return x == y; }
};

template <class E>
class Tile {
 public:
  using T = Sum<E>;

  Tile(const Similarity<E>& of, int64_t row, int64_t row_end, int64_t column, int64_t column_end, T* memory)
      : of_(of),
        x_(of.x->panels),
        y_(of.y->panels),
        row_(row),
        rows_(row_end - row),
        padded_rows_(round_up(rows_, kPairs ? kPanel<E> : kStrip)),
        column_(column),
        columns_(column_end - column),
        stride_(round_up(columns_, kPanel<E>)),
        s_(memory),
        of_rows_(reinterpret_cast<E*>(memory)),
        of_columns_(of_rows_) {
    if constexpr (kPairs) {
      of_rows_ = reinterpret_cast<E*>(memory + padded_rows_ * stride_);
      of_columns_ = of_rows_ + padded_rows_ * stride_ / 2;
    }
    multiply();
    exclude();
  }

  int64_t column() const { return column_; }

  // Largest cosine of each row and, when symmetric, of each column.
  void track_largest(double* largest_of_rows, double* largest_of_columns) const {
    T by_column[kLargestSide];
    std::fill_n(by_column, stride_, T(-1e30));
    for (int64_t i = 0; i < rows_; ++i) {
      Vector<T> row = broadcast(T(-1e30));
      for (int64_t j = 0; j < stride_; j += kLanes<T>) {
        const Vector<T> s = scaled(i, j, T(1));
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
        const Vector<T> power = exp2(scaled(i, j, T(of_.scale)) - reference);
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

  // The cosines become d loss / d logit, but for the positives'. A row adds weight * 2^(logit - denominator) to its
  // entries; in float the two factors that depend on the row alone are one, weight * 2^(scale - denominator). So does a
  // column when symmetric.
  void to_slopes(const T* weights, const T* denominators) {
    if constexpr (kPairs) return to_paired_slopes(weights);
    for (int64_t i = 0; i < rows_; ++i)
      for (int64_t j = 0; j < stride_; j += kLanes<T>) store(at(i, j), slopes(i, j, weights, denominators));
  }

  // gradient of x += slopes * y, and gradient of y += slopes^T * x; both laid out as Panels::by_width.
  void add_row_gradients(T* gradient, const double* positive_slopes) const {
    const int64_t a_row = kPairs ? stride_ / 2 : stride_, depth = kPairs ? stride_ / 2 : columns_;
    for (int64_t d = 0; d < x_.padded_width; d += kPanel<E>)
      for (int64_t i = 0; i < rows_; i += kStrip)
        multiply_strip<true>(of_rows_ + i * a_row, a_row, 1, y_.width_panel(d, column_), depth,
                             gradient + d * x_.padded_rows + (row_ + i) * kPanel<E>, kPanel<E>);
    each_positive(positive_slopes,
                  [&](int64_t i, int64_t j, double slope) { add_row(*of_.y, j, slope, gradient, x_.padded_rows, i); });
  }

  void add_column_gradients(T* gradient, const double* positive_slopes) const {
    const int64_t depth = kPairs ? padded_rows_ / 2 : rows_;
    for (int64_t d = 0; d < x_.padded_width; d += kPanel<E>)
      for (int64_t j = 0; j < columns_; j += kStrip)
        multiply_strip<true>(of_columns_ + j, 1, stride_, x_.width_panel(d, row_), depth,
                             gradient + d * y_.padded_rows + (column_ + j) * kPanel<E>, kPanel<E>);
    each_positive(positive_slopes,
                  [&](int64_t i, int64_t j, double slope) { add_row(*of_.x, i, slope, gradient, y_.padded_rows, j); });
  }

  static constexpr int64_t kLargestSide = 512;  // of columns
  static int64_t memory(int64_t rows, int64_t columns) {
    return round_up(rows, kPanel<E>) * (round_up(columns, kPanel<E>)) * (kPairs ? 2 : 1);
  }

 private:
  static constexpr bool kPairs = Panels<E>::kPairs, kCommonReference = std::is_same_v<T, float>;
  static constexpr T kNever = -std::numeric_limits<T>::infinity();

  T* at(int64_t i, int64_t j) const { return s_ + i * stride_ + j; }

  // In several runs, for sums of sums are more exact; shorter ones where the temperature multiplies a cosine's error.
  void multiply() {
    const int64_t run = of_.scale < 10 ? 256 : 32;
    for (int64_t j = 0; j < columns_; j += kPanel<E>)
      for (int64_t i = 0; i < rows_; i += kStrip) {
        const E *a = x_.row_panel(row_ + i), *b = y_.row_panel(column_ + j);
        multiply_strip<false>(a, 1, kPanel<E>, b, std::min(run, x_.depth), at(i, j), stride_);
        for (int64_t d = run; d < x_.depth; d += run)
          multiply_strip<true>(a + d * kPanel<E>, 1, kPanel<E>, b + d * kPanel<E>, std::min(run, x_.depth - d),
                               at(i, j), stride_);
      }
  }

  // What takes no part: its power is exactly 0, and it is never the largest.
  void exclude() {
    const int64_t skipped = std::clamp<int64_t>(of_.positives_only - column_, 0, columns_);
    for (int64_t i = 0; i < rows_; ++i) {
      std::fill(at(i, 0), at(i, skipped), kNever);
      for (int64_t column : {of_.positive[row_ + i], of_.excluded[row_ + i]})
        if (column >= column_ && column < column_ + columns_) *at(i, column - column_) = kNever;
      std::fill(at(i, columns_), at(i, stride_), kNever);
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

  // Cosines times `scale`: of pairs, the rows' lengths come in here.
  Vector<T> scaled(int64_t i, int64_t j, T scale) const {
    if constexpr (!kPairs)
      return load(at(i, j)) * scale;
    else
      return load(at(i, j)) * (of_.x->to_unit[row_ + i] * scale) * load(of_.y->to_unit.data() + column_ + j);
  }

  Vector<T> slopes(int64_t i, int64_t j, const T* weights, const T* denominators) const {
    const Vector<T> logit = scaled(i, j, T(of_.scale));
    const T own = weights[row_ + i];
    if constexpr (kCommonReference) {
      const Vector<T> both = of_.symmetric() ? own + load(weights + column_ + j) : broadcast(own);
      return exp2(logit - T(of_.scale)) * both;
    } else {
      const Vector<T> row = own * exp2(logit - denominators[row_ + i]);
      if (!of_.symmetric()) return row;
      return row + load(weights + column_ + j) * exp2(logit - load(denominators + column_ + j));
    }
  }

  // Slopes as operands beside columns j and j + kLanes of y, and beside rows i and i + kLanes of x; times to_unit,
  // which the packed rows lack.
  void to_paired_slopes(const T* weights) {
    constexpr int kHalf = kLanes<E>;
    const float *rows = of_.x->to_unit.data() + row_, *columns = of_.y->to_unit.data() + column_;
    std::fill(at(rows_, 0), at(padded_rows_, 0), kNever);
    for (int64_t first = 0; first < padded_rows_; first += kPanel<E>)
      for (int64_t i = first; i < first + kHalf; ++i)
        for (int64_t j = 0; j < stride_; j += kPanel<E>) {
          Vector<T> s[2][2];
          for (int r : {0, 1})
            for (int c : {0, 1}) s[r][c] = slopes(i + r * kHalf, j + c * kHalf, weights, nullptr);
          for (int r : {0, 1})
            store(of_rows_ + ((i + r * kHalf) * stride_ + j) / 2,
                  pair_up(s[r][0] * load(columns + j), s[r][1] * load(columns + j + kHalf)));
          for (int c : {0, 1})
            store(of_columns_ + (i - first / 2) * stride_ + j + c * kHalf,
                  pair_up(s[0][c] * rows[i], s[1][c] * rows[i + kHalf]));
        }
  }

  // f(row, column, d loss / d logit) for the positives among the tile's entries.
  template <class F>
  void each_positive(const double* slopes, const F& f) const {
    for (int64_t i = row_; i < row_ + rows_; ++i) {
      const int64_t j = of_.positive[i];
      if (j >= column_ && j < column_ + columns_) f(i, j, of_.symmetric() ? slopes[i] + slopes[j] : slopes[i]);
    }
  }

  // Row `to` of a gradient += slope * unit row `from`.
  static void add_row(const Side<E>& side, int64_t from, double slope, T* gradient, int64_t padded_rows, int64_t to) {
    T line[kPanel<E>], factor = static_cast<T>(slope);
    if constexpr (kPairs) factor *= side.to_unit[from];
    for (int64_t d = 0; d < side.panels.padded_width; d += kPanel<E>) {
      side.panels.read_line(d, from, line);
      T* sums = gradient + d * padded_rows + to * kPanel<E>;
      for (int lane = 0; lane < kPanel<E>; ++lane) sums[lane] += factor * line[lane];
    }
  }

  const Similarity<E>& of_;
  const Panels<E>&x_, &y_;
  int64_t row_, rows_, padded_rows_, column_, columns_, stride_;
  T* s_;
  E *of_rows_, *of_columns_;  // slopes as operands: s_ itself, but for pairs
};

}  // namespace dssl::nt_xent
