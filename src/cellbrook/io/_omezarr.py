"""OME-Zarr folders, v0.4 and v0.5, with their pyramids."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import ImageError
from cellbrook.io._stored import StoredImage
from cellbrook.io._tiff import pick_scene
from cellbrook.io.pixel_size import to_micrometres

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def is_zarr(path: Path) -> bool:
    """Return True if a folder is a Zarr group or array."""
    return any((path / marker).is_file() for marker in _MARKERS)


def open_zarr(path: Path, scene: str | None = None) -> StoredImage:
    """Return what an OME-Zarr folder holds; see `cellbrook.io.open_image`."""
    import zarr

    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        return StoredImage(levels=(_ZarrLevel(node),), axes=_dimension_names(node))
    below = _scene_below(path, scene)
    return _open_multiscale(node[below] if below else node, path)


def zarr_scenes(path: Path) -> tuple[str, ...]:
    """Return the names of the images in an OME-Zarr folder."""
    import zarr

    node = zarr.open(path, mode="r")
    return ("0",) if isinstance(node, zarr.Array) else tuple(_scene_paths(path))


def scene_folder(path: Path, scene: str | None) -> Path:
    """Return the folder that holds all that is read of a scene; None is the only one of an OME-Zarr folder."""
    return path if scene is None else path / _scene_below(path, scene)


def _scene_below(path: Path, scene: str | None) -> str:
    """Return the path of a scene inside its OME-Zarr folder; nothing where it is the folder itself."""
    names = _scene_paths(path)
    if not names:
        raise ImageError(f"{path}: a Zarr folder without OME-Zarr images in it (no 'multiscales')")
    name = names[pick_scene(scene, names, str(path))]
    return "" if ome_of(attributes_of(path)).get("multiscales") else name


def attributes_of(folder: Path) -> dict[str, Any]:
    """Return the attributes of a Zarr group itself, without what consolidated metadata repeat of those below it.

    Raises
    ------
    OSError, ValueError
        If its metadata cannot be read.
    """
    for marker in (
        "zarr.json",
        ".zattrs",
    ):  # read here, as zarr takes 50 times as long for the wells of a plate
        file = folder / marker
        if file.is_file():
            content = json.loads(file.read_text(encoding="utf-8"))
            if marker == "zarr.json" and isinstance(content, dict):
                content = content.get("attributes", {})
            if not isinstance(content, dict):
                raise ValueError(f"{file} holds no attributes")
            return content
    return {}


def ome_of(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the OME metadata: under "ome" since v0.5, at the top before."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes


def _scene_paths(folder: Path) -> list[str]:
    """Return the paths of the images: the group itself ("0"), numbered ones, or the fields of a plate."""
    metadata = ome_of(attributes_of(folder))
    if metadata.get("multiscales"):
        return ["0"]
    if "plate" in metadata:
        wells = [well["path"] for well in metadata["plate"].get("wells", [])]
        return [
            f"{well}/{image['path']}"
            for well in wells
            for image in ome_of(attributes_of(folder / well)).get("well", {}).get("images", [])
        ]
    if "well" in metadata:
        return [str(image["path"]) for image in metadata["well"].get("images", [])]
    numbered = sorted((p.name for p in folder.iterdir() if p.name.isdecimal()), key=int)
    return [name for name in numbered if ome_of(attributes_of(folder / name)).get("multiscales")]


def _open_multiscale(group: Any, path: Path) -> StoredImage:
    metadata = ome_of(dict(group.attrs))
    multiscale = metadata["multiscales"][0]
    levels = tuple(_ZarrLevel(group[dataset["path"]]) for dataset in multiscale["datasets"])
    declared = multiscale.get("axes")
    axes = None
    units: list[str | None] = []
    if declared:  # v0.4 and later; earlier ones are always TCZYX
        names = [axis["name"] if isinstance(axis, dict) else str(axis) for axis in declared]
        units = [axis.get("unit") if isinstance(axis, dict) else None for axis in declared]
        axes = "".join(name.upper() if len(name) == 1 else "?" for name in names)
    elif len(levels[0].shape) == 5:
        axes = "TCZYX"
    channels = [str(c.get("label", "")) for c in metadata.get("omero", {}).get("channels", [])]
    return StoredImage(
        levels=levels,
        axes=axes,
        pixel_size_um=_pixel_size(multiscale, axes or "", units),
        channel_names=tuple(channels) if any(channels) else (),
        declared=(axes, levels[0].shape) if axes else None,
    )


def _pixel_size(multiscale: dict[str, Any], axes: str, units: list[str | None]) -> dict[str, float]:
    scale = np.ones(len(axes))
    steps = [
        *multiscale["datasets"][0].get("coordinateTransformations", []),
        *multiscale.get("coordinateTransformations", []),
    ]
    for step in steps:
        if step.get("type") == "scale" and len(step.get("scale", [])) == len(axes):
            scale *= np.asarray(step["scale"], float)
    size: dict[str, float] = {}
    for axis, value, unit in zip(axes, scale, units, strict=False):
        length = to_micrometres(float(value), unit) if axis in "ZYX" else None
        if length is not None:
            size[axis] = length
    return size


def _dimension_names(array: Any) -> str | None:
    names = getattr(array.metadata, "dimension_names", None)
    if not names or any(n is None for n in names):
        return None
    return "".join(n.upper() if len(n) == 1 else "?" for n in names)


class _ZarrLevel:
    """A Zarr array as a stored array."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        return np.asarray(self._array[key])
