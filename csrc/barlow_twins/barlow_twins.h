// Barlow Twins (Zbontar et al. 2021, Eq. 1 and 2): with both views standardised over the batch, a and b (N, D), and
// C = a^T b / N,  loss = scale * (sum_i (C_ii - 1)^2 + lambd * sum_{i != j} C_ij^2).
// C is D x D. Where N < D the off-diagonal sum needs no C: sum_ij C_ij^2 = <a a^T, b b^T> / N^2, and its gradient is
// 2 / N^2 (b b^T) a: products of N x N matrices, D / N times cheaper. The rank of C is then below N, so that
// sum_ij C_ij^2 >= (sum_i C_ii)^2 / N, and taking the diagonal away again from a larger sum costs few digits.
#pragma once

#include <cmath>
#include <cstdint>

#include "../common/host_device.h"

namespace dssl::barlow_twins {

struct Loss {
  double lambd, scale;

  DSSL_HD double diagonal(double c) const { return scale * (c - 1) * (c - 1); }
  DSSL_HD double off_diagonal(double sum_of_squares) const { return scale * lambd * sum_of_squares; }
  DSSL_HD double diagonal_slope(double c) const { return scale * 2 * (c - 1); }
  DSSL_HD double off_diagonal_slope(double c) const { return scale * lambd * 2 * c; }
};

// Whether the N x N products serve. Up to 2 N the diagonal is too large a part of the sum of squares.
DSSL_HD bool through_rows(int64_t rows, int64_t width) { return width >= 2 * rows; }

// Back through x^ = (x - mean) / std: the parts of the gradient along the constant and along x^ vanish.
DSSL_HD double through_standardisation(double gradient, double mean, double along, double standard, double inverse) {
  return (gradient - mean - standard * along) * inverse;
}

}  // namespace dssl::barlow_twins
