// The sampler: instruction words from nearly right to arbitrary, drawn alone and drawn as they run.
#include "augment/augment_cpu.cpp"
#include "augment/canvas_cpu.cpp"
#include "augment/canvas_pixels_cpu.cpp"
#include "augment/canvas_resample_cpu.cpp"
#include "augment/sample_cpu.cpp"
#include "source.h"

namespace dssl::augment {
namespace {

using Numbers = std::vector<double>;

void add(hardening::Source& in, Numbers& to, int64_t side, int depth);

Numbers body_of(hardening::Source& in, int64_t kind, int64_t side, int depth) {
  const auto small = [&](int64_t low, int64_t high) { return static_cast<double>(in.number(low, high)); };
  Numbers p;
  switch (kind) {
    case kFixed: {
      const int64_t opcode = in.number(0, kOpcodes - 1);
      p = {static_cast<double>(opcode), in.ConsumeProbability<double>()};
      for (int k = 0; k < kOpcodeValues[opcode]; ++k) p.push_back(in.real());
      return p;
    }
    case kRandomResizedCrop:
      for (int k = 0; k < 4; ++k)
        p.push_back(in.one_in(6) ? in.real() : in.ConsumeFloatingPointInRange<double>(0.1, 3));
      p.insert(p.end(), {small(1, side), small(1, side), small(2, 3), small(12, 13)});
      return p;
    case kRandomOps:
      p = {small(0, 9), in.one_in(3) ? -1 : in.ConsumeProbability<double>(), std::vector{0., 2., 3.}[in.number(0, 2)]};
      for (int64_t entries = in.number(1, 3); entries > 0; --entries) {
        p.push_back(in.one_in(15) ? in.real() : small(0, kOpcodes - 1));
        for (int k = 0; k < 3; ++k) p.push_back(in.real());
        p.push_back(small(0, 1)), p.push_back(in.one_in(15) ? in.real() : small(0, 4));
      }
      return p;
    case kRandomJigsaw: return {in.ConsumeProbability<double>(), small(1, 9)};
    case kChoice: {
      const int64_t K = in.number(1, 3);
      p.push_back(static_cast<double>(K));
      for (int64_t k = 0; k < K; ++k) p.push_back(in.ConsumeProbability<double>());
      Numbers bodies;
      for (int64_t k = 0; k < K; ++k) {
        const size_t before = bodies.size();
        if (depth < 3) add(in, bodies, side, depth + 1);
        p.push_back(static_cast<double>(bodies.size() - before));
      }
      p.insert(p.end(), bodies.begin(), bodies.end());
      return p;
    }
    default:
      for (int k = 0; k < (kind == kColorJitter ? 9 : 3); ++k) p.push_back(in.real());
      return p;
  }
}

void add(hardening::Source& in, Numbers& to, int64_t side, int depth) {
  for (int64_t n = in.number(0, 3); n > 0; --n) {
    const int64_t kind = in.number(0, kChoice);
    const Numbers p = body_of(in, kind, side, depth);
    to.insert(to.end(), {static_cast<double>(kind), static_cast<double>(kHeader + p.size()),
                         static_cast<double>(in.number(0, 255)), static_cast<double>(in.number(0, 4095))});
    to.insert(to.end(), p.begin(), p.end());
  }
}

}  // namespace
}  // namespace dssl::augment

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dssl;
  using namespace dssl::augment;
  hardening::Source in(data, size);
  const int64_t batch = in.number(0, 2), side = in.number(1, 24), views = in.number(1, 2);
  dssl::augment::Numbers words;
  for (int64_t view = 0; view < views; ++view) {
    if (view) words.insert(words.end(), {kFixed, 6, 0, 0, kSource, 1});
    add(in, words, side, 0);
    words.insert(words.end(), {kFixed, 7, 0, 1, kEmit, 1, static_cast<double>(view)});
  }
  for (int64_t spoilt = in.number(0, 3) - 1; spoilt > 0; --spoilt) words[in.number(0, words.size() - 1)] = in.real();
  if (in.one_in(20)) words.resize(in.number(0, words.size()));
  const Tensor instructions = in.of(words, ScalarType::Double), ids = in.filled({batch}, ScalarType::Long);
  Tensor sizes({batch, 2}, ScalarType::Long);
  for (int64_t k = 0; k < 2 * batch; ++k)
    sizes.mutable_data_ptr<int64_t>()[k] =
        in.one_in(20) ? in.ConsumeIntegral<int64_t>() : in.number(1, 1 << in.number(0, 15));
  const int64_t seed = in.ConsumeIntegral<int64_t>(),
                epoch = in.one_in(20) ? in.ConsumeIntegral<int64_t>() : in.number(0, 9);
  try {
    augment_sample_cpu(instructions, ids, sizes, seed, epoch);
  } catch (const std::exception&) {
  }
  const Tensor images = in.filled({batch, in.one_in(3) ? 1 : 3, side, side}, ScalarType::Byte);
  const Tensor out({views, batch, images.size(1), side, side}, ScalarType::Byte, in.ConsumeBool());
  hardening::same_twice(out, [&] { augment_drawn_cpu({images}, {}, instructions, ids, seed, epoch, {}, out); });
  return 0;
}
