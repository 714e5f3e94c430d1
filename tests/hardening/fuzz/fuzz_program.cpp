// The engine's interpreter: programs from nearly right to arbitrary, over a batch, a list or one packed buffer.
#include "augment/augment_cpu.cpp"
#include "augment/canvas_cpu.cpp"
#include "augment/canvas_pixels_cpu.cpp"
#include "augment/canvas_resample_cpu.cpp"
#include "source.h"

namespace dssl::augment {
namespace {

struct Lists {
  std::vector<int32_t> opcodes;
  std::vector<int64_t> step_offsets{0}, value_offsets{0};
  std::vector<double> values;
};

void add_values(hardening::Source& in, int32_t opcode, int64_t side, std::vector<double>& values) {
  const auto add = [&](double v) { values.push_back(v); };
  const int count = opcode >= 0 && opcode < kOpcodes ? kOpcodeValues[opcode] : static_cast<int>(in.number(0, 9));
  if (opcode == kJigsaw) {
    const int64_t grid = in.one_in(8) ? in.number(0, 9) : in.number(1, 4), swap = in.number(0, 80);
    for (int64_t k = 0; k < grid * grid; ++k)
      add(static_cast<double>(in.one_in(20) ? in.number(-1, 99) : (k + swap) % (grid * grid)));
    return;
  }
  if (opcode == kResizedCrop && !in.one_in(6)) {
    for (int k = 0; k < 6; ++k) add(static_cast<double>(in.number(k >= 2, side)));
    add(in.one_in(9) ? in.real() : static_cast<double>(in.number(2, 3)));
    add(static_cast<double>(in.number(12, 13)));
    return;
  }
  for (int k = 0; k < count; ++k)
    add(k == 1 && count == 2 && !in.one_in(9) ? std::vector{0., 2., 3.}[in.number(0, 2)] : in.real());
  if (in.one_in(40)) add(in.real());
}

void add_program(hardening::Source& in, int64_t views, int64_t side, Lists& to) {
  std::vector<int32_t> opcodes;
  for (int64_t k = in.number(0, 6); k > 0; --k)
    opcodes.push_back(static_cast<int32_t>(in.one_in(30) ? in.ConsumeIntegral<int32_t>() : in.number(0, kOpcodes - 1)));
  for (int64_t view = 0; view < views; ++view) opcodes.push_back(kEmit);
  int64_t emitted = 0;
  for (const int32_t opcode : opcodes) {
    to.opcodes.push_back(opcode);
    if (opcode == kEmit && !in.one_in(20))
      to.values.push_back(static_cast<double>(emitted++ % views));
    else
      add_values(in, opcode, side, to.values);
    to.value_offsets.push_back(static_cast<int64_t>(to.values.size()));
  }
  to.step_offsets.push_back(static_cast<int64_t>(to.opcodes.size()));
}

void spoil(hardening::Source& in, std::vector<int64_t>& offsets) {
  if (in.one_in(25))
    offsets[in.number(0, offsets.size() - 1)] = in.one_in(2) ? in.ConsumeIntegral<int64_t>() : in.number(-2, 9);
  if (in.one_in(60)) offsets.pop_back();
}

// The images in one of their forms; sizes only with one packed buffer.
std::vector<Tensor> images_of(hardening::Source& in, int64_t batch, int64_t channels, int64_t side,
                              std::optional<Tensor>& sizes) {
  std::vector<Tensor> images;
  const auto any = [&] { return in.one_in(3) ? in.number(1, side) : side; };
  switch (in.number(0, 2)) {
    case 0: return {in.filled({batch, channels, any(), any()}, ScalarType::Byte, in.ConsumeBool())};
    case 1:
      for (int64_t b = 0; b < batch; ++b)
        images.push_back(in.filled({channels, any(), any()}, ScalarType::Byte, in.ConsumeBool()));
      return images;
    default: break;
  }
  sizes.emplace(std::vector<int64_t>{batch, 2}, ScalarType::Long);
  int64_t bytes = 0, *to = sizes->mutable_data_ptr<int64_t>();
  for (int64_t b = 0; b < batch; ++b, to += 2) {
    to[0] = any(), to[1] = any(), bytes += channels * to[0] * to[1];
    if (in.one_in(30)) to[in.number(0, 1)] = in.one_in(2) ? in.ConsumeIntegral<int64_t>() : in.number(-1, side + 1);
  }
  if (in.one_in(30)) bytes = std::max<int64_t>(0, bytes + in.number(-3, 3));
  return {in.filled({bytes}, ScalarType::Byte)};
}

}  // namespace
}  // namespace dssl::augment

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dssl;
  using namespace dssl::augment;
  hardening::Source in(data, size);
  const int64_t batch = in.number(0, 3), channels = in.one_in(3) ? 1 : 3, side = in.number(1, 24);
  const int64_t views = in.one_in(40) ? in.number(1, 65) : in.number(1, 3);
  std::optional<Tensor> sizes, table;
  const std::vector<Tensor> images = images_of(in, batch, channels, side, sizes);
  Lists lists;
  for (int64_t b = 0; b < batch; ++b) add_program(in, views, side, lists);
  spoil(in, lists.step_offsets), spoil(in, lists.value_offsets);
  ScalarType dtype = ScalarType::Byte;
  if (in.one_in(3)) {
    constexpr ScalarType kinds[] = {ScalarType::Float, ScalarType::Half, ScalarType::BFloat16, ScalarType::Byte};
    dtype = kinds[in.number(0, 3)];
    table = in.filled({in.one_in(30) ? in.number(0, 4) : channels, in.one_in(30) ? 255 : 256}, dtype);
  }
  const Tensor out({views, in.one_in(30) ? in.number(0, 4) : batch, channels, side, side}, dtype, in.ConsumeBool());
  const Tensor opcodes = in.of(lists.opcodes, ScalarType::Int), values = in.of(lists.values, ScalarType::Double);
  const Tensor steps = in.of(lists.step_offsets, ScalarType::Long), ends = in.of(lists.value_offsets, ScalarType::Long);
  hardening::same_twice(out, [&] { augment_cpu(images, sizes, opcodes, steps, values, ends, table, out); });
  return 0;
}
