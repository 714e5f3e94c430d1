// The CPU's state of one image while its program runs. Pixels are planar; point operations wait in a table per channel
// until an operation needs the pixels themselves, and histograms are pushed through that table instead of counted anew.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "augment.h"
#include "vector.h"

namespace dssl::augment {

using Table = std::array<uint8_t, 256>;
using Histogram = std::array<uint32_t, 256>;

class Canvas {
 public:
  explicit Canvas(int channels) : channels_(channels) {}

  // Starts from a source image: (C, H, W) read in place, or (H, W, C), which is separated into planes.
  void load(const uint8_t* image, Size size, bool channels_last) {
    size_ = size;
    pending_ = counted_ = false;
    pixels_ = image;
    if (!channels_last || channels_ == 1) return;
    uint8_t* out = writable(area());
    for (int64_t i = 0; i < area(); ++i)
      for (int c = 0; c < channels_; ++c) out[c * area() + i] = image[i * channels_ + c];
    pixels_ = out;
  }

  void run(const Step& step);

  // Writes the image to one view: through the normalisation table (C, 256) if there is one.
  template <class Out>
  void emit(Out* out, const Out* normalised, bool channels_last) const {
    const int64_t stride = channels_last ? channels_ : 1, count = area();
    for (int c = 0; c < channels_; ++c) {
      Out lookup[256];
      for (int v = 0; v < 256; ++v) {
        const uint8_t level = pending_ ? tables_[c][v] : static_cast<uint8_t>(v);
        lookup[v] = normalised ? normalised[c * 256 + level] : static_cast<Out>(level);
      }
      const uint8_t* from = plane(c);
      Out* to = out + (channels_last ? c : c * count);
      if (stride == 1)
        look_up(lookup, from, to, count);
      else
        for (int64_t i = 0; i < count; ++i) to[i * stride] = lookup[from[i]];
    }
  }

 private:
  int64_t area() const { return size_.height * size_.width; }
  const uint8_t* plane(int c) const { return pixels_ + c * area(); }

  // A buffer other than the one that holds the image, for `plane_area` values a channel.
  uint8_t* writable(int64_t plane_area) {
    std::vector<uint8_t>& buffer = buffers_[pixels_ == buffers_[0].data() ? 1 : 0];
    if (static_cast<int64_t>(buffer.size()) < plane_area * channels_) buffer.resize(plane_area * channels_);
    return buffer.data();
  }

  // New pixels that replace the old: their tables are applied; their histograms hold only if `same_values`.
  void replace(const uint8_t* pixels, bool same_values) {
    pixels_ = pixels;
    counted_ = counted_ && same_values;
  }

  void flush();                             // applies the tables to the pixels
  void count();                             // histograms of the pixels below the tables
  Histogram histogram(int c);               // of the image, tables included
  void compose(int c, const Table& table);  // a point operation on one channel
  template <class F>
  void point(F f);                  // the same one on every channel
  void per_channel(Opcode opcode);  // AutoContrast, Equalize
  int64_t luma_sum();
  void flip();
  void jigsaw(const double* permutation, int64_t grid);
  void warp(const Step& step);
  void warp_nearest(const Matrix& matrix);
  void shift(int64_t down, int64_t right);
  void warp_smooth(const Matrix& matrix, bool bicubic);
  void rotate_right_angle(int turns);
  void grey();
  void saturate(float factor);
  void hue(int offset);
  void sharpen(float factor);
  void cutout(const double* box);
  void blur(float sigma);
  void resize(const double* values);

  int channels_;
  Size size_{};
  const uint8_t* pixels_ = nullptr;
  std::vector<uint8_t> buffers_[2], scratch_;
  std::vector<int32_t> sources_;
  bool pending_ = false, counted_ = false;
  Table tables_[3];
  Histogram histograms_[3];
};

}  // namespace dssl::augment
