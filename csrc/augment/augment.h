// A program: the steps that make every view of one image. Reading it, and checking it before a pixel moves.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "../common/tiles.h"
#include "affine.h"
#include "colour.h"
#include "opcodes.h"
#include "point.h"
#include "resample.h"

namespace dssl::augment {

struct Step {
  Opcode opcode;
  const double* values;
  int64_t count;
};

// Programs of a batch, one after the other: steps of image b are [step_offsets[b], step_offsets[b + 1]), the values
// of step s are [value_offsets[s], value_offsets[s + 1]).
struct Programs {
  const int32_t* opcodes;
  const int64_t* step_offsets;
  const double* values;
  const int64_t* value_offsets;

  DSSL_HD Step step(int64_t s) const {
    return {static_cast<Opcode>(opcodes[s]), values + value_offsets[s], value_offsets[s + 1] - value_offsets[s]};
  }
};

struct Size {
  int64_t height, width;
};

constexpr int kMostViews = 64;  // one bit each in the check below
// Of an image on the way from source to view, unless one of these has more: else a few numbers could ask for gigabytes.
constexpr int64_t kMostPixels = int64_t{1} << 24;

// What the authors paint, and its luma for grey images.
DSSL_HD uint8_t cutout_colour(int channels, int channel) {
  constexpr uint8_t colour[3] = {125, 123, 114};
  return channels == 3 ? colour[channel] : luma(colour[0], colour[1], colour[2]);
}

DSSL_HD bool is_whole(double v, int64_t low, int64_t high) {
  return v >= static_cast<double>(low) && v <= static_cast<double>(high) && v == std::floor(v);
}

// Whether the crop lies in the image, and neither what it makes nor what lies between its passes is too large.
inline bool check_crop(const double* v, Size size, int64_t most_pixels) {
  for (int k = 0; k < 6; ++k)
    if (!is_whole(v[k], k < 2 ? 0 : 1, kLargestSide)) return false;
  if (!((v[6] == kBilinear || v[6] == kBicubic) && (v[7] == 12 || v[7] == 13))) return false;
  const int64_t top = static_cast<int64_t>(v[0]), left = static_cast<int64_t>(v[1]), h = static_cast<int64_t>(v[2]),
                w = static_cast<int64_t>(v[3]), to_h = static_cast<int64_t>(v[4]), to_w = static_cast<int64_t>(v[5]);
  const int64_t middle = vertical_first(w, h, to_w, to_h, static_cast<int>(v[7])) ? w * to_h : h * to_w;
  return top + h <= size.height && left + w <= size.width && std::max(middle, to_h * to_w) <= most_pixels;
}

inline int64_t most_pixels(Size source, Size view) {
  return std::max({kMostPixels, source.height * source.width, view.height * view.width});
}

// Whether the step can run on an image of this size; follows it, so that the next step can be checked.
inline bool check_step(const Step& step, Size source, Size& size, Size view, int views, uint64_t& emitted) {
  if (step.opcode < 0 || step.opcode >= kOpcodes) return false;
  if (kOpcodeValues[step.opcode] >= 0 && kOpcodeValues[step.opcode] != step.count) return false;
  const double* v = step.values;
  for (int64_t k = 0; k < step.count; ++k)
    if (!(std::fabs(v[k]) < 1e9)) return false;  // NaN too
  switch (step.opcode) {
    case kPosterize: return is_whole(v[0], 0, 8);
    case kHue: return std::fabs(v[0]) <= 0.5;
    case kGaussianBlur: return v[0] >= 0 && v[0] <= 1000;
    case kRotate:
    case kShearX:
    case kShearY:
    case kTranslateX:
    case kTranslateY: return v[1] == kNearest || v[1] == kBilinear || v[1] == kBicubic;
    case kResizedCrop: {
      if (!check_crop(v, size, most_pixels(source, view))) return false;
      size = {static_cast<int64_t>(v[4]), static_cast<int64_t>(v[5])};
      return true;
    }
    case kJigsaw: {
      const int64_t grid = std::llround(std::sqrt(static_cast<double>(step.count)));
      bool seen[kLargestGrid * kLargestGrid] = {};
      const int64_t largest = std::min({kLargestGrid, size.height, size.width});  // beyond, tiles would be empty
      return grid >= 1 && grid <= largest && grid * grid == step.count &&
             is_tile_permutation(size.height, size.width, grid, v, seen);
    }
    case kSource: size = source; return true;
    case kEmit: {
      if (!is_whole(v[0], 0, views - 1) || size.height != view.height || size.width != view.width) return false;
      const uint64_t bit = uint64_t{1} << static_cast<int>(v[0]);
      const bool first = !(emitted & bit);
      emitted |= bit;
      return first;
    }
    default: return true;
  }
}

// The first step of image b that cannot run; the number of its steps when only a view is missing; -1 when all is well.
inline int64_t first_fault(const Programs& programs, int64_t b, Size source, Size view, int views) {
  Size size = source;
  uint64_t emitted = 0;
  const int64_t begin = programs.step_offsets[b], end = programs.step_offsets[b + 1];
  for (int64_t s = begin; s < end; ++s)
    if (!check_step(programs.step(s), source, size, view, views, emitted)) return s - begin;
  return emitted == (views == kMostViews ? ~uint64_t{0} : (uint64_t{1} << views) - 1) ? -1 : end - begin;
}

}  // namespace dssl::augment
