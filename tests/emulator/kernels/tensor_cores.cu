// Products of matrices through every function of common/mma.cuh, one warp each.
#include "common/launch.cuh"
#include "common/mma.cuh"

namespace {

using namespace dssl;

// c (16 x 8) += a (16 x 16) b (16 x 8), b given by columns or, when transposed, by rows.
template <class T>
__global__ void multiply(const T* a, const T* b, float* c, bool transposed) {
  __shared__ __align__(16) T tile_a[16 * 16];
  __shared__ __align__(16) T tile_b[16 * 16];
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  copy_async(tile_a + lane * 8, a + lane * 8);
  copy_async(tile_b + lane * 8, b + lane % 16 * 8, lane < 16);
  commit_copies();
  wait_for_copies<0>();
  __syncwarp();
  uint32_t ra[4], rb[4];
  load_matrices(ra, tile_a + lane % 16 * 16 + lane / 16 * 8);
  if (transposed)  // b is 16 x 8: rows of k
    load_matrices_transposed(rb, tile_b + lane * 8);
  else  // b is 8 x 16: columns of B; its two halves, and zeros
    load_matrices(rb, tile_b + (lane < 16 ? lane % 8 * 16 + lane / 8 * 8 : lane * 8));
  float sums[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t], c[(g + 8) * 8 + 2 * t + 1]};
  mma_16x8x16<T>(sums, ra, {rb[0], rb[1]});
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

__global__ void multiply_tf32(const float* a, const float* b, float* c) {  // a: 16 x 8, b: 8 x 8
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const uint32_t ra[4] = {to_tf32(a[g * 8 + t]), to_tf32(a[(g + 8) * 8 + t]), to_tf32(a[g * 8 + t + 4]),
                          to_tf32(a[(g + 8) * 8 + t + 4])};
  float sums[4] = {};
  mma_16x8x8_tf32(sums, ra, {to_tf32(b[t * 8 + g]), to_tf32(b[(t + 4) * 8 + g])});
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

// Registers of the lanes, one lane after the other, as memory has them.
template <class T>
__global__ void multiply_registers(const uint32_t* a, const uint32_t* b, float* c) {
  uint32_t ra[4], rb[2];
  float sums[4];
  for (int i = 0; i < 4; ++i) ra[i] = a[4 * threadIdx.x + i], sums[i] = c[4 * threadIdx.x + i];
  for (int i = 0; i < 2; ++i) rb[i] = b[2 * threadIdx.x + i];
  if constexpr (std::is_same_v<T, float>)
    mma_16x8x8_tf32(sums, ra, rb);
  else
    mma_16x8x16<T>(sums, ra, rb);
  for (int i = 0; i < 4; ++i) c[4 * threadIdx.x + i] = sums[i];
}

// Lane i gives the address of row rows[i] of 32 rows of 8 half values.
__global__ void load_registers(const uint4* from, const int* rows, uint32_t* plain, uint32_t* transposed) {
  __shared__ uint4 memory[32];
  memory[threadIdx.x] = from[threadIdx.x];
  __syncwarp();
  uint32_t r[4];
  load_matrices(r, memory + rows[threadIdx.x]);
  for (int i = 0; i < 4; ++i) plain[4 * threadIdx.x + i] = r[i];
  load_matrices_transposed(r, memory + rows[threadIdx.x]);
  for (int i = 0; i < 4; ++i) transposed[4 * threadIdx.x + i] = r[i];
}

}  // namespace

extern "C" void multiply_half(const void* a, const void* b, float* c, bool transposed, cudaStream_t stream) {
  launch(multiply<__half>, 1, 32, 0, stream, static_cast<const __half*>(a), static_cast<const __half*>(b), c,
         transposed);
}
extern "C" void multiply_bfloat16(const void* a, const void* b, float* c, bool transposed, cudaStream_t stream) {
  launch(multiply<__nv_bfloat16>, 1, 32, 0, stream, static_cast<const __nv_bfloat16*>(a),
         static_cast<const __nv_bfloat16*>(b), c, transposed);
}
extern "C" void multiply_floats(const float* a, const float* b, float* c, cudaStream_t stream) {
  launch(multiply_tf32, 1, 32, 0, stream, a, b, c);
}
extern "C" void multiply_registers_half(const uint32_t* a, const uint32_t* b, float* c, cudaStream_t stream) {
  launch(multiply_registers<__half>, 1, 32, 0, stream, a, b, c);
}
extern "C" void multiply_registers_bfloat16(const uint32_t* a, const uint32_t* b, float* c, cudaStream_t stream) {
  launch(multiply_registers<__nv_bfloat16>, 1, 32, 0, stream, a, b, c);
}
extern "C" void multiply_registers_tf32(const uint32_t* a, const uint32_t* b, float* c, cudaStream_t stream) {
  launch(multiply_registers<float>, 1, 32, 0, stream, a, b, c);
}
extern "C" void load(const void* from, const int* rows, uint32_t* plain, uint32_t* transposed, cudaStream_t stream) {
  launch(load_registers, 1, 32, 0, stream, static_cast<const uint4*>(from), rows, plain, transposed);
}
