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

// add(n, sums) of the thread's rows, and then the sums over its feature's threads.
template <int kSums, class Add>
__device__ inline void sum_rows(int64_t rows, bool there, double (&sums)[kSums], const Add& add) {
  for (int64_t n = threadIdx.y; there && n < rows; n += kLanes) add(n, sums);
  for (double& sum : sums) sum = feature_sum(sum);
}

template <class S>
__device__ inline double widened(S value) {
  if constexpr (sizeof(S) >= 4) return value;
  return static_cast<float>(value);
}

struct Moments {
  double mean, inverse;  // inverse: 1 / sqrt(variance + eps)

  // From sums of distances to one of the values, and of their squares. That value's own share, distance^2 / rows, is
  // part of the variance: the difference costs no more digits than the number of rows has.
  __device__ static Moments of(double from, double distances, double squares, double count, double eps) {
    const double distance = distances / count, variance = squares / count - distance * distance;
    return {from + distance, 1 / sqrt((variance > 0 || variance != variance ? variance : 0.0) + eps)};
  }
};

// Of both views, for all threads of the feature.
template <class S>
__device__ inline void measure(const S* a, int64_t a_stride, const S* b, int64_t b_stride, int64_t rows, bool there,
                               double eps, Moments& of_a, Moments& of_b) {
  const double first_a = there ? widened(a[0]) : 0, first_b = there ? widened(b[0]) : 0;
  double sums[4] = {};
  sum_rows(rows, there, sums, [=](int64_t n, double (&sums)[4]) {
    const double left = widened(a[n * a_stride]) - first_a, right = widened(b[n * b_stride]) - first_b;
    sums[0] += left, sums[1] += left * left, sums[2] += right, sums[3] += right * right;
  });
  of_a = Moments::of(first_a, sums[0], sums[1], static_cast<double>(rows), eps);
  of_b = Moments::of(first_b, sums[2], sums[3], static_cast<double>(rows), eps);
}

// With negative eps the first four rows of `features` are there already.
template <class S, class A>
__global__ void __launch_bounds__(kFeatures* kLanes, 4)
    standardise_features(const S* a, int64_t a_stride, const S* b, int64_t b_stride, int64_t rows, int64_t width,
                         double eps, A* x, A* y, double* features) {
  const int64_t d = int64_t{blockIdx.x} * kFeatures + threadIdx.x;
  const bool there = d < width;
  Moments of_a = {0, 0}, of_b = {0, 0};
  if (eps >= 0) {
    measure(a + d, a_stride, b + d, b_stride, rows, there, eps, of_a, of_b);
  } else if (there) {
    of_a = {features[d], features[width + d]}, of_b = {features[2 * width + d], features[3 * width + d]};
  }
  double products[1] = {};
  sum_rows(rows, there, products, [=](int64_t n, double (&products)[1]) {
    const A left = static_cast<A>((widened(a[n * a_stride + d]) - of_a.mean) * of_a.inverse);
    const A right = static_cast<A>((widened(b[n * b_stride + d]) - of_b.mean) * of_b.inverse);
    x[n * width + d] = left, y[n * width + d] = right;
    products[0] += static_cast<double>(left) * right;
  });
  if (!there || threadIdx.y != 0 || eps < 0) return;
  const double values[] = {of_a.mean, of_a.inverse, of_b.mean, of_b.inverse, products[0] / static_cast<double>(rows)};
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
  double sums[2] = {};
  sum_rows(rows, there, sums, [=](int64_t n, double (&sums)[2]) {
    const double value = gradient(n);
    sums[0] += value, sums[1] += value * view.own[n * width + d];
  });
  const double mean = sums[0] / count, along = sums[1] / count;
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
