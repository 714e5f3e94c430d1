// Runs the programs of a batch, image by image, threads over images. Nothing is shared between images, so no split,
// order or thread count can change a bit.
#include <atomic>
#include <optional>

#include "../common/checks.h"
#include "../common/pages.h"
#include "canvas.h"

namespace dssl::augment {
namespace {

struct Batch {
  const uint8_t* images;
  int64_t count;
  int channels;
  Size source, view;
  int views;
  bool channels_last_in, channels_last_out;

  int64_t source_bytes() const { return channels * source.height * source.width; }
  int64_t view_values() const { return channels * view.height * view.width; }
};

template <class Out>
void run_program(Canvas& canvas, const Batch& batch, const Programs& programs, int64_t b, const Out* table, Out* out) {
  const uint8_t* image = batch.images + b * batch.source_bytes();
  canvas.load(image, batch.source, batch.channels_last_in);
  for (int64_t s = programs.step_offsets[b]; s < programs.step_offsets[b + 1]; ++s) {
    const Step step = programs.step(s);
    if (step.opcode == kSource)
      canvas.load(image, batch.source, batch.channels_last_in);
    else if (step.opcode == kEmit)
      canvas.emit(out + (static_cast<int64_t>(step.values[0]) * batch.count + b) * batch.view_values(), table,
                  batch.channels_last_out);
    else
      canvas.run(step);
  }
}

// Returns the lowest image whose program is faulty, or -1; faulty programs are not run.
template <class Out>
int64_t run_batch(const Batch& batch, const Programs& programs, const Out* table, Out* out) {
  std::atomic<int64_t> faulty{batch.count};
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, batch.source_bytes() + batch.view_values()));
  torch::stable::parallel_for(0, batch.count, grain, [&](int64_t begin, int64_t end) {
    Canvas canvas(batch.channels);
    for (int64_t b = begin; b < end; ++b) {
      if (first_fault(programs, b, batch.source, batch.view, batch.views) < 0) {
        run_program(canvas, batch, programs, b, table, out);
        continue;
      }
      for (int64_t lowest = faulty; b < lowest && !faulty.compare_exchange_weak(lowest, b);) {
      }
    }
  });
  return faulty == batch.count ? -1 : faulty.load();
}

[[noreturn]] void report_fault(const Batch& batch, const Programs& programs, int64_t b) {
  const int64_t at = first_fault(programs, b, batch.source, batch.view, batch.views);
  const int64_t s = programs.step_offsets[b] + at;
  if (s == programs.step_offsets[b + 1])
    refuse("augment: the program of image ", b, " must emit each of its ", batch.views,
           " views; got one that does not");
  const Step step = programs.step(s);
  const bool known = step.opcode >= 0 && step.opcode < kOpcodes;
  std::ostringstream values;
  for (int64_t k = 0; k < std::min<int64_t>(step.count, 16); ++k) values << (k ? ", " : "") << step.values[k];
  refuse("augment: step ", at, " of image ", b, ", ", known ? kOpcodeNames[step.opcode] : "an unknown opcode", "(",
         values.str(), "), must be in range and fit its image, made from one of ", batch.source.height, "x",
         batch.source.width, ", and views of ", batch.view.height, "x", batch.view.width, "; got values that do not");
}

Batch make_batch(const Tensor& images, int64_t views, Size view, bool channels_last) {
  check_cpu(images, "augment", "images");
  require(images.dim() == 4 && images.scalar_type() == ScalarType::Byte, "augment: images must be (B, C, H, W) uint8");
  const int64_t C = images.size(1), H = images.size(2), W = images.size(3);
  require((C == 1 || C == 3) && H >= 1 && W >= 1 && H <= kLargestSide && W <= kLargestSide,
          "augment: images must have 1 or 3 channels and sides of 1 to ", kLargestSide);
  require(views >= 1 && views <= kMostViews && view.height >= 1 && view.width >= 1 && view.height <= kLargestSide &&
              view.width <= kLargestSide,
          "augment: views are out of range");
  const bool planar = images.is_contiguous();
  require(planar || is_channels_last(images), "augment: images must be contiguous or channels_last");
  return {images.const_data_ptr<uint8_t>(), images.size(0), static_cast<int>(C), {H, W}, view,
          static_cast<int>(views),          !planar,        channels_last};
}

// The offsets must stay inside their arrays; what the steps mean is checked image by image.
Programs make_programs(const Tensor& opcodes, const Tensor& step_offsets, const Tensor& values,
                       const Tensor& value_offsets, int64_t count) {
  check_dense(opcodes, "augment", "opcodes", ScalarType::Int, 1);
  check_dense(step_offsets, "augment", "step_offsets", ScalarType::Long, 1);
  check_dense(values, "augment", "values", ScalarType::Double, 1);
  check_dense(value_offsets, "augment", "value_offsets", ScalarType::Long, 1);
  const auto covers = [](const Tensor& offsets, int64_t parts, int64_t total) {
    const int64_t* at = offsets.const_data_ptr<int64_t>();
    return offsets.numel() == parts + 1 && at[0] == 0 && std::is_sorted(at, at + parts + 1) && at[parts] == total;
  };
  require(covers(step_offsets, count, opcodes.numel()),
          "augment: step_offsets must cover the opcodes, one program for each of ", count, " images");
  require(covers(value_offsets, opcodes.numel(), values.numel()),
          "augment: value_offsets must cover the values, step by step");
  return {opcodes.const_data_ptr<int32_t>(), step_offsets.const_data_ptr<int64_t>(), values.const_data_ptr<double>(),
          value_offsets.const_data_ptr<int64_t>()};
}

// (views, B, C, h, w), every view contiguous or channels_last.
Tensor make_output(const Batch& batch, ScalarType dtype) {
  const Size view = batch.view;
  if (!batch.channels_last_out)
    return torch::stable::empty({batch.views, batch.count, batch.channels, view.height, view.width}, dtype);
  const Tensor memory =
      torch::stable::empty({batch.views, batch.count, view.height, view.width, batch.channels}, dtype);
  return torch::stable::permute(memory, {0, 1, 4, 2, 3});
}

template <class Out>
int64_t run_as(const Batch& batch, const Programs& programs, const Tensor* table, const Tensor& out) {
  const Out* entries = table ? static_cast<const Out*>(table->const_data_ptr()) : nullptr;
  return run_batch(batch, programs, entries, static_cast<Out*>(out.mutable_data_ptr()));
}

Tensor augment_cpu(Tensor images, Tensor opcodes, Tensor step_offsets, Tensor values, Tensor value_offsets,
                   std::optional<Tensor> table, int64_t views, int64_t height, int64_t width, bool channels_last) {
  const Batch batch = make_batch(images, views, {height, width}, channels_last);
  const Programs programs = make_programs(opcodes, step_offsets, values, value_offsets, batch.count);
  const ScalarType dtype = table.has_value() ? table->scalar_type() : ScalarType::Byte;
  if (table.has_value()) {
    check_dense(*table, "augment", "table", dtype, 2);
    require(table->size(0) == batch.channels && table->size(1) == 256, "augment: table must be (C, 256)");
  }
  const Tensor out = make_output(batch, dtype);
  prefer_huge_pages(out.mutable_data_ptr(), out.numel() * static_cast<int64_t>(out.element_size()));
  const Tensor* entries = table.has_value() ? &*table : nullptr;
  int64_t faulty = -1;
  switch (dtype) {
    case ScalarType::Byte: faulty = run_as<uint8_t>(batch, programs, entries, out); break;
    case ScalarType::Float: faulty = run_as<float>(batch, programs, entries, out); break;
    case ScalarType::Half:
    case ScalarType::BFloat16: faulty = run_as<uint16_t>(batch, programs, entries, out); break;
    default: refuse("augment: table must be uint8, float32, bfloat16 or float16");
  }
  if (faulty >= 0) report_fault(batch, programs, faulty);
  return out;
}

}  // namespace
}  // namespace dssl::augment

STABLE_TORCH_LIBRARY_FRAGMENT(dssl_ops, m) {
  m.def(
      "augment(Tensor images, Tensor opcodes, Tensor step_offsets, Tensor values, Tensor value_offsets, Tensor? table, "
      "int views, int height, int width, bool channels_last) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CPU, m) { m.impl("augment", TORCH_BOX(&dssl::augment::augment_cpu)); }
