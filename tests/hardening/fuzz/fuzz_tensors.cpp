// JigSaw and the losses at the level of the dispatcher, below every check of Python's: shapes, indices and numbers of
// any kind in tensors of any shape.
#include "barlow_twins/barlow_twins_cpu.cpp"
#include "directional_loss/directional_loss_cpu.cpp"
#include "jigsaw/jigsaw_cpu.cpp"
#include "nt_xent/nt_xent_cpu.cpp"
#include "source.h"

namespace {

using hardening::Source;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr ScalarType kTypes[] = {ScalarType::Float, ScalarType::Double, ScalarType::Half, ScalarType::BFloat16};

// Entries of any bits, or numbers around 1.
Tensor rows(Source& in, int64_t count, int64_t width, ScalarType dtype) {
  Tensor tensor = in.filled({count, width}, in.one_in(60) ? kTypes[in.number(0, 3)] : dtype);
  if (dtype == ScalarType::Float && in.one_in(2))
    for (int64_t k = 0; k < tensor.numel() * (tensor.scalar_type() == dtype); ++k)
      tensor.mutable_data_ptr<float>()[k] = static_cast<float>(static_cast<uint8_t>(k * 37 + count)) / 64 - 2;
  return tensor;
}

Tensor scalar(double value) {
  Tensor tensor({}, ScalarType::Double);
  *tensor.mutable_data_ptr<double>() = value;
  return tensor;
}

void jigsaw(Source& in) {
  const int64_t batch = in.number(0, 3), grid = in.one_in(20) ? in.ConsumeIntegral<int64_t>() : in.number(1, 6);
  const int64_t side = in.number(0, 70), tiles = in.one_in(20)           ? in.number(0, 40)
                                                 : grid > 0 && grid < 99 ? grid * grid
                                                                         : 0;
  const Tensor images = in.filled({batch, in.number(0, 4), side, in.one_in(2) ? side : in.number(0, 70)},
                                  in.one_in(2) ? ScalarType::Byte : kTypes[in.number(0, 3)], in.ConsumeBool());
  Tensor permutation({batch, tiles}, ScalarType::Long);
  const int64_t turn = in.number(0, 40);
  for (int64_t k = 0; k < permutation.numel(); ++k)
    permutation.mutable_data_ptr<int64_t>()[k] =
        in.one_in(60) ? in.ConsumeIntegral<int64_t>() : (k + turn) % std::max<int64_t>(1, tiles);
  dssl::jigsaw::jigsaw_cpu(images, grid, permutation);
}

void directional(Source& in) {
  const ScalarType dtype = kTypes[in.number(0, 3)];
  const int64_t batch = in.number(0, 9), width = in.one_in(3) ? in.number(0, 300) : in.number(0, 20);
  std::vector<Tensor> predictions, targets;
  for (int64_t k = in.number(0, 3); k > 0; --k) predictions.push_back(rows(in, batch, width, dtype));
  for (int64_t k = in.number(0, 3); k > 0; --k) targets.push_back(rows(in, in.one_in(40) ? 1 : batch, width, dtype));
  std::vector<int64_t> edges;
  for (int64_t k = in.number(0, 8); k > 0; --k)
    edges.push_back(in.one_in(25) ? in.ConsumeIntegral<int64_t>() : in.number(0, 2));
  std::vector<double> weights(in.one_in(30) ? in.number(0, 9) : edges.size() / 2, in.real());
  std::optional<Tensor> factors;
  const int64_t E = static_cast<int64_t>(weights.size());
  if (in.ConsumeBool())
    factors = in.filled(in.ConsumeBool() ? std::vector{E} : std::vector{E, batch}, ScalarType::Double);
  const int64_t reduction = in.number(-1, 3);
  const auto [loss, kept] =
      dssl::directional_loss::directional_loss_cpu(predictions, targets, edges, weights, factors, reduction);
  const Tensor upstream = in.filled(reduction == 0 ? std::vector{batch} : std::vector<int64_t>{}, ScalarType::Double);
  if (in.one_in(30)) edges.push_back(0);
  dssl::directional_loss::directional_loss_backward_cpu(predictions, targets, kept, upstream, edges, reduction);
}

void contrastive(Source& in) {
  const ScalarType dtype = kTypes[in.number(0, 3)];
  const int64_t pairs = in.one_in(9) ? in.number(0, 200) : in.number(0, 9),
                width = in.one_in(4) ? in.number(0, 140) : in.number(0, 9);
  std::vector<Tensor> x{rows(in, pairs, width, dtype)}, y;
  std::optional<Tensor> queue, positive, excluded;
  if (in.ConsumeBool()) {
    x.push_back(rows(in, in.one_in(30) ? 3 : pairs, width, dtype));
  } else {
    y.push_back(rows(in, pairs + in.number(0, 3), width, dtype));
    if (in.ConsumeBool()) queue = rows(in, in.number(0, 70), width, dtype);
    positive.emplace(std::vector<int64_t>{pairs}, ScalarType::Long),
        excluded.emplace(std::vector<int64_t>{pairs}, ScalarType::Long);
    for (int64_t k = 0; k < pairs; ++k) {
      positive->mutable_data_ptr<int64_t>()[k] = in.one_in(40) ? in.ConsumeIntegral<int64_t>() : k;
      excluded->mutable_data_ptr<int64_t>()[k] = in.one_in(40) ? in.number(-3, 300) : -1;
    }
  }
  const Tensor temperature = scalar(in.one_in(9) ? in.real() : 0.2);
  const bool only = in.ConsumeBool(), decoupled = in.ConsumeBool();
  const int64_t reduction = in.number(0, 2);
  const auto [loss, positives, negatives, nearest] = dssl::nt_xent::nt_xent_cpu(
      x, y, queue, positive, excluded, only, temperature, decoupled, reduction, in.ConsumeBool(), false);
  const Tensor upstream =
      in.filled(reduction == 0 ? std::vector{positives.size(0)} : std::vector<int64_t>{}, ScalarType::Double);
  dssl::nt_xent::nt_xent_backward_cpu(x, y, queue, positive, excluded, only, temperature, decoupled, positives,
                                      negatives, upstream, reduction, in.ConsumeBool(), false);
}

void barlow(Source& in) {
  const ScalarType dtype = kTypes[in.number(0, 3)];
  const int64_t count = in.number(0, 40), width = in.number(0, 99);
  const Tensor a = rows(in, count, width, dtype), b = rows(in, count, width, dtype);
  const double lambd = in.real(), scale = in.real();
  const auto [loss, matrices, features] =
      dssl::barlow_twins::barlow_twins_cpu(a, b, lambd, scale, in.one_in(4) ? in.real() : 1e-5);
  dssl::barlow_twins::barlow_twins_backward_cpu(a, b, matrices, features, scalar(in.real()), lambd, scale);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Source in(data, size);
  void (*const rooms[])(Source&) = {jigsaw, directional, contrastive, barlow};
  try {
    rooms[in.number(0, 3)](in);
  } catch (const std::exception&) {
  }
  return 0;
}
