// Who touched what: bounds, first writes, races. A wrong access ends the launch.
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <vector>

#include "runtime.h"

#ifdef EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
// Only atomics and copies come through here: races among those count, but what has no write may have been written.
constexpr bool kSeesEveryStore = false;
#else
constexpr bool kSeesEveryStore = true;
#endif

extern "C" void* __tls_get_addr(size_t*);

namespace emulator {
namespace {

// The last access of one kind to a byte. Cells of earlier launches are out of date by their phase.
struct Access {
  unsigned phase;
  unsigned warp_clock : 19, thread : 10, atomic : 1;
  unsigned shared_by_warps : 1,
      shared_by_lanes : 1;  // a read that others made too: since the last operation of the warp
};
constexpr unsigned kClock = (1 << 19) - 1;

struct Cell {
  Access write, read;
};

struct Region {
  uintptr_t begin, bytes;
  Cell* cells;  // null: not watched
  bool shared;
  bool holds(uintptr_t address) const { return address - begin < bytes; }
};

struct Copy {
  void* to;
  const void* from;
  size_t bytes, filled;
  const void* place;
};

constexpr size_t kLargestShared = 256 << 10;
constexpr unsigned char kPoison = 0xff;  // NaN in every floating-point type, -1 in every integer

std::vector<Region> buffers;                          // what Python passed
std::vector<std::pair<uintptr_t, uintptr_t>> images;  // what is loaded: constants, and the stack of the host
Region dynamic, fixed;                                // dynamic and static shared memory
std::vector<std::vector<std::vector<Copy>>> copies;   // by thread, groups of cp.async
std::vector<unsigned> block_phases;                   // first phase of each block of this launch, in the order they ran
std::map<uintptr_t, std::vector<bool>> released;      // what blocks have released through an atomic's address
std::vector<bool> acquired, fenced;                   // blocks that this block knows of; threads of it behind a fence

Cell* new_cells(size_t bytes) {
  void* memory =
      mmap(nullptr, bytes * sizeof(Cell), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return static_cast<Cell*>(memory);
}

// An address in the code becomes "@module+offset: "; Python asks addr2line which line that is.
int print(Place place, char* text, size_t size) {
  if (!place.code) return std::snprintf(text, size, "%s:%u: ", place.site.file_name(), unsigned(place.site.line()));
  Dl_info info = {};
  dladdr(place.code, &info);
  const size_t offset = static_cast<const char*>(place.code) - static_cast<const char*>(info.dli_fbase) - 1;
  return std::snprintf(text, size, "@%s+0x%zx: ", info.dli_fname, offset);
}

[[noreturn]] void fail_at(Place place, const char* format, uintptr_t address, size_t bytes, const char* more) {
  char text[700];
  int at = print(place, text, sizeof text);
  at += std::snprintf(text + at, sizeof text - at, format, bytes, reinterpret_cast<void*>(address), more);
  std::snprintf(text + at, sizeof text - at, " (block %u %u %u, thread %u)", blockIdx.x, blockIdx.y, blockIdx.z,
                current->number);
  abandon(text);
}

bool acquired_block_of(unsigned earlier) {
  const auto after = std::upper_bound(block_phases.begin(), block_phases.end(), earlier);
  const size_t block = after - block_phases.begin() - 1;
  return block < acquired.size() && acquired[block];
}

// Whether nothing orders the earlier access before the one that the current thread makes now.
bool races(const Access& earlier, bool atomic, bool shared) {
  if (earlier.phase < first_phase_of_launch || (earlier.atomic && atomic)) return false;
  if (earlier.phase < first_phase_of_block) return !shared && !acquired_block_of(earlier.phase);
  if (earlier.phase != phase) return false;
  if (earlier.shared_by_warps || earlier.thread / 32 != current->number / 32) return true;
  if (earlier.thread == current->number && !earlier.shared_by_lanes) return false;
  return earlier.warp_clock == (warp_clock[current->number / 32] & kClock);
}

void touch(const Region& region, uintptr_t address, size_t bytes, bool write, bool atomic, Place place) {
  const char* where = region.shared ? "shared memory" : "a buffer";
  const unsigned warp = current->number / 32;
  const Access now = {phase, warp_clock[warp] & kClock, current->number, atomic, false, false};
  Cell* cells = region.cells + (address - region.begin);
  for (size_t i = 0; i < bytes; ++i) {
    Cell& cell = cells[i];
    const bool fresh = region.shared && cell.write.phase < first_phase_of_block;
    if (kSeesEveryStore && fresh && (!write || atomic))
      fail_at(place, "reads %zu bytes at %p of %s that no thread has written", address, bytes, where);
    if (races(cell.write, atomic, region.shared))
      fail_at(place,
              write ? "race: writes %zu bytes at %p of %s that another thread wrote, nothing between"
                    : "race: reads %zu bytes at %p of %s that another thread wrote, nothing between",
              address, bytes, where);
    if (write) {
      if (races(cell.read, atomic, region.shared))
        fail_at(place, "race: writes %zu bytes at %p of %s that another thread read, nothing between", address, bytes,
                where);
      cell.write = now;
    } else {
      const Access before = cell.read;
      cell.read = now;
      if (before.phase != phase) continue;
      cell.read.shared_by_warps = before.shared_by_warps || before.thread / 32 != warp;
      cell.read.shared_by_lanes =
          before.warp_clock == now.warp_clock && (before.shared_by_lanes || before.thread != now.thread);
    }
  }
}

int note_image(dl_phdr_info* info, size_t, void* kernel) {
  bool holds_kernel = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    if (part.p_type != PT_LOAD) continue;
    images.push_back({begin, begin + part.p_memsz});
    holds_kernel |= reinterpret_cast<uintptr_t>(kernel) - begin < part.p_memsz;
  }
  for (int i = 0; holds_kernel && i < info->dlpi_phnum; ++i)
    if (info->dlpi_phdr[i].p_type == PT_TLS) {
      size_t module[2] = {info->dlpi_tls_modid, 0};
      fixed = {reinterpret_cast<uintptr_t>(__tls_get_addr(module)), info->dlpi_phdr[i].p_memsz, nullptr, true};
    }
  return 0;
}

void note_host_stack() {
  pthread_attr_t attributes;
  void* base;
  size_t size;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &base, &size);
  pthread_attr_destroy(&attributes);
  images.push_back({reinterpret_cast<uintptr_t>(base), reinterpret_cast<uintptr_t>(base) + size});
}

void copy_now(std::vector<Copy>& group) {
  for (const Copy& copy : group) {
    access(copy.to, copy.bytes, true, false, copy.place);
    std::memcpy(copy.to, copy.from, copy.filled);
    std::memset(static_cast<char*>(copy.to) + copy.filled, 0, copy.bytes - copy.filled);
  }
  group.clear();
}

}  // namespace

void access(const void* pointer, size_t bytes, bool write, bool atomic, Place place) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
  if (!current || on_a_fiber_stack(address)) return;
  for (const Region* region : {&fixed, &dynamic})
    if (region->holds(address)) {
      if (!region->holds(address + bytes - 1))
        fail_at(place, "%zu bytes at %p reach beyond %s", address, bytes, "shared memory");
      return touch(*region, address, bytes, write, atomic, place);
    }
  for (const Region& region : buffers)
    if (region.holds(address)) {
      if (!region.holds(address + bytes - 1))
        fail_at(place, "%zu bytes at %p reach beyond %s", address, bytes, "a buffer");
      return touch(region, address, bytes, write, atomic, place);
    }
  for (const auto& [begin, end] : images)
    if (address >= begin && address < end) return;
  fail_at(place,
          write ? "out of bounds: writes %zu bytes at %p, in no buffer"
                : "out of bounds: reads %zu bytes at %p, in no buffer%s",
          address, bytes, "");
}

void begin_launch(const void* kernel, size_t shared_bytes) {
  static Cell* const dynamic_cells = new_cells(kLargestShared);
  static Cell* const fixed_cells = new_cells(kLargestShared);
  static char* const memory =
      static_cast<char*>(mmap(nullptr, kLargestShared, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
#ifdef EMULATOR_ASAN
  __asan_unpoison_memory_region(memory, kLargestShared);
  __asan_poison_memory_region(memory + shared_bytes, kLargestShared - shared_bytes);
#endif
  dynamic = {reinterpret_cast<uintptr_t>(memory), shared_bytes, dynamic_cells, true};
  fixed = {};
  images.clear();
  dl_iterate_phdr(note_image, const_cast<void*>(kernel));
  note_host_stack();
  fixed.cells = fixed_cells;
  block_phases.clear();
  released.clear();
}

void begin_block() {
  std::memset(reinterpret_cast<void*>(dynamic.begin), kPoison, dynamic.bytes);
  std::memset(reinterpret_cast<void*>(fixed.begin), kPoison, fixed.bytes);
  block_phases.push_back(first_phase_of_block);
  acquired.assign(block_phases.size(), false);
  fenced.assign(1024, false);
  copies.assign(1024, {});
}

// After a barrier behind which every thread stood behind a fence, each may hand on for all.
void pass_barrier(unsigned threads) {
  if (std::count(fenced.begin(), fenced.begin() + threads, true) == threads)
    std::fill(fenced.begin(), fenced.end(), true);
}

void release() { fenced[current->number] = true; }

// An atomic behind a fence hands on what its block has done; every atomic takes what was handed on.
void touch_atomic(const void* address, size_t bytes, Site site) {
  if (!current) return;
  access(address, bytes, true, true, site);
  std::vector<bool>& handed = released[reinterpret_cast<uintptr_t>(address)];
  handed.resize(acquired.size());
  for (size_t i = 0; i < acquired.size(); ++i)
    if (handed[i]) acquired[i] = true;
  if (fenced[current->number]) {
    handed = acquired;
    handed.back() = true;
  }
}

void* dynamic_shared() { return reinterpret_cast<void*>(dynamic.begin); }

namespace {

// Whether no thread of the block has written this byte of shared memory.
bool fresh(uintptr_t address) {
  for (const Region* region : {&fixed, &dynamic})
    if (region->holds(address)) return region->cells[address - region->begin].write.phase < first_phase_of_block;
  return false;
}

}  // namespace

// The first copy to a place counts as a write when it is waited for: who reads before that reads nothing written.
void copy_later(void* to, const void* from, size_t bytes, size_t filled) {
  const void* place = __builtin_return_address(0);
  if (filled) access(from, filled, false, false, place);
  if (!fresh(reinterpret_cast<uintptr_t>(to))) access(to, bytes, true, false, place);
  auto& groups = copies[current->number];
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({to, from, bytes, filled, place});
}

void commit_copies() {
  auto& groups = copies[current->number];
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

void wait_for_copies(int groups_left) {
  auto& groups = copies[current->number];
  const int committed = static_cast<int>(groups.size()) - 1;
  for (int i = 0; i < committed - groups_left; ++i) copy_now(groups[i]);
}

}  // namespace emulator

// For Python: what a launch may touch beside shared memory.

extern "C" void emulator_buffer(const void* begin, size_t bytes) {
  emulator::buffers.push_back({reinterpret_cast<uintptr_t>(begin), bytes, emulator::new_cells(bytes), false});
}

extern "C" void emulator_forget_buffers() {
  for (const auto& buffer : emulator::buffers) munmap(buffer.cells, buffer.bytes * sizeof(emulator::Cell));
  emulator::buffers.clear();
}
