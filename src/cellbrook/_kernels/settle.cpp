#include "settle.hpp"

#include <cmath>

#include "parallel.hpp"

namespace cellbrook {

namespace {

// The flow of foreground pixels, components side by side and zero elsewhere, so that one sample touches two cache
// lines. One more row and column of zeros spares a test at the far border: the weight there is zero.
template <int D>
struct Field {
    static constexpr int kLanes = D == 2 ? 2 : 4;
    Grid<D> grid, padded;
    std::vector<float> values;
    std::vector<uint8_t> foreground;

    Field(const Grid<D>& image, const float* flows, const float* cellprob, float threshold, int threads) : grid(image) {
        for (int a = 0; a < D; ++a) padded.n[a] = image.n[a] + 1;
        values.assign(size_t(padded.size() * kLanes), 0.f);
        foreground.assign(size_t(image.size()), 0);
        const int64_t width = image.width(), size = image.size();
        parallel_for(image.rows(), 16, threads, [&](int64_t begin, int64_t end, int) {
            for (int64_t row = begin; row < end; ++row) {
                int64_t padded_row = row;
                if constexpr (D == 3) padded_row = row / grid.n[1] * padded.n[1] + row % grid.n[1];
                float* out = values.data() + padded_row * padded.width() * kLanes;
                for (int64_t x = 0; x < width; ++x) {
                    const int64_t i = row * width + x;
                    bool inside = cellprob[i] > threshold && std::isfinite(cellprob[i]);
                    for (int a = 0; a < D; ++a) inside = inside && std::isfinite(flows[a * size + i]);
                    foreground[i] = inside;
                    if (inside)
                        for (int a = 0; a < D; ++a) out[x * kLanes + a] = flows[a * size + i];
                }
            }
        });
    }
};

template <int D>
struct Walker {
    const float* values;
    std::array<int64_t, D> stride;  // in floats
    std::array<float, D> last;      // largest coordinate along each axis

    explicit Walker(const Field<D>& field) : values(field.values.data()) {
        for (int a = 0; a < D; ++a) {
            stride[a] = field.padded.stride(a) * Field<D>::kLanes;
            last[a] = float(field.grid.n[a] - 1);
        }
    }

    // One step along the flow, sampled bilinearly between pixel centres and kept inside the image.
    void step(std::array<float, D>& p) const {
        std::array<float, D> weight;
        const float* corner = values;
        for (int a = 0; a < D; ++a) {
            const int32_t whole = int32_t(p[a]);
            weight[a] = p[a] - float(whole);
            corner += whole * stride[a];
        }
        for (int a = 0; a < D; ++a) {
            const float flow = sample<0>(corner + a, weight);
            p[a] = std::min(std::max(p[a] + flow, 0.f), last[a]);
        }
    }

private:
    template <int Axis>
    float sample(const float* v, const std::array<float, D>& weight) const {
        if constexpr (Axis == D) {
            return *v;
        } else {
            const float low = sample<Axis + 1>(v, weight), high = sample<Axis + 1>(v + stride[Axis], weight);
            return low + weight[Axis] * (high - low);
        }
    }
};

template <int D>
float distance(const std::array<float, D>& a, const std::array<float, D>& b) {
    float largest = 0;
    for (int i = 0; i < D; ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
    return largest;
}

template <int D>
int32_t pixel_at(const Grid<D>& grid, const std::array<float, D>& p) {
    int64_t index = 0;
    for (int a = 0; a < D; ++a) index = index * grid.n[a] + int64_t(p[a] + 0.5f);
    return int32_t(index);
}

}  // namespace

template <int D>
void find_strides(const Grid<D>& grid, const float* flows, const float* cellprob, float threshold, int threads,
                  int32_t* strides, uint8_t* steps) {
    const Field<D> field(grid, flows, cellprob, threshold, threads);
    const Walker<D> walker(field);
    parallel_for(grid.rows(), 8, threads, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin * grid.width(); i < end * grid.width(); ++i) {
            if (!field.foreground[i]) {
                strides[i] = kBackground;
                continue;
            }
            std::array<float, D> start, p;
            const auto c = grid.coordinates(i);
            for (int a = 0; a < D; ++a) start[a] = p[a] = float(c[a]);
            int block = 0;
            bool rest = false;
            while (++block <= kMaxBlocks) {
                const auto before = p;
                for (int k = 0; k < kBlock; ++k) walker.step(p);
                if (distance<D>(p, start) >= kStride) break;
                if ((rest = distance<D>(p, before) < kRest)) break;
            }
            const int32_t end_pixel = pixel_at<D>(grid, p);
            strides[i] = rest || block > kMaxBlocks ? at_rest(end_pixel) : end_pixel;
            if (steps) steps[i] = uint8_t(std::min(block, kMaxBlocks) * kBlock);
        }
    });
}

template <int D>
void follow_strides(const Grid<D>& grid, const int32_t* strides, const uint8_t* steps, int64_t niter, int threads,
                    int32_t* sinks) {
    const int64_t size = grid.size();
    if (steps) {
        parallel_for(size, 4096, threads, [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i) {
                if (strides[i] == kBackground) {
                    sinks[i] = -1;
                    continue;
                }
                int64_t at = i, left = niter;
                while (strides[at] != kBackground && steps[at] <= left) {
                    left -= steps[at];
                    if (is_rest(strides[at])) {
                        at = at_rest(strides[at]);
                        break;
                    }
                    at = strides[at];
                }
                sinks[i] = int32_t(at);
            }
        });
        return;
    }
    // Each path is walked once: its pixels take the sink of the first pixel already known, of the pixel where it
    // comes to rest, or of the smallest pixel of the cycle it runs into.
    constexpr int32_t kUnknown = -2, kOnPath = -3;
    std::fill(sinks, sinks + size, kUnknown);
    std::vector<int32_t> path;
    for (int64_t i = 0; i < size; ++i) {
        if (strides[i] == kBackground) sinks[i] = -1;
    }
    for (int64_t i = 0; i < size; ++i) {
        if (sinks[i] != kUnknown) continue;
        path.clear();
        int32_t at = int32_t(i), sink;
        for (;;) {
            if (sinks[at] >= 0) {
                sink = sinks[at];
                break;
            }
            if (sinks[at] == -1) {  // carried out of the foreground
                sink = at;
                break;
            }
            if (sinks[at] == kOnPath) {
                sink = at;
                for (size_t k = path.size(); path[--k] != at;) sink = std::min(sink, path[k]);
                break;
            }
            sinks[at] = kOnPath;
            path.push_back(at);
            if (is_rest(strides[at])) {
                sink = at_rest(strides[at]);
                break;
            }
            at = strides[at];
        }
        for (const int32_t pixel : path) sinks[pixel] = sink;
    }
}

template void find_strides<2>(const Grid<2>&, const float*, const float*, float, int, int32_t*, uint8_t*);
template void find_strides<3>(const Grid<3>&, const float*, const float*, float, int, int32_t*, uint8_t*);
template void follow_strides<2>(const Grid<2>&, const int32_t*, const uint8_t*, int64_t, int, int32_t*);
template void follow_strides<3>(const Grid<3>&, const int32_t*, const uint8_t*, int64_t, int, int32_t*);

}  // namespace cellbrook
