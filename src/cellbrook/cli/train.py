"""``cellbrook train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from cellbrook.cli import _console
from cellbrook.cli._common import Json, Quiet, print_json
from cellbrook.cli._stopping import StoppableProgress, ending_softly
from cellbrook.errors import CellbrookError, UsageError
from cellbrook.training.params import TrainParams

if TYPE_CHECKING:
    from cellbrook.training.dataset import Dataset

TrainFlags = Annotated[TrainParams, Parameter(name="*", group=Group("Training", sort_key=1))]


def train(
    folder: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    from_: Annotated[str, Parameter(name="--from")] = "compact",
    compare: str | None = None,
    check: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    quiet: Quiet = False,
    params: TrainFlags = TrainParams(),
) -> int:
    """Teach a model your own cells.

    FOLDER holds images with their labels beside them: x_img.tif and x_masks.tif, x.tif and x_seg.npy or x_cp_masks.png, or
    x.tif and x_labels.tif. Part of them is held out; the new model is compared with the one it started from on those, and
    on general images that ship with the program. It is used by `cellbrook segment --model OUT`.

    Where x_objects.csv lies beside the labels, with columns label and class, it also learns to tell classes.

    An interrupted training goes on when the same command is given again. Ctrl-C ends it and keeps the best so far; with
    --compare it tells what is finished so far.

    Parameters
    ----------
    folder
        Folder of labelled images.
    out
        Folder for the model, its report and its curves.
    from_
        Model to start from: a name (see `cellbrook models list`), a folder or file, a checkpoint of Cellpose; or scratch.
    compare
        Train several starts on the same images and compare them over numbers of objects, such as base,scratch; base is
        what --from says.
    check
        Only check the images and say what was found.
    overwrite
        Replace a finished model in OUT, if the new one is better than its start, or an unfinished training of other images
        or options. A comparison is not replaced.

    Returns
    -------
    int
        Exit code: 0, or 1 if the check found errors.
    """
    from cellbrook.networks.cards import CARD_NAME
    from cellbrook.training.dataset import load_folder

    dataset = load_folder(folder, channels=params.channels)
    if check:
        return _check(dataset, json=json)
    if out is None:
        raise UsageError("give --out, a folder for the new model")
    if out.exists() and out.samefile(folder):
        raise UsageError(f"--out {out} holds the labelled images: give a folder of its own for the new model")
    names = [name.strip() for name in (compare or "").split(",") if name.strip()]
    if names and overwrite:
        raise UsageError(
            "--compare goes on with what lies in --out and replaces nothing: leave --overwrite out"
        )
    if names and from_ != "compact" and "base" not in names:
        raise UsageError(
            f"--compare {compare} does not name --from {from_}, there called base: give --compare base,{compare}"
        )
    for line in dataset.report():
        _console.note(line, quiet=quiet)
    try:
        from cellbrook.training.finetune import finetune
    except ImportError as error:
        raise UsageError(
            f'training needs PyTorch and onnx ({error}): pip install "cellbrook[train]"'
        ) from error

    progress = StoppableProgress(quiet=quiet)

    def say(line: str) -> None:
        progress.clear()
        _console.note(line, quiet=quiet)

    if names:
        from cellbrook.training.compare import compare as compare_starts

        starts = [from_ if name == "base" else name for name in names]
        with ending_softly(progress):
            compared = compare_starts(dataset, out, starts, params=params, progress=progress, say=say)
        progress.clear()
        if json:
            print_json(compared.to_dict())
        else:
            print("\n".join(compared.lines()))
            print(f"{out / 'compare.png'}: AP against the number of objects")
        return 0
    with ending_softly(progress):
        report = finetune(
            dataset, out, start=from_, params=params, progress=progress, say=say, overwrite=overwrite
        )
    progress.clear()
    if json:
        print_json(report.to_dict())
        return 0
    print("\n".join(report.lines()))
    if report.active:
        print(f"{report.path}: use it with `cellbrook segment --model {report.path} IMAGES`")
    elif (out / CARD_NAME).exists():
        print(
            f"{report.path}: the new model, not in use, with its report and curves; {out} keeps the model that it had"
        )
    else:
        print(f"{report.path}: the new model, not in use; report.json and curves.png lie in {out}")
    return 0


def _check(dataset: Dataset, *, json: bool) -> int:
    if json:
        issues = [{"name": i.name, "kind": i.kind, "fatal": i.fatal, "text": i.text} for i in dataset.issues]
        print_json({"images": len(dataset.examples), "objects": dataset.n_objects, "issues": issues})
    else:
        print("\n".join(dataset.report()))
    try:
        dataset.require_usable()
    except CellbrookError as problem:
        _console.error(str(problem))
        return 1
    return 0
