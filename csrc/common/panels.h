// Matrix products on packed operands. A matrix is cut into panels, kPanel<T> columns of B side by side for every step
// of the sum: what one strip of C reads is then contiguous. C is made strip by strip, kStrip rows by kPanel columns,
// in registers; every element is one sum in a fixed order.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "simd.h"

namespace dssl {

template <class E>
constexpr int kPanel = 2 * kLanes<E>;

template <class E>  // what products of elements E add up in
using Sum = std::conditional_t<std::is_same_v<E, Pair>, float, E>;

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// Memory without its first page-by-page clearing, on a cache line.
template <class T>
struct Buffer {
  explicit Buffer(int64_t size) : memory(static_cast<T*>(std::aligned_alloc(64, round_up(size * sizeof(T) + 64, 64)))) {
    if (!memory) throw std::bad_alloc();
  }
  T* data() const { return memory.get(); }
  T& operator[](int64_t i) const { return memory[i]; }

 private:
  std::unique_ptr<T[], Free> memory;
};

// c[r][0..kPanel) (+)= sum_k a[r * a_row + k * a_step] * b[k][0..kPanel), for kStrip rows r; a Pair counts as one k.
// Never inlined: within a larger function the compiler runs out of registers.
template <bool kAdd, class E>
__attribute__((noinline)) void multiply_strip(const E* a, int64_t a_row, int64_t a_step, const E* b, int64_t depth,
                                              Sum<E>* c, int64_t c_row) {
  constexpr int kWidth = kLanes<E>;
  Vector<Sum<E>> sums[kStrip][2] = {};
  for (int64_t k = 0; k < depth; ++k) {
    const Vector<E> left = load(b + k * kPanel<E>), right = load(b + k * kPanel<E> + kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < kStrip; ++r) {
      const Vector<E> value = broadcast(a[r * a_row + k * a_step]);
      sums[r][0] = add_product(sums[r][0], value, left);
      sums[r][1] = add_product(sums[r][1], value, right);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kStrip; ++r) {
    Sum<E>* to = c + r * c_row;
    store(to, kAdd ? load(to) + sums[r][0] : sums[r][0]);
    store(to + kWidth, kAdd ? load(to + kWidth) + sums[r][1] : sums[r][1]);
  }
}

}  // namespace dssl
