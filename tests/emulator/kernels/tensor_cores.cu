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
