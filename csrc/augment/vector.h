// The loops of the engine that compilers do not vectorise: table lookup, blends and warps. Each has a plain
// form and one for AVX-512 VBMI, which permutes 64 bytes in one instruction; both give the same bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "affine.h"

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

// And for half types, as their bits: two byte tables.
inline void look_up(const uint16_t* table, const uint8_t* from, uint16_t* to, int64_t count) {
  int64_t i = 0;
#ifdef __AVX512VBMI__
  uint8_t split[2][256], order[64];
  for (int v = 0; v < 256; ++v) split[0][v] = table[v] & 255, split[1][v] = table[v] >> 8;
  for (int k = 0; k < 64; ++k) order[k] = static_cast<uint8_t>(k / 16 * 8 + k % 8 + k / 8 % 2 * 32);
  const ByteTable low(split[0]), high(split[1]);
  const __m512i ordered = _mm512_loadu_si512(order);
  for (; i + 64 <= count; i += 64) {
    const __m512i index = _mm512_permutexvar_epi8(ordered, _mm512_loadu_si512(from + i));
    const __m512i l = low.at(index), h = high.at(index);
    _mm512_storeu_si512(to + i, _mm512_unpacklo_epi8(l, h));
    _mm512_storeu_si512(to + i + 32, _mm512_unpackhi_epi8(l, h));
  }
#endif
  for (; i < count; ++i) to[i] = table[from[i]];
}

// blend() in 16-bit integers. The product alpha * difference, rounded down, is whole * difference plus the upper half
// of fraction * difference; a fraction of 16 bits is enough, as no two quotients of numbers below 256 lie closer. But
// floats round: so all 511 differences are tried, and where one is off, or rounding the sum could count, `exact` is
// false.
struct IntegerBlend {
  bool exact;
  int16_t whole = 0, fraction[2] = {};  // for differences from 0 up, and below 0

  explicit IntegerBlend(float alpha) : exact(std::fabs(alpha) <= 64.0f) {
    if (!exact) return;
    whole = static_cast<int16_t>(std::floor(alpha + 0.5f));
    const int below = static_cast<int>(std::floor((static_cast<double>(alpha) - whole) * 65536));
    for (int sign : {1, -1}) exact = exact && (fits(alpha, sign, below) || fits(alpha, sign, below + 1));
  }
  uint8_t operator()(uint8_t degenerate, uint8_t image) const {
    const int16_t difference = static_cast<int16_t>(image - degenerate);
    const int16_t part = difference < 0 ? fraction[1] : fraction[0];
    const int16_t upper = static_cast<int16_t>(int32_t{part} * difference >> 16);
    const int16_t value = static_cast<int16_t>(degenerate + static_cast<int16_t>(whole * difference) + upper);
    return clip8(value);
  }

 private:
  bool fits(float alpha, int sign, int candidate) {
    int wrong = candidate != static_cast<int16_t>(candidate);
    for (int k = 1; k < 256; ++k) {
      const int difference = sign * k;
      const float product = alpha * static_cast<float>(difference);
      const int toward_zero = static_cast<int>(product);
      const int down = toward_zero - (product < static_cast<float>(toward_zero));
      const float rest = product - static_cast<float>(down);  // below 1 by more than the sum's rounding
      wrong |= (rest > 1 - 0x1p-15f) | (whole * difference + (candidate * difference >> 16) != down);
    }
    fraction[sign < 0] = static_cast<int16_t>(candidate);
    return !wrong;
  }
};

// to[i] = blend(degenerate[i], image[i], alpha); the buffers are distinct.
inline void blend_all(const IntegerBlend& integers, float alpha, const uint8_t* degenerate, const uint8_t* image,
                      uint8_t* to, int64_t count) {
  if (integers.exact) {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) to[i] = integers(degenerate[i], image[i]);
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) to[i] = blend(degenerate[i], image[i], alpha);
  }
}

#ifdef __AVX512VBMI__
// (start + step * k) >> 16 for k = 0..63, as bytes: the third of each 32-bit sum.
struct Ramp {
  __m512i part[4], thirds;

  explicit Ramp(int64_t step) {
    alignas(64) int32_t at[64];
    alignas(64) uint8_t index[64];
    for (int k = 0; k < 64; ++k)
      at[k] = static_cast<int32_t>(step) * k, index[k] = static_cast<uint8_t>(4 * (k % 32) + 2);
    for (int k = 0; k < 4; ++k) part[k] = _mm512_load_si512(at + 16 * k);
    thirds = _mm512_load_si512(index);
  }
  __m512i from(int64_t start) const {
    const __m512i base = _mm512_set1_epi32(static_cast<int32_t>(start));
    const auto half = [&](int k) {
      return _mm512_permutex2var_epi8(_mm512_add_epi32(base, part[k]), thirds, _mm512_add_epi32(base, part[k + 1]));
    };
    return _mm512_inserti64x4(half(0), _mm512_castsi512_si256(half(2)), 1);
  }
};

// Sources of 64 outputs along one axis: the pixels first + offset[k], with offsets of at most 63 for |step| <= 1.
struct Reach {
  int64_t first, last;
  __m512i offset;

  Reach(const Ramp& ramp, int64_t start, int64_t step, int64_t lanes) {
    const int64_t end = start + step * (lanes - 1);
    first = std::min(start, end) >> 16, last = std::max(start, end) >> 16;
    offset = ramp.from(start - first * 65536);
  }
};
#endif

// A nearest warp that shrinks neither axis: 64 outputs lie in at most 64 columns and rows of the source, so each such
// row is loaded once and permuted, and gives the outputs that read it. False where this does not apply.
inline bool warp_fixed([[maybe_unused]] const FixedMatrix& m, [[maybe_unused]] const uint8_t* from,
                       [[maybe_unused]] uint8_t* to, [[maybe_unused]] int channels, [[maybe_unused]] int64_t height,
                       [[maybe_unused]] int64_t width) {
#ifdef __AVX512VBMI__
  if (std::max(std::abs(m.a), std::abs(m.d)) > 65536) return false;
  const Ramp columns(m.a), rows(m.d);
  const int64_t area = height * width;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; x += 64) {
      const int64_t lanes = std::min<int64_t>(64, width - x);
      const Reach across(columns, m.c + m.b * y + m.a * x, m.a, lanes), down(rows, m.f + m.e * y + m.d * x, m.d, lanes);
      const int64_t left = std::clamp<int64_t>(-across.first, 0, 64),
                    right = std::clamp<int64_t>(width - across.first, left, 64);
      const __mmask64 inside = right > left ? ~uint64_t{0} >> (64 - (right - left)) << left : 0;  // the rest is black
      __m512i result[3] = {};
      for (int64_t row = std::max<int64_t>(down.first, 0); row <= std::min(down.last, height - 1); ++row) {
        const __mmask64 here =
            _mm512_cmpeq_epi8_mask(down.offset, _mm512_set1_epi8(static_cast<char>(row - down.first)));
        const uint8_t* source = from + row * width + across.first;
        for (int c = 0; c < channels; ++c)
          result[c] = _mm512_mask_permutexvar_epi8(result[c], here, across.offset,
                                                   _mm512_maskz_loadu_epi8(inside, source + c * area));
      }
      for (int c = 0; c < channels; ++c)
        _mm512_mask_storeu_epi8(to + c * area + y * width + x, ~uint64_t{0} >> (64 - lanes), result[c]);
    }
  return true;
#else
  return false;
#endif
}

}  // namespace dssl::augment

#ifdef __AVX512VBMI__
#pragma GCC diagnostic pop
#endif
