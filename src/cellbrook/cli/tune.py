"""`cellbrook tune`: the thresholds that suit a user's own images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cellbrook.cli._common import (
    InputFlags,
    Json,
    MaskFlags,
    ModelFlags,
    NormalizeFlags,
    Quiet,
    TileFlags,
    attempted,
    print_json,
)
from cellbrook.cli._console import ConsoleProgress, error, note, warn
from cellbrook.cli._settings import Settings
from cellbrook.core.params import (
    InputParams,
    MaskParams,
    ModelParams,
    NormalizeParams,
    SegmentParams,
    TileParams,
)
from cellbrook.errors import OutputError, UsageError

if TYPE_CHECKING:
    from cellbrook.evaluation.tuning import Tuning

SETTINGS_NAME, SURFACE_NAME = "settings.toml", "surface.png"


def tune(
    folder: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("tuned"),
    search_diameter: bool = True,
    iou: float = 0.5,
    seed: int = 0,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    settings: Settings = None,
    json: Json = False,
    quiet: Quiet = False,
    model_params: ModelFlags = ModelParams(),
    input_params: InputFlags = InputParams(),
    mask_params: MaskFlags = MaskParams(),
    normalize_params: NormalizeFlags = NormalizeParams(),
    tile_params: TileFlags = TileParams(),
) -> int:
    """Search the thresholds and the diameter that suit your images.

    Needs images with true labels beside them (x_img.png and x_masks.png ...), ten or more for a gain that can be
    trusted. The network runs once an image and diameter; cellprob threshold, smallest score (or largest flow error) and
    smallest size are searched on what it gave. The gain is judged on images that had no part in the choice.

    Writes settings.toml, which `cellbrook segment --settings` takes, and surface.png, the picture of the search.
    The flags below are where the search starts. Planes of a stack are segmented each by itself; those without labels
    are left out.

    Parameters
    ----------
    folder
        Images with their true labels.
    out
        Folder for the two files; not the folder of images.
    search_diameter
        Also try the model's own estimate and the median diameter of the true objects.
    iou
        IoU from which an object counts as found.
    seed
        Seed of the folds and of the intervals.
    overwrite
        Replace files in --out that an earlier search wrote.

    Returns
    -------
    int
        Exit code: 0, or 1 if an image or its labels found no partner or could not be used, or a file not be written.
    """
    files = _free(folder, out, overwrite=overwrite)
    params = SegmentParams(
        model_params=model_params,
        input_params=input_params,
        normalize_params=normalize_params,
        tile_params=tile_params,
        mask_params=mask_params,
    )
    from cellbrook.api import tune as search
    from cellbrook.evaluation.surface import draw_surface
    from cellbrook.io import atomic, write_png

    progress = ConsoleProgress(quiet=quiet)
    try:
        result = search(
            folder,
            search_diameter=search_diameter,
            iou=iou,
            seed=seed,
            progress=progress,
            **params.to_keywords(),
        )
    finally:
        progress.clear()
    picture = draw_surface(result)  # before anything is written: then an interrupt leaves nothing

    def write() -> None:
        write_png(files[1], picture)
        with atomic(files[0]) as temporary:  # last, since it is what is waited for
            temporary.write_text(result.settings_text(), encoding="utf-8")

    written = attempted(write)
    if json:
        names = {"settings": str(files[0]), "surface": str(files[1])} if written else {}
        print_json(result.to_dict() | {"files": names})
    else:
        told = [f"{files[0]}: for cellbrook segment --settings", f"{files[1]}: the search as a picture"]
        print("\n".join([*_report(result), *(told if written else [result.settings_text()])]))
    for name, text in result.failed.items():
        error(f"{name}: {text}")
    for left, words in (
        (result.only_images, "images without labels"),
        (result.only_labels, "labels without image"),
    ):
        if left:
            warn(f"{len(left)} {words}:")
            for path in left:
                note(f"  {path}")
    return 0 if result.complete and written else 1


def _free(folder: Path, out: Path, *, overwrite: bool) -> tuple[Path, Path]:
    """Return where the files go, and refuse what would be lost or taken for an image."""
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}")
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"{out} lies in the folder of images, where a picture is an image: give another --out"
        )
    files = out / SETTINGS_NAME, out / SURFACE_NAME
    there = [path for path in files if path.exists()]
    if there and not overwrite:
        raise OutputError(f"{there[0]} is there already: give --overwrite, or another --out")
    return files


def _report(result: Tuning) -> list[str]:
    n = len(result.names)
    lines = [f"{n} image{'s' * (n != 1)}, {result.n_true} true objects", ""]
    heads = ("start", "best", "recommended")
    lines.append(f"{'':<22}{''.join(f'{head:<14}' for head in heads)}".rstrip())
    rows: tuple[dict[str, Any], ...] = tuple(s.keywords() for s in (result.start, result.best, result.chosen))
    for name in rows[0]:
        cells = [f"{row[name]:g}" if isinstance(row[name], (int, float)) else row[name] for row in rows]
        lines.append(f"{name.replace('_', ' '):<22}{''.join(f'{cell:<14}' for cell in cells)}".rstrip())
    judged = "on images without a part in the choice" if result.validated else "on these very images"
    lines += [
        "",
        f"{'F1 at start':<22}{result.f1_start}",
        f"{'F1 tuned':<22}{result.f1_tuned}  {judged}",
        "",
        result.sentence,
        "",
    ]
    return lines
