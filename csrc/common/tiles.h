// A grid of n x n tiles over an image whose side n need not divide: tile i of a side spans [edge(i), edge(i + 1)).
#pragma once

#include <cstdint>

#include "host_device.h"

namespace dssl {

template <class Int>
DSSL_HD Int tile_edge(Int side, Int grid, Int i) {
  return side * i / grid;
}

struct Tile {
  int64_t top, left, height, width;
};

// Tiles are numbered row by row.
DSSL_HD Tile tile_at(int64_t height, int64_t width, int64_t grid, int64_t k) {
  const int64_t top = tile_edge(height, grid, k / grid), left = tile_edge(width, grid, k % grid);
  return {top, left, tile_edge(height, grid, k / grid + 1) - top, tile_edge(width, grid, k % grid + 1) - left};
}

// Whether `source` gives, for every tile of the result, a tile of the same size, each once. `seen`: grid^2 flags,
// cleared.
template <class Index>
DSSL_HD bool is_tile_permutation(int64_t height, int64_t width, int64_t grid, const Index* source, bool* seen) {
  const bool equal_sizes = height % grid == 0 && width % grid == 0;
  for (int64_t k = 0; k < grid * grid; ++k) {
    if (!(source[k] >= 0 && source[k] < grid * grid)) return false;
    const int64_t from_k = static_cast<int64_t>(source[k]);
    if (from_k != source[k] || seen[from_k]) return false;
    seen[from_k] = true;
    if (equal_sizes) continue;
    const Tile to = tile_at(height, width, grid, k), from = tile_at(height, width, grid, from_k);
    if (to.height != from.height || to.width != from.width) return false;
  }
  return true;
}

}  // namespace dssl
