// Tiles of an image changing places on the CPU: copies of short rows, which a call of memcpy each would dominate.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tiles.h"

namespace dssl {

// Rows of at least kChunk bytes, `stride` apart on both sides; the last chunk of a row may overlap the one before.
template <int64_t kChunk>
inline void copy_rows(const char* from, char* to, int64_t rows, int64_t bytes, int64_t stride) {
  for (int64_t y = 0; y < rows; ++y, from += stride, to += stride) {
    for (int64_t i = 0; i + kChunk < bytes; i += kChunk) std::memcpy(to + i, from + i, kChunk);
    std::memcpy(to + bytes - kChunk, from + bytes - kChunk, kChunk);
  }
}

// The grid of one image size; its edges are found once, as the divisions cost more than the tiles of a small image.
class TileMover {
 public:
  TileMover(int64_t height, int64_t width, int64_t grid, int64_t pixel_bytes)
      : grid_(grid),
        pixel_(pixel_bytes),
        stride_(width * pixel_bytes),
        plane_(height * stride_),
        tops_(grid + 1),
        lefts_(grid + 1) {
    for (int64_t i = 0; i <= grid; ++i)
      tops_[i] = tile_edge(height, grid, i), lefts_[i] = tile_edge(width, grid, i) * pixel_bytes;
  }

  // Tile k of `to` is tile source[k] of `from`, which has its size; planes lie one after the other.
  template <class Index>
  void permute(const Index* source, const char* from, char* to, int64_t planes) const {
    std::vector<int64_t> origins(grid_ * grid_);
    for (int64_t k = 0; k < grid_ * grid_; ++k) {
      const uint32_t tile = static_cast<uint32_t>(source[k]), row = tile / static_cast<uint32_t>(grid_);
      origins[k] = tops_[row] * stride_ + lefts_[tile - row * static_cast<uint32_t>(grid_)];
    }
    const int64_t narrowest = stride_ / pixel_ / grid_ * pixel_;
    if (narrowest >= 64) return copy<64>(origins.data(), from, to, planes);
    if (narrowest >= 32) return copy<32>(origins.data(), from, to, planes);
    if (narrowest >= 16) return copy<16>(origins.data(), from, to, planes);
    if (narrowest >= 8) return copy<8>(origins.data(), from, to, planes);
    copy<1>(origins.data(), from, to, planes);
  }

 private:
  // In strips of a few rows, tile beside tile: what two tiles share of a line is still in the cache.
  template <int64_t kChunk>
  void copy(const int64_t* origins, const char* from, char* to, int64_t planes) const {
    constexpr int64_t kStrip = 8;
    for (int64_t plane = 0; plane < planes; ++plane, from += plane_, to += plane_)
      for (int64_t row = 0; row < grid_; ++row)
        for (int64_t y = tops_[row], height = tops_[row + 1] - y, done = 0; done < height; done += kStrip)
          for (int64_t column = 0; column < grid_; ++column)
            copy_rows<kChunk>(from + origins[row * grid_ + column] + done * stride_,
                              to + (y + done) * stride_ + lefts_[column], std::min(kStrip, height - done),
                              lefts_[column + 1] - lefts_[column], stride_);
  }

  int64_t grid_, pixel_, stride_, plane_;
  std::vector<int64_t> tops_, lefts_;
};

}  // namespace dssl
