"""Random crops to be labelled twice, blind: which is the same as which stands in a key kept apart."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.progress import NoProgress, Progress
from cellbrook.errors import CellbrookError, OutputError, UsageError
from cellbrook.io import atomic, find_images, open_image, write_image
from cellbrook.io.atomic import put, staged

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from cellbrook.io import Source

    _Place = tuple[str, dict[str, int], tuple[int, int, int, int]]

SIDES = ("A", "B")
_SCHEMA = 1
_TRIES = 200


@dataclass(frozen=True, slots=True)
class BlindCrop:
    """A crop, and what it is called on each side.

    Parameters
    ----------
    image : str
        The image's path below the folder that was planned.
    plane : dict of str to int
        Place along T and Z, where the image has them.
    box : tuple of int
        Half-open (y0, x0, y1, x1).
    names : dict of str to str
        File name without suffix, for "A" and "B".
    """

    image: str
    plane: dict[str, int]
    box: tuple[int, int, int, int]
    names: dict[str, str]


@dataclass(frozen=True, slots=True)
class BlindPlan:
    """Crops that were handed out, and where the key lies.

    Parameters
    ----------
    folder : Path
        Holds the folders A and B.
    key : Path
        The file that says which crops are the same.
    crops : tuple of BlindCrop
        The crops.
    skipped : dict of str to str
        Images that could not be read, each with the reason.
    """

    folder: Path
    key: Path
    crops: tuple[BlindCrop, ...]
    skipped: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return what a program needs, without what would unblind a reader."""
        return {
            "folders": [str(self.folder / side) for side in SIDES],
            "key": str(self.key),
            "crops": len(self.crops),
            "skipped": [{"image": name, "error": text} for name, text in self.skipped.items()],
        }


def key_beside(folder: Path) -> Path:
    """Return where the key of a plan lies unless told otherwise: beside its folder, not in it."""
    folder = folder.absolute()
    return folder.with_name(f"{folder.name}_key.json")


def plan_crops(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    crops: int = 20,
    size_px: int = 256,
    seed: int = 0,
    key: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> BlindPlan:
    """Pick random crops and write each twice, under names that tell nothing, in two folders.

    Every place in every image is as likely as any other; crops overlap only if there is no room left. Folder
    ``A`` and folder ``B`` hold the same crops in different orders, for two people or for one at two times.

    Parameters
    ----------
    folder : path
        Images.
    out : path
        New folder for the crops.
    crops : int
        How many, at most.
    size_px : int
        Side of a crop. An image that is smaller is taken whole.
    seed : int
        Seed of the choice; the same seed picks the same crops.
    key : path or None
        The key's file. None: ``OUT_key.json`` beside the folder.
    progress : Progress, optional
        Told of every crop; may cancel.

    Returns
    -------
    BlindPlan

    Raises
    ------
    UsageError
        If there is no image that can be read, or a number is not positive.
    OutputError
        If `out` or the key is there already.
    """
    folder, out = Path(folder), Path(out)
    key_path = key_beside(out) if key is None else Path(key)
    if crops < 1 or size_px < 8:
        raise UsageError(f"a plan needs at least 1 crop of at least 8 px, got {crops} of {size_px}")
    for path in (out, key_path):
        if path.exists() and (path.is_file() or any(path.iterdir())):
            raise OutputError(
                f"{path} is there already: give another folder (--out), labels in it must not be lost"
            )
    progress = progress or NoProgress()
    progress.start("read", 1)
    sources: dict[str, Source] = {}
    skipped: dict[str, str] = {}
    for image in find_images(folder).images:
        name = image.path.relative_to(folder).as_posix() if folder.is_dir() else image.path.name
        try:
            source = open_image(image.path)
            if {"Y", "X"} <= set(source.axes) and 0 not in source.shape:
                sources[name] = source
        except (CellbrookError, OSError) as error:
            skipped[name] = " ".join(str(error).split())
    while True:
        if not sources:
            raise UsageError(
                f"no image in {folder} can be read: {next(iter(skipped.values()), 'there is none')}"
            )
        rng = np.random.default_rng(seed)
        places = _places(sources, crops, size_px, rng)
        pixels, damaged = _read(places, sources, progress)
        if not damaged:
            break
        skipped |= damaged
        sources = {name: source for name, source in sources.items() if name not in damaged}
    orders = {side: rng.permutation(len(places)) for side in SIDES}
    width = max(2, len(str(len(places))))
    planned = tuple(
        BlindCrop(name, plane, box, {side: f"{side}{orders[side][at] + 1:0{width}d}" for side in SIDES})
        for at, (name, plane, box) in enumerate(places)
    )
    document = {
        "schema": _SCHEMA,
        "kind": "cellbrook blind crops",
        "images": str(folder.absolute()),
        "folder": str(out.absolute()),
        "seed": seed,
        "size_px": size_px,
        "crops": [asdict(crop) for crop in planned],
    }
    progress.start("crop", len(planned))
    with staged(out, "crops") as stage, atomic(key_path) as temporary:
        for crop, cut in zip(planned, pixels, strict=True):
            progress.check_cancelled()
            _write(crop, cut, sources[crop.image], stage)
            progress.advance()
        text = json.dumps(document, indent=1, ensure_ascii=False)
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        for side in SIDES:
            put(stage / side, out / side)
    return BlindPlan(out, key_path, planned, skipped)


def read_key(path: Path) -> tuple[BlindCrop, ...]:
    """Read a key.

    Raises
    ------
    UsageError
        If it is none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return tuple(
            BlindCrop(c["image"], dict(c["plane"]), tuple(map(int, c["box"])), dict(c["names"]))  # type: ignore[arg-type]
            for c in document["crops"]
        )
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no key that `cellbrook agreement --plan` wrote") from error


def _places(sources: dict[str, Source], crops: int, size_px: int, rng: np.random.Generator) -> list[_Place]:
    names = list(sources)
    lengths = [dict(zip(sources[n].axes, sources[n].shape, strict=True)) for n in names]
    sides = [(min(size_px, size["Y"]), min(size_px, size["X"])) for size in lengths]
    pixels = np.array([float(np.prod([size.get(a, 1) for a in "TZYX"])) for size in lengths])
    places: list[_Place] = []
    for _ in range(_TRIES * crops):
        if len(places) == crops:
            break
        at = int(rng.choice(len(names), p=pixels / pixels.sum()))
        size, (height, width) = lengths[at], sides[at]
        plane = {a: int(rng.integers(size[a])) for a in "TZ" if a in size}
        y0 = int(rng.integers(size["Y"] - height + 1))
        x0 = int(rng.integers(size["X"] - width + 1))
        box = (y0, x0, y0 + height, x0 + width)
        if not any(n == names[at] and p == plane and _meet(b, box) for n, p, b in places):
            places.append((names[at], plane, box))
    return places


def _meet(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _read(
    places: list[_Place], sources: dict[str, Source], progress: Progress
) -> tuple[list[NDArray[Any]], dict[str, str]]:
    """Return the pixels of each place, and the images of which some cannot be read, each with the reason."""
    pixels: list[NDArray[Any]] = []
    damaged: dict[str, str] = {}
    for name, plane, (y0, x0, y1, x1) in places:
        progress.check_cancelled()
        try:
            pixels.append(sources[name].read({**plane, "Y": slice(y0, y1), "X": slice(x0, x1)}))
        except (CellbrookError, OSError) as error:
            damaged[name] = " ".join(str(error).split())
    return pixels, damaged


def _write(crop: BlindCrop, pixels: NDArray[Any], source: Source, out: Path) -> None:
    axes = "".join(a for a in source.axes if a not in crop.plane)
    for side in SIDES:
        write_image(
            out / side / f"{crop.names[side]}.tif",
            pixels,
            axes=axes,
            pixel_size_um=source.pixel_size_um,
            names=() if source.is_rgb else source.channel_names,
            rgb=source.is_rgb,
        )
