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
  const int turn = hsv.h * 6, sector = (turn * 257 + 257) >> 16;  // turn / 255, 6 for a full turn
  const float f = static_cast<float>(turn - 255 * sector) / 255.0f, s = static_cast<float>(hsv.s) / 255.0f;
  const float value = static_cast<float>(hsv.v);
  const int v = hsv.v;
  const int p = static_cast<int>(value * (1.0f - s) + 0.5f);
  const int q = static_cast<int>(value * (1.0f - s * f) + 0.5f);
  const int t = static_cast<int>(value * (1.0f - s * (1.0f - f)) + 0.5f);
  // Masks instead of branches, so that the loop around this becomes vector code.
  const int is1 = -(sector == 1), is2 = -(sector == 2), is3 = -(sector == 3), is4 = -(sector == 4),
            is5 = -(sector == 5);
  const int is0 = ~(is1 | is2 | is3 | is4 | is5);
  const int r = (v & (is0 | is5)) | (q & is1) | (p & (is2 | is3)) | (t & is4);
  const int g = (v & (is1 | is2)) | (q & is3) | (p & (is4 | is5)) | (t & is0);
  const int b = (v & (is3 | is4)) | (q & is5) | (p & (is0 | is1)) | (t & is2);
  return {r, g, b};
}

// torchvision's adjust_hue on PIL images: between to_hsv and to_rgb the 8-bit hue turns by trunc(255 * shift) mod 256.
DSSL_HD int hue_offset(double shift) { return static_cast<int>(shift * 255) & 255; }

}  // namespace dssl::augment
