// Flows to candidate objects (the default mode): strides, sinks, basins, connected pieces; and their figures.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <cmath>
#include <optional>

#include "arrays.hpp"
#include "basins.hpp"
#include "parallel.hpp"
#include "regions.hpp"
#include "settle.hpp"

namespace cellbrook {

namespace {

// Pieces 1 ... n of the basins, in raster order, and the basin of each piece. niter < 0: as many steps as it takes.
template <int D>
std::pair<NumpyArray<uint32_t>, NumpyArray<int32_t>> find_candidates(const Image<const float>& flows,
                                                                     const Image<const float>& cellprob,
                                                                     float threshold, int64_t niter, int threads) {
    const Grid<D> grid = grid_of<D>(cellprob);
    std::vector<uint32_t> labels(grid.size());
    std::vector<int32_t> basin_of;
    {
        nb::gil_scoped_release release;
        int32_t* values = reinterpret_cast<int32_t*>(labels.data());
        {
            std::vector<int32_t> strides(grid.size());
            std::vector<uint8_t> steps(niter < 0 ? 0 : grid.size());
            uint8_t* steps_or_null = niter < 0 ? nullptr : steps.data();
            find_strides(grid, flows.data(), cellprob.data(), threshold, threads, strides.data(), steps_or_null);
            follow_strides(grid, strides.data(), steps_or_null, niter, threads, values);
        }
        const int32_t count = group_sinks(grid, values, threads);
        join_basins(grid, flows.data(), values, count, threads);
        basin_of = split_into_pieces(grid, values, threads);
    }
    const size_t count = basin_of.size();
    if constexpr (D == 2)
        return {to_numpy(std::move(labels), {size_t(grid.n[0]), size_t(grid.n[1])}),
                to_numpy(std::move(basin_of), {count})};
    else
        return {to_numpy(std::move(labels), {size_t(grid.n[0]), size_t(grid.n[1]), size_t(grid.n[2])}),
                to_numpy(std::move(basin_of), {count})};
}

// Figures of labels 1 ... count: one row a label with area, border pixels, cellprob (mean), then along each axis
// low, high (half-open), then the centroid, then the first pixel in raster order.
template <int D>
NumpyArray<double> region_figures(const Image<const uint32_t>& labels, int64_t count,
                                  std::optional<Image<const float>> cellprob, int threads) {
    constexpr size_t kColumns = 4 + 3 * D;
    const Grid<D> grid = grid_of<D>(labels);
    std::vector<double> rows(size_t(count) * kColumns);
    {
        nb::gil_scoped_release release;
        const auto regions = measure_regions(grid, labels.data(), count, cellprob ? cellprob->data() : nullptr, threads);
        double* out = rows.data();
        for (const auto& region : regions) {
            *out++ = double(region.area);
            *out++ = double(region.border_pixels);
            *out++ = region.cellprob_pixels ? region.cellprob_sum / double(region.cellprob_pixels) : NAN;
            for (int a = 0; a < D; ++a) {
                *out++ = region.area ? region.box.low[a] : 0;
                *out++ = region.area ? region.box.high[a] : 0;
            }
            for (int a = 0; a < D; ++a) *out++ = region.coordinate_sum[a] / double(region.area);
            *out++ = region.area ? double(region.first) : -1;
        }
    }
    return to_numpy(std::move(rows), {size_t(count), kColumns});
}

template <int D>
int64_t fill_label_holes(const Image<uint32_t>& labels, int64_t count, bool everything, int threads) {
    const Grid<D> grid = grid_of<D>(labels);
    nb::gil_scoped_release release;
    const auto regions = measure_regions(grid, static_cast<const uint32_t*>(labels.data()), count, nullptr, threads);
    return fill_holes(grid, labels.data(), regions, everything ? Holes::everything : Holes::background);
}

// Replaces each label by new_labels[label].
void map_labels(const Image<uint32_t>& labels, const Image<const uint32_t>& new_labels, int threads) {
    uint32_t* values = labels.data();
    const uint32_t* map = new_labels.data();
    const int64_t size = int64_t(labels.size());
    nb::gil_scoped_release release;
    parallel_for(size, 1 << 16, threads, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i)
            if (values[i]) values[i] = map[values[i]];
    });
}

template <int D>
void register_dimension(nb::module_& m, const std::string& suffix) {
    m.def(("find_candidates" + suffix).c_str(), &find_candidates<D>, nb::arg("flows"), nb::arg("cellprob"),
          nb::arg("threshold"), nb::arg("niter"), nb::arg("threads"));
    m.def(("region_figures" + suffix).c_str(), &region_figures<D>, nb::arg("labels"), nb::arg("count"),
          nb::arg("cellprob").none(), nb::arg("threads"));
    m.def(("fill_label_holes" + suffix).c_str(), &fill_label_holes<D>, nb::arg("labels"), nb::arg("count"),
          nb::arg("everything"), nb::arg("threads"));
}

}  // namespace
}  // namespace cellbrook

void register_candidates(nanobind::module_& m) {
    namespace nb = nanobind;
    cellbrook::register_dimension<2>(m, "_2d");
    cellbrook::register_dimension<3>(m, "_3d");
    m.def("map_labels", &cellbrook::map_labels, nb::arg("labels"), nb::arg("new_labels"), nb::arg("threads"));
}
