// Positions are kept in the peer's unit, [-1, 1] from the first to the last pixel centre, but sampled as if it spanned
// the pixels' outer edges (a known defect: up to half a pixel off, and half the flow at the border). The order of
// operations and the fused multiply-adds are those of the vectorised sampler that the peer calls, so that positions
// are equal to the last bit; in 3-D that sampler is a plain one, without fused operations.
#include "trail.hpp"

#include <cmath>
#include <cstring>
#include <memory>

#include "dispatch.hpp"
#include "parallel.hpp"

#if defined(CELLBROOK_X86_LEVELS)
#include <immintrin.h>
#endif

namespace cellbrook {

namespace {

// Trajectories end in cycles, exact to the bit, nearly always of one of the periods 1, 2, 3, 4, 6 or 12. A pixel that
// is where it was this many steps ago is there again after any multiple of them.
constexpr int kPeriod = 12;
constexpr int64_t kChunk = 1024;

template <int D>
struct TrailField {
    static constexpr int kLanes = D == 2 ? 2 : 4;
    Grid<D> grid, padded;
    std::unique_ptr<float[]> values;  // a margin of one zero on every side
    float scale[D], half[D];

    TrailField(const Grid<D>& image, const float* flows, const float* cellprob, float threshold, int threads)
        : grid(image) {
        for (int a = 0; a < D; ++a) {
            padded.n[a] = image.n[a] + 2;
            scale[a] = image.n[a] > 1 ? float(2. / double(image.n[a] - 1)) : 0.f;
            half[a] = float(double(image.n[a]) / 2);
        }
        values.reset(new float[size_t(padded.size() * kLanes)]);
        parallel_for(padded.rows(), 64, threads, [&](int64_t begin, int64_t end, int) {
            std::memset(values.get() + begin * padded.width() * kLanes, 0,
                        sizeof(float) * size_t((end - begin) * padded.width() * kLanes));
        });
        const int64_t width = image.width(), size = image.size();
        parallel_for(image.rows(), 16, threads, [&](int64_t begin, int64_t end, int) {
            for (int64_t row = begin; row < end; ++row) {
                int64_t padded_row = row + 1;
                if constexpr (D == 3) padded_row = (row / grid.n[1] + 1) * padded.n[1] + row % grid.n[1] + 1;
                float* out = values.get() + (padded_row * padded.width() + 1) * kLanes;
                for (int64_t x = 0; x < width; ++x) {
                    const int64_t i = row * width + x;
                    if (!(cellprob[i] > threshold)) continue;
                    for (int a = 0; a < D; ++a) {
                        const float flow = flows[a * size + i];
                        // the peer is given five times the flow and divides by five
                        if (is_flow(flow)) out[x * kLanes + a] = flow * 5.f / 5.f * scale[a];
                    }
                }
            }
        });
    }
};

CELLBROOK_INLINE float clamp_unit(float v) { return std::min(std::max(v, -1.f), 1.f); }

// `steps` steps of one pixel at (y, x).
void walk(const TrailField<2>& field, float* p, int steps) {
    const int64_t down = field.padded.n[1] * 2;
    for (int s = 0; s < steps; ++s) {
        const float gy = std::fma(p[0] + 1.f, field.half[0], -0.5f), gx = std::fma(p[1] + 1.f, field.half[1], -0.5f);
        const float fy = std::floor(gy), fx = std::floor(gx);
        const float wy = gy - fy, wx = gx - fx, uy = 1.f - wy, ux = 1.f - wx;
        const float nw = ux * uy, ne = wx * uy, sw = ux * wy, se = wx * wy;
        const float* v = field.values.get() + (int64_t(fy) + 1) * down + (int64_t(fx) + 1) * 2;
        for (int a = 0; a < 2; ++a)
            p[a] = clamp_unit(
                p[a] + std::fma(v[down + 2 + a], se, std::fma(v[down + a], sw, std::fma(v[2 + a], ne, v[a] * nw))));
    }
}

void walk(const TrailField<3>& field, float* p, int steps) {
    const int64_t down = field.padded.n[2] * 4, deep = field.padded.n[1] * down;
    for (int s = 0; s < steps; ++s) {
        float g[3], low[3], high[3];  // weights of the lower and the upper pixel along each axis
        int64_t offset = 0;
        for (int a = 0; a < 3; ++a) {
            g[a] = ((p[a] + 1.f) * float(field.grid.n[a]) - 1.f) / 2.f;
            const float floor = std::floor(g[a]);
            low[a] = (floor + 1.f) - g[a];
            high[a] = g[a] - floor;
            offset = offset * field.padded.n[a] + int64_t(floor) + 1;
        }
        const float* v = field.values.get() + offset * 4;
        for (int a = 0; a < 3; ++a) {
            float sum = 0;
            for (int corner = 0; corner < 8; ++corner) {
                const bool z = corner & 4, y = corner & 2, x = corner & 1;
                const float weight = (x ? high[2] : low[2]) * (y ? high[1] : low[1]) * (z ? high[0] : low[0]);
                sum += v[(z ? deep : 0) + (y ? down : 0) + (x ? 4 : 0) + a] * weight;
            }
            g[a] = sum;
        }
        for (int a = 0; a < 3; ++a) p[a] = clamp_unit(p[a] + g[a]);
    }
}

template <int D>
void walk_all(const TrailField<D>& field, float* p, int64_t n, int steps) {
    for (int64_t i = 0; i < n; ++i) walk(field, p + D * i, steps);
}

#if defined(CELLBROOK_X86_LEVELS)
// Four pixels in a register as (y, x) pairs, four registers at once so that their latencies overlap. Writes up to 15
// positions behind the last, which must be there and inside [-1, 1].
CELLBROOK_AVX2 void walk_all_avx2(const TrailField<2>& field, float* p, int64_t n, int steps) {
    const __m256 one = _mm256_set1_ps(1.f), minus_one = _mm256_set1_ps(-1.f), minus_half = _mm256_set1_ps(-0.5f);
    const __m256 half = _mm256_setr_ps(field.half[0], field.half[1], field.half[0], field.half[1], field.half[0],
                                       field.half[1], field.half[0], field.half[1]);
    const int32_t row = int32_t(field.padded.n[1]);
    const __m256i strides = _mm256_setr_epi32(row, 1, row, 1, row, 1, row, 1);
    const int64_t down = int64_t(row) * 2;
    const float* origin = field.values.get() + down + 2;
    constexpr int kGroups = 4;
    for (int64_t i = 0; i < n; i += 4 * kGroups) {
        __m256 at[kGroups];
        for (int k = 0; k < kGroups; ++k) at[k] = _mm256_loadu_ps(p + 2 * i + 8 * k);
        for (int s = 0; s < steps; ++s) {
#pragma GCC unroll 4
            for (int k = 0; k < kGroups; ++k) {
                const __m256 g = _mm256_fmadd_ps(_mm256_add_ps(at[k], one), half, minus_half);
                const __m256 floor = _mm256_floor_ps(g);
                const __m256 w = _mm256_sub_ps(g, floor), u = _mm256_sub_ps(one, w);
                const __m256i terms = _mm256_mullo_epi32(_mm256_cvttps_epi32(floor), strides);
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
                const __m256 wy = _mm256_moveldup_ps(w), wx = _mm256_movehdup_ps(w);
                const __m256 uy = _mm256_moveldup_ps(u), ux = _mm256_movehdup_ps(u);
                __m256 flow = _mm256_mul_ps(nw, _mm256_mul_ps(ux, uy));
                flow = _mm256_fmadd_ps(ne, _mm256_mul_ps(wx, uy), flow);
                flow = _mm256_fmadd_ps(sw, _mm256_mul_ps(ux, wy), flow);
                flow = _mm256_fmadd_ps(se, _mm256_mul_ps(wx, wy), flow);
                at[k] = _mm256_min_ps(_mm256_max_ps(_mm256_add_ps(at[k], flow), minus_one), one);
            }
        }
        for (int k = 0; k < kGroups; ++k) _mm256_storeu_ps(p + 2 * i + 8 * k, at[k]);
    }
}

// The same with eight pixels in a register; a gather fetches the (y, x) pairs of eight corners. Leaves what does not
// fill four registers to the narrower one.
CELLBROOK_AVX512 void walk_all_avx512(const TrailField<2>& field, float* p, int64_t n, int steps) {
    const __m512 one = _mm512_set1_ps(1.f), minus_one = _mm512_set1_ps(-1.f), minus_half = _mm512_set1_ps(-0.5f);
    const __m512 half = _mm512_castpd_ps(_mm512_broadcastsd_pd(_mm_castps_pd(
        _mm_setr_ps(field.half[0], field.half[1], field.half[0], field.half[1]))));
    const int32_t row = int32_t(field.padded.n[1]);
    const __m512i strides = _mm512_set1_epi64((int64_t(1) << 32) | int64_t(row));
    // pairs of floats are gathered as doubles, of which only the bits count
    const double* north_west = reinterpret_cast<const double*>(field.values.get()) + row + 1;
    const double* south_west = north_west + row;
    constexpr int kGroups = 4;
    int64_t i = 0;
    for (; i + 8 * kGroups <= n; i += 8 * kGroups) {
        __m512 at[kGroups];
        for (int k = 0; k < kGroups; ++k) at[k] = _mm512_loadu_ps(p + 2 * i + 16 * k);
        for (int s = 0; s < steps; ++s) {
#pragma GCC unroll 4
            for (int k = 0; k < kGroups; ++k) {
                const __m512 g = _mm512_fmadd_ps(_mm512_add_ps(at[k], one), half, minus_half);
                const __m512 floor = _mm512_roundscale_ps(g, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
                const __m512 w = _mm512_sub_ps(g, floor), u = _mm512_sub_ps(one, w);
                const __m512i whole = _mm512_cvttps_epi32(floor);
                // y * row + x; y and x may be -1, hence the signed shift before the sum
                const __m512i y_rows = _mm512_mul_epi32(whole, strides);
                const __m512i offset = _mm512_add_epi64(y_rows, _mm512_srai_epi64(whole, 32));
                const __m512 nw = _mm512_castpd_ps(_mm512_i64gather_pd(offset, north_west, 8));
                const __m512 ne = _mm512_castpd_ps(_mm512_i64gather_pd(offset, north_west + 1, 8));
                const __m512 sw = _mm512_castpd_ps(_mm512_i64gather_pd(offset, south_west, 8));
                const __m512 se = _mm512_castpd_ps(_mm512_i64gather_pd(offset, south_west + 1, 8));
                const __m512 wy = _mm512_moveldup_ps(w), wx = _mm512_movehdup_ps(w);
                const __m512 uy = _mm512_moveldup_ps(u), ux = _mm512_movehdup_ps(u);
                __m512 flow = _mm512_mul_ps(nw, _mm512_mul_ps(ux, uy));
                flow = _mm512_fmadd_ps(ne, _mm512_mul_ps(wx, uy), flow);
                flow = _mm512_fmadd_ps(sw, _mm512_mul_ps(ux, wy), flow);
                flow = _mm512_fmadd_ps(se, _mm512_mul_ps(wx, wy), flow);
                at[k] = _mm512_min_ps(_mm512_max_ps(_mm512_add_ps(at[k], flow), minus_one), one);
            }
        }
        for (int k = 0; k < kGroups; ++k) _mm512_storeu_ps(p + 2 * i + 16 * k, at[k]);
    }
    if (i < n) walk_all_avx2(field, p + 2 * i, n - i, steps);
}
#endif

template <int D>
void advance(const TrailField<D>& field, float* p, int64_t n, int steps) {
#if defined(CELLBROOK_X86_LEVELS)
    if constexpr (D == 2) {
        if (vector_level() >= Level::avx512) return walk_all_avx512(field, p, n, steps);
        if (vector_level() >= Level::avx2) return walk_all_avx2(field, p, n, steps);
    }
#endif
    walk_all(field, p, n, steps);
}

}  // namespace

template <int D>
void follow_flows(const Grid<D>& grid, const float* flows, const float* cellprob, float threshold, int64_t niter,
                  int64_t margin, int threads, int32_t* ends) {
    const TrailField<D> field(grid, flows, cellprob, threshold, threads);
    const int64_t size = grid.size();
    auto end_pixel = [&](const float* p) {
        int64_t index = 0;
        for (int a = 0; a < D; ++a)
            index = index * (grid.n[a] + 2 * margin) + int64_t((p[a] + 1.f) * 0.5f * float(grid.n[a] - 1)) + margin;
        return int32_t(index);
    };
    parallel_for((size + kChunk - 1) / kChunk, 1, threads, [&](int64_t begin, int64_t end, int) {
        std::vector<float> now(D * (kChunk + 16)), before(D * kChunk);
        std::vector<int32_t> pixel(kChunk);
        for (int64_t chunk = begin; chunk < end; ++chunk) {
            int64_t n = 0;
            auto c = grid.coordinates(chunk * kChunk);
            for (int64_t i = chunk * kChunk; i < std::min(size, (chunk + 1) * kChunk); ++i, grid.next(c)) {
                ends[i] = -1;
                if (!(cellprob[i] > threshold)) continue;
                for (int a = 0; a < D; ++a)
                    now[D * n + a] = grid.n[a] > 1 ? float(c[a]) / float(grid.n[a] - 1) * 2.f - 1.f : -1.f;
                pixel[n++] = int32_t(i);
            }
            advance(field, now.data(), n, int(niter % kPeriod));
            for (int64_t step = niter % kPeriod; step < niter && n; step += kPeriod) {
                std::memcpy(before.data(), now.data(), sizeof(float) * D * n);
                advance(field, now.data(), n, kPeriod);
                int64_t left = 0;
                for (int64_t i = 0; i < n; ++i) {
                    bool same = true;
                    for (int a = 0; a < D; ++a) same &= now[D * i + a] == before[D * i + a];
                    if (same) {
                        ends[pixel[i]] = end_pixel(&now[D * i]);
                    } else {
                        for (int a = 0; a < D; ++a) now[D * left + a] = now[D * i + a];
                        pixel[left++] = pixel[i];
                    }
                }
                n = left;
            }
            for (int64_t i = 0; i < n; ++i) ends[pixel[i]] = end_pixel(&now[D * i]);
        }
    });
}

template void follow_flows<2>(const Grid<2>&, const float*, const float*, float, int64_t, int64_t, int, int32_t*);
template void follow_flows<3>(const Grid<3>&, const float*, const float*, float, int64_t, int64_t, int, int32_t*);

}  // namespace cellbrook
