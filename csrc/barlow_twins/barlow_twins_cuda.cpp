// Checks, allocates, starts, and makes the products by torch's own (cuBLAS), as exact as torch is told to make them.
// Memory is what the CPU's takes: the views standardised, and the smaller of the two forms of the products.
#include "barlow_twins_cuda.h"

#include <array>
#include <tuple>
#include <vector>

#include "../common/checks_cuda.h"
#include "barlow_twins.h"

namespace dssl::barlow_twins {
namespace {

int64_t round_up(int64_t n) { return (n + 31) / 32 * 32; }

// As on the CPU, which pads.
int64_t matrix_size(int64_t rows, int64_t width) {
  return through_rows(rows, width) ? 2 * round_up(rows) * round_up(rows) : round_up(width) * round_up(width);
}

// Their padding is 0 as on the CPU: an output of an op has no entry that nobody wrote.
Tensor new_matrices(const Tensor& like, int64_t rows, int64_t width, ScalarType dtype) {
  const int64_t used = through_rows(rows, width) ? 2 * rows * rows : width * width, all = matrix_size(rows, width);
  Tensor matrices = torch::stable::new_empty(like, {all}, dtype);
  if (used < all) torch::stable::fill_(torch::stable::narrow(matrices, 0, used, all - used), 0);
  return matrices;
}

void check_views(const Tensor& z_a, const Tensor& z_b) {
  check_cuda(z_a, "barlow_twins", "z_a");
  check_same_device(z_b, z_a, "barlow_twins", "z_b");
  require(z_a.dim() == 2 && z_b.dim() == 2 && z_a.size(0) == z_b.size(0) && z_a.size(1) == z_b.size(1) &&
              z_a.scalar_type() == z_b.scalar_type(),
          "barlow_twins: views must be (N, D) of one dtype");
  require(z_a.size(0) > 0 && z_a.size(1) > 0, "barlow_twins: views must not be empty");
  require(z_a.size(1) == 1 || (z_a.stride(1) == 1 && z_b.stride(1) == 1), "barlow_twins: rows must be dense");
}

// out = a b, without a copy.
void multiply(const Tensor& a, const Tensor& b, const Tensor& out) {
  using torch::stable::detail::from;
  std::array<StableIValue, 3> stack{from(a), from(b), from(out)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);  // `out` once more, owned by us
}

// The standardised views and what the products are made in.
struct Work {
  Dtype dtype;
  ScalarType wide;
  int64_t rows, width;
  Tensor x, y;

  Work(const Tensor& z_a, const Tensor& z_b, double eps, double* features)
      : dtype(dtype_of(z_a, "barlow_twins")),
        wide(dtype == kFloat64 ? ScalarType::Double : ScalarType::Float),
        rows(z_a.size(0)),
        width(z_a.size(1)),
        x(torch::stable::new_empty(z_a, {rows, width}, wide)),
        y(torch::stable::new_empty(z_a, {rows, width}, wide)) {
    barlow_twins_standardise_launch(z_a.const_data_ptr(), z_a.stride(0), z_b.const_data_ptr(), z_b.stride(0), rows,
                                    width, dtype, eps, x.mutable_data_ptr(), y.mutable_data_ptr(), features,
                                    current_stream(z_a));
  }

  Tensor matrix(Tensor& matrices, int64_t number) const {
    const int64_t side = through_rows(rows, width) ? rows : width;
    return torch::stable::view(torch::stable::narrow(matrices, 0, number * side * side, side * side), {side, side});
  }
};

Tensor transposed(const Tensor& matrix) { return torch::stable::transpose(matrix, 0, 1); }

std::tuple<Tensor, Tensor, Tensor> barlow_twins_cuda(Tensor z_a, Tensor z_b, double lambd, double scale, double eps) {
  check_views(z_a, z_b);
  const DeviceGuard guard(z_a.get_device());
  Tensor features = torch::stable::new_empty(z_a, {5, z_a.size(1)}, ScalarType::Double);
  const Work work(z_a, z_b, eps, features.mutable_data_ptr<double>());
  Tensor matrices = new_matrices(z_a, work.rows, work.width, work.wide);
  if (through_rows(work.rows, work.width)) {
    multiply(work.x, transposed(work.x), work.matrix(matrices, 0));
    multiply(work.y, transposed(work.y), work.matrix(matrices, 1));
  } else {
    multiply(transposed(work.x), work.y, work.matrix(matrices, 0));
  }
  Tensor partials = torch::stable::new_empty(z_a, {kPartials}, ScalarType::Double);
  Tensor loss = torch::stable::new_empty(z_a, {}, work.wide);
  barlow_twins_loss_launch(matrices.mutable_data_ptr(), work.rows, work.width, work.dtype,
                           features.const_data_ptr<double>(), lambd, scale, partials.mutable_data_ptr<double>(),
                           loss.mutable_data_ptr(), current_stream(z_a));
  return {loss, matrices, features};
}

std::tuple<Tensor, Tensor> barlow_twins_backward_cuda(Tensor z_a, Tensor z_b, Tensor matrices, Tensor features,
                                                      Tensor upstream, double lambd, double scale) {
  check_views(z_a, z_b);
  for (const Tensor* tensor : {&matrices, &features, &upstream}) {
    check_same_device(*tensor, z_a, "barlow_twins_backward", "what forward kept");
    require(tensor->is_contiguous(), "barlow_twins_backward: what forward kept must be contiguous");
  }
  require(features.scalar_type() == ScalarType::Double && features.dim() == 2 && features.size(0) == 5 &&
              features.size(1) == z_a.size(1),
          "barlow_twins_backward: features must be (5, D) float64");
  require(upstream.scalar_type() == ScalarType::Double && upstream.dim() == 0,
          "barlow_twins_backward: upstream must be one float64");
  const DeviceGuard guard(z_a.get_device());
  const Work work(z_a, z_b, -1, features.mutable_data_ptr<double>());  // reads them
  require(matrices.scalar_type() == work.wide && matrices.dim() == 1 &&
              matrices.size(0) == matrix_size(work.rows, work.width),
          "barlow_twins_backward: matrices have the wrong size");
  Tensor of_x = torch::stable::new_empty(z_a, {work.rows, work.width}, work.wide);
  Tensor of_y = torch::stable::new_empty(z_a, {work.rows, work.width}, work.wide);
  if (through_rows(work.rows, work.width)) {
    multiply(work.matrix(matrices, 1), work.x, of_x);
    multiply(work.matrix(matrices, 0), work.y, of_y);
  } else {
    multiply(work.y, transposed(work.matrix(matrices, 0)), of_x);
    multiply(work.x, work.matrix(matrices, 0), of_y);
  }
  Tensor of_a = torch::stable::new_empty(z_a, {work.rows, work.width}, z_a.scalar_type());
  Tensor of_b = torch::stable::new_empty(z_a, {work.rows, work.width}, z_a.scalar_type());
  barlow_twins_backward_launch(of_x.const_data_ptr(), of_y.const_data_ptr(), work.x.const_data_ptr(),
                               work.y.const_data_ptr(), features.const_data_ptr<double>(),
                               upstream.const_data_ptr<double>(), work.rows, work.width, work.dtype, lambd, scale,
                               of_a.mutable_data_ptr(), of_b.mutable_data_ptr(), current_stream(z_a));
  return {of_a, of_b};
}

}  // namespace
}  // namespace dssl::barlow_twins

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CUDA, m) {
  m.impl("barlow_twins", dssl::boxed<&dssl::barlow_twins::barlow_twins_cuda>);
  m.impl("barlow_twins_backward", dssl::boxed<&dssl::barlow_twins::barlow_twins_backward_cuda>);
}
