// NT-Xent (SimCLR, Eq. 1) and InfoNCE (MoCo, Eq. 1): cross entropy of each row's positive against its negatives.
// With s the cosine over the temperature, and the negatives' log-sum-exp n apart from the positive's logit s+,
//   loss = log(exp(s+) + exp(n)) - s+ = log(1 + exp(n - s+)):
// nothing cancels when the positive wins. Decoupled (DCL, Yeh et al. 2022, Eq. 6) leaves s+ out of the denominator.
// Every formula of the room, gradients included; includes nothing of torch.
#pragma once

#include <cmath>

#include "../common/host_device.h"

namespace dssl::nt_xent {

constexpr double kLog2E = 1.4426950408889634;

// log(exp(a) + exp(b)); -inf is the empty sum.
DSSL_HD double log_add(double a, double b) {
  const double high = a > b ? a : b, low = a > b ? b : a;
  return high == low ? high + 0.6931471805599453 : high + std::log1p(std::exp(low - high));
}

struct Row {
  double positive, negatives;  // s+ and n
  bool decoupled;

  DSSL_HD double loss() const { return decoupled ? negatives - positive : log_add(negatives - positive, 0.0); }
  DSSL_HD double log_denominator() const { return decoupled ? negatives : log_add(negatives, positive); }
  // d loss / d s+ = p+ - 1, where p+ is the positive's share of the denominator: none of it when decoupled.
  DSSL_HD double positive_slope() const { return decoupled ? -1.0 : -1.0 / (1.0 + std::exp(positive - negatives)); }
};

// A sum of 2^x kept as sum * 2^maximum.
struct PowerSum {
  double maximum = -1e29, sum = 0;  // -1e29: finite, so that no difference is NaN, and below every logit

  DSSL_HD void add(double other_maximum, double other_sum) {
    if (other_maximum > maximum) {
      sum = sum * std::exp2(maximum - other_maximum) + other_sum;
      maximum = other_maximum;
    } else {
      sum += other_maximum == maximum ? other_sum : other_sum * std::exp2(other_maximum - maximum);
    }
  }
  DSSL_HD double log() const { return (maximum + std::log2(sum)) / kLog2E; }
};

// Back through u = x / |x|: the part of the gradient along the row vanishes. `inverse` = 1 / |x|, 0 for a zero row.
DSSL_HD double through_normalisation(double gradient, double along, double unit, double inverse) {
  return (gradient - along * unit) * inverse;
}

}  // namespace dssl::nt_xent
