#include "dispatch.hpp"

#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>

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

std::atomic<int> limit{int(Level::avx512)};

}  // namespace

Level vector_level() {
    static const Level best = detect();
    return std::min(best, Level(limit.load()));
}

}  // namespace cellbrook

void register_dispatch(nanobind::module_& m) {
    m.def("vector_level", [] { return int(cellbrook::vector_level()); });
    m.def("limit_vector_level", [](int level) { cellbrook::limit.store(level); }, nanobind::arg("level"));
}
