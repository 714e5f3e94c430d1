// Checks, allocates and starts; see directional_loss_cuda.cu.
#include "directional_loss_cuda.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "../common/checks_cuda.h"
#include "../common/reduction.h"

namespace dssl::directional_loss {
namespace {

void check_rows(const std::vector<Tensor>& tensors, const char* name, const Tensor& like) {
  for (const Tensor& tensor : tensors) {
    check_same_device(tensor, like, "directional_loss", name);
    require(tensor.dim() == 2 && tensor.size(0) == like.size(0) && tensor.size(1) == like.size(1),
            "directional_loss: every one of ", name, " must have the shape of predictions[0]");
    require(tensor.scalar_type() == like.scalar_type(), "directional_loss: ", name, " must share one dtype");
    require(tensor.size(1) <= 1 || tensor.stride(1) == 1, "directional_loss: rows of ", name, " must be dense");
  }
}

// What forward and backward have in common.
struct Problem {
  std::vector<const void*> rows;  // of predictions, then of targets
  std::vector<int64_t> strides;
  int64_t V, W, E, batch, width;

  Problem(const std::vector<Tensor>& predictions, const std::vector<Tensor>& targets, const std::vector<int64_t>& edges)
      : V(static_cast<int64_t>(predictions.size())),
        W(static_cast<int64_t>(targets.size())),
        E(static_cast<int64_t>(edges.size()) / 2) {
    require(!predictions.empty() && predictions[0].dim() == 2, "directional_loss: predictions must be (B, D) tensors");
    batch = predictions[0].size(0), width = predictions[0].size(1);
    check_rows(predictions, "predictions", predictions[0]);
    check_rows(targets, "targets", predictions[0]);
    require(edges.size() % 2 == 0, "directional_loss: edges must be pairs");
    for (int64_t e = 0; e < E; ++e)
      require(edges[2 * e] >= 0 && edges[2 * e] < V && edges[2 * e + 1] >= 0 && edges[2 * e + 1] < W,
              "directional_loss: edge ", e, " names a view that is not there");
    for (const auto* views : {&predictions, &targets})
      for (const Tensor& view : *views) rows.push_back(view.const_data_ptr()), strides.push_back(view.stride(0));
  }

  int64_t coefficient_count() const { return 2 * V + W + E; }

  Inputs inputs(const std::vector<int64_t>& edges, const Tensor& like, const Tensor& coefficients,
                const Tensor& table) const {
    Inputs of = {};
    of.rows = rows.data(), of.strides = strides.data(), of.V = V, of.W = W;
    of.edges = edges.data(), of.E = E;
    of.batch = batch, of.width = width, of.dtype = dtype_of(like, "directional_loss");
    of.coefficients = static_cast<double*>(coefficients.mutable_data_ptr()), of.table = table.mutable_data_ptr();
    return of;
  }
};

const double* data_of(const std::optional<Tensor>& weights, const Problem& of, const Tensor& like) {
  if (!weights.has_value()) return nullptr;
  check_same_device(*weights, like, "directional_loss", "weights");
  require(weights->scalar_type() == ScalarType::Double && weights->is_contiguous(),
          "directional_loss: weights must be float64, contiguous");
  require((weights->dim() == 1 || weights->dim() == 2) && weights->size(0) == of.E &&
              (weights->dim() == 1 || weights->size(1) == of.batch),
          "directional_loss: weights must be (E,) or (E, B)");
  return weights->const_data_ptr<double>();
}

std::tuple<Tensor, Tensor> directional_loss_cuda(std::vector<Tensor> predictions, std::vector<Tensor> targets,
                                                 std::vector<int64_t> edges, std::vector<double> edge_weights,
                                                 std::optional<Tensor> weights, int64_t reduction) {
  const Problem of(predictions, targets, edges);
  require(static_cast<int64_t>(edge_weights.size()) == of.E, "directional_loss: edges and edge_weights do not match");
  const Tensor& like = predictions[0];
  const double* weight_data = data_of(weights, of, like);
  const bool per_row = reduction == kNone, per_sample = weights.has_value() && weights->dim() == 2;
  const DeviceGuard guard(like.get_device());
  const auto empty = [&](const std::vector<int64_t>& shape, ScalarType dtype) {
    return torch::stable::new_empty(like, shape, dtype);
  };
  Tensor loss = empty(std::vector<int64_t>(per_row ? 1 : 0, of.batch),
                      like.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float);
  Tensor coefficients = empty({of.batch, of.coefficient_count()}, ScalarType::Double);
  Tensor sums = empty({per_row ? 0 : of.batch}, ScalarType::Double);
  Tensor table = empty({table_bytes(of.V, of.W, of.E)}, ScalarType::Byte);
  Inputs inputs = of.inputs(edges, like, coefficients, table);
  inputs.edge_weights = edge_weights.data(), inputs.weights = weight_data;
  inputs.edge_stride = per_sample ? of.batch : 1, inputs.row_stride = per_sample;
  directional_loss_launch(inputs, sums.mutable_data_ptr<double>(), loss.mutable_data_ptr(), per_row,
                          factor_of("directional_loss", reduction, of.batch), current_stream(like));
  return {loss, coefficients};
}

Tensor directional_loss_backward_cuda(std::vector<Tensor> predictions, std::vector<Tensor> targets, Tensor coefficients,
                                      Tensor upstream, std::vector<int64_t> edges, int64_t reduction) {
  const Problem of(predictions, targets, edges);
  const Tensor& like = predictions[0];
  for (const auto& [tensor, name] : {std::pair(&coefficients, "coefficients"), std::pair(&upstream, "upstream")}) {
    check_same_device(*tensor, like, "directional_loss_backward", name);
    require(tensor->scalar_type() == ScalarType::Double && tensor->is_contiguous(), "directional_loss_backward: ", name,
            " must be float64, contiguous");
  }
  require(coefficients.dim() == 2 && coefficients.size(0) == of.batch && coefficients.size(1) == of.coefficient_count(),
          "directional_loss_backward: coefficients must be (B, ", of.coefficient_count(), ")");
  require(upstream.dim() == 0 || (upstream.dim() == 1 && upstream.size(0) == of.batch),
          "directional_loss_backward: upstream must be a scalar or (B,)");
  const DeviceGuard guard(like.get_device());
  Tensor out = torch::stable::new_empty(like, {of.V, of.batch, of.width}, like.scalar_type());
  Tensor table = torch::stable::new_empty(like, {table_bytes(of.V, of.W, of.E)}, ScalarType::Byte);
  directional_loss_backward_launch(of.inputs(edges, like, coefficients, table), upstream.const_data_ptr<double>(),
                                   upstream.dim() == 1, factor_of("directional_loss_backward", reduction, of.batch),
                                   out.mutable_data_ptr(), current_stream(like));
  return out;
}

}  // namespace
}  // namespace dssl::directional_loss

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CUDA, m) {
  m.impl("directional_loss", dssl::boxed<&dssl::directional_loss::directional_loss_cuda>);
  m.impl("directional_loss_backward", dssl::boxed<&dssl::directional_loss::directional_loss_backward_cuda>);
}
