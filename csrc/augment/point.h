// Point operations as tables of 256 entries, one per channel. Integer and rounding rules are Pillow 13's (x86-64):
// every float operation is rounded on its own, so this code must be compiled without contraction.
#pragma once

#include <cmath>
#include <cstdint>

#include "../common/host_device.h"

namespace dssl::augment {

DSSL_HD uint8_t clip8(int v) { return static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v); }

// ImagingBlend: degenerate + alpha * (image - degenerate) in float32, truncated; clipped when it extrapolates.
DSSL_HD uint8_t blend(int degenerate, int image, float alpha) {
  const float value = static_cast<float>(degenerate) + alpha * static_cast<float>(image - degenerate);
  const float above = value > 0.0f ? value : 0.0f;  // one bound at a time: compilers turn each into an instruction
  return static_cast<uint8_t>(static_cast<int>(above < 255.0f ? above : 255.0f));
}

// ImageOps.posterize; 0 bits give black, as in Pillow up to 12.
DSSL_HD uint8_t posterize(int v, int bits) { return static_cast<uint8_t>(v & (0xFF00 >> bits) & 0xFF); }

// ImageOps.solarize: the threshold is compared as a real number.
DSSL_HD uint8_t solarize(int v, double threshold) { return static_cast<uint8_t>(v < threshold ? v : 255 - v); }

// SolarizeAdd as the authors have it: add to every value, clip, truncate, then solarize at 128.
DSSL_HD uint8_t solarize_add(int v, double addend) {
  const double sum = v + addend;
  return solarize(sum <= 0 ? 0 : sum >= 255 ? 255 : static_cast<int>(sum), 128);
}

// ImageOps.autocontrast without cutoff, for the darkest and the brightest occurring value.
DSSL_HD uint8_t autocontrast(int v, int low, int high) {
  if (high <= low) return static_cast<uint8_t>(v);
  const double scale = 255.0 / (high - low);
  const double offset = -low * scale;
  const double value = v * scale + offset;
  return clip8(static_cast<int>(value));
}

// ImageOps.equalize: pixels to a level; 0 where the table is the identity. `brightest` counts the brightest occurring
// value.
DSSL_HD int64_t equalize_step(int64_t pixels, int64_t brightest, int occupied) {
  return occupied > 1 ? (pixels - brightest) / 255 : 0;
}

// The level of v, where `below` pixels are darker.
DSSL_HD uint8_t equalize(int v, int64_t below, int64_t step) {
  const int64_t level = step ? (step / 2 + below) / step : v;
  return static_cast<uint8_t>(level > 255 ? 255 : level);
}

// From the histogram of one channel.
DSSL_HD void equalize_table(const uint32_t* histogram, uint8_t* table) {
  int64_t total = 0;
  int last = 0, occupied = 0;
  for (int v = 0; v < 256; ++v) {
    total += histogram[v];
    if (histogram[v]) last = v, ++occupied;
  }
  const int64_t step = equalize_step(total, histogram[last], occupied);
  int64_t below = 0;
  for (int v = 0; v < 256; ++v) {
    table[v] = equalize(v, below, step);
    below += histogram[v];
  }
}

// ImageEnhance.Contrast blends with the rounded mean of the luma.
DSSL_HD int rounded_mean(int64_t sum, int64_t count) {
  return count ? static_cast<int>((2 * sum + count) / (2 * count)) : 0;
}

}  // namespace dssl::augment
