// Runs the programs of a batch, image by image, threads over images. Nothing is shared between images, so no split,
// order or thread count can change a bit.
#include <atomic>

#include "../common/pages.h"
#include "../common/parallel.h"
#include "batch.h"
#include "canvas.h"
#include "draws.h"

namespace dssl::augment {
namespace {

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
  parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    Worker worker{Canvas(batch.channels), {}};
    for (int64_t first; (first = next.fetch_add(run)) < batch.count();)
      for (int64_t b = first; b < std::min(first + run, batch.count()); ++b) f(worker, b);
  });
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

// Calls f with the output as what its dtype is in memory: the bits of a 16-bit float are all that is copied.
template <class F>
void with_output(const Batch& batch, const std::optional<Tensor>& table, const Tensor& out, const F& f) {
  check_table(batch, table, out);
  prefer_huge_pages(out.mutable_data_ptr(), out.numel() * static_cast<int64_t>(out.element_size()));
  const void* entries = table.has_value() ? table->const_data_ptr() : nullptr;
  const auto run_as = [&]<class Out>(Out* views) { f(Output<Out>{static_cast<const Out*>(entries), views}); };
  switch (out.scalar_type()) {
    case ScalarType::Byte: return run_as(static_cast<uint8_t*>(out.mutable_data_ptr()));
    case ScalarType::Float: return run_as(static_cast<float*>(out.mutable_data_ptr()));
    default: return run_as(static_cast<uint16_t*>(out.mutable_data_ptr()));
  }
}

void augment_cpu(std::vector<Tensor> images, std::optional<Tensor> sizes, Tensor opcodes, Tensor step_offsets,
                 Tensor values, Tensor value_offsets, std::optional<Tensor> table, Tensor out) {
  check_cpu(out, "augment", "out");
  const Batch batch = make_batch(images, sizes, out);
  const Programs programs = make_programs(opcodes, step_offsets, values, value_offsets, batch.count());
  with_output(batch, table, out, [&](const auto& views) {
    run_batch(batch, views, [&](Worker&, int64_t b, const auto& use) { use(programs, b); });
  });
}

// The same programs as augment_sample's, each drawn where and when it runs.
void augment_drawn_cpu(std::vector<Tensor> images, std::optional<Tensor> sizes, Tensor instructions, Tensor sample_ids,
                       int64_t seed, int64_t epoch, std::optional<Tensor> table, Tensor out) {
  check_cpu(out, "augment", "out");
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
