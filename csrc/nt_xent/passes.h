// The two passes over the tiles. `parallel(count, grain, f)` calls f(i) for i < count on several threads.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "schedule.h"
#include "tile.h"

namespace dssl::nt_xent {

struct Problem {
  Rows x, y;  // the same when symmetric
  bool symmetric, decoupled;
  double temperature;
  int64_t positives_only = 0;
  std::vector<int64_t> positive, excluded;  // a column for each row, -1: none

  // Small enough that a few threads have work and a tile stays in cache; a matter of sizes alone.
  Blocks row_blocks() const {
    if (!symmetric) return {x.count, x.count >= 2048 ? 128 : x.count >= 512 ? 64 : 32};
    return {x.count, x.count >= 1024 ? 128 : 64};
  }
  Blocks column_blocks() const { return symmetric ? row_blocks() : Blocks{y.count, y.count >= 2048 ? 256 : 64}; }
};

inline int64_t rows_per_task(int64_t width) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width)); }

template <class T, class Parallel>
Panels<T> pack(const Rows& rows, bool with_by_width, const Parallel& parallel) {
  Panels<T> panels(rows.count, rows.width, with_by_width);
  const int64_t grain = std::max<int64_t>(1, rows_per_task(rows.width) / kPanel<T>);
  parallel(panels.padded_rows / kPanel<T>, grain, [&](int64_t panel) {
    std::vector<double> values(kPanel<T> * rows.width);
    const int64_t first = panel * kPanel<T>, count = std::min<int64_t>(kPanel<T>, rows.count - first);
    for (int64_t i = 0; i < count; ++i) {
      rows.read(first + i, &values[i * rows.width]);
      normalise(&values[i * rows.width], rows.width);
    }
    panels.pack(first, values.data());
  });
  return panels;
}

template <class Parallel>
void positive_logits(const Problem& of, const Parallel& parallel, double* logits) {
  parallel(of.x.count, rows_per_task(of.x.width), [&](int64_t i) {
    std::vector<double> a(of.x.width), b(of.x.width);
    of.x.read(i, a.data()), of.y.read(of.positive[i], b.data());
    normalise(a.data(), of.x.width), normalise(b.data(), of.x.width);
    logits[i] = dot(a.data(), b.data(), of.x.width) / of.temperature;
  });
}

// Packed inputs, and visit(tile, whether its columns count as rows too: above the diagonal of a symmetric matrix).
template <class T, class Parallel>
struct Pass {
  const Problem& of;
  const Parallel& parallel;
  Panels<T> x;
  std::optional<Panels<T>> columns;

  Pass(const Problem& of_, const Parallel& parallel_, bool with_gradient)
      : of(of_), parallel(parallel_), x(pack<T>(of.x, with_gradient, parallel)) {
    if (!of.symmetric) columns.emplace(pack<T>(of.y, with_gradient, parallel));
  }

  const Panels<T>& y() const { return columns ? *columns : x; }

  template <class Visit>
  void each_tile(const Visit& visit) const {
    const Similarity<T> similarity{
        &x, &y(), of.positive.data(), of.excluded.data(), of.positives_only, kLog2E / of.temperature};
    const Blocks rows = of.row_blocks(), blocks = of.column_blocks();
    const auto tile = [&](int64_t a, int64_t b) {
      Buffer<T> memory(Tile<T>::memory(rows.side, blocks.side));
      visit(Tile<T>(similarity, rows.begin(a), rows.end(a), blocks.begin(b), blocks.end(b), memory.data()),
            of.symmetric && a != b);
    };
    const auto one_by_one = [&](int64_t count, const auto& f) { parallel(count, 1, f); };
    of.symmetric ? each_pair(rows.count(), one_by_one, tile)
                 : each_cell(rows.count(), blocks.count(), one_by_one, tile);
  }
};

// Log-sum-exp of each row's negatives, and the largest cosine among them unless null.
template <class T, class Parallel>
void sum_negatives(const Problem& of, const Parallel& parallel, double* log_negatives, double* largest) {
  std::vector<PowerSum> sums(of.x.count);
  Pass<T, Parallel>(of, parallel, false).each_tile([&](const Tile<T>& tile, bool both) {
    tile.add_to(sums.data(), both ? sums.data() : nullptr);
    if (largest) tile.track_largest(largest, both ? largest : nullptr);
  });
  for (int64_t i = 0; i < of.x.count; ++i) log_negatives[i] = sums[i].log();
}

// What the gradient needs of each row: its upstream weight, in the form that Tile::to_slopes takes.
template <class T>
struct Weights {
  Buffer<T> weight, denominator;
  std::vector<double> positive_slope;

  template <class WeightOf>
  Weights(const Problem& of, const double* positives, const double* negatives, int64_t padded,
          const WeightOf& weight_of)
      : weight(padded), denominator(padded), positive_slope(of.x.count) {
    std::fill_n(weight.data(), padded, T(0)), std::fill_n(denominator.data(), padded, T(0));
    for (int64_t i = 0; i < of.x.count; ++i) {
      const Row row{positives[i], negatives[i], of.decoupled};
      const double w = weight_of(i);
      positive_slope[i] = w * row.positive_slope();
      if (std::isinf(row.negatives)) continue;  // no negative: every entry but the positive is 0
      const double log2_denominator = row.log_denominator() * kLog2E;
      denominator[i] = static_cast<T>(log2_denominator);
      weight[i] =
          static_cast<T>(std::is_same_v<T, float> ? w * std::exp2(kLog2E / of.temperature - log2_denominator) : w);
    }
  }
};

template <class T, class Parallel>
Buffer<T> zeros(int64_t size, const Parallel& parallel) {
  constexpr int64_t kChunk = 65536;
  Buffer<T> buffer(size);
  parallel((size + kChunk - 1) / kChunk, 1, [&](int64_t chunk) {
    std::fill_n(buffer.data() + chunk * kChunk, std::min(kChunk, size - chunk * kChunk), T(0));
  });
  return buffer;
}

// finish(of_x, gradient of the normalised rows (or columns) for a temperature of 1 in their packed layout, its rows)
template <class T, class Parallel, class WeightOf, class Finish>
void differentiate(const Problem& of, const Parallel& parallel, const double* positives, const double* negatives,
                   bool with_columns, const WeightOf& weight_of, const Finish& finish) {
  const Pass<T, Parallel> pass(of, parallel, true);
  const Panels<T>&x = pass.x, &y = pass.y();
  const Weights<T> weights(of, positives, negatives, x.padded_rows + kPanel<T>, weight_of);
  const Buffer<T> of_x = zeros<T>(x.padded_rows * x.padded_width, parallel);
  const Buffer<T> of_y = zeros<T>(with_columns ? y.padded_rows * y.padded_width : 0, parallel);
  pass.each_tile([&](Tile<T> tile, bool both) {
    tile.to_slopes(weights.weight.data(), weights.denominator.data(), weights.positive_slope.data());
    tile.add_row_gradients(of_x.data());
    if (both) tile.add_column_gradients(of_x.data());
    if (with_columns) tile.add_column_gradients(of_y.data());
  });
  finish(true, of_x.data(), x.padded_rows);
  if (with_columns) finish(false, of_y.data(), y.padded_rows);
}

}  // namespace dssl::nt_xent
