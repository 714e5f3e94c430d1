// Steps that move pixels or filter them with their neighbours: flips, tiles, warps, sharpness, cutout.
#include "../common/tile_mover.h"
#include "canvas.h"

namespace dssl::augment {

// Flips and tiles commute with the tables and keep the histogram, so neither is touched.
void Canvas::flip() {
  uint8_t* out = writable(area());
  const int64_t width = size_.width;
  for (int64_t row = 0; row < channels_ * size_.height; ++row)
    std::reverse_copy(pixels_ + row * width, pixels_ + (row + 1) * width, out + row * width);
  replace(out, true);
}

void Canvas::jigsaw(const double* permutation, int64_t grid) {
  uint8_t* out = writable(area());
  const TileMover mover(size_.height, size_.width, grid, 1);
  mover.permute(permutation, reinterpret_cast<const char*>(pixels_), reinterpret_cast<char*>(out), channels_);
  replace(out, true);
}

void Canvas::warp(const Step& step) {
  const double v = step.values[0];
  const double width = static_cast<double>(size_.width), height = static_cast<double>(size_.height);
  Matrix matrix{1, 0, 0, 0, 1, 0};
  switch (step.opcode) {
    case kRotate: {
      const double angle = modulo360(v);
      if (angle == 0) return;
      if (angle == 180) return rotate_right_angle(2);
      if ((angle == 90 || angle == 270) && width == height) return rotate_right_angle(angle == 90 ? 1 : 3);
      matrix = rotation(v, width, height);
      break;
    }
    case kShearX: matrix.b = v; break;
    case kShearY: matrix.d = v; break;
    case kTranslateX: matrix.c = v; break;
    default: matrix.f = v; break;
  }
  flush();
  if (step.values[1] == kNearest) return warp_nearest(matrix);
  warp_smooth(matrix, step.values[1] == kBicubic);
}

void Canvas::rotate_right_angle(int turns) {
  uint8_t* out = writable(area());
  const int64_t H = size_.height, W = size_.width;
  for (int c = 0; c < channels_; ++c)
    for (int64_t y = 0; y < H; ++y)
      for (int64_t x = 0; x < W; ++x) {
        const int64_t from = turns == 2   ? (H - 1 - y) * W + W - 1 - x
                             : turns == 1 ? x * W + W - 1 - y
                                          : (H - 1 - x) * W + y;
        out[c * area() + y * W + x] = plane(c)[from];
      }
  replace(out, true);
}

// For each output pixel of row y the source pixel, or -1 for black: one search serves every channel.
static void fixed_sources(const FixedMatrix& m, int64_t y, Size size, int32_t* source) {
  const int32_t W = static_cast<int32_t>(size.width), H = static_cast<int32_t>(size.height);
  const int64_t row_x = m.c + m.b * y, row_y = m.f + m.e * y;
  for (int32_t x = 0; x < W; ++x) {
    const int32_t sx = static_cast<int32_t>((row_x + m.a * x) >> 16),
                  sy = static_cast<int32_t>((row_y + m.d * x) >> 16);
    const bool inside =
        static_cast<uint32_t>(sx) < static_cast<uint32_t>(W) && static_cast<uint32_t>(sy) < static_cast<uint32_t>(H);
    source[x] = inside ? sy * W + sx : -1;
  }
}

// Far outside 16 bits Pillow steps in doubles, adding the increments one by one: a product would round elsewhere.
static void stepped_sources(const Matrix& m, Size size, int32_t* source) {
  double row_x = m.c + m.b * 0.5 + m.a * 0.5, row_y = m.f + m.e * 0.5 + m.d * 0.5;
  for (int64_t y = 0; y < size.height; ++y, row_x += m.b, row_y += m.e) {
    double at_x = row_x, at_y = row_y;
    for (int64_t x = 0; x < size.width; ++x, at_x += m.a, at_y += m.d) {
      const int64_t sx = pixel_at(at_x, size.width), sy = pixel_at(at_y, size.height);
      *source++ = sx < 0 || sy < 0 ? -1 : static_cast<int32_t>(sy * size.width + sx);
    }
  }
}

// Shifts by whole pixels, where a translation ends up: `down` and `right` say where output (0, 0) reads.
void Canvas::shift(int64_t down, int64_t right) {
  uint8_t* out = writable(area());
  const int64_t H = size_.height, W = size_.width;
  const int64_t begin = std::clamp<int64_t>(-right, 0, W), end = std::clamp<int64_t>(W - right, begin, W);
  for (int64_t row = 0; row < channels_ * H; ++row) {
    const int64_t y = row % H + down;
    uint8_t* to = out + row * W;
    if (y < 0 || y >= H || begin == end) {
      std::memset(to, 0, W);
      continue;
    }
    std::memset(to, 0, begin);
    std::memcpy(to + begin, pixels_ + (row + down) * W + begin + right, end - begin);
    std::memset(to + end, 0, W - end);
  }
  replace(out, false);
}

// ImagingScaleAffine with scale 1: adding 1 keeps a coordinate's fraction but for rounding, so each axis is searched.
static bool whole_shift(double start, int64_t size, int64_t* shift) {
  *shift = static_cast<int64_t>(std::floor(std::clamp(start, -40000.0, 40000.0)));
  for (int64_t i = 0; i < size; ++i, start += 1.0) {
    const int64_t expected = i + *shift;
    if (pixel_at(start, size) != (expected >= 0 && expected < size ? expected : -1)) return false;
  }
  return true;
}

void Canvas::warp_nearest(const Matrix& m) {
  const bool axis_aligned = m.b == 0 && m.d == 0;
  int64_t right, down;
  if (axis_aligned && whole_shift(m.c + m.a * 0.5, size_.width, &right) &&
      whole_shift(m.f + m.e * 0.5, size_.height, &down))
    return shift(down, right);
  uint8_t* out = writable(area());
  const bool fixed = !axis_aligned && fits_fixed(m, size_.width, size_.height);
  if (fixed && warp_fixed(to_fixed(m), pixels_, out, channels_, size_.height, size_.width)) return replace(out, false);
  std::vector<int32_t>& source = sources_;
  source.resize(area());
  if (fixed)
    for (int64_t y = 0; y < size_.height; ++y) fixed_sources(to_fixed(m), y, size_, &source[y * size_.width]);
  else
    stepped_sources(m, size_, source.data());
  const int64_t count = area();
  for (int c = 0; c < channels_; ++c) {
    const uint8_t* from = plane(c);
    uint8_t* to = out + c * count;
    for (int64_t i = 0; i < count; ++i) to[i] = source[i] < 0 ? 0 : from[source[i]];
  }
  replace(out, false);
}

void Canvas::warp_smooth(const Matrix& m, bool bicubic) {
  uint8_t* out = writable(area());
  const int64_t H = size_.height, W = size_.width;
  for (int64_t y = 0; y < H; ++y)
    for (int64_t x = 0; x < W; ++x) {
      const double cx = x + 0.5, cy = y + 0.5;
      const double sx = m.a * cx + m.b * cy + m.c, sy = m.d * cx + m.e * cy + m.f;
      const bool inside = sx >= 0 && sx < W && sy >= 0 && sy < H;
      for (int c = 0; c < channels_; ++c)
        out[c * area() + y * W + x] = !inside   ? 0
                                      : bicubic ? bicubic_at(plane(c), W, H, sx, sy)
                                                : bilinear_at(plane(c), W, H, sx, sy);
    }
  replace(out, false);
}

void Canvas::sharpen(float factor) {
  flush();
  uint8_t* out = writable(area());
  const int64_t H = size_.height, W = size_.width;
  std::memcpy(out, pixels_, channels_ * area());  // the border is the image's own
  if (H < 3 || W < 3) return replace(out, false);
  const IntegerBlend integers(factor);
  constexpr int64_t kBlock = 1024;
  uint16_t column[kBlock + 2];
  uint8_t smooth[kBlock];
  for (int c = 0; c < channels_; ++c) {
    // Rows joined to one line, since short loops vectorise badly; then the columns at both ends get their own back.
    uint8_t* to = out + c * area();
    for (int64_t start = W + 1, end = area() - W - 1; start < end; start += kBlock) {
      const int64_t n = std::min(kBlock, end - start);
      const uint8_t *mid = plane(c) + start, *up = mid - W, *down = mid + W;
      for (int64_t i = 0; i < n + 2; ++i) column[i] = static_cast<uint16_t>(up[i - 1] + mid[i - 1] + down[i - 1]);
      for (int64_t i = 0; i < n; ++i)
        smooth[i] = smooth_round(static_cast<uint16_t>(column[i] + column[i + 1] + column[i + 2] + 4 * mid[i]));
      blend_all(integers, factor, smooth, mid, to + start, n);
    }
    for (int64_t i = W; i < area() - W; i += W) to[i] = plane(c)[i], to[i + W - 1] = plane(c)[i + W - 1];
  }
  replace(out, false);
}

void Canvas::cutout(const double* box) {
  flush();
  uint8_t* out = writable(area());
  std::memcpy(out, pixels_, channels_ * area());
  const int64_t left = std::max<int64_t>(0, static_cast<int64_t>(box[0])),
                top = std::max<int64_t>(0, static_cast<int64_t>(box[1]));
  const int64_t right = std::min(size_.width - 1, static_cast<int64_t>(box[2]));
  const int64_t bottom = std::min(size_.height - 1, static_cast<int64_t>(box[3]));
  for (int c = 0; c < channels_ && left <= right; ++c)
    for (int64_t y = top; y <= bottom; ++y)
      std::memset(out + c * area() + y * size_.width + left, cutout_colour(channels_, c), right - left + 1);
  replace(out, false);
}

}  // namespace dssl::augment
