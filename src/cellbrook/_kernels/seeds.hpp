// The peer's grouping of end points (compat mode): seeds are peaks of their histogram.
#pragma once

#include <cstdint>
#include <vector>

#include "grid.hpp"

namespace cellbrook {

struct Seed {
    int32_t pixel;
    int32_t count;  // of pixels that end there
};

constexpr int kPeakReach = 2;  // a peak is the largest bin in the 5 x 5 around it

// Replaces end pixels, counted in the grid widened by kPeakReach, by the number of the seed that claims them, 0 for none. Seeds are in ascending order of their
// counts; a later one takes bins from an earlier one.
template <int D>
std::vector<Seed> group_by_seeds(const Grid<D>& grid, int32_t* ends, int threads);

}  // namespace cellbrook
