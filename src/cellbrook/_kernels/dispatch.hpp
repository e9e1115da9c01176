// Which vector instructions this processor has, asked once. Kernels that profit have one body, compiled for each level;
// every level gives the same bits.
#pragma once

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define CELLBROOK_X86_LEVELS 1
#define CELLBROOK_AVX2 __attribute__((target("avx2,fma")))
#define CELLBROOK_AVX512 __attribute__((target("avx512f,avx512vl,avx512dq,avx2,fma")))
#endif

#if defined(__GNUC__) || defined(__clang__)
#define CELLBROOK_INLINE inline __attribute__((always_inline))
#else
#define CELLBROOK_INLINE inline
#endif

namespace cellbrook {

enum class Level { baseline = 0, avx2 = 1, avx512 = 2 };

// The best level of this processor, or a lower one that a test has asked for.
Level vector_level();

}  // namespace cellbrook
