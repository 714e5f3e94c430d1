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

DSSL_HD int larger(int a, int b) { return a > b ? a : b; }
DSSL_HD int smaller(int a, int b) { return a < b ? a : b; }

struct Pixel {
  int r, g, b;
};

struct Hsv {
  int h, s, v;
};

// Pillow computes the hue in floats and truncates. Where the exact hue is a whole number k, its rounding ends just
// below for the k whose bit is set here (found by comparing all 2^24 colours, as a test does again).
DSSL_HD int rounded_down(int k) {
  static constexpr uint32_t bits[8] = {0xfffffffe, 0, 0x11000000, 0x111, 0x222aaaaa, 0x23232222, 0x22222, 0};
  return static_cast<int>(bits[k >> 5] >> (k & 31)) & 1;
}

// Convert.c, rgb2hsv, in integers and branch-free. Quotients of integers below 2^24 truncate exactly in float32.
DSSL_HD Hsv to_hsv(Pixel p) {
  const int top = larger(p.r, larger(p.g, p.b)), low = smaller(p.r, smaller(p.g, p.b));
  const int range = top - low;
  const bool red = p.r == top, green = p.g == top;
  const int sector = red ? 0 : green ? 2 : 4;
  int sixths = sector * range + (red ? p.g - p.b : green ? p.b - p.r : p.r - p.g);
  sixths = sixths < 0 ? sixths + 6 * range : sixths;
  const float hue = static_cast<float>(sixths * 255) / static_cast<float>(6 * larger(range, 1));
  const int whole = static_cast<int>(hue);
  const int exact = static_cast<float>(whole) == hue;
  const float saturation = static_cast<float>(range * 255) / static_cast<float>(larger(top, 1));
  return {whole - (exact & rounded_down(whole)), static_cast<int>(saturation), top};
}

// Convert.c, hsv2rgb: float32 gives the same roundings as the doubles there for all 2^24 arguments.
DSSL_HD Pixel to_rgb(Hsv hsv) {
  const int turn = hsv.h == 255 ? 0 : hsv.h * 6;  // a full turn is none
  const int sector = (turn * 257 + 257) >> 16;    // turn / 255
  const float f = static_cast<float>(turn - 255 * sector) / 255.0f, s = static_cast<float>(hsv.s) / 255.0f;
  const float value = static_cast<float>(hsv.v);
  const int v = hsv.v;
  const int p = static_cast<int>(value * (1.0f - s) + 0.5f);
  const int q = static_cast<int>(value * (1.0f - s * f) + 0.5f);
  const int t = static_cast<int>(value * (1.0f - s * (1.0f - f)) + 0.5f);
  const int r = sector == 1 ? q : sector == 2 ? p : sector == 3 ? p : sector == 4 ? t : v;
  const int g = sector == 0 ? t : sector == 1 ? v : sector == 2 ? v : sector == 3 ? q : p;
  const int b = sector == 0 ? p : sector == 1 ? p : sector == 2 ? t : sector == 5 ? q : v;
  return {r, g, b};
}

// torchvision's adjust_hue on PIL images: the 8-bit hue wraps around; `offset` = trunc(255 * shift) mod 256.
DSSL_HD Pixel shift_hue(Pixel p, int offset) {
  const Hsv hsv = to_hsv(p);
  return to_rgb({(hsv.h + offset) & 255, hsv.s, hsv.v});
}

DSSL_HD int hue_offset(double shift) { return static_cast<int>(shift * 255) & 255; }

}  // namespace dssl::augment
