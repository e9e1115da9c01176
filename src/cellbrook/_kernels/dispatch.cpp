#include "dispatch.hpp"

#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>

#if defined(_M_X64)
#include <intrin.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace cellbrook {

namespace {

Level detect() {
#if defined(CELLBROOK_X86_LEVELS)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return Level::avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Level::avx2;
#endif
    return Level::baseline;
}

// Products of 8-bit integers summed to 32 bits in one instruction: without it, int8 networks are hardly faster, and
// onnxruntime's older kernels saturate at 16 bits.
bool detect_int8_dot() {
#if defined(_M_X64) || defined(__x86_64__)
    unsigned leaf7[4] = {0, 0, 0, 0}, leaf7_1[4] = {0, 0, 0, 0};
#if defined(_M_X64)
    __cpuidex(reinterpret_cast<int*>(leaf7), 7, 0);
    if (leaf7[0] >= 1) __cpuidex(reinterpret_cast<int*>(leaf7_1), 7, 1);
#else
    if (!__get_cpuid_count(7, 0, &leaf7[0], &leaf7[1], &leaf7[2], &leaf7[3])) return false;
    if (leaf7[0] >= 1) __get_cpuid_count(7, 1, &leaf7_1[0], &leaf7_1[1], &leaf7_1[2], &leaf7_1[3]);
#endif
    const bool avx512_vnni = leaf7[2] >> 11 & 1, avx_vnni = leaf7_1[0] >> 4 & 1;
    return avx512_vnni || avx_vnni;
#elif defined(__aarch64__) && defined(__APPLE__)
    return true;
#elif defined(__aarch64__) && defined(__linux__)
    return getauxval(AT_HWCAP) >> 20 & 1;  // ASIMDDP
#else
    return false;
#endif
}

std::atomic<int> limit{int(Level::avx512)};

}  // namespace

Level vector_level() {
    static const Level best = detect();
    return std::min(best, Level(limit.load()));
}

}  // namespace cellbrook

void register_dispatch(nanobind::module_& m) {
    m.def("vector_level", [] { return int(cellbrook::vector_level()); });
    m.def("has_int8_dot", [] {
        static const bool found = cellbrook::detect_int8_dot();
        return found;
    });
    m.def("limit_vector_level", [](int level) { cellbrook::limit.store(level); }, nanobind::arg("level"));
}
