// A stand-in for torch's stable ABI, enough for csrc/*/*_cpu.cpp: the kernels then compile without libtorch, every byte
// of them instrumented, and every tensor is an allocation of exactly its size. Threads are std::thread's, which a
// sanitizer of races understands; libgomp's barriers it does not.
#pragma once

#include <torch/headeronly/core/DeviceType.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace torch::stable {

using torch::headeronly::ScalarType;

struct Device {
  torch::headeronly::DeviceType type() const { return torch::headeronly::DeviceType::CPU; }
};

class Tensor {
 public:
  Tensor(std::vector<int64_t> sizes, ScalarType dtype, bool channels_last = false) : sizes_(sizes), dtype_(dtype) {
    std::vector<size_t> order(sizes.size());  // from the outermost dimension in memory to the innermost
    std::iota(order.begin(), order.end(), 0);
    if (channels_last) std::rotate(order.end() - 3, order.end() - 2, order.end());
    strides_.resize(sizes.size());
    int64_t dense = 1;
    for (auto dim = order.rbegin(); dim != order.rend(); ++dim)
      strides_[*dim] = dense, dense *= std::max<int64_t>(1, sizes[*dim]);
    data_.reset(static_cast<char*>(std::malloc(numel() * element_size())), std::free);
  }

  Device device() const { return {}; }
  int32_t get_device() const { return -1; }
  ScalarType scalar_type() const { return dtype_; }
  int64_t dim() const { return static_cast<int64_t>(sizes_.size()); }
  int64_t size(int64_t dim) const { return sizes_.at(dim); }
  int64_t stride(int64_t dim) const { return strides_.at(dim); }
  int64_t numel() const { return std::accumulate(sizes_.begin(), sizes_.end(), int64_t{1}, std::multiplies<>()); }
  const std::vector<int64_t>& sizes() const { return sizes_; }
  size_t element_size() const {
    switch (dtype_) {
      case ScalarType::Byte: return 1;
      case ScalarType::Half:
      case ScalarType::BFloat16: return 2;
      case ScalarType::Int:
      case ScalarType::Float: return 4;
      default: return 8;
    }
  }
  bool is_contiguous() const {
    int64_t dense = 1;
    for (int64_t d = dim() - 1; d >= 0; dense *= sizes_[d--])
      if (sizes_[d] != 1 && strides_[d] != dense) return numel() == 0;
    return true;
  }
  void* mutable_data_ptr() const { return numel() ? data_.get() : nullptr; }
  const void* const_data_ptr() const { return mutable_data_ptr(); }
  template <class T>
  T* mutable_data_ptr() const {
    return static_cast<T*>(mutable_data_ptr());
  }
  template <class T>
  const T* const_data_ptr() const {
    return static_cast<const T*>(mutable_data_ptr());
  }

 private:
  std::vector<int64_t> sizes_, strides_;
  ScalarType dtype_;
  std::shared_ptr<char> data_;
};

inline Tensor empty(const std::vector<int64_t>& sizes, ScalarType dtype) { return {sizes, dtype}; }

inline Tensor empty_like(const Tensor& like) {
  return {like.sizes(), like.scalar_type(), like.dim() >= 3 && !like.is_contiguous()};
}

inline uint32_t threads = 1;
inline uint32_t get_num_threads() { return threads; }

// As at::parallel_for: ranges of at least `grain`, one for each thread; what one throws, the caller gets.
template <class F>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const F& f) {
  static thread_local bool inside = false;
  const int64_t count = std::min<int64_t>(threads, (end - begin + grain - 1) / std::max<int64_t>(1, grain));
  if (count <= 1 || inside) {
    if (begin < end) f(begin, end);
    return;
  }
  const int64_t share = (end - begin + count - 1) / count;
  std::mutex guard;
  std::exception_ptr thrown;
  std::vector<std::thread> pool;
  for (int64_t first = begin; first < end; first += share)
    pool.emplace_back([&, first] {
      inside = true;
      try {
        f(first, std::min(end, first + share));
      } catch (...) {
        const std::lock_guard lock(guard);
        thrown = std::current_exception();
      }
    });
  for (std::thread& thread : pool) thread.join();
  if (thrown) std::rethrow_exception(thrown);
}

namespace detail {
template <class T>
T to(uint64_t) {
  std::abort();  // there is no dispatcher: the drivers call the functions themselves
}
template <class T>
uint64_t from(const T&) {
  std::abort();
}
}  // namespace detail

struct Registry {
  void def(const char*) {}
  void impl(const char*, void (*)(uint64_t*, uint64_t, uint64_t)) {}
};

}  // namespace torch::stable

using StableIValue = uint64_t;
#define STANDALONE_JOIN(a, b) a##b
#define STANDALONE_NAME(number) STANDALONE_JOIN(registered_, number)
#define STABLE_TORCH_LIBRARY_FRAGMENT(library, m) \
  [[maybe_unused]] static void STANDALONE_NAME(__COUNTER__)(torch::stable::Registry & m)
#define STABLE_TORCH_LIBRARY_IMPL(library, key, m) \
  [[maybe_unused]] static void STANDALONE_NAME(__COUNTER__)(torch::stable::Registry & m)
