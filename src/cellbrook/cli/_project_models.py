"""``cellbrook project predict``, ``suggest`` and ``train``: what a project does with models."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Literal,  # noqa: F401 (the flags of `ModelParams` name it, and are resolved here)
)

from cyclopts import Group, Parameter

from cellbrook.cli import _console
from cellbrook.cli._common import Json, MaskFlags, NormalizeFlags, Quiet, TileFlags, answer, print_json
from cellbrook.cli._stopping import StoppableProgress, ending_softly
from cellbrook.cli.train import TrainFlags
from cellbrook.core.params import (
    InputParams,
    MaskParams,
    ModelParams,
    NormalizeParams,
    SegmentParams,
    TileParams,
)
from cellbrook.errors import UsageError
from cellbrook.training.params import TrainParams

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cellbrook.project.predict import Prediction
    from cellbrook.project.suggest import Suggestion

ACTIVE = "active"


@dataclasses.dataclass(frozen=True, slots=True)
class ProjectModelParams(ModelParams):
    """`ModelParams`, but the project says which model; its help is made from theirs."""

    model: str = ACTIVE


ProjectModelParams.__doc__ = (ModelParams.__doc__ or "").replace(
    "Name of a model (see", 'Name of a model of the project, or of any other; "active" is the one in use (see'
)
ProjectModelFlags = Annotated[ProjectModelParams, Parameter(name="*", group=Group("Network", sort_key=1))]


@dataclasses.dataclass(frozen=True, slots=True)
class ProjectInputParams:
    """What of `InputParams` a project leaves to each run; its help is made from theirs."""

    volume: bool = False
    anisotropy: float | None = None


_, _volume, _rest = (InputParams.__doc__ or " volume : bool ").partition("    volume : bool")
ProjectInputParams.__doc__ = (
    f"{ProjectInputParams.__doc__}\n\n    Parameters\n    ----------\n"
    f"{_volume}{_rest.partition('    track : bool')[0]}"
)
ProjectInputFlags = Annotated[ProjectInputParams, Parameter(name="*", group=Group("Image", sort_key=2))]


def predict(
    folder: Path,
    /,
    *images: str,
    again: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    quiet: Quiet = False,
    model_params: ProjectModelFlags = ProjectModelParams(),
    input_params: ProjectInputFlags = ProjectInputParams(),
    mask_params: MaskFlags = MaskParams(),
    normalize_params: NormalizeFlags = NormalizeParams(),
    tile_params: TileFlags = TileParams(),
) -> int:
    """Find the cells in a project's images. What a person drew, changed or locked stays as it is.

    Parameters
    ----------
    folder
        The project.
    images
        Images by name, id or path. [default: all that nobody has begun to correct]
    again
        Also images that were predicted with the same model and options.
    """
    from cellbrook.project import Project
    from cellbrook.project.predict import predict as run
    from cellbrook.project.settings import advice

    params = SegmentParams(
        model_params=model_params,
        input_params=InputParams(volume=input_params.volume, anisotropy=input_params.anisotropy),
        mask_params=mask_params,
        normalize_params=normalize_params,
        tile_params=tile_params,
    )
    keywords = params.to_keywords()
    for inherited in ("axes", "channels", "pixel_size", "scene", "z"):  # the project says these
        del keywords[inherited]
    if keywords["model"] == ACTIVE:
        del keywords["model"]
    progress = _console.ConsoleProgress(quiet=quiet or json)

    def each(outcome: Prediction) -> None:
        progress.clear()
        if not json:
            _say_prediction(outcome)

    with Project.open(folder) as project:
        try:
            done = run(project, images, again=again, progress=progress, each=each, **keywords)
        finally:
            progress.clear()
    for line in advice(folder, (d.error or "" for d in done)):
        _console.note(line)
    if json:
        print_json([dataclasses.asdict(d) for d in done])
    elif not done:
        _console.note(
            "no open image: name images to predict them although somebody has begun to correct them"
        )
    return 1 if any(d.status == "failed" for d in done) else 0


def suggest(folder: Path, /, *, count: int = 5, json: Json = False, quiet: Quiet = False) -> int:
    """Say which images to correct next, and where to begin: those that teach the model most.

    Parameters
    ----------
    folder
        The project; best after `predict`.
    count
        How many at most.
    """
    from cellbrook.project import Project
    from cellbrook.project.suggest import as_dict
    from cellbrook.project.suggest import suggest as suggestions

    progress = _console.ConsoleProgress(quiet=quiet or json)
    with Project.open(folder, read_only=True) as project:
        try:
            found = suggestions(project, count, progress=progress)
        finally:
            progress.clear()
    answer(_suggested(found), [as_dict(s) for s in found], json=json)
    return 0


def train(
    folder: Path,
    /,
    *,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    name: str | None = None,
    only_done: Annotated[bool, Parameter(negative="")] = False,
    keep_active: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    quiet: Quiet = False,
    params: TrainFlags = TrainParams(),
) -> int:
    """Teach a model what was corrected in a project, and use it from then on if it is better than before.

    Ctrl-C ends the training and keeps the best so far; a second one interrupts it.

    Parameters
    ----------
    folder
        The project.
    from_
        Model to start from. [default: the general model that the active one descends from]
    name
        Of the new model. [default: the project's name and the number of the round]
    only_done
        Learn from images that are done, not from those that are only begun.
    keep_active
        Leave the active model as it is.
    """
    from cellbrook.project import Project
    from cellbrook.project.exchange import TAUGHT
    from cellbrook.project.teach import train_round

    progress = StoppableProgress(quiet=quiet or json)

    def say(line: str) -> None:
        progress.clear()
        _console.note(line, quiet=quiet or json)

    with Project.open(folder) as project, ending_softly(progress):
        try:
            done = train_round(
                project,
                start=from_,
                name=name,
                states=("done",) if only_done else TAUGHT,
                params=params,
                activate=not keep_active,
                progress=progress,
                say=say,
            )
        except ImportError as error:
            raise UsageError(
                f'training needs PyTorch and onnx ({error}): pip install "cellbrook[train]"'
            ) from error
        finally:
            progress.clear()
        active = project.settings.model
    used = (
        f"{done.model} predicts from now on; `cellbrook project predict {shlex.quote(str(folder))}`"
        if done.activated
        else f"{done.model} is kept but not used; {active} still predicts"
    )
    document = {"round": done.number, "model": done.model, "activated": done.activated}
    answer(
        [*done.report.lines(), f"round {done.number}: {used}"],
        {**document, **done.report.to_dict()},
        json=json,
    )
    return 0


def _say_prediction(outcome: Prediction) -> None:
    if outcome.status == "failed":
        _console.error(f"{outcome.name}: {outcome.error}")
    elif outcome.status == "skipped":
        print(f"{outcome.name}: {outcome.objects} cells, predicted before with this model")
    else:
        kept = f", {outcome.kept} of them by hand" if outcome.kept else ""
        print(f"{outcome.name}: {outcome.objects} cells{kept} ({outcome.seconds:.1f} s)")


def _suggested(found: Iterable[Suggestion]) -> Iterator[str]:
    for number, item in enumerate(found, 1):
        _, y0, x0, y1, x1 = item.region
        plane = f", plane {item.region[0]}" if item.region[0] else ""
        yield f"{number}. {item.name}  (begin at rows {y0}-{y1}, columns {x0}-{x1}{plane})"
        yield f"   {item.reason}"
