// Image.rotate and Image.transform(AFFINE): matrices, and how each filter of Pillow's Geometry.c reads its source.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "point.h"

namespace dssl::augment {

// Output pixel (x, y) reads the source at (a x + b y + c, d x + e y + f).
struct Matrix {
  double a, b, c, d, e, f;
};

// Python's round(x, 15) for |x| <= 1. The product is exact enough to decide except next to a tie, which printf settles.
inline double round15(double x) {
  const double scaled = x * 1e15, whole = std::nearbyint(scaled);
  if (std::fabs(std::fabs(scaled - whole) - 0.5) > 0.2) return whole / 1e15;
  char text[32];
  std::snprintf(text, sizeof text, "%.15f", x);
  return std::strtod(text, nullptr);
}

// Python's degrees % 360.
inline double modulo360(double degrees) {
  const double remainder = std::fmod(degrees, 360.0);
  return remainder < 0 ? remainder + 360.0 : remainder;
}

// Image.rotate about the centre, counter-clockwise.
inline Matrix rotation(double degrees, double width, double height) {
  const double angle = -(modulo360(degrees) * (3.141592653589793 / 180.0));
  const double cosine = round15(std::cos(angle)), sine = round15(std::sin(angle)),
               minus_sine = round15(-std::sin(angle));
  const double x = width / 2.0, y = height / 2.0;
  return {cosine, sine, cosine * -x + sine * -y + x, minus_sine, cosine, minus_sine * -x + cosine * -y + y};
}

// 16.16 fixed point, for every nearest warp that is not a pure scaling or translation.
struct FixedMatrix {
  int64_t a, b, c, d, e, f;
};

DSSL_HD int64_t to_fixed(double v) { return static_cast<int64_t>(std::floor(v * 65536.0 + 0.5)); }

DSSL_HD FixedMatrix to_fixed(const Matrix& m) {
  return {to_fixed(m.a), to_fixed(m.b), to_fixed(m.c + m.a * 0.5 + m.b * 0.5),
          to_fixed(m.d), to_fixed(m.e), to_fixed(m.f + m.d * 0.5 + m.e * 0.5)};
}

// Pillow leaves fixed point when a corner maps outside +-32768.
DSSL_HD bool fits_fixed(const Matrix& m, double x, double y) {
  return std::fabs(x * m.a + y * m.b + m.c) < 32768.0 && std::fabs(x * m.d + y * m.e + m.f) < 32768.0;
}

DSSL_HD bool fits_fixed(const Matrix& m, int64_t width, int64_t height) {
  const double w = static_cast<double>(width), h = static_cast<double>(height);
  return fits_fixed(m, 0.0, 0.0) && fits_fixed(m, w, h) && fits_fixed(m, 0.0, h) && fits_fixed(m, w, 0.0);
}

// Index of the pixel that a coordinate lies in, or -1 outside [0, size).
DSSL_HD int64_t pixel_at(double coordinate, int64_t size) {
  if (!(coordinate >= 0.0 && coordinate < static_cast<double>(size))) return -1;
  return static_cast<int64_t>(coordinate);
}

DSSL_HD int64_t clamp_index(int64_t i, int64_t size) { return i < 0 ? 0 : i >= size ? size - 1 : i; }

DSSL_HD double lerp(double a, double b, double d) { return a + (b - a) * d; }

// bilinear_filter8 at (x, y), already known to lie inside; truncates.
DSSL_HD uint8_t bilinear_at(const uint8_t* plane, int64_t width, int64_t height, double x, double y) {
  x -= 0.5, y -= 0.5;
  const int64_t left = static_cast<int64_t>(std::floor(x)), top = static_cast<int64_t>(std::floor(y));
  const double dx = x - left, dy = y - top;
  const int64_t x0 = clamp_index(left, width), x1 = clamp_index(left + 1, width);
  const uint8_t* row = plane + clamp_index(top, height) * width;
  const double upper = lerp(row[x0], row[x1], dx);
  double lower = upper;
  if (top + 1 >= 0 && top + 1 < height) {
    row = plane + (top + 1) * width;
    lower = lerp(row[x0], row[x1], dx);
  }
  return static_cast<uint8_t>(lerp(upper, lower, dy));
}

// Geometry.c's cubic, a = -1 (resize has a = -1/2).
DSSL_HD double cubic(double v1, double v2, double v3, double v4, double d) {
  const double p2 = -v1 + v3, p3 = 2 * (v1 - v2) + v3 - v4, p4 = -v1 + v2 - v3 + v4;
  return v2 + d * (p2 + d * (p3 + d * p4));
}

DSSL_HD uint8_t bicubic_at(const uint8_t* plane, int64_t width, int64_t height, double x, double y) {
  x -= 0.5, y -= 0.5;
  const int64_t left = static_cast<int64_t>(std::floor(x)) - 1, top = static_cast<int64_t>(std::floor(y)) - 1;
  const double dx = x - (left + 1), dy = y - (top + 1);
  double rows[4];
  for (int64_t k = 0; k < 4; ++k) {
    const bool inside = top + k >= 0 && top + k < height;
    if (k > 0 && !inside) {
      rows[k] = rows[k - 1];  // a missing row repeats the result above it
      continue;
    }
    const uint8_t* row = plane + clamp_index(top + k, height) * width;
    rows[k] = cubic(row[clamp_index(left, width)], row[clamp_index(left + 1, width)], row[clamp_index(left + 2, width)],
                    row[clamp_index(left + 3, width)], dx);
  }
  const double value = cubic(rows[0], rows[1], rows[2], rows[3], dy);
  return value <= 0.0 ? 0 : value >= 255.0 ? 255 : static_cast<uint8_t>(value);
}

}  // namespace dssl::augment
