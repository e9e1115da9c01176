#include "seeds.hpp"

#include "parallel.hpp"

namespace cellbrook {

namespace {

constexpr int kPeakCount = 10;  // and holds more pixels than this
constexpr int kGrowSteps = 5;  // it grows this often by the bins that touch it
constexpr int kGrowCount = 2;  // and hold more pixels than this

// Offsets of all bins within `reach`, without the middle.
template <int D>
std::vector<int64_t> window(const Grid<D>& grid, int64_t reach) {
    std::vector<int64_t> offsets = {0};
    for (int a = 0; a < D; ++a) {
        std::vector<int64_t> wider;
        for (int64_t o : offsets)
            for (int64_t s = -reach; s <= reach; ++s) wider.push_back(o + s * grid.stride(a));
        offsets.swap(wider);
    }
    offsets.erase(std::find(offsets.begin(), offsets.end(), 0));
    return offsets;
}

}  // namespace

template <int D>
std::vector<Seed> group_by_seeds(const Grid<D>& grid, int32_t* ends, int threads) {
    Grid<D> padded;  // by an empty margin, so that no window needs a test
    for (int a = 0; a < D; ++a) padded.n[a] = grid.n[a] + 2 * kPeakReach;
    std::vector<int32_t> counts(padded.size(), 0), owner(padded.size(), 0);
    auto padded_index = [&](int64_t pixel) {
        const auto c = grid.coordinates(pixel);
        int64_t index = 0;
        for (int a = 0; a < D; ++a) index = index * padded.n[a] + c[a] + kPeakReach;
        return index;
    };
    const int64_t size = grid.size(), width = grid.width(), rows = grid.rows();
    for (int64_t i = 0; i < size; ++i)
        if (ends[i] >= 0) ++counts[ends[i]];

    const auto around = window(padded, kPeakReach);
    std::vector<std::vector<Seed>> row_seeds(rows);
    parallel_for(rows, 16, threads, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t start = padded_index(row * width);
            for (int64_t x = 0; x < width; ++x) {
                const int32_t* bin = counts.data() + start + x;
                if (*bin <= kPeakCount) continue;
                bool peak = true;
                for (size_t k = 0; peak && k < around.size(); ++k) peak = bin[around[k]] <= *bin;
                if (peak) row_seeds[row].push_back({int32_t(row * width + x), *bin});
            }
        }
    });
    std::vector<Seed> seeds;
    for (const auto& found : row_seeds) seeds.insert(seeds.end(), found.begin(), found.end());
    std::stable_sort(seeds.begin(), seeds.end(), [](const Seed& a, const Seed& b) { return a.count < b.count; });

    const auto touching = window(padded, 1);
    std::vector<int64_t> front, next;
    for (size_t k = 0; k < seeds.size(); ++k) {
        const int32_t number = int32_t(k + 1);
        front = {padded_index(seeds[k].pixel)};
        owner[front[0]] = number;
        for (int step = 0; step < kGrowSteps; ++step) {
            next.clear();
            for (const int64_t bin : front)
                for (const int64_t offset : touching)
                    if (counts[bin + offset] > kGrowCount && owner[bin + offset] != number) {
                        owner[bin + offset] = number;
                        next.push_back(bin + offset);
                    }
            front.swap(next);
        }
    }
    parallel_for(size, 1 << 16, threads, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) ends[i] = ends[i] < 0 ? 0 : owner[ends[i]];
    });
    return seeds;
}

template std::vector<Seed> group_by_seeds<2>(const Grid<2>&, int32_t*, int);
template std::vector<Seed> group_by_seeds<3>(const Grid<3>&, int32_t*, int);

}  // namespace cellbrook
