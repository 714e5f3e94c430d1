// Copies rows of tiles in the widest accesses that every tile's edges allow. Each byte is read once and written once.
#include "jigsaw_cuda.h"

#include <algorithm>

#include "../common/launch.cuh"
#include "jigsaw.h"

namespace dssl::jigsaw {
namespace {

constexpr int kThreads = 256;

// A strip is a row of tiles of one plane. 32 bits, because dividing 64 takes a GPU four times as long.
struct Strips {
  uint32_t count, planes, height, width, grid;
  uint32_t units, unit, pixel;  // accesses in a pixel row; bytes of an access and of a pixel
};

// Tile i of a side holds `place`, i being the largest with tile_edge(side, grid, i) <= place.
__device__ uint32_t tile_of(uint32_t side, uint32_t grid, uint32_t place) { return ((place + 1) * grid - 1) / side; }

struct Span {
  uint32_t begin, size;
};

__device__ Span span(uint32_t side, uint32_t grid, uint32_t i) {
  const uint32_t begin = tile_edge(side, grid, i);
  return {begin, tile_edge(side, grid, i + 1) - begin};
}

// x: the access within the row; y: rows of the tile; z: strips.
template <class Unit>
__global__ void __launch_bounds__(kThreads) move_tiles(const Unit* __restrict__ from, Unit* __restrict__ to,
                                                       const int64_t* __restrict__ permutation, Strips strips) {
  const uint32_t tiles = strips.grid * strips.grid;
  const uint32_t strip = blockIdx.x * blockDim.z + threadIdx.z;
  if (strip >= strips.count) return;
  const uint32_t plane = strip / strips.grid, tile_row = strip % strips.grid;
  const int64_t* sources = permutation + int64_t{plane / strips.planes} * tiles + tile_row * strips.grid;
  const int64_t plane_begin = int64_t{plane} * strips.height * strips.units;
  const Span rows = span(strips.height, strips.grid, tile_row);
  for (uint32_t x = threadIdx.x; x < strips.units; x += blockDim.x) {
    const uint32_t tile_column = tile_of(strips.width, strips.grid, x * strips.unit / strips.pixel);
    const int64_t source = sources[tile_column];
    if (source < 0 || source >= tiles) __trap();
    const uint32_t source_row = static_cast<uint32_t>(source) / strips.grid;
    const Span columns = span(strips.width, strips.grid, tile_column);
    const Span source_rows = span(strips.height, strips.grid, source_row);
    const Span source_columns = span(strips.width, strips.grid, static_cast<uint32_t>(source) % strips.grid);
    if (rows.size != source_rows.size || columns.size != source_columns.size) __trap();
    // Tiles begin at whole accesses, so these divisions leave nothing.
    const uint32_t source_x =
        x - columns.begin * strips.pixel / strips.unit + source_columns.begin * strips.pixel / strips.unit;
    const Unit* line_from = from + plane_begin + int64_t{source_rows.begin} * strips.units + source_x;
    Unit* line_to = to + plane_begin + int64_t{rows.begin} * strips.units + x;
#pragma unroll 4
    for (uint32_t y = threadIdx.y; y < rows.size; y += blockDim.y)
      line_to[int64_t{y} * strips.units] = line_from[int64_t{y} * strips.units];
  }
}

// The largest power of two, at most 16, at whose multiples all addresses and tile edges lie.
uint32_t access_bytes(const void* from, const void* to, int64_t width, int64_t pixel, int64_t grid) {
  uint64_t places = reinterpret_cast<uintptr_t>(from) | reinterpret_cast<uintptr_t>(to) | 16;
  for (int64_t i = 1; i <= grid; ++i) places |= static_cast<uint64_t>(tile_edge(width, grid, i) * pixel);
  return static_cast<uint32_t>(places & -places);
}

unsigned power_of_two(int64_t at_least, unsigned limit) {
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
  launch(move_tiles<Unit>, (strips.count + block.z - 1) / block.z, block, 0, stream, static_cast<const Unit*>(from),
         static_cast<Unit*>(to), permutation, strips);
}

}  // namespace

extern "C" void jigsaw_launch(const void* from, void* to, const int64_t* permutation, int64_t batch, int64_t planes,
                              int64_t height, int64_t width, int64_t pixel, int64_t grid, cudaStream_t stream) {
  const uint32_t unit = access_bytes(from, to, width, pixel, grid);
  const auto narrow = [](int64_t value) { return static_cast<uint32_t>(value); };
  const Strips strips = {narrow(batch * planes * grid), narrow(planes), narrow(height), narrow(width), narrow(grid),
                         narrow(width * pixel / unit),  unit,           narrow(pixel)};
  if (unit == 16) return move<uint4>(from, to, permutation, strips, stream);
  if (unit == 8) return move<uint2>(from, to, permutation, strips, stream);
  if (unit == 4) return move<uint32_t>(from, to, permutation, strips, stream);
  if (unit == 2) return move<uint16_t>(from, to, permutation, strips, stream);
  move<uint8_t>(from, to, permutation, strips, stream);
}

}  // namespace dssl::jigsaw
