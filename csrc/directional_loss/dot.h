// Dot products of rows on the CPU. Sums are doubles whatever the input: the gradient of a cosine near 1 is a small
// difference of large terms, and the loop waits for memory anyway.
#pragma once

#include <cstdint>
#include <cstring>

namespace dssl::directional_loss {

// Eight lanes, which the compiler lowers to what the machine has.
typedef double Doubles __attribute__((vector_size(64)));

template <class T>
Doubles widen(const T* from) {
  typedef T Lanes __attribute__((vector_size(8 * sizeof(T))));
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return __builtin_convertvector(lanes, Doubles);
}

template <class T>
double dot(const T* a, const T* b, int64_t n) {
  Doubles sums[4] = {};
  int64_t d = 0;
  for (; d + 32 <= n; d += 32)
    for (int k = 0; k < 4; ++k) sums[k] += widen(a + d + 8 * k) * widen(b + d + 8 * k);
  const Doubles sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double total = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
  for (; d < n; ++d) total += static_cast<double>(a[d]) * b[d];
  return total;
}

// The same of rows scaled by s and r.
template <class T>
double scaled_dot(const T* a, double s, const T* b, double r, int64_t n) {
  double total = 0;
  for (int64_t d = 0; d < n; ++d) total += (a[d] * s) * (b[d] * r);
  return total;
}

// 1 / the largest entry of a row, or 1 for a zero row.
template <class T>
double inverse_largest(const T* row, int64_t n) {
  double largest = 0;
  for (int64_t d = 0; d < n; ++d) largest = row[d] > largest ? row[d] : -row[d] > largest ? -row[d] : largest;
  return largest == 0 ? 1.0 : 1.0 / largest;
}

}  // namespace dssl::directional_loss
