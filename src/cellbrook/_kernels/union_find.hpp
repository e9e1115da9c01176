// Disjoint sets of the numbers 0 ... n - 1; the smallest number stands for its set.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace cellbrook {

class UnionFind {
public:
    explicit UnionFind(int32_t n) : parent_(n) { std::iota(parent_.begin(), parent_.end(), 0); }

    int32_t add() {
        parent_.push_back(int32_t(parent_.size()));
        return parent_.back();
    }
    int32_t find(int32_t a) {
        while (parent_[a] != a) a = parent_[a] = parent_[parent_[a]];
        return a;
    }
    void join(int32_t a, int32_t b) {
        a = find(a);
        b = find(b);
        if (a != b) parent_[std::max(a, b)] = std::min(a, b);
    }
    // Numbers the sets 0 ... m - 1 in the order of their smallest members; returns m.
    int32_t number_sets(std::vector<int32_t>& number) {
        number.resize(parent_.size());
        int32_t m = 0;
        for (int32_t a = 0; a < int32_t(parent_.size()); ++a) number[a] = parent_[a] == a ? m++ : number[find(a)];
        return m;
    }

private:
    std::vector<int32_t> parent_;
};

}  // namespace cellbrook
