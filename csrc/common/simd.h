// Vectors of the machine's own width through the compiler's vector extension, and 2^x over them.
// A file that includes this first says `#pragma GCC optimize("fp-contract=fast")`: the products then use the fused
// multiply-add that -ffp-contract=off, the promise of the augmentation engine, keeps from all others.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace dssl {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kStrip = 8;  // kStrip rows by two vectors of accumulators fill the registers
#elif defined(__AVX__)
constexpr int kVectorBytes = 32, kStrip = 4;
#else
constexpr int kVectorBytes = 16, kStrip = 8;
#endif

template <class T>
constexpr int kLanes = kVectorBytes / sizeof(T);

template <class T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(kVectorBytes)));
};

template <class T>
using Vector = typename VectorOf<T>::Type;

template <class V>  // the type of one lane of V
using Lane = std::remove_reference_t<decltype(std::declval<V&>()[0])>;

template <class T>
inline Vector<T> load(const T* from) {
  Vector<T> value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class V>
inline void store(Lane<V>* to, V value) {
  std::memcpy(to, &value, sizeof value);
}

template <class T>
inline Vector<T> broadcast(T value) {
  return value - Vector<T>{};
}

// Two bfloat16, the first in the low half: what the dot-product instruction multiplies and adds in one go. Where the
// processor lacks it the same numbers come out slower, to the last bits of the sums.
using Pair = uint32_t;

#if defined(__AVX512BF16__)
constexpr bool kFastPairs = true;
#else
constexpr bool kFastPairs = false;
#endif

// sum + a * b
template <class V, class E>
inline V add_product(V sum, E a, E b) {
  if constexpr (!std::is_same_v<Lane<E>, Pair>) {
    return sum + a * b;
  } else {
#if defined(__AVX512BF16__)  // as assembly: the header of the intrinsics costs a quarter of a second of every build
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
#else
    const Lane<E> high = 0xffff0000u;
    sum += reinterpret_cast<V>(a & high) * reinterpret_cast<V>(b & high);
    return sum + reinterpret_cast<V>(a << 16) * reinterpret_cast<V>(b << 16);
#endif
  }
}

// Rounded to bfloat16, halves away from zero; every lane must be finite.
inline Vector<Pair> pair_up(Vector<float> low, Vector<float> high) {
  const Vector<Pair> a = reinterpret_cast<Vector<Pair>>(low) + 0x8000u;
  const Vector<Pair> b = reinterpret_cast<Vector<Pair>>(high) + 0x8000u;
  return (a >> 16) | (b & 0xffff0000u);
}

template <class V>
inline V larger(V a, V b) {
  return a > b ? a : b;
}

// A fixed tree: the same bits on every machine of the same vector width.
template <class V>
inline Lane<V> sum_of(V v) {
  constexpr int kCount = kLanes<Lane<V>>;
  Lane<V> lanes[kCount];
  store(lanes, v);
  for (int half = kCount / 2; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  return lanes[0];
}

template <class V>
inline Lane<V> largest_of(V v) {
  Lane<V> largest = v[0];
  for (int k = 1; k < kLanes<Lane<V>>; ++k) largest = v[k] > largest ? v[k] : largest;
  return largest;
}

template <class T>
struct Exponent;

template <>
struct Exponent<float> {
  using Bits = int32_t;
  static constexpr int kShift = 23;
  static constexpr float kLowest = -126.0f, kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  // Chebyshev interpolation of 2^f on [-1/2, 1/2]: relative error 2.5e-9.
  static constexpr float kCoefficients[] = {1.0f,           0.69314720670f, 0.24022650922f, 0.05550327227f,
                                            0.00961805668f, 0.00134004282f, 0.00015461445f};
};

template <>
struct Exponent<double> {
  using Bits = int64_t;
  static constexpr int kShift = 52;
  static constexpr double kLowest = -1022.0, kMagic = 6755399441055744.0;  // 1.5 * 2^52
  // ln(2)^k / k!: relative error 2e-16.
  static constexpr double kCoefficients[] = {1.0,
                                             0.6931471805599453,
                                             0.24022650695910072,
                                             0.05550410866482158,
                                             0.009618129107628477,
                                             0.0013333558146428441,
                                             0.0001540353039338161,
                                             1.525273380405984e-05,
                                             1.3215486790144307e-06,
                                             1.0178086009239699e-07,
                                             7.054911620801122e-09,
                                             4.4455382718708106e-10,
                                             2.5678435993488196e-11};
};

// 2^x for x up to the largest exponent; 0 where the result would be below the smallest normal number.
template <class V>
inline V exp2(V x) {
  using E = Exponent<Lane<V>>;
  using Bits = Vector<typename E::Bits>;
  constexpr int kDegree = sizeof(E::kCoefficients) / sizeof(E::kCoefficients[0]) - 1;
  const V shifted = x + E::kMagic;
  const V fraction = x - (shifted - E::kMagic);
  V power = broadcast(E::kCoefficients[kDegree]);
  for (int k = kDegree - 1; k >= 0; --k) power = power * fraction + E::kCoefficients[k];
  const Bits scaled = reinterpret_cast<Bits>(power) + (reinterpret_cast<Bits>(shifted) << E::kShift);
  return reinterpret_cast<V>(scaled & (x >= E::kLowest));
}

}  // namespace dssl
