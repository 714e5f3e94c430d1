// Checks, allocates and starts; see directional_loss_cuda.cu.
#include "directional_loss_cuda.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "../common/checks_cuda.h"

namespace dssl::directional_loss {
namespace {

enum Reduction { kNone, kSum, kMean };

void check_rows(const std::vector<Tensor>& tensors, const char* name, const Tensor& like) {
  for (const Tensor& tensor : tensors) {
    check_same_device(tensor, like, "directional_loss", name);
    require(tensor.dim() == 2 && tensor.size(0) == like.size(0) && tensor.size(1) == like.size(1),
            "directional_loss: every one of ", name, " must have the shape of predictions[0]");
    require(tensor.scalar_type() == like.scalar_type(), "directional_loss: ", name, " must share one dtype");
    require(tensor.size(1) <= 1 || tensor.stride(1) == 1, "directional_loss: rows of ", name, " must be dense");
  }
}

void check_graph(const std::vector<int64_t>& edges, const std::vector<double>& edge_weights,
                 const std::optional<Tensor>& weights, int64_t V, int64_t W, const Tensor& like) {
  require(edges.size() == 2 * edge_weights.size(), "directional_loss: edges and edge_weights do not match");
  const int64_t E = static_cast<int64_t>(edge_weights.size());
  for (int64_t e = 0; e < E; ++e)
    require(edges[2 * e] >= 0 && edges[2 * e] < V && edges[2 * e + 1] >= 0 && edges[2 * e + 1] < W,
            "directional_loss: edge ", e, " names a view that is not there");
  if (!weights.has_value()) return;
  check_same_device(*weights, like, "directional_loss", "weights");
  require(weights->scalar_type() == ScalarType::Double && weights->is_contiguous(),
          "directional_loss: weights must be float64, contiguous");
  require((weights->dim() == 1 || weights->dim() == 2) && weights->size(0) == E &&
              (weights->dim() == 1 || weights->size(1) == like.size(0)),
          "directional_loss: weights must be (E,) or (E, B)");
}

ScalarType wide(ScalarType dtype) { return dtype == ScalarType::Double ? dtype : ScalarType::Float; }

std::tuple<Tensor, std::vector<Tensor>> directional_loss_cuda(std::vector<Tensor> predictions,
                                                              std::vector<Tensor> targets, std::vector<int64_t> edges,
                                                              std::vector<double> edge_weights,
                                                              std::optional<Tensor> weights, int64_t reduction,
                                                              bool with_gradient) {
  require(!predictions.empty() && predictions[0].dim() == 2, "directional_loss: predictions must be (B, D) tensors");
  require(reduction >= kNone && reduction <= kMean, "directional_loss: reduction must be 0, 1 or 2; got ", reduction);
  const Tensor& like = predictions[0];
  check_rows(predictions, "predictions", like);
  check_rows(targets, "targets", like);
  const int64_t V = static_cast<int64_t>(predictions.size()), W = static_cast<int64_t>(targets.size());
  check_graph(edges, edge_weights, weights, V, W, like);
  const DeviceGuard guard(like.get_device());
  const ScalarType dtype = like.scalar_type(), loss_dtype = wide(dtype);
  std::vector<const void*> rows;
  std::vector<int64_t> strides;
  for (const auto* views : {&predictions, &targets})
    for (const Tensor& view : *views) rows.push_back(view.const_data_ptr()), strides.push_back(view.stride(0));
  std::vector<Tensor> gradients;
  std::vector<void*> gradient_data;
  for (int64_t i = 0; with_gradient && i < V; ++i) {
    gradients.push_back(
        torch::stable::new_empty(like, {like.size(0), like.size(1)}, dtype == ScalarType::Half ? loss_dtype : dtype));
    gradient_data.push_back(gradients.back().mutable_data_ptr());
  }
  const bool per_row = reduction == kNone;
  const std::vector<int64_t> shape(per_row ? 1 : 0, like.size(0));
  Tensor loss = torch::stable::new_empty(like, shape, loss_dtype);
  Tensor sums = torch::stable::new_empty(like, {per_row ? 0 : like.size(0)}, ScalarType::Double);
  const int64_t E = static_cast<int64_t>(edge_weights.size());
  Tensor table = torch::stable::new_empty(like, {table_bytes(V, W, E)}, ScalarType::Byte);
  const bool per_sample = weights.has_value() && weights->dim() == 2;
  directional_loss_launch(
      rows.data(), strides.data(), V, W, with_gradient ? gradient_data.data() : nullptr, edges.data(),
      edge_weights.data(), E, weights.has_value() ? weights->const_data_ptr<double>() : nullptr,
      per_sample ? like.size(0) : 1, per_sample, like.size(0), like.size(1), dtype_of(like, "directional_loss"),
      sums.mutable_data_ptr<double>(), loss.mutable_data_ptr(), per_row,
      reduction == kMean ? 1.0 / static_cast<double>(std::max<int64_t>(1, like.size(0))) : 1.0,
      table.mutable_data_ptr(), current_stream(like));
  return {loss, gradients};
}

std::vector<Tensor> directional_loss_backward_cuda(std::vector<Tensor> gradients, Tensor upstream, double factor,
                                                   bool to_half) {
  require(!gradients.empty(), "directional_loss_backward: gradients must not be empty");
  const Tensor& like = gradients[0];
  const ScalarType kept = like.scalar_type();
  require(kept == ScalarType::Float || kept == ScalarType::Double || kept == ScalarType::BFloat16,
          "directional_loss_backward: gradients must be float32, float64 or bfloat16");
  check_rows(gradients, "gradients", like);
  check_same_device(upstream, like, "directional_loss_backward", "upstream");
  require(upstream.scalar_type() == wide(kept) && upstream.is_contiguous() &&
              (upstream.dim() == 0 || (upstream.dim() == 1 && upstream.size(0) == like.size(0))),
          "directional_loss_backward: upstream must be a scalar or (B,) of the loss's dtype");
  const DeviceGuard guard(like.get_device());
  std::vector<Tensor> scaled;
  std::vector<const void*> from;
  std::vector<void*> to;
  for (const Tensor& gradient : gradients) {
    require(gradient.is_contiguous(), "directional_loss_backward: gradients must be contiguous");
    scaled.push_back(torch::stable::new_empty(gradient, {gradient.size(0), gradient.size(1)},
                                              to_half && kept == ScalarType::Float ? ScalarType::Half : kept));
    from.push_back(gradient.const_data_ptr()), to.push_back(scaled.back().mutable_data_ptr());
  }
  directional_loss_scale_launch(from.data(), to.data(), static_cast<int64_t>(from.size()), like.size(0), like.size(1),
                                dtype_of(like, "directional_loss_backward"), to_half, upstream.const_data_ptr(),
                                upstream.dim() == 1, factor, current_stream(like));
  return scaled;
}

}  // namespace
}  // namespace dssl::directional_loss

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CUDA, m) {
  m.impl("directional_loss", TORCH_BOX(&dssl::directional_loss::directional_loss_cuda));
  m.impl("directional_loss_backward", TORCH_BOX(&dssl::directional_loss::directional_loss_backward_cuda));
}
