// Adds a weighted tile to the map it is part of, in one pass and without a temporary.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>

namespace nb = nanobind;

namespace cellbrook {

using Line = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// out[:, y0 + y, x0 + x] += weight_y[y] * weight_x[x] * tile[:, y, x], for what lies inside `out`.
static void blend_tile(nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu> out,
                       nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu> tile, Line weight_y, Line weight_x,
                       int64_t y0, int64_t x0) {
    const int64_t channels = tile.shape(0), rows = tile.shape(1), cols = tile.shape(2);
    if (int64_t(out.shape(0)) != channels || int64_t(weight_y.shape(0)) != rows || int64_t(weight_x.shape(0)) != cols || y0 < 0 || x0 < 0)
        throw nb::value_error("the tile, its weights and the map do not fit together");
    const float *wy = weight_y.data(), *wx = weight_x.data(), *in = tile.data();
    float* map = out.data();
    const int64_t out_rows = out.shape(1), out_cols = out.shape(2);
    nb::gil_scoped_release release;
    // The outer part of an overlap has weight zero: not visited, as 0 * NaN of a faulty border would spread.
    int64_t begin = 0, end = std::min(cols, out_cols - x0);
    while (begin < end && wx[begin] == 0) ++begin;
    while (begin < end && wx[end - 1] == 0) --end;
    for (int64_t k = 0; k < channels; ++k)
        for (int64_t y = 0; y < std::min(rows, out_rows - y0); ++y) {
            const float w = wy[y];
            if (w == 0) continue;
            float* target = map + (k * out_rows + y0 + y) * out_cols + x0;
            const float* source = in + (k * rows + y) * cols;
            for (int64_t x = begin; x < end; ++x) target[x] += w * wx[x] * source[x];
        }
}

}  // namespace cellbrook

void register_blend(nb::module_& m) {
    m.def("blend_tile", &cellbrook::blend_tile, nb::arg("out"), nb::arg("tile"), nb::arg("weight_y"), nb::arg("weight_x"), nb::arg("y0"),
          nb::arg("x0"));
}
