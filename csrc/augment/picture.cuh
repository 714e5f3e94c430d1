// The state of one image while a block runs its program. Pixels are planar, in the block's arena; point operations wait
// in a table per channel, and histograms are pushed through it, as on the CPU. Thread t owns the table entries t,
// t + blockDim.x and so on, so that point operations need no barrier; every other step ends with one.
#pragma once

#include "../common/pack.cuh"
#include "lower.h"

namespace dssl::augment {

struct alignas(16) Shared {  // of one block, in front of an arena in shared memory
  uint8_t tables[3][256];
  uint32_t histograms[3][256];  // of the pixels below the tables
  uint32_t words[3][256];       // histograms of the image, or what values a view gets
  unsigned long long sum;
};

struct Picture {
  Shared& shared;
  uint8_t* arena;
  int64_t arena_bytes;
  int channels;
  const uint8_t* source;
  Job job;
  int height = 0, width = 0;
  bool loaded = false, pending = false, counted = false;
  bool high = false;  // the image lies at the arena's end, not at its start

  __device__ int area() const { return height * width; }
  __device__ static int64_t bytes(int channels, int area) { return aligned(int64_t{channels} * area); }
  __device__ uint8_t* pixels() const { return high ? arena + arena_bytes - bytes(channels, area()) : arena; }
  __device__ uint8_t* plane(int c) const { return pixels() + int64_t{c} * area(); }

  // Room for another image, at the arena's other end, and what lies between the two.
  __device__ uint8_t* other(int other_area) const {
    return high ? arena : arena + arena_bytes - bytes(channels, other_area);
  }
  __device__ uint8_t* between(int64_t low_bytes) const { return arena + low_bytes; }

  template <class F>
  __device__ void each_entry(const F& f) {
    for (int v = threadIdx.x; v < 256; v += blockDim.x)
      for (int c = 0; c < channels; ++c) f(c, v);
  }

  // f(y, x) for every place of a rectangle, without a division for each.
  template <class F>
  __device__ static void each_place(int rows, int columns, const F& f) {
    const int down = blockDim.x / columns, right = blockDim.x % columns;
    for (int y = threadIdx.x / columns, x = threadIdx.x % columns; y < rows; y += down, x += right) {
      if (x >= columns) {
        x -= columns;
        if (++y >= rows) break;
      }
      f(y, x);
    }
  }

  __device__ void restart() {
    height = static_cast<int>(job.height), width = static_cast<int>(job.width);
    loaded = pending = counted = high = false;
  }

  // Brings the source into the arena.
  __device__ void load() {
    if (loaded) return;
    loaded = true;
    const int64_t count = int64_t{channels} * area();
    if (job.channels_last && channels > 1) {
      for (int64_t i = threadIdx.x; i < count; i += blockDim.x)
        plane(static_cast<int>(i % channels))[i / channels] = source[i];
    } else {
      const int64_t packs = is_aligned(source) ? count / 16 : 0;
      for (int64_t p = threadIdx.x; p < packs; p += blockDim.x)
        reinterpret_cast<uint4*>(arena)[p] = reinterpret_cast<const uint4*>(source)[p];
      for (int64_t i = packs * 16 + threadIdx.x; i < count; i += blockDim.x) arena[i] = source[i];
    }
    __syncthreads();
  }

  // f(c, v): what a point operation makes of value v.
  template <class F>
  __device__ void compose(const F& f) {
    each_entry([&](int c, int v) { shared.tables[c][v] = f(c, pending ? shared.tables[c][v] : v); });
    pending = true;
  }

  // Brings the histograms of the image into shared.words; who has read them must wait for the others.
  __device__ void count() {
    if (!counted) {
      each_entry([&](int c, int v) { shared.histograms[c][v] = 0; });
      __syncthreads();
      for (int c = 0; c < channels; ++c)
        for (int i = threadIdx.x; i < area(); i += blockDim.x) atomicAdd(&shared.histograms[c][plane(c)[i]], 1u);
      counted = true;
      __syncthreads();
    }
    each_entry([&](int c, int v) { shared.words[c][v] = pending ? 0 : shared.histograms[c][v]; });
    __syncthreads();
    if (!pending) return;
    each_entry([&](int c, int v) {
      if (shared.histograms[c][v]) atomicAdd(&shared.words[c][shared.tables[c][v]], shared.histograms[c][v]);
    });
    __syncthreads();
  }

  // Value of channel c at place i, tables included.
  __device__ uint8_t value(int c, int i) const {
    const uint8_t pixel = plane(c)[i];
    return pending ? shared.tables[c][pixel] : pixel;
  }

  // Applies the tables to the pixels, and f(values of the channels) to every pixel.
  template <class F>
  __device__ void recolour(bool same_values, const F& f) {
    counted = counted && same_values;
    if (counted) each_entry([&](int c, int v) { shared.histograms[c][v] = shared.words[c][v]; });
    __syncthreads();
    for (int i = threadIdx.x; i < area(); i += blockDim.x) {
      uint8_t values[3];
#pragma unroll
      for (int c = 0; c < 3; ++c)
        if (c < channels) values[c] = value(c, i);
      f(values);
#pragma unroll
      for (int c = 0; c < 3; ++c)
        if (c < channels) plane(c)[i] = values[c];
    }
    pending = false;
    __syncthreads();
  }

  // What `make` writes into another buffer of this size becomes the image.
  template <class F>
  __device__ void replace(bool same_values, const F& make) {
    uint8_t* to = other(area());
    make(to);
    high = !high;
    counted = counted && same_values;
    __syncthreads();
  }

  // f(plane, y, x) for every pixel.
  template <class F>
  __device__ void gather(bool same_values, const F& f) {
    replace(same_values, [&](uint8_t* to) {
      for (int c = 0; c < channels; ++c) {
        const uint8_t* from = plane(c);
        uint8_t* plane_to = to + int64_t{c} * area();
        each_place(height, width, [&](int y, int x) { plane_to[y * width + x] = f(from, y, x); });
      }
    });
  }
};

}  // namespace dssl::augment
