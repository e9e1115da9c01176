#include "settle.hpp"

#include <cmath>

#include "dispatch.hpp"
#include "parallel.hpp"

#if defined(CELLBROOK_X86_LEVELS)
#include <immintrin.h>
#endif

namespace cellbrook {

namespace {

constexpr int64_t kChunk = 1024;  // pixels walked together

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
                    for (int a = 0; a < D; ++a) inside = inside && is_flow(flows[a * size + i]);
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

// A block of steps for each of n positions.
template <int D>
void walk_block(const Walker<D>& walker, std::array<float, D>* positions, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        std::array<float, D> p = positions[i];
        for (int k = 0; k < kBlock; ++k) walker.step(p);
        positions[i] = p;
    }
}

#if defined(CELLBROOK_X86_LEVELS)
// The same bits: four pixels in a register as (y, x) pairs, four registers at once so that their latencies overlap.
// Writes up to 15 positions behind the last, which must be there and inside the image.
CELLBROOK_AVX2 void walk_block_avx2(const Walker<2>& walker, std::array<float, 2>* positions, int64_t n) {
    const int32_t row = int32_t(walker.stride[0] / 2);
    const __m256i strides = _mm256_setr_epi32(row, 1, row, 1, row, 1, row, 1);
    const __m256 zero = _mm256_setzero_ps();
    const __m256 last = _mm256_setr_ps(walker.last[0], walker.last[1], walker.last[0], walker.last[1], walker.last[0],
                                       walker.last[1], walker.last[0], walker.last[1]);
    const int64_t down = walker.stride[0];
    const float* origin = walker.values;
    float* p = positions->data();
    constexpr int kGroups = 4;
    for (int64_t i = 0; i < n; i += 4 * kGroups) {
        __m256 at[kGroups];
        for (int k = 0; k < kGroups; ++k) at[k] = _mm256_loadu_ps(p + 2 * i + 8 * k);
        for (int s = 0; s < kBlock; ++s) {
#pragma GCC unroll 4
            for (int k = 0; k < kGroups; ++k) {
                const __m256i whole = _mm256_cvttps_epi32(at[k]);
                const __m256 weight = _mm256_sub_ps(at[k], _mm256_cvtepi32_ps(whole));
                const __m256i terms = _mm256_mullo_epi32(whole, strides);
                alignas(32) int32_t offset[8];
                _mm256_store_si256(reinterpret_cast<__m256i*>(offset),
                                   _mm256_add_epi32(terms, _mm256_shuffle_epi32(terms, 0xB1)));
                const float *v0 = origin + 2 * int64_t(offset[0]), *v1 = origin + 2 * int64_t(offset[2]);
                const float *v2 = origin + 2 * int64_t(offset[4]), *v3 = origin + 2 * int64_t(offset[6]);
                const __m256d top02 = _mm256_castps_pd(
                    _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(v0)), _mm_loadu_ps(v2), 1));
                const __m256d top13 = _mm256_castps_pd(
                    _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(v1)), _mm_loadu_ps(v3), 1));
                const __m256d low02 = _mm256_castps_pd(_mm256_insertf128_ps(
                    _mm256_castps128_ps256(_mm_loadu_ps(v0 + down)), _mm_loadu_ps(v2 + down), 1));
                const __m256d low13 = _mm256_castps_pd(_mm256_insertf128_ps(
                    _mm256_castps128_ps256(_mm_loadu_ps(v1 + down)), _mm_loadu_ps(v3 + down), 1));
                const __m256 nw = _mm256_castpd_ps(_mm256_unpacklo_pd(top02, top13));
                const __m256 ne = _mm256_castpd_ps(_mm256_unpackhi_pd(top02, top13));
                const __m256 sw = _mm256_castpd_ps(_mm256_unpacklo_pd(low02, low13));
                const __m256 se = _mm256_castpd_ps(_mm256_unpackhi_pd(low02, low13));
                const __m256 wy = _mm256_moveldup_ps(weight), wx = _mm256_movehdup_ps(weight);
                const __m256 top = _mm256_add_ps(nw, _mm256_mul_ps(wx, _mm256_sub_ps(ne, nw)));
                const __m256 low = _mm256_add_ps(sw, _mm256_mul_ps(wx, _mm256_sub_ps(se, sw)));
                const __m256 flow = _mm256_add_ps(top, _mm256_mul_ps(wy, _mm256_sub_ps(low, top)));
                at[k] = _mm256_min_ps(_mm256_max_ps(_mm256_add_ps(at[k], flow), zero), last);
            }
        }
        for (int k = 0; k < kGroups; ++k) _mm256_storeu_ps(p + 2 * i + 8 * k, at[k]);
    }
}
#endif

template <int D>
void walk_block_best(const Walker<D>& walker, std::array<float, D>* positions, int64_t n) {
#if defined(CELLBROOK_X86_LEVELS)
    if constexpr (D == 2)
        if (vector_level() >= Level::avx2) return walk_block_avx2(walker, positions, n);
#endif
    walk_block<D>(walker, positions, n);
}

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
    const int64_t size = grid.size();
    parallel_for((size + kChunk - 1) / kChunk, 1, threads, [&](int64_t begin, int64_t end, int) {
        std::vector<std::array<float, D>> now(kChunk + 16), before(kChunk), start(kChunk);
        std::vector<int32_t> pixel(kChunk);
        for (int64_t chunk = begin; chunk < end; ++chunk) {
            int64_t n = 0;
            const int64_t stop = std::min(size, (chunk + 1) * kChunk);
            auto c = grid.coordinates(chunk * kChunk);
            for (int64_t i = chunk * kChunk; i < stop; ++i) {
                strides[i] = kBackground;
                if (field.foreground[i]) {
                    for (int a = 0; a < D; ++a) now[n][a] = float(c[a]);
                    start[n] = now[n];
                    pixel[n++] = int32_t(i);
                }
                for (int a = D - 1; ++c[a] == grid.n[a] && a > 0; --a) c[a] = 0;
            }
            for (int block = 1; n; ++block) {
                std::copy_n(now.begin(), n, before.begin());
                walk_block_best<D>(walker, now.data(), n);
                int64_t left = 0;
                for (int64_t k = 0; k < n; ++k) {
                    const bool away = distance<D>(now[k], start[k]) >= kStride;
                    if (!away && block < kMaxBlocks && distance<D>(now[k], before[k]) >= kRest) {
                        now[left] = now[k];
                        start[left] = start[k];
                        pixel[left++] = pixel[k];
                        continue;
                    }
                    const int32_t here = pixel_at<D>(grid, now[k]);
                    strides[pixel[k]] = away ? here : at_rest(here);
                    if (steps) steps[pixel[k]] = uint8_t(block * kBlock);
                }
                n = left;
            }
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
