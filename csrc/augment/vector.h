// The loops of the engine that compilers do not vectorise: table lookup, and resampling along a row. Each has a plain
// form and one for AVX-512 VBMI, which permutes 64 bytes in one instruction; both give the same bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "resample.h"

#ifdef __AVX512VBMI__
#include <immintrin.h>
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own intrinsics
#endif

namespace dssl::augment {

#ifdef __AVX512VBMI__
// 256 bytes that 64 indices at a time look into.
struct ByteTable {
  __m512i quarter[4];

  explicit ByteTable(const uint8_t* table) {
    for (int k = 0; k < 4; ++k) quarter[k] = _mm512_loadu_si512(table + 64 * k);
  }
  __m512i at(__m512i index) const {
    const __m512i low = _mm512_permutex2var_epi8(quarter[0], index, quarter[1]);
    const __m512i high = _mm512_permutex2var_epi8(quarter[2], index, quarter[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
  }
};
#endif

inline void look_up(const uint8_t* table, const uint8_t* from, uint8_t* to, int64_t count) {
  int64_t i = 0;
#ifdef __AVX512VBMI__
  const ByteTable bytes(table);
  for (; i + 64 <= count; i += 64) _mm512_storeu_si512(to + i, bytes.at(_mm512_loadu_si512(from + i)));
#endif
  for (; i < count; ++i) to[i] = table[from[i]];
}

// The same for entries of 4 bytes: four byte tables, whose results are interleaved. Interleaving works within 16-byte
// lanes, so the indices are first put where it will bring them into order.
inline void look_up(const float* table, const uint8_t* from, float* to, int64_t count) {
  int64_t i = 0;
#ifdef __AVX512VBMI__
  uint8_t split[4][256], order[64];
  for (int v = 0; v < 256; ++v)
    for (int k = 0; k < 4; ++k) split[k][v] = reinterpret_cast<const uint8_t*>(table + v)[k];
  for (int lane = 0; lane < 4; ++lane)
    for (int k = 0; k < 16; ++k) order[16 * lane + k] = static_cast<uint8_t>(16 * (k / 4) + 4 * lane + k % 4);
  const ByteTable b0(split[0]), b1(split[1]), b2(split[2]), b3(split[3]);
  const __m512i ordered = _mm512_loadu_si512(order);
  for (; i + 64 <= count; i += 64) {
    const __m512i index = _mm512_permutexvar_epi8(ordered, _mm512_loadu_si512(from + i));
    const __m512i v0 = b0.at(index), v1 = b1.at(index), v2 = b2.at(index), v3 = b3.at(index);
    const __m512i low01 = _mm512_unpacklo_epi8(v0, v1), high01 = _mm512_unpackhi_epi8(v0, v1);
    const __m512i low23 = _mm512_unpacklo_epi8(v2, v3), high23 = _mm512_unpackhi_epi8(v2, v3);
    _mm512_storeu_si512(to + i, _mm512_unpacklo_epi16(low01, low23));
    _mm512_storeu_si512(to + i + 16, _mm512_unpackhi_epi16(low01, low23));
    _mm512_storeu_si512(to + i + 32, _mm512_unpacklo_epi16(high01, high23));
    _mm512_storeu_si512(to + i + 48, _mm512_unpackhi_epi16(high01, high23));
  }
#endif
  for (; i < count; ++i) to[i] = table[from[i]];
}

// And for half types, as their bits.
inline void look_up(const uint16_t* table, const uint8_t* from, uint16_t* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = table[from[i]];
}

// The taps of every output of one axis, `stride` weights an output; missing ones weigh 0 and repeat the last source.
struct Taps {
  int64_t out, stride = 0;
  std::vector<int64_t> first, count;
  std::vector<int32_t> weights;

  explicit Taps(const Axis& axis) : out(axis.out), stride(axis.taps()), first(out), count(out), weights(out * stride) {
    std::vector<double> real(stride);
    for (int64_t i = 0; i < out; ++i) first[i] = axis.weights(i, real.data(), &weights[i * stride], &count[i]);
  }
};

// One output row from rows `step` apart: sums of whole rows, which compilers do vectorise.
inline void resample_column(const Taps& taps, int64_t i, const uint8_t* from, int64_t step, uint8_t* to,
                            int64_t width) {
  constexpr int64_t kBlock = 256;
  int32_t sum[kBlock];
  const int32_t* weights = &taps.weights[i * taps.stride];
  for (int64_t x0 = 0; x0 < width; x0 += kBlock) {
    const int64_t n = std::min(kBlock, width - x0);
    std::fill_n(sum, n, 1 << (kResizeBits - 1));
    for (int64_t k = 0; k < taps.count[i]; ++k) {
      const uint8_t* row = from + (taps.first[i] + k) * step + x0;
      for (int64_t x = 0; x < n; ++x) sum[x] += weights[k] * row[x];
    }
    for (int64_t x = 0; x < n; ++x) to[x0 + x] = resize_round(sum[x]);
  }
}

inline uint8_t resample_at(const Taps& taps, int64_t i, const uint8_t* row) {
  int32_t sum = 1 << (kResizeBits - 1);
  for (int64_t k = 0; k < taps.count[i]; ++k) sum += taps.weights[i * taps.stride + k] * row[taps.first[i] + k];
  return resize_round(sum);
}

#ifdef __AVX512VBMI__
// Outputs [begin, begin + 16) of every row, when their sources span at most 64 bytes.
inline void resample_group(const Taps& taps, int64_t begin, const uint8_t* from, int64_t in_step, uint8_t* to,
                           int64_t out_step, int64_t rows) {
  constexpr int kMostTaps = 24;
  const int64_t lanes = std::min<int64_t>(16, taps.out - begin), base = taps.first[begin];
  int64_t most = 0;
  for (int64_t l = 0; l < lanes; ++l) most = std::max(most, taps.count[begin + l]);
  alignas(64) uint8_t index[kMostTaps][64] = {};
  alignas(64) int32_t weight[kMostTaps][16] = {};
  for (int64_t l = 0; l < lanes; ++l)
    for (int64_t k = 0; k < taps.count[begin + l]; ++k) {
      index[k][l] = static_cast<uint8_t>(taps.first[begin + l] + k - base);
      weight[k][l] = taps.weights[(begin + l) * taps.stride + k];
    }
  const int64_t span = taps.first[begin + lanes - 1] + taps.count[begin + lanes - 1] - base;
  const __mmask64 inside = ~uint64_t{0} >> (64 - span);
  const __mmask16 written = static_cast<__mmask16>((1u << lanes) - 1);
  for (int64_t y = 0; y < rows; ++y) {
    const __m512i source = _mm512_maskz_loadu_epi8(inside, from + y * in_step + base);
    __m512i sum = _mm512_set1_epi32(1 << (kResizeBits - 1));
    for (int64_t k = 0; k < most; ++k) {
      const __m512i bytes = _mm512_permutexvar_epi8(_mm512_load_si512(index[k]), source);
      const __m512i values = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(bytes));
      sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(values, _mm512_load_si512(weight[k])));
    }
    sum = _mm512_max_epi32(_mm512_srai_epi32(sum, kResizeBits), _mm512_setzero_si512());
    _mm_mask_storeu_epi8(to + y * out_step + begin, written, _mm512_cvtusepi32_epi8(sum));
  }
}
#endif

// Every row of a plane, along the row.
inline void resample_rows(const Taps& taps, const uint8_t* from, int64_t in_step, uint8_t* to, int64_t out_step,
                          int64_t rows) {
  int64_t i = 0;
#ifdef __AVX512VBMI__
  for (; i < taps.out; i += 16) {
    const int64_t last = std::min(i + 16, taps.out) - 1;
    if (taps.first[last] + taps.count[last] - taps.first[i] > 64 || taps.stride > 24) break;
    resample_group(taps, i, from, in_step, to, out_step, rows);
  }
#endif
  for (; i < taps.out; ++i)
    for (int64_t y = 0; y < rows; ++y) to[y * out_step + i] = resample_at(taps, i, from + y * in_step);
}

}  // namespace dssl::augment

#ifdef __AVX512VBMI__
#pragma GCC diagnostic pop
#endif
