// The rows of one sample of the batch, and the sums over them that its loss and gradients are made of.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "directional_loss.h"
#include "dot.h"

namespace dssl::directional_loss {

constexpr int64_t kChunk = 1024;  // of each row at a time, so that all rows of a chunk stay in the first-level cache

// The graph, and the sample weights if there are any: (E,) with row_stride 0 or (E, B).
struct Graph {
  std::vector<int64_t> prediction, target;
  std::vector<double> weight;
  std::vector<double> sample_weight;
  int64_t edge_stride = 0, row_stride = 0;

  int64_t size() const { return static_cast<int64_t>(prediction.size()); }
  double weight_of(int64_t edge, int64_t row) const {
    return sample_weight.empty() ? weight[edge] : weight[edge] * sample_weight[edge * edge_stride + row * row_stride];
  }
};

// The rows of one sample in the compute type T: pointers into the inputs, or into a converted copy of half types. Their
// scales are 1 but for rows whose squares leave the range of a double.
template <class T>
struct Sample {
  std::vector<const T*> prediction, target;
  int64_t width;
  std::vector<double> p2, t2, dots;  // squares of each vector, products of each edge
  std::vector<double> p_scale, t_scale;

  Sample(size_t V, size_t W, int64_t edges, int64_t row_width)
      : prediction(V), target(W), width(row_width), p2(V), t2(W), dots(edges), p_scale(V, 1.0), t_scale(W, 1.0) {}

  void sum(const Graph& graph) {
    std::fill(p2.begin(), p2.end(), 0.0), std::fill(t2.begin(), t2.end(), 0.0);
    std::fill(dots.begin(), dots.end(), 0.0);
    for (int64_t d = 0; d < width; d += kChunk) {
      const int64_t n = std::min(kChunk, width - d);
      for (size_t i = 0; i < p2.size(); ++i) p2[i] += dot(prediction[i] + d, prediction[i] + d, n);
      for (size_t j = 0; j < t2.size(); ++j) t2[j] += dot(target[j] + d, target[j] + d, n);
      for (int64_t e = 0; e < graph.size(); ++e)
        dots[e] += dot(prediction[graph.prediction[e]] + d, target[graph.target[e]] + d, n);
    }
  }

  bool extreme() const {
    return std::any_of(p2.begin(), p2.end(), needs_rescaling) || std::any_of(t2.begin(), t2.end(), needs_rescaling);
  }

  void sum_scaled(const Graph& graph) {
    for (size_t i = 0; i < p2.size(); ++i) {
      p_scale[i] = inverse_largest(prediction[i], width);
      p2[i] = scaled_dot(prediction[i], p_scale[i], prediction[i], p_scale[i], width);
    }
    for (size_t j = 0; j < t2.size(); ++j) {
      t_scale[j] = inverse_largest(target[j], width);
      t2[j] = scaled_dot(target[j], t_scale[j], target[j], t_scale[j], width);
    }
    for (int64_t e = 0; e < graph.size(); ++e) {
      const int64_t i = graph.prediction[e], j = graph.target[e];
      dots[e] = scaled_dot(prediction[i], p_scale[i], target[j], t_scale[j], width);
    }
  }

  void reset_scales() {
    std::fill(p_scale.begin(), p_scale.end(), 1.0), std::fill(t_scale.begin(), t_scale.end(), 1.0);
  }
};

}  // namespace dssl::directional_loss
