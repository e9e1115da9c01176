// The extension module: each kernel file registers its own functions.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

void register_candidates(nb::module_& m);
void register_diffuse(nb::module_& m);
void register_peer_flows(nb::module_& m);
void register_dispatch(nb::module_& m);
void register_match(nb::module_& m);
void register_measure(nb::module_& m);
void register_blend(nb::module_& m);
void register_intensity(nb::module_& m);
void register_resample(nb::module_& m);
void register_paint(nb::module_& m);
void register_trace(nb::module_& m);

NB_MODULE(_native, m) {
    m.doc() = "Compiled kernels of Cellbrook. Called through cellbrook.dynamics, metrics and export.";
    register_candidates(m);
    register_diffuse(m);
    register_peer_flows(m);
    register_dispatch(m);
    register_match(m);
    register_measure(m);
    register_blend(m);
    register_intensity(m);
    register_resample(m);
    register_paint(m);
    register_trace(m);
}
