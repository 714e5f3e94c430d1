// What keeps a daemon thread from aborting the process when the interpreter ends while it is in a kernel.
#pragma once

#include <pthread.h>
#include <unistd.h>

#include <atomic>

namespace dssl {

inline std::atomic<bool> ending = false;
inline pthread_t ender;

// The thread that calls this is about to end the interpreter.
inline void begin_to_end() {
  ender = pthread_self();
  ending = true;
}

// Every kernel ends with this. Its thread would ask for the interpreter's lock next; an ended interpreter (before
// Python 3.14) ends the thread instead, by unwinding it through torch's noexcept functions: std::terminate. So it stays
// here; the end of the process takes it along.
inline void stay_if_ending() {
  if (ending.load(std::memory_order_relaxed) && !pthread_equal(pthread_self(), ender))
    for (;;) pause();
}

}  // namespace dssl
