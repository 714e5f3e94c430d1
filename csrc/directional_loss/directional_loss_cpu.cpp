// One visit per row of the batch: its V predictions and W targets are read once, stay in cache, and give the row's
// loss and, when asked, the gradient of every prediction. A row is one thread's work and is summed in a fixed order,
// so the bits do not depend on the thread count.
#include "directional_loss.h"
#include "dot.h"

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

constexpr int kChunk = 1024;  // elements summed in the compute type before they join a double: bounds the error
enum Reduction { kNone, kSum, kMean };

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

// The rows of one sample in the compute type T: pointers into the inputs, or into a converted copy of half types.
template <class T>
struct Sample {
  std::vector<const T*> prediction, target;
  int64_t width;

  // Sums over the row: squares of each vector, products of each edge. `exact` takes double for every product.
  void sums(const Graph& graph, bool exact, std::vector<double>& p2, std::vector<double>& t2,
            std::vector<double>& dots) const {
    const auto product = exact ? exact_dot<T> : dot<T>;
    std::fill(p2.begin(), p2.end(), 0.0), std::fill(t2.begin(), t2.end(), 0.0),
        std::fill(dots.begin(), dots.end(), 0.0);
    for (int64_t d = 0; d < width; d += kChunk) {
      const int64_t n = std::min<int64_t>(kChunk, width - d);
      for (size_t i = 0; i < p2.size(); ++i) p2[i] += product(prediction[i] + d, prediction[i] + d, n);
      for (size_t j = 0; j < t2.size(); ++j) t2[j] += product(target[j] + d, target[j] + d, n);
      for (int64_t e = 0; e < graph.size(); ++e)
        dots[e] += product(prediction[graph.prediction[e]] + d, target[graph.target[e]] + d, n);
    }
  }
};

template <class S, class T, class C>
void write_gradient(S* out, const Sample<T>& sample, const Graph& graph, const std::vector<Edge>& edges, int64_t i,
                    double factor) {
  C own = 0;
  for (int64_t e = 0; e < graph.size(); ++e)
    if (graph.prediction[e] == i) own += static_cast<C>(factor * edges[e].prediction_scale);
  constexpr int64_t kBlock = 256;  // a block of the gradient stays in registers and first-level cache
  for (int64_t start = 0; start < sample.width; start += kBlock) {
    const int64_t n = std::min(kBlock, sample.width - start);
    C block[kBlock];
    for (int64_t d = 0; d < n; ++d) block[d] = own * static_cast<C>(sample.prediction[i][start + d]);
    for (int64_t e = 0; e < graph.size(); ++e) {
      if (graph.prediction[e] != i) continue;
      const C scale = static_cast<C>(factor * edges[e].target_scale);
      const T* target = sample.target[graph.target[e]] + start;
      for (int64_t d = 0; d < n; ++d) block[d] += scale * static_cast<C>(target[d]);
    }
    for (int64_t d = 0; d < n; ++d) out[start + d] = static_cast<S>(static_cast<T>(block[d]));
  }
}

template <class S>
struct Problem {
  std::vector<const S*> predictions, targets;
  std::vector<int64_t> prediction_strides, target_strides;
  std::vector<S*> gradients;  // empty when none is asked for
  double gradient_factor;
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

template <class S, class T>
void run_rows(const Problem<S>& problem, int64_t begin, int64_t end, double* losses) {
  const Graph& graph = problem.graph;
  const size_t V = problem.predictions.size(), W = problem.targets.size();
  Sample<T> sample{std::vector<const T*>(V), std::vector<const T*>(W), problem.width};
  std::vector<T> copy(std::is_same_v<S, T> ? 0 : (V + W) * problem.width);
  std::vector<double> p2(V), t2(W), dots(graph.size());
  std::vector<Edge> edges;
  edges.reserve(graph.size());
  for (int64_t row = begin; row < end; ++row) {
    gather(sample.prediction, problem.predictions, problem.prediction_strides, row, problem.width, copy.data());
    gather(sample.target, problem.targets, problem.target_strides, row, problem.width, copy.data() + V * problem.width);
    sample.sums(graph, false, p2, t2, dots);
    const bool extreme =
        std::any_of(p2.begin(), p2.end(), needs_rescaling) || std::any_of(t2.begin(), t2.end(), needs_rescaling);
    if (extreme) sample.sums(graph, true, p2, t2, dots);
    edges.clear();
    double loss = 0;
    for (int64_t e = 0; e < graph.size(); ++e) {
      edges.emplace_back(graph.weight_of(e, row), dots[e], inverse_norm(p2[graph.prediction[e]]),
                         inverse_norm(t2[graph.target[e]]));
      loss += edges.back().loss();
    }
    losses[row] = loss;
    for (size_t i = 0; i < problem.gradients.size(); ++i) {
      S* out = problem.gradients[i] + row * problem.width;
      if (extreme)
        write_gradient<S, T, double>(out, sample, graph, edges, i, problem.gradient_factor);
      else
        write_gradient<S, T, T>(out, sample, graph, edges, i, problem.gradient_factor);
    }
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

template <class S, class T>
std::tuple<Tensor, std::vector<Tensor>> run(const std::vector<Tensor>& predictions, const std::vector<Tensor>& targets,
                                            Graph graph, int64_t reduction, double gradient_factor,
                                            bool with_gradient) {
  Problem<S> problem;
  problem.rows = predictions[0].size(0), problem.width = predictions[0].size(1), problem.graph = std::move(graph);
  problem.gradient_factor = gradient_factor;
  std::vector<Tensor> gradients;
  for (const Tensor& p : predictions) {
    problem.predictions.push_back(p.const_data_ptr<S>());
    problem.prediction_strides.push_back(p.stride(0));
    if (!with_gradient) continue;
    gradients.push_back(torch::stable::empty({problem.rows, problem.width}, p.scalar_type()));
    problem.gradients.push_back(gradients.back().template mutable_data_ptr<S>());
  }
  for (const Tensor& t : targets) {
    problem.targets.push_back(t.const_data_ptr<S>());
    problem.target_strides.push_back(t.stride(0));
  }
  std::vector<double> losses(problem.rows);
  torch::stable::parallel_for(0, problem.rows, rows_per_task(problem.width, predictions.size() + targets.size()),
                              [&](int64_t begin, int64_t end) { run_rows<S, T>(problem, begin, end, losses.data()); });
  return {reduce(losses, reduction, std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float), gradients};
}

std::tuple<Tensor, std::vector<Tensor>> directional_loss_cpu(std::vector<Tensor> predictions,
                                                             std::vector<Tensor> targets, std::vector<int64_t> edges,
                                                             std::vector<double> edge_weights,
                                                             std::optional<Tensor> weights, int64_t reduction,
                                                             double gradient_factor, bool with_gradient) {
  require(!predictions.empty(), "directional_loss: predictions must not be empty");
  check_rows(predictions, "predictions", predictions[0]);
  check_rows(targets, "targets", predictions[0]);
  Graph graph = make_graph(edges, edge_weights, weights, static_cast<int64_t>(predictions.size()),
                           static_cast<int64_t>(targets.size()), predictions[0].size(0));
  switch (predictions[0].scalar_type()) {
    case ScalarType::Float:
      return run<float, float>(predictions, targets, graph, reduction, gradient_factor, with_gradient);
    case ScalarType::Double:
      return run<double, double>(predictions, targets, graph, reduction, gradient_factor, with_gradient);
    case ScalarType::Half:
      return run<c10::Half, float>(predictions, targets, graph, reduction, gradient_factor, with_gradient);
    case ScalarType::BFloat16:
      return run<c10::BFloat16, float>(predictions, targets, graph, reduction, gradient_factor, with_gradient);
    default: refuse("directional_loss: dtype must be float32, float64, bfloat16 or float16");
  }
}

// Chain rule: the gradients that the forward pass wrote, times the upstream gradient, (B,) or a scalar, times `factor`.
template <class S, class T, class G>
std::vector<Tensor> scale(const std::vector<Tensor>& gradients, const Tensor& upstream, double factor) {
  const G* g = upstream.const_data_ptr<G>();
  const int64_t per_row = upstream.dim() == 1;
  std::vector<Tensor> out;
  for (const Tensor& gradient : gradients) {
    out.push_back(torch::stable::empty({gradient.size(0), gradient.size(1)}, gradient.scalar_type()));
    const S* from = gradient.const_data_ptr<S>();
    S* to = out.back().template mutable_data_ptr<S>();
    const int64_t width = gradient.size(1);
    torch::stable::parallel_for(0, gradient.size(0), rows_per_task(width, 2), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T by = static_cast<T>(factor * g[row * per_row]);
        for (int64_t d = row * width; d < (row + 1) * width; ++d) to[d] = static_cast<S>(static_cast<T>(from[d]) * by);
      }
    });
  }
  return out;
}

std::vector<Tensor> directional_loss_backward_cpu(std::vector<Tensor> gradients, Tensor upstream, double factor) {
  require(!gradients.empty(), "directional_loss_backward: gradients must not be empty");
  for (const Tensor& gradient : gradients) {
    check_dense(gradient, "directional_loss_backward", "gradients", gradients[0].scalar_type(), 2);
    require(upstream.dim() == 0 || upstream.size(0) == gradient.size(0),
            "directional_loss_backward: upstream must be a scalar or (B,)");
  }
  const ScalarType dtype = gradients[0].scalar_type();
  check_dense(upstream, "directional_loss_backward", "upstream",
              dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float, upstream.dim() == 0 ? 0 : 1);
  switch (dtype) {
    case ScalarType::Float: return scale<float, float, float>(gradients, upstream, factor);
    case ScalarType::Double: return scale<double, double, double>(gradients, upstream, factor);
    case ScalarType::Half: return scale<c10::Half, float, float>(gradients, upstream, factor);
    case ScalarType::BFloat16: return scale<c10::BFloat16, float, float>(gradients, upstream, factor);
    default: refuse("directional_loss_backward: unsupported dtype");
  }
}

}  // namespace
}  // namespace dssl::directional_loss

STABLE_TORCH_LIBRARY_FRAGMENT(dssl_ops, m) {
  m.def(
      "directional_loss(Tensor[] predictions, Tensor[] targets, int[] edges, float[] edge_weights, Tensor? weights, "
      "int reduction, float gradient_factor, bool with_gradient) -> (Tensor, Tensor[])");
  m.def("directional_loss_backward(Tensor[] gradients, Tensor upstream, float factor) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CPU, m) {
  m.impl("directional_loss", TORCH_BOX(&dssl::directional_loss::directional_loss_cpu));
  m.impl("directional_loss_backward", TORCH_BOX(&dssl::directional_loss::directional_loss_backward_cpu));
}
