// Steps that move or filter pixels: flips, tiles, warps, sharpness, cutout, blur, resize.
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
  for (int64_t k = 0; k < grid * grid; ++k) {
    const Tile to = tile_at(size_.height, size_.width, grid, k);
    const Tile from = tile_at(size_.height, size_.width, grid, static_cast<int64_t>(permutation[k]));
    for (int c = 0; c < channels_; ++c)
      for (int64_t y = 0; y < to.height; ++y)
        std::memcpy(out + c * area() + (to.top + y) * size_.width + to.left,
                    plane(c) + (from.top + y) * size_.width + from.left, to.width);
  }
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
        const int64_t from = turns == 2 ? (H - 1 - y) * W + W - 1 - x : turns == 1 ? x * W + W - 1 - y : (H - 1 - x) * W + y;
        out[c * area() + y * W + x] = plane(c)[from];
      }
  replace(out, true);
}

// For each output pixel the source pixel, or -1 for black: one search serves every channel.
static void nearest_sources(const Matrix& m, Size size, std::vector<int32_t>& source) {
  const int64_t H = size.height, W = size.width;
  source.assign(H * W, -1);
  const bool axis_aligned = m.b == 0 && m.d == 0, fixed = fits_fixed(m, W, H);
  const FixedMatrix f = fixed ? to_fixed(m) : FixedMatrix{};
  // Pillow adds the increments one by one, and so do we: a product would round elsewhere.
  double row_x = m.c + m.a * 0.5 + (axis_aligned ? 0.0 : m.b * 0.5), row_y = m.f + (axis_aligned ? 0.0 : m.d * 0.5) + m.e * 0.5;
  if (!axis_aligned && !fixed) row_x = m.c + m.b * 0.5 + m.a * 0.5, row_y = m.f + m.e * 0.5 + m.d * 0.5;
  for (int64_t y = 0; y < H; ++y, row_x += m.b, row_y += m.e) {
    double at_x = row_x, at_y = row_y;
    for (int64_t x = 0; x < W; ++x, at_x += m.a, at_y += m.d) {
      int64_t sx, sy;
      if (!axis_aligned && fixed) {
        sx = (f.c + f.b * y + f.a * x) >> 16, sy = (f.f + f.e * y + f.d * x) >> 16;
        if (sx < 0 || sx >= W || sy < 0 || sy >= H) continue;
      } else {
        sx = pixel_at(at_x, W), sy = pixel_at(at_y, H);
        if (sx < 0 || sy < 0) continue;
      }
      source[y * W + x] = static_cast<int32_t>(sy * W + sx);
    }
  }
}

void Canvas::warp_nearest(const Matrix& matrix) {
  std::vector<int32_t> source;
  nearest_sources(matrix, size_, source);
  uint8_t* out = writable(area());
  for (int c = 0; c < channels_; ++c)
    for (int64_t i = 0; i < area(); ++i) out[c * area() + i] = source[i] < 0 ? 0 : plane(c)[source[i]];
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
        out[c * area() + y * W + x] = !inside ? 0 : bicubic ? bicubic_at(plane(c), W, H, sx, sy) : bilinear_at(plane(c), W, H, sx, sy);
    }
  replace(out, false);
}

void Canvas::sharpen(float factor) {
  flush();
  uint8_t* out = writable(area());
  const int64_t H = size_.height, W = size_.width;
  std::memcpy(out, pixels_, channels_ * area());  // the border is the image's own
  for (int c = 0; c < channels_; ++c)
    for (int64_t y = 1; y + 1 < H; ++y) {
      const uint8_t *mid = plane(c) + y * W, *up = mid - W, *down = mid + W;
      uint8_t* to = out + c * area() + y * W;
      for (int64_t x = 1; x + 1 < W; ++x) {
        const int sum = up[x - 1] + up[x] + up[x + 1] + mid[x - 1] + 5 * mid[x] + mid[x + 1] + down[x - 1] + down[x] + down[x + 1];
        to[x] = blend(smooth_round(sum), mid[x], factor);
      }
    }
  replace(out, false);
}

void Canvas::cutout(const double* box) {
  flush();
  uint8_t* out = writable(area());
  std::memcpy(out, pixels_, channels_ * area());
  const int64_t left = std::max<int64_t>(0, static_cast<int64_t>(box[0])), top = std::max<int64_t>(0, static_cast<int64_t>(box[1]));
  const int64_t right = std::min(size_.width - 1, static_cast<int64_t>(box[2]));
  const int64_t bottom = std::min(size_.height - 1, static_cast<int64_t>(box[3]));
  for (int c = 0; c < channels_ && left <= right; ++c)
    for (int64_t y = top; y <= bottom; ++y)
      std::memset(out + c * area() + y * size_.width + left, cutout_colour(channels_, c), right - left + 1);
  replace(out, false);
}

// One box pass over `count` values that lie `stride` apart; edges repeat the border value.
static void box_line(const Box& box, const uint8_t* from, uint8_t* to, int64_t count, int64_t stride) {
  const auto at = [&](int64_t i) { return static_cast<uint32_t>(from[clamp_index(i, count) * stride]); };
  uint32_t window = 0;
  for (int64_t i = -box.radius; i <= box.radius; ++i) window += at(i);
  for (int64_t i = 0; i < count; ++i) {
    to[i * stride] = box.value(window, at(i - box.radius - 1) + at(i + box.radius + 1));
    window += at(i + box.radius + 1) - at(i - box.radius);
  }
}

void Canvas::blur(float sigma) {
  if (sigma == 0) return;
  flush();
  const Box box(box_radius(sigma));
  const int64_t H = size_.height, W = size_.width;
  for (int pass = 0; pass < 6; ++pass) {
    uint8_t* out = writable(area());
    for (int c = 0; c < channels_; ++c) {
      const int64_t lines = pass < 3 ? H : W;
      for (int64_t line = 0; line < lines; ++line) {
        const int64_t offset = c * area() + (pass < 3 ? line * W : line);
        box_line(box, pixels_ + offset, out + offset, pass < 3 ? W : H, pass < 3 ? 1 : W);
      }
    }
    replace(out, false);
  }
}

// One axis of a resize: `lines` lines of axis.in values `step` apart become lines of axis.out.
struct Lines {
  int64_t count, in_step, in_line, out_step, out_line;
};

static void resample(const Axis& axis, const Lines& lines, const uint8_t* from, uint8_t* to) {
  std::vector<double> real(axis.taps());
  std::vector<int32_t> weights(axis.taps());
  for (int64_t i = 0; i < axis.out; ++i) {
    int64_t taps;
    const int64_t first = axis.weights(i, real.data(), weights.data(), &taps);
    for (int64_t line = 0; line < lines.count; ++line) {
      const uint8_t* source = from + line * lines.in_line + first * lines.in_step;
      int32_t sum = 1 << (kResizeBits - 1);
      for (int64_t k = 0; k < taps; ++k) sum += weights[k] * source[k * lines.in_step];
      to[line * lines.out_line + i * lines.out_step] = resize_round(sum);
    }
  }
}

void Canvas::resize(const double* v) {
  flush();
  const int64_t top = static_cast<int64_t>(v[0]), left = static_cast<int64_t>(v[1]);
  const int64_t h = static_cast<int64_t>(v[2]), w = static_cast<int64_t>(v[3]);
  const Size size{static_cast<int64_t>(v[4]), static_cast<int64_t>(v[5])};
  const bool bicubic = v[6] == kBicubic, vertical = vertical_first(w, h, size.width, size.height, static_cast<int>(v[7]));
  const Axis x(w, size.width, bicubic), y(h, size.height, bicubic);
  uint8_t* out = writable(size.height * size.width);
  scratch_.resize(std::max(h * size.width, size.height * w));
  for (int c = 0; c < channels_; ++c) {
    const uint8_t* from = plane(c) + top * size_.width + left;
    uint8_t *middle = scratch_.data(), *to = out + c * size.height * size.width;
    if (vertical) {
      resample(y, {w, size_.width, 1, w, 1}, from, middle);
      resample(x, {size.height, 1, w, 1, size.width}, middle, to);
    } else {
      resample(x, {h, 1, size_.width, 1, size.width}, from, middle);
      resample(y, {size.width, size.width, 1, size.width, 1}, middle, to);
    }
  }
  size_ = size;
  replace(out, false);
}

}  // namespace dssl::augment
