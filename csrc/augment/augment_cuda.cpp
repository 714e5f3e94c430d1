// Checks, lowers the programs, sends them to the device and starts; see augment_cuda.cu.
#include "augment_cuda.h"

#include <cstring>

#include "../common/checks_cuda.h"
#include "batch.h"
#include "lower.h"

namespace dssl::augment {
namespace {

bool is_capturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  require(cudaStreamIsCapturing(stream, &status) == cudaSuccess, "augment: the current stream's state is unknown");
  return status != cudaStreamCaptureStatusNone;
}

void check_programs(const Batch& batch, const Programs& programs) {
  for (int64_t b = 0; b < batch.count(); ++b)
    if (first_fault(programs, b, batch.images[b].size, batch.view, batch.views) >= 0)
      report_fault(batch, b, programs, b);
}

// Where every image lies: bytes from the first one on, height, width, whether channels come last.
std::vector<int64_t> places(const Batch& batch) {
  std::vector<int64_t> rows;
  for (const Image& image : batch.images) {
    const int64_t origin = static_cast<int64_t>(reinterpret_cast<uintptr_t>(image.pixels) -
                                                reinterpret_cast<uintptr_t>(batch.images[0].pixels));
    rows.insert(rows.end(), {origin, image.size.height, image.size.width, image.channels_last});
  }
  return rows;
}

// What the host tells the device: lowered programs, then the normalisation table. It goes through page-locked memory,
// which torch keeps from further use until the stream is past the copy. A CUDA graph would copy from there at every
// replay, so it gets the message as arguments of kernels and keeps it.
struct Message {
  Tensor bytes;  // on the device
  int64_t arena, table;

  Message(const Batch& batch, const Programs& programs, const std::optional<Tensor>& entries, const Tensor& out,
          cudaStream_t stream) {
    const int64_t steps = programs.step_offsets[batch.count()], table_bytes = entries ? entries->numel() * 4 : 0;
    const int64_t most = batch.count() * static_cast<int64_t>(sizeof(Job)) +
                         (kMostLoweredWords * steps + programs.value_offsets[steps]) * 8 + 16 + table_bytes;
    const bool captured = is_capturing(stream);
    const torch::stable::Device host(torch::headeronly::DeviceType::CPU);
    Tensor staged = torch::stable::empty({most}, ScalarType::Byte, std::nullopt, host, /*pin_memory=*/!captured);
    uint8_t* memory = staged.mutable_data_ptr<uint8_t>();
    int64_t found[2];
    augment_lower(places(batch).data(), batch.count(), batch.channels, programs.opcodes, programs.step_offsets,
                  programs.values, programs.value_offsets, memory, found);
    arena = found[1], table = aligned(found[0]);
    if (entries) std::memcpy(memory + table, entries->const_data_ptr(), entries->numel() * entries->element_size());
    bytes = torch::stable::new_empty(out, {table + table_bytes}, ScalarType::Byte);
    if (captured)
      augment_store(memory, table + table_bytes, bytes.mutable_data_ptr(), stream);
    else
      torch::stable::copy_(bytes, torch::stable::narrow(staged, 0, 0, table + table_bytes), /*non_blocking=*/true);
  }
};

void augment_cuda(std::vector<Tensor> images, std::optional<Tensor> sizes, Tensor opcodes, Tensor step_offsets,
                  Tensor values, Tensor value_offsets, std::optional<Tensor> table, Tensor out) {
  check_cuda(out, "augment", "out");
  const Batch batch = make_batch(images, sizes, out);
  const Programs programs = make_programs(opcodes, step_offsets, values, value_offsets, batch.count());
  check_table(batch, table, out);
  check_programs(batch, programs);
  if (out.numel() == 0) return;
  const DeviceGuard guard(out.get_device());
  const cudaStream_t stream = current_stream(out);
  const Message message(batch, programs, table, out, stream);
  int64_t blocks = 0;
  augment_blocks(batch.count(), message.arena, &blocks);
  const Tensor workspace = torch::stable::new_empty(out, {blocks * message.arena}, ScalarType::Byte);
  const uint8_t* sent = message.bytes.const_data_ptr<uint8_t>();
  augment_launch(sent, batch.images[0].pixels, batch.count(), message.arena, table ? sent + message.table : nullptr,
                 out.mutable_data_ptr(), batch.channels, batch.view.height, batch.view.width,
                 static_cast<int64_t>(out.element_size()), batch.channels_last, workspace.mutable_data_ptr<uint8_t>(),
                 blocks, stream);
}

}  // namespace
}  // namespace dssl::augment

STABLE_TORCH_LIBRARY_IMPL(dssl_ops, CUDA, m) { m.impl("augment", dssl::boxed<&dssl::augment::augment_cuda>); }
