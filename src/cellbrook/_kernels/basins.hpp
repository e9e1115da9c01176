// Sinks become basins: sinks close together are one, and so are basins whose common border the flow does not part.
#pragma once

#include <cstdint>

#include "grid.hpp"

namespace cellbrook {

// Replaces sink pixels by basin numbers 1 ... n (0: background) and returns n.
template <int D>
int32_t group_sinks(const Grid<D>& grid, int32_t* sinks, int threads);

// Joins neighbouring basins that the flow does not part; returns the number of basins left, numbered 1 ... n.
template <int D>
int32_t join_basins(const Grid<D>& grid, const float* flows, int32_t* basins, int32_t count, int threads);

}  // namespace cellbrook
