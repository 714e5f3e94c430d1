// Steps that read neighbours: warps, sharpness, blur, resized crop.
#pragma once

#include "picture.cuh"

namespace dssl::augment {

__device__ inline void turn(Picture& picture, int turns) {
  const int H = picture.height, W = picture.width;
  picture.gather(true, [&](const uint8_t* from, int y, int x) {
    if (turns == 2) return from[(H - 1 - y) * W + W - 1 - x];
    return turns == 1 ? from[x * W + W - 1 - y] : from[(H - 1 - x) * W + y];
  });
}

__device__ inline void warp_fixed(Picture& picture, const FixedMatrix& m) {
  const int H = picture.height, W = picture.width;
  picture.gather(false, [&](const uint8_t* from, int y, int x) -> uint8_t {
    const int sx = static_cast<int>((m.c + m.b * y + m.a * x) >> 16),
              sy = static_cast<int>((m.f + m.e * y + m.d * x) >> 16);
    return sx >= 0 && sx < W && sy >= 0 && sy < H ? from[sy * W + sx] : 0;
  });
}

// The source of every place of one axis. Pillow adds the increments one by one: a product would round elsewhere.
__device__ inline void step_axis(double at, double increment, int size, int* source) {
  for (int i = 0; i < size; ++i, at += increment) source[i] = static_cast<int>(pixel_at(at, size));
}

__device__ inline void warp_axes(Picture& picture, const Matrix& m) {
  const int H = picture.height, W = picture.width;
  int* columns = reinterpret_cast<int*>(picture.between(Picture::bytes(picture.channels, picture.area())));
  int* rows = columns + W;
  if (threadIdx.x == 0) step_axis(m.c + m.b * 0.5 + m.a * 0.5, m.a, W, columns);
  if (threadIdx.x == 32) step_axis(m.f + m.e * 0.5 + m.d * 0.5, m.e, H, rows);
  __syncthreads();
  picture.gather(false, [&](const uint8_t* from, int y, int x) -> uint8_t {
    return rows[y] < 0 || columns[x] < 0 ? 0 : from[rows[y] * W + columns[x]];
  });
}

// Far outside 16 bits both coordinates are stepped, down the rows and then along one: a row to a thread.
__device__ inline void warp_stepped(Picture& picture, const Matrix& m) {
  const int H = picture.height, W = picture.width;
  picture.replace(false, [&](uint8_t* to) {
    for (int row = threadIdx.x; row < H; row += blockDim.x) {
      double at_x = m.c + m.b * 0.5 + m.a * 0.5, at_y = m.f + m.e * 0.5 + m.d * 0.5;
      for (int y = 0; y < row; ++y) at_x += m.b, at_y += m.e;
      for (int x = 0; x < W; ++x, at_x += m.a, at_y += m.d) {
        const int64_t sx = pixel_at(at_x, W), sy = pixel_at(at_y, H);
        for (int c = 0; c < picture.channels; ++c)
          to[int64_t{c} * picture.area() + row * W + x] = sx < 0 || sy < 0 ? 0 : picture.plane(c)[sy * W + sx];
      }
    }
  });
}

__device__ inline void warp_smooth(Picture& picture, const Matrix& m, bool bicubic) {
  const int H = picture.height, W = picture.width;
  picture.gather(false, [&](const uint8_t* from, int y, int x) -> uint8_t {
    const double cx = x + 0.5, cy = y + 0.5;
    const double sx = m.a * cx + m.b * cy + m.c, sy = m.d * cx + m.e * cy + m.f;
    if (!(sx >= 0 && sx < W && sy >= 0 && sy < H)) return 0;
    return bicubic ? bicubic_at(from, W, H, sx, sy) : bilinear_at(from, W, H, sx, sy);
  });
}

__device__ inline void warp(Picture& picture, const double* v) {
  if (v[kTurns] != 0) return turn(picture, static_cast<int>(v[kTurns]));
  const Matrix m{v[0], v[1], v[2], v[3], v[4], v[5]};
  const int filter = static_cast<int>(v[kFilter]);
  if (filter != kNearest) return warp_smooth(picture, m, filter == kBicubic);
  if (reads_axes(m, filter)) return warp_axes(picture, m);
  if (fits_fixed(m, int64_t{picture.width}, int64_t{picture.height})) return warp_fixed(picture, to_fixed(m));
  warp_stepped(picture, m);
}

__device__ inline void sharpen(Picture& picture, float factor) {
  const int H = picture.height, W = picture.width;
  picture.gather(false, [&](const uint8_t* from, int y, int x) {
    const uint8_t* mid = from + y * W + x;
    if (y == 0 || x == 0 || y == H - 1 || x == W - 1) return *mid;  // the border is the image's own
    int sum = 4 * *mid;
    for (int row = -W; row <= W; row += W) sum += mid[row - 1] + mid[row] + mid[row + 1];
    return blend(smooth_round(static_cast<uint16_t>(sum)), *mid, factor);
  });
}

// One box pass along lines of `size` pixels `step` apart, by running sums over a few pixels at a time. Lines begin at
// `line_step` from each other.
__device__ inline void box_pass(const Box& box, const uint8_t* from, uint8_t* to, int size, int step, int lines,
                                int line_step) {
  constexpr int kRun = 8;
  const int runs = (size + kRun - 1) / kRun, radius = static_cast<int>(box.radius);
  const auto pass = [&](int line, int run) {
    const uint8_t* in = from + line * line_step;
    uint8_t* out = to + line * line_step;
    const auto pixel = [&](int i) -> uint32_t { return in[(i < 0 ? 0 : i >= size ? size - 1 : i) * step]; };
    const int begin = run * kRun, end = smaller(begin + kRun, size);
    uint32_t window = 0;
    for (int i = begin - radius; i <= begin + radius; ++i) window += pixel(i);
    for (int i = begin; i < end; ++i) {
      const uint32_t after = pixel(i + radius + 1);
      out[i * step] = box.value(window, pixel(i - radius - 1) + after);
      window += after - pixel(i - radius);
    }
  };
  if (step == 1) return Picture::each_place(lines, runs, pass);
  Picture::each_place(runs, lines, [&](int run, int line) { pass(line, run); });  // neighbours to neighbours
}

// Three passes along the rows, three down the columns: after six the image is back where it was.
__device__ inline void blur(Picture& picture, float sigma) {
  const Box box(box_radius(sigma));
  const int H = picture.height, W = picture.width;
  for (int pass = 0; pass < 6; ++pass)
    picture.replace(false, [&](uint8_t* to) {
      for (int c = 0; c < picture.channels; ++c) {
        uint8_t* plane = to + int64_t{c} * picture.area();
        pass < 3 ? box_pass(box, picture.plane(c), plane, W, 1, H, W)
                 : box_pass(box, picture.plane(c), plane, H, W, W, 1);
      }
    });
}

// The taps of every output of one axis: `stride` weights each.
struct Taps {
  int out, stride;
  int *first, *count, *weights;

  __device__ Taps(const Axis& axis, uint8_t* memory)
      : out(static_cast<int>(axis.out)),
        stride(static_cast<int>(axis.taps())),
        first(reinterpret_cast<int*>(memory)),
        count(first + out),
        weights(count + out) {
    for (int i = threadIdx.x; i < out; i += blockDim.x) {
      first[i] = static_cast<int>(axis.first(i)), count[i] = static_cast<int>(axis.count(i));
      double sum = 0;
      for (int k = 0; k < count[i]; ++k) sum += axis.real_weight(i, k);
      for (int k = 0; k < count[i]; ++k) weights[i * stride + k] = Axis::fixed_weight(axis.real_weight(i, k), sum);
    }
  }

  // Output i of the line that begins at `from`.
  __device__ uint8_t at(int i, const uint8_t* from, int64_t step) const {
    int sum = 1 << (kResizeBits - 1);
    from += first[i] * step;
    for (int k = 0; k < count[i]; ++k, from += step) sum += weights[i * stride + k] * *from;
    return resize_round(sum);
  }
};

struct Planes {
  const uint8_t* pixels;
  int64_t plane, row, pixel;  // strides

  __device__ explicit Planes(const Picture& picture, bool from_source) : pixels(picture.source) {
    const bool interleaved = from_source && picture.job.channels_last;
    if (!from_source) pixels = picture.pixels();
    plane = interleaved ? 1 : picture.area();
    pixel = interleaved ? picture.channels : 1;
    row = pixel * picture.width;
  }
};

// Crop and resize in one reading: the passes start at the crop's corner, in Pillow's order.
__device__ inline void resize(Picture& picture, const double* v) {
  const bool from_source = v[kFromSource] != 0, bicubic = v[6] == kBicubic;
  const Planes planes(picture, from_source);
  const int h = static_cast<int>(v[2]), w = static_cast<int>(v[3]), H = static_cast<int>(v[4]),
            W = static_cast<int>(v[5]);
  const Axis across(w, W, bicubic), down(h, H, bicubic);
  const int64_t from_bytes = from_source ? 0 : Picture::bytes(picture.channels, picture.area());
  uint8_t* memory = picture.between(picture.high ? Picture::bytes(picture.channels, H * W) : from_bytes);
  const Taps x(across, memory), y(down, memory + tap_bytes(across));
  uint8_t* middle = memory + tap_bytes(across) + tap_bytes(down);
  const uint8_t* corner =
      planes.pixels + static_cast<int64_t>(v[0]) * planes.row + static_cast<int64_t>(v[1]) * planes.pixel;
  uint8_t* to = picture.other(H * W);
  __syncthreads();
  const bool vertical = vertical_first(w, h, W, H, static_cast<int>(v[7]));
  for (int c = 0; c < picture.channels; ++c, to += H * W) {
    const uint8_t* from = corner + c * planes.plane;
    if (vertical)
      Picture::each_place(H, w,
                          [&](int i, int k) { middle[i * w + k] = y.at(i, from + k * planes.pixel, planes.row); });
    else
      Picture::each_place(h, W,
                          [&](int k, int i) { middle[k * W + i] = x.at(i, from + k * planes.row, planes.pixel); });
    __syncthreads();
    if (vertical)
      Picture::each_place(H, W, [&](int k, int i) { to[k * W + i] = x.at(i, middle + k * w, 1); });
    else
      Picture::each_place(H, W, [&](int i, int k) { to[i * W + k] = y.at(i, middle + k, W); });
    __syncthreads();
  }
  picture.height = H, picture.width = W;
  picture.high = !picture.high, picture.loaded = true, picture.counted = false;
}

}  // namespace dssl::augment
