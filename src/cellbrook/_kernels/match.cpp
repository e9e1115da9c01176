// Comparison of two label images: the sparse table of overlaps, and the best one-to-one assignment on it.
//
// A dense matrix of all pairs of objects costs n^2 memory and n^3 time; objects overlap only their neighbours, so the
// table has a few entries an object and is found in one pass over the pixels.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <limits>
#include <queue>
#include <stdexcept>
#include <utility>

#include "dispatch.hpp"
#include "parallel.hpp"

#ifdef CELLBROOK_X86_LEVELS
#include <immintrin.h>
#elif defined(_MSC_VER)
#include <intrin.h>
#endif

namespace nb = nanobind;

namespace cellbrook {

template <class T>
using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
static nb::ndarray<nb::numpy, T> to_numpy(std::vector<T>&& values) {
    auto* kept = new std::vector<T>(std::move(values));
    nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nb::ndarray<nb::numpy, T>(kept->data(), {kept->size()}, owner);
}

// Counts by key; open addressing. Key 0 (background on background) is never stored and marks a free slot.
class PairCounts {
public:
    PairCounts() : slots_(1024) {}

    void add(uint64_t key, int64_t count) {
        Slot* slot = find(key);
        if (!slot->key) {
            if (2 * ++used_ > slots_.size()) {
                grow();
                slot = find(key);
            }
            slot->key = key;
        }
        slot->count += count;
    }

    template <class Body>
    void each(Body&& body) const {
        for (const Slot& slot : slots_)
            if (slot.key) body(slot.key, slot.count);
    }

private:
    struct Slot {  // side by side, so that an access costs one cache line
        uint64_t key = 0;
        int64_t count = 0;
    };

    Slot* find(uint64_t key) {
        const size_t mask = slots_.size() - 1;
        const uint64_t h = key * 0x9E3779B97F4A7C15ull;
        size_t place = (h ^ (h >> 32)) & mask;
        while (slots_[place].key && slots_[place].key != key) place = (place + 1) & mask;
        return &slots_[place];
    }

    void grow() {
        std::vector<Slot> old(2 * slots_.size());
        old.swap(slots_);
        for (const Slot& slot : old)
            if (slot.key) *find(slot.key) = slot;
    }

    std::vector<Slot> slots_;
    size_t used_ = 0;
};

static int lowest_bit(uint64_t bits) {
#ifdef _MSC_VER
    unsigned long place;
    _BitScanForward64(&place, bits);
    return int(place);
#else
    return __builtin_ctzll(bits);
#endif
}

// Bit k says whether the pair at i + k differs from the one before it, for 64 pixels.
template <class A, class B>
static uint64_t changes(const A* a, const B* b) {
    uint8_t changed[64];
    for (int k = 0; k < 64; ++k) changed[k] = uint8_t((a[k] != a[k - 1]) | (b[k] != b[k - 1]));
    uint64_t bits = 0;
    for (int byte = 0; byte < 8; ++byte) {
        uint64_t eight = 0;
        for (int k = 0; k < 8; ++k) eight |= uint64_t(changed[8 * byte + k]) << (8 * k);
        // gathers the lowest bits of eight bytes, the first byte's as the lowest
        bits |= ((eight * 0x0102040810204080ull) >> 56) << (8 * byte);
    }
    return bits;
}

#ifdef CELLBROOK_X86_LEVELS
CELLBROOK_AVX2 static uint64_t changes_avx2(const uint32_t* a, const uint32_t* b) {
    uint64_t same = 0;
    for (int k = 0; k < 64; k += 8) {
        __m256i both = _mm256_set1_epi32(-1);
        for (const uint32_t* p : {a + k, b + k})
            both = _mm256_and_si256(both, _mm256_cmpeq_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
                                                             _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p - 1))));
        same |= uint64_t(uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(both)))) << k;
    }
    return ~same;
}
#endif

// Adds the runs of equal pairs in [begin, end). Runs are short (some ten pixels), so a loop that ends at each of them
// waits mostly for mispredicted branches: changes are first found for 64 pixels at once, as bits, and then walked.
template <class A, class B>
static void count_runs(const A* a, const B* b, int64_t begin, int64_t end, PairCounts& counts) {
    int64_t start = begin;
    auto close = [&](int64_t stop) {  // the run [start, stop)
        const uint64_t key = uint64_t(a[start]) << 32 | uint64_t(b[start]);
        if (key) counts.add(key, stop - start);
        start = stop;
    };
    auto walk = [&](int64_t i, uint64_t bits) {
        for (; bits; bits &= bits - 1) close(i + lowest_bit(bits));
    };
    int64_t i = begin + 1;
#ifdef CELLBROOK_X86_LEVELS
    if constexpr (std::is_same_v<A, uint32_t> && std::is_same_v<B, uint32_t>)
        if (vector_level() >= Level::avx2)
            for (; i + 64 <= end; i += 64) walk(i, changes_avx2(a + i, b + i));
#endif
    for (; i + 64 <= end; i += 64) walk(i, changes(a + i, b + i));
    for (; i < end; ++i)
        if (a[i] != a[i - 1] || b[i] != b[i - 1]) close(i);
    close(end);
}

// Places of sorted ids: a plain array where ids are about dense, else binary search.
class Places {
public:
    explicit Places(const std::vector<int64_t>& sorted) : sorted_(sorted) {
        if (!sorted.empty() && uint64_t(sorted.back()) < 16 * sorted.size() + 65536) {
            table_.resize(sorted.back() + 1);
            for (size_t i = 0; i < sorted.size(); ++i) table_[sorted[i]] = int64_t(i);
        }
    }
    int64_t operator[](int64_t id) const {
        return table_.empty() ? std::lower_bound(sorted_.begin(), sorted_.end(), id) - sorted_.begin() : table_[id];
    }

private:
    const std::vector<int64_t>& sorted_;
    std::vector<int64_t> table_;
};

struct Overlaps {
    std::vector<int64_t> ids_a, areas_a, ids_b, areas_b;  // objects, ascending; areas in pixels
    std::vector<int64_t> a, b, count;                     // overlapping pairs as places in ids_a, ids_b; sorted by (a, b)
};

static void sum_by_id(std::vector<std::pair<int64_t, int64_t>>& parts, std::vector<int64_t>& ids, std::vector<int64_t>& areas) {
    std::sort(parts.begin(), parts.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
    for (const auto& [id, count] : parts) {
        if (ids.empty() || ids.back() != id) {
            ids.push_back(id);
            areas.push_back(0);
        }
        areas.back() += count;
    }
}

template <class A, class B>
static Overlaps find_overlaps(const A* a, const B* b, int64_t size, int threads) {
    std::vector<PairCounts> counts(std::max(1, threads));
    parallel_for(size, int64_t(1) << 18, threads, [&](int64_t begin, int64_t end, int thread) {
        count_runs(a, b, begin, end, counts[thread]);
    });
    for (size_t t = 1; t < counts.size(); ++t) counts[t].each([&](uint64_t key, int64_t n) { counts[0].add(key, n); });

    Overlaps out;
    std::vector<std::pair<uint64_t, int64_t>> pairs;
    std::vector<std::pair<int64_t, int64_t>> parts_a, parts_b;
    counts[0].each([&](uint64_t key, int64_t n) {
        const int64_t id_a = int64_t(key >> 32), id_b = int64_t(key & 0xFFFFFFFFu);
        if (id_a) parts_a.emplace_back(id_a, n);
        if (id_b) parts_b.emplace_back(id_b, n);
        if (id_a && id_b) pairs.emplace_back(key, n);
    });
    sum_by_id(parts_a, out.ids_a, out.areas_a);
    sum_by_id(parts_b, out.ids_b, out.areas_b);
    std::sort(pairs.begin(), pairs.end());
    const Places place_a(out.ids_a), place_b(out.ids_b);
    for (const auto& [key, n] : pairs) {
        out.a.push_back(place_a[int64_t(key >> 32)]);
        out.b.push_back(place_b[int64_t(key & 0xFFFFFFFFu)]);
        out.count.push_back(n);
    }
    return out;
}

template <class A, class B>
static nb::tuple overlaps(In<A> a, In<B> b, int threads) {
    if (a.size() != b.size()) throw std::invalid_argument("overlaps needs arrays of equal size");
    const A* data_a = a.data();
    const B* data_b = b.data();
    const int64_t size = int64_t(a.size());
    Overlaps found;
    {
        nb::gil_scoped_release release;
        found = find_overlaps(data_a, data_b, size, threads);
    }
    return nb::make_tuple(to_numpy(std::move(found.ids_a)), to_numpy(std::move(found.areas_a)), to_numpy(std::move(found.ids_b)),
                          to_numpy(std::move(found.areas_b)), to_numpy(std::move(found.a)), to_numpy(std::move(found.b)),
                          to_numpy(std::move(found.count)));
}

// Assignment of rows to columns, each at most once, with the largest sum of weights (all > 0), by shortest augmenting
// paths over the sparse edges (Jonker and Volgenant). A row may stay free: it then takes a column of its own, of weight 0.
class Assignment {
public:
    Assignment(int64_t rows, int64_t cols, const int64_t* start, const int64_t* col, const double* weight)
        : rows_(rows), cols_(cols), start_(start), col_(col), weight_(weight), u_(rows, 0.), v_(cols + rows, 0.),
          row_of_(cols + rows, -1), col_of_(rows, -1), distance_(cols + rows, INFINITY_), from_(cols + rows, -1), done_(cols + rows, 0) {}

    std::vector<int64_t> solve() {
        for (int64_t r = 0; r < rows_; ++r) {
            int64_t best = cols_ + r;
            for (int64_t e = start_[r]; e < start_[r + 1]; ++e)
                if (-weight_[e] < u_[r]) {
                    u_[r] = -weight_[e];
                    best = col_[e];
                }
            if (row_of_[best] < 0) match(r, best);
        }
        for (int64_t r = 0; r < rows_; ++r)
            if (col_of_[r] < 0) augment(r);
        std::vector<int64_t> out(rows_);
        for (int64_t r = 0; r < rows_; ++r) out[r] = col_of_[r] < cols_ ? col_of_[r] : -1;
        return out;
    }

private:
    void match(int64_t row, int64_t col) {
        row_of_[col] = row;
        col_of_[row] = col;
    }

    void augment(int64_t free_row) {
        using Entry = std::pair<double, int64_t>;
        std::priority_queue<Entry, std::vector<Entry>, std::greater<Entry>> queue;
        std::vector<int64_t> touched, scanned;
        auto reach = [&](int64_t row, int64_t col, double cost, double base) {
            if (done_[col]) return;
            const double d = base + (cost - u_[row] - v_[col]);
            if (d < distance_[col]) {
                if (distance_[col] == INFINITY_) touched.push_back(col);
                distance_[col] = d;
                from_[col] = row;
                queue.emplace(d, col);
            }
        };
        int64_t row = free_row, sink = -1;
        double base = 0;
        while (sink < 0) {
            for (int64_t e = start_[row]; e < start_[row + 1]; ++e) reach(row, col_[e], -weight_[e], base);
            reach(row, cols_ + row, 0., base);  // so the queue is never empty before a free column is found
            int64_t col;
            do {
                col = queue.top().second;
                base = queue.top().first;
                queue.pop();
            } while (done_[col]);
            done_[col] = 1;
            scanned.push_back(col);
            if (row_of_[col] < 0) sink = col;
            else row = row_of_[col];
        }
        u_[free_row] += base;
        for (const int64_t col : scanned)
            if (row_of_[col] >= 0) {
                u_[row_of_[col]] += base - distance_[col];
                v_[col] -= base - distance_[col];
            }
        for (int64_t col = sink;;) {
            const int64_t owner = from_[col], freed = col_of_[owner];
            match(owner, col);
            if (owner == free_row) break;
            col = freed;
        }
        for (const int64_t col : touched) {
            distance_[col] = INFINITY_;
            done_[col] = 0;
        }
    }

    static constexpr double INFINITY_ = std::numeric_limits<double>::infinity();
    int64_t rows_, cols_;
    const int64_t *start_, *col_;
    const double* weight_;
    std::vector<double> u_, v_;
    std::vector<int64_t> row_of_, col_of_;
    std::vector<double> distance_;
    std::vector<int64_t> from_;
    std::vector<char> done_;
};

static nb::ndarray<nb::numpy, int64_t> assign(int64_t cols, In<int64_t> start, In<int64_t> col, In<double> weight) {
    const int64_t rows = int64_t(start.size()) - 1;
    if (rows < 0 || col.size() != weight.size() || start.data()[0] != 0 || start.data()[rows] != int64_t(col.size()))
        throw std::invalid_argument("assign needs compressed rows: start, col, weight");
    for (int64_t r = 0; r < rows; ++r)
        if (start.data()[r] > start.data()[r + 1]) throw std::invalid_argument("assign needs ascending row starts");
    for (size_t e = 0; e < col.size(); ++e)
        if (col.data()[e] < 0 || col.data()[e] >= cols) throw std::invalid_argument("assign: column out of range");
    const int64_t *start_data = start.data(), *col_data = col.data();
    const double* weight_data = weight.data();
    std::vector<int64_t> out;
    {
        nb::gil_scoped_release release;
        out = Assignment(rows, cols, start_data, col_data, weight_data).solve();
    }
    return to_numpy(std::move(out));
}

template <class A>
static void register_overlaps(nb::module_& m) {
    m.def("overlaps", &overlaps<A, uint8_t>, nb::arg("a").noconvert(), nb::arg("b").noconvert(), nb::arg("threads"));
    m.def("overlaps", &overlaps<A, uint16_t>, nb::arg("a").noconvert(), nb::arg("b").noconvert(), nb::arg("threads"));
    m.def("overlaps", &overlaps<A, uint32_t>, nb::arg("a").noconvert(), nb::arg("b").noconvert(), nb::arg("threads"));
}

}  // namespace cellbrook

void register_match(nb::module_& m) {
    cellbrook::register_overlaps<uint8_t>(m);
    cellbrook::register_overlaps<uint16_t>(m);
    cellbrook::register_overlaps<uint32_t>(m);
    m.def("assign", &cellbrook::assign, nb::arg("cols"), nb::arg("start"), nb::arg("col"), nb::arg("weight"));
}
