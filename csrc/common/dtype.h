// The types that losses take, as the two halves of the CUDA side name them to each other.
#pragma once

namespace dssl {

enum Dtype : int { kFloat32, kFloat64, kBFloat16, kFloat16 };

}  // namespace dssl
