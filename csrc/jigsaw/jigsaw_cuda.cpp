// Checks, allocates and starts; see jigsaw_cuda.cu.
#include "jigsaw_cuda.h"

#include <algorithm>

#include "../common/checks_cuda.h"

namespace dssl::jigsaw {
namespace {

Tensor jigsaw_cuda(Tensor images, int64_t grid, Tensor permutation) {
  check_cuda(images, "jigsaw", "images");
  check_same_device(permutation, images, "jigsaw", "permutation");
  require(images.dim() == 4, "jigsaw: images must be (B, C, H, W)");
  const int64_t B = images.size(0), C = images.size(1), H = images.size(2), W = images.size(3);
  require(grid >= 1 && grid <= std::min(H, W), "jigsaw: grid must be in 1..", std::min(H, W), "; got ", grid);
  require(permutation.scalar_type() == ScalarType::Long && permutation.is_contiguous() && permutation.dim() == 2 &&
              permutation.size(0) == B && permutation.size(1) == grid * grid,
          "jigsaw: permutation must be (B, grid * grid) int64, contiguous");
  const bool planar = images.is_contiguous();
  require(planar || is_channels_last(images), "jigsaw: images must be contiguous or channels_last");
  const DeviceGuard guard(images.get_device());
  Tensor out = torch::stable::empty_like(images);
  if (images.numel() == 0) return out;
  const int64_t element = static_cast<int64_t>(images.element_size());
  // The kernel counts strips, places along a side times grid, and the bytes of a row in 32 bits.
  const int64_t largest = std::max({H * grid, W * grid, B * C * grid, W * C * element});
  require(largest < (int64_t{1} << 31), "jigsaw: images are too large for the CUDA kernel: ", largest, " of 2^31 - 1");
  jigsaw_launch(images.const_data_ptr(), out.mutable_data_ptr(), permutation.const_data_ptr<int64_t>(), B,
                planar ? C : 1, H, W, planar ? element : C * element, grid, current_stream(images));
  return out;
}

}  // namespace
}  // namespace dssl::jigsaw

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CUDA, m) { m.impl("jigsaw", dssl::boxed<&dssl::jigsaw::jigsaw_cuda>); }
