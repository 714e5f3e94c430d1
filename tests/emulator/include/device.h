// Device functions of one thread: atomics, loads, fences, fast maths, bits.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

#include "emulator.h"

using std::isfinite;
using std::isinf;
using std::isnan;
using std::max;
using std::min;

namespace emulator {

void release();  // __threadfence: what this thread did comes before its atomics that follow

template <class T, class Change>
__attribute__((no_sanitize("thread"))) T atomic(T* address, Change change, Site site) {
  touch_atomic(address, sizeof(T), site);
  const T old = *address;
  *address = change(old);
  return old;
}

}  // namespace emulator

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value, EMULATOR_SITE) {
  return emulator::atomic(
      address,
      [=](T old) {
        if constexpr (std::is_same_v<T, int>)
          return int(unsigned(old) + unsigned(value));
        else
          return T(old + value);
      },
      site);
}
template <class T>
T atomicSub(T* address, std::type_identity_t<T> value, EMULATOR_SITE) {
  return emulator::atomic(address, [=](T old) { return T(unsigned(old) - unsigned(value)); }, site);
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value, EMULATOR_SITE) {
  return emulator::atomic(address, [=](T old) { return value < old ? value : old; }, site);
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value, EMULATOR_SITE) {
  return emulator::atomic(address, [=](T old) { return old < value ? value : old; }, site);
}
template <class T>
T atomicAnd(T* address, std::type_identity_t<T> value, EMULATOR_SITE) {
  return emulator::atomic(address, [=](T old) { return T(old & value); }, site);
}
template <class T>
T atomicOr(T* address, std::type_identity_t<T> value, EMULATOR_SITE) {
  return emulator::atomic(address, [=](T old) { return T(old | value); }, site);
}
template <class T>
T atomicXor(T* address, std::type_identity_t<T> value, EMULATOR_SITE) {
  return emulator::atomic(address, [=](T old) { return T(old ^ value); }, site);
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value, EMULATOR_SITE) {
  return emulator::atomic(address, [=](T) { return value; }, site);
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value, EMULATOR_SITE) {
  return emulator::atomic(address, [=](T old) { return old == expected ? value : old; }, site);
}
inline unsigned atomicInc(unsigned* address, unsigned last, EMULATOR_SITE) {
  return emulator::atomic(address, [=](unsigned old) { return old >= last ? 0 : old + 1; }, site);
}

inline void __threadfence() { emulator::release(); }
inline void __threadfence_block() {}
[[noreturn]] inline void __trap(EMULATOR_SITE) { emulator::fail(site, "__trap"); }

template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
T __ldcg(const T* address) {
  return *address;
}
template <class T>
void __stcs(T* address, std::type_identity_t<T> value) {
  *address = value;
}
template <class T>
void __stcg(T* address, std::type_identity_t<T> value) {
  *address = value;
}

inline float __expf(float x) { return std::exp(x); }
inline float __exp2f(float x) { return std::exp2(x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __powf(float x, float y) { return std::pow(x, y); }
inline float __sinf(float x) { return std::sin(x); }
inline float __cosf(float x) { return std::cos(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1 / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
inline float __frsqrt_rn(float x) { return static_cast<float>(1 / std::sqrt(double{x})); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline float rsqrtf(float x) { return static_cast<float>(1 / std::sqrt(double{x})); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1) : 0; }  // NaN becomes 0
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline int __float2int_rd(float x) { return static_cast<int>(std::floor(x)); }

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= (x >> bit & 1) << (31 - bit);
  return reversed;
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const uint64_t bytes = uint64_t{high} << 32 | low;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) result |= static_cast<unsigned>(bytes >> (selector >> 4 * i & 7) * 8 & 255) << 8 * i;
  return result;
}
inline unsigned __umulhi(unsigned x, unsigned y) { return static_cast<unsigned>(uint64_t{x} * y >> 32); }
inline uint64_t __umul64hi(uint64_t x, uint64_t y) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(x) * y >> 64);
}
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
