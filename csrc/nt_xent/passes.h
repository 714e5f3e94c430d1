// The two passes over the tiles.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "schedule.h"
#include "tile.h"

namespace dssl::nt_xent {

// Calls task(i) for i < count on several threads, `grain` or more in a row on one. Whoever includes this defines it.
using Task = std::function<void(int64_t)>;
void parallel(int64_t count, int64_t grain, const Task& task);

constexpr int64_t kTileRows = 128, kTileColumns = 256;

struct Problem {
  Rows x, y;  // the same when symmetric
  bool symmetric, decoupled;
  double temperature;
  int64_t before_queue = 0;                 // columns that may get a gradient
  int64_t positives_only = 0;               // the first columns that are no negatives
  std::vector<int64_t> positive, excluded;  // a column for each row, -1: none

  double scale() const { return kLog2E / temperature; }
  // Small enough that a few threads have work, and that what a pair of blocks reads and writes stays in the second
  // cache; a matter of sizes alone.
  Blocks row_blocks() const { return {x.count, block_side(x.count)}; }
  Blocks column_blocks() const { return {y.count, block_side(y.count)}; }
  static int64_t block_side(int64_t count) {
    return count >= 2048 ? std::min<int64_t>(512, count / 2048 * 128) : count >= 1024 ? 128 : 64;
  }
};

inline int64_t rows_per_task(int64_t width) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width)); }

// `correction`, next to 1, multiplies every unit row.
template <class E>
Side<E> pack(const Rows& rows, bool with_by_width, double correction) {
  Side<E> side(rows.count, rows.width, with_by_width);
  const int64_t grain = std::max<int64_t>(1, rows_per_task(rows.width) / kPanel<E>);
  parallel(side.panels.padded_rows / kPanel<E>, grain, [&](int64_t panel) {
    std::vector<double> values(kPanel<E> * rows.width);
    const int64_t first = panel * kPanel<E>, count = std::min<int64_t>(kPanel<E>, rows.count - first);
    if constexpr (Panels<E>::kPairs) std::fill_n(side.to_unit.data() + first, kPanel<E>, 1.0f);  // of zeros
    for (int64_t i = 0; i < count; ++i) {
      double* row = values.data() + i * rows.width;
      rows.read(first + i, row);
      if constexpr (Panels<E>::kPairs) {
        const double to_unit = scale_exactly(row, rows.width);
        side.broken[first + i] = std::isnan(to_unit);
        if (to_unit > 0) side.to_unit[first + i] = static_cast<float>(correction * to_unit);
      } else {
        side.broken[first + i] = std::isnan(normalise(row, rows.width));
        for (int64_t d = 0; d < rows.width; ++d) row[d] *= correction;
      }
    }
    side.panels.pack(first, values.data());
  });
  return side;
}

inline void positive_logits(const Problem& of, double* logits) {
  parallel(of.x.count, rows_per_task(of.x.width), [&](int64_t i) {
    logits[i] = -std::numeric_limits<double>::infinity();
    if (of.positive[i] < 0) return;
    std::vector<double> a(of.x.width), b(of.x.width);
    of.x.read(i, a.data()), of.y.read(of.positive[i], b.data());
    normalise(a.data(), of.x.width), normalise(b.data(), of.x.width);
    logits[i] = dot(a.data(), b.data(), of.x.width) / of.temperature;
  });
}

// Packed inputs, and visit(tile, whether its columns count as rows too: above the diagonal of a symmetric matrix).
template <class E>
struct Pass {
  const Problem& of;
  Side<E> x;
  std::optional<Side<E>> columns;

  Pass(const Problem& of_, bool with_gradient) : of(of_), x(pack<E>(of.x, with_gradient, correction(of))) {
    if (!of.symmetric) columns.emplace(pack<E>(of.y, with_gradient, correction(of)));
  }

  const Side<E>& y() const { return columns ? *columns : x; }

  template <class Visit>
  void each_tile(const Visit& visit) const {
    const Similarity<E> similarity{&x, &y(), of.positive.data(), of.excluded.data(), of.positives_only, of.scale()};
    const Blocks rows = of.row_blocks(), blocks = of.column_blocks();
    const auto group = [&](int64_t a, int64_t b) {
      const bool diagonal = of.symmetric && a == b;
      const int64_t across = diagonal ? kTileRows : kTileColumns;
      Buffer<Sum<E>> memory(Tile<E>::memory(std::min(kTileRows, rows.side), std::min(across, blocks.side)));
      for (int64_t row = rows.begin(a); row < rows.end(a); row += kTileRows)
        for (int64_t column = diagonal ? row : blocks.begin(b); column < blocks.end(b); column += across)
          visit(Tile<E>(similarity, row, std::min(rows.end(a), row + kTileRows), column,
                        std::min(blocks.end(b), column + across), memory.data()),
                of.symmetric && row != column);
    };
    const auto one_by_one = [&](int64_t count, const Task& task) { parallel(count, 1, task); };
    of.symmetric ? each_pair(rows.count(), one_by_one, group)
                 : each_cell(rows.count(), blocks.count(), one_by_one, group);
  }

 private:
  // In float the scale of the logits is rounded, in favour of all or at the cost of all: 17 logits * 2^-24 is too much
  // for 2e-6. Each unit row makes up for half of it.
  static double correction(const Problem& of) { return std::sqrt(of.scale() / static_cast<Sum<E>>(of.scale())); }
};

// Log-sum-exp of each row's negatives, and the largest cosine among them unless null.
template <class E>
void sum_negatives(const Problem& of, double* log_negatives, double* largest) {
  std::vector<PowerSum> sums(of.x.count);
  const Pass<E> pass(of, false);
  pass.each_tile([&](const Tile<E>& tile, bool both) {
    tile.add_to(sums.data(), both ? sums.data() : nullptr);
    if (largest) tile.track_largest(largest, both ? largest : nullptr);
  });
  // exp2 of NaN is 0 here: a row or a negative that is not finite would go unnoticed.
  const std::vector<uint8_t>& columns = pass.y().broken;
  const bool broken = std::count(columns.begin() + of.positives_only, columns.end(), 1) > 0;
  for (int64_t i = 0; i < of.x.count; ++i)
    log_negatives[i] = broken || pass.x.broken[i] ? std::numeric_limits<double>::quiet_NaN() : sums[i].log();
}

// What the gradient needs of each row: its upstream weight, in the form that Tile::to_slopes takes.
template <class T>
struct Weights {
  Buffer<T> weight, denominator;
  std::vector<double> positive_slope;

  Weights(const Problem& of, const double* positives, const double* negatives, int64_t padded,
          const std::function<double(int64_t)>& weight_of)
      : weight(padded), denominator(padded), positive_slope(of.x.count) {
    std::fill_n(weight.data(), padded, T(0)), std::fill_n(denominator.data(), padded, T(0));
    for (int64_t i = 0; i < of.x.count; ++i) {
      const Row row{positives[i], negatives[i], of.decoupled};
      const double w = weight_of(i);
      positive_slope[i] = w * row.positive_slope();
      if (std::isinf(row.negatives)) continue;  // no negative: every entry but the positive is 0
      const double log2_denominator = row.log_denominator() * kLog2E;
      denominator[i] = static_cast<T>(log2_denominator);
      const double reference = static_cast<T>(of.scale());  // as the tile rounds it
      weight[i] = static_cast<T>(std::is_same_v<T, float> ? w * std::exp2(reference - log2_denominator) : w);
    }
  }
};

template <class T>
Buffer<T> zeros(int64_t size) {
  constexpr int64_t kChunk = 65536;
  Buffer<T> buffer(size);
  parallel((size + kChunk - 1) / kChunk, 1, [&](int64_t chunk) {
    std::fill_n(buffer.data() + chunk * kChunk, std::min(kChunk, size - chunk * kChunk), T(0));
  });
  return buffer;
}

// read(row, to): the gradient of a normalised row for a temperature of 1.
using Read = std::function<void(int64_t, double*)>;

// finish(whether of x, gradient), with y's only if with_columns.
template <class E>
void differentiate(const Problem& of, const double* positives, const double* negatives, bool with_columns,
                   const std::function<double(int64_t)>& weight_of, const std::function<void(bool, Read)>& finish) {
  using T = Sum<E>;
  const Pass<E> pass(of, true);
  const Panels<E>&x = pass.x.panels, &y = pass.y().panels;
  const Weights<T> weights(of, positives, negatives, x.padded_rows + kPanel<E>, weight_of);
  const Buffer<T> of_x = zeros<T>(x.padded_rows * x.padded_width);
  const Buffer<T> of_y = zeros<T>(with_columns ? y.padded_rows * y.padded_width : 0);
  pass.each_tile([&](Tile<E> tile, bool both) {
    tile.to_slopes(weights.weight.data(), weights.denominator.data());
    tile.add_row_gradients(of_x.data(), weights.positive_slope.data());
    if (both) tile.add_column_gradients(of_x.data(), weights.positive_slope.data());
    if (with_columns && tile.column() < of.before_queue)
      tile.add_column_gradients(of_y.data(), weights.positive_slope.data());
  });
  finish(true, [&](int64_t row, double* to) { read_by_width(of_x.data(), x.padded_rows, row, x.width, to); });
  if (with_columns)
    finish(false, [&](int64_t row, double* to) { read_by_width(of_y.data(), y.padded_rows, row, y.width, to); });
}

}  // namespace dssl::nt_xent
