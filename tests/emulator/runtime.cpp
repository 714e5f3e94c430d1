// Runs a grid: blocks one after the other, the threads of a block as fibers on one CPU thread, in a chosen order.
#include "runtime.h"

#include <algorithm>
#include <cstdarg>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulator {

Thread* current = nullptr;
unsigned phase = 0, first_phase_of_launch = 0, first_phase_of_block = 0;
unsigned warp_clock[32];

namespace {

Thread threads[kMaxThreads];
unsigned count, ended, waiting;  // threads of the block, those that have ended, those in the barrier
Body body;
const void* context;
std::string error;
std::map<const void*, size_t> allowed;
int order = 0, limit = 227 << 10;
std::mt19937 random_order;

// Completes the operation that waits with this mask, if every lane of it that has not ended is there.
void settle_warp(unsigned first, unsigned mask) {
  const void* inputs[32] = {};
  const Thread* some = nullptr;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1) || first + lane >= count) continue;
    const Thread& thread = threads[first + lane];
    if (thread.state == State::ended) continue;
    if (thread.state != State::in_warp || thread.mask != mask) return;
    if (!some) some = &thread;
    if (thread.waits_in != some->waits_in || thread.site.line() != some->site.line())
      fail(thread.site, "lanes of one mask diverge: thread %u is in %s here, thread %u in %s of line %u", thread.number,
           thread.waits_in, some->number, some->waits_in, unsigned(some->site.line()));
    inputs[lane] = thread.in;
  }
  for (unsigned lane = 0; lane < 32; ++lane)
    if (inputs[lane]) {
      Thread& thread = threads[first + lane];
      thread.resolve(thread.function, thread.out, lane, mask, inputs);
      thread.state = State::ready;
    }
  ++warp_clock[first / 32];
}

[[noreturn]] void report_deadlock() {
  const auto thread = std::find_if(threads, threads + count, [](auto& t) { return t.state == State::in_warp; });
  for (unsigned i = thread->number & ~31u; i < count; ++i)
    if (thread->mask >> (i & 31) & 1 && (threads[i].state != State::in_warp || threads[i].mask != thread->mask)) {
      char where[300];
      fail(thread->site, "%s of thread %u (mask 0x%08x) waits for thread %u, which waits in %s", thread->waits_in,
           thread->number, thread->mask, i, described(threads[i], where, sizeof where));
    }
  abandon("no thread can go on");
}

void run_block() {
  std::vector<unsigned> turn(count);
  std::iota(turn.begin(), turn.end(), 0);
  if (order == 1) std::reverse(turn.begin(), turn.end());
  for (unsigned i = 0; i < count; ++i) {
    threads[i] = {};
    threads[i].number = i;
    threads[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
  }
  ended = waiting = 0;
  while (ended < count) {
    if (order == 2) std::shuffle(turn.begin(), turn.end(), random_order);
    bool any = false;
    for (unsigned i : turn)
      if (threads[i].state == State::ready) {
        any = true;
        current = &threads[i];
        threadIdx = current->index;
        go_to_fiber(i);
        current = nullptr;
        if (!error.empty()) return;
      }
    if (!any) report_deadlock();
  }
}

void check_limits(const void* kernel, const dim3& grid, const dim3& block, size_t shared_bytes, Site site) {
  if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    fail(site, "a grid of (%u, %u, %u) is beyond CUDA's limits", grid.x, grid.y, grid.z);
  const uint64_t size = uint64_t{block.x} * block.y * block.z;
  if (!size || size > kMaxThreads || block.z > 64)
    fail(site, "a block of (%u, %u, %u) threads is beyond CUDA's limits", block.x, block.y, block.z);
  const size_t most = std::max<size_t>(48 << 10, allowed[kernel]);
  if (shared_bytes > most) fail(site, "%zu bytes of dynamic shared memory; %zu are allowed", shared_bytes, most);
}

void run_grid(const dim3& grid, const dim3& block) {
  gridDim = grid;
  blockDim = block;
  count = block.x * block.y * block.z;
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  std::vector<uint64_t> turn(blocks);
  std::iota(turn.begin(), turn.end(), 0);
  if (order == 1) std::reverse(turn.begin(), turn.end());
  if (order == 2) std::shuffle(turn.begin(), turn.end(), random_order);
  for (uint64_t i : turn) {
    blockIdx = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
    first_phase_of_block = ++phase;
    std::fill_n(warp_clock, 32, 0);
    begin_block();
    run_block();
    if (!error.empty()) return;
  }
}

}  // namespace

void run_thread() {
  body(context);
  Thread& me = *current;
  me.state = State::ended;
  ++ended;
  for (unsigned i = 0; waiting && i < count; ++i)
    if (threads[i].state == State::in_barrier)
      fail(threads[i].site, "thread %u waits at this barrier; thread %u has ended without it", i, me.number);
  const unsigned first = me.number & ~31u;
  for (unsigned i = first; i < std::min(first + 32, count); ++i)
    if (threads[i].state == State::in_warp) settle_warp(first, threads[i].mask);
}

void keep_error(const char* text) {
  if (error.empty()) error = text;
}

// In a kernel its thread never goes on, nor do the others: their fibers are made anew.
void abandon(const char* text) {
  keep_error(text);
  forget_fibers();
  if (current) go_to_host();
  throw 0;
}

void fail(Site site, const char* format, ...) {
  char text[1000];
  int at = std::snprintf(text, sizeof text, "%s:%u: ", site.file_name(), unsigned(site.line()));
  va_list values;
  va_start(values, format);
  at += std::vsnprintf(text + at, sizeof text - at, format, values);
  va_end(values);
  if (current)
    std::snprintf(text + at, sizeof text - at, " (block %u %u %u, thread %u)", blockIdx.x, blockIdx.y, blockIdx.z,
                  current->number);
  abandon(text);
}

const char* described(const Thread& thread, char* text, size_t size) {
  if (thread.state == State::ended) return "nothing: it has ended";
  std::snprintf(text, size, "%s of %s:%u", thread.waits_in, thread.site.file_name(), unsigned(thread.site.line()));
  return text;
}

int barrier(bool predicate, Site site) {
  Thread& me = *current;
  if (ended) fail(site, "thread %u waits at this barrier; another thread has ended without it", me.number);
  for (unsigned i = 0; waiting && i < count; ++i)
    if (threads[i].state == State::in_barrier) {
      if (threads[i].site.line() == site.line() && threads[i].site.file_name() == site.file_name()) break;
      fail(site, "divergent barrier: thread %u waits here, thread %u at line %u", me.number, i,
           unsigned(threads[i].site.line()));
    }
  me.state = State::in_barrier;
  me.site = site;
  me.waits_in = "__syncthreads";
  me.predicate = predicate;
  if (++waiting == count) {
    const int holds = std::count_if(threads, threads + count, [](auto& thread) { return thread.predicate; });
    for (unsigned i = 0; i < count; ++i) threads[i].state = State::ready, threads[i].count = holds;
    waiting = 0;
    ++phase;
    std::fill_n(warp_clock, 32, 0);
    pass_barrier(count);
  }
  go_to_host();
  return me.count;
}

unsigned lane() { return current->number & 31; }

void warp(const char* name, unsigned mask, const void* in, void* out, const void* function, Resolve resolve,
          Site site) {
  Thread& me = *current;
  if (!(mask >> lane() & 1)) fail(site, "%s: mask 0x%08x lacks the calling lane %u", name, mask, lane());
  me.state = State::in_warp;
  me.site = site;
  me.waits_in = name;
  me.mask = mask;
  me.in = in;
  me.out = out;
  me.function = function;
  me.resolve = resolve;
  settle_warp(me.number & ~31u, mask);
  go_to_host();
}

void start(const void* kernel, const dim3& grid, const dim3& block, size_t shared_bytes, Body body_,
           const void* context_) try {
  if (!error.empty()) return;
  check_limits(kernel, grid, block, shared_bytes, Site::current());
  body = body_;
  context = context_;
  first_phase_of_launch = phase + 1;
  begin_launch(kernel, shared_bytes);
  run_grid(grid, block);
} catch (int) {  // the error is kept
  current = nullptr;
}

void allow_shared(const void* kernel, size_t bytes) { allowed[kernel] = std::min<size_t>(bytes, limit); }
int shared_limit() { return limit; }

}  // namespace emulator

// For Python

extern "C" void emulator_set(int order, unsigned seed, int shared_limit) {
  emulator::order = order;
  emulator::random_order.seed(seed);
  emulator::limit = shared_limit;
  emulator::error.clear();
}

extern "C" const char* emulator_error() { return emulator::error.c_str(); }
