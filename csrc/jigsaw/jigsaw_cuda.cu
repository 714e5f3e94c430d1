// Copies rows of tiles in the widest accesses that every tile's edges allow. Each byte is read once and written once.
#include "jigsaw_cuda.h"

#include <algorithm>

#include "../common/launch.cuh"
#include "jigsaw.h"

namespace dssl::jigsaw {
namespace {

constexpr int kThreads = 256;

struct Strips {  // a strip is a row of tiles of one plane
  int64_t count, planes, height, width, grid;
  int64_t units;  // accesses in a pixel row
};

// Tile i of a side holds `place`, i being the largest with tile_edge(side, grid, i) <= place.
DSSL_HD int64_t tile_of(int64_t side, int64_t grid, int64_t place) { return ((place + 1) * grid - 1) / side; }

// x: the access within the row; y: rows of the tile; z: strips.
template <class Unit>
__global__ void __launch_bounds__(kThreads) move_tiles(const Unit* __restrict__ from, Unit* __restrict__ to,
                                                       const int64_t* __restrict__ permutation, Strips strips) {
  const int64_t tiles = strips.grid * strips.grid;
  for (int64_t strip = int64_t{blockIdx.x} * blockDim.z + threadIdx.z; strip < strips.count;
       strip += int64_t{gridDim.x} * blockDim.z) {
    const int64_t plane = strip / strips.grid, tile_row = strip % strips.grid, image = plane / strips.planes;
    const int64_t* sources = permutation + image * tiles + tile_row * strips.grid;
    const Unit* plane_from = from + plane * strips.height * strips.units;
    Unit* plane_to = to + plane * strips.height * strips.units;
    for (int64_t unit = threadIdx.x; unit < strips.units; unit += blockDim.x) {
      // Tiles begin at whole accesses, so columns are counted in accesses: width and units differ by one factor.
      const int64_t column = unit * strips.width / strips.units;
      const int64_t tile_column = tile_of(strips.width, strips.grid, column);
      const int64_t source = sources[tile_column];
      if (source < 0 || source >= tiles) __trap();
      const Tile tile = tile_at(strips.height, strips.width, strips.grid, tile_row * strips.grid + tile_column);
      const Tile origin = tile_at(strips.height, strips.width, strips.grid, source);
      if (tile.height != origin.height || tile.width != origin.width) __trap();
      const int64_t shift =
          (origin.top - tile.top) * strips.units + (origin.left - tile.left) * strips.units / strips.width;
      int64_t at = (tile.top + threadIdx.y) * strips.units + unit;
#pragma unroll 4
      for (int64_t y = threadIdx.y; y < tile.height; y += blockDim.y, at += blockDim.y * strips.units)
        plane_to[at] = plane_from[at + shift];
    }
  }
}

// The largest power of two, at most 16, at whose multiples all addresses and tile edges lie.
int64_t access_bytes(const void* from, const void* to, int64_t width, int64_t pixel, int64_t grid) {
  uint64_t places = reinterpret_cast<uintptr_t>(from) | reinterpret_cast<uintptr_t>(to) | 16;
  for (int64_t i = 1; i <= grid; ++i) places |= static_cast<uint64_t>(tile_edge(width, grid, i) * pixel);
  return static_cast<int64_t>(places & -places);
}

unsigned power_of_two(int64_t at_least, int64_t limit) {
  unsigned power = 1;
  while (power < at_least && power < limit) power *= 2;
  return power;
}

template <class Unit>
void move(const void* from, void* to, const int64_t* permutation, const Strips& strips, cudaStream_t stream) {
  dim3 block;
  block.x = power_of_two(strips.units, kThreads);
  block.y = power_of_two((strips.height + strips.grid - 1) / strips.grid, kThreads / block.x);
  block.z = std::min(64u, kThreads / (block.x * block.y));
  const int64_t blocks = std::min<int64_t>((strips.count + block.z - 1) / block.z, INT32_MAX);
  launch(move_tiles<Unit>, static_cast<unsigned>(blocks), block, 0, stream, static_cast<const Unit*>(from),
         static_cast<Unit*>(to), permutation, strips);
}

}  // namespace

extern "C" void jigsaw_launch(const void* from, void* to, const int64_t* permutation, int64_t batch, int64_t planes,
                              int64_t height, int64_t width, int64_t pixel, int64_t grid, cudaStream_t stream) {
  const int64_t bytes = access_bytes(from, to, width, pixel, grid);
  const Strips strips = {batch * planes * grid, planes, height, width, grid, width * pixel / bytes};
  if (bytes == 16) return move<uint4>(from, to, permutation, strips, stream);
  if (bytes == 8) return move<uint2>(from, to, permutation, strips, stream);
  if (bytes == 4) return move<uint32_t>(from, to, permutation, strips, stream);
  if (bytes == 2) return move<uint16_t>(from, to, permutation, strips, stream);
  move<uint8_t>(from, to, permutation, strips, stream);
}

}  // namespace dssl::jigsaw
