// The interpreter: a block runs the whole program of an image, which lies in shared memory where it fits, else in a
// part of global memory that is the block's own. Each source byte is read from memory once, each view written once.
#include "augment_cuda.h"

#include <algorithm>

#include "../common/store.cuh"
#include "filters.cuh"
#include "steps.cuh"

namespace dssl::augment {
namespace {

// Blocks in shared memory are many to a multiprocessor; of those with a workspace it has one, so that all images on the
// way together fit the L2 cache.
constexpr int kThreads = 256, kWorkspaceThreads = 512;

struct Task {
  const Job* jobs;
  const double* programs;
  const uint8_t* images;
  int64_t count, arena;
  const void* table;
  void* out;
  int channels;
  int64_t view_values;  // of one image
  int element;
  bool channels_last;
  uint8_t* workspace;  // null: shared memory
};

// Value `at` of the view, in the order in which it lies in memory.
template <class Out>
__device__ Out view_value(const Picture& picture, int64_t at, bool channels_last) {
  int c = 0;
  if (channels_last)
    c = static_cast<int>(at % picture.channels), at /= picture.channels;
  else
    while (at >= picture.area()) at -= picture.area(), ++c;
  return static_cast<Out>(picture.shared.words[c][picture.plane(c)[at]]);
}

template <class Out>
__device__ void write_view(const Picture& picture, Out* to, bool channels_last) {
  const int64_t values = int64_t{picture.channels} * picture.area();
  const bool last = channels_last && picture.channels > 1;
  constexpr int kPack = Pack<Out>::kSize;
  const int64_t packs = is_aligned(to) ? values / kPack : 0;
  for (int64_t p = threadIdx.x; p < packs; p += blockDim.x) {
    Pack<Out> pack;
#pragma unroll
    for (int k = 0; k < kPack; ++k) pack.values[k] = view_value<Out>(picture, p * kPack + k, last);
    reinterpret_cast<uint4*>(to)[p] = *reinterpret_cast<const uint4*>(pack.values);
  }
  for (int64_t i = packs * kPack + threadIdx.x; i < values; i += blockDim.x) to[i] = view_value<Out>(picture, i, last);
}

// The bits of entry i of the normalisation table, whatever their number; without a table the level itself.
__device__ uint32_t entry(const Task& task, int i) {
  if (!task.table) return i % 256;
  if (task.element == 4) return static_cast<const uint32_t*>(task.table)[i];
  if (task.element == 2) return static_cast<const uint16_t*>(task.table)[i];
  return static_cast<const uint8_t*>(task.table)[i];
}

__device__ void emit(Picture& picture, const Task& task, int64_t image) {
  picture.load();
  picture.each_entry([&](int c, int v) {
    picture.shared.words[c][v] = entry(task, c * 256 + (picture.pending ? picture.shared.tables[c][v] : v));
  });
  __syncthreads();
  const int64_t first = image * task.view_values;
  if (task.element == 4) write_view(picture, static_cast<uint32_t*>(task.out) + first, task.channels_last);
  if (task.element == 2) write_view(picture, static_cast<uint16_t*>(task.out) + first, task.channels_last);
  if (task.element == 1) write_view(picture, static_cast<uint8_t*>(task.out) + first, task.channels_last);
  __syncthreads();
}

__device__ void run_step(Picture& picture, int opcode, int count, const double* v) {
  if (opcode == kSource) return picture.restart();
  if (opcode != kResizedCrop || v[kFromSource] == 0) picture.load();
  const bool colours = picture.channels == 3 && (opcode == kGrayscale || opcode == kColor || opcode == kHue);
  const bool flushes = picture.pending && needs_pixels(opcode, v);
  if (opcode == kAutoContrast || opcode == kEqualize || (flushes && picture.counted)) picture.count();
  if (flushes || colours) recolour(picture, opcode, count ? v[0] : 0.0);
  switch (opcode) {
    case kAutoContrast:
    case kEqualize:
    case kInvert:
    case kPosterize:
    case kSolarize:
    case kSolarizeAdd:
    case kBrightness:
    case kContrast: return point(picture, opcode, count ? v[0] : 0.0);
    case kSharpness: return sharpen(picture, static_cast<float>(v[0]));
    case kHorizontalFlip: return flip(picture);
    case kRotate: return warp(picture, v);
    case kCutout: return cutout(picture, v);
    case kGaussianBlur: return blur(picture, static_cast<float>(v[0]));
    case kResizedCrop: return resize(picture, v);
    case kJigsaw: return jigsaw(picture, v, count);
    default: return;
  }
}

template <bool in_shared>
__global__ void __launch_bounds__(in_shared ? kThreads : kWorkspaceThreads, in_shared ? 2 : 1) run_programs(Task task) {
  Shared& shared = *dynamic_shared<Shared>();
  uint8_t* arena = reinterpret_cast<uint8_t*>(dynamic_shared<Shared>() + 1);
  if constexpr (!in_shared) arena = task.workspace + blockIdx.x * task.arena;
  for (int64_t b = blockIdx.x; b < task.count; b += gridDim.x) {
    const Job job = task.jobs[b];
    Picture picture{shared, arena, task.arena, task.channels, task.images + job.origin, job};
    picture.restart();
    const double *word = task.programs + job.program, *end = word + job.words;
    while (word < end) {
      const int opcode = static_cast<int>(word[0]), count = static_cast<int>(word[1]);
      const double* values = word + 2;
      if (opcode == kEmit)
        emit(picture, task, static_cast<int64_t>(values[0]) * task.count + b);
      else
        run_step(picture, opcode, count, values);
      word = values + count;
    }
  }
}

}  // namespace

extern "C" void augment_lower(const int64_t* images, int64_t count, int64_t channels, const int32_t* opcodes,
                              const int64_t* step_offsets, const double* values, const int64_t* value_offsets,
                              void* lowered, int64_t* found) {
  Job* jobs = static_cast<Job*>(lowered);
  double* words = reinterpret_cast<double*>(jobs + count);
  int64_t at = 0, arena = 16;
  for (int64_t b = 0; b < count; ++b, images += 4) {
    Lowering lowering(words + at, static_cast<int>(channels), {images[1], images[2]});
    const int64_t written = lowering.run({opcodes, step_offsets, values, value_offsets}, b);
    jobs[b] = {images[0], images[1], images[2], images[3], at, written};
    at += written;
    arena = std::max(arena, lowering.arena());
  }
  found[0] = count * static_cast<int64_t>(sizeof(Job)) + at * 8;
  found[1] = arena;
}

extern "C" void augment_blocks(int64_t count, int64_t arena, int64_t* blocks) {
  if (arena + static_cast<int64_t>(sizeof(Shared)) <= most_shared_bytes())
    *blocks = 0;
  else
    *blocks = std::min<int64_t>(count, device_attribute(cudaDevAttrMultiProcessorCount));
}

extern "C" void augment_store(const void* message, int64_t bytes, void* to, cudaStream_t stream) {
  store(message, bytes, to, stream);
}

extern "C" void augment_launch(const void* lowered, const uint8_t* images, int64_t count, int64_t arena,
                               const void* table, void* out, int64_t channels, int64_t height, int64_t width,
                               int64_t element, bool channels_last, uint8_t* workspace, int64_t blocks,
                               cudaStream_t stream) {
  const Job* jobs = static_cast<const Job*>(lowered);
  const Task task = {jobs,
                     reinterpret_cast<const double*>(jobs + count),
                     images,
                     count,
                     arena,
                     table,
                     out,
                     static_cast<int>(channels),
                     channels * height * width,
                     static_cast<int>(element),
                     channels_last,
                     workspace};
  load_store();
  int threads = 64;  // about 8 pixels of a view to each
  while (threads < (blocks ? kWorkspaceThreads : kThreads) && threads * 8 < height * width) threads *= 2;
  if (blocks == 0)
    return launch(run_programs<true>, static_cast<unsigned>(std::min<int64_t>(count, INT32_MAX)), threads,
                  sizeof(Shared) + arena, stream, task);
  launch(run_programs<false>, static_cast<unsigned>(blocks), threads, sizeof(Shared), stream, task);
}

}  // namespace dssl::augment
