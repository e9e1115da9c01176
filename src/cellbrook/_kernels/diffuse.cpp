// Flows from labels: heat spreads from each object's centre; the flow is the direction of steepest ascent.
//
// Each object is solved alone in its padded bounding box, so the cost follows the objects and not the image, and
// objects never see each other. Outside the object the heat is zero.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cmath>
#include <cstring>

#include "parallel.hpp"

namespace nb = nanobind;

namespace cellbrook {

struct Box2 {
    int y0 = INT32_MAX, y1 = -1, x0 = INT32_MAX, x1 = -1;  // inclusive
};

static std::vector<Box2> bounding_boxes(const uint32_t* labels, int64_t rows, int64_t cols) {
    std::vector<Box2> boxes;
    for (int64_t y = 0; y < rows; ++y) {
        const uint32_t* row = labels + y * cols;
        for (int64_t x = 0; x < cols;) {
            const uint32_t label = row[x];
            const int64_t start = x;
            while (x < cols && row[x] == label) ++x;
            if (!label) continue;
            if (label >= boxes.size()) boxes.resize(label + 1);
            Box2& box = boxes[label];
            box.y0 = std::min<int>(box.y0, y);
            box.y1 = std::max<int>(box.y1, y);
            box.x0 = std::min<int>(box.x0, start);
            box.x1 = std::max<int>(box.x1, x - 1);
        }
    }
    return boxes;
}

static void flows_of_object(const uint32_t* labels, int64_t cols, uint32_t label, const Box2& box, std::vector<float>& scratch,
                            float* flow_y, float* flow_x) {
    const int h = box.y1 - box.y0 + 1, w = box.x1 - box.x0 + 1;
    const int64_t stride = w + 2, size = stride * (h + 2);
    scratch.assign(3 * size, 0.f);
    float *heat = scratch.data(), *next = heat + size, *weight = next + size;
    double sum_y = 0, sum_x = 0;
    int64_t area = 0;
    for (int y = 0; y < h; ++y)
        for (int x = 0; x < w; ++x)
            if (labels[(box.y0 + y) * cols + box.x0 + x] == label) {
                weight[(y + 1) * stride + x + 1] = 1.f / 9;
                sum_y += y;
                sum_x += x;
                ++area;
            }
    const double mean_y = sum_y / area, mean_x = sum_x / area;
    double nearest = INFINITY;
    int64_t centre = 0;
    for (int y = 0; y < h; ++y)
        for (int x = 0; x < w; ++x)
            if (weight[(y + 1) * stride + x + 1] != 0) {
                const double d = (y - mean_y) * (y - mean_y) + (x - mean_x) * (x - mean_x);
                if (d < nearest) {
                    nearest = d;
                    centre = (y + 1) * stride + x + 1;
                }
            }
    const int steps = 2 * (h + w + 2);
    for (int step = 0; step < steps; ++step) {
        heat[centre] += 1.f;
        for (int y = 1; y <= h; ++y) {
            const float *up = heat + (y - 1) * stride, *mid = up + stride, *down = mid + stride;
            float* out = next + y * stride;
            const float* m = weight + y * stride;
            for (int x = 1; x <= w; ++x)
                out[x] = (up[x - 1] + up[x] + up[x + 1] + mid[x - 1] + mid[x] + mid[x + 1] + down[x - 1] + down[x] + down[x + 1]) * m[x];
        }
        std::swap(heat, next);
    }
    for (int y = 0; y < h; ++y)
        for (int x = 0; x < w; ++x) {
            const int64_t i = (y + 1) * stride + x + 1;
            if (weight[i] == 0) continue;
            const double dy = double(heat[i + stride]) - heat[i - stride], dx = double(heat[i + 1]) - heat[i - 1];
            const double norm = std::sqrt(dy * dy + dx * dx);
            const int64_t o = (box.y0 + y) * cols + box.x0 + x;
            flow_y[o] = norm > 0 ? float(dy / norm) : 0.f;
            flow_x[o] = norm > 0 ? float(dx / norm) : 0.f;
        }
}

static void flows_from_labels_2d(nb::ndarray<const uint32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> labels,
                                 nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu> flows, int threads) {
    const int64_t rows = labels.shape(0), cols = labels.shape(1);
    const uint32_t* in = labels.data();
    float* out = flows.data();
    nb::gil_scoped_release release;
    std::memset(out, 0, sizeof(float) * 2 * rows * cols);
    const std::vector<Box2> boxes = bounding_boxes(in, rows, cols);
    std::vector<std::vector<float>> scratch(std::max(1, threads));
    parallel_for(boxes.size(), 8, threads, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t label = begin; label < end; ++label)
            if (boxes[label].y1 >= 0)
                flows_of_object(in, cols, uint32_t(label), boxes[label], scratch[thread], out, out + rows * cols);
    });
}

}  // namespace cellbrook

void register_diffuse(nb::module_& m) {
    m.def("flows_from_labels_2d", &cellbrook::flows_from_labels_2d, nb::arg("labels"), nb::arg("flows"), nb::arg("threads"));
}
