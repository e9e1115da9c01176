// NumPy arrays in and out of the kernels.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <initializer_list>
#include <utility>
#include <vector>

#include "grid.hpp"

namespace cellbrook {

namespace nb = nanobind;

template <class T>
using Image = nb::ndarray<T, nb::c_contig, nb::device::cpu>;  // any number of dimensions, C order
template <class T>
using NumpyArray = nb::ndarray<nb::numpy, T>;

// The last D axes of an array.
template <int D, class Array>
Grid<D> grid_of(const Array& array) {
    Grid<D> grid;
    for (int a = 0; a < D; ++a) grid.n[a] = int64_t(array.shape(array.ndim() - D + a));
    return grid;
}

// Hands a vector's memory to NumPy.
template <class T>
NumpyArray<T> to_numpy(std::vector<T>&& values, std::initializer_list<size_t> shape) {
    auto* owned = new std::vector<T>(std::move(values));
    nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return NumpyArray<T>(owned->data(), shape, owner);
}

}  // namespace cellbrook
