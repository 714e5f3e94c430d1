// What each step does to the canvas: dispatch, point operations and colour.
#include "canvas.h"

namespace dssl::augment {

void Canvas::run(const Step& step) {
  const double* v = step.values;
  const float factor = step.count ? static_cast<float>(v[0]) : 0.0f;
  switch (step.opcode) {
    case kAutoContrast:
    case kEqualize: return per_channel(step.opcode);
    case kInvert: return point([](int x) { return static_cast<uint8_t>(255 - x); });
    case kPosterize: return point([&](int x) { return posterize(x, static_cast<int>(v[0])); });
    case kSolarize: return point([&](int x) { return solarize(x, v[0]); });
    case kSolarizeAdd: return point([&](int x) { return solarize_add(x, v[0]); });
    case kBrightness: return point([&](int x) { return blend(0, x, factor); });
    case kContrast: {
      const int mean = rounded_mean(luma_sum(), area());
      return point([&](int x) { return blend(mean, x, factor); });
    }
    case kGrayscale: return grey();
    case kColor: return saturate(factor);
    case kSharpness: return sharpen(factor);
    case kHue: return hue(hue_offset(v[0]));
    case kHorizontalFlip: return flip();
    case kRotate:
    case kShearX:
    case kShearY:
    case kTranslateX:
    case kTranslateY: return warp(step);
    case kCutout: return cutout(v);
    case kGaussianBlur: return blur(factor);
    case kResizedCrop: return resize(v);
    case kJigsaw: return jigsaw(v, std::llround(std::sqrt(static_cast<double>(step.count))));
    default: return;  // Identity; Source and Emit are the engine's
  }
}

void Canvas::compose(int c, const Table& table) {
  if (!pending_) {
    for (Table& t : tables_)
      for (int v = 0; v < 256; ++v) t[v] = static_cast<uint8_t>(v);
    pending_ = true;
  }
  look_up(table.data(), tables_[c].data(), tables_[c].data(), 256);
}

template <class F>
void Canvas::point(F f) {
  Table table;
  for (int v = 0; v < 256; ++v) table[v] = f(v);
  for (int c = 0; c < channels_; ++c) compose(c, table);
}

void Canvas::count() {
  if (counted_) return;
  for (int c = 0; c < channels_; ++c) {
    // Four partial counts: equal neighbours do not wait for each other's store.
    uint32_t partial[4][256] = {};
    const uint8_t* from = plane(c);
    int64_t i = 0;
    for (; i + 4 <= area(); i += 4)
      for (int k = 0; k < 4; ++k) ++partial[k][from[i + k]];
    for (; i < area(); ++i) ++partial[0][from[i]];
    for (int v = 0; v < 256; ++v) histograms_[c][v] = partial[0][v] + partial[1][v] + partial[2][v] + partial[3][v];
  }
  counted_ = true;
}

Histogram Canvas::histogram(int c) {
  count();
  if (!pending_) return histograms_[c];
  Histogram pushed{};
  for (int v = 0; v < 256; ++v) pushed[tables_[c][v]] += histograms_[c][v];
  return pushed;
}

void Canvas::per_channel(Opcode opcode) {
  if (opcode == kAutoContrast) flush();  // tables need not be monotone: the extremes are those of the pixels
  Table tables[3];
  for (int c = 0; c < channels_; ++c) {
    if (opcode == kEqualize) {
      equalize_table(histogram(c).data(), tables[c].data());
      continue;
    }
    const uint8_t* from = plane(c);
    uint8_t low = 255, high = 0;
    for (int64_t i = 0, count = area(); i < count; ++i) low = std::min(low, from[i]), high = std::max(high, from[i]);
    for (int v = 0; v < 256; ++v) tables[c][v] = autocontrast(v, low, high);
  }
  for (int c = 0; c < channels_; ++c) compose(c, tables[c]);
}

int64_t Canvas::luma_sum() {
  int64_t sum = 0;
  if (channels_ == 1) {
    const Histogram levels = histogram(0);
    for (int v = 0; v < 256; ++v) sum += static_cast<int64_t>(levels[v]) * v;
    return sum;
  }
  flush();
  const uint8_t *r = plane(0), *g = plane(1), *b = plane(2);
  const int64_t count = area();
  for (int64_t i = 0; i < count; ++i) sum += luma(r[i], g[i], b[i]);
  return sum;
}

void Canvas::flush() {
  if (!pending_) return;
  uint8_t* out = writable(area());
  for (int c = 0; c < channels_; ++c) {
    look_up(tables_[c].data(), plane(c), out + c * area(), area());
    if (counted_) histograms_[c] = histogram(c);
  }
  pending_ = false;
  replace(out, true);
}

void Canvas::grey() {
  if (channels_ == 1) return;
  flush();
  uint8_t* out = writable(area());
  const uint8_t *r = plane(0), *g = plane(1), *b = plane(2);
  const int64_t count = area();
  for (int64_t i = 0; i < count; ++i) out[i] = luma(r[i], g[i], b[i]);
  for (int c = 1; c < 3; ++c) std::memcpy(out + c * count, out, count);
  replace(out, false);
}

void Canvas::saturate(float factor) {
  if (channels_ == 1) return;
  flush();
  uint8_t* out = writable(area());
  const uint8_t *r = plane(0), *g = plane(1), *b = plane(2);
  const int64_t count = area();
  const IntegerBlend integers(factor);
  constexpr int64_t kBlock = 1024;
  uint8_t grey[kBlock];
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t n = std::min(kBlock, count - start);
    for (int64_t i = 0; i < n; ++i) grey[i] = luma(r[start + i], g[start + i], b[start + i]);
    for (int c = 0; c < 3; ++c) blend_all(integers, factor, grey, plane(c) + start, out + c * count + start, n);
  }
  replace(out, false);
}

// In blocks and in two loops: each is then simple enough to be vectorised.
void Canvas::hue(int offset) {
  if (channels_ == 1) return;
  flush();
  uint8_t* out = writable(area());
  constexpr int64_t kBlock = 256;
  int h[kBlock], s[kBlock], v[kBlock];
  for (int64_t start = 0; start < area(); start += kBlock) {
    const int64_t n = std::min(kBlock, area() - start);
    const uint8_t *r = plane(0) + start, *g = plane(1) + start, *b = plane(2) + start;
    uint8_t *to_r = out + start, *to_g = to_r + area(), *to_b = to_g + area();
    for (int64_t i = 0; i < n; ++i) {
      const Hsv hsv = to_hsv({r[i], g[i], b[i]});
      h[i] = hsv.h, s[i] = hsv.s, v[i] = hsv.v;
    }
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) {
      const Pixel p = to_rgb({(h[i] + offset) & 255, s[i], v[i]});
      to_r[i] = static_cast<uint8_t>(p.r), to_g[i] = static_cast<uint8_t>(p.g), to_b[i] = static_cast<uint8_t>(p.b);
    }
  }
  replace(out, false);
}

}  // namespace dssl::augment
