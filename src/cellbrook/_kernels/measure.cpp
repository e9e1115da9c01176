// Size, shape and intensity of every object, each from its own bounding box.
//
// A first pass over the label image finds the boxes (integers, so any number of threads gives the same). The second
// takes the objects one by one: sums run in raster order inside an object, so results do not depend on the threads.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "parallel.hpp"

namespace nb = nanobind;

namespace cellbrook {
namespace {

struct Box3 {
    int64_t area = 0;
    int32_t z0 = INT32_MAX, y0 = INT32_MAX, x0 = INT32_MAX, z1 = -1, y1 = -1, x1 = -1;  // half-open at z1, y1, x1

    void add_run(int32_t z, int32_t y, int32_t begin, int32_t end) {
        area += end - begin;
        z0 = std::min(z0, z);
        z1 = std::max(z1, z + 1);
        y0 = std::min(y0, y);
        y1 = std::max(y1, y + 1);
        x0 = std::min(x0, begin);
        x1 = std::max(x1, end);
    }
    void merge(const Box3& other) {
        area += other.area;
        z0 = std::min(z0, other.z0);
        z1 = std::max(z1, other.z1);
        y0 = std::min(y0, other.y0);
        y1 = std::max(y1, other.y1);
        x0 = std::min(x0, other.x0);
        x1 = std::max(x1, other.x1);
    }
};

using Labels = nb::ndarray<const uint32_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Boxes = nb::ndarray<int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// boxes: a row for each label from 0: area, z0, y0, x0, z1, y1, x1. Labels beyond the last row are an error in the caller.
void object_boxes(Labels labels, Boxes boxes, int threads) {
    const int64_t planes = labels.shape(0), rows = labels.shape(1), cols = labels.shape(2);
    const int64_t count = boxes.shape(0);
    const uint32_t* in = labels.data();
    int64_t* out = boxes.data();
    nb::gil_scoped_release release;
    threads = std::max(1, threads);
    std::vector<std::vector<Box3>> partial(threads);
    parallel_for(planes * rows, 64, threads, [&](int64_t begin, int64_t end, int thread) {
        auto& own = partial[thread];
        if (own.empty()) own.resize(count);
        for (int64_t r = begin; r < end; ++r) {
            const uint32_t* row = in + r * cols;
            const int32_t z = int32_t(r / rows), y = int32_t(r % rows);
            for (int64_t x = 0; x < cols;) {
                const uint32_t label = row[x];
                const int64_t start = x;
                while (x < cols && row[x] == label) ++x;
                if (label && label < count) own[label].add_run(z, y, int32_t(start), int32_t(x));
            }
        }
    });
    for (int64_t label = 0; label < count; ++label) {
        Box3 box;
        for (const auto& own : partial)
            if (!own.empty()) box.merge(own[label]);
        int64_t* o = out + label * 7;
        o[0] = box.area;
        if (!box.area) {
            std::fill(o + 1, o + 7, 0);
            continue;
        }
        o[1] = box.z0, o[2] = box.y0, o[3] = box.x0, o[4] = box.z1, o[5] = box.y1, o[6] = box.x1;
    }
}

struct Point {
    int64_t y, x;
};

int64_t cross(const Point& o, const Point& a, const Point& b) {
    return (a.x - o.x) * (b.y - o.y) - (a.y - o.y) * (b.x - o.x);
}

// Pixels whose centre lies in the convex hull of the pixel centres `points` (sorted by y, then x), by Pick's theorem.
int64_t convex_pixels(const std::vector<Point>& points, std::vector<Point>& hull) {
    const size_t n = points.size();
    if (n == 1) return 1;
    hull.clear();
    for (int pass = 0; pass < 2; ++pass) {
        const size_t floor = pass ? hull.size() : 1;  // the second chain starts where the first ended
        for (size_t k = 0; k < n; ++k) {
            const Point& p = points[pass ? n - 1 - k : k];
            while (hull.size() > floor && cross(hull[hull.size() - 2], hull.back(), p) >= 0) hull.pop_back();
            if (hull.empty() || hull.back().y != p.y || hull.back().x != p.x) hull.push_back(p);
        }
    }
    int64_t twice_area = 0, boundary = 0;
    for (size_t k = 0; k + 1 < hull.size(); ++k) {  // closed: the last point repeats the first
        twice_area += hull[k].x * hull[k + 1].y - hull[k].y * hull[k + 1].x;
        boundary += std::gcd(std::llabs(hull[k].x - hull[k + 1].x), std::llabs(hull[k].y - hull[k + 1].y));
    }
    return (std::llabs(twice_area) + boundary) / 2 + 1;
}

// How often lines enter the object along x, y and the two diagonals, going down: what Crofton's formula needs.
struct Crossings {
    int64_t along_x = 0, along_y = 0, down_right = 0, down_left = 0;
};

int64_t count_other(const uint32_t* row, int64_t cols, int64_t begin, int64_t end, uint32_t label) {
    int64_t n = 0;
    if (begin < 0) n += -begin, begin = 0;
    if (end > cols) n += end - cols, end = cols;
    int32_t inside = 0;
    for (int64_t x = begin; x < end; ++x) inside += row[x] != label;
    return n + inside;
}

constexpr int SHAPE_FIELDS = 12;

// shape, by label: sums of z, y, x, yy, xx, xy (relative to the box), crossings x, y, down-right, down-left, hull pixels, 0
void shape_of(const uint32_t* in, int64_t rows, int64_t cols, uint32_t label, const int64_t* box, bool flat,
              std::vector<Point>& ends, std::vector<Point>& hull, double* out) {
    int64_t sz = 0, sy = 0, sx = 0, syy = 0, sxx = 0, sxy = 0;
    Crossings crossings;
    ends.clear();
    for (int64_t z = box[1]; z < box[4]; ++z)
        for (int64_t y = box[2]; y < box[5]; ++y) {
            const uint32_t* row = in + (z * rows + y) * cols;
            const int64_t v = y - box[2];
            int64_t first = -1, last = -1;
            for (int64_t x = box[3]; x < box[6];) {
                if (row[x] != label) {
                    ++x;
                    continue;
                }
                const int64_t start = x;
                while (x < box[6] && row[x] == label) ++x;
                const int64_t n = x - start, a = start - box[3], b = x - box[3] - 1;
                const int64_t sum = n * (a + b) / 2;
                const int64_t squares = (b * (b + 1) * (2 * b + 1) - (a - 1) * a * (2 * a - 1)) / 6;
                sz += n * (z - box[1]);
                sy += n * v;
                sx += sum;
                syy += n * v * v;
                sxx += squares;
                sxy += v * sum;
                if (first < 0) first = start;
                last = x - 1;
                if (!flat) continue;
                ++crossings.along_x;
                if (y == 0) {
                    crossings.along_y += n;
                    crossings.down_right += n;
                    crossings.down_left += n;
                } else {
                    const uint32_t* up = row - cols;
                    crossings.along_y += count_other(up, cols, start, x, label);
                    crossings.down_right += count_other(up, cols, start - 1, x - 1, label);
                    crossings.down_left += count_other(up, cols, start + 1, x + 1, label);
                }
            }
            if (flat && first >= 0) {
                ends.push_back({y, first});
                if (last != first) ends.push_back({y, last});
            }
        }
    const double values[SHAPE_FIELDS] = {double(sz),  double(sy),  double(sx), double(syy), double(sxx), double(sxy),
                                         double(crossings.along_x), double(crossings.along_y),
                                         double(crossings.down_right), double(crossings.down_left),
                                         flat ? double(convex_pixels(ends, hull)) : 0.0, 0.0};
    std::copy(values, values + SHAPE_FIELDS, out);
}

void object_shapes(Labels labels, nb::ndarray<const int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> boxes,
                   nb::ndarray<double, nb::ndim<2>, nb::c_contig, nb::device::cpu> shapes, bool flat, int threads) {
    const int64_t rows = labels.shape(1), cols = labels.shape(2), count = boxes.shape(0);
    const uint32_t* in = labels.data();
    const int64_t* box = boxes.data();
    double* out = shapes.data();
    nb::gil_scoped_release release;
    threads = std::max(1, threads);
    std::vector<std::vector<Point>> ends(threads), hull(threads);
    parallel_for(count, 16, threads, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t label = begin; label < end; ++label)
            if (label && box[label * 7])
                shape_of(in, rows, cols, uint32_t(label), box + label * 7, flat, ends[thread], hull[thread],
                         out + label * SHAPE_FIELDS);
    });
}

constexpr int STATISTICS = 6;  // mean, std, min, max, median, sum

template <class T>
void statistics_of(std::vector<T>& values, double* out) {
    const size_t n = values.size();
    if (!n) {
        std::fill(out, out + STATISTICS, std::numeric_limits<double>::quiet_NaN());
        return;
    }
    double sum = 0;
    T low = values[0], high = values[0];
    for (T v : values) {
        sum += double(v);
        low = std::min(low, v);
        high = std::max(high, v);
    }
    const double mean = sum / double(n);
    double squares = 0;
    for (T v : values) squares += (double(v) - mean) * (double(v) - mean);
    const auto middle = values.begin() + n / 2;
    std::nth_element(values.begin(), middle, values.end());
    double median = double(*middle);
    if (n % 2 == 0) median = 0.5 * (median + double(*std::max_element(values.begin(), middle)));
    out[0] = mean, out[1] = std::sqrt(squares / double(n)), out[2] = double(low), out[3] = double(high);
    out[4] = median, out[5] = sum;
}

// image: (planes, channels, rows, cols), any strides; out: (labels, channels, STATISTICS). NaN and infinite pixels are left out.
template <class T>
void object_intensities(Labels labels, nb::ndarray<const int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> boxes,
                        nb::ndarray<const T, nb::ndim<4>, nb::device::cpu> image,
                        nb::ndarray<double, nb::ndim<3>, nb::c_contig, nb::device::cpu> out, int threads) {
    const int64_t rows = labels.shape(1), cols = labels.shape(2), count = boxes.shape(0);
    const int64_t channels = image.shape(1);
    const int64_t stride_z = image.stride(0), stride_c = image.stride(1), stride_y = image.stride(2), stride_x = image.stride(3);
    const uint32_t* in = labels.data();
    const int64_t* boxes_in = boxes.data();
    const T* pixels = image.data();
    double* result = out.data();
    nb::gil_scoped_release release;
    threads = std::max(1, threads);
    std::vector<std::vector<T>> scratch(threads);
    parallel_for(count, 16, threads, [&](int64_t begin, int64_t end, int thread) {
        auto& values = scratch[thread];
        for (int64_t label = std::max<int64_t>(1, begin); label < end; ++label) {
            const int64_t* box = boxes_in + label * 7;
            if (!box[0]) continue;
            for (int64_t c = 0; c < channels; ++c) {
                values.clear();
                values.reserve(box[0]);
                for (int64_t z = box[1]; z < box[4]; ++z)
                    for (int64_t y = box[2]; y < box[5]; ++y) {
                        const uint32_t* row = in + (z * rows + y) * cols;
                        const T* line = pixels + z * stride_z + c * stride_c + y * stride_y;
                        for (int64_t x = box[3]; x < box[6]; ++x) {
                            if (row[x] != uint32_t(label)) continue;
                            const T v = line[x * stride_x];
                            if constexpr (std::is_floating_point_v<T>) {
                                if (!std::isfinite(v)) continue;
                            }
                            values.push_back(v);
                        }
                    }
                statistics_of(values, result + (label * channels + c) * STATISTICS);
            }
        }
    });
}

template <class T>
void register_intensities(nb::module_& m) {
    m.def("object_intensities", &object_intensities<T>, nb::arg("labels"), nb::arg("boxes"), nb::arg("image").noconvert(),
          nb::arg("out"), nb::arg("threads"));
}

}  // namespace
}  // namespace cellbrook

void register_measure(nb::module_& m) {
    using namespace cellbrook;
    m.def("object_boxes", &object_boxes, nb::arg("labels"), nb::arg("boxes"), nb::arg("threads"));
    m.def("object_shapes", &object_shapes, nb::arg("labels"), nb::arg("boxes"), nb::arg("shapes"), nb::arg("flat"),
          nb::arg("threads"));
    register_intensities<uint8_t>(m);
    register_intensities<int8_t>(m);
    register_intensities<uint16_t>(m);
    register_intensities<int16_t>(m);
    register_intensities<uint32_t>(m);
    register_intensities<int32_t>(m);
    register_intensities<float>(m);
    register_intensities<double>(m);
}
