#include "regions.hpp"

#include <cmath>
#include <numeric>

#include "arrays.hpp"
#include "parallel.hpp"
#include "union_find.hpp"

namespace cellbrook {

namespace {

struct Run {
    int32_t start, end, value;
};

template <class Label>
void find_runs(const Label* row, int64_t width, std::vector<Run>& runs) {
    for (int64_t x = 0; x < width;) {
        const Label value = row[x];
        const int64_t start = x;
        while (x < width && row[x] == value) ++x;
        if (value != 0) runs.push_back({int32_t(start), int32_t(x), int32_t(value)});
    }
}

}  // namespace

template <int D>
std::vector<int32_t> split_into_pieces(const Grid<D>& grid, int32_t* values, int threads) {
    const int64_t rows = grid.rows(), width = grid.width();
    constexpr int64_t kRowsAtOnce = 32;
    const int64_t chunks = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
    std::vector<std::vector<Run>> chunk_runs(chunks);
    std::vector<int64_t> first(rows + 1, 0);  // of each row's runs
    parallel_for(rows, kRowsAtOnce, threads, [&](int64_t begin, int64_t end, int) {
        auto& runs = chunk_runs[begin / kRowsAtOnce];
        for (int64_t row = begin; row < end; ++row) {
            const size_t before = runs.size();
            find_runs(values + row * width, width, runs);
            first[row + 1] = int64_t(runs.size() - before);
        }
    });
    std::partial_sum(first.begin(), first.end(), first.begin());
    std::vector<Run> runs;
    runs.reserve(first[rows]);
    for (auto& part : chunk_runs) {
        runs.insert(runs.end(), part.begin(), part.end());
        std::vector<Run>().swap(part);
    }

    UnionFind sets{int32_t(runs.size())};
    auto join_rows = [&](int64_t above, int64_t below) {
        int64_t a = first[above], b = first[below];
        while (a < first[above + 1] && b < first[below + 1]) {
            if (runs[a].value == runs[b].value && runs[a].start < runs[b].end && runs[b].start < runs[a].end)
                sets.join(int32_t(a), int32_t(b));
            (runs[a].end < runs[b].end) ? ++a : ++b;
        }
    };
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t y = D == 2 ? row : row % grid.n[D - 2];
        if (y > 0) join_rows(row - 1, row);
        if (D == 3 && row >= grid.n[D - 2]) join_rows(row - grid.n[D - 2], row);
    }

    std::vector<int32_t> piece;
    const int32_t count = sets.number_sets(piece);
    std::vector<int32_t> value_of(count);
    for (size_t r = 0; r < runs.size(); ++r) value_of[piece[r]] = runs[r].value;
    parallel_for(rows, kRowsAtOnce, threads, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row)
            for (int64_t r = first[row]; r < first[row + 1]; ++r)
                std::fill(values + row * width + runs[r].start, values + row * width + runs[r].end, piece[r] + 1);
    });
    return value_of;
}

template <int D, class Label>
std::vector<Region<D>> measure_regions(const Grid<D>& grid, const Label* labels, int64_t count, const float* cellprob,
                                       int threads) {
    // Few fixed blocks, summed in order: the sums do not depend on the number of threads.
    const int64_t rows = grid.rows(), width = grid.width();
    const int64_t block = std::max<int64_t>(1, (rows + 3) / 4), blocks = rows ? (rows + block - 1) / block : 0;
    std::vector<std::vector<Region<D>>> partial(blocks);
    parallel_for(rows, block, threads, [&](int64_t begin, int64_t end, int) {
        auto& regions = partial[begin / block];
        regions.resize(count);
        for (int64_t row = begin; row < end; ++row) {
            const auto c = grid.coordinates(row * width);
            bool at_border = false;
            for (int a = 0; a < D - 1; ++a) at_border |= c[a] == 0 || c[a] == grid.n[a] - 1;
            const Label* line = labels + row * width;
            for (int64_t x = 0; x < width;) {
                const Label label = line[x];
                const int64_t start = x;
                while (x < width && line[x] == label) ++x;
                if (label == 0) continue;
                Region<D>& region = regions[label - 1];
                const int64_t n = x - start;
                region.box.include_run(c, start, x);
                region.first = std::min(region.first, row * width + start);
                region.area += n;
                for (int a = 0; a < D - 1; ++a) region.coordinate_sum[a] += double(c[a]) * double(n);
                region.coordinate_sum[D - 1] += 0.5 * double(start + x - 1) * double(n);
                region.border_pixels += at_border ? n : (start == 0) + (x == width) - (n == 1 && width == 1);
                if (!cellprob) continue;
                float sum = 0;
                for (int64_t k = start; k < x; ++k) {
                    const float v = cellprob[row * width + k];
                    const bool finite = std::isfinite(v);
                    sum += finite ? v : 0.f;
                    region.cellprob_pixels += finite;
                }
                region.cellprob_sum += sum;
            }
        }
    });
    std::vector<Region<D>> regions(count);
    for (const auto& part : partial)
        for (int64_t k = 0; k < count; ++k) {
            Region<D>& sum = regions[k];
            const Region<D>& r = part[k];
            if (!r.area) continue;
            for (int a = 0; a < D; ++a) {
                sum.box.low[a] = std::min(sum.box.low[a], r.box.low[a]);
                sum.box.high[a] = std::max(sum.box.high[a], r.box.high[a]);
                sum.coordinate_sum[a] += r.coordinate_sum[a];
            }
            sum.first = std::min(sum.first, r.first);
            sum.area += r.area;
            sum.cellprob_sum += r.cellprob_sum;
            sum.cellprob_pixels += r.cellprob_pixels;
            sum.border_pixels += r.border_pixels;
        }
    return regions;
}

namespace {

// Is there a row of the box with background between two pixels of the region? Without one there is no hole.
template <int D>
bool may_have_hole(const Grid<D>& grid, const Box<D>& box, const uint32_t* labels, uint32_t label, Holes which) {
    for (int a = 0; a < D; ++a)
        if (box.extent(a) < 3) return false;
    bool found = false;
    const int64_t w = box.extent(D - 1);
    for_rows(grid, box, [&](int64_t offset, int64_t) {
        if (found) return;
        const uint32_t* row = labels + offset;
        int64_t x0 = 0, x1 = w - 1;
        while (x0 < w && row[x0] != label) ++x0;
        while (x1 > x0 && row[x1] != label) --x1;
        if (x0 >= w) return;
        for (int64_t x = x0; x < x1; ++x) found |= which == Holes::everything ? row[x] != label : row[x] == 0;
    });
    return found;
}

template <int D>
int64_t fill_region(const Grid<D>& grid, const Box<D>& box, uint32_t* labels, uint32_t label, Holes which,
                    std::vector<uint8_t>& seen, std::vector<int32_t>& stack) {
    const Grid<D> local = box.grid();
    const int64_t size = local.size(), width = local.width();
    seen.assign(size, 0);  // 1: the region itself, or reached from the edge of the box
    for_rows(grid, box, [&](int64_t offset, int64_t at) {
        for (int64_t x = 0; x < width; ++x) seen[at + x] = labels[offset + x] == label;
    });
    auto visit = [&](int64_t i) {
        if (!seen[i]) {
            seen[i] = 1;
            stack.push_back(int32_t(i));
        }
    };
    for (int64_t i = 0; i < size; ++i) {
        const auto c = local.coordinates(i);
        for (int a = 0; a < D; ++a)
            if (c[a] == 0 || c[a] == local.n[a] - 1) {
                visit(i);
                break;
            }
    }
    while (!stack.empty()) {
        const int64_t i = stack.back();
        stack.pop_back();
        const auto c = local.coordinates(i);
        for (int a = 0; a < D; ++a) {
            if (c[a] > 0) visit(i - local.stride(a));
            if (c[a] + 1 < local.n[a]) visit(i + local.stride(a));
        }
    }
    int64_t filled = 0;
    for_rows(grid, box, [&](int64_t offset, int64_t at) {
        for (int64_t x = 0; x < width; ++x)
            if (!seen[at + x] && (which == Holes::everything || labels[offset + x] == 0)) {
                labels[offset + x] = label;
                ++filled;
            }
    });
    return filled;
}

}  // namespace

template <int D>
int64_t fill_holes(const Grid<D>& grid, uint32_t* labels, const std::vector<Region<D>>& regions, Holes which) {
    // Small regions first: a region inside another one's hole fills its own holes before the outer one can.
    std::vector<int64_t> order(regions.size());
    std::iota(order.begin(), order.end(), 0);
    if (which == Holes::background)
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
            return regions[a].box.grid().size() < regions[b].box.grid().size();
        });
    std::vector<uint8_t> seen;
    std::vector<int32_t> stack;
    int64_t filled = 0;
    for (const int64_t k : order)
        if (!regions[k].box.empty() && may_have_hole(grid, regions[k].box, labels, uint32_t(k + 1), which))
            filled += fill_region(grid, regions[k].box, labels, uint32_t(k + 1), which, seen, stack);
    return filled;
}

template <int D>
std::vector<Box<D>> find_boxes(const Grid<D>& grid, const uint32_t* labels) {
    std::vector<Box<D>> boxes;
    const int64_t width = grid.width();
    for (int64_t row = 0; row < grid.rows(); ++row) {
        const auto c = grid.coordinates(row * width);
        const uint32_t* line = labels + row * width;
        for (int64_t x = 0; x < width;) {
            const uint32_t label = line[x];
            const int64_t start = x;
            while (x < width && line[x] == label) ++x;
            if (!label) continue;
            if (label >= boxes.size()) boxes.resize(label + 1);
            boxes[label].include_run(c, start, x);
        }
    }
    return boxes;
}

#define INSTANTIATE(D)                                                                                              \
    template std::vector<int32_t> split_into_pieces<D>(const Grid<D>&, int32_t*, int);                             \
    template std::vector<Region<D>> measure_regions<D, int32_t>(const Grid<D>&, const int32_t*, int64_t,           \
                                                                const float*, int);                                \
    template std::vector<Region<D>> measure_regions<D, uint32_t>(const Grid<D>&, const uint32_t*, int64_t,         \
                                                                 const float*, int);                               \
    template int64_t fill_holes<D>(const Grid<D>&, uint32_t*, const std::vector<Region<D>>&, Holes);               \
    template std::vector<Box<D>> find_boxes<D>(const Grid<D>&, const uint32_t*);
INSTANTIATE(2)
INSTANTIATE(3)
#undef INSTANTIATE

}  // namespace cellbrook
