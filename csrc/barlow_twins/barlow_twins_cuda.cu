// What surrounds the matrix products: statistics and standardisation of features, the loss, and the way back through
// the standardisation. A block owns 32 features: 32 threads lie along them, so that rows are read in whole sectors, and
// 8 share the rows; sums are doubles in a fixed order.
#include "barlow_twins_cuda.h"

#include <algorithm>

#include "../common/launch.cuh"
#include "../common/reduce.cuh"
#include "barlow_twins.h"

namespace dssl::barlow_twins {
namespace {

constexpr int kFeatures = 32, kLanes = 8;

// Sum over the threads of a feature, for all of them. Every thread of the block calls it.
__device__ inline double feature_sum(double value) {
  __shared__ double partial[kLanes][kFeatures];
  __syncthreads();  // a sum before this one has been read
  partial[threadIdx.y][threadIdx.x] = value;
  __syncthreads();
  double sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += partial[lane][threadIdx.x];
  return sum;
}

// Sum of term(n) over the thread's rows and then over its feature's threads.
template <class Term>
__device__ inline double sum_rows(int64_t rows, bool there, const Term& term) {
  double sum = 0;
  for (int64_t n = threadIdx.y; there && n < rows; n += kLanes) sum += term(n);
  return feature_sum(sum);
}

template <class S>
__device__ inline double widened(S value) {
  if constexpr (sizeof(S) >= 4) return value;
  return static_cast<float>(value);
}

// Mean and 1 / sqrt(variance + eps) of the feature, for all its threads.
template <class S>
__device__ inline double2 measure(const S* from, int64_t stride, int64_t rows, int64_t d, bool there, double eps) {
  const double count = static_cast<double>(rows);
  const double mean = sum_rows(rows, there, [=](int64_t n) { return widened(from[n * stride + d]); }) / count;
  const double squares = sum_rows(rows, there, [=](int64_t n) {
    const double distance = widened(from[n * stride + d]) - mean;
    return distance * distance;
  });
  return {mean, 1 / sqrt(squares / count + eps)};
}

// With negative eps the first four rows of `features` are there already.
template <class S, class A>
__global__ void __launch_bounds__(kFeatures* kLanes, 4)
    standardise_features(const S* a, int64_t a_stride, const S* b, int64_t b_stride, int64_t rows, int64_t width,
                         double eps, A* x, A* y, double* features) {
  const int64_t d = int64_t{blockIdx.x} * kFeatures + threadIdx.x;
  const bool there = d < width;
  double2 of_a = {0, 0}, of_b = {0, 0};
  if (eps >= 0) {
    of_a = measure(a, a_stride, rows, d, there, eps), of_b = measure(b, b_stride, rows, d, there, eps);
  } else if (there) {
    of_a = {features[d], features[width + d]}, of_b = {features[2 * width + d], features[3 * width + d]};
  }
  const double products = sum_rows(rows, there, [=](int64_t n) {
    const A left = static_cast<A>((widened(a[n * a_stride + d]) - of_a.x) * of_a.y);
    const A right = static_cast<A>((widened(b[n * b_stride + d]) - of_b.x) * of_b.y);
    x[n * width + d] = left, y[n * width + d] = right;
    return static_cast<double>(left) * right;
  });
  if (!there || threadIdx.y != 0 || eps < 0) return;
  const double values[] = {of_a.x, of_a.y, of_b.x, of_b.y, products / static_cast<double>(rows)};
  for (int k = 0; k < 5; ++k) features[k * width + d] = values[k];
}

// Sums of p q, or, without q, of the squares of p (side, side), whose diagonal becomes 0.
template <class A>
__global__ void __launch_bounds__(kReduceThreads)
    sum_products(A* p, const A* q, int64_t count, int64_t side, double* partials) {
  const int64_t each = (count + gridDim.x - 1) / gridDim.x, first = each * blockIdx.x;
  const double sum = block_sum(max(int64_t{0}, min(each, count - first)), [=](int64_t i) {
    const int64_t at = first + i;
    if (q) return static_cast<double>(p[at]) * q[at];
    if (at % (side + 1) == 0) p[at] = 0;
    return static_cast<double>(p[at]) * p[at];
  });
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

template <class A>
__global__ void __launch_bounds__(kReduceThreads)
    finish_loss(const double* partials, int64_t blocks, const double* diagonal, int64_t rows, int64_t width, Loss of,
                A* loss) {
  double squares = block_sum(blocks, [=](int64_t i) { return partials[i]; });
  squares /= static_cast<double>(rows) * static_cast<double>(rows);
  if (through_rows(rows, width)) squares -= block_sum(width, [=](int64_t d) { return diagonal[d] * diagonal[d]; });
  const double sum = block_sum(width, [=](int64_t d) { return of.diagonal(diagonal[d]); });
  if (threadIdx.x == 0) *loss = static_cast<A>(of.off_diagonal(squares) + sum);
}

template <class S, class A>
struct View {
  const A *product, *own, *other;
  const double* inverse;
  S* out;
};

// y: the view.
template <class S, class A>
__global__ void __launch_bounds__(kFeatures* kLanes, 4)
    differentiate_features(View<S, A> a, View<S, A> b, const double* diagonal, const double* upstream, int64_t rows,
                           int64_t width, Loss loss) {
  const View<S, A> view = blockIdx.y == 0 ? a : b;
  const int64_t d = int64_t{blockIdx.x} * kFeatures + threadIdx.x;
  const bool there = d < width;
  const double count = static_cast<double>(rows), off_diagonal = loss.off_diagonal_slope(1 / count);
  double slope = there ? loss.diagonal_slope(diagonal[d]) : 0;
  if (there && through_rows(rows, width)) slope -= loss.off_diagonal_slope(diagonal[d]);  // the product has it
  const double by = *upstream / count;
  const auto gradient = [=](int64_t n) {
    return by * (off_diagonal * view.product[n * width + d] + slope * view.other[n * width + d]);
  };
  const double mean = sum_rows(rows, there, gradient) / count;
  const double along = sum_rows(rows, there, [=](int64_t n) { return gradient(n) * view.own[n * width + d]; }) / count;
  for (int64_t n = threadIdx.y; there && n < rows; n += kLanes)
    view.out[n * width + d] =
        narrow<S>(through_standardisation(gradient(n), mean, along, view.own[n * width + d], view.inverse[d]));
}

template <class S>
using Wide = std::conditional_t<sizeof(S) == 8, double, float>;

dim3 feature_blocks(int64_t width, unsigned views) {
  return dim3(static_cast<unsigned>((width + kFeatures - 1) / kFeatures), views);
}

template <class A>
void start_loss(A* matrices, int64_t rows, int64_t width, const double* features, const Loss& of, double* partials,
                A* loss, cudaStream_t stream) {
  const int64_t side = through_rows(rows, width) ? rows : width;
  const A* second = through_rows(rows, width) ? matrices + rows * rows : nullptr;
  const int64_t blocks = std::clamp<int64_t>(side * side / (4 * kReduceThreads), 1, kPartials);
  launch(sum_products<A>, static_cast<unsigned>(blocks), kReduceThreads, 0, stream, matrices, second, side * side, side,
         partials);
  launch(finish_loss<A>, 1, kReduceThreads, 0, stream, partials, blocks, features + 4 * width, rows, width, of, loss);
}

}  // namespace

extern "C" void barlow_twins_standardise_launch(const void* a, int64_t a_stride, const void* b, int64_t b_stride,
                                                int64_t rows, int64_t width, int dtype, double eps, void* x, void* y,
                                                double* features, cudaStream_t stream) {
  with_type(dtype, [&](auto s) {
    using S = decltype(s);
    using A = Wide<S>;
    launch(standardise_features<S, A>, feature_blocks(width, 1), dim3(kFeatures, kLanes), 0, stream,
           static_cast<const S*>(a), a_stride, static_cast<const S*>(b), b_stride, rows, width, eps, static_cast<A*>(x),
           static_cast<A*>(y), features);
  });
}

extern "C" void barlow_twins_loss_launch(void* matrices, int64_t rows, int64_t width, int dtype, const double* features,
                                         double lambd, double scale, double* partials, void* loss,
                                         cudaStream_t stream) {
  const Loss of = {lambd, scale};
  if (dtype == kFloat64)
    start_loss(static_cast<double*>(matrices), rows, width, features, of, partials, static_cast<double*>(loss), stream);
  else
    start_loss(static_cast<float*>(matrices), rows, width, features, of, partials, static_cast<float*>(loss), stream);
}

extern "C" void barlow_twins_backward_launch(const void* of_x, const void* of_y, const void* x, const void* y,
                                             const double* features, const double* upstream, int64_t rows,
                                             int64_t width, int dtype, double lambd, double scale, void* of_a,
                                             void* of_b, cudaStream_t stream) {
  with_type(dtype, [&](auto s) {
    using S = decltype(s);
    using A = Wide<S>;
    const auto all = [](const void* data) { return static_cast<const A*>(data); };
    const View<S, A> a = {all(of_x), all(x), all(y), features + width, static_cast<S*>(of_a)};
    const View<S, A> b = {all(of_y), all(y), all(x), features + 3 * width, static_cast<S*>(of_b)};
    launch(differentiate_features<S, A>, feature_blocks(width, 2), dim3(kFeatures, kLanes), 0, stream, a, b,
           features + 4 * width, upstream, rows, width, Loss{lambd, scale});
  });
}

}  // namespace dssl::barlow_twins
