// Stands in for CUDA's header of this name.
#pragma once

#include "halves.h"

struct alignas(2) __half {
  unsigned short bits;
  constexpr __half() : bits() {}  // constant: shared memory needs no guard
  __half(float value) : bits(std::bit_cast<unsigned short>(static_cast<_Float16>(value))) {}
  operator float() const { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
};
EMULATOR_HALVES(__half, __half2, half)
inline __half __float2half(float value) { return value; }
inline float2 __half22float2(__half2 pair) { return {float(pair.x), float(pair.y)}; }
inline __half2 __float22half2_rn(float2 pair) { return {pair.x, pair.y}; }
using half = __half;
using half2 = __half2;
