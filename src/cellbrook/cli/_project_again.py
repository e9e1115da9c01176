"""``cellbrook project again``: places that are labelled a second time, and what comes of it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cellbrook.cli import _console
from cellbrook.cli._common import Json, Quiet, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cellbrook.project.images import ImageRecord
    from cellbrook.project.project import Project


def again(
    folder: Path,
    /,
    *,
    count: int = 6,
    compare: Annotated[bool, Parameter(negative="")] = False,
    threads: int | None = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Label places a second time, blind, to see how well you agree with yourself, and whether the model does as well.

    Picks random places of images that are done and adds each as an image without labels, again-01, again-02 and so on. Draw
    their cells, in the workspace or with any other tool, and say that they are done; then run it with --compare. Nothing
    is learnt from these places.

    Parameters
    ----------
    folder
        The project.
    count
        How many places to pick.
    compare
        Compare first and second labels, and the active model with both, instead of picking places.
    threads
        Processor threads. [default: the cores this process may use]
    """
    from cellbrook.project import Project
    from cellbrook.project.second_looks import compare_second_looks, plan_second_looks

    progress = _console.ConsoleProgress(quiet=quiet or json)
    try:
        if compare:
            with Project.open(folder, read_only=True) as project:
                found = compare_second_looks(project, _Model(project, threads), progress=progress)
            progress.clear()
            answer(_compared(found), found, json=json)
            return 1 if found["failed"] else 0
        with Project.open(folder) as project:
            added = plan_second_looks(project, count, progress=progress)
    finally:
        progress.clear()
    names = ", ".join(r.name for r in added)
    lines = [
        f"{len(added)} place{'s' * (len(added) != 1)} to label again: {names}",
        f"when they are done: cellbrook project again {shlex.quote(str(folder))} --compare",
    ]
    answer(lines, [{"id": r.id, "name": r.name} for r in added], json=json)
    return 0


class _Model:
    """Segments images with the active model, which is loaded when the first one comes."""

    def __init__(self, project: Project, threads: int | None) -> None:
        self._project, self._threads = project, threads
        self._segmenter: Any = None

    def __call__(self, record: ImageRecord) -> NDArray[Any]:
        from cellbrook.api import Segmenter
        from cellbrook.project.models import model_reference
        from cellbrook.project.predict import project_params

        if self._segmenter is None:
            self._segmenter = Segmenter(model=model_reference(self._project), threads=self._threads)
        keywords = project_params(self._project).to_keywords()
        given = {k: keywords[k] for k in ("axes", "channels", "pixel_size", "z")}
        found = self._segmenter.segment(
            self._project.path(record.id), name=record.name, keep_output=False, scene=record.scene, **given
        )
        labels: NDArray[Any] = found.labels
        return labels


def _compared(found: dict[str, Any]) -> Iterator[str]:
    n = found["n_images"]
    yield f"{n} place{'s' * (n != 1)} labelled again"
    yield f"{'':<28}{'you with yourself':>18}  the model with your first and second labels"
    for score in found["scores"]:
        model = "  ".join(f"{side['value']:.3f}" for side in score["model"])
        yield f"{score['name']:<28}{score['people']['value']:>18.3f}  {model}"
    yield ""
    yield found["sentence"]
    for entry in found["failed"]:
        yield f"{entry['name']}: {entry['error']}"
