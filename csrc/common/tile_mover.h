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
#ifdef __AVX512F__
    if (grid_ == 4 && stride_ == 32 && lefts_[1] == 8 && plane_ % (4 * kRegister) == 0)
      return permute_words(source, from, to, planes);
#endif
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
    if (narrowest >= 4) return copy<4>(origins.data(), from, to, planes);
    copy<1>(origins.data(), from, to, planes);
  }

 private:
  // In strips, tile beside tile, so that what two tiles share of a line is still in the cache. Of long rows a strip has
  // one: writing in sequence passes such images through the caches in two thirds of the time.
  template <int64_t kChunk>
  void copy(const int64_t* origins, const char* from, char* to, int64_t planes) const {
    const int64_t strip = stride_ < 512 ? 8 : 1;
    for (int64_t plane = 0; plane < planes; ++plane, from += plane_, to += plane_)
      for (int64_t row = 0; row < grid_; ++row)
        for (int64_t y = tops_[row], height = tops_[row + 1] - y, done = 0; done < height; done += strip)
          for (int64_t column = 0; column < grid_; ++column)
            copy_rows<kChunk>(from + origins[row * grid_ + column] + done * stride_,
                              to + (y + done) * stride_ + lefts_[column], std::min(strip, height - done),
                              lefts_[column + 1] - lefts_[column], stride_);
  }

#ifdef __AVX512F__
  static constexpr int64_t kRegister = 64;
  typedef int64_t Words __attribute__((vector_size(kRegister)));

  // 4 x 4 tiles of 8 bytes a row, as of 32 x 32 pixels: a register holds two rows of the image, and each of its words
  // comes from the register at the same height of one of the four rows of tiles. The picks serve all heights and
  // planes.
  template <class Index>
  void permute_words(const Index* source, const char* from, char* to, int64_t planes) const {
    Words pick[4], lower[4];  // of two registers the word; whether it lies in the lower half of the image
    for (int row = 0; row < 4; ++row) {
      Words tile;
      for (int word = 0; word < 8; ++word) tile[word] = static_cast<int64_t>(source[4 * row + word % 4]);
      pick[row] = (tile & 3) + (tile & 4) * 2 + Words{0, 0, 0, 0, 4, 4, 4, 4};
      lower[row] = tile & 8;
    }
    const int64_t band = plane_ / 4;  // a row of tiles, in bytes
    for (int64_t plane = 0; plane < planes; ++plane, from += plane_, to += plane_)
      for (int64_t at = 0; at < band; at += kRegister) {
        Words bands[4];
        for (int row = 0; row < 4; ++row) std::memcpy(&bands[row], from + row * band + at, kRegister);
        for (int row = 0; row < 4; ++row) {
          const Words picked =
              lower[row] ? choose(bands[2], bands[3], pick[row]) : choose(bands[0], bands[1], pick[row]);
          std::memcpy(to + row * band + at, &picked, kRegister);
        }
      }
  }

  // Word pick % 8 of a, or of b where pick is 8 or more. As assembly: the header of the intrinsics is slow to compile.
  static Words choose(Words a, Words b, Words pick) {
    asm("vpermt2q %2, %1, %0" : "+v"(a) : "v"(pick), "v"(b));
    return a;
  }
#endif

  int64_t grid_, pixel_, stride_, plane_;
  std::vector<int64_t> tops_, lefts_;
};

}  // namespace dssl
