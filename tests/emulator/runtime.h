// Shared by the two halves of the runtime: runtime.cpp (threads and waiting) and memory.cpp (who touched what).
#pragma once

#include "include/cuda_runtime.h"

namespace emulator {

constexpr unsigned kMaxThreads = 1024;  // in a block

enum class State { ready, in_barrier, in_warp, ended };

struct Thread {
  uint3 index;
  unsigned number;
  State state;
  Site site;  // where it waits
  const char* waits_in;
  unsigned mask;  // of the warp operation it waits in, with what it brought
  const void* in;
  void* out;
  const void* function;
  Resolve resolve;
  bool predicate;
  int count;  // result of its last barrier
};

extern Thread* current;  // null outside a kernel
extern unsigned phase;   // grows with every barrier and every block: accesses of one phase are not ordered
extern unsigned first_phase_of_launch, first_phase_of_block;
extern unsigned warp_clock[32];  // operations that each warp has done in this phase

// Ends the launch with this text.
[[noreturn]] void abandon(const char* text);
void keep_error(const char* text);  // the first one counts
const char* described(const Thread& thread, char* text, size_t size);

// fibers.cpp
void go_to_fiber(unsigned number);  // returns when it gives way
void go_to_host();
void forget_fibers();  // those in the middle of a kernel never go on
void run_thread();     // what a fiber runs, from runtime.cpp

// memory.cpp
void begin_launch(const void* kernel, size_t shared_bytes);
void begin_block();
void pass_barrier(unsigned threads);
// Where an access stands: the address behind the instrumentation's call, or what the atomic was handed, since that is a
// function of its own, which the kernel's line is not in.
struct Place {
  const void* code = nullptr;
  Site site = {};
  Place(const void* code) : code(code) {}
  Place(Site site) : site(site) {}
};
// An access of the current thread, if any.
void access(const void* pointer, size_t bytes, bool write, bool atomic, Place place);
bool on_a_fiber_stack(uintptr_t address);

}  // namespace emulator
