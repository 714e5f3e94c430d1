// Copies rows of tiles as bytes, whatever the dtype; a channels_last image is one plane of wide pixels.
#include "jigsaw.h"

#include <algorithm>
#include <memory>

#include "../common/checks.h"
#include "../common/pages.h"
#include "../common/parallel.h"
#include "../common/tile_mover.h"

namespace dssl::jigsaw {
namespace {

struct Layout {
  int64_t planes, height, width, pixel;  // pixel in bytes
};

Layout layout_of(const Tensor& images) {
  const int64_t C = images.size(1), H = images.size(2), W = images.size(3);
  const int64_t element = static_cast<int64_t>(images.element_size());
  if (images.is_contiguous()) return {C, H, W, element};
  require(is_channels_last(images), "jigsaw: images must be contiguous or channels_last");
  return {1, H, W, C * element};
}

void check_permutations(const Tensor& permutation, const Layout& layout, int64_t grid) {
  const int64_t tiles = grid * grid;
  const int64_t* source = permutation.const_data_ptr<int64_t>();
  const auto seen = std::make_unique<bool[]>(tiles);
  for (int64_t b = 0; b < permutation.size(0); ++b) {
    std::fill_n(seen.get(), tiles, false);
    require(is_tile_permutation(layout.height, layout.width, grid, source + b * tiles, seen.get()), "jigsaw: row ", b,
            " of permutation must name each of the ", tiles,
            " tiles once, each in the place of a tile of its own size");
  }
}

Tensor jigsaw_cpu(Tensor images, int64_t grid, Tensor permutation) {
  check_cpu(images, "jigsaw", "images");
  require(images.dim() == 4, "jigsaw: images must be (B, C, H, W)");
  check_dense(permutation, "jigsaw", "permutation", ScalarType::Long, 2);
  const Layout layout = layout_of(images);
  require(grid >= 1 && grid <= std::min(layout.height, layout.width), "jigsaw: grid must be in 1..",
          std::min(layout.height, layout.width), "; got ", grid);
  require(permutation.size(0) == images.size(0) && permutation.size(1) == grid * grid,
          "jigsaw: permutation must be (B, grid * grid)");
  check_permutations(permutation, layout, grid);
  Tensor out = torch::stable::empty_like(images);
  const int64_t bytes = layout.planes * layout.height * layout.width * layout.pixel;
  prefer_huge_pages(out.mutable_data_ptr(), images.size(0) * bytes);
  const char* from = static_cast<const char*>(images.const_data_ptr());
  char* to = static_cast<char*>(out.mutable_data_ptr());
  const int64_t* source = permutation.const_data_ptr<int64_t>();
  const TileMover mover(layout.height, layout.width, grid, layout.pixel);
  parallel_for(0, images.size(0), std::max<int64_t>(1, (1 << 20) / std::max<int64_t>(1, bytes)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t b = begin; b < end; ++b)
                   mover.permute(source + b * grid * grid, from + b * bytes, to + b * bytes, layout.planes);
               });
  return out;
}

}  // namespace
}  // namespace dssl::jigsaw

STABLE_TORCH_LIBRARY_FRAGMENT(dssl_ops, m) { m.def("jigsaw(Tensor images, int grid, Tensor permutation) -> Tensor"); }

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CPU, m) { m.impl("jigsaw", dssl::boxed<&dssl::jigsaw::jigsaw_cpu>); }
