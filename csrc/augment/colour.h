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
// below for the k whose bit is set here (found by comparing all 2^24 colours, as a test does again). The words are
// masked together, since a table of them would make each lane of a vector fetch its own.
DSSL_HD int rounded_down(int k) {
  const auto word = [k](int number, uint32_t bits) { return -static_cast<uint32_t>(k >> 5 == number) & bits; };
  const uint32_t bits = word(0, 0xfffffffe) | word(2, 0x11000000) | word(3, 0x111) | word(4, 0x222aaaaa) |
                        word(5, 0x23232222) | word(6, 0x22222);
  return static_cast<int>(bits >> (k & 31)) & 1;
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

// Convert.c, hsv2rgb, without its sectors: a channel loses s times the hue's distance from where that channel is
// full, in 255ths of a sixth of the circle and at most one sixth. Gives the roundings of the doubles there for all 2^24
// arguments.
DSSL_HD Pixel to_rgb(Hsv hsv) {
  const int turn = hsv.h * 6;
  const float top = static_cast<float>(hsv.v) + 0.5f;
  const float depth = static_cast<float>(hsv.v) * (static_cast<float>(hsv.s) * (1.0f / 65025.0f));
  const auto level = [&](int distance) {
    return static_cast<int>(top - depth * static_cast<float>(larger(0, smaller(distance, 255))));
  };
  return {level(smaller(turn - 255, 1275 - turn)), level(larger(255 - turn, turn - 765)),
          level(larger(765 - turn, turn - 1275))};
}

// torchvision's adjust_hue on PIL images: between to_hsv and to_rgb the 8-bit hue turns by trunc(255 * shift) mod 256.
DSSL_HD int hue_offset(double shift) { return static_cast<int>(shift * 255) & 255; }

}  // namespace dssl::augment
