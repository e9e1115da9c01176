// Images of two or three dimensions as one type: extent, strides and boxes along (z,) y, x.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace cellbrook {

// Whether a flow leads anywhere: not NaN, and not so large that interpolating between two of them overflows.
inline bool is_flow(float v) { return std::abs(v) < 1e9f; }

template <int D>
struct Grid {
    std::array<int64_t, D> n{};  // extent along each axis, slowest first

    int64_t size() const {
        int64_t product = 1;
        for (int a = 0; a < D; ++a) product *= n[a];
        return product;
    }
    int64_t width() const { return n[D - 1]; }
    int64_t rows() const { return width() ? size() / width() : 0; }  // rows of pixels along x
    int64_t stride(int axis) const {
        int64_t product = 1;
        for (int a = axis + 1; a < D; ++a) product *= n[a];
        return product;
    }
    std::array<int64_t, D> coordinates(int64_t index) const {
        std::array<int64_t, D> c{};
        for (int a = D - 1; a >= 0; --a) {
            c[a] = index % n[a];
            index /= n[a];
        }
        return c;
    }
    // Moves coordinates on to the next pixel: divisions for each one would cost more than what is done there.
    void next(std::array<int64_t, D>& c) const {
        for (int a = D - 1; a > 0 && ++c[a] == n[a]; --a) {
            c[a] = 0;
            if (a == 1) ++c[0];
        }
        if (D == 1) ++c[0];
    }
};

template <int D>
struct Box {
    std::array<int32_t, D> low, high;  // half-open

    Box() {
        low.fill(INT32_MAX);
        high.fill(0);
    }
    bool empty() const { return high[0] <= low[0]; }
    int32_t extent(int axis) const { return high[axis] - low[axis]; }
    Grid<D> grid() const {
        Grid<D> g;
        for (int a = 0; a < D; ++a) g.n[a] = extent(a);
        return g;
    }
    // Includes the run [x0, x1) of the row whose first coordinates are `row`.
    void include_run(const std::array<int64_t, D>& row, int64_t x0, int64_t x1) {
        for (int a = 0; a < D - 1; ++a) {
            low[a] = std::min<int32_t>(low[a], row[a]);
            high[a] = std::max<int32_t>(high[a], row[a] + 1);
        }
        low[D - 1] = std::min<int32_t>(low[D - 1], x0);
        high[D - 1] = std::max<int32_t>(high[D - 1], x1);
    }
};

// Calls body(offset in the image, offset in the box) for the start of each row of the box.
template <int D, class Body>
void for_rows(const Grid<D>& image, const Box<D>& box, Body&& body) {
    if constexpr (D == 2) {
        for (int32_t y = box.low[0]; y < box.high[0]; ++y)
            body(int64_t(y) * image.n[1] + box.low[1], int64_t(y - box.low[0]) * box.extent(1));
    } else {
        for (int32_t z = box.low[0]; z < box.high[0]; ++z)
            for (int32_t y = box.low[1]; y < box.high[1]; ++y)
                body((int64_t(z) * image.n[1] + y) * image.n[2] + box.low[2],
                     (int64_t(z - box.low[0]) * box.extent(1) + (y - box.low[1])) * box.extent(2));
    }
}

}  // namespace cellbrook
