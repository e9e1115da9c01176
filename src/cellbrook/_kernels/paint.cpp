// Pictures: channels to RGB, contours with a halo, and a colour for every object that no neighbour has.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "parallel.hpp"

namespace nb = nanobind;

namespace cellbrook {
namespace {

using Labels2 = nb::ndarray<const uint32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Rgb = nb::ndarray<uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

// A channel as it is shown: 0 to 255 from low to high, brightened by an exponent below 1.
struct Stretch {
    static constexpr int STEPS = 4096;
    float low, scale, table[STEPS + 1];
    Stretch(double from, double to, double gamma) : low(float(from)), scale(float(STEPS / (to - from))) {
        for (int i = 0; i <= STEPS; ++i) table[i] = float(255 * std::pow(double(i) / STEPS, gamma));
    }
    float operator()(float v) const {
        const float step = (v - low) * scale;
        return step > 0.f ? table[int(std::min(step, float(STEPS)))] : 0.f;  // NaN compares false: black
    }
};

// Channels (any strides) stretched by rows of (low, high, gamma) and added up in their colours.
template <class T>
void compose(nb::ndarray<const T, nb::ndim<3>, nb::device::cpu> image,
             nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu> limits,
             nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu> colors, Rgb rgb, int threads) {
    const int64_t channels = image.shape(0), rows = image.shape(1), cols = image.shape(2);
    const int64_t stride_c = image.stride(0), stride_y = image.stride(1), stride_x = image.stride(2);
    const T* in = image.data();
    const double *limit = limits.data(), *color = colors.data();
    uint8_t* out = rgb.data();
    nb::gil_scoped_release release;
    std::vector<Stretch> stretches;
    for (int64_t c = 0; c < channels; ++c) stretches.emplace_back(limit[3 * c], limit[3 * c + 1], limit[3 * c + 2]);
    const bool grey = channels == 1 && color[0] == 1 && color[1] == 1 && color[2] == 1;
    parallel_for(rows, 32, threads, [&](int64_t begin, int64_t end, int) {
        std::vector<float> sum(grey ? 0 : 3 * cols);
        for (int64_t y = begin; y < end; ++y) {
            uint8_t* o = out + y * cols * 3;
            if (grey) {
                const T* row = in + y * stride_y;
                for (int64_t x = 0; x < cols; ++x) {
                    const uint8_t shown = uint8_t(stretches[0](float(row[x * stride_x])) + 0.5f);
                    o[3 * x] = shown, o[3 * x + 1] = shown, o[3 * x + 2] = shown;
                }
                continue;
            }
            std::fill(sum.begin(), sum.end(), 0.5f);
            for (int64_t c = 0; c < channels; ++c) {
                const T* row = in + c * stride_c + y * stride_y;
                const float r = float(color[3 * c]), g = float(color[3 * c + 1]), b = float(color[3 * c + 2]);
                for (int64_t x = 0; x < cols; ++x) {
                    const float shown = stretches[c](float(row[x * stride_x]));
                    sum[3 * x] += shown * r;
                    sum[3 * x + 1] += shown * g;
                    sum[3 * x + 2] += shown * b;
                }
            }
            for (int64_t i = 0; i < 3 * cols; ++i) o[i] = uint8_t(std::min(sum[i], 255.f));
        }
    });
}

// Calls found(x) for every nonzero byte of a row that is mostly zero.
template <class Found>
void for_nonzero(const uint8_t* row, int64_t cols, Found&& found) {
    int64_t x = 0;
    for (uint64_t word; x + 8 <= cols; x += 8) {
        std::memcpy(&word, row + x, 8);
        if (!word) continue;
        for (int64_t u = x; u < x + 8; ++u)
            if (row[u]) found(u);
    }
    for (; x < cols; ++x)
        if (row[x]) found(x);
}

// marks: 0 nothing, 1 halo, 2 contour. Contours lie inside their object, `width` pixels deep; never along the image's edge.
void mark_contours(const uint32_t* in, int64_t rows, int64_t cols, int width, int halo, uint8_t* marks, int threads) {
    std::vector<uint8_t> edges(rows * cols);
    parallel_for(rows, 64, threads, [&](int64_t begin, int64_t end, int) {
        for (int64_t y = begin; y < end; ++y) {
            const uint32_t *mid = in + y * cols, *up = y ? mid - cols : mid, *down = y + 1 < rows ? mid + cols : mid;
            uint8_t* o = edges.data() + y * cols;
            const auto edge = [&](int64_t x, int64_t left, int64_t right) {
                const uint32_t v = mid[x];
                return uint8_t((v != 0) & ((up[x] != v) | (down[x] != v) | (mid[left] != v) | (mid[right] != v)));
            };
            for (int64_t x = 1; x < cols - 1; ++x) o[x] = edge(x, x - 1, x + 1);
            o[0] = edge(0, 0, std::min<int64_t>(1, cols - 1));
            o[cols - 1] = edge(cols - 1, std::max<int64_t>(0, cols - 2), cols - 1);
        }
    });
    // Each edge pixel stamps a disc on its own label (2) and a wider one of halo (1); a band writes its own rows only.
    struct Offset {
        int dy, dx;
        bool line;
    };
    const int reach = width - 1 + halo;
    std::vector<Offset> disc;
    for (int dy = -reach; dy <= reach; ++dy)
        for (int dx = -reach; dx <= reach; ++dx) {
            const double distance = std::sqrt(double(dy * dy + dx * dx));
            if (distance < width - 0.5 + halo) disc.push_back({dy, dx, distance < width - 0.5});
        }
    parallel_for(rows, 64, threads, [&](int64_t begin, int64_t end, int) {
        for (int64_t y = std::max<int64_t>(0, begin - reach); y < std::min(rows, end + reach); ++y)
            for_nonzero(edges.data() + y * cols, cols, [&](int64_t x) {
                const uint32_t label = in[y * cols + x];
                for (const Offset& offset : disc) {
                    const int64_t v = y + offset.dy, u = x + offset.dx;
                    if (v < begin || v >= end || u < 0 || u >= cols) continue;
                    marks[v * cols + u] |= offset.line && in[v * cols + u] == label ? 2 : 1;
                }
            });
    });
}

struct Luminance {
    float linear[256];
    uint8_t encoded[4096];
    Luminance() {
        for (int i = 0; i < 256; ++i) {
            const double v = i / 255.0;
            linear[i] = float(v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4));
        }
        for (int i = 0; i < 4096; ++i) {
            const double v = i / 4095.0;
            encoded[i] = uint8_t(255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * std::pow(v, 1 / 2.4) - 0.055));
        }
    }
};

// Draws contours in colors[index[label]] and darkens the halo to `shade`, a relative luminance, where it is brighter.
void draw_contours(Labels2 labels, Rgb rgb, nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> index,
                   nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> colors, int width, int halo,
                   double shade, int threads) {
    const int64_t rows = labels.shape(0), cols = labels.shape(1), count = index.shape(0);
    const uint32_t* in = labels.data();
    const uint8_t *color_index = index.data(), *color = colors.data();
    uint8_t* out = rgb.data();
    nb::gil_scoped_release release;
    static const Luminance table;
    std::vector<uint8_t> marks(rows * cols);
    mark_contours(in, rows, cols, width, halo, marks.data(), threads);
    parallel_for(rows, 64, threads, [&](int64_t begin, int64_t end, int) {
        for_nonzero(marks.data() + begin * cols, (end - begin) * cols, [&](int64_t k) {
            const int64_t i = begin * cols + k;
            uint8_t* o = out + 3 * i;
            if (marks[i] & 2) {
                const uint8_t* c = color + 3 * (in[i] < count ? color_index[in[i]] : 0);
                o[0] = c[0], o[1] = c[1], o[2] = c[2];
                return;
            }
            const float r = table.linear[o[0]], g = table.linear[o[1]], b = table.linear[o[2]];
            const float bright = 0.2126f * r + 0.7152f * g + 0.0722f * b;
            if (bright <= shade) return;
            const float scale = float(shade) / bright * 4095.f;
            o[0] = table.encoded[int(r * scale)];
            o[1] = table.encoded[int(g * scale)];
            o[2] = table.encoded[int(b * scale)];
        });
    });
}

// Paints each object in colors[index[label]], background black.
void paint_labels(Labels2 labels, Rgb rgb, nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> index,
                  nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> colors, int threads) {
    const int64_t rows = labels.shape(0), cols = labels.shape(1), count = index.shape(0);
    const uint32_t* in = labels.data();
    const uint8_t *color_index = index.data(), *color = colors.data();
    uint8_t* out = rgb.data();
    nb::gil_scoped_release release;
    parallel_for(rows, 64, threads, [&](int64_t begin, int64_t end, int) {
        const uint8_t black[3] = {0, 0, 0};
        for (int64_t i = begin * cols; i < end * cols; ++i) {
            const uint8_t* c = in[i] && in[i] < count ? color + 3 * color_index[in[i]] : black;
            out[3 * i] = c[0], out[3 * i + 1] = c[1], out[3 * i + 2] = c[2];
        }
    });
}

// out: the label where a pixel is on its object's edge (a 4-neighbour is another object or background), else 0.
void edge_labels(nb::ndarray<const uint32_t, nb::ndim<3>, nb::c_contig, nb::device::cpu> labels,
                 nb::ndarray<uint32_t, nb::ndim<3>, nb::c_contig, nb::device::cpu> out, int threads) {
    const int64_t planes = labels.shape(0), rows = labels.shape(1), cols = labels.shape(2);
    const uint32_t* in = labels.data();
    uint32_t* o = out.data();
    nb::gil_scoped_release release;
    parallel_for(planes * rows, 64, threads, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
            const int64_t y = r % rows;
            const uint32_t* mid = in + r * cols;
            for (int64_t x = 0; x < cols; ++x) {
                const uint32_t v = mid[x];
                const bool inside = y && y + 1 < rows && x && x + 1 < cols && mid[x - cols] == v && mid[x + cols] == v &&
                                    mid[x - 1] == v && mid[x + 1] == v;
                o[r * cols + x] = inside ? 0 : v;
            }
        }
    });
}

class Neighbours {
  public:
    explicit Neighbours(int64_t count) : count_(count) {}
    void add(uint32_t a, uint32_t b) {
        if (a > b) std::swap(a, b);
        const uint64_t key = (uint64_t(a) << 32) | b;
        if (key != last_) pairs_.push_back(last_ = key);
        if (pairs_.size() > limit_) unique();
    }
    // Compressed rows: those of label l are others[start[l] .. start[l + 1]).
    void rows(std::vector<int64_t>& start, std::vector<uint32_t>& others) {
        unique();
        start.assign(count_ + 1, 0);
        for (uint64_t p : pairs_) ++start[(p >> 32) + 1], ++start[uint32_t(p) + 1];
        std::partial_sum(start.begin(), start.end(), start.begin());
        others.resize(start.back());
        std::vector<int64_t> next(start.begin(), start.end() - 1);
        for (uint64_t p : pairs_) {
            others[next[p >> 32]++] = uint32_t(p);
            others[next[uint32_t(p)]++] = uint32_t(p >> 32);
        }
    }

  private:
    void unique() {
        std::sort(pairs_.begin(), pairs_.end());
        pairs_.erase(std::unique(pairs_.begin(), pairs_.end()), pairs_.end());
        limit_ = std::max<size_t>(1 << 20, 2 * pairs_.size());
    }
    int64_t count_;
    uint64_t last_ = 0;
    size_t limit_ = 1 << 20;
    std::vector<uint64_t> pairs_;
};

// Labels that touch (8 neighbours), or see each other along a row or column across at most `reach` background pixels.
void find_neighbours(const uint32_t* in, int64_t rows, int64_t cols, int64_t reach, Neighbours& touching, Neighbours& near) {
    std::vector<uint32_t> above(cols, 0);
    std::vector<int64_t> above_row(cols, 0);
    for (int64_t y = 0; y < rows; ++y) {
        const uint32_t *row = in + y * cols, *up = y ? row - cols : nullptr;
        uint32_t before = 0;
        int64_t before_x = 0;
        for (int64_t x = 0; x < cols; ++x) {
            const uint32_t v = row[x];
            if (!v) continue;
            if (before && before != v && x - before_x <= reach + 1) (x - before_x == 1 ? touching : near).add(before, v);
            before = v, before_x = x;
            if (above[x] && above[x] != v && y - above_row[x] <= reach + 1) (y - above_row[x] == 1 ? touching : near).add(above[x], v);
            above[x] = v, above_row[x] = y;
            if (!up) continue;
            if (x && up[x - 1] && up[x - 1] != v) touching.add(up[x - 1], v);
            if (x + 1 < cols && up[x + 1] && up[x + 1] != v) touching.add(up[x + 1], v);
        }
    }
}

// index: for every label a number below `colors` that touching objects do not share, and close ones only if they must.
// Labels are taken smallest degree last, which never needs more than six colours for a map of connected regions
// whose corners do not cross. Returns how many labels share theirs with one they touch (0 but for extreme cases).
int64_t neighbour_colors(Labels2 labels, nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> index, int colors,
                         int reach) {
    const int64_t rows = labels.shape(0), cols = labels.shape(1), count = index.shape(0);
    const uint32_t* in = labels.data();
    uint8_t* out = index.data();
    nb::gil_scoped_release release;
    Neighbours touching(count), near(count);
    find_neighbours(in, rows, cols, reach, touching, near);
    std::vector<int64_t> touch_start, near_start;
    std::vector<uint32_t> touch, close;
    touching.rows(touch_start, touch);
    near.rows(near_start, close);

    std::vector<int64_t> degree(count);
    int64_t highest = 0;
    for (int64_t l = 0; l < count; ++l) highest = std::max(highest, degree[l] = touch_start[l + 1] - touch_start[l]);
    std::vector<std::vector<uint32_t>> buckets(highest + 1);
    for (int64_t l = count; l-- > 1;) buckets[degree[l]].push_back(uint32_t(l));
    std::vector<uint32_t> order;
    std::vector<char> taken(count, 0);
    order.reserve(count);
    for (int64_t d = 0; d <= highest;) {
        if (buckets[d].empty()) {
            ++d;
            continue;
        }
        const uint32_t l = buckets[d].back();
        buckets[d].pop_back();
        if (taken[l] || degree[l] != d) continue;
        taken[l] = 1;
        order.push_back(l);
        for (int64_t k = touch_start[l]; k < touch_start[l + 1]; ++k)
            if (!taken[touch[k]]) buckets[--degree[touch[k]]].push_back(touch[k]);
        d = std::max<int64_t>(0, d - 1);
    }

    constexpr uint8_t none = 255;
    std::fill(out, out + count, none);
    std::vector<int64_t> used(colors, 0), cost(colors);
    int64_t conflicts = 0;
    for (auto it = order.rbegin(); it != order.rend(); ++it) {
        const uint32_t l = *it;
        // Touching outweighs any number of close ones; among equals the colour that was used least.
        std::fill(cost.begin(), cost.end(), 0);
        for (int64_t k = near_start[l]; k < near_start[l + 1]; ++k)
            if (out[close[k]] != none) cost[out[close[k]]] += 1;
        for (int64_t k = touch_start[l]; k < touch_start[l + 1]; ++k)
            if (out[touch[k]] != none) cost[out[touch[k]]] += int64_t(1) << 32;
        int best = 0;
        for (int c = 1; c < colors; ++c)
            if (cost[c] < cost[best] || (cost[c] == cost[best] && used[c] < used[best])) best = c;
        out[l] = uint8_t(best);
        ++used[best];
        conflicts += cost[best] >> 32 ? 1 : 0;
    }
    for (int64_t l = 0; l < count; ++l)
        if (out[l] == none) out[l] = 0;
    return conflicts;
}

template <class T>
void register_compose(nb::module_& m) {
    m.def("compose", &compose<T>, nb::arg("image").noconvert(), nb::arg("limits"), nb::arg("colors"), nb::arg("rgb"),
          nb::arg("threads"));
}

}  // namespace
}  // namespace cellbrook

void register_paint(nb::module_& m) {
    using namespace cellbrook;
    register_compose<uint8_t>(m);
    register_compose<int8_t>(m);
    register_compose<uint16_t>(m);
    register_compose<int16_t>(m);
    register_compose<uint32_t>(m);
    register_compose<int32_t>(m);
    register_compose<float>(m);
    register_compose<double>(m);
    m.def("draw_contours", &draw_contours, nb::arg("labels"), nb::arg("rgb"), nb::arg("index"), nb::arg("colors"),
          nb::arg("width"), nb::arg("halo"), nb::arg("shade"), nb::arg("threads"));
    m.def("paint_labels", &paint_labels, nb::arg("labels"), nb::arg("rgb"), nb::arg("index"), nb::arg("colors"), nb::arg("threads"));
    m.def("edge_labels", &edge_labels, nb::arg("labels"), nb::arg("out"), nb::arg("threads"));
    m.def("neighbour_colors", &neighbour_colors, nb::arg("labels"), nb::arg("index"), nb::arg("colors"), nb::arg("reach"));
}
