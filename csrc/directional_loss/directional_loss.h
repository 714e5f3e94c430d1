// Directional loss: sum_e w_e * -cos(p_i, t_j) over the edges e = (i, j) of a view graph (paper, Eq. 4 and 5).
// Every formula of the room, gradients included; includes nothing of torch, so that each device calls the same.
#pragma once

#include <cmath>

#include "../common/host_device.h"

namespace dssl::directional_loss {

// 1 / |x|, and 0 for a zero row: its cosine and its gradient are then 0 and never NaN.
DSSL_HD double inverse_norm(double sum_of_squares) {
  return sum_of_squares == 0 ? 0.0 : 1.0 / std::sqrt(sum_of_squares);
}

// Squares of float32 leave float32's normal range for |x| outside about 1e-17..1e17: such rows are summed again,
// scaled by their largest entry. NaN and Inf stay as they are.
DSSL_HD bool needs_rescaling(double sum_of_squares) { return !(sum_of_squares > 1e-30 && sum_of_squares < 1e30); }

// One edge: cosine, loss term and the two coefficients of its gradient
//   d(-w cos)/dp = target_scale * t + prediction_scale * p.
struct Edge {
  double weight, cosine, target_scale, prediction_scale;

  DSSL_HD Edge(double w, double dot, double inverse_p, double inverse_t)
      : weight(w),
        cosine(dot * inverse_p * inverse_t),
        target_scale(-w * inverse_p * inverse_t),
        prediction_scale(w * cosine * inverse_p * inverse_p) {}

  DSSL_HD double loss() const { return -weight * cosine; }
};

}  // namespace dssl::directional_loss
