// Rows are normalised and packed once; tiles of their similarities then give the log-sum-exp (forward) or, made again,
// the gradient (backward). The matrix is symmetric when rows and columns are the same: only its upper half is made, and
// each tile serves its rows and its columns. Memory: packed copies of the inputs, and a tile for each thread.
#pragma GCC optimize("fp-contract=fast")

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "../common/checks.h"
#include "../common/parallel.h"
#include "../common/reduction.h"
#include "passes.h"

namespace dssl::nt_xent {

void parallel(int64_t count, int64_t grain, const Task& task) {
  parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) task(i);
  });
}

namespace {

struct Type {
  void (*widen)(const void*, int64_t, double*);
  void (*narrow)(const double*, int64_t, void*);
  int64_t bytes;
};

template <class S>
Type type_for() {
  return {widen<S>, narrow<S>, sizeof(S)};
}

Type type_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return type_for<float>();
    case ScalarType::Double: return type_for<double>();
    case ScalarType::Half: return type_for<c10::Half>();
    case ScalarType::BFloat16: return type_for<c10::BFloat16>();
    default: refuse("nt_xent: dtype must be float32, float64, bfloat16 or float16");
  }
}

Rows rows_of(const std::vector<Tensor>& tensors, const Tensor& like) {
  Rows rows;
  rows.width = like.size(1), rows.bytes = type_of(like).bytes, rows.widen = type_of(like).widen;
  for (const Tensor& tensor : tensors) {
    check_cpu(tensor, "nt_xent", "every input");
    require(tensor.dim() == 2 && tensor.size(1) == rows.width, "nt_xent: every input must be (rows, D)");
    require(tensor.scalar_type() == like.scalar_type(), "nt_xent: inputs must share one dtype");
    require(rows.width <= 1 || tensor.stride(1) == 1, "nt_xent: rows must be dense");
    if (tensor.size(0) > 0)
      rows.parts.push_back(
          {static_cast<const char*>(tensor.const_data_ptr()), rows.count, tensor.stride(0) * rows.bytes});
    rows.count += tensor.size(0);
  }
  return rows;
}

std::vector<int64_t> indices(const std::optional<Tensor>& tensor, const char* name, int64_t rows, int64_t columns) {
  require(tensor.has_value(), "nt_xent: columns need ", name);
  check_dense(*tensor, "nt_xent", name, ScalarType::Long, 1);
  require(tensor->size(0) == rows, "nt_xent: ", name, " must have one entry a row");
  const int64_t* data = tensor->const_data_ptr<int64_t>();
  for (int64_t i = 0; i < rows; ++i)
    require(data[i] >= -1 && data[i] < columns, "nt_xent: ", name, " names a column that is not there");
  return {data, data + rows};
}

void pair_up(Problem& problem) {
  const int64_t count = problem.x.count;
  require(count % 2 == 0, "nt_xent: rows without columns must be pairs");
  for (int64_t i = 0; i < count; ++i) {
    problem.positive.push_back((i + count / 2) % count);
    problem.excluded.push_back(i);
  }
}

// Without columns, the rows are z_a followed by z_b, and they are the columns as well.
Problem make_problem(const std::vector<Tensor>& rows, std::vector<Tensor> columns, const std::optional<Tensor>& queue,
                     const std::optional<Tensor>& positive, const std::optional<Tensor>& excluded, bool positives_only,
                     const Tensor& temperature, bool decoupled) {
  require(!rows.empty() && rows[0].dim() == 2, "nt_xent: rows must be (rows, D)");
  check_dense(temperature, "nt_xent", "temperature", ScalarType::Double, 0);
  Problem problem;
  for (const Tensor& tensor : columns) problem.before_queue += tensor.dim() > 0 ? tensor.size(0) : 0;
  if (positives_only) problem.positives_only = problem.before_queue;
  if (queue.has_value()) columns.push_back(*queue);
  problem.symmetric = columns.empty(), problem.decoupled = decoupled;
  problem.temperature = *temperature.const_data_ptr<double>();
  require(problem.temperature >= 1e-8 && problem.temperature <= 1e8,
          "nt_xent: temperature must be in [1e-8, 1e8]; got ", std::to_string(problem.temperature));
  problem.x = rows_of(rows, rows[0]);
  problem.y = problem.symmetric ? problem.x : rows_of(columns, rows[0]);
  if (problem.symmetric) {
    pair_up(problem);
  } else {
    problem.positive = indices(positive, "positive", problem.x.count, problem.y.count);
    problem.excluded = indices(excluded, "excluded", problem.x.count, problem.y.count);
  }
  return problem;
}

enum class Element { kFloat, kDouble, kPair };

// The element of the products. Where they are few, float's errors find no others that average them out, and double
// costs nothing. float16 goes through float: bfloat16 would cost it three of its eleven bits.
Element element_for(const Problem& of, const Tensor& like) {
  constexpr int64_t kFew = 64 * 64;
  const bool coarse = of.temperature < kLowestFloatTemperature || of.x.count * of.y.count < kFew;
  if (like.scalar_type() == ScalarType::Double || coarse) return Element::kDouble;
  return kFastPairs && like.scalar_type() == ScalarType::BFloat16 ? Element::kPair : Element::kFloat;
}

Tensor filled(int64_t count, double value) {
  Tensor tensor = torch::stable::empty({count}, ScalarType::Double);
  std::fill_n(tensor.mutable_data_ptr<double>(), count, value);
  return tensor;
}

// Of each row: loss, logit of the positive (-inf: it has none here), log-sum-exp and largest logit of the negatives.
std::tuple<Tensor, Tensor, Tensor, Tensor> nt_xent_cpu(std::vector<Tensor> rows, std::vector<Tensor> columns,
                                                       std::optional<Tensor> queue, std::optional<Tensor> positive,
                                                       std::optional<Tensor> excluded, bool positives_only,
                                                       Tensor temperature, bool decoupled, int64_t reduction,
                                                       bool with_nearest, bool /*tf32*/) {
  const Problem of = make_problem(rows, columns, queue, positive, excluded, positives_only, temperature, decoupled);
  const int64_t count = of.x.count;
  factor_of("nt_xent", reduction, count);  // refuses what is no reduction
  Tensor positives = filled(count, 0), negatives = filled(count, 0), nearest = filled(with_nearest ? count : 0, -1e30);
  double *positive_data = positives.mutable_data_ptr<double>(), *negative_data = negatives.mutable_data_ptr<double>();
  double* nearest_data = with_nearest ? nearest.mutable_data_ptr<double>() : nullptr;
  positive_logits(of, positive_data);
  switch (element_for(of, rows[0])) {
    case Element::kFloat: sum_negatives<float>(of, negative_data, nearest_data); break;
    case Element::kDouble: sum_negatives<double>(of, negative_data, nearest_data); break;
    case Element::kPair: sum_negatives<Pair>(of, negative_data, nearest_data); break;
  }
  std::vector<double> losses(count);
  for (int64_t i = 0; i < count; ++i) {
    losses[i] = Row{positive_data[i], negative_data[i], decoupled}.loss();
    if (with_nearest) nearest_data[i] /= of.temperature;
  }
  return {reduced(losses, reduction, rows[0].scalar_type() == ScalarType::Double), positives, negatives, nearest};
}

// Through temperature and normalisation into the tensors the rows came from. Returns sum_i u_i . d loss / d u_i.
double write_gradients(const Rows& rows, const std::vector<Tensor>& like, const Problem& of, const Read& read,
                       std::vector<Tensor>& out) {
  const Type type = type_of(like[0]);
  std::vector<char*> data;
  for (const Tensor& tensor : like) {
    out.push_back(torch::stable::empty({tensor.size(0), rows.width}, tensor.scalar_type()));
    data.push_back(static_cast<char*>(out.back().mutable_data_ptr()));
  }
  std::vector<double> along(rows.count);
  int64_t first = 0;
  for (size_t part = 0; part < like.size(); ++part) {
    parallel(like[part].size(0), rows_per_task(rows.width), [&](int64_t i) {
      std::vector<double> unit(rows.width), gradient(rows.width);
      rows.read(first + i, unit.data());
      const double inverse = normalise(unit.data(), rows.width);
      read(first + i, gradient.data());
      for (double& value : gradient) value /= of.temperature;
      along[first + i] = dot(unit.data(), gradient.data(), rows.width);
      for (int64_t d = 0; d < rows.width; ++d)
        gradient[d] = through_normalisation(gradient[d], along[first + i], unit[d], inverse);
      type.narrow(gradient.data(), rows.width, data[part] + i * rows.width * type.bytes);
    });
    first += like[part].size(0);
  }
  double total = 0;
  for (int64_t i = 0; i < first; ++i) total += along[i];
  return total;
}

std::tuple<std::vector<Tensor>, std::vector<Tensor>, Tensor> nt_xent_backward_cpu(
    std::vector<Tensor> rows, std::vector<Tensor> columns, std::optional<Tensor> queue, std::optional<Tensor> positive,
    std::optional<Tensor> excluded, bool positives_only, Tensor temperature, bool decoupled, Tensor positives,
    Tensor negatives, Tensor upstream, int64_t reduction, bool with_columns, bool /*tf32*/) {
  const Problem of = make_problem(rows, columns, queue, positive, excluded, positives_only, temperature, decoupled);
  for (const Tensor* tensor : {&positives, &negatives}) {
    check_dense(*tensor, "nt_xent_backward", "what forward kept", ScalarType::Double, 1);
    require(tensor->size(0) == of.x.count, "nt_xent_backward: what forward kept must have one entry a row");
  }
  check_dense(upstream, "nt_xent_backward", "upstream", ScalarType::Double, upstream.dim() == 0 ? 0 : 1);
  require(upstream.dim() == 0 || upstream.size(0) == of.x.count, "nt_xent_backward: upstream must be () or (rows,)");
  const double* weight = upstream.const_data_ptr<double>();
  const double factor = factor_of("nt_xent_backward", reduction, of.x.count);
  const auto weight_of = [&](int64_t i) { return factor * weight[upstream.dim() == 0 ? 0 : i]; };
  std::vector<Tensor> of_rows, of_columns;
  double along = 0;
  const auto finish = [&](bool is_rows, const Read& read) {
    if (is_rows)
      along = write_gradients(of.x, rows, of, read, of_rows);
    else
      write_gradients(of.y, columns, of, read, of_columns);
  };
  with_columns = with_columns && !columns.empty();
  const double *p = positives.const_data_ptr<double>(), *n = negatives.const_data_ptr<double>();
  switch (element_for(of, rows[0])) {
    case Element::kFloat: differentiate<float>(of, p, n, with_columns, weight_of, finish); break;
    case Element::kDouble: differentiate<double>(of, p, n, with_columns, weight_of, finish); break;
    case Element::kPair: differentiate<Pair>(of, p, n, with_columns, weight_of, finish); break;
  }
  // The loss depends on u and the temperature through u_i . u_j / temperature alone; each pair of a symmetric matrix
  // shows up in the gradients of both its rows.
  Tensor of_temperature = torch::stable::empty({}, ScalarType::Double);
  *of_temperature.mutable_data_ptr<double>() = -along / of.temperature / (of.symmetric ? 2 : 1);
  return {of_rows, of_columns, of_temperature};
}

}  // namespace
}  // namespace dssl::nt_xent

// No argument has a default: torch 2.10 wants no gradient for one that came at its default, and later ones do.
STABLE_TORCH_LIBRARY_FRAGMENT(dssl_ops, m) {
  m.def(
      "nt_xent(Tensor[] rows, Tensor[] columns, Tensor? queue, Tensor? positive, Tensor? excluded, "
      "bool positives_only, Tensor temperature, bool decoupled, int reduction, bool with_nearest, "
      "bool tf32) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "nt_xent_backward(Tensor[] rows, Tensor[] columns, Tensor? queue, Tensor? positive, Tensor? excluded, "
      "bool positives_only, Tensor temperature, bool decoupled, Tensor positives, Tensor negatives, Tensor upstream, "
      "int reduction, bool with_columns, bool tf32) -> (Tensor[], Tensor[], Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CPU, m) {
  m.impl("nt_xent", dssl::boxed<&dssl::nt_xent::nt_xent_cpu>);
  m.impl("nt_xent_backward", dssl::boxed<&dssl::nt_xent::nt_xent_backward_cpu>);
}
