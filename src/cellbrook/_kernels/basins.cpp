#include "basins.hpp"

#include <cmath>
#include <queue>
#include <unordered_map>
#include <vector>

#include "diffuse.hpp"
#include "parallel.hpp"
#include "regions.hpp"
#include "union_find.hpp"

namespace cellbrook {

namespace {

// Sinks at most this far apart (Chebyshev, in pixels) are one.
constexpr int kReach = 2;
// Parting of two basins: how much the flow runs apart along their common border, in pixels a step, in the mean over the
// pairs of pixels that face each other. Opposite unit flows: 2. A line of sinks cut into pieces: about 0. Basins that
// are parted more than this stay apart.
constexpr double kMostParting = 0.8;
// Belief before the first pair is seen, so that a touch of one or two pixels does not join anything.
constexpr double kPriorPairs = 1, kPriorParting = 1.5;
// Below this number of pixels a basin's own shape tells nothing: such a one is joined if it is parted less than this.
constexpr int64_t kShapelessPixels = 40;
constexpr double kEvenParting = 0.5;
// For larger ones the flow decides which is likelier, one object or two: by how much may the mean squared error rise
// for each px/step that their parting is below kEvenParting?
constexpr double kErrorForParting = 0.3;
// The mean is over both, but at most over so many times the smaller one: in a heap it would hide what becomes of a cell.
constexpr int64_t kOverSmaller = 4;

// The shape is asked only of basins whose sizes are comparable: a splinter changes little, and goes by the border too.
constexpr int64_t kLargestRatio = 64;
// Shapes of more pixels are solved on every k-th pixel along each axis: the work would grow with the third power of their
// size, and what tells one object from two is coarse. Thin ones have few pixels, and keep all.
template <int D>
constexpr double kFinePixels = D == 2 ? 4096 : 65536;
// And only for so much work, in pixels times steps for each pixel of the image; predictions that make sense need a
// tenth of it. Beyond it basins stay apart: where a prediction is chaotic, all would else become one heap.
constexpr double kMostWork = 2000;

constexpr double kFixedPoint = 1 << 20;  // sums of integers do not depend on the order, nor on the threads

struct Contact {
    int64_t pairs = 0;
    int64_t parting = 0;  // fixed point

    void add(const Contact& other) {
        pairs += other.pairs;
        parting += other.parting;
    }
    double mean() const {
        return (double(parting) / kFixedPoint + kPriorPairs * kPriorParting) / (double(pairs) + kPriorPairs);
    }
};

using Contacts = std::unordered_map<uint64_t, Contact>;

uint64_t key_of(int32_t a, int32_t b) {
    if (a > b) std::swap(a, b);
    return uint64_t(uint32_t(a)) << 32 | uint32_t(b);
}

template <int D>
Contacts find_contacts(const Grid<D>& grid, const float* flows, const int32_t* basins, int threads) {
    std::vector<Contacts> partial(std::max(1, threads));
    const int64_t width = grid.width(), size = grid.size();
    parallel_for(grid.rows(), 32, threads, [&](int64_t begin, int64_t end, int thread) {
        Contacts& contacts = partial[thread];
        for (int64_t row = begin; row < end; ++row) {
            auto c = grid.coordinates(row * width);
            for (int axis = 0; axis < D; ++axis) {
                const int64_t step = grid.stride(axis);
                const float* flow = flows + axis * size;
                if (axis < D - 1 && c[axis] + 1 >= grid.n[axis]) continue;
                const int64_t stop = axis == D - 1 ? width - 1 : width;
                const bool back = axis < D - 1 && c[axis] > 0, ahead = axis < D - 1 && c[axis] + 2 < grid.n[axis];
                for (int64_t x = 0; x < stop; ++x) {
                    const int64_t i = row * width + x, j = i + step;
                    const int32_t a = basins[i], b = basins[j];
                    if (a == b || !a || !b) continue;
                    // one pixel further in on either side, where the prediction is less blurred
                    const bool has_back = axis == D - 1 ? x > 0 : back;
                    const bool has_ahead = axis == D - 1 ? x + 2 < width : ahead;
                    const int64_t from = has_back && basins[i - step] == a ? i - step : i;
                    const int64_t to = has_ahead && basins[j + step] == b ? j + step : j;
                    const float parting = std::min(std::max(flow[to] - flow[from], -4.f), 4.f);
                    Contact& contact = contacts[key_of(a, b)];
                    contact.pairs += 1;
                    contact.parting += int64_t(std::lrint(double(parting) * kFixedPoint));
                }
            }
        }
    });
    for (size_t t = 1; t < partial.size(); ++t)
        for (const auto& [key, contact] : partial[t]) partial[0][key].add(contact);
    return std::move(partial[0]);
}

// Joins the least parted pair first; the contacts of the two then add up, so a bridge of small basins between two
// objects must stand the test of the whole border.
template <int D>
class Joiner {
public:
    Joiner(const Grid<D>& grid, const float* flows, const int32_t* basins, const Contacts& contacts, int32_t count)
        : grid_(grid),
          flows_(flows),
          basins_(basins),
          sets_(count + 1),
          neighbours_(count + 1),
          boxes_(find_boxes(grid, reinterpret_cast<const uint32_t*>(basins))),
          area_(count + 1, 0),
          error_(count + 1) {
        boxes_.resize(count + 1);
        for (int64_t i = 0; i < grid.size(); ++i) ++area_[basins[i]];
        for (const auto& [key, contact] : contacts) {
            const int32_t a = int32_t(key >> 32), b = int32_t(key & 0xffffffff);
            neighbours_[a][b] = contact;
            neighbours_[b][a] = contact;
            push(a, b, contact);
        }
    }

    UnionFind& run() {
        while (!queue_.empty()) {
            const Candidate pair = queue_.top();
            queue_.pop();
            const auto found = neighbours_[pair.a].find(pair.b);
            if (found == neighbours_[pair.a].end() || found->second.pairs != pair.pairs ||
                found->second.mean() != pair.parting)
                continue;  // out of date
            consider(pair.a, pair.b, pair.parting);
        }
        return sets_;
    }

private:
    // Sum over a basin's pixels, and the step between those that were looked at; 0: not known.
    struct Error {
        double sum = 0;
        int64_t step = 0;
    };

    struct Candidate {
        double parting;
        int32_t a, b;
        int64_t pairs;
        bool operator<(const Candidate& o) const {  // the queue's top is its largest: least parted first, then by number
            if (parting != o.parting) return parting > o.parting;
            return a != o.a ? a > o.a : b > o.b;
        }
    };

    void push(int32_t a, int32_t b, const Contact& contact) {
        const double parting = contact.mean();
        if (parting < kMostParting) queue_.push({parting, std::min(a, b), std::max(a, b), contact.pairs});
    }

    void consider(int32_t a, int32_t b, double parting) {
        const int64_t smaller = std::min(area_[a], area_[b]), larger = std::max(area_[a], area_[b]);
        if (smaller < kShapelessPixels || larger > kLargestRatio * smaller) {
            if (parting >= kEvenParting) return;
            // a few pixels more change little: the larger one's error stands for both
            const Error error = area_[a] >= area_[b] ? error_[a] : error_[b];
            join(a, b);
            error_[a] = error;
            return;
        }
        if (work_ > kMostWork * double(grid_.size())) return;
        const int64_t step = step_for(area_[a] + area_[b]);
        for (const int32_t k : {a, b})
            if (error_[k].step != step) error_[k] = {squared_error(k, k, step), step};
        const double together = squared_error(a, b, step), apart = error_[a].sum + error_[b].sum;
        const double over = double(std::min(smaller + larger, kOverSmaller * smaller));
        if ((together - apart) / over > kErrorForParting * (kEvenParting - parting)) return;
        join(a, b);
        error_[a] = {together, step};
    }

    static int64_t step_for(int64_t pixels) {
        return int64_t(std::ceil(std::pow(double(pixels) / kFinePixels<D>, 1. / D)));
    }

    // Of the flows of an object that is basin a or b, against the given flows, at every step-th pixel along each axis.
    double squared_error(int32_t a, int32_t b, int64_t step) {
        const Box<D> box = around(a, b);
        Box<D> part;
        Grid<D> coarse;
        double pixels = 1, extents = 0, share = 1;
        for (int k = 0; k < D; ++k) {  // the same pixels, whichever box is asked
            const int64_t low = (box.low[k] + step - 1) / step, high = (box.high[k] + step - 1) / step;
            part.low[k] = 0;
            part.high[k] = int32_t(coarse.n[k] = std::max<int64_t>(high - low, 1));
            pixels *= double(coarse.n[k]);
            extents += double(coarse.n[k]);
            share *= double(step);
        }
        work_ += pixels * extents;
        const auto belongs = [&](int64_t i) {
            if (!basins_[i]) return false;
            const int32_t basin = sets_.find(basins_[i]);
            return basin == a || basin == b;
        };
        if (step == 1) {
            solver_.solve_where(grid_, box, belongs);
            return solver_.squared_error(grid_, box, flows_);
        }
        const int64_t size = coarse.size();
        picked_.resize(size_t(D * size));
        inside_.resize(size_t(size));
        for (int64_t i = 0; i < size; ++i) {
            const auto c = coarse.coordinates(i);
            int64_t at = 0;
            for (int k = 0; k < D; ++k) {
                const int64_t first = (box.low[k] + step - 1) / step * step;
                at += std::min(first + c[k] * step, grid_.n[k] - 1) * grid_.stride(k);
            }
            inside_[i] = belongs(at);
            for (int k = 0; k < D; ++k) picked_[k * size + i] = flows_[k * grid_.size() + at];
        }
        solver_.solve_where(coarse, part, [&](int64_t i) { return inside_[i] != 0; });
        return share * solver_.squared_error(coarse, part, picked_.data());
    }

    Box<D> around(int32_t a, int32_t b) const {
        Box<D> box = boxes_[a];
        for (int k = 0; k < D; ++k) {
            box.low[k] = std::min(box.low[k], boxes_[b].low[k]);
            box.high[k] = std::max(box.high[k], boxes_[b].high[k]);
        }
        return box;
    }

    void join(int32_t a, int32_t b) {  // a < b: the smaller number stays
        sets_.join(a, b);
        boxes_[a] = around(a, b);
        area_[a] += area_[b];
        neighbours_[a].erase(b);
        for (const auto& [c, contact] : neighbours_[b]) {
            if (c == a) continue;
            Contact& sum = neighbours_[a][c];
            sum.add(contact);
            neighbours_[c].erase(b);
            neighbours_[c][a] = sum;
            push(a, c, sum);
        }
        neighbours_[b].clear();
    }

    const Grid<D>& grid_;
    const float* flows_;
    const int32_t* basins_;
    UnionFind sets_;
    std::vector<std::unordered_map<int32_t, Contact>> neighbours_;
    std::priority_queue<Candidate> queue_;
    std::vector<Box<D>> boxes_;
    std::vector<int64_t> area_;
    std::vector<Error> error_;
    ObjectFlows<D> solver_;
    std::vector<float> picked_;  // flows of a shape that is looked at coarsely, and which of its pixels are its own
    std::vector<uint8_t> inside_;
    double work_ = 0;
};

}  // namespace

template <int D>
int32_t group_sinks(const Grid<D>& grid, int32_t* sinks, int threads) {
    const int64_t size = grid.size();
    std::vector<int32_t> number(size, -1);  // of the sink at a pixel
    std::vector<int32_t> places;
    for (int64_t i = 0; i < size; ++i) {
        const int32_t s = sinks[i];
        if (s >= 0 && number[s] < 0) {
            number[s] = 0;
            places.push_back(s);
        }
    }
    std::sort(places.begin(), places.end());
    for (size_t k = 0; k < places.size(); ++k) number[places[k]] = int32_t(k);
    UnionFind sets(int32_t(places.size()));
    for (size_t k = 0; k < places.size(); ++k) {
        const auto c = grid.coordinates(places[k]);
        std::array<int64_t, D> low, high;
        for (int a = 0; a < D; ++a) {
            low[a] = std::max<int64_t>(0, c[a] - kReach);
            high[a] = std::min(grid.n[a], c[a] + kReach + 1);
        }
        high[0] = c[0] + 1;  // the other half looks back here
        auto look = [&](int64_t row_start) {
            for (int64_t x = low[D - 1]; x < high[D - 1]; ++x) {
                const int32_t other = number[row_start + x];
                if (other >= 0 && other != int32_t(k)) sets.join(int32_t(k), other);
            }
        };
        for (int64_t s = low[0]; s < high[0]; ++s) {
            if constexpr (D == 2) {
                look(s * grid.n[1]);
            } else {
                for (int64_t y = low[1]; y < high[1]; ++y) look((s * grid.n[1] + y) * grid.n[2]);
            }
        }
    }
    std::vector<int32_t> compact;
    const int32_t count = sets.number_sets(compact);
    parallel_for(size, 1 << 14, threads, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) sinks[i] = sinks[i] < 0 ? 0 : compact[number[sinks[i]]] + 1;
    });
    return count;
}

template <int D>
int32_t join_basins(const Grid<D>& grid, const float* flows, int32_t* basins, int32_t count, int threads) {
    Joiner<D> joiner(grid, flows, basins, find_contacts(grid, flows, basins, threads), count);
    std::vector<int32_t> compact;
    const int32_t left = joiner.run().number_sets(compact) - 1;  // 0 is background and stays alone
    parallel_for(grid.size(), 1 << 14, threads, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) basins[i] = compact[basins[i]];
    });
    return left;
}

template int32_t group_sinks<2>(const Grid<2>&, int32_t*, int);
template int32_t group_sinks<3>(const Grid<3>&, int32_t*, int);
template int32_t join_basins<2>(const Grid<2>&, const float*, int32_t*, int32_t, int);
template int32_t join_basins<3>(const Grid<3>&, const float*, int32_t*, int32_t, int);

}  // namespace cellbrook
