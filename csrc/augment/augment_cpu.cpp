// Runs the programs of a batch, image by image, threads over images. Nothing is shared between images, so no split,
// order or thread count can change a bit.
#include <atomic>
#include <optional>

#include "../common/checks.h"
#include "../common/pages.h"
#include "canvas.h"
#include "draws.h"

namespace dssl::augment {
namespace {

struct Image {
  const uint8_t* pixels;
  Size size;
  bool channels_last;
};

struct Batch {
  std::vector<Image> images;
  int channels, views;
  Size view;
  bool channels_last;  // of the views

  int64_t count() const { return static_cast<int64_t>(images.size()); }
  int64_t view_values() const { return channels * view.height * view.width; }
};

template <class Out>
struct Output {
  const Out* table;
  Out* views;
};

// What a thread keeps from image to image: memory is asked for once.
struct Worker {
  Canvas canvas;
  Steps steps;
};

template <class Out>
void run_program(Canvas& canvas, const Batch& batch, int64_t b, const Programs& programs, int64_t p,
                 const Output<Out>& out) {
  const Image& image = batch.images[b];
  canvas.load(image.pixels, image.size, image.channels_last);
  for (int64_t s = programs.step_offsets[p]; s < programs.step_offsets[p + 1]; ++s) {
    const Step step = programs.step(s);
    if (step.opcode == kSource)
      canvas.load(image.pixels, image.size, image.channels_last);
    else if (step.opcode == kEmit)
      canvas.emit(out.views + (static_cast<int64_t>(step.values[0]) * batch.count() + b) * batch.view_values(),
                  out.table, batch.channels_last);
    else
      canvas.run(step);
  }
}

// Calls f(worker, b) for every image. Programs differ in cost, so threads take the next few images when they are done
// with theirs; a thread has one canvas, so the memory beside the images is that of as many canvases as threads.
template <class F>
void for_each_image(const Batch& batch, const F& f) {
  int64_t bytes = 0;
  for (const Image& image : batch.images)
    bytes += batch.channels * image.size.height * image.size.width + batch.view_values() * batch.views;
  constexpr int64_t kTurn = 16384;  // bytes that are worth waking a thread, or asking for the next images
  const int64_t most = std::min<int64_t>(batch.count(), torch::stable::get_num_threads());
  const int64_t threads = std::clamp<int64_t>(bytes / kTurn, 1, std::max<int64_t>(1, most));
  const int64_t run = std::clamp<int64_t>(kTurn * batch.count() / std::max<int64_t>(1, bytes), 1, 64);
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    Worker worker{Canvas(batch.channels), {}};
    for (int64_t first; (first = next.fetch_add(run)) < batch.count();)
      for (int64_t b = first; b < std::min(first + run, batch.count()); ++b) f(worker, b);
  });
}

[[noreturn]] void report_fault(const Batch& batch, int64_t b, const Programs& programs, int64_t p) {
  const Size source = batch.images[b].size;
  const int64_t at = first_fault(programs, p, source, batch.view, batch.views);
  const int64_t s = programs.step_offsets[p] + at;
  if (s == programs.step_offsets[p + 1])
    refuse("augment: the program of image ", b, " must emit each of its ", batch.views,
           " views; got one that does not");
  const Step step = programs.step(s);
  const bool known = step.opcode >= 0 && step.opcode < kOpcodes;
  std::ostringstream values;
  for (int64_t k = 0; k < std::min<int64_t>(step.count, 16); ++k) values << (k ? ", " : "") << step.values[k];
  refuse("augment: step ", at, " of image ", b, ", ", known ? kOpcodeNames[step.opcode] : "an unknown opcode", "(",
         values.str(), "), must be in range, fit its image, made from one of ", source.height, "x", source.width,
         ", fit views of ", batch.view.height, "x", batch.view.width, " and need no image of more than ",
         most_pixels(source, batch.view), " pixels on the way; got values that do not");
}

// Runs what program_of(worker, b, use) hands to use(programs, p), program p of `programs`, for each image; refuses
// where one is faulty, and names the first. Faulty programs are not run, the others are.
template <class Out, class F>
void run_batch(const Batch& batch, const Output<Out>& out, const F& program_of) {
  std::atomic<int64_t> faulty{batch.count()};
  for_each_image(batch, [&](Worker& worker, int64_t b) {
    program_of(worker, b, [&](const Programs& programs, int64_t p) {
      if (first_fault(programs, p, batch.images[b].size, batch.view, batch.views) < 0)
        return run_program(worker.canvas, batch, b, programs, p, out);
      for (int64_t lowest = faulty; b < lowest && !faulty.compare_exchange_weak(lowest, b);) {
      }
    });
  });
  if (faulty == batch.count()) return;
  Worker worker{Canvas(batch.channels), {}};
  program_of(worker, faulty, [&](const Programs& programs, int64_t p) { report_fault(batch, faulty, programs, p); });
}

bool is_image_size(int64_t height, int64_t width) {
  return height >= 1 && width >= 1 && height <= kLargestSide && width <= kLargestSide;
}

// One packed buffer: image after image, each (C, H, W).
void add_packed(Batch& batch, const Tensor& data, const Tensor& sizes) {
  check_dense(data, "augment", "packed images", ScalarType::Byte, 1);
  check_dense(sizes, "augment", "sizes", ScalarType::Long, 2);
  require(sizes.size(1) == 2, "augment: sizes must be (B, 2)");
  const uint8_t *pixels = data.const_data_ptr<uint8_t>(), *end = pixels + data.numel();
  const int64_t* size = sizes.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < sizes.size(0); ++b, size += 2) {
    require(is_image_size(size[0], size[1]) && batch.channels * size[0] * size[1] <= end - pixels,
            "augment: sizes must be in 1..", kLargestSide, " and fit the buffer; got ", size[0], "x", size[1],
            " for image ", b);
    batch.images.push_back({pixels, {size[0], size[1]}, false});
    pixels += batch.channels * size[0] * size[1];
  }
  require(pixels == end, "augment: sizes must use up the buffer; got ", end - pixels, " bytes more");
}

// One image (C, H, W), or several of one size (B, C, H, W).
void add_images(Batch& batch, const Tensor& images) {
  check_cpu(images, "augment", "images");
  const int64_t d = images.dim() - 3;
  require((d == 0 || d == 1) && images.scalar_type() == ScalarType::Byte && images.size(d) == batch.channels &&
              is_image_size(images.size(d + 1), images.size(d + 2)),
          "augment: images must be uint8 (C, H, W) or (B, C, H, W) with sides of 1 to ", kLargestSide,
          " and the channels of the views, ", batch.channels);
  const bool planar = images.is_contiguous();
  require(planar || is_channels_last(images), "augment: images must be contiguous or channels_last");
  const Size size{images.size(d + 1), images.size(d + 2)};
  const uint8_t* pixels = images.const_data_ptr<uint8_t>();
  for (int64_t b = 0; b < (d ? images.size(0) : 1); ++b, pixels += batch.channels * size.height * size.width)
    batch.images.push_back({pixels, size, !planar});
}

Batch make_batch(const std::vector<Tensor>& images, const std::optional<Tensor>& sizes, const Tensor& out) {
  check_cpu(out, "augment", "out");
  require(out.dim() == 5 && (out.size(2) == 1 || out.size(2) == 3) && out.size(0) >= 1 && out.size(0) <= kMostViews &&
              is_image_size(out.size(3), out.size(4)),
          "augment: out must be (views, B, C, H, W) with 1 or 3 channels, at most ", kMostViews,
          " views and sides of 1 to ", kLargestSide);
  const bool planar = out.is_contiguous();
  require(planar || is_channels_last(out), "augment: every view of out must be contiguous or channels_last");
  Batch batch{{}, static_cast<int>(out.size(2)), static_cast<int>(out.size(0)), {out.size(3), out.size(4)}, !planar};
  batch.images.reserve(out.size(1));
  require(!sizes.has_value() || images.size() == 1, "augment: sizes go with one packed buffer");
  for (const Tensor& part : images) sizes.has_value() ? add_packed(batch, part, *sizes) : add_images(batch, part);
  require(batch.count() == out.size(1), "augment: out must be for ", batch.count(), " images; got ", out.size(1));
  return batch;
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

// Calls f with the output as what its dtype is in memory: the bits of a 16-bit float are all that is copied.
template <class F>
void with_output(const Batch& batch, const std::optional<Tensor>& table, const Tensor& out, const F& f) {
  const ScalarType dtype = out.scalar_type();
  if (table.has_value()) {
    check_dense(*table, "augment", "table", dtype, 2);
    require(table->size(0) == batch.channels && table->size(1) == 256, "augment: table must be (C, 256)");
  }
  require(table.has_value() || dtype == ScalarType::Byte, "augment: out must be uint8 where there is no table");
  prefer_huge_pages(out.mutable_data_ptr(), out.numel() * static_cast<int64_t>(out.element_size()));
  const void* entries = table.has_value() ? table->const_data_ptr() : nullptr;
  const auto run_as = [&]<class Out>(Out* views) { f(Output<Out>{static_cast<const Out*>(entries), views}); };
  switch (dtype) {
    case ScalarType::Byte: return run_as(static_cast<uint8_t*>(out.mutable_data_ptr()));
    case ScalarType::Float: return run_as(static_cast<float*>(out.mutable_data_ptr()));
    case ScalarType::Half:
    case ScalarType::BFloat16: return run_as(static_cast<uint16_t*>(out.mutable_data_ptr()));
    default: refuse("augment: out must be uint8, float32, bfloat16 or float16");
  }
}

void augment_cpu(std::vector<Tensor> images, std::optional<Tensor> sizes, Tensor opcodes, Tensor step_offsets,
                 Tensor values, Tensor value_offsets, std::optional<Tensor> table, Tensor out) {
  const Batch batch = make_batch(images, sizes, out);
  const Programs programs = make_programs(opcodes, step_offsets, values, value_offsets, batch.count());
  with_output(batch, table, out, [&](const auto& views) {
    run_batch(batch, views, [&](Worker&, int64_t b, const auto& use) { use(programs, b); });
  });
}

// The same programs as augment_sample's, each drawn where and when it runs.
void augment_drawn_cpu(std::vector<Tensor> images, std::optional<Tensor> sizes, Tensor instructions, Tensor sample_ids,
                       int64_t seed, int64_t epoch, std::optional<Tensor> table, Tensor out) {
  const Batch batch = make_batch(images, sizes, out);
  const Draws draws = make_draws(instructions, sample_ids, seed, epoch, batch.count());
  with_output(batch, table, out, [&](const auto& views) {
    run_batch(batch, views, [&](Worker& worker, int64_t b, const auto& use) {
      Steps& steps = worker.steps;
      steps.clear();
      draws.run(b, batch.images[b].size.height, batch.images[b].size.width, steps);
      const int64_t ends[2] = {0, static_cast<int64_t>(steps.opcodes.size())};
      use(Programs{steps.opcodes.data(), ends, steps.values.data(), steps.value_offsets.data()}, 0);
    });
  });
}

}  // namespace
}  // namespace dssl::augment

// images: (B, C, H, W), or one (C, H, W) for each image, or with sizes (B, 2) one buffer of them, one after the other.
STABLE_TORCH_LIBRARY_FRAGMENT(dssl_ops, m) {
  m.def(
      "augment(Tensor[] images, Tensor? sizes, Tensor opcodes, Tensor step_offsets, Tensor values, "
      "Tensor value_offsets, Tensor? table, Tensor(a!) out) -> ()");
  m.def(
      "augment_drawn(Tensor[] images, Tensor? sizes, Tensor instructions, Tensor sample_ids, int seed, int epoch, "
      "Tensor? table, Tensor(a!) out) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CPU, m) {
  m.impl("augment", dssl::boxed<&dssl::augment::augment_cpu>);
  m.impl("augment_drawn", dssl::boxed<&dssl::augment::augment_drawn_cpu>);
}
