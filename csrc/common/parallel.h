// Loops over threads that survive a fork.
#pragma once

#include <pthread.h>

#include <cstdint>

#include "checks.h"

namespace dssl {

// OpenMP keeps its threads for the next loop, but a fork copies only the thread that calls it: the child would wait for
// the others for ever. It works alone instead. The bits are the same.
inline bool forked = false;
inline const int watching = pthread_atfork(nullptr, nullptr, [] { forked = true; });

// Calls f(first, last) for parts of begin..end, in several threads where there is more than `grain` to do.
template <class F>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const F& f) {
  if (!forked) return torch::stable::parallel_for(begin, end, grain, f);
  if (begin < end) f(begin, end);
}

}  // namespace dssl
