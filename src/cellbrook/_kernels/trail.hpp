// The peer's integration, to the bit (compat mode): where each foreground pixel is after a number of steps.
#pragma once

#include <cstdint>
#include <vector>

#include "grid.hpp"

namespace cellbrook {

// End pixel (truncated position) of every foreground pixel, -1 for background. End pixels are counted in the grid
// widened by `margin` on every side.
template <int D>
void follow_flows(const Grid<D>& grid, const float* flows, const float* cellprob, float threshold, int64_t niter,
                  int64_t margin, int threads, int32_t* ends);

}  // namespace cellbrook
