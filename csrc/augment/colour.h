// Operations across the channels of a pixel: luma, and Pillow's 8-bit HSV round trip.
#pragma once

#include <cmath>
#include <cstdint>

#include "point.h"

namespace dssl::augment {

// Image.convert("L").
DSSL_HD uint8_t luma(int r, int g, int b) {
  return static_cast<uint8_t>((19595 * r + 38470 * g + 7471 * b + 32768) >> 16);
}

struct Pixel {
  uint8_t r, g, b;
};

struct Hsv {
  uint8_t h, s, v;
};

// Convert.c, rgb2hsv: the same mix of float and double as there.
DSSL_HD Hsv to_hsv(Pixel p) {
  const int top = p.r > p.g ? (p.r > p.b ? p.r : p.b) : (p.g > p.b ? p.g : p.b);
  const int low = p.r < p.g ? (p.r < p.b ? p.r : p.b) : (p.g < p.b ? p.g : p.b);
  if (top == low) return {0, 0, static_cast<uint8_t>(top)};
  const float range = static_cast<float>(top - low);
  const float saturation = range / static_cast<float>(top);
  const float r = static_cast<float>(top - p.r) / range;
  const float g = static_cast<float>(top - p.g) / range;
  const float b = static_cast<float>(top - p.b) / range;
  float hue;
  if (p.r == top)
    hue = b - g;
  else if (p.g == top)
    hue = static_cast<float>(2.0 + r - b);
  else
    hue = static_cast<float>(4.0 + g - r);
  const double turned = hue / 6.0 + 1.0;  // in [5/6, 11/6], where the remainder by 1 is a subtraction
  hue = static_cast<float>(turned >= 1.0 ? turned - 1.0 : turned);
  return {clip8(static_cast<int>(hue * 255.0)), clip8(static_cast<int>(saturation * 255.0)), static_cast<uint8_t>(top)};
}

// round() of C: halves away from zero; the argument is never negative here.
DSSL_HD int round_half_up(double x) {
  const int floor = static_cast<int>(x);
  return floor + (x - floor >= 0.5);
}

// Convert.c, hsv2rgb.
DSSL_HD Pixel to_rgb(Hsv hsv) {
  const uint8_t v = hsv.v;
  if (hsv.s == 0) return {v, v, v};
  const double turn = static_cast<float>(hsv.h) * 6.0 / 255.0;
  const int sector = static_cast<int>(turn);
  const float f = static_cast<float>(turn - static_cast<float>(sector));
  const float s = static_cast<float>(static_cast<float>(hsv.s) / 255.0);
  const float value = static_cast<float>(v);
  const uint8_t p = clip8(round_half_up(value * (1.0 - s)));
  const uint8_t q = clip8(round_half_up(value * (1.0 - s * f)));
  const uint8_t t = clip8(round_half_up(value * (1.0 - s * (1.0 - f))));
  switch (sector % 6) {
    case 0: return {v, t, p};
    case 1: return {q, v, p};
    case 2: return {p, v, t};
    case 3: return {p, q, v};
    case 4: return {t, p, v};
    default: return {v, p, q};
  }
}

// torchvision's adjust_hue on PIL images: the 8-bit hue wraps around; `offset` = trunc(255 * shift) mod 256.
DSSL_HD Pixel shift_hue(Pixel p, uint8_t offset) {
  Hsv hsv = to_hsv(p);
  hsv.h = static_cast<uint8_t>(hsv.h + offset);
  return to_rgb(hsv);
}

DSSL_HD uint8_t hue_offset(double shift) { return static_cast<uint8_t>(static_cast<int>(shift * 255)); }

}  // namespace dssl::augment
