// One source for both compilers: functions marked DSSL_HD run on the CPU and, under nvcc, on the GPU.
#pragma once

#ifdef __CUDACC__
#define DSSL_HD __host__ __device__ inline
#else
#define DSSL_HD inline
#endif
