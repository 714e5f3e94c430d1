// Every CPU op on four threads against the same on one: the same bits, and ThreadSanitizer sees no race. Built and run
// by `python tests/hardening races`; without torch, so that all synchronisation is std::thread's, which it understands.
#include <cstdio>
#include <functional>

#include "augment/augment_cpu.cpp"
#include "augment/canvas_cpu.cpp"
#include "augment/canvas_pixels_cpu.cpp"
#include "augment/canvas_resample_cpu.cpp"
#include "augment/sample_cpu.cpp"
#include "barlow_twins/barlow_twins_cpu.cpp"
#include "directional_loss/directional_loss_cpu.cpp"
#include "jigsaw/jigsaw_cpu.cpp"
#include "nt_xent/nt_xent_cpu.cpp"

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Tensors = std::vector<Tensor>;

Tensor bytes(const std::vector<int64_t>& sizes) {
  Tensor tensor(sizes, ScalarType::Byte);
  for (int64_t k = 0; k < tensor.numel(); ++k)
    tensor.mutable_data_ptr<uint8_t>()[k] = static_cast<uint8_t>(k * 2654435761u >> 13);
  return tensor;
}

template <class T>
Tensor rows(int64_t count, int64_t width, ScalarType dtype, int seed) {
  Tensor tensor({count, width}, dtype);
  for (int64_t k = 0; k < count * width; ++k)
    tensor.mutable_data_ptr<T>()[k] = static_cast<T>(static_cast<float>((k * 7919 + seed * 104729) % 1000) / 500 - 1);
  return tensor;
}

Tensor scalar(double value) {
  Tensor tensor({}, ScalarType::Double);
  *tensor.mutable_data_ptr<double>() = value;
  return tensor;
}

Tensor counting(std::vector<int64_t> sizes, int64_t period) {
  Tensor tensor(sizes, ScalarType::Long);
  for (int64_t k = 0; k < tensor.numel(); ++k) tensor.mutable_data_ptr<int64_t>()[k] = k % period;
  return tensor;
}

Tensor numbers(const std::vector<double>& values) {
  Tensor tensor({static_cast<int64_t>(values.size())}, ScalarType::Double);
  std::memcpy(tensor.mutable_data_ptr(), values.data(), values.size() * sizeof(double));
  return tensor;
}

// A crop, a jitter, two operations and a jigsaw, shown as view 0.
Tensor instructions() {
  using namespace dssl::augment;
  return numbers({kRandomResizedCrop,
                  12,
                  0,
                  0,
                  0.2,
                  1,
                  0.75,
                  1.34,
                  64,
                  64,
                  2,
                  13,  //
                  kColorJitter,
                  13,
                  0,
                  1,
                  1,
                  0.6,
                  1.4,
                  0.6,
                  1.4,
                  0.6,
                  1.4,
                  -0.1,
                  0.1,  //
                  kRandomOps,
                  19,
                  0,
                  2,
                  2,
                  1,
                  2,
                  kRotate,
                  0,
                  9,
                  30,
                  1,
                  0,
                  kEqualize,
                  0,
                  0,
                  0,
                  0,
                  3,  //
                  kRandomJigsaw,
                  6,
                  0,
                  3,
                  1,
                  4,
                  kRandomBlur,
                  7,
                  0,
                  4,
                  1,
                  0.1,
                  2,
                  kFixed,
                  7,
                  0,
                  5,
                  kEmit,
                  1,
                  0});
}

Tensors drawn() {
  const Tensor images = bytes({150, 3, 70, 66}), ids = counting({150}, 150), out({1, 150, 3, 64, 64}, ScalarType::Byte);
  dssl::augment::augment_drawn_cpu({images}, {}, instructions(), ids, 7, 1, {}, out);
  return {out};
}

Tensors programs() {
  Tensor sizes({150, 2}, ScalarType::Long);
  std::fill_n(sizes.mutable_data_ptr<int64_t>(), 300, 66);
  const auto [opcodes, steps, values, ends] =
      dssl::augment::augment_sample_cpu(instructions(), counting({150}, 150), sizes, 7, 1);
  const Tensor images = bytes({150, 3, 66, 66}), out({1, 150, 3, 64, 64}, ScalarType::Byte);
  dssl::augment::augment_cpu({images}, {}, opcodes, steps, values, ends, {}, out);
  return {opcodes, steps, values, ends, out};
}

Tensors jigsaw() { return {dssl::jigsaw::jigsaw_cpu(bytes({64, 3, 256, 256}), 4, counting({64, 16}, 16))}; }

template <class T>
Tensors directional(ScalarType dtype) {
  const Tensors p{rows<T>(300, 700, dtype, 1), rows<T>(300, 700, dtype, 2)};
  const std::vector<int64_t> edges{0, 1, 1, 0};
  const auto [loss, kept] = dssl::directional_loss::directional_loss_cpu(p, p, edges, {0.5, 0.5}, {}, 2);
  return {loss, kept, dssl::directional_loss::directional_loss_backward_cpu(p, p, kept, scalar(1), edges, 2)};
}

template <class T>
Tensors contrastive(ScalarType dtype, int64_t count, bool with_queue) {
  const Tensors x{rows<T>(count, 70, dtype, 1)};
  Tensors y{rows<T>(count, 70, dtype, 2)}, all{x[0], y[0]};
  std::optional<Tensor> queue, positive, excluded;
  if (with_queue) {
    queue = rows<T>(2 * count, 70, dtype, 3), positive = counting({count}, count), excluded = counting({count}, count);
    std::fill_n(excluded->mutable_data_ptr<int64_t>(), count, -1);
    all.pop_back();
  } else {
    y.clear();
  }
  const Tensor t = scalar(0.2);
  const auto [loss, positives, negatives, nearest] =
      dssl::nt_xent::nt_xent_cpu(all, y, queue, positive, excluded, false, t, false, 2, true, false);
  const auto [of_rows, of_columns, of_t] = dssl::nt_xent::nt_xent_backward_cpu(
      all, y, queue, positive, excluded, false, t, false, positives, negatives, scalar(1), 2, true, false);
  Tensors results{loss, positives, negatives, nearest, of_t};
  results.insert(results.end(), of_rows.begin(), of_rows.end());
  results.insert(results.end(), of_columns.begin(), of_columns.end());
  return results;
}

Tensors barlow(int64_t count, int64_t width) {
  const Tensor a = rows<float>(count, width, ScalarType::Float, 1), b = rows<float>(count, width, ScalarType::Float, 2);
  const auto [loss, matrices, features] = dssl::barlow_twins::barlow_twins_cpu(a, b, 0.005, 1, 1e-5);
  const auto [of_a, of_b] =
      dssl::barlow_twins::barlow_twins_backward_cpu(a, b, matrices, features, scalar(1), 0.005, 1);
  return {loss, matrices, features, of_a, of_b};
}

bool same(const Tensors& a, const Tensors& b) {
  bool equal = a.size() == b.size();
  for (size_t k = 0; equal && k < a.size(); ++k) {
    const size_t size = a[k].numel() * a[k].element_size();
    equal = a[k].sizes() == b[k].sizes() && !std::memcmp(a[k].const_data_ptr(), b[k].const_data_ptr(), size);
  }
  return equal;
}

}  // namespace

int main() {
  using Half = c10::BFloat16;
  const std::pair<const char*, std::function<Tensors()>> ops[] = {
      {"augment_drawn", drawn},
      {"augment_sample, augment", programs},
      {"jigsaw", jigsaw},
      {"directional_loss float32", [] { return directional<float>(ScalarType::Float); }},
      {"directional_loss bfloat16", [] { return directional<Half>(ScalarType::BFloat16); }},
      {"nt_xent float32", [] { return contrastive<float>(ScalarType::Float, 300, false); }},
      {"nt_xent float64", [] { return contrastive<double>(ScalarType::Double, 200, false); }},
      {"nt_xent bfloat16", [] { return contrastive<Half>(ScalarType::BFloat16, 300, false); }},
      {"info_nce with a queue", [] { return contrastive<float>(ScalarType::Float, 200, true); }},
      {"barlow_twins by features", [] { return barlow(200, 150); }},
      {"barlow_twins by rows", [] { return barlow(70, 300); }},
  };
  int different = 0;
  for (const auto& [name, op] : ops) {
    torch::stable::threads = 1;
    const Tensors alone = op();
    bool equal = true;
    for (const uint32_t threads : {2, 4, 7}) {
      torch::stable::threads = threads;
      equal = same(op(), alone) && equal;
    }
    std::printf("%-28s 3 runs on 2, 4, 7 threads: %s\n", name, equal ? "the bits of one thread" : "OTHER BITS");
    different += !equal;
  }
  return different;
}
