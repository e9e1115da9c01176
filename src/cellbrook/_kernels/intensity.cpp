// Exact percentiles of any pixel type, and the stretch that makes them 0 and 1.
//
// Percentiles: a radix selection. Every number becomes an unsigned key of the same order; the first pass counts the
// keys' leading 16 bits, each further pass the next 16 bits of those keys that still matter. 8- and 16-bit pixels
// need one pass, 32-bit two, 64-bit four; nothing is copied or sorted, so memory is the counters alone.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "parallel.hpp"

namespace nb = nanobind;

namespace cellbrook {

enum Kind { Unsigned = 0, Signed = 1, Float = 2 };

template <class U>
constexpr U top_bit = U(U(1) << (8 * sizeof(U) - 1));

template <Kind kind, class U>
static inline U to_key(U bits) {
    if (kind == Signed) return bits ^ top_bit<U>;
    if (kind == Float) return bits & top_bit<U> ? U(~bits) : U(bits | top_bit<U>);
    return bits;
}

static double half_to_double(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double size = exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24);
    return bits >> 15 ? -size : size;
}

template <Kind kind, class U>
static double from_key(U key) {
    if (kind == Unsigned) return double(key);
    if (kind == Signed) return double(typename std::make_signed<U>::type(key ^ top_bit<U>));
    const U bits = key & top_bit<U> ? U(key ^ top_bit<U>) : U(~key);
    if (sizeof(U) == 2) return half_to_double(uint16_t(bits));
    if (sizeof(U) == 4) {
        float value;
        std::memcpy(&value, &bits, 4);
        return value;
    }
    double value = 0;
    std::memcpy(&value, &bits, sizeof(U));
    return value;
}

// Leading digits whose exponent is all ones hold nothing but NaN and infinities (they all fit in the leading 16 bits).
template <Kind kind, class U>
static bool finite_digit([[maybe_unused]] uint32_t digit) {
    if constexpr (kind == Float && sizeof(U) >= 2) {
        const U key = U(U(digit) << (8 * sizeof(U) - 16));
        const U bits = key & top_bit<U> ? U(key ^ top_bit<U>) : U(~key);
        const U exponent = sizeof(U) == 2 ? U(0x7C00) : sizeof(U) == 4 ? U(0x7F800000) : U(uint64_t(0x7FF0) << (8 * sizeof(U) - 16));
        return (bits & exponent) != exponent;
    }
    return true;
}

template <Kind kind, class U>
static int64_t select(const U* data, int64_t size, const double* fractions, int64_t wanted, double* out, int threads) {
    constexpr int digit_bits = sizeof(U) == 1 ? 8 : 16, passes = 8 * sizeof(U) / digit_bits;
    constexpr int64_t bins = int64_t(1) << digit_bits;
    struct Target {
        int64_t rank;  // among the keys that share its prefix
        U prefix;
    };
    std::vector<Target> targets;
    std::vector<U> prefixes(1, 0);
    int64_t finite = 0;
    threads = std::max(1, threads);
    std::vector<std::vector<uint32_t>> counters(threads);
    for (int pass = 0; pass < passes; ++pass) {
        const int shift = digit_bits * (passes - 1 - pass);
        const int64_t groups = prefixes.size();
        std::vector<int64_t> total(groups * bins, 0);
        auto count_piece = [&](int64_t begin, int64_t end, int thread) {
            uint32_t* count = counters[thread].data();
            auto tally = [&](U bits, uint32_t times) {
                const U key = to_key<kind>(bits);
                if (pass == 0) {
                    count[key >> shift] += times;
                    return;
                }
                const U head = U(uint64_t(key) >> (shift + digit_bits));
                for (int64_t g = 0; g < groups; ++g)
                    if (head == prefixes[g]) count[g * bins + ((key >> shift) & (bins - 1))] += times;
            };
            // Flat background would add to one counter again and again, each addition waiting for the one before.
            constexpr int64_t block = 8;
            int64_t i = begin;
            for (; i + block <= end; i += block) {
                U different = 0;
                for (int64_t j = 1; j < block; ++j) different |= data[i] ^ data[i + j];
                if (!different)
                    tally(data[i], block);
                else
                    for (int64_t j = 0; j < block; ++j) tally(data[i + j], 1);
            }
            for (; i < end; ++i) tally(data[i], 1);
        };
        constexpr int64_t part = int64_t(1) << 31;  // the counters, small for the caches, hold no more
        for (int64_t first = 0; first < size; first += part) {
            for (auto& counter : counters) counter.assign(groups * bins, 0);
            parallel_for(std::min(part, size - first), 1 << 18, threads,
                         [&](int64_t begin, int64_t end, int thread) { count_piece(first + begin, first + end, thread); });
            for (const auto& counter : counters)
                for (int64_t b = 0; b < groups * bins; ++b) total[b] += counter[b];
        }
        if (pass == 0) {
            for (int64_t b = 0; b < bins; ++b) {
                if (!finite_digit<kind, U>(uint32_t(b))) total[b] = 0;
                finite += total[b];
            }
            if (!finite) return 0;
            for (int64_t i = 0; i < wanted; ++i) {
                const int64_t below = int64_t(std::floor(fractions[i] * double(finite - 1)));
                targets.push_back({below, 0});
                targets.push_back({std::min(below + 1, finite - 1), 0});
            }
        }
        std::vector<U> next;
        for (auto& target : targets) {
            const int64_t group = std::find(prefixes.begin(), prefixes.end(), target.prefix) - prefixes.begin();
            const int64_t* count = total.data() + group * bins;
            int64_t digit = 0;
            for (; target.rank >= count[digit]; ++digit) target.rank -= count[digit];
            target.prefix = pass ? U(uint64_t(target.prefix) << digit_bits | uint64_t(digit)) : U(digit);
            if (std::find(next.begin(), next.end(), target.prefix) == next.end()) next.push_back(target.prefix);
        }
        prefixes = next;
    }
    for (int64_t i = 0; i < wanted; ++i) {
        const double position = fractions[i] * double(finite - 1), part = position - std::floor(position);
        const double low = from_key<kind>(targets[2 * i].prefix), high = from_key<kind>(targets[2 * i + 1].prefix);
        out[i] = part == 0 ? low : low * (1 - part) + high * part;  // no difference: it could overflow
    }
    return finite;
}

// Writes the values at `fractions` (0..1) of the sorted finite numbers and returns how many of those there are.
template <class U>
static int64_t percentiles(nb::ndarray<const U, nb::ndim<1>, nb::c_contig, nb::device::cpu> data, int kind,
                           nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu> fractions,
                           nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu> out, int threads) {
    if (out.shape(0) != fractions.shape(0)) throw nb::value_error("one output per fraction expected");
    for (size_t i = 0; i < fractions.shape(0); ++i)
        if (!(fractions.data()[i] >= 0 && fractions.data()[i] <= 1)) throw nb::value_error("fractions must lie in 0..1");
    const U* in = data.data();
    const int64_t size = data.shape(0), wanted = fractions.shape(0);
    nb::gil_scoped_release release;
    if (kind == Unsigned) return select<Unsigned>(in, size, fractions.data(), wanted, out.data(), threads);
    if (kind == Signed) return select<Signed>(in, size, fractions.data(), wanted, out.data(), threads);
    if constexpr (sizeof(U) >= 2) return select<Float>(in, size, fractions.data(), wanted, out.data(), threads);
    return 0;  // there are no 8-bit floats
}

// Narrow integers are exact in float; wide ones and floats are stretched in double, or a small signal on a large
// offset would lose its digits.
template <class T>
using Real = std::conditional_t<std::is_integral_v<T> && sizeof(T) <= 2, float, double>;

template <class T>
static void stretch(nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu> data,
                    nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu> out, double low, double scale, bool invert,
                    double limit, int threads) {
    if (data.shape(0) != out.shape(0)) throw nb::value_error("input and output must be of equal length");
    const T* in = data.data();
    float* result = out.data();
    const int64_t size = data.shape(0);
    nb::gil_scoped_release release;
    parallel_for(size, 1 << 18, threads, [&](int64_t begin, int64_t end, int) {
        using R = Real<T>;
        const R a = R(low), b = R(scale), bound = R(limit), one = invert ? R(1) : R(0), sign = invert ? R(-1) : R(1);
        for (int64_t i = begin; i < end; ++i) {
            R value = (R(in[i]) - a) * b;
            if constexpr (!(std::is_integral_v<T> && sizeof(T) <= 2)) {
                value = value < -bound ? -bound : value > bound ? bound : value;
                if constexpr (std::is_floating_point_v<T>) value = in[i] - in[i] == 0 && value == value ? value : R(0);  // NaN, infinities
            }
            result[i] = float(one + sign * value);
        }
    });
}

template <class T>
static void define_stretch(nb::module_& m) {
    m.def("stretch", &stretch<T>, nb::arg("data").noconvert(), nb::arg("out"), nb::arg("low"), nb::arg("scale"), nb::arg("invert"),
          nb::arg("limit"), nb::arg("threads"));
}

template <class U>
static void define_percentiles(nb::module_& m) {
    m.def("percentiles", &percentiles<U>, nb::arg("data").noconvert(), nb::arg("kind"), nb::arg("fractions"), nb::arg("out"),
          nb::arg("threads"));
}

}  // namespace cellbrook

void register_intensity(nb::module_& m) {
    using namespace cellbrook;
    define_percentiles<uint8_t>(m);
    define_percentiles<uint16_t>(m);
    define_percentiles<uint32_t>(m);
    define_percentiles<uint64_t>(m);
    define_stretch<uint8_t>(m);
    define_stretch<int8_t>(m);
    define_stretch<uint16_t>(m);
    define_stretch<int16_t>(m);
    define_stretch<uint32_t>(m);
    define_stretch<int32_t>(m);
    define_stretch<uint64_t>(m);
    define_stretch<int64_t>(m);
    define_stretch<float>(m);
    define_stretch<double>(m);
}
