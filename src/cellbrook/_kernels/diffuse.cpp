#include "diffuse.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "arrays.hpp"
#include "dispatch.hpp"
#include "flush_denormals.hpp"
#include "parallel.hpp"
#include "regions.hpp"

namespace cellbrook {

namespace {

// Below this the heat of a long object is near the end of what the type can hold, and its differences mean nothing.
constexpr float kColdFloat = 1e-30f;
constexpr double kColdDouble = 1e-290;
// A slope less than this part of the heat is rounding: the centre of a symmetric object.
constexpr double kRounding = 1e-6;

// Heat of a piece in its padded box, and the way it spreads. `now` and `next` are exchanged after each step.
template <int D, class Real>
struct Spread {
    Real *now, *next;
    const Real* share;
    int64_t row, plane, cells;  // strides and size in numbers
    std::array<int64_t, D> extent, centre;
    int64_t source, origin;  // places of the centre and of the box's first pixel
    int64_t steps;
};

constexpr int kVector = 16;  // numbers in the longest vector of any level: rows are padded to whole ones
#if defined(__GNUC__) || defined(__clang__)
template <class Real, int Bytes>
struct VectorOf {
    typedef Real Type __attribute__((vector_size(Bytes), aligned(sizeof(Real)), may_alias));
};
template <class Real, int Bytes>
using Vector = typename VectorOf<Real, Bytes>::Type;
#else
template <class Real, int Bytes>
struct Vector {
    Real v[Bytes / sizeof(Real)];
    friend Vector operator+(Vector a, const Vector& b) {
        for (size_t i = 0; i < Bytes / sizeof(Real); ++i) a.v[i] += b.v[i];
        return a;
    }
    friend Vector operator*(Vector a, const Vector& b) {
        for (size_t i = 0; i < Bytes / sizeof(Real); ++i) a.v[i] *= b.v[i];
        return a;
    }
};
#endif
#define LOAD(p) (*reinterpret_cast<const V*>(p))
#define STORE(p) (*reinterpret_cast<V*>(p))

// One step: the mean over 3 x 3 pixels (2-D), or over a voxel and the six at its faces (3-D), in the part of the box
// that heat can have reached.
template <int D, class Real, int Bytes>
CELLBROOK_INLINE void spread_once(const Spread<D, Real>& s, int64_t reach) {
    using V = Vector<Real, Bytes>;
    constexpr int64_t kStep = Bytes / sizeof(Real);
    std::array<int64_t, D> low, high;
    for (int a = 0; a < D; ++a) {
        low[a] = std::max<int64_t>(0, s.centre[a] - reach);
        high[a] = std::min<int64_t>(s.extent[a], s.centre[a] + reach + 1);
    }
    const int64_t row = s.row, x0 = low[D - 1] / kStep * kStep;
    for (int64_t x = x0; x < high[D - 1]; x += kStep) {
        if constexpr (D == 2) {
            int64_t i = s.origin + (low[0] - 1) * row + x;
            V above = LOAD(s.now + i - 1) + LOAD(s.now + i) + LOAD(s.now + i + 1);
            i += row;
            V middle = LOAD(s.now + i - 1) + LOAD(s.now + i) + LOAD(s.now + i + 1);
            for (int64_t y = low[0]; y < high[0]; ++y, i += row) {
                const Real* p = s.now + i + row;
                const V below = LOAD(p - 1) + LOAD(p) + LOAD(p + 1);
                STORE(s.next + i) = (above + middle + below) * LOAD(s.share + i);
                above = middle;
                middle = below;
            }
        } else {
            for (int64_t z = low[0]; z < high[0]; ++z) {
                int64_t i = s.origin + z * s.plane + low[1] * row + x;
                for (int64_t y = low[1]; y < high[1]; ++y, i += row) {
                    const Real* p = s.now + i;
                    STORE(s.next + i) = (LOAD(p) + LOAD(p - 1) + LOAD(p + 1) + LOAD(p - row) + LOAD(p + row) +
                                         LOAD(p - s.plane) + LOAD(p + s.plane)) *
                                        LOAD(s.share + i);
                }
            }
        }
    }
}

template <int D, class Real, int Bytes>
CELLBROOK_INLINE void spread_all(Spread<D, Real>& s) {
    for (int64_t step = 0; step < s.steps; ++step) {
        s.now[s.source] += 1;
        spread_once<D, Real, Bytes>(s, step + 1);
        std::swap(s.now, s.next);
        // in balance: no further step would change a bit
        if (step % 32 == 31 && !std::memcmp(s.now, s.next, size_t(s.cells) * sizeof(Real))) return;
    }
}
#undef LOAD
#undef STORE

// Unit vectors along the differences of neighbours, for a row of `width` pixels; 0 where `piece` differs.
template <int D, class Real, int Bytes>
CELLBROOK_INLINE void unit_gradient(const Real* heat, const std::array<int64_t, D>& strides, const int32_t* pieces,
                                    int32_t piece, int64_t width, const std::array<float*, D>& out) {
    for (int64_t x = 0; x < width; ++x) {
        Real slope[D], steepest = 0, square = 0;
        for (int a = 0; a < D; ++a) {
            slope[a] = heat[x + strides[a]] - heat[x - strides[a]];
            const Real size = slope[a] < 0 ? -slope[a] : slope[a];
            steepest = steepest > size ? steepest : size;
        }
        // divided by the largest first: squares of tiny numbers would vanish
        const bool any = steepest > Real(kRounding) * heat[x];
        const Real scale = Real(1) / (any ? steepest : Real(1));
        for (int a = 0; a < D; ++a) {
            slope[a] *= scale;
            square += slope[a] * slope[a];
        }
        const Real unit = Real(1) / std::sqrt(any ? square : Real(1));
        const bool own = pieces[x] == piece;
        for (int a = 0; a < D; ++a) {
            const float value = any ? float(slope[a] * unit) : 0.f;
            out[a][x] = own ? value : out[a][x];
        }
    }
}

#if defined(CELLBROOK_X86_LEVELS)
#define AT_LEVEL(NAME, PARAMETERS, ARGUMENTS)                                                    \
    template <int D, class Real>                                                                 \
    void NAME##_baseline PARAMETERS { NAME<D, Real, 16> ARGUMENTS; }                               \
    template <int D, class Real>                                                                 \
    CELLBROOK_AVX2 void NAME##_avx2 PARAMETERS { NAME<D, Real, 32> ARGUMENTS; }                  \
    template <int D, class Real>                                                                 \
    CELLBROOK_AVX512 void NAME##_avx512 PARAMETERS { NAME<D, Real, 64> ARGUMENTS; }              \
    template <int D, class Real>                                                                 \
    void NAME##_best PARAMETERS {                                                                \
        const Level level = vector_level();                                                      \
        if (level == Level::avx512) return NAME##_avx512<D, Real> ARGUMENTS;                     \
        if (level == Level::avx2) return NAME##_avx2<D, Real> ARGUMENTS;                         \
        NAME##_baseline<D, Real> ARGUMENTS;                                                      \
    }
#else
#define AT_LEVEL(NAME, PARAMETERS, ARGUMENTS) \
    template <int D, class Real>              \
    void NAME##_best PARAMETERS { NAME<D, Real, 16> ARGUMENTS; }
#endif
#define COMMA ,
AT_LEVEL(spread_all, (Spread<D COMMA Real>& s), (s))
AT_LEVEL(unit_gradient,
         (const Real* heat, const std::array<int64_t COMMA D>& strides, const int32_t* pieces, int32_t piece,
          int64_t width, const std::array<float* COMMA D>& out),
         (heat, strides, pieces, piece, width, out))
#undef COMMA
#undef AT_LEVEL

// Offsets of the neighbours through which heat spreads: 8 in 2-D, 6 in 3-D.
template <int D>
std::vector<std::array<int64_t, D>> neighbour_offsets() {
    std::vector<std::array<int64_t, D>> offsets;
    if constexpr (D == 2) {
        for (int64_t y = -1; y <= 1; ++y)
            for (int64_t x = -1; x <= 1; ++x)
                if (x || y) offsets.push_back({y, x});
    } else {
        for (int a = 0; a < D; ++a)
            for (int64_t s = -1; s <= 1; s += 2) {
                std::array<int64_t, D> o{};
                o[a] = s;
                offsets.push_back(o);
            }
    }
    return offsets;
}

template <int D>
bool neighbour_at(const Grid<D>& grid, const std::array<int64_t, D>& c, const std::array<int64_t, D>& offset,
                  int64_t& index) {
    index = 0;
    for (int a = 0; a < D; ++a) {
        const int64_t v = c[a] + offset[a];
        if (v < 0 || v >= grid.n[a]) return false;
        index = index * grid.n[a] + v;
    }
    return true;
}

}  // namespace

template <int D>
template <class Real>
int64_t ObjectFlows<D>::Heat<Real>::at(const std::array<int64_t, D>& c) const {
    if constexpr (D == 2) return (c[0] + 1) * row + c[1] + margin;
    else return (c[0] + 1) * plane + (c[1] + 1) * row + c[2] + margin;
}

template <int D>
template <class Real>
auto ObjectFlows<D>::diffuse(const Box<D>& part, int32_t piece, Centre rule, int64_t steps) -> Heat<Real> {
    const Grid<D> grid = part.grid();
    const int64_t width = (grid.width() + kVector - 1) / kVector * kVector;
    Heat<Real> heat;
    heat.row = width + kVector;  // the padding before a row is also that behind the row above
    heat.plane = D == 2 ? 0 : (grid.n[D - 2] + 2) * heat.row;
    heat.margin = kVector;
    const int64_t cells = (grid.n[0] + 2) * (D == 2 ? heat.row : heat.plane) + kVector;
    memory_.assign(size_t(3 * cells * sizeof(Real) / sizeof(double) + 2), 0.);
    heat.now = reinterpret_cast<Real*>(memory_.data());
    heat.next = heat.now + cells;
    heat.share = heat.next + cells;

    std::array<double, D> mean{};
    int64_t area = 0;
    for_rows(local_, part, [&](int64_t from, int64_t to) {
        auto c = grid.coordinates(to);
        for (c[D - 1] = 0; c[D - 1] < grid.width(); ++c[D - 1])
            if (piece_[from + c[D - 1]] == piece) {
                heat.share[heat.at(c)] = Real(D == 2 ? 1. / 9 : 1. / 7);
                for (int a = 0; a < D; ++a) mean[a] += double(c[a]);
                ++area;
            }
    });
    for (int a = 0; a < D; ++a) {
        mean[a] /= double(area);
        if (rule == Centre::nearest_to_rounded) mean[a] = std::nearbyint(mean[a]);
    }
    auto& centre = centre_;
    centre = {};  // of every k-th pixel of a thin object there may be none
    double nearest = INFINITY;
    for_rows(local_, part, [&](int64_t from, int64_t to) {
        auto c = grid.coordinates(to);
        for (c[D - 1] = 0; c[D - 1] < grid.width(); ++c[D - 1])
            if (piece_[from + c[D - 1]] == piece) {
                double d = 0;
                for (int a = 0; a < D; ++a) d += (double(c[a]) - mean[a]) * (double(c[a]) - mean[a]);
                if (d < nearest) {
                    nearest = d;
                    centre = c;
                }
            }
    });

    Spread<D, Real> spread;
    spread.now = heat.now;
    spread.next = heat.next;
    spread.share = heat.share;
    spread.row = heat.row;
    spread.plane = heat.plane;
    spread.cells = cells;
    spread.extent = grid.n;
    spread.centre = centre;
    spread.source = heat.at(centre);
    spread.origin = heat.at({});
    spread.steps = steps;
    {
        const FlushDenormals flush;
        spread_all_best<D, Real>(spread);
    }
    heat.now = spread.now;
    heat.next = spread.next;
    return heat;
}

template <int D>
template <class Real>
Real ObjectFlows<D>::coldest(const Heat<Real>& heat, const Box<D>& part, int32_t piece) const {
    Real lowest = std::numeric_limits<Real>::max();
    const Grid<D> grid = part.grid();
    for_rows(local_, part, [&](int64_t from, int64_t to) {
        auto c = grid.coordinates(to);
        c[D - 1] = 0;
        const int64_t i = heat.at(c);
        for (int64_t x = 0; x < grid.width(); ++x)
            if (piece_[from + x] == piece) lowest = std::min(lowest, heat.now[i + x]);
    });
    return lowest;
}

template <int D>
template <class Real>
void ObjectFlows<D>::write_gradient(const Heat<Real>& heat, const Box<D>& part, int32_t piece) {
    const Grid<D> grid = part.grid();
    std::array<int64_t, D> strides;
    strides[D - 1] = 1;
    strides[D - 2] = heat.row;
    if constexpr (D == 3) strides[0] = heat.plane;
    for_rows(local_, part, [&](int64_t from, int64_t to) {
        std::array<float*, D> out;
        for (int a = 0; a < D; ++a) out[a] = flow_.data() + a * size_ + from;
        unit_gradient_best<D, Real>(heat.now + heat.at(grid.coordinates(to)), strides, piece_.data() + from, piece,
                                    grid.width(), out);
    });
}

// Where even double precision has run out, the flow leads along the shortest way to where there is heat.
template <int D>
template <class Real>
void ObjectFlows<D>::walk_to_heat(const Heat<Real>& heat, Real floor, const Box<D>& part, int32_t piece) {
    const Grid<D> grid = part.grid();
    static const auto offsets = neighbour_offsets<D>();
    std::vector<int32_t> distance(size_, -1);
    std::vector<int32_t> queue;
    for_rows(local_, part, [&](int64_t from, int64_t to) {
        auto c = grid.coordinates(to);
        c[D - 1] = 0;
        const Real* h = heat.now + heat.at(c);
        for (int64_t x = 0; x < grid.width(); ++x)
            if (piece_[from + x] == piece && h[x] >= floor) {
                distance[from + x] = 0;
                queue.push_back(int32_t(from + x));
            }
    });
    for (size_t head = 0; head < queue.size(); ++head) {
        const int32_t i = queue[head];
        const auto c = local_.coordinates(i);
        std::array<double, D> way{}, first{};
        bool found = false;
        for (const auto& offset : offsets) {
            int64_t j;
            if (!neighbour_at<D>(local_, c, offset, j) || piece_[j] != piece) continue;
            if (distance[j] < 0) {
                distance[j] = distance[i] + 1;
                queue.push_back(int32_t(j));
            } else if (distance[j] < distance[i]) {
                double length = 0;
                for (int a = 0; a < D; ++a) length += double(offset[a] * offset[a]);
                for (int a = 0; a < D; ++a) way[a] += double(offset[a]) / std::sqrt(length);
                if (!found)
                    for (int a = 0; a < D; ++a) first[a] = double(offset[a]) / std::sqrt(length);
                found = true;
            }
        }
        if (!found) continue;
        double norm = 0;
        for (int a = 0; a < D; ++a) norm += way[a] * way[a];
        norm = std::sqrt(norm);
        if (norm < 1e-6) {  // two ways of the same length around: either
            way = first;
            norm = 1;
        }
        for (int a = 0; a < D; ++a) flow_[a * size_ + i] = float(way[a] / norm);
    }
}

// Numbers the pieces of the object 1 ... n in piece_ and returns their boxes.
template <int D>
std::vector<Box<D>> ObjectFlows<D>::split_pieces() {
    static const auto offsets = neighbour_offsets<D>();
    std::vector<Box<D>> boxes;
    std::vector<int32_t> stack;
    for (int64_t i = 0; i < size_; ++i) piece_[i] = piece_[i] ? -1 : 0;
    for (int64_t i = 0; i < size_; ++i) {
        if (piece_[i] != -1) continue;
        boxes.emplace_back();
        const int32_t number = int32_t(boxes.size());
        piece_[i] = number;
        stack.push_back(int32_t(i));
        while (!stack.empty()) {
            const auto c = local_.coordinates(stack.back());
            stack.pop_back();
            boxes.back().include_run(c, c[D - 1], c[D - 1] + 1);
            for (const auto& offset : offsets) {
                int64_t j;
                if (neighbour_at<D>(local_, c, offset, j) && piece_[j] == -1) {
                    piece_[j] = number;
                    stack.push_back(int32_t(j));
                }
            }
        }
    }
    return boxes;
}

template <int D>
Box<D> ObjectFlows<D>::whole() const {
    Box<D> box;
    for (int a = 0; a < D; ++a) {
        box.low[a] = 0;
        box.high[a] = int32_t(local_.n[a]);
    }
    return box;
}

// Long enough for the heat to cross the object and come near its final shape.
template <int D>
int64_t ObjectFlows<D>::default_steps(const Grid<D>& box) {
    int64_t extents = D;
    for (int a = 0; a < D; ++a) extents += box.n[a];
    return (D == 2 ? 2 : 6) * extents;
}

template <int D>
void ObjectFlows<D>::solve_taken() {
    flow_.assign(size_t(D * size_), 0.f);
    const auto heat = diffuse<float>(whole(), 1, Centre::nearest, default_steps(local_));
    if (coldest(heat, whole(), 1) >= kColdFloat) {
        write_gradient(heat, whole(), 1);
        return;
    }
    const auto parts = split_pieces();
    for (int32_t piece = 1; piece <= int32_t(parts.size()); ++piece) {
        const Box<D>& part = parts[piece - 1];
        const auto fine = diffuse<double>(part, piece, Centre::nearest, default_steps(part.grid()));
        write_gradient(fine, part, piece);
        if (coldest(fine, part, piece) < kColdDouble) walk_to_heat(fine, kColdDouble, part, piece);
    }
}

template <int D>
bool ObjectFlows<D>::solve_heat(const Grid<D>& grid, const uint32_t* labels, uint32_t label, const Box<D>& box,
                                Centre rule, int64_t steps, float* image) {
    take(grid, box, [=](int64_t i) { return labels[i] == label; });
    const auto coarse = diffuse<float>(whole(), 1, rule, steps);
    bool fine_needed = false;
    if (coldest(coarse, whole(), 1) < kColdFloat) {
        const std::vector<int32_t> object = piece_;
        int64_t centre = 0;
        for (int a = 0; a < D; ++a) centre = centre * local_.n[a] + centre_[a];
        split_pieces();
        const int32_t warm = piece_[centre];
        fine_needed = coldest(coarse, whole(), warm) < kColdFloat;
        piece_ = object;
    }
    auto copy = [&](const auto& heat, auto&& write) {
        for_rows(grid, box, [&](int64_t to, int64_t from) {
            auto c = local_.coordinates(from);
            const auto* h = heat.now + heat.at(c);
            for (int64_t x = 0; x < local_.width(); ++x)
                if (piece_[from + x]) write(to + x, from + x, h[x]);
        });
    };
    if (!fine_needed) {
        copy(coarse, [&](int64_t to, int64_t, float value) { image[to] = value; });
        return false;
    }
    fine_heat_.assign(size_, 0.);
    copy(diffuse<double>(whole(), 1, rule, steps), [&](int64_t to, int64_t from, double value) {
        image[to] = float(value);
        fine_heat_[from] = value;
    });
    return true;
}

template <int D>
double ObjectFlows<D>::squared_error(const Grid<D>& grid, const Box<D>& box, const float* given) const {
    const int64_t image = grid.size();
    double sum = 0;
    for_rows(grid, box, [&](int64_t at, int64_t from) {
        float row_sum = 0;
        for (int64_t x = 0; x < local_.width(); ++x) {
            if (!inside(from + x)) continue;
            for (int a = 0; a < D; ++a) {
                const float e = given[a * image + at + x] - flow(a)[from + x];
                row_sum += e * e;
            }
        }
        sum += row_sum;
    });
    return sum;
}

template class ObjectFlows<2>;
template class ObjectFlows<3>;

namespace {

template <int D>
void flows_from_labels(const Image<const uint32_t>& labels, const Image<float>& flows, int threads) {
    const Grid<D> grid = grid_of<D>(labels);
    const int64_t size = grid.size();
    const uint32_t* in = labels.data();
    float* out = flows.data();
    nb::gil_scoped_release release;
    std::memset(out, 0, sizeof(float) * D * size);
    const auto boxes = find_boxes(grid, in);
    std::vector<ObjectFlows<D>> solvers(std::max(1, threads));
    parallel_for(boxes.size(), 4, threads, [&](int64_t begin, int64_t end, int thread) {
        auto& solver = solvers[thread];
        for (int64_t label = begin; label < end; ++label) {
            const Box<D>& box = boxes[label];
            if (box.empty()) continue;
            solver.solve(grid, in, uint32_t(label), box);
            for_rows(grid, box, [&](int64_t to, int64_t from) {
                for (int64_t x = 0; x < box.extent(D - 1); ++x)
                    if (solver.inside(from + x))
                        for (int a = 0; a < D; ++a) out[a * size + to + x] = solver.flow(a)[from + x];
            });
        }
    });
}

// Mean squared difference between the flows of each wanted object and those its shape implies.
template <int D>
void flow_errors(const Image<const uint32_t>& labels, const Image<const float>& flows,
                 const Image<const uint8_t>& wanted, const Image<double>& errors, int threads) {
    const Grid<D> grid = grid_of<D>(labels);
    const int64_t count = int64_t(wanted.size());
    const uint32_t* in = labels.data();
    const float* given = flows.data();
    const uint8_t* want = wanted.data();
    double* out = errors.data();
    nb::gil_scoped_release release;
    const auto boxes = find_boxes(grid, in);
    std::vector<ObjectFlows<D>> solvers(std::max(1, threads));
    parallel_for(count, 4, threads, [&](int64_t begin, int64_t end, int thread) {
        auto& solver = solvers[thread];
        for (int64_t k = begin; k < end; ++k) {
            if (!want[k] || k + 1 >= int64_t(boxes.size()) || boxes[k + 1].empty()) continue;
            const Box<D>& box = boxes[k + 1];
            solver.solve(grid, in, uint32_t(k + 1), box);
            out[k] = solver.squared_error(grid, box, given) / double(solver.area());
        }
    });
}

}  // namespace
}  // namespace cellbrook

void register_diffuse(nanobind::module_& m) {
    using namespace cellbrook;
    m.def("flows_from_labels_2d", &flows_from_labels<2>, nb::arg("labels"), nb::arg("flows"), nb::arg("threads"));
    m.def("flows_from_labels_3d", &flows_from_labels<3>, nb::arg("labels"), nb::arg("flows"), nb::arg("threads"));
    m.def("flow_errors_2d", &flow_errors<2>, nb::arg("labels"), nb::arg("flows"), nb::arg("wanted"), nb::arg("errors"),
          nb::arg("threads"));
    m.def("flow_errors_3d", &flow_errors<3>, nb::arg("labels"), nb::arg("flows"), nb::arg("wanted"), nb::arg("errors"),
          nb::arg("threads"));
}
