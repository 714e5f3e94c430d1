// What the stand-ins for CUDA's headers call. One CUDA thread is one fiber; all run on the calling CPU thread, and one
// gives way to the next only where it waits (a barrier, an operation of the warp) or ends. runtime.cpp holds the other
// side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>

#define EMULATOR_SITE std::source_location site = std::source_location::current()

struct dim3;

namespace emulator {

using Site = std::source_location;

// Ends the launch; Python raises EmulatorError with this text behind the place of `site`.
[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(Site site, const char* format, ...);

// Waits for every thread of the block. Gives the number of threads whose predicate holds.
int barrier(bool predicate, Site site);

void* dynamic_shared();
unsigned lane();

// An operation of a warp: waits until every lane of the mask has called it, then `resolve` makes each lane's result.
using Resolve = void (*)(const void* function, void* out, unsigned lane, unsigned mask, const void* const* inputs);
void warp(const char* name, unsigned mask, const void* in, void* out, const void* function, Resolve resolve, Site site);

// Accesses that the compiler's instrumentation does not see: an atomic one, and a copy that runs later.
void touch_atomic(const void* address, size_t bytes, Site site);

// cp.async: copies run when they are waited for, not before.
void copy_later(void* to, const void* from, size_t bytes, size_t filled);
void commit_copies();
void wait_for_copies(int groups_left);

using Body = void (*)(const void* context);
void start(const void* kernel, const dim3& grid, const dim3& block, size_t shared_bytes, Body body,
           const void* context);
void allow_shared(const void* kernel, size_t bytes);
int shared_limit();

// The inputs of a warp operation, by lane; reading that of a lane outside the mask is an error.
template <class In>
struct Lanes {
  const char* name;
  unsigned lane, mask;
  const void* const* inputs;
  Site site;
  const In& operator[](unsigned from) const {
    if (from >= 32 || !inputs[from])
      fail(site, "%s: lane %u reads from lane %u, which does not take part (mask 0x%08x)", name, lane, from, mask);
    return *static_cast<const In*>(inputs[from]);
  }
  bool has(unsigned from) const { return inputs[from] != nullptr; }
};

// Result of function(Lanes<In>) for the calling lane.
template <class Out, class In, class Function>
Out exchange(const char* name, unsigned mask, const In& in, const Function& function, Site site) {
  struct Call {
    const char* name;
    const Function& function;
    Site site;
  } const call = {name, function, site};
  Out out;
  warp(
      name, mask, &in, &out, &call,
      [](const void* from, void* to, unsigned lane, unsigned mask, const void* const* inputs) {
        const Call& call = *static_cast<const Call*>(from);
        *static_cast<Out*>(to) = call.function(Lanes<In>{call.name, lane, mask, inputs, call.site});
      },
      site);
  return out;
}

}  // namespace emulator
