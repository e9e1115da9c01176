// Regions of equal label: connected pieces, their extent and figures, holes, renumbering.
#pragma once

#include <cstdint>
#include <vector>

#include "grid.hpp"

namespace cellbrook {

template <int D>
struct Region {
    Box<D> box;
    int64_t first = INT64_MAX;  // pixel, in raster order
    int64_t area = 0;
    std::array<double, D> coordinate_sum{};
    double cellprob_sum = 0;      // over the pixels whose cellprob is finite
    int64_t cellprob_pixels = 0;
    int64_t border_pixels = 0;    // pixels in the first or last row, column or plane
};

// Splits regions of equal value into pieces connected through faces (4 neighbours, 6 in 3-D), numbered 1 ... n in the
// order of their first pixels. Writes them over `values` and returns the value that each piece had (index 0: piece 1).
template <int D>
std::vector<int32_t> split_into_pieces(const Grid<D>& grid, int32_t* values, int threads);

// Regions of labels 1 ... count, at index label - 1. cellprob may be null.
template <int D, class Label>
std::vector<Region<D>> measure_regions(const Grid<D>& grid, const Label* labels, int64_t count, const float* cellprob,
                                       int threads);

// Bounding boxes by label; index 0 and labels that do not occur have empty boxes.
template <int D>
std::vector<Box<D>> find_boxes(const Grid<D>& grid, const uint32_t* labels);

// What a hole may hold: background only, small regions filled before those around them; or (compat mode) whatever is
// shut in, other labels included, in the order of the labels.
enum class Holes { background, everything };

// Fills the holes of each region with its label: what its pixels shut off from the edge of its box, moving through
// faces. Returns the number of pixels filled.
template <int D>
int64_t fill_holes(const Grid<D>& grid, uint32_t* labels, const std::vector<Region<D>>& regions, Holes which);

}  // namespace cellbrook
