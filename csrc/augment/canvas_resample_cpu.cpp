// Blur and resized crop: separable filters.
#include "canvas.h"
#include "vector_resample.h"

namespace dssl::augment {

static void transpose(const uint8_t* from, uint8_t* to, int64_t height, int64_t width) {
  constexpr int64_t kTile = 32;  // a tile of each side stays in the first-level cache
  for (int64_t y0 = 0; y0 < height; y0 += kTile)
    for (int64_t x0 = 0; x0 < width; x0 += kTile)
      for (int64_t x = x0; x < std::min(x0 + kTile, width); ++x)
        for (int64_t y = y0; y < std::min(y0 + kTile, height); ++y) to[x * height + y] = from[y * width + x];
}

// One box pass down the columns, a row of running windows at a time; the first and last row repeat.
static void box_columns(const Box& box, const uint8_t* from, uint8_t* to, int64_t height, int64_t width,
                        std::vector<uint32_t>& window) {
  const auto row = [&](int64_t y) { return from + clamp_index(y, height) * width; };
  window.assign(width, 0);
  for (int64_t y = -box.radius; y <= box.radius; ++y)
    for (int64_t x = 0; x < width; ++x) window[x] += row(y)[x];
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t *above = row(y - box.radius - 1), *below = row(y + box.radius + 1), *leaving = row(y - box.radius);
    uint8_t* out = to + y * width;
    uint32_t* sums = window.data();
    for (int64_t x = 0; x < width; ++x) {
      out[x] = box.value(sums[x], uint32_t{above[x]} + below[x]);
      sums[x] += uint32_t{below[x]} - leaving[x];
    }
  }
}

// One box pass over `count` pixels of a plane with margins, its rows joined to one line; neighbours lie `step` apart.
static void narrow_box(const Box& box, const uint8_t* from, int64_t step, uint8_t* to, int64_t count) {
  constexpr int64_t kBlock = 1024;
  uint16_t window[kBlock];
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t n = std::min(kBlock, count - start), far = (box.radius + 1) * step;
    const uint8_t *mid = from + start, *before = mid - far, *after = mid + far;
    for (int64_t i = 0; i < n; ++i) window[i] = mid[i];
    for (int64_t k = step; k < far; k += step)
      for (int64_t i = 0; i < n; ++i) window[i] = static_cast<uint16_t>(window[i] + mid[i - k] + mid[i + k]);
    box_values(box, window, before, after, to + start, n);
  }
}

// Three passes along the rows, three down the columns, between two planes whose margins repeat the border.
static void narrow_blur(const Box& box, const uint8_t* from, uint8_t* to, int64_t H, int64_t W,
                        std::vector<uint8_t>& scratch) {
  const int64_t margin = box.radius + 1, stride = W + 2 * margin, size = (H + 2 * margin) * stride;
  scratch.resize(2 * size);
  uint8_t *image = scratch.data() + margin * stride, *blurred = image + size;
  for (int64_t y = 0; y < H; ++y) std::memcpy(image + y * stride + margin, from + y * W, W);
  for (int pass = 0; pass < 3; ++pass, std::swap(image, blurred)) {
    for (int64_t y = 0; y < H; ++y) {
      uint8_t* row = image + y * stride + margin;
      std::memset(row - margin, row[0], margin), std::memset(row + W, row[W - 1], margin);
    }
    narrow_box(box, image, 1, blurred, H * stride);
  }
  for (int pass = 0; pass < 3; ++pass, std::swap(image, blurred)) {
    for (int64_t k = 1; k <= margin; ++k) {
      std::memcpy(image - k * stride, image, stride);
      std::memcpy(image + (H - 1 + k) * stride, image + (H - 1) * stride, stride);
    }
    narrow_box(box, image, stride, blurred, H * stride);
  }
  for (int64_t y = 0; y < H; ++y) std::memcpy(to + y * W, image + y * stride + margin, W);
}

// Boxes of any radius: running sums, for the rows as columns of the transposed plane.
static void wide_blur(const Box& box, const uint8_t* from, uint8_t* to, int64_t H, int64_t W,
                      std::vector<uint8_t>& scratch) {
  std::vector<uint32_t> window;
  scratch.resize(2 * H * W);
  uint8_t *one = scratch.data(), *two = one + H * W;
  transpose(from, one, H, W);
  box_columns(box, one, two, W, H, window);
  box_columns(box, two, one, W, H, window);
  box_columns(box, one, two, W, H, window);
  transpose(two, one, W, H);
  box_columns(box, one, two, H, W, window);
  box_columns(box, two, one, H, W, window);
  box_columns(box, one, to, H, W, window);
}

void Canvas::blur(float sigma) {
  if (sigma == 0) return;
  flush();
  const Box box(box_radius(sigma));
  uint8_t* out = writable(area());
  for (int c = 0; c < channels_; ++c)
    (box.radius <= 4 ? narrow_blur : wide_blur)(box, plane(c), out + c * area(), size_.height, size_.width, scratch_);
  replace(out, false);
}

// Crop and resize in one reading: the passes start at the crop's corner, in Pillow's order.
void Canvas::resize(const double* v) {
  flush();
  const int64_t h = static_cast<int64_t>(v[2]), w = static_cast<int64_t>(v[3]);
  const Size size{static_cast<int64_t>(v[4]), static_cast<int64_t>(v[5])};
  const bool bicubic = v[6] == kBicubic,
             vertical = vertical_first(w, h, size.width, size.height, static_cast<int>(v[7]));
  const Taps x(Axis(w, size.width, bicubic)), y(Axis(h, size.height, bicubic));
  uint8_t* out = writable(size.height * size.width);
  scratch_.resize(vertical ? size.height * w : h * size.width);
  uint8_t* middle = scratch_.data();
  for (int c = 0; c < channels_; ++c) {
    const uint8_t* from = plane(c) + static_cast<int64_t>(v[0]) * size_.width + static_cast<int64_t>(v[1]);
    uint8_t* to = out + c * size.height * size.width;
    if (vertical) {
      for (int64_t i = 0; i < size.height; ++i) resample_column(y, i, from, size_.width, middle + i * w, w);
      resample_rows(x, middle, w, to, size.width, size.height);
    } else {
      resample_rows(x, from, size_.width, middle, size.width, h);
      for (int64_t i = 0; i < size.height; ++i)
        resample_column(y, i, middle, size.width, to + i * size.width, size.width);
    }
  }
  size_ = size;
  replace(out, false);
}

}  // namespace dssl::augment
