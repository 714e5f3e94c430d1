// What the draws of a batch depend on, read from tensors and checked.
#pragma once

#include "../common/checks.h"
#include "sample.h"

namespace dssl::augment {

struct Draws {
  const double *begin, *end;  // of the instructions
  const int64_t* sample_ids;
  uint64_t seed;
  uint32_t epoch;

  // Appends the steps of image b, which is of this size.
  void run(int64_t b, int64_t height, int64_t width, Steps& steps) const {
    Sampler(seed, static_cast<uint64_t>(sample_ids[b]), epoch, height, width, steps).run(begin, end);
  }
};

inline Draws make_draws(const Tensor& instructions, const Tensor& sample_ids, int64_t seed, int64_t epoch,
                        int64_t count) {
  check_dense(instructions, "augment_sample", "instructions", ScalarType::Double, 1);
  check_dense(sample_ids, "augment_sample", "sample_ids", ScalarType::Long, 1);
  require(sample_ids.size(0) == count, "augment_sample: sample_ids must be for ", count, " images; got ",
          sample_ids.size(0));
  require(epoch >= 0 && epoch < (int64_t{1} << 32), "augment_sample: epoch must be in 0..2^32-1; got ", epoch);
  const double *begin = instructions.const_data_ptr<double>(), *end = begin + instructions.numel();
  require(well_formed(begin, end), "augment_sample: instructions are malformed");
  return {begin, end, sample_ids.const_data_ptr<int64_t>(), static_cast<uint64_t>(seed), static_cast<uint32_t>(epoch)};
}

}  // namespace dssl::augment
