// What the compiler's instrumentation calls: at every access of a kernel (-fsanitize=thread) and where it meets
// undefined behaviour (-fsanitize=undefined). The sanitizers' own libraries are not linked.
#include "runtime.h"

#define WATCH(name, bytes, write)                                                \
  extern "C" void __tsan_##name(const void* address) {                           \
    emulator::access(address, bytes, write, false, __builtin_return_address(0)); \
  }
WATCH(read1, 1, false)
WATCH(read2, 2, false)
WATCH(read4, 4, false)
WATCH(read8, 8, false)
WATCH(read16, 16, false)
WATCH(write1, 1, true)
WATCH(write2, 2, true)
WATCH(write4, 4, true)
WATCH(write8, 8, true)
WATCH(write16, 16, true)
WATCH(unaligned_read2, 2, false)
WATCH(unaligned_read4, 4, false)
WATCH(unaligned_read8, 8, false)
WATCH(unaligned_read16, 16, false)
WATCH(unaligned_write2, 2, true)
WATCH(unaligned_write4, 4, true)
WATCH(unaligned_write8, 8, true)
WATCH(unaligned_write16, 16, true)
WATCH(volatile_read4, 4, false)
WATCH(volatile_write4, 4, true)

extern "C" void __tsan_read_range(const void* address, size_t bytes) {
  emulator::access(address, bytes, false, false, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(const void* address, size_t bytes) {
  emulator::access(address, bytes, true, false, __builtin_return_address(0));
}
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(const void*) {}
extern "C" void __tsan_func_exit() {}

namespace {

struct Place {  // the compiler's own record; it stands first in what every handler is given
  const char* file;
  unsigned line, column;
};

void undefined(const Place* place, const char* what) {
  char text[500];
  std::snprintf(text, sizeof text, "%s:%u: %s (block %u %u %u, thread %d)", place->file, place->line, what, blockIdx.x,
                blockIdx.y, blockIdx.z, emulator::current ? int(emulator::current->number) : -1);
  if (emulator::current) emulator::abandon(text);
  emulator::keep_error(text);
}

}  // namespace

#define UNDEFINED(name, what) \
  extern "C" void __ubsan_handle_##name(const Place* place) { undefined(place, what); }
UNDEFINED(out_of_bounds, "index out of bounds of the array")
UNDEFINED(shift_out_of_bounds, "shift out of bounds")
UNDEFINED(add_overflow, "signed overflow in an addition")
UNDEFINED(sub_overflow, "signed overflow in a subtraction")
UNDEFINED(mul_overflow, "signed overflow in a product")
UNDEFINED(negate_overflow, "signed overflow in a negation")
UNDEFINED(divrem_overflow, "division by zero, or its result overflows")
UNDEFINED(pointer_overflow, "pointer overflow")
UNDEFINED(load_invalid_value, "a bool or enum of no valid value")
UNDEFINED(vla_bound_not_positive, "array of no positive size")
UNDEFINED(builtin_unreachable, "unreachable code reached")
UNDEFINED(missing_return, "no value returned")
UNDEFINED(nonnull_arg, "null where it is not allowed")
UNDEFINED(invalid_builtin, "invalid argument of a builtin")

extern "C" void __ubsan_handle_type_mismatch_v1(const Place* place, uintptr_t address) {
  struct Mismatch {
    Place place;
    const void* type;
    unsigned char log_alignment, kind;
  };
  const auto* data = reinterpret_cast<const Mismatch*>(place);
  char text[100];
  const unsigned alignment = 1u << data->log_alignment;
  if (address % alignment)
    std::snprintf(text, sizeof text, "misaligned access: %p is no multiple of %u", reinterpret_cast<void*>(address),
                  alignment);
  else
    std::snprintf(text, sizeof text, address ? "access beyond the object at %p" : "null pointer %p",
                  reinterpret_cast<void*>(address));
  undefined(place, text);
}
