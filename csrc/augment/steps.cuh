// Point operations, colour, and steps that move pixels without filtering them.
#pragma once

#include "picture.cuh"

namespace dssl::augment {

// Whether the step needs the tables applied to the pixels first.
__device__ inline bool needs_pixels(int opcode, const double* v) {
  switch (opcode) {
    case kRotate: return v[kTurns] == 0;
    case kSharpness:
    case kCutout:
    case kGaussianBlur: return true;
    case kResizedCrop: return v[kFromSource] == 0;
    default: return false;
  }
}

__device__ inline uint8_t autocontrast(const uint32_t* histogram, int value) {
  int low = 255, high = 0;
  for (int v = 0; v < 256; ++v)
    if (histogram[v]) low = smaller(low, v), high = v;
  return autocontrast(value, low, high);
}

__device__ inline uint8_t equalize(const uint32_t* histogram, int value) {
  int64_t total = 0, below = 0;
  int last = 0, occupied = 0;
  for (int v = 0; v < 256; ++v) {
    const uint32_t count = histogram[v];
    below += v < value ? count : 0;
    total += count;
    if (count) last = v, ++occupied;
  }
  return equalize(value, below, equalize_step(total, histogram[last], occupied));
}

__device__ inline int mean_luma(Picture& picture) {
  if (threadIdx.x == 0) picture.shared.sum = 0;
  __syncthreads();
  unsigned long long sum = 0;
  for (int i = threadIdx.x; i < picture.area(); i += blockDim.x)
    sum += picture.channels == 1 ? picture.value(0, i)
                                 : luma(picture.value(0, i), picture.value(1, i), picture.value(2, i));
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) atomicAdd(&picture.shared.sum, sum);
  __syncthreads();
  return rounded_mean(static_cast<int64_t>(picture.shared.sum), picture.area());
}

// The operations on one value of one channel.
__device__ inline void point(Picture& picture, int opcode, double v) {
  const float factor = static_cast<float>(v);
  const int degenerate = opcode == kContrast ? mean_luma(picture) : 0;
  picture.compose([&](int c, int value) -> uint8_t {
    switch (opcode) {
      case kAutoContrast: return autocontrast(picture.shared.words[c], value);
      case kEqualize: return equalize(picture.shared.words[c], value);
      case kInvert: return static_cast<uint8_t>(255 - value);
      case kPosterize: return posterize(value, static_cast<int>(v));
      case kSolarize: return solarize(value, v);
      case kSolarizeAdd: return solarize_add(value, v);
      default: return blend(degenerate, value, factor);  // Brightness, Contrast
    }
  });
  __syncthreads();
}

// The operations across the channels of a pixel, and none for any other opcode.
__device__ inline void recolour(Picture& picture, int opcode, double v) {
  const float factor = static_cast<float>(v);
  const int offset = opcode == kHue ? hue_offset(v) : 0;
  const bool colours = opcode == kGrayscale || opcode == kColor || opcode == kHue;
  picture.recolour(!colours, [&](uint8_t* p) {
    if (opcode == kHue) {
      const Hsv hsv = to_hsv({p[0], p[1], p[2]});
      const Pixel rgb = to_rgb({(hsv.h + offset) & 255, hsv.s, hsv.v});
      p[0] = static_cast<uint8_t>(rgb.r), p[1] = static_cast<uint8_t>(rgb.g), p[2] = static_cast<uint8_t>(rgb.b);
    } else if (colours) {
      const uint8_t grey = luma(p[0], p[1], p[2]);
#pragma unroll
      for (int c = 0; c < 3; ++c) p[c] = opcode == kGrayscale ? grey : blend(grey, p[c], factor);
    }
  });
}

// Flips and tiles commute with the tables and keep the histogram, so neither is touched.
__device__ inline void flip(Picture& picture) {
  const int width = picture.width, half = width / 2;
  if (half == 0) return;
  for (int c = 0; c < picture.channels; ++c) {
    uint8_t* plane = picture.plane(c);
    Picture::each_place(picture.height, half, [&](int y, int x) {
      uint8_t *left = plane + y * width + x, *right = plane + y * width + width - 1 - x;
      const uint8_t was = *left;
      *left = *right, *right = was;
    });
  }
  __syncthreads();
}

__device__ inline void jigsaw(Picture& picture, const double* permutation, int count) {
  int grid = 1;
  while (grid * grid < count) ++grid;
  const int H = picture.height, W = picture.width;
  const auto edge = [&](int side, int i) { return side * i / grid; };
  const auto tile = [&](int side, int place) { return ((place + 1) * grid - 1) / side; };  // the one that holds `place`
  picture.gather(true, [&](const uint8_t* from, int y, int x) {
    const int row = tile(H, y), column = tile(W, x), source = static_cast<int>(permutation[row * grid + column]);
    const int down = edge(H, source / grid) - edge(H, row), right = edge(W, source % grid) - edge(W, column);
    return from[(y + down) * W + x + right];
  });
}

__device__ inline void cutout(Picture& picture, const double* box) {
  const int64_t left = larger(0, static_cast<int>(box[0])), top = larger(0, static_cast<int>(box[1]));
  const int64_t right = smaller(picture.width - 1, static_cast<int>(box[2])),
                bottom = smaller(picture.height - 1, static_cast<int>(box[3]));
  picture.counted = false;
  if (left > right || top > bottom) return;
  for (int c = 0; c < picture.channels; ++c) {
    uint8_t* corner = picture.plane(c) + top * picture.width + left;
    Picture::each_place(static_cast<int>(bottom - top + 1), static_cast<int>(right - left + 1),
                        [&](int y, int x) { corner[y * picture.width + x] = cutout_colour(picture.channels, c); });
  }
  __syncthreads();
}

}  // namespace dssl::augment
