// The vector loops of resizing and blurring: weighted sums of pixels. The plain forms give the same bits.
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
// Adds the products of neighbouring 16-bit numbers, two to a lane.
inline __m512i multiply_add(__m512i sum, __m512i pixels, __m512i weights) {
#ifdef __AVX512VNNI__
  return _mm512_dpwssd_epi32(sum, pixels, weights);
#else
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pixels, weights));
#endif
}

#endif

// to[i] = box.value(window[i], before[i] + after[i]), for windows below 2^15.
inline void box_values(const Box& box, const uint16_t* window, const uint8_t* before, const uint8_t* after, uint8_t* to,
                       int64_t count) {
  int64_t i = 0;
#ifdef __AVX512VBMI__
  // Both products in one instruction, the lower 10 bits of the weights first: what they carry starts the upper sum.
  const int32_t weight = static_cast<int32_t>(box.weight), far_weight = static_cast<int32_t>(box.far_weight);
  const __m512i low = _mm512_set1_epi32((weight & 1023) | (far_weight & 1023) << 16),
                high = _mm512_set1_epi32(weight >> 10 | far_weight >> 10 << 16), half = _mm512_set1_epi32(1 << 23);
  const auto value = [&](__m512i pairs) {
    const __m512i carry = _mm512_srli_epi32(multiply_add(half, pairs, low), 10);
    return _mm512_srli_epi32(multiply_add(carry, pairs, high), 14);
  };
  for (; i + 32 <= count; i += 32) {
    const __m512i near = _mm512_loadu_si512(window + i);
    const auto widen = [&](const uint8_t* from) {
      return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i)));
    };
    const __m512i far = _mm512_add_epi16(widen(before), widen(after));
    const __m512i levels =
        _mm512_packus_epi32(value(_mm512_unpacklo_epi16(near, far)), value(_mm512_unpackhi_epi16(near, far)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm512_cvtepi16_epi8(levels));
  }
#endif
  for (; i < count; ++i) to[i] = box.value(window[i], uint32_t{before[i]} + after[i]);
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

inline uint8_t resample_at(const Taps& taps, int64_t i, const uint8_t* from, int64_t step) {
  int32_t sum = 1 << (kResizeBits - 1);
  for (int64_t k = 0; k < taps.count[i]; ++k)
    sum += taps.weights[i * taps.stride + k] * from[(taps.first[i] + k) * step];
  return resize_round(sum);
}

#ifdef __AVX512VBMI__
// Sums of weighted pixels, 16 at a time. A weight of 23 bits is split into two numbers of 16, so that one instruction
// multiplies and adds two taps; the parts meet in round().
struct WeightedSum {
  __m512i high = _mm512_setzero_si512(), low = _mm512_set1_epi32(1 << (kResizeBits - 1));

  // Two neighbouring taps as one lane.
  static int32_t high_pair(int32_t w0, int32_t w1) { return ((w0 >> 8) & 0xffff) | (w1 >> 8) << 16; }
  static int32_t low_pair(int32_t w0, int32_t w1) { return (w0 & 255) | (w1 & 255) << 16; }

  void add(__m512i pixels, __m512i high_weights, __m512i low_weights) {
    high = multiply_add(high, pixels, high_weights), low = multiply_add(low, pixels, low_weights);
  }
  __m512i round() const { return _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low), kResizeBits); }
};

// Outputs [begin, begin + lanes) of every row, at most 16, whose sources span at most 64 bytes.
inline void resample_group(const Taps& taps, int64_t begin, int64_t lanes, const uint8_t* from, int64_t in_step,
                           uint8_t* to, int64_t out_step, int64_t rows) {
  alignas(64) uint8_t index[32][64];
  alignas(64) int32_t high[32][16], low[32][16];
  const int64_t base = taps.first[begin], last = begin + lanes - 1;
  const int64_t most = *std::max_element(&taps.count[begin], &taps.count[last] + 1), pairs = (most + 1) / 2;
  for (int64_t p = 0; p < pairs; ++p)
    for (int64_t l = 0; l < 16; ++l) {
      const int64_t i = std::min(begin + l, last), k = 2 * p, count = taps.count[i];
      const int32_t* w = &taps.weights[i * taps.stride + k];
      const int32_t w0 = k < count ? w[0] : 0, w1 = k + 1 < count ? w[1] : 0;
      index[p][4 * l] = static_cast<uint8_t>(taps.first[i] + k - base);
      index[p][4 * l + 2] = static_cast<uint8_t>(taps.first[i] + k + 1 - base);
      high[p][l] = WeightedSum::high_pair(w0, w1), low[p][l] = WeightedSum::low_pair(w0, w1);
    }
  const __mmask64 inside = ~uint64_t{0} >> (64 - (taps.first[last] + taps.count[last] - base));
  const __mmask16 written = static_cast<__mmask16>((1u << lanes) - 1);
  for (int64_t y = 0; y < rows; ++y) {
    const __m512i source = _mm512_maskz_loadu_epi8(inside, from + y * in_step + base);
    WeightedSum sum;
    for (int64_t p = 0; p < pairs; ++p)  // every other byte stays 0: pairs of 16 bits
      sum.add(_mm512_maskz_permutexvar_epi8(0x5555555555555555, _mm512_load_si512(index[p]), source),
              _mm512_load_si512(high[p]), _mm512_load_si512(low[p]));
    const __m512i levels = _mm512_max_epi32(sum.round(), _mm512_setzero_si512());
    _mm_mask_storeu_epi8(to + y * out_step + begin, written, _mm512_cvtusepi32_epi8(levels));
  }
}

// 64 outputs (fewer: `inside`) of one row, from rows `step` apart. Unpacking and packing work within 16-byte lanes and
// undo each other's order.
inline __m512i resample_64(const Taps& taps, int64_t i, const uint8_t* from, int64_t step, __mmask64 inside) {
  const __m512i zero = _mm512_setzero_si512();
  WeightedSum sum[4];
  for (int64_t k = 0; k < taps.count[i]; k += 2) {
    const bool paired = k + 1 < taps.count[i];
    const int32_t *w = &taps.weights[i * taps.stride + k], w1 = paired ? w[1] : 0;
    const __m512i high = _mm512_set1_epi32(WeightedSum::high_pair(w[0], w1)),
                  low = _mm512_set1_epi32(WeightedSum::low_pair(w[0], w1));
    const uint8_t* row = from + (taps.first[i] + k) * step;
    const __m512i upper = _mm512_maskz_loadu_epi8(inside, row),
                  lower = paired ? _mm512_maskz_loadu_epi8(inside, row + step) : zero;
    const __m512i left = _mm512_unpacklo_epi8(upper, lower), right = _mm512_unpackhi_epi8(upper, lower);
    sum[0].add(_mm512_unpacklo_epi8(left, zero), high, low);
    sum[1].add(_mm512_unpackhi_epi8(left, zero), high, low);
    sum[2].add(_mm512_unpacklo_epi8(right, zero), high, low);
    sum[3].add(_mm512_unpackhi_epi8(right, zero), high, low);
  }
  return _mm512_packus_epi16(_mm512_packs_epi32(sum[0].round(), sum[1].round()),
                             _mm512_packs_epi32(sum[2].round(), sum[3].round()));
}
#endif

// One output row from rows `step` apart.
inline void resample_column(const Taps& taps, int64_t i, const uint8_t* from, int64_t step, uint8_t* to,
                            int64_t width) {
#ifdef __AVX512VBMI__
  for (int64_t x = 0; x < width; x += 64) {
    const __mmask64 inside = ~uint64_t{0} >> (64 - std::min<int64_t>(64, width - x));
    _mm512_mask_storeu_epi8(to + x, inside, resample_64(taps, i, from + x, step, inside));
  }
#else  // sums of whole rows, which compilers vectorise
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
#endif
}

// Every row of a plane, along the row.
inline void resample_rows(const Taps& taps, const uint8_t* from, int64_t in_step, uint8_t* to, int64_t out_step,
                          int64_t rows) {
  int64_t i = 0;
#ifdef __AVX512VBMI__
  const auto span = [&](int64_t lanes) {
    return taps.first[i + lanes - 1] + taps.count[i + lanes - 1] - taps.first[i];
  };
  for (int64_t lanes; i < taps.out; i += lanes) {
    lanes = std::min<int64_t>(16, taps.out - i);
    while (lanes > 0 && span(lanes) > 64) lanes /= 2;
    if (lanes == 0) break;
    resample_group(taps, i, lanes, from, in_step, to, out_step, rows);
  }
#endif
  for (; i < taps.out; ++i)
    for (int64_t y = 0; y < rows; ++y) to[y * out_step + i] = resample_at(taps, i, from + y * in_step, 1);
}

}  // namespace dssl::augment

#ifdef __AVX512VBMI__
#pragma GCC diagnostic pop
#endif
