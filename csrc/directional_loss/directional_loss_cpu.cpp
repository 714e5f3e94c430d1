// Forward reads every row once and leaves a handful of coefficients a row; backward reads the rows again and writes
// the gradient, times the upstream one. Writing it in forward would read less, but fill as much fresh memory again when
// the upstream gradient comes, and memory is what both wait for. A row is one thread's work, in a fixed order: the bits
// do not depend on the thread count.
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <optional>
#include <tuple>

#include "../common/checks.h"
#include "../common/parallel.h"
#include "../common/reduction.h"
#include "sample.h"

namespace dssl::directional_loss {
namespace {

template <class S, class T>
void set_type(Problem& problem) {
  problem.read = convert<S, T>, problem.write = convert<T, S>, problem.bytes = sizeof(S);
  problem.direct = std::is_same_v<S, T>;
}

void set_type(Problem& problem, ScalarType type) {
  switch (type) {
    case ScalarType::Float: return set_type<float, float>(problem);
    case ScalarType::Double: return set_type<double, double>(problem);
    case ScalarType::Half: return set_type<c10::Half, float>(problem);
    case ScalarType::BFloat16: return set_type<c10::BFloat16, float>(problem);
    default: refuse("directional_loss: dtype must be float32, float64, bfloat16 or float16");
  }
}

void add_views(Problem& problem, const std::vector<Tensor>& tensors, const char* name, const Tensor& like) {
  for (const Tensor& tensor : tensors) {
    check_cpu(tensor, "directional_loss", name);
    require(tensor.dim() == 2 && tensor.size(0) == like.size(0) && tensor.size(1) == like.size(1),
            "directional_loss: every one of ", name, " must have the shape of predictions[0]");
    require(tensor.scalar_type() == like.scalar_type(), "directional_loss: ", name, " must share one dtype");
    require(tensor.size(1) <= 1 || tensor.stride(1) == 1, "directional_loss: rows of ", name, " must be dense");
    problem.views.push_back({static_cast<const char*>(tensor.const_data_ptr()), tensor.stride(0) * problem.bytes});
  }
}

Problem make_problem(const std::vector<Tensor>& predictions, const std::vector<Tensor>& targets,
                     const std::vector<int64_t>& edges) {
  require(!predictions.empty(), "directional_loss: predictions must not be empty");
  Problem problem;
  set_type(problem, predictions[0].scalar_type());
  add_views(problem, predictions, "predictions", predictions[0]);
  add_views(problem, targets, "targets", predictions[0]);
  problem.predictions = static_cast<int64_t>(predictions.size());
  problem.rows = predictions[0].size(0), problem.width = predictions[0].size(1);
  const int64_t limits[] = {problem.predictions, static_cast<int64_t>(targets.size())};
  require(edges.size() % 2 == 0, "directional_loss: edges must be pairs");
  for (size_t k = 0; k < edges.size(); ++k)
    require(edges[k] >= 0 && edges[k] < limits[k % 2], "directional_loss: edge ", k / 2,
            " names a view that is not there");
  problem.edges = edges;
  return problem;
}

// The weight of every edge in row `row`: the graph's, times `weights`, (E,) or (E, B), if there are any.
struct Weights {
  const std::vector<double>& of_edges;
  const double* data = nullptr;
  int64_t edge_stride = 0, row_stride = 0;

  Weights(const std::vector<double>& edge_weights, const std::optional<Tensor>& weights, const Problem& problem)
      : of_edges(edge_weights) {
    const int64_t edges = problem.edge_count();
    require(static_cast<int64_t>(of_edges.size()) == edges, "directional_loss: edges and edge_weights do not match");
    if (!weights.has_value()) return;
    const bool per_row = weights->dim() == 2;
    check_dense(*weights, "directional_loss", "weights", ScalarType::Double, per_row ? 2 : 1);
    require(weights->size(0) == edges && (!per_row || weights->size(1) == problem.rows),
            "directional_loss: weights must be (E,) or (E, B)");
    data = weights->const_data_ptr<double>();
    edge_stride = per_row ? problem.rows : 1, row_stride = per_row ? 1 : 0;
  }

  std::vector<double> at(int64_t row) const {
    std::vector<double> weights = of_edges;
    for (size_t e = 0; data && e < weights.size(); ++e) weights[e] *= data[e * edge_stride + row * row_stride];
    return weights;
  }
};

// f(sample, row) for every row, with the computing type of `type`. About 128 KiB a task at least: less is not worth
// waking a thread for.
template <class T, class F>
void for_rows_as(const Problem& problem, const F& f) {
  const int64_t entries = problem.width * problem.view_count();
  parallel_for(0, problem.rows, 1 + 32768 / std::max<int64_t>(1, entries), [&](int64_t begin, int64_t end) {
    Sample<T> sample(problem);
    for (int64_t row = begin; row < end; ++row) f(sample, row);
  });
}

template <class F>
void for_rows(const Problem& problem, ScalarType type, const F& f) {
  type == ScalarType::Double ? for_rows_as<double>(problem, f) : for_rows_as<float>(problem, f);
}

std::tuple<Tensor, Tensor> directional_loss_cpu(std::vector<Tensor> predictions, std::vector<Tensor> targets,
                                                std::vector<int64_t> edges, std::vector<double> edge_weights,
                                                std::optional<Tensor> weights, int64_t reduction) {
  const Problem problem = make_problem(predictions, targets, edges);
  factor_of("directional_loss", reduction, problem.rows);  // refuses what is no reduction
  const Weights weight(edge_weights, weights, problem);
  const int64_t count = problem.coefficients();
  Tensor coefficients = torch::stable::empty({problem.rows, count}, ScalarType::Double);
  double* data = coefficients.mutable_data_ptr<double>();
  std::vector<double> losses(problem.rows);
  for_rows(problem, predictions[0].scalar_type(), [&](auto& sample, int64_t row) {
    losses[row] = sample.loss(row, weight.at(row).data(), data + row * count);
  });
  return {reduced(losses, reduction, predictions[0].scalar_type() == ScalarType::Double), coefficients};
}

// Gradients of the predictions, (V, B, D), for an upstream gradient (B,), or a scalar that all rows share.
Tensor directional_loss_backward_cpu(std::vector<Tensor> predictions, std::vector<Tensor> targets, Tensor coefficients,
                                     Tensor upstream, std::vector<int64_t> edges, int64_t reduction) {
  const Problem problem = make_problem(predictions, targets, edges);
  const int64_t count = problem.coefficients(), stride = problem.rows * problem.width * problem.bytes;
  check_dense(coefficients, "directional_loss_backward", "coefficients", ScalarType::Double, 2);
  require(coefficients.size(0) == problem.rows && coefficients.size(1) == count,
          "directional_loss_backward: coefficients must be (B, ", count, ")");
  check_dense(upstream, "directional_loss_backward", "upstream", ScalarType::Double, upstream.dim() == 0 ? 0 : 1);
  const int64_t per_row = upstream.dim();
  require(per_row == 0 || upstream.size(0) == problem.rows,
          "directional_loss_backward: upstream must be a scalar or (B,)");
  Tensor out = torch::stable::empty({problem.predictions, problem.rows, problem.width}, predictions[0].scalar_type());
  char* to = static_cast<char*>(out.mutable_data_ptr());
  const double *of_rows = coefficients.const_data_ptr<double>(), *by = upstream.const_data_ptr<double>();
  const double factor = factor_of("directional_loss_backward", reduction, problem.rows);
  for_rows(problem, out.scalar_type(), [&](auto& sample, int64_t row) {
    sample.differentiate(row, of_rows + row * count, factor * by[row * per_row],
                         to + row * problem.width * problem.bytes, stride);
  });
  return out;
}

}  // namespace
}  // namespace dssl::directional_loss

STABLE_TORCH_LIBRARY_FRAGMENT(dssl_ops, m) {
  m.def(
      "directional_loss(Tensor[] predictions, Tensor[] targets, int[] edges, float[] edge_weights, Tensor? weights, "
      "int reduction) -> (Tensor, Tensor)");
  m.def(
      "directional_loss_backward(Tensor[] predictions, Tensor[] targets, Tensor coefficients, Tensor upstream, "
      "int[] edges, int reduction) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CPU, m) {
  m.impl("directional_loss", dssl::boxed<&dssl::directional_loss::directional_loss_cpu>);
  m.impl("directional_loss_backward", dssl::boxed<&dssl::directional_loss::directional_loss_backward_cpu>);
}
