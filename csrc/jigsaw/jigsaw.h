// JigSaw: an image cut into n x n tiles that change places. A copy; all the maths there is lies in the tiles' geometry.
#pragma once

#include "../common/tiles.h"

namespace dssl::jigsaw {

// Where row `y` of tile `to` begins in the result and where its source begins, in pixels of one plane.
struct RowCopy {
  int64_t to, from, count;
};

DSSL_HD RowCopy row_copy(const Tile& to, const Tile& from, int64_t y, int64_t image_width) {
  return {(to.top + y) * image_width + to.left, (from.top + y) * image_width + from.left, to.width};
}

}  // namespace dssl::jigsaw
