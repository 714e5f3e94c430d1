// Checks, allocates and starts; see nt_xent_cuda.cu. What a CUDA tensor holds (temperature, indices) is not looked at:
// that would wait for the device. A positive that is not there gives NaN.
#include "nt_xent_cuda.h"

#include <numeric>
#include <optional>
#include <tuple>
#include <vector>

#include "../common/checks_cuda.h"
#include "../common/reduction.h"

namespace dssl::nt_xent {
namespace {

// The parts of a side as the launches take them.
struct Parts {
  std::vector<const void*> data;
  std::vector<int64_t> counts, strides;

  Parts(const std::vector<Tensor>& tensors, const Tensor& like) {
    for (const Tensor& tensor : tensors) {
      check_same_device(tensor, like, "nt_xent", "every input");
      require(tensor.dim() == 2 && tensor.size(1) == like.size(1), "nt_xent: every input must be (rows, D)");
      require(tensor.scalar_type() == like.scalar_type(), "nt_xent: inputs must share one dtype");
      require(tensor.size(1) <= 1 || tensor.stride(1) == 1, "nt_xent: rows must be dense");
      data.push_back(tensor.const_data_ptr());
      counts.push_back(tensor.size(0)), strides.push_back(tensor.stride(0));
    }
  }

  int64_t size() const { return static_cast<int64_t>(data.size()); }
  int64_t total(int64_t parts) const { return std::accumulate(counts.begin(), counts.begin() + parts, int64_t{0}); }
  Source source() const { return {data.data(), counts.data(), strides.data(), size()}; }
};

const double* doubles(const Tensor& tensor, const Tensor& like, const char* name) {
  check_same_device(tensor, like, "nt_xent", name);
  require(tensor.scalar_type() == ScalarType::Double && tensor.is_contiguous(), "nt_xent: ", name,
          " must be float64, contiguous");
  return tensor.const_data_ptr<double>();
}

const int64_t* indices(const std::optional<Tensor>& tensor, const Tensor& like, const char* name, int64_t rows) {
  require(tensor.has_value(), "nt_xent: columns need ", name);
  check_same_device(*tensor, like, "nt_xent", name);
  require(tensor->scalar_type() == ScalarType::Long && tensor->is_contiguous() && tensor->dim() == 1 &&
              tensor->size(0) == rows,
          "nt_xent: ", name, " must be one int64 a row, contiguous");
  return tensor->const_data_ptr<int64_t>();
}

// What forward and backward have in common.
struct Problem {
  const Tensor& like;
  Parts rows, columns;
  const int64_t *positive = nullptr, *excluded = nullptr;
  int64_t count;
  const double* temperature;
  Dtype dtype;

  Problem(const std::vector<Tensor>& rows_, const std::vector<Tensor>& columns_, const std::optional<Tensor>& positive_,
          const std::optional<Tensor>& excluded_, const Tensor& temperature_)
      : like(rows_[0]), rows(rows_, like), columns(columns_, like), count(rows.total(rows.size())) {
    require(count < INT32_MAX && columns.total(columns.size()) < INT32_MAX, "nt_xent: more than 2^31 rows");
    if (columns.size() > 0) {
      positive = indices(positive_, like, "positive", count);
      excluded = indices(excluded_, like, "excluded", count);
    } else {
      require(count % 2 == 0, "nt_xent: rows without columns must be pairs");
    }
    require(temperature_.dim() == 0, "nt_xent: temperature must be one number");
    temperature = doubles(temperature_, like, "temperature");
    dtype = dtype_of(like, "nt_xent");
  }

  Tensor empty(const std::vector<int64_t>& shape, ScalarType scalar) const {
    return torch::stable::new_empty(like, shape, scalar);
  }

  Tensor workspace(int64_t owned_parts) const {
    int64_t bytes = 0;
    nt_xent_workspace(count, columns.size() > 0 ? columns.total(columns.size()) : -1, columns.total(owned_parts),
                      like.size(1), dtype, &bytes);
    return empty({bytes}, ScalarType::Byte);
  }

  Inputs inputs(int64_t positives_only, bool tf32, bool decoupled, const Tensor& scratch) const {
    return {rows.source(),
            columns.source(),
            positive,
            excluded,
            positives_only,
            like.size(1),
            dtype,
            tf32,
            temperature,
            decoupled,
            scratch.mutable_data_ptr()};
  }
};

std::vector<Tensor> with_queue(std::vector<Tensor> columns, const std::optional<Tensor>& queue) {
  if (queue.has_value()) columns.push_back(*queue);
  return columns;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> nt_xent_cuda(std::vector<Tensor> rows, std::vector<Tensor> columns,
                                                        std::optional<Tensor> queue, std::optional<Tensor> positive,
                                                        std::optional<Tensor> excluded, bool positives_only,
                                                        Tensor temperature, bool decoupled, int64_t reduction,
                                                        bool with_nearest, bool tf32) {
  require(!rows.empty() && rows[0].dim() == 2, "nt_xent: rows must be (rows, D)");
  const DeviceGuard guard(rows[0].get_device());
  const Problem of(rows, with_queue(columns, queue), positive, excluded, temperature);
  const bool per_row = reduction == kNone;
  Tensor loss = of.empty(std::vector<int64_t>(per_row ? 1 : 0, of.count),
                         of.dtype == kFloat64 ? ScalarType::Double : ScalarType::Float);
  Tensor positives = of.empty({of.count}, ScalarType::Double), negatives = of.empty({of.count}, ScalarType::Double);
  Tensor nearest = of.empty({with_nearest ? of.count : 0}, ScalarType::Double);
  Tensor row_losses = of.empty({of.count}, ScalarType::Double), workspace = of.workspace(0);
  nt_xent_launch(of.inputs(positives_only ? of.columns.total(columns.size()) : 0, tf32, decoupled, workspace),
                 positives.mutable_data_ptr<double>(), negatives.mutable_data_ptr<double>(),
                 with_nearest ? nearest.mutable_data_ptr<double>() : nullptr, row_losses.mutable_data_ptr<double>(),
                 loss.mutable_data_ptr(), per_row, factor_of("nt_xent", reduction, of.count), current_stream(of.like));
  return {loss, positives, negatives, nearest};
}

std::vector<Tensor> gradients_like(const std::vector<Tensor>& tensors, std::vector<void*>& data) {
  std::vector<Tensor> gradients;
  for (const Tensor& tensor : tensors) {
    gradients.push_back(torch::stable::new_empty(tensor, {tensor.size(0), tensor.size(1)}, tensor.scalar_type()));
    data.push_back(gradients.back().mutable_data_ptr());
  }
  return gradients;
}

std::tuple<std::vector<Tensor>, std::vector<Tensor>, Tensor> nt_xent_backward_cuda(
    std::vector<Tensor> rows, std::vector<Tensor> columns, std::optional<Tensor> queue, std::optional<Tensor> positive,
    std::optional<Tensor> excluded, bool positives_only, Tensor temperature, bool decoupled, Tensor positives,
    Tensor negatives, Tensor upstream, int64_t reduction, bool with_columns, bool tf32) {
  require(!rows.empty() && rows[0].dim() == 2, "nt_xent_backward: rows must be (rows, D)");
  const DeviceGuard guard(rows[0].get_device());
  const Problem of(rows, with_queue(columns, queue), positive, excluded, temperature);
  require(positives.numel() == of.count && negatives.numel() == of.count,
          "nt_xent_backward: what forward kept must have one entry a row");
  require(upstream.dim() == 0 || (upstream.dim() == 1 && upstream.size(0) == of.count),
          "nt_xent_backward: upstream must be () or (rows,)");
  std::vector<void*> row_data, column_data;
  std::vector<Tensor> of_rows = gradients_like(rows, row_data), of_columns;
  if (with_columns) of_columns = gradients_like(columns, column_data);
  const int64_t owned = static_cast<int64_t>(of_columns.size());
  Tensor of_temperature = of.empty({}, ScalarType::Double), workspace = of.workspace(owned);
  nt_xent_backward_launch(of.inputs(positives_only ? of.columns.total(columns.size()) : 0, tf32, decoupled, workspace),
                          doubles(positives, of.like, "positives"), doubles(negatives, of.like, "negatives"),
                          doubles(upstream, of.like, "upstream"), upstream.dim() == 1,
                          factor_of("nt_xent_backward", reduction, of.count), row_data.data(), column_data.data(),
                          owned, of_temperature.mutable_data_ptr<double>(), current_stream(of.like));
  return {of_rows, of_columns, of_temperature};
}

}  // namespace
}  // namespace dssl::nt_xent

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CUDA, m) {
  m.impl("nt_xent", dssl::boxed<&dssl::nt_xent::nt_xent_cuda>);
  m.impl("nt_xent_backward", dssl::boxed<&dssl::nt_xent::nt_xent_backward_cuda>);
}
