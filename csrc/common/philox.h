// Philox4x32-10 (Salmon et al., SC 2011): a counter-based generator, so that a draw depends on its key alone.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace dssl {

struct Words {
  uint32_t w[4];
};

// Counter and key in, four independent 32-bit words out.
DSSL_HD Words philox(Words counter, uint32_t key_low, uint32_t key_high) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t even = uint64_t{0xD2511F53u} * counter.w[0];
    const uint64_t odd = uint64_t{0xCD9E8D57u} * counter.w[2];
    counter = {static_cast<uint32_t>(odd >> 32) ^ counter.w[1] ^ key_low, static_cast<uint32_t>(odd),
               static_cast<uint32_t>(even >> 32) ^ counter.w[3] ^ key_high, static_cast<uint32_t>(even)};
    key_low += 0x9E3779B9u;
    key_high += 0xBB67AE85u;
  }
  return counter;
}

// Uniform in [0, 1) with 24 bits.
DSSL_HD double uniform(uint32_t word) { return (word >> 8) * (1.0 / 16777216.0); }

// Uniform integer in [0, n); its bias is below n / 2^32.
DSSL_HD int64_t below(uint32_t word, uint64_t n) { return static_cast<int64_t>((word * n) >> 32); }

}  // namespace dssl
