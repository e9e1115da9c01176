// Flows from labels: heat spreads from each object's centre; the flow is the direction of steepest ascent.
#pragma once

#include <cstdint>
#include <vector>

#include "grid.hpp"

namespace cellbrook {

// Where heat enters: the pixel nearest to the centroid, or to the centroid rounded to whole pixels (half to even).
enum class Centre { nearest, nearest_to_rounded };

// Solves one object after the other in scratch memory of its own: one for each thread.
//
// Each object is alone in its padded bounding box, so the cost follows the objects and not the image, and objects
// never see each other: outside the object the heat is zero. In 2-D heat spreads over 3 x 3 pixels (pixels that touch
// at a corner belong together), in 3-D over a voxel and the six at its faces.
//
// A label in several pieces gets flows for each piece, as if it were an object of its own.
template <int D>
class ObjectFlows {
public:
    // Flow of the object `label` in `box`; component a of the pixel at offset i of the box is flow(a)[i].
    void solve(const Grid<D>& grid, const uint32_t* labels, uint32_t label, const Box<D>& box) {
        solve_where(grid, box, [=](int64_t i) { return labels[i] == label; });
    }
    // The same for the object of those pixels i of the image, all in `box`, for which inside(i) is true.
    template <class Inside>
    void solve_where(const Grid<D>& grid, const Box<D>& box, Inside&& inside) {
        take(grid, box, inside);
        solve_taken();
    }
    // Sum over the object's pixels of the squared difference between given flows and the object's.
    double squared_error(const Grid<D>& grid, const Box<D>& box, const float* given) const;
    const float* flow(int axis) const { return flow_.data() + axis * size_; }
    bool inside(int64_t i) const { return piece_[i] != 0; }
    int64_t area() const {
        int64_t pixels = 0;
        for (int64_t i = 0; i < size_; ++i) pixels += inside(i);
        return pixels;
    }

    // The peer's heat of an object after `steps` steps, written into `image`; other pieces than the one with the
    // centre stay cold. Returns true if float is too coarse for it: then heat(i) is the heat at offset i of the box.
    bool solve_heat(const Grid<D>& grid, const uint32_t* labels, uint32_t label, const Box<D>& box, Centre rule,
                    int64_t steps, float* image);
    const std::vector<double>& heat() const { return fine_heat_; }

    static int64_t default_steps(const Grid<D>& box);

private:
    // Heat of one piece in its padded box. Rows are padded to whole vectors.
    template <class Real>
    struct Heat {
        Real *now, *next, *share;  // share: part of the neighbourhood's heat that a pixel takes; 0 outside the piece
        int64_t row, plane, margin;  // strides, and the padding before each row
        int64_t at(const std::array<int64_t, D>& c) const;
    };

    template <class Inside>
    void take(const Grid<D>& grid, const Box<D>& box, Inside&& inside) {
        local_ = box.grid();
        size_ = local_.size();
        piece_.resize(size_);
        for_rows(grid, box, [&](int64_t from, int64_t to) {
            for (int64_t x = 0; x < local_.width(); ++x) piece_[to + x] = inside(from + x);
        });
    }
    void solve_taken();
    Box<D> whole() const;
    template <class Real>
    Heat<Real> diffuse(const Box<D>& part, int32_t piece, Centre rule, int64_t steps);
    template <class Real>
    Real coldest(const Heat<Real>& heat, const Box<D>& part, int32_t piece) const;
    template <class Real>
    void write_gradient(const Heat<Real>& heat, const Box<D>& part, int32_t piece);
    template <class Real>
    void walk_to_heat(const Heat<Real>& heat, Real floor, const Box<D>& part, int32_t piece);
    std::vector<Box<D>> split_pieces();

    Grid<D> local_;               // the object's box
    int64_t size_ = 0;
    std::vector<int32_t> piece_;  // of each pixel of the box: 0 outside the object
    std::vector<float> flow_;     // D planes of the box
    std::vector<double> memory_;  // of the heat
    std::vector<double> fine_heat_;
    std::array<int64_t, D> centre_{};  // of the piece solved last
};

}  // namespace cellbrook
