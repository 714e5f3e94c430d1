// One visit per row of the batch: its V predictions and W targets are read once, stay in cache, and give the row's
// loss and, when asked, the gradient of every prediction. A row is one thread's work and is summed in a fixed order,
// so the bits do not depend on the thread count.
#include "directional_loss.h"
#include "sample.h"

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>
#include <vector>

#include "../common/checks.h"

namespace dssl::directional_loss {
namespace {

enum Reduction { kNone, kSum, kMean };

template <class G, class T>
void write_gradient(G* out, const Sample<T>& sample, const Graph& graph, const std::vector<Edge>& edges, int64_t i) {
  double own = 0;
  for (int64_t e = 0; e < graph.size(); ++e)
    if (graph.prediction[e] == i) own += edges[e].prediction_scale;
  constexpr int64_t kBlock = 256;  // a block of the gradient stays in registers and first-level cache
  for (int64_t start = 0; start < sample.width; start += kBlock) {
    const int64_t n = std::min(kBlock, sample.width - start);
    double block[kBlock];
    for (int64_t d = 0; d < n; ++d) block[d] = own * (sample.p_scale[i] * sample.prediction[i][start + d]);
    for (int64_t e = 0; e < graph.size(); ++e) {
      if (graph.prediction[e] != i) continue;
      const int64_t j = graph.target[e];
      const double scale = edges[e].target_scale;
      for (int64_t d = 0; d < n; ++d) block[d] += scale * (sample.t_scale[j] * sample.target[j][start + d]);
    }
    for (int64_t d = 0; d < n; ++d) out[start + d] = static_cast<G>(static_cast<T>(block[d]));
  }
}

template <class S, class G>
struct Problem {
  std::vector<const S*> predictions, targets;
  std::vector<int64_t> prediction_strides, target_strides;
  std::vector<G*> gradients;  // empty when none is asked for
  int64_t rows, width;
  Graph graph;
};

// Row pointers; half types are widened to float once, into `copy`.
template <class S, class T>
void gather(std::vector<const T*>& out, const std::vector<const S*>& base, const std::vector<int64_t>& strides,
            int64_t row, int64_t width, T* copy) {
  for (size_t i = 0; i < base.size(); ++i) {
    const S* from = base[i] + row * strides[i];
    if constexpr (std::is_same_v<S, T>) {
      out[i] = from;
    } else {
      T* to = copy + i * width;
      for (int64_t d = 0; d < width; ++d) to[d] = static_cast<T>(from[d]);
      out[i] = to;
    }
  }
}

template <class T, class S, class G>
void run_rows(const Problem<S, G>& problem, int64_t begin, int64_t end, double* losses) {
  const Graph& graph = problem.graph;
  const size_t V = problem.predictions.size(), W = problem.targets.size();
  Sample<T> sample(V, W, graph.size(), problem.width);
  std::vector<T> copy(std::is_same_v<S, T> ? 0 : (V + W) * problem.width);
  std::vector<Edge> edges;
  for (int64_t row = begin; row < end; ++row) {
    gather(sample.prediction, problem.predictions, problem.prediction_strides, row, problem.width, copy.data());
    gather(sample.target, problem.targets, problem.target_strides, row, problem.width, copy.data() + V * problem.width);
    sample.sum(graph);
    const bool extreme = sample.extreme();
    if (extreme) sample.sum_scaled(graph);
    edges.clear();
    losses[row] = 0;
    for (int64_t e = 0; e < graph.size(); ++e) {
      const int64_t i = graph.prediction[e], j = graph.target[e];
      edges.emplace_back(graph.weight_of(e, row), sample.dots[e], inverse_norm(sample.p2[i]),
                         inverse_norm(sample.t2[j]), sample.p_scale[i]);
      losses[row] += edges.back().loss();
    }
    for (size_t i = 0; i < problem.gradients.size(); ++i)
      write_gradient(problem.gradients[i] + row * problem.width, sample, graph, edges, static_cast<int64_t>(i));
    if (extreme) sample.reset_scales();
  }
}

int64_t rows_per_task(int64_t width, size_t vectors) {
  return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, width * static_cast<int64_t>(vectors)));
}

void check_rows(const std::vector<Tensor>& tensors, const char* name, const Tensor& like) {
  for (const Tensor& tensor : tensors) {
    check_cpu(tensor, "directional_loss", name);
    require(tensor.dim() == 2 && tensor.size(0) == like.size(0) && tensor.size(1) == like.size(1),
            "directional_loss: every one of ", name, " must have the shape of predictions[0]");
    require(tensor.scalar_type() == like.scalar_type(), "directional_loss: ", name, " must share one dtype");
    require(tensor.size(1) <= 1 || tensor.stride(1) == 1, "directional_loss: rows of ", name, " must be dense");
  }
}

Graph make_graph(const std::vector<int64_t>& edges, const std::vector<double>& edge_weights,
                 const std::optional<Tensor>& weights, int64_t V, int64_t W, int64_t rows) {
  Graph graph;
  require(edges.size() == 2 * edge_weights.size(), "directional_loss: edges and edge_weights do not match");
  for (size_t e = 0; e < edge_weights.size(); ++e) {
    require(edges[2 * e] >= 0 && edges[2 * e] < V && edges[2 * e + 1] >= 0 && edges[2 * e + 1] < W,
            "directional_loss: edge ", e, " names a view that is not there");
    graph.prediction.push_back(edges[2 * e]);
    graph.target.push_back(edges[2 * e + 1]);
  }
  graph.weight = edge_weights;
  if (!weights.has_value()) return graph;
  const bool per_row = weights->dim() == 2;
  check_dense(*weights, "directional_loss", "weights", ScalarType::Double, per_row ? 2 : 1);
  require(weights->size(0) == graph.size() && (!per_row || weights->size(1) == rows),
          "directional_loss: weights must be (E,) or (E, B)");
  const double* data = weights->const_data_ptr<double>();
  graph.sample_weight.assign(data, data + weights->numel());
  graph.edge_stride = per_row ? rows : 1;
  graph.row_stride = per_row ? 1 : 0;
  return graph;
}

Tensor reduce(const std::vector<double>& losses, int64_t reduction, ScalarType dtype) {
  const int64_t rows = static_cast<int64_t>(losses.size());
  std::vector<double> total(1, std::accumulate(losses.begin(), losses.end(), 0.0));
  if (reduction == kMean) total[0] /= std::max<int64_t>(1, rows);
  const std::vector<double>& values = reduction == kNone ? losses : total;
  std::vector<int64_t> shape;
  if (reduction == kNone) shape.push_back(rows);
  Tensor out = torch::stable::empty(shape, dtype);
  for (size_t b = 0; b < values.size(); ++b) {
    if (dtype == ScalarType::Double)
      out.mutable_data_ptr<double>()[b] = values[b];
    else
      out.mutable_data_ptr<float>()[b] = static_cast<float>(values[b]);
  }
  return out;
}

// S: the inputs' type, T: what they are widened to, G: what gradients are kept in. Those of float16 are kept in
// float32, or small ones would vanish before an upstream loss scale reaches them.
template <class S, class T, class G>
std::tuple<Tensor, std::vector<Tensor>> run(const std::vector<Tensor>& predictions, const std::vector<Tensor>& targets,
                                            Graph graph, int64_t reduction, bool with_gradient) {
  Problem<S, G> problem;
  problem.rows = predictions[0].size(0), problem.width = predictions[0].size(1), problem.graph = std::move(graph);
  const ScalarType wide = std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float;
  const ScalarType kept = std::is_same_v<G, S> ? predictions[0].scalar_type() : wide;
  std::vector<Tensor> gradients;
  for (const Tensor& p : predictions) {
    problem.predictions.push_back(p.const_data_ptr<S>());
    problem.prediction_strides.push_back(p.stride(0));
    if (!with_gradient) continue;
    gradients.push_back(torch::stable::empty({problem.rows, problem.width}, kept));
    problem.gradients.push_back(gradients.back().template mutable_data_ptr<G>());
  }
  for (const Tensor& t : targets) {
    problem.targets.push_back(t.const_data_ptr<S>());
    problem.target_strides.push_back(t.stride(0));
  }
  std::vector<double> losses(problem.rows);
  torch::stable::parallel_for(0, problem.rows, rows_per_task(problem.width, predictions.size() + targets.size()),
                              [&](int64_t begin, int64_t end) { run_rows<T>(problem, begin, end, losses.data()); });
  return {reduce(losses, reduction, wide), gradients};
}

std::tuple<Tensor, std::vector<Tensor>> directional_loss_cpu(std::vector<Tensor> predictions,
                                                             std::vector<Tensor> targets, std::vector<int64_t> edges,
                                                             std::vector<double> edge_weights,
                                                             std::optional<Tensor> weights, int64_t reduction,
                                                             bool with_gradient) {
  require(!predictions.empty(), "directional_loss: predictions must not be empty");
  require(reduction >= kNone && reduction <= kMean, "directional_loss: reduction must be 0, 1 or 2; got ", reduction);
  check_rows(predictions, "predictions", predictions[0]);
  check_rows(targets, "targets", predictions[0]);
  Graph graph = make_graph(edges, edge_weights, weights, static_cast<int64_t>(predictions.size()),
                           static_cast<int64_t>(targets.size()), predictions[0].size(0));
  using c10::BFloat16, c10::Half;
  switch (predictions[0].scalar_type()) {
    case ScalarType::Float: return run<float, float, float>(predictions, targets, graph, reduction, with_gradient);
    case ScalarType::Double: return run<double, double, double>(predictions, targets, graph, reduction, with_gradient);
    case ScalarType::Half: return run<Half, float, float>(predictions, targets, graph, reduction, with_gradient);
    case ScalarType::BFloat16:
      return run<BFloat16, float, BFloat16>(predictions, targets, graph, reduction, with_gradient);
    default: refuse("directional_loss: dtype must be float32, float64, bfloat16 or float16");
  }
}

// Chain rule: the gradients of the row sums times the upstream gradient, (B,) or a scalar, times `factor`, in S.
template <class G, class S, class U>
std::vector<Tensor> scale(const std::vector<Tensor>& gradients, const Tensor& upstream, double factor,
                          ScalarType dtype) {
  const U* up = upstream.const_data_ptr<U>();
  const int64_t per_row = upstream.dim() == 1;
  std::vector<Tensor> out;
  for (const Tensor& gradient : gradients) {
    out.push_back(torch::stable::empty({gradient.size(0), gradient.size(1)}, dtype));
    const G* from = gradient.const_data_ptr<G>();
    S* to = out.back().template mutable_data_ptr<S>();
    const int64_t width = gradient.size(1);
    torch::stable::parallel_for(0, gradient.size(0), rows_per_task(width, 2), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const U by = static_cast<U>(factor * up[row * per_row]);
        for (int64_t d = row * width; d < (row + 1) * width; ++d) to[d] = static_cast<S>(static_cast<U>(from[d]) * by);
      }
    });
  }
  return out;
}

std::vector<Tensor> directional_loss_backward_cpu(std::vector<Tensor> gradients, Tensor upstream, double factor,
                                                  bool to_half) {
  require(!gradients.empty(), "directional_loss_backward: gradients must not be empty");
  for (const Tensor& gradient : gradients) {
    check_dense(gradient, "directional_loss_backward", "gradients", gradients[0].scalar_type(), 2);
    require(upstream.dim() == 0 || upstream.size(0) == gradient.size(0),
            "directional_loss_backward: upstream must be a scalar or (B,)");
  }
  const ScalarType kept = gradients[0].scalar_type();
  check_dense(upstream, "directional_loss_backward", "upstream",
              kept == ScalarType::Double ? ScalarType::Double : ScalarType::Float, upstream.dim() == 0 ? 0 : 1);
  using c10::BFloat16, c10::Half;
  if (kept == ScalarType::Double) return scale<double, double, double>(gradients, upstream, factor, kept);
  if (kept == ScalarType::BFloat16) return scale<BFloat16, BFloat16, float>(gradients, upstream, factor, kept);
  require(kept == ScalarType::Float, "directional_loss_backward: gradients must be float32, float64 or bfloat16");
  if (to_half) return scale<float, Half, float>(gradients, upstream, factor, ScalarType::Half);
  return scale<float, float, float>(gradients, upstream, factor, kept);
}

}  // namespace
}  // namespace dssl::directional_loss

STABLE_TORCH_LIBRARY_FRAGMENT(dssl_ops, m) {
  m.def(
      "directional_loss(Tensor[] predictions, Tensor[] targets, int[] edges, float[] edge_weights, Tensor? weights, "
      "int reduction, bool with_gradient) -> (Tensor, Tensor[])");
  m.def("directional_loss_backward(Tensor[] gradients, Tensor upstream, float factor, bool to_half) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CPU, m) {
  m.impl("directional_loss", TORCH_BOX(&dssl::directional_loss::directional_loss_cpu));
  m.impl("directional_loss_backward", TORCH_BOX(&dssl::directional_loss::directional_loss_backward_cpu));
}
