// Programs as the CUDA kernel reads them: checked, without the steps that do nothing, and with the matrices that take
// the host's cosine. A step is [opcode, count, values...]; everything is a word of 8 bytes.
#pragma once

#include "augment.h"

namespace dssl::augment {

// Where an image lies and where its program begins.
struct Job {
  int64_t origin;  // bytes from the first image
  int64_t height, width, channels_last;
  int64_t program, words;  // in words from the end of the jobs
};

// Affine steps become kRotate with these values: a matrix, or quarter turns where `turns` is not 0.
enum AffineValue { kMatrix = 0, kFilter = 6, kTurns = 7, kAffineValues = 8 };
// ResizedCrop gets one more: whether it reads the source image where it lies.
constexpr int kFromSource = 8;
constexpr int64_t kMostLoweredWords = 10;  // of a step, beside its values

DSSL_HD int64_t aligned(int64_t bytes) { return (bytes + 15) / 16 * 16; }

DSSL_HD bool reads_axes(const Matrix& m, int filter) { return filter == kNearest && m.b == 0 && m.d == 0; }

// Bytes of a resize: int32 first, count and weights of every output of both axes, then one plane between the passes.
DSSL_HD int64_t tap_bytes(const Axis& axis) { return aligned(axis.out * (axis.taps() + 2) * 4); }

class Lowering {
 public:
  Lowering(double* words, int channels, Size source) : words_(words), channels_(channels), source_(source) {}

  // Gives the words written. The program has no faults.
  int64_t run(const Programs& programs, int64_t b) {
    size_ = source_;
    for (int64_t s = programs.step_offsets[b]; s < programs.step_offsets[b + 1]; ++s) add(programs.step(s));
    return count_;
  }

  // Bytes that the image takes with what its steps need beside it.
  int64_t arena() const { return arena_; }

 private:
  void add(const Step& step) {
    const double* v = step.values;
    switch (step.opcode) {
      case kIdentity: return;
      case kSource: size_ = source_, fresh_ = true; break;
      case kResizedCrop: return crop(step);
      case kRotate:
      case kShearX:
      case kShearY:
      case kTranslateX:
      case kTranslateY: return affine(step);
      case kGaussianBlur:
        if (static_cast<float>(v[0]) == 0.0f) return;
        need(image(), 0);
        break;
      case kJigsaw:
      case kSharpness: need(image(), 0); break;
      default: need(0, 0);
    }
    put(step.opcode, v, step.count);
  }

  void affine(const Step& step) {
    const double v = step.values[0], width = static_cast<double>(size_.width),
                 height = static_cast<double>(size_.height);
    Matrix m{1, 0, 0, 0, 1, 0};
    double turns = 0;
    switch (step.opcode) {
      case kRotate: {
        const double angle = modulo360(v);
        if (angle == 0) return;
        if (angle == 180 || ((angle == 90 || angle == 270) && width == height)) turns = angle / 90;
        m = rotation(v, width, height);
        break;
      }
      case kShearX: m.b = v; break;
      case kShearY: m.d = v; break;
      case kTranslateX: m.c = v; break;
      default: m.f = v; break;
    }
    const double values[kAffineValues] = {m.a, m.b, m.c, m.d, m.e, m.f, step.values[1], turns};
    const bool axes = turns == 0 && reads_axes(m, static_cast<int>(step.values[1]));
    need(image(), axes ? 4 * (size_.width + size_.height) : 0);
    put(kRotate, values, kAffineValues);
  }

  void crop(const Step& step) {
    const double* v = step.values;
    const int64_t h = static_cast<int64_t>(v[2]), w = static_cast<int64_t>(v[3]);
    const Size to{static_cast<int64_t>(v[4]), static_cast<int64_t>(v[5])};
    const bool bicubic = v[6] == kBicubic, vertical = vertical_first(w, h, to.width, to.height, static_cast<int>(v[7]));
    const int64_t middle = vertical ? to.height * w : h * to.width;
    const int64_t taps = tap_bytes(Axis(w, to.width, bicubic)) + tap_bytes(Axis(h, to.height, bicubic));
    double values[kFromSource + 1];
    std::copy(v, v + kFromSource, values);
    values[kFromSource] = fresh_;
    if (fresh_) arena_ = std::max(arena_, aligned(channels_ * to.height * to.width) + taps + aligned(middle));
    if (!fresh_) need(channels_ * to.height * to.width, taps + aligned(middle));
    fresh_ = false;
    size_ = to;
    put(kResizedCrop, values, kFromSource + 1);
  }

  int64_t image() const { return channels_ * size_.height * size_.width; }

  // The image itself, another one beside it, and more.
  void need(int64_t other, int64_t more) {
    fresh_ = false;
    arena_ = std::max(arena_, aligned(image()) + aligned(other) + aligned(more));
  }

  void put(Opcode opcode, const double* values, int64_t count) {
    words_[count_++] = opcode;
    words_[count_++] = static_cast<double>(count);
    for (int64_t k = 0; k < count; ++k) words_[count_++] = values[k];
  }

  double* words_;
  int channels_;
  Size source_, size_{};
  bool fresh_ = true;  // nothing has run since the source was taken
  int64_t count_ = 0, arena_ = 0;
};

}  // namespace dssl::augment
