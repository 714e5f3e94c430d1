// Draws the programs of a batch: each thread draws a run of images into lists of its own, which are then joined.
#include <cstring>
#include <tuple>

#include "../common/parallel.h"
#include "draws.h"

namespace dssl::augment {
namespace {

template <class T>
Tensor tensor_of(const std::vector<T>& data, ScalarType dtype) {
  const Tensor out = torch::stable::empty({static_cast<int64_t>(data.size())}, dtype);
  if (!data.empty()) std::memcpy(out.mutable_data_ptr(), data.data(), data.size() * sizeof(T));
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> join(const std::vector<Steps>& runs, const std::vector<int64_t>& steps_of) {
  std::vector<int32_t> opcodes;
  std::vector<double> values;
  std::vector<int64_t> value_offsets{0}, step_offsets{0};
  for (const Steps& run : runs) {
    const int64_t base = static_cast<int64_t>(values.size());
    opcodes.insert(opcodes.end(), run.opcodes.begin(), run.opcodes.end());
    values.insert(values.end(), run.values.begin(), run.values.end());
    for (size_t s = 1; s < run.value_offsets.size(); ++s) value_offsets.push_back(base + run.value_offsets[s]);
  }
  for (int64_t steps : steps_of) step_offsets.push_back(step_offsets.back() + steps);
  return {tensor_of(opcodes, ScalarType::Int), tensor_of(step_offsets, ScalarType::Long),
          tensor_of(values, ScalarType::Double), tensor_of(value_offsets, ScalarType::Long)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> augment_sample_cpu(Tensor instructions, Tensor sample_ids, Tensor sizes,
                                                              int64_t seed, int64_t epoch) {
  check_dense(sizes, "augment_sample", "sizes", ScalarType::Long, 2);
  const int64_t count = sizes.size(0);
  require(sizes.size(1) == 2, "augment_sample: sizes must be (B, 2)");
  const Draws draws = make_draws(instructions, sample_ids, seed, epoch, count);
  const int64_t* size = sizes.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < 2 * count; ++i)
    require(is_side(static_cast<double>(size[i])), "augment_sample: sizes must be in 1..32768; got ", size[i]);
  constexpr int64_t kRun = 64;  // images to one list: fixed, so that the joined order is the batch's
  std::vector<Steps> runs((count + kRun - 1) / kRun);
  std::vector<int64_t> steps_of(count);
  parallel_for(0, static_cast<int64_t>(runs.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t run = first; run < last; ++run) {
      Steps steps;
      for (int64_t b = run * kRun; b < std::min((run + 1) * kRun, count); ++b) {
        const size_t before = steps.opcodes.size();
        draws.run(b, size[2 * b], size[2 * b + 1], steps);
        steps_of[b] = static_cast<int64_t>(steps.opcodes.size() - before);
      }
      runs[run] = std::move(steps);
    }
  });
  return join(runs, steps_of);
}

}  // namespace
}  // namespace dssl::augment

STABLE_TORCH_LIBRARY_FRAGMENT(dssl_ops, m) {
  m.def(
      "augment_sample(Tensor instructions, Tensor sample_ids, Tensor sizes, int seed, int epoch) -> "
      "(Tensor opcodes, Tensor step_offsets, Tensor values, Tensor value_offsets)");
}

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CPU, m) {
  m.impl("augment_sample", dssl::boxed<&dssl::augment::augment_sample_cpu>);
}
