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

// Sums are doubles. Only squares of float64 can leave their range: such rows are summed again, scaled by their largest
// entry. A zero row and NaN come out of that as they went in.
DSSL_HD bool needs_rescaling(double sum_of_squares) { return !(sum_of_squares > 1e-200 && sum_of_squares < 1e200); }

// One edge: cosine, loss term and the two coefficients of its gradient
//   d(-w cos)/dp = of_target * t + of_prediction * p,
// p and t being the scaled rows p_scale * p and t_scale * t that the sums were made of.
struct Edge {
  double weight, cosine, of_target, of_prediction;

  DSSL_HD Edge(double w, double dot, double inverse_p, double inverse_t, double p_scale)
      : weight(w),
        cosine(dot * inverse_p * inverse_t),
        of_target(-w * inverse_p * inverse_t * p_scale),
        of_prediction(w * cosine * inverse_p * inverse_p * p_scale) {}

  DSSL_HD double loss() const { return -weight * cosine; }
};

}  // namespace dssl::directional_loss
