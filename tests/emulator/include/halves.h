// What __half and __nv_bfloat16 have in common: a pair of them, and conversions by name.
#pragma once

#include <bit>

#include "cuda_runtime.h"

#define EMULATOR_HALVES(T, Pair, name)                                       \
  struct alignas(4) Pair {                                                   \
    T x, y;                                                                  \
    constexpr Pair() : x(), y() {}                                           \
    Pair(T x_, T y_) : x(x_), y(y_) {}                                       \
  };                                                                         \
  inline float __##name##2float(T value) { return value; }                   \
  inline T __float2##name##_rn(float value) { return value; }                \
  inline Pair __floats2##name##2_rn(float x, float y) { return {x, y}; }     \
  inline float __low2float(Pair pair) { return pair.x; }                     \
  inline float __high2float(Pair pair) { return pair.y; }                    \
  inline T __low2##name(Pair pair) { return pair.x; }                        \
  inline T __high2##name(Pair pair) { return pair.y; }                       \
  inline Pair __halves2##name##2(T x, T y) { return {x, y}; }                \
  inline unsigned short __##name##_as_ushort(T value) { return value.bits; } \
  inline T __ushort_as_##name(unsigned short bits) { return std::bit_cast<T>(bits); }
