// What the kernels need to know of a graph and its tensors. It travels in the kernel's arguments, or lies in device
// memory where it is too large for them.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "../common/store.cuh"
#include "directional_loss_cuda.h"

namespace dssl::directional_loss {

constexpr int kViews = 32, kEdges = 64;  // of a graph that travels in the kernel's arguments

struct View {
  const void* data;
  int64_t stride;
  int32_t first_edge, last_edge;  // of a prediction
};

struct GraphEdge {
  double weight;
  int32_t prediction, target, number;  // views, and its place in the caller's list
};

struct Plan {
  View own_views[kViews];
  GraphEdge own_edges[kEdges];
  const View* table_views;  // in device memory where the arrays are too short
  const GraphEdge* table_edges;
  int32_t predictions, views, edges;
  int64_t batch, width;
  const double* weights;
  int64_t edge_stride, row_stride;
  double* coefficients;  // (batch, coefficient_count)
  bool cached;

  DSSL_HD int64_t coefficient_count() const { return int64_t{views} + predictions + edges; }
  __device__ View view(int k) const { return table_views ? table_views[k] : own_views[k]; }
  __device__ GraphEdge edge(int e) const { return table_edges ? table_edges[e] : own_edges[e]; }
  __device__ double weight(const GraphEdge& of, int64_t row) const {
    return weights ? of.weight * weights[of.number * edge_stride + row * row_stride] : of.weight;
  }
};

static_assert(sizeof(View) == 24 && sizeof(GraphEdge) == 24);  // as table_bytes has it

// Edges in the order of their predictions, so that each view's stand together.
inline void lay_out(const Inputs& from, std::vector<View>& views, std::vector<GraphEdge>& edges) {
  std::vector<int32_t> order(from.E);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return from.edges[2 * a] < from.edges[2 * b]; });
  for (int64_t k = 0; k < from.V + from.W; ++k) views.push_back({from.rows[k], from.strides[k], 0, 0});
  for (const int32_t e : order) {
    const int32_t i = static_cast<int32_t>(from.edges[2 * e]), j = static_cast<int32_t>(from.edges[2 * e + 1]);
    const int32_t at = static_cast<int32_t>(edges.size());
    if (views[i].last_edge == 0) views[i].first_edge = at;
    views[i].last_edge = at + 1;
    edges.push_back({from.edge_weights ? from.edge_weights[e] : 0.0, i, static_cast<int32_t>(from.V) + j, e});
  }
}

inline Plan make_plan(const Inputs& from, cudaStream_t stream) {
  std::vector<View> views;
  std::vector<GraphEdge> edges;
  lay_out(from, views, edges);
  Plan plan = {};
  if (from.V + from.W <= kViews && from.E <= kEdges) {
    std::copy(views.begin(), views.end(), plan.own_views);
    std::copy(edges.begin(), edges.end(), plan.own_edges);
  } else {
    View* table = static_cast<View*>(from.table);
    GraphEdge* edge_table = reinterpret_cast<GraphEdge*>(table + views.size());
    store(views.data(), static_cast<int64_t>(views.size() * sizeof(View)), table, stream);
    store(edges.data(), static_cast<int64_t>(edges.size() * sizeof(GraphEdge)), edge_table, stream);
    plan.table_views = table, plan.table_edges = edge_table;
  }
  plan.predictions = static_cast<int32_t>(from.V), plan.views = static_cast<int32_t>(from.V + from.W);
  plan.edges = static_cast<int32_t>(from.E);
  plan.batch = from.batch, plan.width = from.width;
  plan.coefficients = from.coefficients;
  plan.weights = from.weights, plan.edge_stride = from.edge_stride, plan.row_stride = from.row_stride;
  return plan;
}

}  // namespace dssl::directional_loss
