// Both views are standardised and packed once a pass. Forward keeps what the gradient needs of the products: the two
// N x N matrices or C, whichever form serves. Backward makes the gradient of one panel of features at a time and takes
// it through the standardisation while it is in cache.
#pragma GCC optimize("fp-contract=fast")

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <tuple>
#include <vector>

#include "../common/checks.h"
#include "../common/parallel.h"
#include "products.h"

namespace dssl::barlow_twins {
namespace {

using Narrow = void (*)(const double*, int64_t, void*);

template <class S>
Narrow fill_in(Rows& rows) {
  rows.widen = widen<S>, rows.bytes = sizeof(S);
  return narrow<S>;
}

Narrow types_of(const Tensor& tensor, Rows& rows) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return fill_in<float>(rows);
    case ScalarType::Double: return fill_in<double>(rows);
    case ScalarType::Half: return fill_in<c10::Half>(rows);
    case ScalarType::BFloat16: return fill_in<c10::BFloat16>(rows);
    default: refuse("barlow_twins: dtype must be float32, float64, bfloat16 or float16");
  }
}

Rows rows_of(const Tensor& tensor, const Tensor& like) {
  check_cpu(tensor, "barlow_twins", "both views");
  require(tensor.dim() == 2 && like.dim() == 2 && tensor.size(0) == like.size(0) && tensor.size(1) == like.size(1) &&
              tensor.scalar_type() == like.scalar_type(),
          "barlow_twins: views must be (N, D) of one dtype");
  require(tensor.size(0) > 0 && tensor.size(1) > 0, "barlow_twins: views must not be empty");
  require(tensor.size(1) <= 1 || tensor.stride(1) == 1, "barlow_twins: rows must be dense");
  Rows rows;
  types_of(tensor, rows);
  rows.count = tensor.size(0), rows.width = tensor.size(1);
  rows.parts.push_back({static_cast<const char*>(tensor.const_data_ptr()), 0, tensor.stride(0) * rows.bytes});
  return rows;
}

const auto parallel = [](int64_t count, const auto& f) {
  parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
};

template <class T>
constexpr ScalarType kScalar = sizeof(T) == 8 ? ScalarType::Double : ScalarType::Float;

// Entries that forward keeps: enough for the padding of every vector width, so that the size is a matter of shapes.
int64_t matrix_size(int64_t rows, int64_t width) {
  return through_rows(rows, width) ? 2 * round_up(rows, 32) * round_up(rows, 32)
                                   : round_up(width, 32) * round_up(width, 32);
}
static_assert(32 % kPanel<float> == 0 && 32 % kPanel<double> == 0);

template <class T>
int64_t used_size(const Panels<T>& x) {
  return through_rows(x.rows, x.width) ? 2 * x.padded_rows * x.padded_rows : x.padded_width * x.padded_width;
}

void measure_all(const Rows& a, const Rows& b, double eps, const Features& of) {
  constexpr int64_t kChunk = 256;
  parallel((a.width + kChunk - 1) / kChunk, [&](int64_t chunk) {
    const int64_t first = chunk * kChunk, count = std::min(kChunk, a.width - first);
    measure(a, eps, first, count, of.mean_a, of.inverse_a);
    measure(b, eps, first, count, of.mean_b, of.inverse_b);
  });
}

// C_ii, feature by feature.
template <class T>
void measure_diagonal(const Panels<T>& a, const Panels<T>& b, double* diagonal) {
  parallel(a.padded_width / kPanel<T>, [&](int64_t panel) {
    const int64_t first = panel * kPanel<T>, count = std::min<int64_t>(kPanel<T>, a.width - first);
    const T *x = a.width_panel(first, 0), *y = b.width_panel(first, 0);
    std::fill_n(diagonal + first, count, 0.0);
    for (int64_t n = 0; n < a.rows; ++n)
      for (int64_t d = 0; d < count; ++d)
        diagonal[first + d] += static_cast<double>(x[n * kPanel<T> + d]) * y[n * kPanel<T> + d];
    for (int64_t d = 0; d < count; ++d) diagonal[first + d] /= a.rows;
  });
}

template <class T>
double sum_of_products(const T* a, const T* b, int64_t rows, int64_t width) {
  std::vector<double> sums(rows);
  parallel(rows, [&](int64_t n) {
    double lanes[8] = {};
    for (int64_t m = 0; m < width; m += 8)
      for (int k = 0; k < 8; ++k) lanes[k] += static_cast<double>(a[n * width + m + k]) * b[n * width + m + k];
    for (double lane : lanes) sums[n] += lane;
  });
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

template <class T>
double off_diagonal_squares(const Panels<T>& a, const Panels<T>& b, T* matrices, const double* diagonal) {
  double squares = 0;
  if (through_rows(a.rows, a.width)) {
    const int64_t size = a.padded_rows;
    gram(a, parallel, matrices), gram(b, parallel, matrices + size * size);
    squares = sum_of_products(matrices, matrices + size * size, size, size) / a.rows / a.rows;
    for (int64_t d = 0; d < a.width; ++d) squares -= diagonal[d] * diagonal[d];
    return squares;
  }
  cross(a, b, parallel, matrices);
  const Cross<T> c{matrices, a.padded_width};
  for (int64_t d = 0; d < a.width; ++d) c.at(d, d) = 0;
  return sum_of_products(matrices, matrices, a.padded_width, a.padded_width) / a.rows / a.rows;
}

template <class T>
std::tuple<Tensor, Tensor, Tensor> forward(const Rows& a, const Rows& b, const Loss& loss, double eps) {
  Tensor features = torch::stable::empty({5, a.width}, ScalarType::Double);
  const Features of(features.mutable_data_ptr<double>(), a.width);
  measure_all(a, b, eps, of);
  const Panels<T> x = standardise<T>(a, of.mean_a, of.inverse_a, parallel);
  const Panels<T> y = standardise<T>(b, of.mean_b, of.inverse_b, parallel);
  Tensor matrices = torch::stable::empty({matrix_size(a.count, a.width)}, kScalar<T>);
  T* data = matrices.mutable_data_ptr<T>();
  std::fill(data + used_size(x), data + matrices.numel(), T(0));
  measure_diagonal(x, y, of.diagonal);
  double total = loss.off_diagonal(off_diagonal_squares(x, y, data, of.diagonal));
  for (int64_t d = 0; d < a.width; ++d) total += loss.diagonal(of.diagonal[d]);
  Tensor out = torch::stable::empty({}, kScalar<T>);
  *out.mutable_data_ptr<T>() = static_cast<T>(total);
  return {out, matrices, features};
}

std::tuple<Tensor, Tensor, Tensor> barlow_twins_cpu(Tensor z_a, Tensor z_b, double lambd, double scale, double eps) {
  const Rows a = rows_of(z_a, z_a), b = rows_of(z_b, z_a);
  const bool wide = z_a.scalar_type() == ScalarType::Double;
  return (wide ? forward<double> : forward<float>)(a, b, {lambd, scale}, eps);
}

// The gradient of one view, one panel of features at a time. x is the view, y the other one; `product` makes the panel
// of N C y: with C's diagonal when it goes through rows, without when through features.
template <class T, class Product>
Tensor differentiate(const Tensor& like, const Panels<T>& x, const Panels<T>& y, const double* inverse,
                     const double* diagonal, const Loss& loss, double upstream, const Product& product) {
  const bool by_rows = through_rows(x.rows, x.width);
  const double off_diagonal = loss.off_diagonal_slope(1.0 / x.rows);
  Tensor out = torch::stable::empty({x.rows, x.width}, like.scalar_type());
  Rows type;
  const Narrow narrow_ = types_of(like, type);
  char* data = static_cast<char*>(out.mutable_data_ptr());
  parallel(x.padded_width / kPanel<T>, [&](int64_t panel) {
    const int64_t first = panel * kPanel<T>, count = std::min<int64_t>(kPanel<T>, x.width - first);
    const Buffer<T> gradient(x.padded_rows * kPanel<T>);
    product(first, gradient.data());
    const T *own = x.width_panel(first, 0), *other = y.width_panel(first, 0);
    double slope[kPanel<T>] = {}, mean[kPanel<T>] = {}, along[kPanel<T>] = {}, row[kPanel<T>];
    const auto at = [&](int64_t n, int64_t d) {
      return upstream * (off_diagonal * gradient[n * kPanel<T> + d] + slope[d] * other[n * kPanel<T> + d]) / x.rows;
    };
    for (int64_t d = 0; d < count; ++d)
      slope[d] = loss.diagonal_slope(diagonal[first + d]) - by_rows * loss.off_diagonal_slope(diagonal[first + d]);
    for (int64_t n = 0; n < x.rows; ++n)
      for (int64_t d = 0; d < count; ++d)
        mean[d] += at(n, d) / x.rows, along[d] += at(n, d) * own[n * kPanel<T> + d] / x.rows;
    for (int64_t n = 0; n < x.rows; ++n) {
      for (int64_t d = 0; d < count; ++d)
        row[d] = through_standardisation(at(n, d), mean[d], along[d], own[n * kPanel<T> + d], inverse[first + d]);
      narrow_(row, count, data + (n * x.width + first) * type.bytes);
    }
  });
  return out;
}

template <class T>
std::tuple<Tensor, Tensor> backward(const Tensor& z_a, const Tensor& z_b, const Tensor& matrices, const Features& of,
                                    const Loss& loss, double upstream) {
  const Rows a = rows_of(z_a, z_a), b = rows_of(z_b, z_a);
  const Panels<T> x = standardise<T>(a, of.mean_a, of.inverse_a, parallel);
  const Panels<T> y = standardise<T>(b, of.mean_b, of.inverse_b, parallel);
  const bool by_rows = through_rows(a.count, a.width);
  check_dense(matrices, "barlow_twins_backward", "matrices", kScalar<T>, 1);
  require(matrices.size(0) == matrix_size(a.count, a.width), "barlow_twins_backward: matrices have the wrong size");
  const T* gram_a = matrices.const_data_ptr<T>();
  const T* gram_b = gram_a + x.padded_rows * x.padded_rows;
  const Cross<T> c{const_cast<T*>(gram_a), x.padded_width};
  const auto of_a = [&](int64_t first, T* panel) {
    if (by_rows) return times_features(gram_b, x, first, panel);
    const Buffer<T> right(x.padded_width * kPanel<T>);
    c.transposed_panel(first, right.data());
    times_panel(y, right.data(), panel);
  };
  const auto of_b = [&](int64_t first, T* panel) {
    by_rows ? times_features(gram_a, y, first, panel) : times_panel(x, c.panel(first), panel);
  };
  return {differentiate(z_a, x, y, of.inverse_a, of.diagonal, loss, upstream, of_a),
          differentiate(z_b, y, x, of.inverse_b, of.diagonal, loss, upstream, of_b)};
}

std::tuple<Tensor, Tensor> barlow_twins_backward_cpu(Tensor z_a, Tensor z_b, Tensor matrices, Tensor features,
                                                     Tensor upstream, double lambd, double scale) {
  check_dense(features, "barlow_twins_backward", "features", ScalarType::Double, 2);
  require(z_a.dim() == 2 && features.size(0) == 5 && features.size(1) == z_a.size(1),
          "barlow_twins_backward: features must be (5, D)");
  check_dense(upstream, "barlow_twins_backward", "upstream", ScalarType::Double, 0);
  const Features of(const_cast<double*>(features.const_data_ptr<double>()), z_a.size(1));
  const bool wide = z_a.scalar_type() == ScalarType::Double;
  return (wide ? backward<double> : backward<float>)(z_a, z_b, matrices, of, {lambd, scale},
                                                     *upstream.const_data_ptr<double>());
}

}  // namespace
}  // namespace dssl::barlow_twins

STABLE_TORCH_LIBRARY_FRAGMENT(dssl_ops, m) {
  m.def("barlow_twins(Tensor z_a, Tensor z_b, float lambd, float scale, float eps) -> (Tensor, Tensor, Tensor)");
  m.def(
      "barlow_twins_backward(Tensor z_a, Tensor z_b, Tensor matrices, Tensor features, Tensor upstream, float lambd, "
      "float scale) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CPU, m) {
  m.impl("barlow_twins", dssl::boxed<&dssl::barlow_twins::barlow_twins_cpu>);
  m.impl("barlow_twins_backward", dssl::boxed<&dssl::barlow_twins::barlow_twins_backward_cpu>);
}
