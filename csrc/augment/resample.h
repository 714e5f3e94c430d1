// Image.resize (bilinear, bicubic; antialiased, fixed point) and ImageFilter.GaussianBlur (three box blurs).
#pragma once

#include <cmath>
#include <cstdint>

#include "opcodes.h"
#include "point.h"

namespace dssl::augment {

constexpr int kResizeBits = 22;

DSSL_HD double triangle(double x) {
  x = x < 0 ? -x : x;
  return x < 1.0 ? 1.0 - x : 0.0;
}

DSSL_HD double keys_cubic(double x) {
  constexpr double a = -0.5;
  x = x < 0 ? -x : x;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
}

// How one axis is resampled: output i is the sum of `count` source values from `first`, weighted in 22 bits.
struct Axis {
  int64_t in, out;
  double scale, filter_scale, support;
  bool bicubic;

  DSSL_HD Axis(int64_t in_size, int64_t out_size, bool is_bicubic)
      : in(in_size),
        out(out_size),
        scale(static_cast<double>(in_size) / static_cast<double>(out_size)),
        filter_scale(scale < 1.0 ? 1.0 : scale),
        support((is_bicubic ? 2.0 : 1.0) * filter_scale),
        bicubic(is_bicubic) {}

  DSSL_HD int64_t taps() const { return static_cast<int64_t>(std::ceil(support)) * 2 + 1; }

  DSSL_HD double center(int64_t i) const { return (static_cast<double>(i) + 0.5) * scale; }

  // The sources of output i: the first, and how many.
  DSSL_HD int64_t first(int64_t i) const {
    const int64_t at = static_cast<int64_t>(center(i) - support + 0.5);
    return at < 0 ? 0 : at;
  }
  DSSL_HD int64_t count(int64_t i) const {
    const int64_t last = static_cast<int64_t>(center(i) + support + 0.5);
    return (last > in ? in : last) - first(i);
  }

  // What source first(i) + k weighs before the weights are made to sum to 1.
  DSSL_HD double real_weight(int64_t i, int64_t k) const {
    const double inverse = 1.0 / filter_scale;
    const double x = (static_cast<double>(k + first(i)) - center(i) + 0.5) * inverse;
    return bicubic ? keys_cubic(x) : triangle(x);
  }

  DSSL_HD static int32_t fixed_weight(double real, double sum) {
    const double share = (sum != 0 ? real / sum : real) * (1 << kResizeBits);
    return static_cast<int32_t>(share < 0 ? share - 0.5 : share + 0.5);
  }

  // Resample.c, precompute_coeffs and normalize_coeffs_8bpc for output i: fills weights[taps()], returns `first`.
  DSSL_HD int64_t weights(int64_t i, double* real, int32_t* fixed, int64_t* counted) const {
    double sum = 0;
    *counted = count(i);
    for (int64_t k = 0; k < *counted; ++k) {
      real[k] = real_weight(i, k);
      sum += real[k];
    }
    for (int64_t k = 0; k < *counted; ++k) fixed[k] = fixed_weight(real[k], sum);
    return first(i);
  }
};

DSSL_HD uint8_t resize_round(int32_t sum) { return clip8(sum >> kResizeBits); }

// Pillow 13 resizes tall reductions vertically first; up to 12.3 always horizontally first.
DSSL_HD bool vertical_first(int64_t in_w, int64_t in_h, int64_t out_w, int64_t out_h, int pil_compat) {
  return pil_compat >= 13 && in_h - out_h > 0 && in_h - out_h > 2 * (in_w - out_w);
}

// BoxBlur.c, _gaussian_blur_radius for three passes: the real radius of the box.
DSSL_HD float box_radius(float sigma) {
  const float variance = sigma * sigma / 3;
  const float length = static_cast<float>(std::sqrt(12.0 * variance + 1.0));
  const float whole = static_cast<float>(std::floor((length - 1.0) / 2.0));
  float part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
  part /= 6 * (variance - (whole + 1) * (whole + 1));
  return whole + part;
}

// One box pass: the window of radius r in full weight, one pixel more on each side in part.
struct Box {
  int64_t radius;
  uint32_t weight, far_weight;

  DSSL_HD explicit Box(float real_radius)
      : radius(static_cast<int64_t>(real_radius)),
        weight(static_cast<uint32_t>(static_cast<float>(uint32_t{1} << 24) / (real_radius * 2 + 1))),
        far_weight(((uint32_t{1} << 24) - static_cast<uint32_t>(radius * 2 + 1) * weight) / 2) {}

  DSSL_HD uint8_t value(uint32_t window, uint32_t far) const {
    return static_cast<uint8_t>((window * weight + far * far_weight + (uint32_t{1} << 23)) >> 24);
  }
};

// ImageFilter.SMOOTH: eight neighbours and five times the centre, over 13, rounded; ties cannot occur. That is
// (2 * sum + 13) / 26, here through the upper half of a product of 16-bit numbers, the same for every possible sum.
DSSL_HD uint8_t smooth_round(uint16_t sum) {
  const uint16_t doubled = static_cast<uint16_t>(2 * sum + 13);
  return static_cast<uint8_t>(static_cast<uint16_t>(uint32_t{doubled} * 20165 >> 16) >> 3);
}

}  // namespace dssl::augment
