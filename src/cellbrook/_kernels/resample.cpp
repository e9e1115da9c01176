// Separable resampling with a window of weights per output row and column: resizing and Gaussian filters alike.
//
// Output row r of a channel is sum_k weights_y[r, k] * input row start_y[r] + k, and the same along columns. Windows lie
// inside the image: whoever makes the weights has already folded what would fall outside back in.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstring>

#include "parallel.hpp"

namespace nb = nanobind;

namespace cellbrook {

using Starts = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Weights = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

struct Axis {
    const int32_t* start;
    const float* weights;
    int64_t size, taps;

    Axis(const Starts& starts, const Weights& table, int64_t length)
        : start(starts.data()), weights(table.data()), size(starts.shape(0)), taps(table.shape(1)) {
        if (int64_t(table.shape(0)) != size) throw nb::value_error("one row of weights per output position expected");
        for (int64_t i = 0; i < size; ++i)
            if (start[i] < 0 || start[i] + taps > length) throw nb::value_error("a window of weights leaves the image");
    }
};

// Eight partial sums: without them the loop is one long chain of dependent additions.
static inline float dot(const float* a, const float* b, int64_t n) {
    float part[8] = {};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; ++j) part[j] += a[i + j] * b[i + j];
    float sum = ((part[0] + part[4]) + (part[1] + part[5])) + ((part[2] + part[6]) + (part[3] + part[7]));
    for (; i < n; ++i) sum += a[i] * b[i];
    return sum;
}

static void along_columns(const float* in, float* out, const Axis& axis) {
    const int32_t* start = axis.start;
    const float* w = axis.weights;
    const int64_t n = axis.size;
    switch (axis.taps) {
        case 1:
            for (int64_t i = 0; i < n; ++i) out[i] = w[i] * in[start[i]];
            break;
        case 2:
            for (int64_t i = 0; i < n; ++i) out[i] = w[2 * i] * in[start[i]] + w[2 * i + 1] * in[start[i] + 1];
            break;
        case 3:
            for (int64_t i = 0; i < n; ++i) {
                const float* p = in + start[i];
                out[i] = w[3 * i] * p[0] + w[3 * i + 1] * p[1] + w[3 * i + 2] * p[2];
            }
            break;
        case 4:
            for (int64_t i = 0; i < n; ++i) {
                const float* p = in + start[i];
                out[i] = (w[4 * i] * p[0] + w[4 * i + 1] * p[1]) + (w[4 * i + 2] * p[2] + w[4 * i + 3] * p[3]);
            }
            break;
        default:
            for (int64_t i = 0; i < n; ++i) out[i] = dot(in + start[i], w + axis.taps * i, axis.taps);
    }
}

// rows[k] are pointers to the input rows of the window. Four at a time, so that `out` is read and written less.
template <class RowAt>
static void along_rows(RowAt&& row_at, const float* w, int64_t taps, float* out, int64_t n) {
    int64_t k = 0;
    if (taps >= 4) {
        const float *a = row_at(0), *b = row_at(1), *c = row_at(2), *d = row_at(3);
        for (int64_t i = 0; i < n; ++i) out[i] = (w[0] * a[i] + w[1] * b[i]) + (w[2] * c[i] + w[3] * d[i]);
        k = 4;
    } else if (taps >= 2) {
        const float *a = row_at(0), *b = row_at(1);
        for (int64_t i = 0; i < n; ++i) out[i] = w[0] * a[i] + w[1] * b[i];
        k = 2;
    } else {
        const float* a = row_at(0);
        for (int64_t i = 0; i < n; ++i) out[i] = w[0] * a[i];
        k = 1;
    }
    for (; k + 4 <= taps; k += 4) {
        const float *a = row_at(k), *b = row_at(k + 1), *c = row_at(k + 2), *d = row_at(k + 3);
        for (int64_t i = 0; i < n; ++i) out[i] += (w[k] * a[i] + w[k + 1] * b[i]) + (w[k + 2] * c[i] + w[k + 3] * d[i]);
    }
    for (; k < taps; ++k) {
        const float* a = row_at(k);
        for (int64_t i = 0; i < n; ++i) out[i] += w[k] * a[i];
    }
}

static void resample(nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu> image, Starts start_y, Weights weights_y,
                     Starts start_x, Weights weights_x, nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu> out,
                     int threads) {
    const int64_t channels = image.shape(0), rows = image.shape(1), cols = image.shape(2);
    const Axis ay(start_y, weights_y, rows), ax(start_x, weights_x, cols);
    if (int64_t(out.shape(0)) != channels || int64_t(out.shape(1)) != ay.size || int64_t(out.shape(2)) != ax.size)
        throw nb::value_error("the output's shape does not match the weights");
    const float* in = image.data();
    float* result = out.data();
    nb::gil_scoped_release release;
    // Enlarging along Y needs each input row for several output rows: columns first, the latest rows kept.
    // Otherwise rows first: that loop runs along memory, and leaves fewer rows for the gathering one.
    const bool columns_first = ay.taps <= 2 && ay.size > rows;
    const int64_t chunk = 64, chunks = (ay.size + chunk - 1) / chunk;
    parallel_for(channels * chunks, 1, threads, [&](int64_t begin, int64_t end, int) {
        std::vector<float> buffer(columns_first ? 2 * ax.size : cols);
        for (int64_t job = begin; job < end; ++job) {
            const int64_t channel = job / chunks, first = job % chunks * chunk;
            const float* source = in + channel * rows * cols;
            int64_t kept[2] = {-1, -1};
            for (int64_t y = first; y < std::min(ay.size, first + chunk); ++y) {
                float* target = result + (channel * ay.size + y) * ax.size;
                const int64_t start = ay.start[y];
                const float* w = ay.weights + y * ay.taps;
                if (columns_first) {
                    for (int64_t r = start; r < start + ay.taps; ++r)
                        if (kept[r & 1] != r) {
                            along_columns(source + r * cols, buffer.data() + (r & 1) * ax.size, ax);
                            kept[r & 1] = r;
                        }
                    along_rows([&](int64_t k) { return buffer.data() + ((start + k) & 1) * ax.size; }, w, ay.taps, target, ax.size);
                } else {
                    along_rows([&](int64_t k) { return source + (start + k) * cols; }, w, ay.taps, buffer.data(), cols);
                    along_columns(buffer.data(), target, ax);
                }
            }
        }
    });
}

}  // namespace cellbrook

void register_resample(nb::module_& m) {
    m.def("resample", &cellbrook::resample, nb::arg("image"), nb::arg("start_y"), nb::arg("weights_y"), nb::arg("start_x"),
          nb::arg("weights_x"), nb::arg("out"), nb::arg("threads"));
}
