"""`cellbrook agreement`: two people's labels of the same images, and a model's."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cellbrook.cli._common import Json, Quiet, attempted, print_json
from cellbrook.cli._console import ConsoleProgress, error, note, warn
from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from cellbrook.evaluation import Agreement
    from cellbrook.metrics import HumanComparison


def agreement(
    a: Path | None = None,
    b: Path | None = None,
    /,
    *,
    model: Path | None = None,
    plan: Path | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    key: Path | None = None,
    crops: int = 20,
    size: int = 256,
    seed: int = 0,
    margin: float = 0.02,
    thresholds: Annotated[tuple[float, ...] | None, Parameter(consume_multiple=True, negative="")] = None,
    tolerance_px: float = 2.0,
    html: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    threads: int | None = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Say how well two people agree, and whether a model is as good as a person.

    A and B are two people's labels of the same images, or one person's at two times. With --model, its labels are
    compared with both on the same scale, and the answer is below, at or above human agreement, or undecided where
    the 95 % interval over images leaves it open.

    To get such labels: --plan DIR --out OUT picks random crops of the images in DIR and writes each twice, in OUT/A
    and OUT/B, under names that tell nothing. Save labels beside them (A07_masks.tif ...), then run
    `cellbrook agreement OUT/A OUT/B --model PREDICTIONS`. The key lies beside OUT, not in it: do not hand it out.

    Parameters
    ----------
    a
        Label image, or folder of label images, of the first person.
    b
        The same of the second person, or of the first at another time.
    model
        The model's labels: a folder of them, of the same images (with a plan also of the whole images).
    plan
        Folder of images to pick crops from, instead of comparing.
    out
        With --plan: new folder for the crops.
    key
        The key of a plan. [default: OUT_key.json beside the folder OUT]
    crops
        With --plan: how many.
    size
        With --plan: side of a crop in pixels.
    seed
        Seed of the choice of crops, or of the intervals.
    margin
        Difference that is of no consequence: within it the model is at human agreement.
    thresholds
        IoU from which objects agree, one or several; the answer is about F1 at the first.
        [default: 0.5 0.55 ... 0.95]
    tolerance_px
        Distance in pixels within which outlines agree, for the boundary F score.
    html
        Write a page with the answer, all figures and every image: one file that needs no network.
    overwrite
        Replace the file of --html even if it is no such page.
    threads
        Processor threads. [default: the cores this process may use]

    Returns
    -------
    int
        Exit code: 0, or 1 if an image was not labelled by all or could not be compared, or the page not be written.
    """
    if plan is not None:
        if a is not None or model is not None or html is not None:
            raise UsageError(
                "--plan picks crops to label and compares nothing: leave A, B, --model and --html away"
            )
        if out is None:
            raise UsageError("--plan needs a folder for the crops: give --out")
        return _plan(plan, out, key, crops, size, seed, json=json, quiet=quiet)
    if a is None or b is None:
        raise UsageError(
            "expected the labels of two people: cellbrook agreement A B [--model PRED]; or --plan DIR"
        )
    import cellbrook.evaluation as room
    from cellbrook.metrics.evaluation import THRESHOLDS

    if html is not None:
        from cellbrook.evaluation.page import check_page

        check_page(html, overwrite=overwrite)
    progress = ConsoleProgress(quiet=quiet)
    try:
        result = room.agreement(
            a,
            b,
            model=model,
            key=key,
            thresholds=THRESHOLDS if thresholds is None else thresholds,
            tolerance_px=tolerance_px,
            margin=margin,
            seed=seed,
            threads=threads,
            progress=progress,
        )
    finally:
        progress.clear()
    page = html
    if html is not None and not attempted(partial(result.save_page, html, overwrite=overwrite)):
        page = None
    if json:
        print_json(result.to_dict() | {"html": page})
    elif result.comparison is not None:
        print("\n".join(_report(result.comparison)))
        if page is not None:
            print(f"\n{page}: the same as a page, with every image")
    _say_what_is_left_out(result)
    if result.comparison is None and not result.failed:
        error(f"{a} and {b} have no image in common that all have labelled")
    return 0 if result.complete and page == html else 1


def _plan(
    folder: Path, out: Path, key: Path | None, crops: int, size: int, seed: int, *, json: bool, quiet: bool
) -> int:
    from cellbrook.evaluation import plan_crops

    progress = ConsoleProgress(quiet=quiet)
    try:
        plan = plan_crops(folder, out, crops=crops, size_px=size, seed=seed, key=key, progress=progress)
    finally:
        progress.clear()
    if json:
        print_json(plan.to_dict())
    else:
        count = len(plan.crops)
        print(f"{count} crop{'s' * (count != 1)} in {out / 'A'}, the same in another order in {out / 'B'}")
        print(f"{plan.key}: the key, to be kept from those who label")
        labelled = shlex.join([str(out / "A"), str(out / "B")])
        print(f"when both are labelled: cellbrook agreement {labelled} --model PREDICTIONS")
    if len(plan.crops) < crops:
        warn(f"there was room for {len(plan.crops)} crops that do not overlap, {crops} were wished for")
    for name, text in plan.skipped.items():
        error(f"{name}: {text}")
    return 1 if plan.skipped else 0


def _report(comparison: HumanComparison) -> list[str]:
    n = comparison.n_images
    with_model = bool(comparison.scores[0].model)
    heads = ["A with B", *(("model with A", "model with B", "difference") if with_model else ())]
    lines = [f"{n} image{'s' * (n != 1)}", "", f"{'':<26}{''.join(f'{head:<24}' for head in heads)}".rstrip()]
    for score in comparison.scores:
        cells = [str(score.people), *(str(side) for side in score.model)]
        if score.difference is not None:
            value, low, high = score.difference
            bounds = "" if low is None else f" [{low:+.3f}, {high:+.3f}]"
            cells.append(f"{value:+.3f}{bounds}")
        row = f"{score.name:<26}{''.join(f'{cell:<24}' for cell in cells)}{score.verdict or ''}"
        lines.append(row.rstrip())
    lines += ["", comparison.sentence]
    return [*lines, *(f"note: {text}" for text in comparison.notes)]


def _say_what_is_left_out(result: Agreement) -> None:
    for name, text in result.failed.items():
        error(f"{name}: {text}")
    for names, words in (
        (result.only_a, "labelled in A alone"),
        (result.only_b, "labelled in B alone"),
        (result.without_model, "not labelled by the model"),
    ):
        if names:
            warn(f"{len(names)} image{'s' * (len(names) != 1)} {words}:")
            for name in names:
                note(f"  {name}")
