"""Cellbrook: an image in, one labelled region a cell out.

>>> import cellbrook                                    # doctest: +SKIP
>>> seg = cellbrook.segment("cells.tif")                # doctest: +SKIP
>>> seg.labels, seg.objects.to_pandas()                 # doctest: +SKIP

Public are the names here, and what the rooms named here list in their ``__all__``, such as `cellbrook.measure.measure`.
Importing this package loads neither torch nor onnxruntime; what is named here is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellbrook import (
        core,
        dynamics,
        errors,
        evaluation,
        export,
        io,
        measure,
        metrics,
        networks,
        project,
        training,
    )
    from cellbrook.api import Segmentation, Segmenter, open_image, open_project, segment, train, tune
    from cellbrook.core.objects import ObjectTable
    from cellbrook.core.params import MaskParams, NormalizeParams, SegmentParams, TileParams
    from cellbrook.core.result import NetworkOutput
    from cellbrook.core.settings import read_settings
    from cellbrook.errors import CellbrookError
    from cellbrook.evaluation import agreement, evaluate

_HOMES = {
    "segment": "cellbrook.api",
    "Segmenter": "cellbrook.api",
    "Segmentation": "cellbrook.api",
    "train": "cellbrook.api",
    "evaluate": "cellbrook.evaluation",
    "agreement": "cellbrook.evaluation",
    "open_image": "cellbrook.api",
    "tune": "cellbrook.api",
    "read_settings": "cellbrook.core.settings",
    "open_project": "cellbrook.api",
    "MaskParams": "cellbrook.core.params",
    "NormalizeParams": "cellbrook.core.params",
    "TileParams": "cellbrook.core.params",
    "SegmentParams": "cellbrook.core.params",
    "ObjectTable": "cellbrook.core.objects",
    "NetworkOutput": "cellbrook.core.result",
    "CellbrookError": "cellbrook.errors",
}
_ROOMS = (
    "core",
    "dynamics",
    "errors",
    "evaluation",
    "export",
    "io",
    "measure",
    "metrics",
    "networks",
    "project",
    "training",
)

__all__ = [
    "CellbrookError",
    "MaskParams",
    "NetworkOutput",
    "NormalizeParams",
    "ObjectTable",
    "SegmentParams",
    "Segmentation",
    "Segmenter",
    "TileParams",
    "agreement",
    "core",
    "dynamics",
    "errors",
    "evaluate",
    "evaluation",
    "export",
    "io",
    "measure",
    "metrics",
    "networks",
    "open_image",
    "open_project",
    "project",
    "read_settings",
    "segment",
    "train",
    "training",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"cellbrook.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("cellbrook")
    raise AttributeError(f"module 'cellbrook' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
