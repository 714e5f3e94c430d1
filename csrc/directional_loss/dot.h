// Dot products of rows on the CPU, in vectors of 64 bytes that the compiler lowers to what the machine has.
#pragma once

#include <cstdint>
#include <cstring>

namespace dssl::directional_loss {

template <class T>
using Pack __attribute__((vector_size(64))) = T;

template <class T>
Pack<T> load(const T* from) {
  Pack<T> pack;
  std::memcpy(&pack, from, sizeof pack);
  return pack;
}

// Products and sums in T: for one chunk of a row, whose result then joins a double.
template <class T>
double dot(const T* a, const T* b, int64_t n) {
  constexpr int kWidth = 64 / sizeof(T);
  Pack<T> sums[4] = {};
  int64_t d = 0;
  for (; d + 4 * kWidth <= n; d += 4 * kWidth)
    for (int k = 0; k < 4; ++k) sums[k] += load(a + d + k * kWidth) * load(b + d + k * kWidth);
  const Pack<T> sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double total = 0;
  for (int lane = 0; lane < kWidth; ++lane) total += sum[lane];
  for (; d < n; ++d) total += static_cast<double>(a[d]) * b[d];
  return total;
}

// The same with every product in double, for rows whose squares leave float32's range.
template <class T>
double exact_dot(const T* a, const T* b, int64_t n) {
  double total = 0;
  for (int64_t d = 0; d < n; ++d) total += static_cast<double>(a[d]) * b[d];
  return total;
}

}  // namespace dssl::directional_loss
