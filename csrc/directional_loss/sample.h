// One sample of the batch: the rows of its V predictions and W targets, a chunk at a time; the sums over them that its
// loss is made of, and its gradients. Arithmetic is in double whatever the input: the gradient of a cosine near 1 is a
// small difference of large terms, and the loops wait for memory anyway.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "directional_loss.h"

namespace dssl::directional_loss {

// Entries of each row at a time. Rows often lie a multiple of 4 KiB apart, all in the same few sets of the first-level
// cache: more would push each other out.
constexpr int64_t kChunk = 128;

using Convert = void (*)(const void* from, int64_t count, void* to);

template <class From, class To>
void convert(const void* from, int64_t count, void* to) {
  for (int64_t d = 0; d < count; ++d) static_cast<To*>(to)[d] = static_cast<To>(static_cast<const From*>(from)[d]);
}

// What the rows have in common: the views (V predictions, then W targets), the graph over them, and how entries are
// read into and written from the type that is computed with, float or double.
struct Problem {
  struct View {
    const char* data;
    int64_t stride;  // bytes from row to row
  };
  std::vector<View> views;
  int64_t predictions, rows, width;
  std::vector<int64_t> edges;  // (prediction, target) pairs, targets counted from 0
  Convert read, write;
  int64_t bytes;  // of an entry
  bool direct;    // entries are of the computing type already

  int64_t view_count() const { return static_cast<int64_t>(views.size()); }
  int64_t edge_count() const { return static_cast<int64_t>(edges.size()) / 2; }
  int64_t prediction(int64_t e) const { return edges[2 * e]; }
  int64_t target(int64_t e) const { return predictions + edges[2 * e + 1]; }  // among the views
  // What forward leaves of a row for its gradient: the scale of every view, Edge::of_prediction summed over the edges
  // of every prediction, and Edge::of_target of every edge.
  int64_t coefficients() const { return view_count() + predictions + edge_count(); }
};

typedef double Lanes __attribute__((vector_size(64)));  // the compiler lowers it to what the machine has

template <class T>
struct Narrow {
  typedef T Type __attribute__((vector_size(8 * sizeof(T))));
};

template <class T>
Lanes load(const T* from) {
  typename Narrow<T>::Type lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return __builtin_convertvector(lanes, Lanes);
}

template <class T>
void store(T* to, const Lanes& value) {
  const auto lanes = __builtin_convertvector(value, typename Narrow<T>::Type);
  std::memcpy(to, &lanes, sizeof lanes);
}

template <class T>
void add_products(Lanes& sum, const T* a, const T* b) {
  for (int64_t d = 0; d < kChunk; d += 8) sum += load(a + d) * load(b + d);
}

inline double total(const Lanes& x) { return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7])); }

template <class T>
class Sample {
 public:
  explicit Sample(const Problem& problem)
      : of_(problem),
        chunks_(problem.view_count()),
        copies_(problem.view_count() * kChunk),
        squares_(problem.view_count()),
        dots_(problem.edge_count()) {}

  // The loss of a row with these edge weights; fills in the row's coefficients.
  double loss(int64_t row, const double* weights, double* coefficients) {
    double *scales = coefficients, *of_prediction = scales + of_.view_count();
    double* of_target = of_prediction + of_.predictions;
    sum_up(row, scales);
    std::fill_n(of_prediction, of_.predictions, 0.0);
    double loss = 0;
    for (int64_t e = 0; e < of_.edge_count(); ++e) {
      const int64_t i = of_.prediction(e), j = of_.target(e);
      const Edge edge(weights[e], total(dots_[e]), inverse_norm(total(squares_[i])), inverse_norm(total(squares_[j])),
                      scales[i]);
      of_prediction[i] += edge.of_prediction, of_target[e] = edge.of_target;
      loss += edge.loss();
    }
    return loss;
  }

  // Writes the gradients of a row, that of prediction i at out + i * stride.
  void differentiate(int64_t row, const double* coefficients, double upstream, char* out, int64_t stride) {
    T copy[kChunk];
    for (int64_t first = 0; first < of_.width; first += kChunk) {
      const int64_t n = read(row, first, coefficients);
      for (int64_t i = 0; i < of_.predictions; ++i) {
        char* to = out + i * stride + first * of_.bytes;
        const bool direct = of_.direct && n == kChunk;
        differentiate_chunk(i, coefficients + of_.view_count(), upstream, direct ? reinterpret_cast<T*>(to) : copy);
        if (!direct) of_.write(copy, n, to);
      }
    }
  }

 private:
  // A chunk of every row, scaled, with zeros behind the end of the row; returns how many entries there were.
  int64_t read(int64_t row, int64_t first, const double* scales) {
    const int64_t n = std::min(kChunk, of_.width - first);
    for (int64_t view = 0; view < of_.view_count(); ++view) {
      const char* from = of_.views[view].data + row * of_.views[view].stride + first * of_.bytes;
      const bool direct = of_.direct && n == kChunk && scales[view] == 1;
      chunks_[view] = direct ? reinterpret_cast<const T*>(from) : copy(view, from, n, scales[view]);
    }
    return n;
  }

  const T* copy(int64_t view, const char* from, int64_t n, double scale) {
    T* to = &copies_[view * kChunk];
    of_.read(from, n, to);
    std::fill(to + n, to + kChunk, T(0));
    if (scale != 1)
      for (int64_t d = 0; d < n; ++d) to[d] *= scale;
    return to;
  }

  void sum_up(int64_t row, double* scales) {
    std::fill_n(scales, of_.view_count(), 1.0);
    add_all(row, scales);
    if (std::none_of(squares_.begin(), squares_.end(), [](const Lanes& x) { return needs_rescaling(total(x)); }))
      return;
    find_scales(row, scales);
    add_all(row, scales);
  }

  void add_all(int64_t row, const double* scales) {
    std::fill(squares_.begin(), squares_.end(), Lanes{}), std::fill(dots_.begin(), dots_.end(), Lanes{});
    for (int64_t first = 0; first < of_.width; first += kChunk) {
      read(row, first, scales);
      for (int64_t view = 0; view < of_.view_count(); ++view)
        add_products(squares_[view], chunks_[view], chunks_[view]);
      for (int64_t e = 0; e < of_.edge_count(); ++e)
        add_products(dots_[e], chunks_[of_.prediction(e)], chunks_[of_.target(e)]);
    }
  }

  // 1 / the largest entry of every row, or 1 for a zero row; the scales are 1 before. Finite, though the inverse of a
  // subnormal number is not.
  void find_scales(int64_t row, double* scales) {
    std::vector<double> largest(of_.view_count());
    for (int64_t first = 0; first < of_.width; first += kChunk) {
      read(row, first, scales);
      for (int64_t view = 0; view < of_.view_count(); ++view)
        for (int64_t d = 0; d < kChunk; ++d)
          largest[view] = std::max<double>(largest[view], std::fabs(chunks_[view][d]));
    }
    for (int64_t view = 0; view < of_.view_count(); ++view)
      if (largest[view] > 0) scales[view] = std::min(1 / largest[view], std::numeric_limits<double>::max());
  }

  void differentiate_chunk(int64_t i, const double* of_prediction, double upstream, T* to) const {
    const double* of_target = of_prediction + of_.predictions;
    Lanes gradient[kChunk / 8];
    for (int64_t k = 0; k < kChunk / 8; ++k) gradient[k] = upstream * of_prediction[i] * load(chunks_[i] + 8 * k);
    for (int64_t e = 0; e < of_.edge_count(); ++e) {
      if (of_.prediction(e) != i) continue;
      const T* target = chunks_[of_.target(e)];
      for (int64_t k = 0; k < kChunk / 8; ++k) gradient[k] += upstream * of_target[e] * load(target + 8 * k);
    }
    for (int64_t k = 0; k < kChunk / 8; ++k) store(to + 8 * k, gradient[k]);
  }

  const Problem& of_;
  std::vector<const T*> chunks_;
  std::vector<T> copies_;
  std::vector<Lanes> squares_, dots_;  // of each view, of each edge
};

}  // namespace dssl::directional_loss
