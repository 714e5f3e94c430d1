// Known answers of Philox4x32-10, from the authors' Random123 distribution (kat_vectors).
#include "check.h"
#include "common/philox.h"

namespace {

bool gives(dssl::Words counter, uint32_t key_low, uint32_t key_high, dssl::Words expected) {
  const dssl::Words words = dssl::philox(counter, key_low, key_high);
  for (int i = 0; i < 4; ++i)
    if (words.w[i] != expected.w[i]) return false;
  return true;
}

}  // namespace

int main() {
  constexpr uint32_t kOnes = 0xffffffffu;
  EXPECT(gives({0, 0, 0, 0}, 0, 0, {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT(gives({kOnes, kOnes, kOnes, kOnes}, kOnes, kOnes, {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT(gives({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, 0xa4093822u, 0x299f31d0u,
               {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));

  EXPECT(dssl::uniform(0) == 0.0);
  EXPECT(dssl::uniform(kOnes) == 1.0 - 1.0 / 16777216.0);
  EXPECT(dssl::below(kOnes, 7) == 6);
  EXPECT(dssl::below(0, 7) == 0);
}
