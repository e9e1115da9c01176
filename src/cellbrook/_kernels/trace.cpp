// Labels to polygons along pixel edges, and back.
//
// Vertices are corners of pixels: corner (y, x) is the top left of pixel (y, x). Every object is traced in its own
// bounding box, with the object on the right hand. Where two of its pixels meet at a corner only, the border turns
// right, so they are separate pieces; a ring that comes back to one of its corners is cut there. So every ring is
// simple, outlines are joined by an edge (not a corner), and even-odd filling gives exactly the object's pixels.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "arrays.hpp"
#include "parallel.hpp"

namespace nb = nanobind;

namespace cellbrook {
namespace {

struct Corner {
    int32_t y, x;
    bool operator==(const Corner& other) const { return y == other.y && x == other.x; }
};

struct Rings {
    std::vector<Corner> corners;
    std::vector<int64_t> sizes;   // corners of each ring
    std::vector<int64_t> parent;  // index within these of the outline that a ring is a hole of; its own if it is none
    std::vector<int64_t> labels, planes;
};

class Tracer {
  public:
    Tracer(const uint32_t* labels, int64_t rows, int64_t cols) : labels_(labels), rows_(rows), cols_(cols) {}

    void trace(uint32_t label, int64_t plane, const int64_t* box, Rings& out) {
        label_ = label;
        plane_ = labels_ + plane * rows_ * cols_;
        y0_ = box[2], x0_ = box[3], y1_ = box[5], x1_ = box[6];
        const int64_t width = x1_ - x0_;
        seen_.assign(width * (y1_ - y0_), 0);
        found_.clear();
        for (int64_t y = y0_; y < y1_; ++y)
            for (int64_t x = x0_; x < x1_; ++x)
                if (inside(y, x) && !inside(y - 1, x) && !seen_[(y - y0_) * width + x - x0_]) follow(int32_t(y), int32_t(x));
        sort(out, plane);
    }

  private:
    struct Ring {
        std::vector<Corner> corners;
        int64_t twice_area;  // positive: an outline; negative: a hole
    };

    bool inside(int64_t y, int64_t x) const {
        return y >= y0_ && y < y1_ && x >= x0_ && x < x1_ && plane_[y * cols_ + x] == label_;
    }

    // From the top left corner of a pixel whose upper edge is border, to the right, until back.
    void follow(int32_t start_y, int32_t start_x) {
        static constexpr int step_y[4] = {0, 1, 0, -1}, step_x[4] = {1, 0, -1, 0};  // right, down, left, up
        // Pixels ahead of a corner, on the right hand and on the left, for each heading.
        static constexpr int right_y[4] = {0, 0, -1, -1}, right_x[4] = {0, -1, -1, 0};
        static constexpr int left_y[4] = {-1, 0, 0, -1}, left_x[4] = {0, 0, -1, -1};
        const int64_t width = x1_ - x0_;
        path_.clear();
        crossing_.clear();
        int32_t y = start_y, x = start_x;
        int heading = 0;
        do {
            if (heading == 0) seen_[(y - y0_) * width + x - x0_] = 1;
            y += step_y[heading];
            x += step_x[heading];
            const bool right = inside(y + right_y[heading], x + right_x[heading]);
            const bool left = inside(y + left_y[heading], x + left_x[heading]);
            if (!right)
                heading = (heading + 1) & 3;
            else if (left)
                heading = (heading + 3) & 3;
            else
                continue;
            push({y, x}, !right && left);
        } while (!(y == start_y && x == start_x && heading == 0));
        close(0);
    }

    // Adds a corner; if the ring was here before, what lies between is a ring of its own.
    void push(Corner corner, bool meets_diagonally) {
        if (meets_diagonally) {
            for (size_t k = crossing_.size(); k-- > 0;) {
                if (!(path_[crossing_[k]] == corner)) continue;
                const size_t from = crossing_[k];
                crossing_.resize(k);
                close(from);
                break;
            }
            crossing_.push_back(path_.size());
        }
        path_.push_back(corner);
    }

    void close(size_t from) {
        Ring ring{{path_.begin() + from, path_.end()}, 0};
        path_.resize(from);
        const auto& c = ring.corners;
        for (size_t k = 0; k < c.size(); ++k) {
            const Corner &a = c[k], &b = c[k + 1 < c.size() ? k + 1 : 0];
            ring.twice_area += int64_t(a.x) * b.y - int64_t(b.x) * a.y;
        }
        found_.push_back(std::move(ring));
    }

    static bool contains(const Ring& ring, double y, double x) {
        bool in = false;
        const auto& c = ring.corners;
        for (size_t k = 0, j = c.size() - 1; k < c.size(); j = k++)
            if ((c[k].y > y) != (c[j].y > y) && x < c[k].x) in = !in;  // only upright edges are met
        return in;
    }

    // Outlines, each followed by its holes.
    void sort(Rings& out, int64_t plane) {
        std::vector<std::vector<size_t>> holes(found_.size());
        std::vector<size_t> outlines;
        for (size_t k = 0; k < found_.size(); ++k)
            if (found_[k].twice_area > 0) outlines.push_back(k);
        for (size_t k = 0; k < found_.size(); ++k) {
            if (found_[k].twice_area > 0) continue;
            size_t parent = outlines[0];
            if (outlines.size() > 1) {
                // The middle of the object's pixel beside the hole's first edge lies in its outline, and in others around it.
                const Corner a = found_[k].corners[0], b = found_[k].corners[1];
                const double along_y = (b.y > a.y) - (b.y < a.y), along_x = (b.x > a.x) - (b.x < a.x);
                const double y = a.y + 0.5 * along_y + 0.5 * along_x, x = a.x + 0.5 * along_x - 0.5 * along_y;
                int64_t smallest = INT64_MAX;
                for (size_t o : outlines)
                    if (found_[o].twice_area < smallest && contains(found_[o], y, x)) {
                        smallest = found_[o].twice_area;
                        parent = o;
                    }
            }
            holes[parent].push_back(k);
        }
        for (size_t o : outlines) {
            const int64_t parent = int64_t(out.sizes.size());
            append(out, found_[o], parent, plane);
            for (size_t h : holes[o]) append(out, found_[h], parent, plane);
        }
    }

    void append(Rings& out, const Ring& ring, int64_t parent, int64_t plane) const {
        out.corners.insert(out.corners.end(), ring.corners.begin(), ring.corners.end());
        out.sizes.push_back(int64_t(ring.corners.size()));
        out.parent.push_back(parent);
        out.labels.push_back(label_);
        out.planes.push_back(plane);
    }

    const uint32_t *labels_, *plane_ = nullptr;
    int64_t rows_, cols_, y0_ = 0, x0_ = 0, y1_ = 0, x1_ = 0;
    uint32_t label_ = 0;
    std::vector<uint8_t> seen_;
    std::vector<Corner> path_;
    std::vector<size_t> crossing_;
    std::vector<Ring> found_;
};

// boxes: as object_boxes gives them. Returns corners (n, 2) as y, x; where each ring starts; label, plane and parent of each.
nb::tuple trace_labels(nb::ndarray<const uint32_t, nb::ndim<3>, nb::c_contig, nb::device::cpu> labels,
                       nb::ndarray<const int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> boxes, int threads) {
    const int64_t rows = labels.shape(1), cols = labels.shape(2), count = boxes.shape(0);
    const uint32_t* in = labels.data();
    const int64_t* box = boxes.data();
    std::vector<int32_t> corners;
    std::vector<int64_t> start{0}, parent, ring_label, ring_plane;
    {
        nb::gil_scoped_release release;
        constexpr int64_t chunk = 16;
        std::vector<Rings> parts((count + chunk - 1) / chunk);
        std::vector<Tracer> tracers(std::max(1, threads), Tracer(in, rows, cols));
        parallel_for(count, chunk, threads, [&](int64_t begin, int64_t end, int thread) {
            for (int64_t label = std::max<int64_t>(1, begin); label < end; ++label) {
                const int64_t* own = box + label * 7;
                if (!own[0]) continue;
                for (int64_t plane = own[1]; plane < own[4]; ++plane)
                    tracers[thread].trace(uint32_t(label), plane, own, parts[begin / chunk]);
            }
        });
        int64_t n_corners = 0, n_rings = 0;
        for (const Rings& part : parts) n_corners += int64_t(part.corners.size()), n_rings += int64_t(part.sizes.size());
        corners.reserve(2 * n_corners);
        start.reserve(n_rings + 1);
        for (const Rings& part : parts) {
            const int64_t first = int64_t(parent.size());
            for (const Corner& c : part.corners) corners.push_back(c.y), corners.push_back(c.x);
            for (int64_t size : part.sizes) start.push_back(start.back() + size);
            for (int64_t p : part.parent) parent.push_back(first + p);
            ring_label.insert(ring_label.end(), part.labels.begin(), part.labels.end());
            ring_plane.insert(ring_plane.end(), part.planes.begin(), part.planes.end());
        }
    }
    const size_t n = corners.size() / 2, rings = parent.size();
    return nb::make_tuple(to_numpy(std::move(corners), {n, 2}), to_numpy(std::move(start), {rings + 1}),
                          to_numpy(std::move(ring_label), {rings}), to_numpy(std::move(ring_plane), {rings}),
                          to_numpy(std::move(parent), {rings}));
}

// Fills polygons by the even-odd rule at pixel centres; rings of one label and plane that follow each other are one shape.
// A later shape covers an earlier one. points: (n, 2) as y, x, any finite numbers.
void fill_polygons(nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu> points,
                   nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> starts,
                   nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> ring_labels,
                   nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> ring_planes,
                   nb::ndarray<uint32_t, nb::ndim<3>, nb::c_contig, nb::device::cpu> labels) {
    const int64_t rings = ring_labels.shape(0), planes = labels.shape(0), rows = labels.shape(1), cols = labels.shape(2);
    const double* p = points.data();
    const int64_t *start = starts.data(), *label = ring_labels.data(), *plane = ring_planes.data();
    uint32_t* out = labels.data();
    nb::gil_scoped_release release;
    struct Edge {
        double y0, y1, x0, slope;  // upwards or down alike: y0 < y1
    };
    std::vector<Edge> edges;
    std::vector<size_t> active;
    std::vector<double> hits;
    for (int64_t first = 0, last; first < rings; first = last) {
        for (last = first + 1; last < rings && label[last] == label[first] && plane[last] == plane[first];) ++last;
        if (plane[first] < 0 || plane[first] >= planes) continue;
        edges.clear();
        double top = INFINITY, bottom = -INFINITY;
        for (int64_t r = first; r < last; ++r)
            for (int64_t k = start[r]; k < start[r + 1]; ++k) {
                const double* a = p + 2 * k;
                const double* b = p + 2 * (k + 1 < start[r + 1] ? k + 1 : start[r]);
                if (a[0] == b[0]) continue;
                if (a[0] > b[0]) std::swap(a, b);
                edges.push_back({a[0], b[0], a[1], (b[1] - a[1]) / (b[0] - a[0])});
                top = std::min(top, a[0]);
                bottom = std::max(bottom, b[0]);
            }
        std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.y0 < b.y0; });
        active.clear();
        size_t next = 0;
        const int64_t y_begin = std::max<int64_t>(0, int64_t(std::floor(std::max(top, 0.0) - 0.5)));
        const int64_t y_end = edges.empty() ? 0 : std::min<int64_t>(rows, int64_t(std::ceil(std::min(bottom, double(rows)))));
        for (int64_t y = y_begin; y < y_end; ++y) {
            const double centre = double(y) + 0.5;
            for (; next < edges.size() && edges[next].y0 <= centre; ++next) active.push_back(next);
            active.erase(std::remove_if(active.begin(), active.end(), [&](size_t e) { return edges[e].y1 <= centre; }),
                         active.end());
            hits.clear();
            for (size_t e : active) hits.push_back(edges[e].x0 + (centre - edges[e].y0) * edges[e].slope);
            std::sort(hits.begin(), hits.end());
            uint32_t* row = out + (plane[first] * rows + y) * cols;
            for (size_t k = 0; k + 1 < hits.size(); k += 2) {
                // Pixels whose centre x + 0.5 lies in [hit, next hit).
                const double from = std::clamp(std::ceil(hits[k] - 0.5), 0.0, double(cols));
                const double to = std::clamp(std::ceil(hits[k + 1] - 0.5), 0.0, double(cols));
                for (int64_t x = int64_t(from); x < int64_t(to); ++x) row[x] = uint32_t(label[first]);
            }
        }
    }
}

}  // namespace
}  // namespace cellbrook

void register_trace(nb::module_& m) {
    using namespace cellbrook;
    m.def("trace_labels", &trace_labels, nb::arg("labels"), nb::arg("boxes"), nb::arg("threads"));
    m.def("fill_polygons", &fill_polygons, nb::arg("points"), nb::arg("starts"), nb::arg("labels_of_rings"),
          nb::arg("planes_of_rings"), nb::arg("labels"));
}
