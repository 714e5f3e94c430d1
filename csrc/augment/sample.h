// Drawing programs: a transform compiles to a flat list of instructions, and each image draws its steps from them.
// A draw is a pure function of (seed, sample id, epoch, view, step); dssl_ops/augment_sample.py is the same in Python.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "../common/philox.h"
#include "../common/tiles.h"
#include "opcodes.h"

namespace dssl::augment {

enum Instruction { kFixed, kRandomResizedCrop, kColorJitter, kRandomBlur, kRandomOps, kRandomJigsaw, kChoice };
constexpr int64_t kHeader = 4;  // kind, length in words, view, step
// The fields of the counter: 8 bits of view, 12 of step, 12 of block, two of which an op of RandomOps takes.
constexpr int kMostViewKeys = 256, kMostSteps = 4096, kMostOps = 2048, kDeepestChoice = 64;

struct Steps {
  std::vector<int32_t> opcodes;
  std::vector<double> values;
  std::vector<int64_t> value_offsets{0};  // where each step's values begin, and the end

  void clear() { opcodes.clear(), values.clear(), value_offsets.resize(1); }

  template <class... V>
  void add(Opcode opcode, V... v) {
    opcodes.push_back(opcode);
    (values.push_back(v), ...);
    value_offsets.push_back(static_cast<int64_t>(values.size()));
  }
};

inline bool is_count(double v, double most) { return v >= 0 && v <= most && v == std::floor(v); }

inline bool is_side(double v) { return v >= 1 && is_count(v, kLargestSide); }

// Scale and ratio of RandomResizedCrop: within these bounds every side that they give is a whole number of 64 bits.
inline bool is_crop_range(const double* p) {
  return std::all_of(p, p + 4, [](double v) { return v >= 1e-9 && v <= 1e9; });
}

// Entries of RandomOps: opcode, base, low, high, signed, kind.
constexpr int64_t kEntry = 6;
enum EntryKind { kValue, kInteger, kBox, kNone, kBits };

inline bool are_entries(const double* at, const double* end) {
  if ((end - at) % kEntry != 0) return false;
  for (; at < end; at += kEntry)
    if (!is_count(at[0], kOpcodes - 1) || !is_count(at[5], kBits)) return false;
  return true;
}

// Whether instructions [at, end) stay inside their own length and are not nested too deep; what Python compiles always
// does.
inline bool well_formed(const double* at, const double* end, int depth = 0) {
  if (depth > kDeepestChoice) return false;
  constexpr int64_t least[] = {2, 8, 9, 3, 9, 2, 3};
  for (const double* next; at < end; at = next) {
    if (end - at < kHeader || !is_count(at[0], kChoice) || !is_count(at[1], static_cast<double>(end - at)))
      return false;
    const int64_t kind = static_cast<int64_t>(at[0]), count = static_cast<int64_t>(at[1]) - kHeader;
    if (count < least[kind] || !is_count(at[2], kMostViewKeys - 1) || !is_count(at[3], kMostSteps - 1)) return false;
    next = at + kHeader + count;
    const double* p = at + kHeader;
    if (kind == kFixed && !is_count(p[0], kOpcodes - 1)) return false;
    if (kind == kRandomResizedCrop && !(is_crop_range(p) && is_side(p[4]) && is_side(p[5]))) return false;
    if (kind == kRandomOps && !(is_count(p[0], kMostOps) && are_entries(p + 3, next))) return false;
    if (kind == kRandomJigsaw && !(p[1] >= 1 && is_count(p[1], kLargestGrid))) return false;
    if (kind != kChoice) continue;
    if (!(p[0] >= 1 && is_count(p[0], static_cast<double>((count - 1) / 2)))) return false;
    const int64_t K = static_cast<int64_t>(p[0]);
    const double* body = p + 1 + 2 * K;
    for (int64_t k = 0; k < K; ++k) {
      if (!is_count(p[1 + K + k], static_cast<double>(next - body))) return false;
      const double* stop = body + static_cast<int64_t>(p[1 + K + k]);
      if (!well_formed(body, stop, depth + 1)) return false;
      body = stop;
    }
    if (body != next) return false;
  }
  return true;
}

class Sampler {
 public:
  Sampler(uint64_t seed, uint64_t sample, uint32_t epoch, int64_t height, int64_t width, Steps& steps)
      : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
        counter_{{static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32), epoch, 0}},
        source_height_(height),
        source_width_(width),
        height_(height),
        width_(width),
        steps_(steps) {}

  void run(const double* at, const double* end) {
    for (; at < end; at += static_cast<int64_t>(at[1])) draw(at);
  }

 private:
  void draw(const double* instruction) {
    counter_.w[3] = static_cast<uint32_t>(instruction[2]) << 24 | static_cast<uint32_t>(instruction[3]) << 12;
    const double* p = instruction + kHeader;
    const int64_t count = static_cast<int64_t>(instruction[1]) - kHeader;
    switch (static_cast<int>(instruction[0])) {
      case kFixed: return fixed(p, count);
      case kRandomResizedCrop: return random_resized_crop(p);
      case kColorJitter: return color_jitter(p);
      case kRandomBlur: return random_blur(p);
      case kRandomOps: return random_ops(p, count);
      case kRandomJigsaw: return random_jigsaw(p);
      default: return choice(p);
    }
  }

  Words block(uint32_t index) const {
    Words counter = counter_;
    counter.w[3] |= index;
    return philox(counter, key_[0], key_[1]);
  }

  bool applies(double probability, uint32_t word) const { return probability >= 1 || uniform(word) < probability; }

  void fixed(const double* p, int64_t count) {
    if (p[1] < 1 && !applies(p[1], block(0).w[0])) return;
    const Opcode opcode = static_cast<Opcode>(p[0]);
    steps_.values.insert(steps_.values.end(), p + 2, p + count);
    steps_.add(opcode);
    if (opcode == kSource) height_ = source_height_, width_ = source_width_;
  }

  // torchvision's RandomResizedCrop.get_params: ten tries, then the central crop of a permitted ratio.
  void random_resized_crop(const double* p) {
    int64_t top, left, h, w;
    bool found = false;
    for (uint32_t attempt = 0; attempt < 10 && !found; ++attempt) {
      const Words words = block(attempt);
      const double area =
          static_cast<double>(height_) * static_cast<double>(width_) * (p[0] + uniform(words.w[0]) * (p[1] - p[0]));
      const double aspect = std::exp(std::log(p[2]) + uniform(words.w[1]) * (std::log(p[3]) - std::log(p[2])));
      w = static_cast<int64_t>(std::rint(std::sqrt(area * aspect)));
      h = static_cast<int64_t>(std::rint(std::sqrt(area / aspect)));
      found = 0 < w && w <= width_ && 0 < h && h <= height_;
      if (found) top = below(words.w[2], height_ - h + 1), left = below(words.w[3], width_ - w + 1);
    }
    if (!found) {
      const double ratio = static_cast<double>(width_) / static_cast<double>(height_);
      w = ratio > p[3] ? static_cast<int64_t>(std::rint(static_cast<double>(height_) * p[3])) : width_;
      h = ratio < p[2] ? static_cast<int64_t>(std::rint(static_cast<double>(width_) / p[2])) : height_;
      w = std::clamp<int64_t>(w, 1, width_), h = std::clamp<int64_t>(h, 1, height_);
      top = (height_ - h) / 2, left = (width_ - w) / 2;
    }
    const auto real = [](int64_t v) { return static_cast<double>(v); };
    steps_.add(kResizedCrop, real(top), real(left), real(h), real(w), p[4], p[5], p[6], p[7]);
    height_ = static_cast<int64_t>(p[4]), width_ = static_cast<int64_t>(p[5]);
  }

  // Four factors in one of 24 orders, the order a Lehmer code.
  void color_jitter(const double* p) {
    const Words first = block(0), second = block(1);
    if (!applies(p[0], first.w[0])) return;
    constexpr Opcode opcodes[4] = {kBrightness, kContrast, kColor, kHue};
    int rest[4] = {0, 1, 2, 3};
    int64_t code = below(first.w[1], 24);
    for (int left = 4, factorial = 6; left > 0; --left, factorial /= std::max(1, left)) {
      const int pick = static_cast<int>(code / factorial), i = rest[pick];
      code %= factorial;
      std::copy(rest + pick + 1, rest + left, rest + pick);
      const double low = p[1 + 2 * i], high = p[2 + 2 * i];
      if (low <= high) steps_.add(opcodes[i], low + uniform(second.w[i]) * (high - low));
    }
  }

  void random_blur(const double* p) {
    const Words words = block(0);
    if (applies(p[0], words.w[0])) steps_.add(kGaussianBlur, p[1] + uniform(words.w[1]) * (p[2] - p[1]));
  }

  // RandAugment and its kin: `n` times one of the entries.
  void random_ops(const double* p, int64_t count) {
    const int64_t n = static_cast<int64_t>(p[0]), entries = (count - 3) / kEntry;
    for (uint32_t slot = 0; slot < n; ++slot) {
      const Words a = block(2 * slot), b = block(2 * slot + 1);
      const double* e = p + 3 + kEntry * below(a.w[0], static_cast<uint64_t>(entries));
      if (!applies(p[1] >= 0 ? p[1] : uniform(a.w[3]), b.w[0])) continue;
      const double magnitude = e[2] + uniform(a.w[2]) * (e[3] - e[2]);
      const bool negative = e[4] != 0 && uniform(a.w[1]) < 0.5;
      add_entry(static_cast<Opcode>(e[0]), static_cast<int>(e[5]), e[1] + (negative ? -magnitude : magnitude), b, p[2]);
    }
  }

  void add_entry(Opcode opcode, int kind, double value, const Words& words, double interpolation) {
    if (kind == kNone) return steps_.add(opcode);
    if (kind == kBox) return add_cutout(value, words);
    if (kind == kInteger || kind == kBits) value = std::trunc(value);
    if (kind == kBits) value = std::max(1.0, value);
    if (opcode >= kRotate && opcode <= kTranslateY) return steps_.add(opcode, value, interpolation);
    steps_.add(opcode, value);
  }

  // The authors' CutoutAbs: the centre is uniform between the far side and 1, the box is not centred again at a border.
  void add_cutout(double side, const Words& words) {
    const double W = static_cast<double>(width_), H = static_cast<double>(height_);
    const double x = W + uniform(words.w[1]) * (1 - W), y = H + uniform(words.w[2]) * (1 - H);
    const double left = std::trunc(std::max(0.0, x - side / 2)), top = std::trunc(std::max(0.0, y - side / 2));
    steps_.add(kCutout, left, top, std::min(W, left + side), std::min(H, top + side));
  }

  // Fisher-Yates among the tiles of each size.
  void random_jigsaw(const double* p) {
    if (p[0] < 1 && !applies(p[0], block(0).w[0])) return;
    const int64_t grid = static_cast<int64_t>(p[1]), tiles = grid * grid;
    std::vector<double> permutation(tiles, -1);
    uint32_t drawn = 0;
    Words words{};
    for (int64_t k = 0; k < tiles; ++k) {
      if (permutation[k] >= 0) continue;
      const std::vector<int64_t> members = same_size(grid, k);
      std::vector<int64_t> shuffled = members;
      for (int64_t i = static_cast<int64_t>(members.size()) - 1; i > 0; --i, ++drawn) {
        if (drawn % 4 == 0) words = block(1 + drawn / 4);
        std::swap(shuffled[i], shuffled[below(words.w[drawn % 4], static_cast<uint64_t>(i + 1))]);
      }
      for (size_t i = 0; i < members.size(); ++i) permutation[members[i]] = static_cast<double>(shuffled[i]);
    }
    steps_.values.insert(steps_.values.end(), permutation.begin(), permutation.end());
    steps_.add(kJigsaw);
  }

  std::vector<int64_t> same_size(int64_t grid, int64_t k) const {
    const Tile like = tile_at(height_, width_, grid, k);
    std::vector<int64_t> members;
    for (int64_t m = k; m < grid * grid; ++m) {
      const Tile tile = tile_at(height_, width_, grid, m);
      if (tile.height == like.height && tile.width == like.width) members.push_back(m);
    }
    return members;
  }

  // One of K bodies, by cumulative probability.
  void choice(const double* p) {
    const int64_t K = static_cast<int64_t>(p[0]);
    const double u = uniform(block(0).w[0]);
    int64_t k = 0;
    while (k + 1 < K && !(u < p[1 + k])) ++k;
    const double* body = p + 1 + 2 * K;
    for (int64_t before = 0; before < k; ++before) body += static_cast<int64_t>(p[1 + K + before]);
    run(body, body + static_cast<int64_t>(p[1 + K + k]));
  }

  uint32_t key_[2];
  Words counter_;
  int64_t source_height_, source_width_, height_, width_;
  Steps& steps_;
};

}  // namespace dssl::augment
