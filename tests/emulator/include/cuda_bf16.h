// Stands in for CUDA's header of this name.
#pragma once

#include "halves.h"

struct alignas(2) __nv_bfloat16 {
  unsigned short bits;
  constexpr __nv_bfloat16() : bits() {}  // constant: shared memory needs no guard
  // To the nearest, ties to even; a NaN stays one.
  __nv_bfloat16(float value) {
    const unsigned word = std::bit_cast<unsigned>(value);
    bits = value != value ? 0x7fff : static_cast<unsigned short>((word + 0x7fff + (word >> 16 & 1)) >> 16);
  }
  operator float() const { return std::bit_cast<float>(unsigned{bits} << 16); }
};
EMULATOR_HALVES(__nv_bfloat16, __nv_bfloat162, bfloat16)
inline __nv_bfloat16 __float2bfloat16(float value) { return value; }
inline float2 __bfloat1622float2(__nv_bfloat162 pair) { return {float(pair.x), float(pair.y)}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 pair) { return {pair.x, pair.y}; }
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;
