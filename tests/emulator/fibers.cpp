// The fibers that CUDA's threads run on: switching costs a few nanoseconds, and no system call.
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "runtime.h"

#ifdef EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {
namespace {

constexpr size_t kStack = 256 << 10;

struct Fiber {
  void* registers[5];
  bool started;
  void* fake_stack;  // AddressSanitizer's
};

Fiber fibers[kMaxThreads], host;

// Every stack ends in a page that must not be touched.
char* stacks() {
  static char* const memory = [] {
    void* all =
        mmap(nullptr, kMaxThreads * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (unsigned i = 0; i < kMaxThreads; ++i) mprotect(static_cast<char*>(all) + i * kStack, 4096, PROT_NONE);
    return static_cast<char*>(all);
  }();
  return memory;
}

char* stack_of(unsigned number) { return stacks() + number * kStack; }

// Saves where `from` is and goes on where `to` was: GCC's own small setjmp, because swapcontext asks the kernel.
__attribute__((noinline)) void jump(Fiber& to) { __builtin_longjmp(to.registers, 1); }
__attribute__((noinline)) void swap(Fiber& from, Fiber& to) {
  if (__builtin_setjmp(from.registers) == 0) jump(to);
}

void arrived([[maybe_unused]] Fiber& here) {
#ifdef EMULATOR_ASAN
  __sanitizer_finish_switch_fiber(here.fake_stack, nullptr, nullptr);
#endif
}

}  // namespace

void go_to_host() {
  Fiber& from = fibers[current->number];
#ifdef EMULATOR_ASAN
  static const void* bottom;
  static size_t size;
  if (!bottom) {
    pthread_attr_t attributes;
    void* base;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &base, &size);
    bottom = base;
  }
  __sanitizer_start_switch_fiber(&from.fake_stack, bottom, size);
#endif
  swap(from, host);
  arrived(from);
}

namespace {

void fiber_main() {
  arrived(fibers[current->number]);
  for (;;) {
    run_thread();
    go_to_host();  // and comes back as a thread of the next block
  }
}

void create(unsigned number) {
  Fiber& fiber = fibers[number];
  fiber = {};
  fiber.started = true;
  static ucontext_t here, there;
  getcontext(&there);
  there.uc_stack = {stack_of(number), 0, kStack};
  there.uc_link = nullptr;
  makecontext(&there, fiber_main, 0);
#ifdef EMULATOR_ASAN
  __asan_unpoison_memory_region(stack_of(number) + 4096, kStack - 4096);
#endif
  if (__builtin_setjmp(host.registers) == 0) swapcontext(&here, &there);
}

}  // namespace

void go_to_fiber(unsigned number) {
  Fiber& fiber = fibers[number];
#ifdef EMULATOR_ASAN
  __sanitizer_start_switch_fiber(&host.fake_stack, stack_of(number), kStack);
#endif
  if (fiber.started)
    swap(host, fiber);
  else
    create(number);
  arrived(host);
}

void forget_fibers() {
  for (Fiber& fiber : fibers) fiber.started = false;
}

bool on_a_fiber_stack(uintptr_t address) {
  return address - reinterpret_cast<uintptr_t>(stacks()) < kMaxThreads * kStack;
}

}  // namespace emulator
