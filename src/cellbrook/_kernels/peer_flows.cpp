// Compat mode as a whole: the peer's candidates, its flows from labels and its flow errors.
#include <nanobind/stl/pair.h>

#include <cmath>
#include <cstring>
#include <unordered_map>

#include "arrays.hpp"
#include "diffuse.hpp"
#include "parallel.hpp"
#include "regions.hpp"
#include "seeds.hpp"
#include "trail.hpp"

namespace cellbrook {

namespace {

// Labels by seed number, 1 ... n, and for each seed its pixel and its count.
template <int D>
std::pair<NumpyArray<uint32_t>, NumpyArray<int32_t>> peer_candidates(const Image<const float>& flows,
                                                                     const Image<const float>& cellprob,
                                                                     float threshold, int64_t niter, int threads) {
    const Grid<D> grid = grid_of<D>(cellprob);
    std::vector<uint32_t> labels(grid.size());
    std::vector<int32_t> seeds;
    {
        nb::gil_scoped_release release;
        int32_t* values = reinterpret_cast<int32_t*>(labels.data());
        follow_flows(grid, flows.data(), cellprob.data(), threshold, niter, kPeakReach, threads, values);
        for (const Seed& seed : group_by_seeds(grid, values, threads)) {
            seeds.push_back(seed.pixel);
            seeds.push_back(seed.count);
        }
    }
    const size_t count = seeds.size() / 2;
    if constexpr (D == 2)
        return {to_numpy(std::move(labels), {size_t(grid.n[0]), size_t(grid.n[1])}),
                to_numpy(std::move(seeds), {count, size_t(2)})};
    else
        return {to_numpy(std::move(labels), {size_t(grid.n[0]), size_t(grid.n[1]), size_t(grid.n[2])}),
                to_numpy(std::move(seeds), {count, size_t(2)})};
}

// All objects heat up for as long as the largest needs, and the slope at a pixel takes in the heat of whatever lies
// beside it, be it another object.
template <int D>
class PeerFlows {
public:
    PeerFlows(const Grid<D>& grid, const uint32_t* labels, int threads)
        : grid_(grid), labels_(labels), boxes_(find_boxes(grid, labels)), heat_(grid.size(), 0.f) {
        int64_t steps = 0;
        for (const auto& box : boxes_)
            if (!box.empty()) steps = std::max(steps, ObjectFlows<D>::default_steps(box.grid()));
        const Centre rule = D == 2 ? Centre::nearest_to_rounded : Centre::nearest;
        std::vector<ObjectFlows<D>> solvers(std::max(1, threads));
        std::mutex mutex;
        parallel_for(boxes_.size(), 4, threads, [&](int64_t begin, int64_t end, int thread) {
            for (int64_t label = begin; label < end; ++label) {
                if (boxes_[label].empty()) continue;
                if (solvers[thread].solve_heat(grid_, labels_, uint32_t(label), boxes_[label], rule, steps,
                                               heat_.data())) {
                    const std::lock_guard<std::mutex> lock(mutex);
                    fine_[uint32_t(label)] = solvers[thread].heat();
                }
            }
        });
    }

    const std::vector<Box<D>>& boxes() const { return boxes_; }

    // Calls write(pixel, flow) for every pixel of a label.
    template <class Write>
    void for_pixels(uint32_t label, Write&& write) const {
        const Box<D>& box = boxes_[label];
        const auto fine = fine_.find(label);
        const int64_t width = box.extent(D - 1);
        for_rows(grid_, box, [&](int64_t offset, int64_t) {
            auto c = grid_.coordinates(offset);
            for (int64_t x = 0; x < width; ++x, ++c[D - 1]) {
                const int64_t i = offset + x;
                if (labels_[i] != label) continue;
                double slope[D], square = 0;
                for (int a = 0; a < D; ++a) {
                    const int64_t stride = strides_[a];
                    double ahead = c[a] + 1 < grid_.n[a] ? heat_[i + stride] : 0.f;
                    double back = c[a] > 0 ? heat_[i - stride] : 0.f;
                    if (fine != fine_.end()) {
                        if (c[a] + 1 < box.high[a] && labels_[i + stride] == label)
                            ahead = fine->second[local(box, c, a, 1)];
                        if (c[a] > box.low[a] && labels_[i - stride] == label)
                            back = fine->second[local(box, c, a, -1)];
                    }
                    slope[a] = ahead - back;
                    square += slope[a] * slope[a];
                }
                const double scale = 1 / (1e-60 + std::sqrt(square));
                float flow[D];
                for (int a = 0; a < D; ++a) flow[a] = float(slope[a] * scale);
                write(i, flow);
            }
        });
    }

private:
    static int64_t local(const Box<D>& box, std::array<int64_t, D> c, int axis, int64_t step) {
        c[axis] += step;
        int64_t index = 0;
        for (int a = 0; a < D; ++a) index = index * box.extent(a) + c[a] - box.low[a];
        return index;
    }

    Grid<D> grid_;
    const uint32_t* labels_;
    std::vector<Box<D>> boxes_;
    std::vector<float> heat_;
    std::unordered_map<uint32_t, std::vector<double>> fine_;  // of objects too long for float
    std::array<int64_t, D> strides_ = [this] {
        std::array<int64_t, D> s;
        for (int a = 0; a < D; ++a) s[a] = grid_.stride(a);
        return s;
    }();
};

template <int D>
void peer_flows_from_labels(const Image<const uint32_t>& labels, const Image<float>& flows, int threads) {
    const Grid<D> grid = grid_of<D>(labels);
    const int64_t size = grid.size();
    float* out = flows.data();
    const uint32_t* in = labels.data();
    nb::gil_scoped_release release;
    std::memset(out, 0, sizeof(float) * D * size);
    const PeerFlows<D> peer(grid, in, threads);
    parallel_for(peer.boxes().size(), 4, threads, [&](int64_t begin, int64_t end, int) {
        for (int64_t label = begin; label < end; ++label)
            if (!peer.boxes()[label].empty())
                peer.for_pixels(uint32_t(label), [&](int64_t i, const float* flow) {
                    for (int a = 0; a < D; ++a) out[a * size + i] = flow[a];
                });
    });
}

template <int D>
void peer_flow_errors(const Image<const uint32_t>& labels, const Image<const float>& flows, const Image<double>& errors,
                      int threads) {
    const Grid<D> grid = grid_of<D>(labels);
    const int64_t size = grid.size(), count = int64_t(errors.size());
    const float* given = flows.data();
    const uint32_t* in = labels.data();
    double* out = errors.data();
    nb::gil_scoped_release release;
    const PeerFlows<D> peer(grid, in, threads);
    parallel_for(count, 4, threads, [&](int64_t begin, int64_t end, int) {
        for (int64_t k = begin; k < end; ++k) {
            if (k + 1 >= int64_t(peer.boxes().size()) || peer.boxes()[k + 1].empty()) continue;
            double sum = 0;
            int64_t pixels = 0;
            peer.for_pixels(uint32_t(k + 1), [&](int64_t i, const float* flow) {
                for (int a = 0; a < D; ++a) {
                    const double e = double(flow[a]) - double(given[a * size + i] * 5.f / 5.f);
                    sum += e * e;
                }
                ++pixels;
            });
            out[k] = sum / double(pixels);
        }
    });
}

template <int D>
void register_dimension(nb::module_& m, const std::string& suffix) {
    m.def(("peer_candidates" + suffix).c_str(), &peer_candidates<D>, nb::arg("flows"), nb::arg("cellprob"),
          nb::arg("threshold"), nb::arg("niter"), nb::arg("threads"));
    m.def(("peer_flows_from_labels" + suffix).c_str(), &peer_flows_from_labels<D>, nb::arg("labels"), nb::arg("flows"),
          nb::arg("threads"));
    m.def(("peer_flow_errors" + suffix).c_str(), &peer_flow_errors<D>, nb::arg("labels"), nb::arg("flows"),
          nb::arg("errors"), nb::arg("threads"));
}

}  // namespace
}  // namespace cellbrook

void register_peer_flows(nanobind::module_& m) {
    cellbrook::register_dimension<2>(m, "_2d");
    cellbrook::register_dimension<3>(m, "_3d");
}
