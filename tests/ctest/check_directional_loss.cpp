// A C++ program calls the op through the dispatcher, and compares with the definition: a double loop for the value,
// central differences for the gradient.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>

#include <cmath>
#include <vector>

#include "check.h"

namespace {

constexpr int64_t kViews = 4, kRows = 5, kWidth = 131;
const std::vector<int64_t> kEdges = {0, 1, 1, 0, 2, 0, 3, 1};  // prediction, target: the graph of the paper, Eq. 5
const std::vector<double> kWeights = {0.5, 0.5, 0.25, 1.0};

std::vector<at::Tensor> random_views() {
  std::vector<at::Tensor> views;
  for (int64_t view = 0; view < kViews; ++view) views.push_back(at::randn({kRows, kWidth}, at::kDouble));
  return views;
}

double cosine(const double* a, const double* b) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t d = 0; d < kWidth; ++d) ab += a[d] * b[d], aa += a[d] * a[d], bb += b[d] * b[d];
  return ab / std::sqrt(aa * bb);
}

double definition(const std::vector<at::Tensor>& predictions, const std::vector<at::Tensor>& targets) {
  double loss = 0;
  for (size_t e = 0; e < kWeights.size(); ++e)
    for (int64_t row = 0; row < kRows; ++row)
      loss -= kWeights[e] * cosine(predictions[kEdges[2 * e]].const_data_ptr<double>() + row * kWidth,
                                   targets[kEdges[2 * e + 1]].const_data_ptr<double>() + row * kWidth);
  return loss;
}

}  // namespace

int main() {
  const std::vector<at::Tensor> predictions = random_views(), targets = random_views();
  constexpr int64_t kSum = 1;
  const auto call = [](const char* name, std::vector<c10::IValue> stack) {
    c10::Dispatcher::singleton().findSchemaOrThrow(name, "").callBoxed(stack);
    return stack;
  };
  const auto forward =
      call("dssl_ops::directional_loss", {predictions, targets, kEdges, kWeights, c10::IValue(), kSum});
  const at::Tensor upstream = at::ones({}, at::kDouble);
  const at::Tensor gradients = call("dssl_ops::directional_loss_backward",
                                    {predictions, targets, forward[1].toTensor(), upstream, kEdges, kSum})[0]
                                   .toTensor();

  EXPECT(std::abs(forward[0].toTensor().item<double>() - definition(predictions, targets)) < 1e-12);
  EXPECT(gradients.size(0) == kViews);
  constexpr double kStep = 1e-5;  // central differences err by about step^2 and by rounding / step: both near 1e-10
  for (int64_t view = 0; view < kViews; ++view)
    for (int64_t k = 0; k < kRows * kWidth; k += 37) {
      double& x = predictions[view].mutable_data_ptr<double>()[k];
      const double before = x;
      x = before + kStep;
      const double above = definition(predictions, targets);
      x = before - kStep;
      const double below = definition(predictions, targets);
      x = before;
      EXPECT(std::abs((above - below) / (2 * kStep) - gradients.const_data_ptr<double>()[view * kRows * kWidth + k]) <
             1e-8);
    }
}
