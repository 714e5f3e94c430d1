// The steps a program is made of. dssl_ops/program.py lists the same, in the same order; a test holds the two equal.
#pragma once

#include <cstdint>

#include "../common/host_device.h"

namespace dssl::augment {

// clang-format off
enum Opcode : int32_t {
  kIdentity, kAutoContrast, kEqualize, kInvert, kGrayscale, kHorizontalFlip, kPosterize, kSolarize, kSolarizeAdd,
  kBrightness, kContrast, kColor, kSharpness, kHue, kRotate, kShearX, kShearY, kTranslateX, kTranslateY, kCutout,
  kGaussianBlur, kResizedCrop, kJigsaw, kSource, kEmit, kOpcodes
};

inline constexpr const char* kOpcodeNames[kOpcodes] = {
    "Identity", "AutoContrast", "Equalize", "Invert", "Grayscale", "HorizontalFlip", "Posterize", "Solarize",
    "SolarizeAdd", "Brightness", "Contrast", "Color", "Sharpness", "Hue", "Rotate", "ShearX", "ShearY", "TranslateX",
    "TranslateY", "Cutout", "GaussianBlur", "ResizedCrop", "Jigsaw", "Source", "Emit"};

// Numbers that a step carries; -1: any square number of them.
inline constexpr int kOpcodeValues[kOpcodes] = {0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 4, 1, 8, -1, 0, 1};

// clang-format on

// Interpolations, by Pillow's numbers.
constexpr int kNearest = 0, kBilinear = 2, kBicubic = 3;

constexpr int64_t kLargestSide = 1 << 15;  // beyond it Pillow's own arithmetic changes
constexpr int64_t kLargestGrid = 64;

}  // namespace dssl::augment
