// The functions of csrc/common/mma.cuh, lane by lane as the PTX manual lays the fragments out.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace dssl {

struct Fragments {
  float c[4];
  uint32_t a[4], b[2];
};

// c of one lane; entry_a(lanes, row, k) and entry_b(lanes, k, column) find an entry in the lane that holds it. The sum
// is exact to double; the hardware's own order of summation is not documented.
template <int kDepth, class EntryA, class EntryB>
void emulated_mma(const char* name, float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EntryA entry_a,
                  EntryB entry_b, emulator::Site site) {
  const Fragments mine = {{c[0], c[1], c[2], c[3]}, {a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  struct Result {
    float c[4];
  };
  const Result result = emulator::exchange<Result>(
      name, 0xffffffff, mine,
      [=](const emulator::Lanes<Fragments>& lanes) {
        Result sums;
        for (unsigned i = 0; i < 4; ++i) {
          const unsigned row = lanes.lane / 4 + i / 2 * 8, column = lanes.lane % 4 * 2 + i % 2;
          double sum = lanes[lanes.lane].c[i];
          for (unsigned k = 0; k < kDepth; ++k) sum += double{entry_a(lanes, row, k)} * entry_b(lanes, k, column);
          sums.c[i] = static_cast<float>(sum);
        }
        return sums;
      },
      site);
  for (int i = 0; i < 4; ++i) c[i] = result.c[i];
}

template <class T>
void mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMULATOR_SITE) {
  const auto value = [](uint32_t pair, unsigned high) {
    return float(std::bit_cast<T>(static_cast<unsigned short>(pair >> 16 * high)));
  };
  emulated_mma<16>(
      "mma.m16n8k16", c, a, b,
      [=](const auto& lanes, unsigned row, unsigned k) {
        return value(lanes[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2], k % 2);
      },
      [=](const auto& lanes, unsigned k, unsigned column) {
        return value(lanes[column * 4 + k % 8 / 2].b[k / 8], k % 2);
      },
      site);
}

inline void mma_16x8x8_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMULATOR_SITE) {
  const auto value = [](uint32_t bits) { return std::bit_cast<float>(bits & 0xffffe000u); };  // the rest is not read
  emulated_mma<8>(
      "mma.m16n8k8", c, a, b,
      [=](const auto& lanes, unsigned row, unsigned k) {
        return value(lanes[row % 8 * 4 + k % 4].a[row / 8 + k / 4 * 2]);
      },
      [=](const auto& lanes, unsigned k, unsigned column) { return value(lanes[column * 4 + k % 4].b[k / 4]); }, site);
}

inline uint32_t to_tf32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return std::isfinite(value) ? (bits + 0x1000u) & 0xffffe000u : bits;
}

struct MatrixRow {
  uint16_t values[8];
};

// Every lane reads its own row; entry(lanes, matrix, i) is half i of what the calling lane gets of that matrix.
template <class Entry>
void emulated_load(uint32_t (&r)[4], const void* row, Entry entry, emulator::Site site) {
  const uint4 bytes = *static_cast<const uint4*>(row);
  struct Registers {
    uint32_t r[4];
  };
  const Registers all = emulator::exchange<Registers>(
      "ldmatrix", 0xffffffff, std::bit_cast<MatrixRow>(bytes),
      [=](const emulator::Lanes<MatrixRow>& lanes) {
        Registers mine;
        for (unsigned m = 0; m < 4; ++m) mine.r[m] = entry(lanes, m, 0) | uint32_t{entry(lanes, m, 1)} << 16;
        return mine;
      },
      site);
  for (int m = 0; m < 4; ++m) r[m] = all.r[m];
}

inline void load_matrices(uint32_t (&r)[4], const void* row, EMULATOR_SITE) {
  emulated_load(
      r, row,
      [](const auto& lanes, unsigned m, unsigned i) {
        return lanes[m * 8 + lanes.lane / 4].values[lanes.lane % 4 * 2 + i];
      },
      site);
}

inline void load_matrices_transposed(uint32_t (&r)[4], const void* row, EMULATOR_SITE) {
  emulated_load(
      r, row,
      [](const auto& lanes, unsigned m, unsigned i) {
        return lanes[m * 8 + lanes.lane % 4 * 2 + i].values[lanes.lane / 4];
      },
      site);
}

inline void copy_async(void* to, const void* from, bool valid = true, EMULATOR_SITE) {
  if ((reinterpret_cast<uintptr_t>(to) | (valid ? reinterpret_cast<uintptr_t>(from) : 0)) % 16)
    emulator::fail(site, "misaligned access: cp.async of 16 bytes from %p to %p", from, to);
  emulator::copy_later(to, from, 16, valid ? 16 : 0);
}
inline void commit_copies() { emulator::commit_copies(); }
template <int kGroups>
void wait_for_copies() {
  emulator::wait_for_copies(kGroups);
}

}  // namespace dssl
