// Images, programs and views of a batch, read from tensors and checked, for every device. The programs are the host's.
#pragma once

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <vector>

#include "../common/checks.h"
#include "augment.h"

namespace dssl::augment {

struct Image {
  const uint8_t* pixels;
  Size size;
  bool channels_last;
};

struct Batch {
  std::vector<Image> images;
  int channels, views;
  Size view;
  bool channels_last;  // of the views

  int64_t count() const { return static_cast<int64_t>(images.size()); }
  int64_t view_values() const { return channels * view.height * view.width; }
};

// The first values of a step as text.
inline std::string listed(const Step& step) {
  std::string line;
  for (int64_t k = 0; k < std::min<int64_t>(step.count, 16); ++k) {
    char number[32];
    const auto end = std::to_chars(number, number + sizeof number, step.values[k], std::chars_format::general, 6).ptr;
    line += (k ? ", " : "") + std::string(number, end);
  }
  return line;
}

[[noreturn]] inline void report_fault(const Batch& batch, int64_t b, const Programs& programs, int64_t p) {
  const Size source = batch.images[b].size;
  const int64_t at = first_fault(programs, p, source, batch.view, batch.views);
  const int64_t s = programs.step_offsets[p] + at;
  if (s == programs.step_offsets[p + 1])
    refuse("augment: the program of image ", b, " must emit each of its ", batch.views,
           " views; got one that does not");
  const Step step = programs.step(s);
  const bool known = step.opcode >= 0 && step.opcode < kOpcodes;
  refuse("augment: step ", at, " of image ", b, ", ", known ? kOpcodeNames[step.opcode] : "an unknown opcode", "(",
         listed(step), "), must be in range, fit its image, made from one of ", source.height, "x", source.width,
         ", fit views of ", batch.view.height, "x", batch.view.width, " and need no image of more than ",
         most_pixels(source, batch.view), " pixels on the way; got values that do not");
}

inline bool is_image_size(int64_t height, int64_t width) {
  return height >= 1 && width >= 1 && height <= kLargestSide && width <= kLargestSide;
}

// One packed buffer: image after image, each (C, H, W).
inline void add_packed(Batch& batch, const Tensor& data, const Tensor& sizes) {
  require(data.scalar_type() == ScalarType::Byte && data.dim() == 1 && data.is_contiguous(),
          "augment: packed images must be one contiguous row of bytes");
  check_dense(sizes, "augment", "sizes", ScalarType::Long, 2);
  require(sizes.size(1) == 2, "augment: sizes must be (B, 2)");
  const uint8_t *pixels = data.const_data_ptr<uint8_t>(), *end = pixels + data.numel();
  const int64_t* size = sizes.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < sizes.size(0); ++b, size += 2) {
    require(is_image_size(size[0], size[1]) && batch.channels * size[0] * size[1] <= end - pixels,
            "augment: sizes must be in 1..", kLargestSide, " and fit the buffer; got ", size[0], "x", size[1],
            " for image ", b);
    batch.images.push_back({pixels, {size[0], size[1]}, false});
    pixels += batch.channels * size[0] * size[1];
  }
  require(pixels == end, "augment: sizes must use up the buffer; got ", end - pixels, " bytes more");
}

// One image (C, H, W), or several of one size (B, C, H, W).
inline void add_images(Batch& batch, const Tensor& images) {
  const int64_t d = images.dim() - 3;
  require((d == 0 || d == 1) && images.scalar_type() == ScalarType::Byte && images.size(d) == batch.channels &&
              is_image_size(images.size(d + 1), images.size(d + 2)),
          "augment: images must be uint8 (C, H, W) or (B, C, H, W) with sides of 1 to ", kLargestSide,
          " and the channels of the views, ", batch.channels);
  const bool planar = images.is_contiguous();
  require(planar || is_channels_last(images), "augment: images must be contiguous or channels_last");
  const Size size{images.size(d + 1), images.size(d + 2)};
  const uint8_t* pixels = images.const_data_ptr<uint8_t>();
  for (int64_t b = 0; b < (d ? images.size(0) : 1); ++b, pixels += batch.channels * size.height * size.width)
    batch.images.push_back({pixels, size, !planar});
}

inline Batch make_batch(const std::vector<Tensor>& images, const std::optional<Tensor>& sizes, const Tensor& out) {
  require(out.dim() == 5 && (out.size(2) == 1 || out.size(2) == 3) && out.size(0) >= 1 && out.size(0) <= kMostViews &&
              is_image_size(out.size(3), out.size(4)),
          "augment: out must be (views, B, C, H, W) with 1 or 3 channels, at most ", kMostViews,
          " views and sides of 1 to ", kLargestSide);
  const bool planar = out.is_contiguous();
  require(planar || is_channels_last(out), "augment: every view of out must be contiguous or channels_last");
  Batch batch{{}, static_cast<int>(out.size(2)), static_cast<int>(out.size(0)), {out.size(3), out.size(4)}, !planar};
  batch.images.reserve(out.size(1));
  require(!sizes.has_value() || images.size() == 1, "augment: sizes go with one packed buffer");
  for (const Tensor& part : images)
    require(part.device().type() == out.device().type() && part.get_device() == out.get_device(),
            "augment: images must be on the device of out");
  for (const Tensor& part : images) sizes.has_value() ? add_packed(batch, part, *sizes) : add_images(batch, part);
  require(batch.count() == out.size(1), "augment: out must be for ", batch.count(), " images; got ", out.size(1));
  return batch;
}

// The offsets must stay inside their arrays; what the steps mean is checked image by image.
inline Programs make_programs(const Tensor& opcodes, const Tensor& step_offsets, const Tensor& values,
                              const Tensor& value_offsets, int64_t count) {
  check_dense(opcodes, "augment", "opcodes", ScalarType::Int, 1);
  check_dense(step_offsets, "augment", "step_offsets", ScalarType::Long, 1);
  check_dense(values, "augment", "values", ScalarType::Double, 1);
  check_dense(value_offsets, "augment", "value_offsets", ScalarType::Long, 1);
  const auto covers = [](const Tensor& offsets, int64_t parts, int64_t total) {
    const int64_t* at = offsets.const_data_ptr<int64_t>();
    return offsets.numel() == parts + 1 && at[0] == 0 && std::is_sorted(at, at + parts + 1) && at[parts] == total;
  };
  require(covers(step_offsets, count, opcodes.numel()),
          "augment: step_offsets must cover the opcodes, one program for each of ", count, " images");
  require(covers(value_offsets, opcodes.numel(), values.numel()),
          "augment: value_offsets must cover the values, step by step");
  return {opcodes.const_data_ptr<int32_t>(), step_offsets.const_data_ptr<int64_t>(), values.const_data_ptr<double>(),
          value_offsets.const_data_ptr<int64_t>()};
}

// Where there is a table, views are of its dtype; it is the host's.
inline void check_table(const Batch& batch, const std::optional<Tensor>& table, const Tensor& out) {
  const ScalarType dtype = out.scalar_type();
  require(dtype == ScalarType::Byte || dtype == ScalarType::Float || dtype == ScalarType::Half ||
              dtype == ScalarType::BFloat16,
          "augment: out must be uint8, float32, bfloat16 or float16");
  require(table.has_value() || dtype == ScalarType::Byte, "augment: out must be uint8 where there is no table");
  if (!table.has_value()) return;
  check_dense(*table, "augment", "table", dtype, 2);
  require(table->size(0) == batch.channels && table->size(1) == 256, "augment: table must be (C, 256)");
}

}  // namespace dssl::augment
