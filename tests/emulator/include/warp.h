// Barriers, and what the lanes of a warp do together.
#pragma once

#include <bit>

#include "emulator.h"

inline void __syncthreads(EMULATOR_SITE) { emulator::barrier(false, site); }
inline int __syncthreads_count(int predicate, EMULATOR_SITE) { return emulator::barrier(predicate, site); }
inline int __syncthreads_or(int predicate, EMULATOR_SITE) { return emulator::barrier(predicate, site) != 0; }
inline int __syncthreads_and(int predicate, EMULATOR_SITE) { return emulator::barrier(!predicate, site) == 0; }

inline void __syncwarp(unsigned mask = 0xffffffff, EMULATOR_SITE) {
  emulator::exchange<int>("__syncwarp", mask, 0, [](auto&&) { return 0; }, site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_SITE) {
  return emulator::exchange<unsigned>(
      "__ballot_sync", mask, predicate != 0,
      [](const auto& lanes) {
        unsigned bits = 0;
        for (unsigned from = 0; from < 32; ++from)
          if (lanes.has(from) && lanes[from]) bits |= 1u << from;
        return bits;
      },
      site);
}
inline int __any_sync(unsigned mask, int predicate, EMULATOR_SITE) { return __ballot_sync(mask, predicate, site) != 0; }
inline int __all_sync(unsigned mask, int predicate, EMULATOR_SITE) {
  return __ballot_sync(mask, !predicate, site) == 0;
}

namespace emulator {

// `from` gives the source lane of the calling one, or the calling one where its own value stays.
template <class T>
T shuffle(const char* name, unsigned mask, T value, unsigned from, Site site) {
  static_assert(sizeof(T) <= 8, "CUDA shuffles values of up to 8 bytes");
  return exchange<T>(name, mask, value, [from](const Lanes<T>& lanes) { return lanes[from]; }, site);
}

template <class T, class Combine>
T reduce(const char* name, unsigned mask, T value, Combine combine, Site site) {
  return exchange<T>(
      name, mask, value,
      [combine](const Lanes<T>& lanes) {
        T result = lanes[lanes.lane];
        for (unsigned from = 0; from < 32; ++from)
          if (lanes.has(from) && from != lanes.lane) result = combine(result, lanes[from]);
        return result;
      },
      site);
}

}  // namespace emulator

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMULATOR_SITE) {
  const unsigned lane = emulator::lane(), first = lane & ~(width - 1u);
  return emulator::shuffle("__shfl_sync", mask, value, first + (source & (width - 1)), site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_SITE) {
  const unsigned lane = emulator::lane();
  return emulator::shuffle("__shfl_up_sync", mask, value, (lane & (width - 1)) >= delta ? lane - delta : lane, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_SITE) {
  const unsigned lane = emulator::lane(), in = lane & (width - 1);
  return emulator::shuffle("__shfl_down_sync", mask, value, in + delta < unsigned(width) ? lane + delta : lane, site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMULATOR_SITE) {
  const unsigned lane = emulator::lane(), from = lane ^ bits, end = (lane & ~(width - 1u)) + width;
  return emulator::shuffle("__shfl_xor_sync", mask, value, from < end ? from : lane, site);
}

template <class T>
unsigned __match_any_sync(unsigned mask, T value, EMULATOR_SITE) {
  return emulator::exchange<unsigned>(
      "__match_any_sync", mask, value,
      [](const auto& lanes) {
        unsigned bits = 0;
        for (unsigned from = 0; from < 32; ++from)
          if (lanes.has(from) && lanes[from] == lanes[lanes.lane]) bits |= 1u << from;
        return bits;
      },
      site);
}

template <class T>
T __reduce_add_sync(unsigned mask, T value, EMULATOR_SITE) {
  return emulator::reduce(
      "__reduce_add_sync", mask, value, [](T a, T b) { return T(unsigned(a) + unsigned(b)); }, site);
}
template <class T>
T __reduce_min_sync(unsigned mask, T value, EMULATOR_SITE) {
  return emulator::reduce("__reduce_min_sync", mask, value, [](T a, T b) { return b < a ? b : a; }, site);
}
template <class T>
T __reduce_max_sync(unsigned mask, T value, EMULATOR_SITE) {
  return emulator::reduce("__reduce_max_sync", mask, value, [](T a, T b) { return a < b ? b : a; }, site);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value, EMULATOR_SITE) {
  return emulator::reduce("__reduce_and_sync", mask, value, [](unsigned a, unsigned b) { return a & b; }, site);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value, EMULATOR_SITE) {
  return emulator::reduce("__reduce_or_sync", mask, value, [](unsigned a, unsigned b) { return a | b; }, site);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value, EMULATOR_SITE) {
  return emulator::reduce("__reduce_xor_sync", mask, value, [](unsigned a, unsigned b) { return a ^ b; }, site);
}
