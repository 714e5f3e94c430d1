// Draws the programs of a batch: each thread draws a run of images into lists of its own, which are then joined.
#include "sample.h"

#include <cstring>
#include <tuple>

#include "../common/checks.h"

namespace dssl::augment {
namespace {

bool is_count(double v, double most) { return v >= 0 && v <= most && v == std::floor(v); }

bool is_side(double v) { return v >= 1 && is_count(v, kLargestSide); }

// Whether instructions [at, end) stay inside their own length and are not nested too deep; what Python compiles always
// does.
bool well_formed(const double* at, const double* end, int depth = 0) {
  if (depth > kDeepestChoice) return false;
  constexpr int64_t least[] = {2, 8, 9, 3, 9, 2, 3};
  for (const double* next; at < end; at = next) {
    if (end - at < kHeader || !is_count(at[0], kChoice) || !is_count(at[1], static_cast<double>(end - at)))
      return false;
    const int64_t kind = static_cast<int64_t>(at[0]), count = static_cast<int64_t>(at[1]) - kHeader;
    if (count < least[kind] || !is_count(at[2], kMostViewKeys - 1) || !is_count(at[3], kMostSteps - 1)) return false;
    next = at + kHeader + count;
    const double* p = at + kHeader;
    if (kind == kFixed && !is_count(p[0], kOpcodes - 1)) return false;
    if (kind == kRandomResizedCrop && !(p[2] > 0 && p[3] > 0 && is_side(p[4]) && is_side(p[5]))) return false;
    if (kind == kRandomOps && (!is_count(p[0], kMostOps) || (count - 3) % 6 != 0)) return false;
    if (kind == kRandomJigsaw && !(p[1] >= 1 && is_count(p[1], kLargestGrid))) return false;
    if (kind != kChoice) continue;
    if (!(p[0] >= 1 && is_count(p[0], static_cast<double>((count - 1) / 2)))) return false;
    const int64_t K = static_cast<int64_t>(p[0]);
    const double* body = p + 1 + 2 * K;
    for (int64_t k = 0; k < K; ++k) {
      if (!is_count(p[1 + K + k], static_cast<double>(next - body))) return false;
      const double* stop = body + static_cast<int64_t>(p[1 + K + k]);
      if (!well_formed(body, stop, depth + 1)) return false;
      body = stop;
    }
    if (body != next) return false;
  }
  return true;
}

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
    for (int64_t offset : run.value_offsets) value_offsets.push_back(base + offset);
  }
  for (int64_t steps : steps_of) step_offsets.push_back(step_offsets.back() + steps);
  return {tensor_of(opcodes, ScalarType::Int), tensor_of(step_offsets, ScalarType::Long),
          tensor_of(values, ScalarType::Double), tensor_of(value_offsets, ScalarType::Long)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> augment_sample_cpu(Tensor instructions, Tensor sample_ids, Tensor sizes,
                                                              int64_t seed, int64_t epoch) {
  check_dense(instructions, "augment_sample", "instructions", ScalarType::Double, 1);
  check_dense(sample_ids, "augment_sample", "sample_ids", ScalarType::Long, 1);
  check_dense(sizes, "augment_sample", "sizes", ScalarType::Long, 2);
  const int64_t count = sample_ids.size(0);
  require(sizes.size(0) == count && sizes.size(1) == 2, "augment_sample: sizes must be (B, 2)");
  require(epoch >= 0 && epoch < (int64_t{1} << 32), "augment_sample: epoch must be in 0..2^32-1; got ", epoch);
  const double *begin = instructions.const_data_ptr<double>(), *end = begin + instructions.numel();
  require(well_formed(begin, end), "augment_sample: instructions are malformed");
  const int64_t* ids = sample_ids.const_data_ptr<int64_t>();
  const int64_t* size = sizes.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < 2 * count; ++i)
    require(is_side(static_cast<double>(size[i])), "augment_sample: sizes must be in 1..32768; got ", size[i]);
  constexpr int64_t kRun = 64;  // images to one list: fixed, so that the joined order is the batch's
  std::vector<Steps> runs((count + kRun - 1) / kRun);
  std::vector<int64_t> steps_of(count);
  torch::stable::parallel_for(0, static_cast<int64_t>(runs.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first * kRun; b < std::min(last * kRun, count); ++b) {
      Steps& steps = runs[b / kRun];
      const size_t before = steps.opcodes.size();
      Sampler(static_cast<uint64_t>(seed), static_cast<uint64_t>(ids[b]), static_cast<uint32_t>(epoch), size[2 * b],
              size[2 * b + 1], steps)
          .run(begin, end);
      steps_of[b] = static_cast<int64_t>(steps.opcodes.size() - before);
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

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CPU, m) { m.impl("augment_sample", TORCH_BOX(&dssl::augment::augment_sample_cpu)); }
