#include "diffuse.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "arrays.hpp"
#include "flush_denormals.hpp"
#include "parallel.hpp"
#include "regions.hpp"

namespace cellbrook {

namespace {

// Below this the heat of a long object is near the end of what the type can hold, and its differences mean nothing.
constexpr float kColdFloat = 1e-35f;
constexpr double kColdDouble = 1e-290;

// One step over rows [y0, y1) of one strip of `W` columns: the mean over 3 x 3 pixels.
template <int W, class Real>
inline void spread_strip(const Real* now, Real* next, const Real* share, int64_t row, int64_t y0, int64_t y1) {
    Real above[W], middle[W], below[W];
    const Real* p = now + (y0 - 1) * row;
    for (int j = 0; j < W; ++j) above[j] = p[j - 1] + p[j] + p[j + 1];
    p += row;
    for (int j = 0; j < W; ++j) middle[j] = p[j - 1] + p[j] + p[j + 1];
    for (int64_t y = y0; y < y1; ++y) {
        p += row;
        const Real* m = share + y * row;
        Real* out = next + y * row;
        for (int j = 0; j < W; ++j) {
            below[j] = p[j - 1] + p[j] + p[j + 1];
            out[j] = (above[j] + middle[j] + below[j]) * m[j];
            above[j] = middle[j];
            middle[j] = below[j];
        }
    }
}

// One step over a row of voxels: the mean over the voxel and its six neighbours.
template <class Real>
inline void spread_row(const Real* now, Real* next, const Real* share, int64_t row, int64_t plane, int64_t width) {
    for (int64_t x = 0; x < width; ++x)
        next[x] = (now[x] + now[x - 1] + now[x + 1] + now[x - row] + now[x + row] + now[x - plane] + now[x + plane]) *
                  share[x];
}

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
    if constexpr (D == 2) return (c[0] + 1) * row + c[1] + kVector;
    else return (c[0] + 1) * plane + (c[1] + 1) * row + c[2] + kVector;
}

template <int D>
template <class Real>
auto ObjectFlows<D>::diffuse(const Box<D>& part, int32_t piece, Centre rule, int64_t steps) -> Heat<Real> {
    constexpr int V = Heat<Real>::kVector;
    const Grid<D> grid = part.grid();
    const int64_t width = (grid.width() + V - 1) / V * V;
    Heat<Real> heat;
    heat.row = width + 2 * V;
    heat.plane = D == 2 ? 0 : (grid.n[D - 2] + 2) * heat.row;
    const int64_t cells = D == 2 ? (grid.n[0] + 2) * heat.row : (grid.n[0] + 2) * heat.plane;
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

    const FlushDenormals flush;
    const int64_t source = heat.at(centre);
    for (int64_t step = 0; step < steps; ++step) {
        heat.now[source] += 1;
        // heat has not come further than this yet
        const int64_t reach = step + 1;
        std::array<int64_t, D> low, high;
        for (int a = 0; a < D; ++a) {
            low[a] = std::max<int64_t>(0, centre[a] - reach);
            high[a] = std::min<int64_t>(grid.n[a], centre[a] + reach + 1);
        }
        if constexpr (D == 2) {
            for (int64_t x = low[1] / V * V; x < high[1]; x += V)
                spread_strip<V>(heat.now + V + x, heat.next + V + x, heat.share + V + x, heat.row, low[0] + 1,
                                high[0] + 1);
        } else {
            for (int64_t z = low[0]; z < high[0]; ++z)
                for (int64_t y = low[1]; y < high[1]; ++y) {
                    const int64_t i = heat.at({z, y, 0});
                    spread_row(heat.now + i, heat.next + i, heat.share + i, heat.row, heat.plane, width);
                }
        }
        std::swap(heat.now, heat.next);
        // in balance: no further step would change a bit
        if (step % 32 == 31 && !std::memcmp(heat.now, heat.next, size_t(cells) * sizeof(Real))) break;
    }
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
    const std::array<int64_t, 3> strides = {heat.plane, heat.row, 1};
    for_rows(local_, part, [&](int64_t from, int64_t to) {
        auto c = grid.coordinates(to);
        c[D - 1] = 0;
        const Real* h = heat.now + heat.at(c);
        for (int64_t x = 0; x < grid.width(); ++x) {
            if (piece_[from + x] != piece) continue;
            Real slope[D], steepest = 0;
            for (int a = 0; a < D; ++a) {
                const int64_t s = strides[3 - D + a];
                slope[a] = h[x + s] - h[x - s];
                steepest = std::max(steepest, std::abs(slope[a]));
            }
            if (!(steepest > 0)) continue;
            // divided by the largest first: squares of tiny numbers would vanish
            Real norm = 0;
            for (int a = 0; a < D; ++a) {
                slope[a] /= steepest;
                norm += slope[a] * slope[a];
            }
            norm = std::sqrt(norm);
            for (int a = 0; a < D; ++a) flow_[a * size_ + from + x] = float(slope[a] / norm);
        }
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
