// Where pixels go: each follows the flow until it has moved on or has settled.
#pragma once

#include <cstdint>
#include <vector>

#include "grid.hpp"

namespace cellbrook {

// A pixel's stride along the flow ends after a block of steps that carried it this far (Chebyshev, in pixels) ...
constexpr float kStride = 3.f;
// ... or settles once a whole block of steps moved it less than this. A block is a multiple of the periods 2 and 3 in
// which pixels swing about a sink, so that swinging counts as rest.
constexpr float kRest = 0.06f;
constexpr int kBlock = 6;
constexpr int kMaxBlocks = 32;

// Value of a stride: a pixel to go on from (>= 0), rest at pixel r (encoded as -r - 1), or background.
constexpr int32_t kBackground = INT32_MIN;
inline int32_t at_rest(int32_t pixel) { return -pixel - 1; }
inline bool is_rest(int32_t stride) { return stride < 0 && stride != kBackground; }

// Fills strides (one a pixel) and, if not null, the number of steps that each took.
template <int D>
void find_strides(const Grid<D>& grid, const float* flows, const float* cellprob, float threshold, int threads,
                  int32_t* strides, uint8_t* steps);

// Follows strides to their end: the sink pixel of every foreground pixel, -1 for background. With steps, no pixel
// takes more than niter of them.
template <int D>
void follow_strides(const Grid<D>& grid, const int32_t* strides, const uint8_t* steps, int64_t niter, int threads,
                    int32_t* sinks);

}  // namespace cellbrook
