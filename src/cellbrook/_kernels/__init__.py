"""Compiled kernels (C++17 behind nanobind).

Nothing here is public: each kernel is called, documented and tested through the room it serves
(`cellbrook.dynamics`, `cellbrook.metrics`, `cellbrook.export`).
"""
