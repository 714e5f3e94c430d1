// Which tile when. A tile touches the sums and gradients of one block of rows and one of columns: within a round no two
// tiles share a block, so each block is one thread's, and its sums run in the order of the rounds. The bits therefore
// depend on the sizes alone, not on the threads, and nothing is merged.
#pragma once

#include <algorithm>
#include <cstdint>

namespace dssl::nt_xent {

struct Blocks {
  int64_t size, side;

  int64_t count() const { return (size + side - 1) / side; }
  int64_t begin(int64_t block) const { return block * side; }
  int64_t end(int64_t block) const { return std::min(size, (block + 1) * side); }
};

// Every unordered pair of blocks once: a round-robin tournament (the circle method), after a round of the diagonal.
// parallel(n, f) calls f(i) for i < n in any order; visit(a, b) has a <= b.
template <class Parallel, class Visit>
void each_pair(int64_t blocks, const Parallel& parallel, const Visit& visit) {
  parallel(blocks, [&](int64_t block) { visit(block, block); });
  const int64_t ring = blocks + blocks % 2 - 1;  // with an odd count, whoever meets number `blocks` has a bye
  for (int64_t round = 0; round < ring; ++round)
    parallel((ring + 1) / 2, [&](int64_t match) {
      const int64_t a = match == 0 ? ring : (round + match) % ring, b = (round - match + ring) % ring;
      if (a < blocks && b < blocks) visit(std::min(a, b), std::max(a, b));
    });
}

// Every block of rows with every block of columns: in each round the columns move on by one.
template <class Parallel, class Visit>
void each_cell(int64_t rows, int64_t columns, const Parallel& parallel, const Visit& visit) {
  const int64_t ring = std::max(rows, columns);
  for (int64_t round = 0; round < ring; ++round)
    parallel(rows, [&](int64_t row) {
      const int64_t column = (row + round) % ring;
      if (column < columns) visit(row, column);
    });
}

}  // namespace dssl::nt_xent
